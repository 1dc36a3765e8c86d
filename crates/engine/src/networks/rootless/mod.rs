//! The network of an ordinary user: a user namespace and a network namespace in it, which all his containers of one store
//! have their networks in.
//!
//! A process, the [`keeper`], holds both for as long as somebody uses them, and a moment longer. Whoever uses them has a
//! shared lock and descriptors of both, so nothing is lost with the keeper: the next command that needs one starts another
//! for what is there.

mod keeper;
mod pasta;

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bulkhead_sandbox::spec::IdMaps;
use bulkhead_sandbox::supervise::start_time;
use bulkhead_sys::proc::Proc;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::{Deserialize, Serialize};

pub use self::keeper::main as keeper;
pub(super) use self::pasta::MTU;
use super::place::{Place, UserNetwork};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::{Layout, read_json};
use crate::store::Paths;

/// What the keeper has written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The process that has the namespaces, and its start time.
    pid: i32,
    started: u64,
    /// Ids that the user namespace has, as the host has them.
    ids: IdMaps,
    /// Numbers of the namespaces.
    user: u64,
    net: u64,
    /// Why there is no way out; nothing when there is one.
    closed: Option<String>,
}

/// The files of the user's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Files {
    dir: PathBuf,
}

impl Files {
    fn new(paths: &Paths) -> Self {
        Self { dir: paths.run.join("network") }
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// Held shared by everyone who uses it.
    fn used(&self) -> PathBuf {
        self.dir.join("used")
    }

    /// Held by whoever starts a keeper.
    fn making(&self) -> PathBuf {
        self.dir.join("making")
    }

    fn read(&self) -> Option<State> {
        read_json(&self.state())
    }
}

/// Opens a file to lock it; makes it where there is none.
fn lock_file(path: &Path) -> Result<OwnedFd, EngineError> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(EngineError::io("open", path))
}

/// Waits for a lock.
fn locked(path: &Path, how: FlockOperation) -> Result<OwnedFd, EngineError> {
    let file = lock_file(path)?;
    loop {
        match flock(&file, how) {
            Err(rustix::io::Errno::INTR) => {}
            done => return done.map(|()| file).map_err(EngineError::io("lock", path)),
        }
    }
}

/// Both namespaces by descriptors: of the process that holds them, or of a monitor that has them open.
fn open(state: &State, paths: &Paths) -> Option<(OwnedFd, OwnedFd, bool)> {
    let proc = Proc::host().ok()?;
    let own = || {
        let user = proc.namespace(state.pid, c"user").ok()?;
        let net = proc.namespace(state.pid, c"net").ok()?;
        // Looked at after they are held: the number may have been given to another process meanwhile.
        let same = start_time(state.pid) == Some(state.started);
        (same && is(&user, state.user) && is(&net, state.net)).then_some((user, net))
    };
    match own() {
        Some((user, net)) => Some((user, net, true)),
        None => survivors(state, paths).map(|(user, net)| (user, net, false)),
    }
}

fn is(fd: &OwnedFd, inode: u64) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_ino == inode)
}

/// From the monitors of containers that run: each has both open.
fn survivors(state: &State, paths: &Paths) -> Option<(OwnedFd, OwnedFd)> {
    let containers = std::fs::read_dir(paths.run.join("containers")).ok()?.flatten();
    containers.filter_map(|entry| entry.file_name().into_string().ok()).find_map(|id| {
        let monitor = Layout::new(paths, &id).read_state()?.monitor;
        let of = |kind: &str, inode: u64| {
            let wanted = format!("{kind}:[{inode}]");
            let all = std::fs::read_dir(format!("/proc/{monitor}/fd")).ok()?.flatten();
            let mut ours =
                all.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()));
            let file = ours.next()?;
            rustix::fs::open(file.path(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .ok()
                .filter(|fd| is(fd, inode))
        };
        Some((of("user", state.user)?, of("net", state.net)?))
    })
}

/// Where the networks of containers of this engine are, if they are anywhere. Makes nothing.
///
/// # Errors
/// What the file system says.
pub(crate) fn place(engine: &Engine) -> Result<Place, EngineError> {
    if engine.facts()?.privileged {
        return Ok(Place::Host);
    }
    let files = Files::new(&engine.paths);
    if !files.state().exists() {
        return Ok(Place::Nowhere);
    }
    let used = locked(&files.used(), FlockOperation::LockShared)?;
    let found = files.read().and_then(|state| open(&state, &engine.paths));
    Ok(found.map_or(Place::Nowhere, |(user, net, _)| Place::User(UserNetwork { user, net, used })))
}

