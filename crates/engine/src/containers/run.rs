//! `run` and `start`: from a container that is there to one that runs.

use std::os::fd::OwnedFd;

use bulkhead_image::ImageConfig;
use bulkhead_sandbox::plan::{SandboxPlan, plan};
use bulkhead_sandbox::spec::{SandboxSpec, outside};

use super::create::make;
use super::health;
use super::spawn::{engine_program, spawn};
use super::stop::process;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::frame::{Decoder, kind};
use crate::layout::Layout;
use crate::monitor::{Failure, History, MonitorOrder};
use crate::networks::place::{Place, UserNetwork};
use crate::networks::{self, Taken};
use crate::request::{ContainerRequest, NetMode};
use crate::resolve;
use crate::store::ContainerRecord;

/// A container that was started.
#[derive(Debug)]
pub struct Started {
    /// 64 hex digits.
    pub id: String,
    /// Socket to its monitor, which speaks [`crate::frame`]s; `None` when it was detached.
    pub socket: Option<OwnedFd>,
    /// It has a terminal.
    pub tty: bool,
    /// It takes input.
    pub stdin: bool,
    /// It is removed at its end: by the command that is attached, or else by its monitor.
    pub auto_remove: bool,
}

/// How a container is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartOptions {
    /// The command stays and gets the output; without, it goes when the program runs.
    pub attach: bool,
    /// It gives input too.
    pub stdin: bool,
    /// Rows and columns of its terminal.
    pub size: Option<(u16, u16)>,
}

/// What is needed to start a container that is there.
struct Launch<'a> {
    record: &'a ContainerRecord,
    spec: &'a SandboxSpec,
    plan: SandboxPlan,
    image: &'a ImageConfig,
    layout: &'a Layout,
    options: StartOptions,
    /// The specification as text, where it is stored with what the container takes.
    unstored: Option<&'a [u8]>,
}

/// Takes addresses and starts the monitor, which inherits the lock.
fn launch(engine: &Engine, launch: Launch<'_>, lock: &OwnedFd) -> Result<OwnedFd, EngineError> {
    let id = launch.record.id.clone();
    let network = networks::take(engine, launch.record, launch.unstored)?;
    let begun = begin(engine, launch, lock, network);
    if begun.is_err() {
        networks::forget(engine, &id)?;
    }
    begun
}

fn begin(engine: &Engine, launch: Launch<'_>, lock: &OwnedFd, network: Option<Taken>) -> Result<OwnedFd, EngineError> {
    let Launch { record, spec, plan, image, layout, options, unstored: _ } = launch;
    let request = &record.request;
    let (network, joined, place) = match (network, spec.share.as_ref().filter(|s| s.network)) {
        (Some(Taken { order, joined, place }), _) => (Some(order), joined, Some(place)),
        // One that shares another's network has the other's addresses.
        (None, Some(share)) => (None, engine.store()?.joined(&share.with)?, None),
        (None, None) => (None, Vec::new(), None),
    };
    if !joined.is_empty() || matches!(request.net.mode, NetMode::Networks | NetMode::Host) {
        networks::write_etc(&layout.etc(), &spec.hostname, request, &joined)?;
    }
    let identity = &spec.process.identity;
    let privileged = engine.facts()?.privileged;
    let cleanup = match record.auto_remove {
        true => {
            let (program, env) = engine_program(engine)?;
            Some((program, vec!["cleanup".to_owned(), record.id.clone()], env))
        }
        false => None,
    };
    let (cleanup, cleanup_env) = match cleanup {
        Some((program, args, env)) => (Some((program, args)), env),
        None => (None, Vec::new()),
    };
    let order = MonitorOrder {
        plan,
        layout: layout.clone(),
        log: resolve::log(&request.log),
        restart: request.restart,
        health: health::order(engine, &record.id, request, image)?,
        history: History {
            log: engine.events(),
            id: record.id.clone(),
            attributes: super::attributes(record),
            renamed: layout.renamed(),
        },
        terminal: request.tty,
        size: options.size,
        stdin: request.stdin,
        // What `run -i` gives ends with it; an input that was asked for in the background waits for others to attach.
        stdin_once: !request.detach,
        pipe_owner: outside(&spec.ids.uids, identity.uid)
            .zip(outside(&spec.ids.gids, identity.gid))
            .filter(|_| privileged),
        cleanup,
        cleanup_env,
        network,
    };
    let user = place.as_ref().and_then(Place::user);
    let further: Vec<&OwnedFd> =
        [lock].into_iter().chain(user.into_iter().flat_map(UserNetwork::descriptors)).collect();
    spawn(engine, "monitor", &order, &further)
}

