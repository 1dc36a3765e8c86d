//! `create`: from a request to a container that can be started, or to nothing at all.

use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use bulkhead_sandbox::plan::{SandboxPlan, plan};
use bulkhead_sandbox::spec::{SandboxSpec, outside};
use bulkhead_sandbox::verify::verify;
use rustix::fs::{Gid, Uid};

use crate::config::settle;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::ids;
use crate::images::{self, ImageRef};
use crate::layout::{Layout, now};
use crate::request::{ContainerRequest, NetMode, RestartPolicy};
use crate::resolve::{self, Context};
use crate::sharing::{self, Other};
use crate::store::{ContainerRecord, JoinWish, Joined, NewContainer, RangePool, RangeWish, new_id};
use crate::volumes::{self, Attachment};

fn spec_for(
    engine: &Engine,
    request: &ContainerRequest,
    parts: Parts<'_>,
    id: &str,
    range: Option<u32>,
    make_sources: bool,
) -> Result<(SandboxSpec, Layout), EngineError> {
    let Parts { image, other, volumes } = parts;
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
        other,
        volumes,
    })?;
    Ok((spec, layout))
}

/// The labels of the image belong to the container too, as in Docker; what was asked for wins.
fn with_labels_of(image: &ImageRef, request: &mut ContainerRequest) {
    for (key, value) in &image.config.labels {
        if !request.labels.iter().any(|(known, _)| known == key) {
            request.labels.push((key.clone(), value.clone()));
        }
    }
}

/// What the image and the store add to a request: labels, exposed ports, networks.
fn complete(engine: &Engine, image: &ImageRef, request: &mut ContainerRequest) -> Result<(), EngineError> {
    with_labels_of(image, request);
    crate::networks::settle(engine, request, image)
}

/// What a container is made of, beside its request.
#[derive(Clone, Copy)]
struct Parts<'a> {
    image: &'a ImageRef,
    other: Option<&'a Other>,
    volumes: &'a Attachment,
}

/// What `run` would do.
#[derive(Debug)]
pub struct DryRun {
    /// The sandbox that it would start.
    pub plan: SandboxPlan,
    /// The networks and ports in words.
    pub network: String,
}

impl DryRun {
    /// All of it as text.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("network {}\n{}", self.network, self.plan.describe())
    }
}

/// The plan that `run` would carry out. Nothing is changed, but that root's default network is recorded.
///
/// # Errors
/// As [`super::run`].
pub fn dry_run(engine: &Engine, request: &ContainerRequest) -> Result<DryRun, EngineError> {
    let request = &settle(&engine.config, request)?;
    let other = sharing::wanted(engine, request)?;
    let image = images::find(engine, &request.image)?;
    images::trust::may_start(engine, &request.image, image.id.as_deref())?;
    let volumes = volumes::attach(engine, request, &image)?;
    let mut request = volumes.request.clone();
    complete(engine, &image, &mut request)?;
    let request = &request;
    let parts = Parts { image: &image, other: other.as_ref(), volumes: &volumes };
    let facts = engine.facts()?;
    let own = || facts.privileged.then(|| RangePool::default().start);
    let range = other.as_ref().and_then(|o| o.range).or_else(own);
    let (spec, _) = spec_for(engine, request, parts, &new_id()?, range, false)?;
    let plan = plan(&spec, facts)?;
    verify(&plan).map_err(|e| EngineError::Start(e.into()))?;
    let find = |join: &JoinWish| -> Result<Joined, EngineError> {
        Ok(Joined {
            network: engine.store()?.find_network(&join.network)?,
            wish: join.clone(),
            lease: None,
            peers: Vec::new(),
        })
    };
    let joined = request.net.joins.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    Ok(DryRun { plan, network: crate::networks::describe(request, &joined, &[]) })
}

/// A container that is there and does not run yet. Dropped before it is kept, it is removed again.
pub(super) struct Fresh<'a> {
    engine: &'a Engine,
    pub(super) record: ContainerRecord,
    pub(super) spec: SandboxSpec,
    pub(super) plan: SandboxPlan,
    pub(super) image: ImageRef,
    pub(super) layout: Layout,
    /// Held until a monitor has it.
    pub(super) lock: Option<OwnedFd>,
    kept: bool,
    /// The specification as text, where its start stores it.
    pub(super) unstored: Option<Vec<u8>>,
}

