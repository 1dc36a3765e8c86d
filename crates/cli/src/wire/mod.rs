//! The seam between the command line and the engine: plain types for what is asked and answered, and one function for
//! each call. Only this folder knows the engine's functions.

mod config;
pub mod files;
mod hidden;
pub mod images;
mod lifecycle;
mod networks;
mod observe;
pub mod registry;
mod system;
mod volumes;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use bulkhead_engine::containers::Which;
use bulkhead_engine::request::{ContainerRequest, ExecRequest, MountRequest, ProfileName};
use bulkhead_engine::store::StoreError;
use bulkhead_engine::{Engine, EngineError, containers as engine_containers};

pub use self::config::{ConfigRow, ConfigShown, config, default_profile, detach_keys};
pub use self::hidden::{cleanup, health, init, joiner, monitor, network_keeper, port_proxy, worker};
pub use self::images::{images, import, inspect_image, load, remove_image};
pub use self::lifecycle::{
    Attached, StartOptions, UpdateRequest, attach, create, pause, remove_ended, rename, restart, start, unpause,
    update, wait,
};
pub use self::networks::{
    Between, FlowRule, Graph, GraphFlow, GraphMember, GraphNetwork, JoinWish, Net, NetworkRequest, NetworkSummary, Out,
    Policy, PolicyChange, Stopped, Verified, change_policy, connect, create_network, disconnect, graph,
    inspect_network, networks, policy, prune_networks, remove_network, stopped, verify_networks,
};
pub use self::observe::{
    Event, EventKind, Interface, Processes, Published, Sample, StatsOf, Traffic, events, port, stats, top,
};
pub use self::system::{
    DiskUsage, Finding, PruneFilter, Pruned, Restored, disk_usage, fsck, halt, info, prune_anonymous_volumes,
    prune_containers, prune_images, restore,
};
pub use self::volumes::{
    Usage as VolumeUsage, VolumeSummary, create_volume, inspect_volume, prune_volumes, remove_volume, volume_usage,
    volumes,
};
use crate::error::CliError;

/// When `run` asks a registry for the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// When the image is not in the store.
    #[default]
    Missing,
    /// Never.
    Never,
    /// Always.
    Always,
}

/// What `run` was told beside the request itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Print the plan and change nothing.
    pub dry_run: bool,
    /// When to ask a registry.
    pub pull: Pull,
    /// Print nothing about that.
    pub quiet: bool,
}

/// What became of a `run` or `exec`.
#[derive(Debug)]
pub enum Started {
    /// `--dry-run`: the plan as text.
    Plan(String),
    /// It runs on its own; the text is the full container id (empty for `exec -d`).
    Detached(String),
    /// The stream socket to the monitor, which speaks the frames of [`crate::attach`]; the program may not have been
    /// started yet. With the full container id (empty for `exec`).
    Attached(OwnedFd, String),
}

/// State of a container; times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Recorded and never started.
    Created,
    /// Running.
    Running {
        /// Since when.
        since: i64,
    },
    /// Frozen.
    Paused {
        /// Running since.
        since: i64,
    },
    /// Ended; it is started again in a moment.
    Restarting {
        /// Exit code.
        code: u32,
        /// When it ended.
        at: i64,
    },
    /// Ended.
    Exited {
        /// Exit code; 128 + signal when a signal ended it.
        code: u32,
        /// When.
        at: i64,
    },
    /// Its monitor is gone without a word.
    Dead,
}

/// One line of `ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// 64 hex digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// Image as it was written.
    pub image: String,
    /// Image id: 64 hex digits, without `sha256:`.
    pub image_id: Option<String>,
    /// Program and arguments, entry point included.
    pub command: Vec<String>,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// State.
    pub state: State,
    /// `starting`, `healthy` or `unhealthy`, for one that runs and has health checks.
    pub health: Option<String>,
    /// Published ports as Docker writes them: `127.0.0.1:8080->80/tcp`.
    pub ports: Vec<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Networks.
    pub networks: Vec<String>,
    /// Volume names and bind sources.
    pub mounts: Vec<String>,
    /// Where they are mounted.
    pub targets: Vec<String>,
    /// Named loosenings of the defaults.
    pub grants: Vec<String>,
    /// (bytes of its own, bytes with the image); only when sizes were asked for.
    pub size: Option<(u64, u64)>,
}

