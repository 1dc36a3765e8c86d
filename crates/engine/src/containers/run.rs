//! `run`: from a request to a running container, or to nothing at all.

use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use bulkhead_sandbox::plan::{SandboxPlan, plan};
use bulkhead_sandbox::spec::{SandboxSpec, outside};
use bulkhead_sandbox::verify::verify;
use rustix::fs::{Gid, Uid};

use super::spawn::spawn;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::frame::{Decoder, kind};
use crate::ids;
use crate::images::{self, ImageRef};
use crate::layout::{Layout, now};
use crate::monitor::{Failure, MonitorOrder};
use crate::request::ContainerRequest;
use crate::resolve::{self, Context};
use crate::store::{NewContainer, RangePool, RangeWish, new_id};
use crate::volumes::{self, Attachment};

/// A container that was started.
#[derive(Debug)]
pub struct Started {
    /// 64 hex digits.
    pub id: String,
    /// Socket to its monitor, which speaks [`crate::frame`]s; `None` when it was detached.
    pub socket: Option<OwnedFd>,
}

fn spec_for(
    engine: &Engine,
    request: &ContainerRequest,
    image: &ImageRef,
    id: &str,
    range: Option<u32>,
    make_sources: bool,
    volumes: &Attachment,
) -> Result<(SandboxSpec, Layout), EngineError> {
    let facts = engine.facts()?;
    let layout = Layout::new(&engine.paths, id);
    let ids = match range {
        Some(start) => ids::own(start),
        None => ids::of_user(facts),
    };
    let spec = resolve::resolve(&Context {
        id,
        request,
        image,
        ids,
        layout: &layout,
        facts,
        own_places: engine.own_places(),
        make_sources,
        volumes,
    })?;
    Ok((spec, layout))
}

/// The plan that `run` would carry out. Nothing is changed.
///
/// # Errors
/// As [`run`].
pub fn dry_run(engine: &Engine, request: &ContainerRequest) -> Result<SandboxPlan, EngineError> {
    let image = images::find(engine, &request.image)?;
    let volumes = volumes::attach(engine, request, &image)?;
    let request = &volumes.request;
    let facts = engine.facts()?;
    let range = facts.privileged.then(|| RangePool::default().start);
    let (spec, _) = spec_for(engine, request, &image, &new_id()?, range, false, &volumes)?;
    let plan = plan(&spec, facts)?;
    verify(&plan).map_err(|e| EngineError::Start(e.into()))?;
    Ok(plan)
}

/// Removes a container that did not come to be.
struct Unfinished<'a> {
    engine: &'a Engine,
    id: String,
    /// Held until the monitor has it.
    lock: Option<OwnedFd>,
    armed: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.armed {
            // The reason is on its way to the user; what stays is found by the next command.
            drop(match self.lock {
                Some(_) => super::remove::discard(self.engine, &self.id, true),
                None => super::remove::remove_by_id(self.engine, &self.id),
            });
        }
    }
}

