//! Containers: records against files, both ways, and against the run directory; id ranges.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use bulkhead_sandbox::spec::SandboxSpec;

use super::places::private;
use super::{Look, names};
use crate::containers::discard;
use crate::error::EngineError;
use crate::layout::{ExitState, Layout, Wanted};
use crate::store::{CheckedContainer, IdRange};

/// How long a repair waits for a lock.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn check(look: &mut Look<'_>) -> Result<(), EngineError> {
    // The directories first: a container that is made meanwhile is then in the records and not in the list.
    let on_disk = names(&look.engine.paths.containers());
    let running = names(&look.engine.paths.run.join("containers"));
    let records = look.engine.store()?.checked_containers()?;
    for record in &records {
        one(look, record)?;
    }
    ranges(look, &records);
    let known = |name: &String| records.iter().any(|r| r.id == *name);
    for name in on_disk.iter().filter(|name| !known(name)) {
        stray_files(look, name);
    }
    for name in &running {
        run_directory(look, name, known(name));
    }
    Ok(())
}

fn one(look: &mut Look<'_>, record: &CheckedContainer) -> Result<(), EngineError> {
    let object = format!("container {}", record.id);
    let layout = Layout::new(&look.engine.paths, &record.id);
    if !record.request_readable {
        let message = format!("what was asked of container {} cannot be read", record.name);
        look.found("container-request", object, message);
        return Ok(());
    }
    // Who holds it may be making it or taking it apart.
    let held = layout.is_held() && layout.read_state().is_none();
    if held {
        return Ok(());
    }
    let never = layout.read_wanted().is_none() && layout.read_exit().is_none() && layout.read_state().is_none();
    if never && !record.ready {
        let message = format!("container {} was not finished, or is half removed", record.name);
        look.repairable("container-unfinished", object, message, |engine| {
            let Some(_lock) = layout.claim_within(PATIENCE)? else { return Ok(None) };
            if layout.read_state().is_some() {
                return Ok(None);
            }
            discard(engine, &record.id, true)?;
            Ok(Some("removed it".to_owned()))
        });
        return Ok(());
    }
    if !layout.dir.is_dir() {
        let message = format!("the files of container {} are gone; 'bulkhead rm {0}' forgets it", record.name);
        look.found("container-files-missing", object, message);
        return Ok(());
    }
    private(look, "directory-mode", &layout.dir, 0o700);
    parts(look, record, &layout);
    specification(look, record, &layout)
}

/// The files that a container has, and what is in those that are ours.
fn parts(look: &mut Look<'_>, record: &CheckedContainer, layout: &Layout) {
    let object = format!("container {}", record.id);
    for (part, path) in
        [("upper", layout.writable().join("upper")), ("work", layout.writable().join("work")), ("etc", layout.etc())]
    {
        if !path.is_dir() {
            let message = format!("the directory {path:?} of container {} is gone", record.name);
            look.found("container-files-incomplete", format!("{object} {part}"), message);
        }
    }
    if !layout.log().is_dir() {
        let path = layout.log();
        let message = format!("the directory {path:?} of container {} is gone", record.name);
        look.repairable("container-log", object.clone(), message, |_| {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(EngineError::io("make", &path))?;
            Ok(Some("made an empty one".to_owned()))
        });
    }
    damaged::<ExitState>(look, "container-end", &layout.exit());
    damaged::<Wanted>(look, "container-wanted", &layout.wanted());
}

/// A file of ours that cannot be read is as good as none; it is kept under another name.
fn damaged<T: serde::de::DeserializeOwned>(look: &mut Look<'_>, code: &'static str, path: &Path) {
    let Ok(text) = std::fs::read(path) else { return };
    if serde_json::from_slice::<T>(&text).is_ok() {
        return;
    }
    let message = format!("{path:?} cannot be read");
    look.repairable(code, path.display().to_string(), message, |_| {
        let kept = path.with_extension("damaged");
        std::fs::rename(path, &kept).map_err(EngineError::io("rename", path))?;
        Ok(Some(format!("moved it to {kept:?}")))
    });
}

