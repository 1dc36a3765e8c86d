//! `rm`, and the removal of containers that never came to be.

use std::path::PathBuf;

use bulkhead_sandbox::cgroup::{CgroupHandle, CgroupPlan, plan};
use bulkhead_sandbox::spec::Resources;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::worker::{remove_tree, settle};
use crate::layout::Layout;
use crate::store::StoreError;

/// Every directory that the control groups of container `id` can have, also of one that was killed half-way.
pub(crate) fn cgroup_directories(engine: &Engine, id: &str) -> Result<Vec<PathBuf>, EngineError> {
    let facts = engine.facts()?;
    // All of them: also those that only an asked-for limit makes.
    let mut directories = match plan(id, &Resources::default(), facts) {
        Ok(CgroupPlan::V1 { directories, .. }) => directories,
        Ok(CgroupPlan::V2 { directory, .. }) => vec![directory],
        Ok(CgroupPlan::None | CgroupPlan::Oci(_)) | Err(_) => Vec::new(),
    };
    if let bulkhead_sandbox::facts::CgroupLayout::V1 { controllers } = &facts.cgroup {
        for name in ["cpuset", "hugetlb"] {
            directories.extend(controllers.get(name).map(|m| m.join("bulkhead").join(id)));
        }
    }
    Ok(directories)
}

/// Removes all of a container that does not run: processes and control groups, files, record and id range, in this
/// order, so that a range is never free while a file of it exists. With `volumes` also its anonymous volumes that no
/// other container uses. The caller holds its lock.
pub(crate) fn discard(engine: &Engine, id: &str, volumes: bool) -> Result<(), EngineError> {
    let layout = Layout::new(&engine.paths, id);
    CgroupHandle::remove_all(&cgroup_directories(engine, id)?).map_err(|e| EngineError::Start(e.into()))?;
    crate::networks::unwire(engine, id)?;
    let record = engine.store()?.find_container(id).ok().filter(|r| r.id == id);
    if record.as_ref().is_some_and(|r| r.ready && !r.auto_remove) {
        // From here on it is one that never came to be: whoever finds the rest of its files removes it, now or after a
        // boot, and nobody takes it for a container that can be started.
        match engine.store()?.unready(id) {
            Err(e) if e.is_full() => {
                // What it wrote may be what fills the disk; without it there is room to write down that it goes.
                empty(engine, &layout)?;
                engine.store()?.unready(id)?;
            }
            other => other?,
        }
    }
    layout.forget_history();
    if !engine.facts()?.privileged {
        // Only an ordinary user's files are removed by a process of their own, which may be left.
        settle(engine, &layout.dir)?;
    }
    remove_tree(engine, &layout.dir)?;
    match crate::volumes::remove_container(engine, id, volumes) {
        Ok(()) => {
            if let Some(record) = record {
                super::container_event(engine, &record, "destroy");
            }
        }
        Err(EngineError::Store(StoreError::NoSuchContainer { .. })) => {}
        Err(e) => return Err(e),
    }
    layout.clear_run();
    Ok(())
}

/// Takes away what a container has written, and leaves it whole otherwise.
fn empty(engine: &Engine, layout: &Layout) -> Result<(), EngineError> {
    use std::os::unix::fs::MetadataExt;
    let upper = layout.writable().join("upper");
    let found = std::fs::metadata(&upper).map_err(EngineError::io("look at", &upper))?;
    remove_tree(engine, &upper)?;
    std::fs::create_dir(&upper).map_err(EngineError::io("make", &upper))?;
    let mode = rustix::fs::Mode::from_raw_mode(found.mode() & 0o7777);
    rustix::fs::chmod(&upper, mode).map_err(EngineError::io("set the mode of", &upper))?;
    let (user, group) = (rustix::fs::Uid::from_raw(found.uid()), rustix::fs::Gid::from_raw(found.gid()));
    rustix::fs::chown(&upper, Some(user), Some(group)).map_err(EngineError::io("give to the container", &upper))
}

/// Removes a container; `force` kills a running one first, `volumes` takes its anonymous volumes along.
///
/// # Errors
/// A container that runs, without `force`.
pub fn remove(engine: &Engine, query: &str, force: bool, volumes: bool) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let layout = Layout::new(&engine.paths, &record.id);
    if let Some(run) = layout.read_state() {
        if !force {
            let state = match (&run.restarting, super::pause::is_paused(&run)) {
                (Some(_), _) => "restarting",
                (None, true) => "paused",
                (None, false) => "running",
            };
            return Err(EngineError::State {
                name: record.name.clone(),
                state: state.to_owned(),
                hint: format!("stop it with 'bulkhead stop {0}', or use 'bulkhead rm -f {0}'", record.name),
            });
        }
        super::stop::end(engine, &record, 9, Some(0))?;
    }
    let Some(_lock) = layout.claim()? else { return Err(super::stop::busy(&record)) };
    discard(engine, &record.id, volumes)
}

/// Removes the container with this full id after its end, and its anonymous volumes: it was to be removed (`--rm`), or
/// did not come to be. One that is gone already is no error.
///
/// # Errors
/// What could not be removed.
pub fn remove_by_id(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let layout = Layout::new(&engine.paths, id);
    layout.wait_unlocked()?;
    // Who held it for so long a time is removing it.
    let Some(_lock) = layout.claim()? else { return Ok(()) };
    discard(engine, id, true)
}