/// Starts a new container and returns when its program runs.
///
/// # Errors
/// What was attempted, on what; nothing of the container is left.
pub fn run(engine: &Engine, request: &ContainerRequest) -> Result<Started, EngineError> {
    let mut fresh = make(engine, request, false)?;
    let options = StartOptions { attach: !request.detach, stdin: request.stdin, size: request.size };
    let begin = Launch {
        record: &fresh.record,
        spec: &fresh.spec,
        plan: fresh.plan.clone(),
        image: &fresh.image.config,
        layout: &fresh.layout,
        options,
        unstored: fresh.unstored.as_deref(),
    };
    let lock = fresh.lock.take().ok_or_else(|| EngineError::refused("the new container", "it has no lock"))?;
    let socket = match launch(engine, begin, &lock) {
        Ok(socket) => socket,
        Err(e) => {
            fresh.lock = Some(lock);
            return Err(e);
        }
    };
    drop(lock);
    crate::volumes::emit_mounts(engine, &fresh.record.id, &fresh.record.request);
    let id = fresh.record.id.clone();
    let started =
        |socket| Started { id, socket, tty: request.tty, stdin: request.stdin, auto_remove: request.auto_remove };
    if request.detach {
        await_start(&socket)?;
        fresh.keep();
        return Ok(started(None));
    }
    // A start that fails is told over the socket, like everything else; the caller removes what is left.
    fresh.keep();
    Ok(started(Some(socket)))
}

/// Starts a container that is there; one that runs already is left as it is, and nothing is returned.
///
/// # Errors
/// An unknown container; one that is paused; what its start needs and this host has not.
pub fn start(engine: &Engine, query: &str, options: StartOptions) -> Result<Option<Started>, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let layout = Layout::new(&engine.paths, &record.id);
    if let Some(state) = layout.read_state() {
        if super::pause::is_paused(&state) {
            return Err(super::stop::paused(&record));
        }
        if process(&state).is_some() {
            return Ok(None);
        }
        if state.restarting.is_some() {
            // Its monitor would start it a little later; now is better.
            super::stop::end(engine, &record, 9, Some(0))?;
        }
    }
    crate::images::trust::may_start(engine, &record.request.image, record.image_id.as_deref())?;
    let Some(lock) = layout.claim()? else { return Err(super::stop::busy(&record)) };
    if layout.read_state().is_some_and(|s| process(&s).is_some()) {
        return Ok(None);
    }
    layout.forget_failed();
    let mut spec = super::spec_of(&record)?;
    // What is at their places now is looked at as if it were asked for now.
    resolve::mounts::look_again(&mut spec.mounts, &engine.own_places())?;
    let image = crate::images::of_container(engine, &record)?;
    let begin = || -> Result<OwnedFd, EngineError> {
        let plan = plan(&spec, engine.facts()?)?;
        let (image, layout) = (&image.config, &layout);
        let begin = Launch { record: &record, spec: &spec, plan, image, layout, options, unstored: None };
        launch(engine, begin, &lock)
    };
    let socket = match begin() {
        Ok(socket) => socket,
        Err(e) => {
            layout.clear_run();
            layout.note_failed(&Failure::from(&e));
            return Err(e);
        }
    };
    drop(lock);
    crate::volumes::emit_mounts(engine, &record.id, &record.request);
    let started = |socket| Started {
        id: record.id.clone(),
        socket,
        tty: record.request.tty,
        stdin: record.request.stdin && options.stdin,
        auto_remove: record.auto_remove,
    };
    if options.attach {
        return Ok(Some(started(Some(socket))));
    }
    await_start(&socket)?;
    Ok(Some(started(None)))
}

/// Waits for the monitor's word that the program runs.
pub(crate) fn await_start(socket: &OwnedFd) -> Result<(), EngineError> {
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