/// One image of `images`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageSummary {
    /// 64 hex digits.
    pub id: String,
    /// Canonical references (`docker.io/library/alpine:3.20`); empty for an image without a name.
    pub references: Vec<String>,
    /// Canonical names with the digests that registries know it by.
    pub digests: Vec<String>,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Unpacked bytes.
    pub size: u64,
    /// Labels of its configuration.
    pub labels: Vec<(String, String)>,
    /// Fingerprints of keys that have signed it.
    pub signers: Vec<String>,
}

/// What `logs` shall show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogsRequest {
    /// Name, id or unique start of an id.
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last lines; `None` for all.
    pub tail: Option<u64>,
    /// Nothing older: nanoseconds since 1970.
    pub since: Option<i64>,
    /// Nothing newer: nanoseconds since 1970.
    pub until: Option<i64>,
}

/// A piece of a container's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Written to stderr instead of stdout.
    pub stderr: bool,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// The bytes, with their line end.
    pub bytes: &'a [u8],
}

/// What `rmi` did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRemoval {
    /// This reference is gone.
    Untagged(String),
    /// This image or layer (hex) is gone.
    Deleted(String),
}

/// What `import` shall make an image of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportRequest {
    /// A tar archive; `None` for standard input.
    pub file: Option<PathBuf>,
    /// Reference as written.
    pub reference: Option<String>,
    /// Dockerfile instructions (`CMD ["sh"]`), as written.
    pub changes: Vec<String>,
    /// Comment.
    pub message: Option<String>,
}

fn told(error: &EngineError, code: u8) -> CliError {
    CliError { message: error.chain(), hint: error.hint(), code }
}

/// An error of a command that starts nothing.
fn failed(error: EngineError) -> CliError {
    told(&error, crate::error::FAILED)
}

/// An error of a command that starts something.
fn unstarted(error: EngineError) -> CliError {
    told(&error, error.exit_code())
}

/// The engine of this command: one for all calls, so that what the host offers is looked at once.
fn engine() -> Result<&'static Engine, CliError> {
    thread_local! {
        static ENGINE: std::cell::OnceCell<&'static Engine> = const { std::cell::OnceCell::new() };
    }
    ENGINE.with(|cell| {
        if let Some(engine) = cell.get() {
            return Ok(*engine);
        }
        let engine: &'static Engine = Box::leak(Box::new(Engine::new().map_err(failed)?));
        Ok(*cell.get_or_init(|| engine))
    })
}

/// Shows on stderr how far the engine is with `what` (`loading a.tar`), until the answer is dropped.
///
/// # Errors
///
/// What the engine says.
pub fn follow(what: impl Into<String>) -> Result<crate::output::progress::Bar, CliError> {
    let bar = crate::output::progress::Bar::start(what);
    engine()?.set_progress(bar.reports());
    Ok(bar)
}

/// Starts a container, or prints its plan. Errors carry exit code 125, 126 or 127.
///
/// # Errors
///
/// What the engine says.
pub fn run(request: &ContainerRequest, options: &RunOptions) -> Result<Started, CliError> {
    let engine = engine()?;
    if options.dry_run {
        let plan = engine_containers::dry_run(engine, request).map_err(|e| refused(engine, request, e))?;
        return Ok(Started::Plan(plan.describe()));
    }
    registry::ensure(request, options)?;
    let started = engine_containers::run(engine, request).map_err(|e| refused(engine, request, e))?;
    Ok(match started.socket {
        Some(socket) => Started::Attached(socket, started.id),
        None => Started::Detached(started.id),
    })
}

/// How one comes by an image.
const WAYS: &str = "'bulkhead images' lists what is here; 'bulkhead pull', 'bulkhead load' and 'bulkhead import' bring more; \
                    'host' is built in";

/// An image that is not there, with the way to get one.
fn no_image(error: EngineError) -> CliError {
    match &error {
        EngineError::Image(_) => unstarted(error).with_hint(WAYS),
        _ => unstarted(error),
    }
}