impl Fresh<'_> {
    /// It stays.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // The reason is on its way to the user; what stays is found by the next command.
            drop(match self.lock {
                Some(_) => super::remove::discard(self.engine, &self.record.id, true),
                None => super::remove::remove_by_id(self.engine, &self.record.id),
            });
        }
    }
}

/// Makes the record, the directories and the plan of a container. The caller holds its lock with what is returned.
pub(super) fn make<'a>(engine: &'a Engine, request: &ContainerRequest, ready: bool) -> Result<Fresh<'a>, EngineError> {
    engine.recover()?;
    if request.auto_remove && request.restart != RestartPolicy::No {
        return Err(EngineError::refused("--rm with --restart", "one removes what the other would start again"));
    }
    let request = &settle(&engine.config, request)?;
    let other = sharing::wanted(engine, request)?;
    let image = images::find(engine, &request.image)?;
    images::trust::may_start(engine, &request.image, image.id.as_deref())?;
    let mut volumes = volumes::attach(engine, request, &image)?;
    let mut request = volumes.request.clone();
    complete(engine, &image, &mut request)?;
    let request = &request;
    let parts = Parts { image: &image, other: other.as_ref(), volumes: &volumes };
    let facts = engine.facts()?;
    let id = new_id()?;
    // Everything that can be refused is refused before anything is made.
    let own = || facts.privileged.then(|| RangePool::default().start);
    let provisional = other.as_ref().and_then(|o| o.range).or_else(own);
    let (spec, layout) = spec_for(engine, request, parts, &id, provisional, true)?;
    let checked = plan(&spec, facts)?;
    let Some(lock) = layout.claim()? else {
        return Err(EngineError::refused("the new container", "its lock is held by another process"));
    };
    let forbidden = if facts.privileged { ids::forbidden()? } else { Vec::new() };
    let wish = facts.privileged.then(|| RangeWish {
        pool: RangePool::default(),
        forbidden: &forbidden,
        beside: other.as_ref().map(|o| o.share.with.as_str()),
    });
    let new = NewContainer {
        id: Some(id.clone()),
        name: request.name.clone(),
        image_id: image.id.clone(),
        created: now(),
        auto_remove: request.auto_remove,
        request: request.clone(),
        volumes: Vec::new(),
        networks: request.net.joins.clone(),
    };
    let record = match volumes.record(engine, new, wish) {
        Ok(record) => record,
        Err(e) => {
            layout.clear_run();
            return Err(e);
        }
    };
    let lock = Some(lock);
    let mut fresh = Fresh { engine, record, spec, plan: checked, image, layout, lock, kept: false, unstored: None };
    if let Some(range) = fresh.record.range {
        // Nothing else in it depends on which slot it is.
        fresh.spec.ids = ids::own(range.start);
        fresh.plan = plan(&fresh.spec, facts)?;
    }
    // What a start at once changes anyway is left to it.
    let later = !ready && request.net.mode == NetMode::Networks;
    make_directories(&fresh.layout, &fresh.spec, request, later)?;
    volumes.fill(engine, &fresh.image, &id)?;
    let text = serde_json::to_vec(&fresh.spec)
        .map_err(|e| EngineError::io("store", &fresh.layout.dir)(std::io::Error::other(e)))?;
    if later {
        fresh.unstored = Some(text);
    } else {
        engine.store()?.set_spec(&id, &text, ready)?;
    }
    super::container_event(engine, &fresh.record, "create");
    Ok(fresh)
}

/// Makes a container and does not start it; returns its id, 64 hex digits.
///
/// # Errors
/// What was attempted, on what; nothing of the container is left.
pub fn create(engine: &Engine, request: &ContainerRequest) -> Result<String, EngineError> {
    let mut fresh = make(engine, request, true)?;
    fresh.keep();
    // Nobody runs it: nothing of it is in the run directory.
    fresh.layout.clear_run();
    Ok(fresh.record.id.clone())
}

fn make_directories(
    layout: &Layout,
    spec: &SandboxSpec,
    request: &ContainerRequest,
    later: bool,
) -> Result<(), EngineError> {
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
    crate::networks::make_etc(&layout.etc(), &spec.hostname, request, later)
}