/// Starts a container and returns when its program runs.
///
/// # Errors
/// What was attempted, on what; nothing of the container is left.
pub fn run(engine: &Engine, request: &ContainerRequest) -> Result<Started, EngineError> {
    engine.recover()?;
    let image = images::find(engine, &request.image)?;
    let mut volumes = volumes::attach(engine, request, &image)?;
    let request = &volumes.request.clone();
    let facts = engine.facts()?;
    let id = new_id()?;
    // Everything that can be refused is refused before anything is made.
    let provisional = facts.privileged.then(|| RangePool::default().start);
    let (checked, layout) = spec_for(engine, request, &image, &id, provisional, true, &volumes)?;
    plan(&checked, facts)?;
    let Some(lock) = layout.claim()? else {
        return Err(EngineError::refused("the new container", "its lock is held by another process"));
    };
    let mut unfinished = Unfinished { engine, id: id.clone(), lock: Some(lock), armed: true };
    let forbidden = if facts.privileged { ids::forbidden()? } else { Vec::new() };
    let wish = facts.privileged.then(|| RangeWish { pool: RangePool::default(), forbidden: &forbidden });
    let new = NewContainer {
        id: Some(id.clone()),
        name: request.name.clone(),
        image_id: image.id.clone(),
        created: now(),
        auto_remove: request.auto_remove,
        request: request.clone(),
        volumes: Vec::new(),
    };
    let record = volumes.record(engine, new, wish)?;
    let mut spec = checked;
    if let Some(range) = record.range {
        // Nothing else in it depends on which slot it is.
        spec.ids = ids::own(range.start);
    }
    let plan = plan(&spec, facts)?;
    let text =
        serde_json::to_vec(&spec).map_err(|e| EngineError::io("store", &layout.dir)(std::io::Error::other(e)))?;
    engine.store()?.set_spec(&id, &text)?;
    make_directories(&layout, &spec)?;
    volumes.fill(engine, &image, &id)?;
    let own_ids = |inside_uid, inside_gid| {
        outside(&spec.ids.uids, inside_uid).zip(outside(&spec.ids.gids, inside_gid)).filter(|_| facts.privileged)
    };
    let order = MonitorOrder {
        plan,
        layout: layout.clone(),
        log: resolve::default_log(),
        terminal: request.tty,
        size: request.size,
        stdin: request.stdin && !request.detach,
        pipe_owner: own_ids(spec.process.identity.uid, spec.process.identity.gid),
        cleanup: request.auto_remove.then(|| cleanup_command(&id)).transpose()?,
        cleanup_env: cleanup_env(engine),
    };
    let lock = unfinished.lock.as_ref().ok_or_else(|| EngineError::refused("the new container", "it has no lock"))?;
    let socket = spawn(engine, "monitor", &order, &[lock])?;
    unfinished.lock = None;
    volumes::emit_mounts(engine, &id, request);
    if request.detach {
        await_start(&socket)?;
        unfinished.armed = false;
        return Ok(Started { id, socket: None });
    }
    // A start that fails is told over the socket, like everything else; the caller removes what is left.
    unfinished.armed = false;
    Ok(Started { id, socket: Some(socket) })
}

/// The program that removes a container whose command has gone.
fn cleanup_command(id: &str) -> Result<(std::path::PathBuf, Vec<String>), EngineError> {
    let path = Path::new("/proc/self/exe");
    let program = std::fs::read_link(path).map_err(EngineError::io("read", path))?;
    Ok((program, vec!["cleanup".to_owned(), id.to_owned()]))
}

fn cleanup_env(engine: &Engine) -> Vec<(String, String)> {
    [("BULKHEAD_ROOT", &engine.paths.root), ("BULKHEAD_RUN", &engine.paths.run)]
        .map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned()))
        .to_vec()
}

fn make_directories(layout: &Layout, spec: &SandboxSpec) -> Result<(), EngineError> {
    let make = |path: &Path, mode| {
        std::fs::DirBuilder::new().mode(mode).create(path).map_err(EngineError::io("make", path))?;
        // Whatever the umask is.
        rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode)).map_err(EngineError::io("set the mode of", path))
    };
    make(&layout.dir, 0o700)?;
    make(&layout.log(), 0o700)?;
    make(&layout.writable(), 0o755)?;
    for name in ["upper", "work"] {
        let path = layout.writable().join(name);
        make(&path, 0o755)?;
        if let (Some(uid), Some(gid)) = (outside(&spec.ids.uids, 0), outside(&spec.ids.gids, 0)) {
            rustix::fs::chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(EngineError::io("give to the container", &path))?;
        }
    }
    resolve::mounts::write_etc(&layout.etc(), &spec.hostname)
}

/// Waits for the monitor's word that the program runs.
pub(super) fn await_start(socket: &OwnedFd) -> Result<(), EngineError> {
    let mut decoder = Decoder::default();
    let mut chunk = [0_u8; 4096];
    let lost = || EngineError::Reported {
        message: "the monitor of the container ended without a word".to_owned(),
        hint: None,
        exit: 125,
    };
    loop {
        let read = match rustix::io::read(socket, &mut chunk) {
            Ok(0) => return Err(lost()),
            Ok(read) => read,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return Err(lost()),
        };
        decoder.push(chunk.get(..read).unwrap_or_default());
        match decoder.next_frame() {
            Ok(Some((kind::STARTED, _))) => return Ok(()),
            Ok(Some((kind::ERROR, text))) => {
                let failure: Failure = serde_json::from_slice(&text).map_err(|_| lost())?;
                return Err(EngineError::Reported { message: failure.message, hint: failure.hint, exit: failure.exit });
            }
            Ok(Some(_)) | Err(_) => return Err(lost()),
            Ok(None) => {}
        }
    }
}