/// Where they are to be, made where they are not yet; with the ids that the user namespace has.
///
/// # Errors
/// What keeps a keeper from being started.
pub(crate) fn ensure(engine: &Engine) -> Result<(Place, Option<IdMaps>), EngineError> {
    if engine.facts()?.privileged {
        return Ok((Place::Host, None));
    }
    let files = Files::new(&engine.paths);
    let made = std::fs::DirBuilder::new().mode(0o700).create(&files.dir);
    if let Err(e) = made
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(EngineError::io("make", &files.dir)(e));
    }
    // From here on no keeper ends for want of users.
    let used = locked(&files.used(), FlockOperation::LockShared)?;
    let kept = || {
        let state = files.read()?;
        match open(&state, &engine.paths) {
            Some((user, net, true)) => Some((user, net, state.ids)),
            _ => None,
        }
    };
    let making;
    let (user, net, ids) = match kept() {
        Some(found) => found,
        None => {
            making = locked(&files.making(), FlockOperation::LockExclusive)?;
            let found = match kept() {
                Some(found) => found,
                None => start(engine, &files, &making)?,
            };
            drop(making);
            found
        }
    };
    Ok((Place::User(UserNetwork { user, net, used }), Some(ids)))
}

/// Starts a keeper, for what monitors have left of the last one's, or anew. It holds `making` until it is ready.
fn start(engine: &Engine, files: &Files, making: &OwnedFd) -> Result<(OwnedFd, OwnedFd, IdMaps), EngineError> {
    let before =
        files.read().and_then(|state| open(&state, &engine.paths).map(|(user, net, _)| (user, net, state.ids)));
    let order = keeper::Order {
        files: files.clone(),
        ids: match &before {
            Some((.., ids)) => ids.clone(),
            None => crate::ids::of_user(engine.facts()?),
        },
        pasta: pasta::find(),
    };
    let adopted: Vec<&OwnedFd> = before.iter().flat_map(|(user, net, _)| [user, net]).chain([making]).collect();
    let socket = crate::containers::spawn(engine, keeper::VERB, &order, &adopted)?;
    crate::containers::await_start(&socket)?;
    let state = files.read();
    let opened = state.and_then(|state| open(&state, &engine.paths).map(|(user, net, _)| (user, net, state.ids)));
    opened.ok_or_else(|| EngineError::refused("the network of this user", "what holds it has ended at once"))
}

/// Why networks of this user have no way out; nothing when they have one, or would have.
///
/// # Errors
/// What cannot be known.
pub(crate) fn closed(engine: &Engine) -> Result<Option<String>, EngineError> {
    let files = Files::new(&engine.paths);
    let state = files.read().filter(|state| open(state, &engine.paths).is_some_and(|(.., kept)| kept));
    match state {
        Some(state) => Ok(state.closed),
        None => Ok(pasta::usable(pasta::find().as_deref()).err()),
    }
}

/// In words, when containers of a user run and his network is no more, or is held by nobody but them.
///
/// # Errors
/// What cannot be known.
pub(crate) fn lost(engine: &Engine) -> Result<Option<String>, EngineError> {
    if engine.facts()?.privileged {
        return Ok(None);
    }
    let state = Files::new(&engine.paths).read();
    Ok(match state.and_then(|state| open(&state, &engine.paths)) {
        Some((.., true)) => None,
        Some(_) => Some("the process that holds this user's network has ended, and the way out with it".to_owned()),
        None => Some("the network of this user is gone; restart its containers".to_owned()),
    })
}

/// Number of the namespace behind a descriptor.
fn number(file: &OwnedFd) -> Result<u64, EngineError> {
    let file = file.try_clone().map(std::fs::File::from);
    let meta = file.and_then(|file| file.metadata());
    meta.map(|meta| meta.ino()).map_err(EngineError::io("look at", Path::new("/proc/self/ns")))
}

/// What a descriptor gives until its end, or until there is nothing for the moment.
fn read_now(file: &OwnedFd) -> String {
    let mut text = String::new();
    if let Ok(file) = file.try_clone() {
        // An end that is not there yet is no error here.
        std::fs::File::from(file).read_to_string(&mut text).unwrap_or_default();
    }
    text
}