fn specification(look: &mut Look<'_>, record: &CheckedContainer, layout: &Layout) -> Result<(), EngineError> {
    let object = format!("container {}", record.id);
    let spec = record.spec.as_deref().map(serde_json::from_slice::<SandboxSpec>);
    let Some(Ok(spec)) = spec else {
        let message = format!("the specification of container {} cannot be read; it cannot be started", record.name);
        look.found("container-spec", object, message);
        return Ok(());
    };
    if !look.engine.facts()?.privileged {
        return Ok(());
    }
    let mapped = spec.ids.uids.first().map(|r| (r.outside, r.count));
    if record.range.map(|r| (r.start, r.count)) != mapped {
        let message = format!(
            "container {} is made for the ids {mapped:?}, and the store holds {:?} for it",
            record.name,
            record.range.map(|r| (r.start, r.count))
        );
        look.found("container-range", object, message);
        return Ok(());
    }
    let upper = layout.writable().join("upper");
    if let (Some(range), Ok(meta)) = (record.range, std::fs::symlink_metadata(&upper)) {
        let inside = |id: u32| id >= range.start && u64::from(id) < range.end();
        if !inside(meta.uid()) || !inside(meta.gid()) {
            let message = format!(
                "{upper:?} belongs to {}:{}, outside of the ids of container {}",
                meta.uid(),
                meta.gid(),
                record.name
            );
            look.found("container-owner", format!("{object} upper"), message);
        }
    }
    Ok(())
}

fn ranges(look: &mut Look<'_>, records: &[CheckedContainer]) {
    let mut all: Vec<(IdRange, &CheckedContainer)> = records.iter().filter_map(|r| Some((r.range?, r))).collect();
    all.sort_by_key(|(range, _)| range.start);
    for (one, other) in all.iter().zip(all.iter().skip(1)) {
        if one.0.overlaps(&other.0) && !(one.0 == other.0 && share_ids(one.1, other.1)) {
            let message = format!("containers {} and {} have ids in common", one.1.id, other.1.id);
            look.found("range-overlap", format!("container {}", other.1.id), message);
        }
    }
}

/// Whether two containers were meant to have the same ids: one joined namespaces of the other, or both those of a third.
fn share_ids(one: &CheckedContainer, other: &CheckedContainer) -> bool {
    let joined = |container: &CheckedContainer| -> String {
        let spec: serde_json::Value =
            container.spec.as_deref().and_then(|s| serde_json::from_slice(s).ok()).unwrap_or_default();
        let with = spec.pointer("/share/with").and_then(serde_json::Value::as_str);
        // One that joined nobody is the root of its own family.
        with.unwrap_or(&container.id).to_owned()
    };
    joined(one) == joined(other)
}

/// A directory of a container that is not recorded. It may hold what somebody wants back, so it is put aside.
fn stray_files(look: &mut Look<'_>, name: &str) {
    let path = look.engine.paths.containers().join(name);
    let layout = Layout::new(&look.engine.paths, name);
    if layout.is_held() || !path.exists() {
        return;
    }
    let message = format!("{path:?} belongs to no container");
    look.repairable("container-stray", format!("containers/{name}"), message, |engine| {
        let Some(_lock) = layout.claim_within(PATIENCE)? else { return Ok(None) };
        let done = put_aside(engine, &path, name);
        layout.clear_run();
        done
    });
}

fn put_aside(engine: &crate::Engine, path: &Path, name: &str) -> Result<Option<String>, EngineError> {
    if engine.store()?.has_container(name)? || !path.exists() {
        return Ok(None);
    }
    let lost = engine.paths.root.join("lost");
    match std::fs::create_dir(&lost) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(EngineError::io("make", &lost)(e)),
        _ => {}
    }
    std::fs::set_permissions(&lost, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .map_err(EngineError::io("set the mode of", &lost))?;
    let free = (0_u32..).map(|n| lost.join(if n == 0 { name.to_owned() } else { format!("{name}.{n}") }));
    let to = free.into_iter().find(|to| !to.exists()).unwrap_or(lost);
    std::fs::rename(path, &to).map_err(EngineError::io("move away", path))?;
    Ok(Some(format!("moved it to {to:?}")))
}

fn run_directory(look: &mut Look<'_>, name: &str, known: bool) {
    let layout = Layout::new(&look.engine.paths, name);
    let object = format!("run/{name}");
    if layout.is_held() {
        if !known {
            let message = format!("container {name} is held by a process, and is not recorded");
            look.found("run-unknown", object, message);
        }
        return;
    }
    if !layout.run.exists() {
        return;
    }
    let message = format!("{:?} is left of a run that has ended", layout.run);
    look.repairable("run-stray", object, message, |engine| {
        // Settled as by any command, and removed when that leaves it.
        engine.recover()?;
        if let Some(_lock) = layout.try_lock().ok().flatten().filter(|_| !layout.is_unsettled()) {
            layout.clear_run();
        }
        match (layout.run.exists(), layout.is_held()) {
            (false, _) => Ok(Some("removed it".to_owned())),
            (true, true) => Ok(None),
            (true, false) => Err(EngineError::refused("removing it", "what it holds is not settled")),
        }
    });
}