/// A start that was refused: where a limit comes from that nobody asked for on the command line.
fn refused(engine: &Engine, request: &ContainerRequest, error: EngineError) -> CliError {
    if !matches!(error, EngineError::Plan(_)) {
        return no_image(error);
    }
    let told = unstarted(error);
    match bulkhead_engine::config::origin(&engine.config, request) {
        Some(origin) if told.hint.is_none() => told.with_hint(origin),
        _ => told,
    }
}

/// Ends what [`run`] began, after an attached program has ended (`started`) or could not be started.
///
/// # Errors
///
/// What the engine says.
pub fn finish_run(id: &str, request: &ContainerRequest, started: bool) -> Result<(), CliError> {
    if !started || request.auto_remove {
        engine_containers::remove_by_id(engine()?, id).map_err(unstarted)?;
    }
    Ok(())
}

/// Starts a program in a running container. Errors carry exit code 125, 126 or 127.
///
/// # Errors
///
/// What the engine says.
pub fn exec(request: &ExecRequest) -> Result<Started, CliError> {
    match engine_containers::exec(engine()?, request).map_err(unstarted)? {
        Some(socket) => Ok(Started::Attached(socket, String::new())),
        None => Ok(Started::Detached(String::new())),
    }
}

fn mount_name(mount: &MountRequest) -> Option<String> {
    match mount {
        MountRequest::Bind { source, .. } => Some(source.display().to_string()),
        MountRequest::Volume { name, .. } => name.clone(),
        MountRequest::Tmpfs { .. } => None,
    }
}

fn mount_target(mount: &MountRequest) -> Option<String> {
    match mount {
        MountRequest::Bind { target, .. } | MountRequest::Volume { target, .. } => Some(target.display().to_string()),
        MountRequest::Tmpfs { .. } => None,
    }
}

fn profile_name(profile: ProfileName) -> Option<String> {
    (profile == ProfileName::Strict).then(|| "strict".to_owned())
}

/// The containers that are asked for, the newest first; `sizes` fills [`ContainerSummary::size`].
///
/// # Errors
///
/// What the engine says.
pub fn containers(which: Which, sizes: bool) -> Result<Vec<ContainerSummary>, CliError> {
    let engine = engine()?;
    let all = engine_containers::list(engine, which).map_err(failed)?;
    let images = if sizes { images()? } else { Vec::new() };
    let summary = |one: engine_containers::Summary| {
        let request = &one.record.request;
        let command = match &one.spec {
            Some(spec) => spec.process.args.clone(),
            None => request.args.clone(),
        };
        let mut grants: Vec<String> =
            one.spec.as_ref().map(|s| s.grants.iter().map(ToString::to_string).collect()).unwrap_or_default();
        grants.extend(profile_name(request.profile));
        let size = sizes.then(|| {
            let own = engine_containers::writable_size(engine, &one.record.id);
            let image = images.iter().find(|i| Some(&i.id) == one.record.image_id.as_ref()).map_or(0, |i| i.size);
            (own, own.saturating_add(image))
        });
        ContainerSummary {
            id: one.record.id.clone(),
            name: one.record.name.clone(),
            image: request.image.clone(),
            image_id: one.record.image_id.clone(),
            command,
            created: one.record.created,
            state: match one.state {
                engine_containers::State::Created => State::Created,
                engine_containers::State::Running { since } => State::Running { since },
                engine_containers::State::Paused { since } => State::Paused { since },
                engine_containers::State::Restarting { code, at } => State::Restarting { code, at },
                engine_containers::State::Exited { code, at } => State::Exited { code, at },
            },
            health: one.health,
            ports: one.ports,
            labels: request.labels.clone(),
            networks: one.networks,
            mounts: request.mounts.iter().filter_map(mount_name).collect(),
            targets: request.mounts.iter().filter_map(mount_target).collect(),
            grants,
            size,
        }
    };
    Ok(all.into_iter().map(summary).collect())
}

/// Hands the log to `sink`, piece by piece; an error of `sink` ends it.
///
/// # Errors
///
/// What the engine or `sink` says.
pub fn logs(request: &LogsRequest, sink: &mut dyn FnMut(LogEntry<'_>) -> Result<(), CliError>) -> Result<(), CliError> {
    let wanted = engine_containers::LogsRequest {
        container: request.container.clone(),
        follow: request.follow,
        tail: request.tail,
        since: request.since,
        until: request.until,
    };
    let mut stopped = None;
    let mut show = |piece: engine_containers::Piece<'_>| match sink(LogEntry {
        stderr: piece.stderr,
        time: piece.time,
        bytes: piece.bytes,
    }) {
        Ok(()) => true,
        Err(error) => {
            stopped = Some(error);
            false
        }
    };
    engine_containers::logs(engine()?, &wanted, &mut show).map_err(failed)?;
    stopped.map_or(Ok(()), Err)
}

/// Stops a container: `signal` (`None`: its own stop signal), and after `timeout` seconds (`None`: its own; -1: never)
/// SIGKILL. Returns when it has ended; one that does not run is no error.
///
/// # Errors
///
/// What the engine says.
pub fn stop(container: &str, signal: Option<i32>, timeout: Option<i64>) -> Result<(), CliError> {
    engine_containers::stop(engine()?, container, signal, timeout).map_err(failed)
}

/// Sends a signal to the first process of a running container.
///
/// # Errors
///
/// What the engine says.
pub fn kill(container: &str, signal: i32) -> Result<(), CliError> {
    engine_containers::kill(engine()?, container, signal).map_err(failed)
}

/// Removes a container; `force` kills it first, `volumes` takes its anonymous volumes along.
///
/// # Errors
///
/// What the engine says; that there is none is exit code 0 with `force`, as Docker has it.
pub fn remove(container: &str, force: bool, volumes: bool) -> Result<(), CliError> {
    engine_containers::remove(engine()?, container, force, volumes).map_err(|error| {
        let none = matches!(error, EngineError::Store(StoreError::NoSuchContainer { .. }));
        if none && force { told(&error, 0) } else { failed(error) }
    })
}

/// A container in the form of Docker's `inspect`; `None` when there is none of that name.
///
/// # Errors
///
/// What the engine says; a prefix that fits several containers is an error.
pub fn inspect_container(name: &str, sizes: bool) -> Result<Option<serde_json::Value>, CliError> {
    let engine = engine()?;
    let mut found = engine_containers::inspect(engine, name).map_err(failed)?;
    if let Some(serde_json::Value::Object(shown)) = found.as_mut().filter(|_| sizes) {
        let text = |key: &str| shown.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let own = engine_containers::writable_size(engine, text("Id"));
        let image = text("Image").trim_start_matches("sha256:").to_owned();
        let below = images()?.into_iter().find(|one| one.id.trim_start_matches("sha256:") == image);
        let all = own.saturating_add(below.map_or(0, |one| one.size));
        shown.insert("SizeRw".to_owned(), own.into());
        shown.insert("SizeRootFs".to_owned(), all.into());
    }
    Ok(found)
}

/// What holds a container in, and which defaults were loosened: as text, or as JSON.
///
/// # Errors
///
/// What the engine says.
pub fn explain(container: &str, json: bool) -> Result<String, CliError> {
    let explanation = engine_containers::explain(engine()?, container).map_err(failed)?;
    if json {
        return serde_json::to_string_pretty(&explanation).map_err(|e| CliError::chain(&e));
    }
    Ok(explanation.to_string())
}

/// Runs a program in a bare sandbox; returns its exit code. Errors carry exit code 125, 126 or 127.
///
/// # Errors
///
/// What the engine says.
pub fn sandbox(rootfs: &std::path::Path, args: &[String]) -> Result<u8, CliError> {
    bulkhead_engine::sandbox(engine()?, rootfs, args).map_err(unstarted)
}

/// A container's isolation beside what Docker gives without a flag, as a table.
///
/// # Errors
///
/// What the engine says.
pub fn compare(container: &str) -> Result<String, CliError> {
    Ok(engine_containers::explain(engine()?, container).map_err(failed)?.compare(crate::output::width()))
}
