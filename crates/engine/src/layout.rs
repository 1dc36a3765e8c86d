//! Files of one container, on disk and in the run directory.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bulkhead_sandbox::join::Target;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::EngineError;
use crate::monitor::Failure;
use crate::store::Paths;

/// What a monitor writes when its container runs; it dies with the boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// First process, on the host.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub started: u64,
    /// The monitor.
    pub monitor: i32,
    /// Namespaces that were made for it (`CLONE_NEW*`).
    pub namespaces: u64,
    /// Directories of its control groups.
    pub cgroups: Vec<PathBuf>,
    /// When it started: nanoseconds since 1970.
    pub since: i64,
    /// Times that its monitor has started it again.
    #[serde(default)]
    pub restarts: u32,
    /// It has ended, and its monitor waits before it starts it again: how it ended. There is no process then.
    #[serde(default)]
    pub restarting: Option<ExitState>,
    /// It has health checks.
    #[serde(default)]
    pub health: bool,
}

/// What the user wants of a container: kept on disk, for the monitor's restarts and for the time after a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// It was started, and nobody has stopped it.
    Running,
    /// It was stopped.
    Stopped,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitState {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: u32,
    /// When it started: nanoseconds since 1970; 0 when it never did.
    pub since: i64,
    /// When it ended: nanoseconds since 1970.
    pub at: i64,
    /// Memory ran out and the kernel killed a process of it.
    pub out_of_memory: bool,
    /// Times that the limit on processes refused one.
    pub pids_refused: u64,
    /// Why, when it was not the program that ended it.
    pub error: Option<String>,
    /// Times that its monitor had started it again.
    #[serde(default)]
    pub restarts: u32,
}

/// Paths of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// On disk.
    pub dir: PathBuf,
    /// In the run directory.
    pub run: PathBuf,
}

impl Layout {
    /// Of container `id`.
    #[must_use]
    pub fn new(paths: &Paths, id: &str) -> Self {
        Self { dir: paths.container(id), run: paths.run_container(id) }
    }

    /// Of another container in the same places.
    #[must_use]
    pub fn beside(&self, id: &str) -> Self {
        let sibling = |path: &Path| path.parent().unwrap_or(path).join(id);
        Self { dir: sibling(&self.dir), run: sibling(&self.run) }
    }

    /// Where its namespaces are, while it runs.
    #[must_use]
    pub fn target(&self) -> Option<Target> {
        let state = self.read_state()?;
        Some(Target { pid: state.pid, started: state.started, namespaces: state.namespaces, cgroups: state.cgroups })
    }

    /// Holds `upper` and `work`.
    #[must_use]
    pub fn writable(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Generated `/etc` files.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.dir.join("etc")
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn state(&self) -> PathBuf {
        self.run.join("state.json")
    }

    pub(crate) fn exit(&self) -> PathBuf {
        self.dir.join("exit.json")
    }

    /// The socket that the monitor listens on. Its name is short, and it is used through the directory's descriptor: the
    /// address of a socket has room for 108 bytes.
    pub(crate) const CONTROL: &str = "ctl";

    /// What the last health checks said.
    #[must_use]
    pub fn health(&self) -> PathBuf {
        self.run.join("health.json")
    }

    /// The restart policy in force, when `update` has changed it since its monitor was told.
    pub(crate) fn policy(&self) -> PathBuf {
        self.run.join("restart.json")
    }

    /// Holds the name that it was given since its monitor was told.
    pub(crate) fn renamed(&self) -> PathBuf {
        self.run.join("name.json")
    }

    pub(crate) fn wanted(&self) -> PathBuf {
        self.dir.join("wanted.json")
    }

    /// What the user wants of it; nothing for one that never was started.
    #[must_use]
    pub fn read_wanted(&self) -> Option<Wanted> {
        read_json(&self.wanted())
    }

    /// Notes for the monitor that the container was stopped: in memory, so that it never lacks room.
    pub(crate) fn mark_stopped(&self) {
        drop(std::fs::write(self.run.join("stopped"), ""));
    }

    /// Whether the container was stopped in this run.
    pub(crate) fn is_marked_stopped(&self) -> bool {
        self.run.join("stopped").exists()
    }

    /// Writes what the user wants of it.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn write_wanted(&self, wanted: Wanted) -> Result<(), EngineError> {
        write_json(&self.wanted(), &wanted, false)
    }

    fn failed(&self) -> PathBuf {
        self.dir.join("failed.json")
    }

    /// Why the last start came to nothing; nothing when it did not.
    pub(crate) fn read_failed(&self) -> Option<Failure> {
        read_json(&self.failed())
    }

    /// Notes why a start came to nothing. It is for those who look later: what cannot be written is told all the same.
    pub(crate) fn note_failed(&self, failure: &Failure) {
        write_json(&self.failed(), failure, false).unwrap_or_default();
    }

    /// Begins anew: what was wrong with the last start is no more.
    pub(crate) fn forget_failed(&self) {
        drop(std::fs::remove_file(self.failed()));
    }

    /// The state that the monitor wrote; nothing when the container does not run.
    #[must_use]
    pub fn read_state(&self) -> Option<RunState> {
        read_json(&self.state())
    }

    /// Where the end is written when the disk is full.
    fn exit_in_memory(&self) -> PathBuf {
        self.run.join("exit.json")
    }

    /// Whether its run directory holds what is nowhere else: a run without an end, or an end that the disk did not take.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.read_state().is_some() || self.exit_in_memory().exists()
    }

    /// How it ended; nothing when it did not.
    #[must_use]
    pub fn read_exit(&self) -> Option<ExitState> {
        read_json(&self.exit()).or_else(|| read_json(&self.exit_in_memory()))
    }

    /// Writes the running state, at once or not at all.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn write_state(&self, state: &RunState) -> Result<(), EngineError> {
        write_json(&self.state(), state, false)
    }

    /// Takes back the running state of a program that could not be started.
    pub(crate) fn forget_state(&self) {
        drop(std::fs::remove_file(self.state()));
    }

    /// Writes how it ended, at once or not at all. `keep`: to survive a crash of the machine, and the run is forgotten;
    /// otherwise the container is about to be removed.
    ///
    /// On a full disk, which may be the container's own doing, it is kept in the run directory, and every later command
    /// tries again.
    ///
    /// # Errors
    /// The file operation that failed.
    pub fn write_exit(&self, exit: &ExitState, keep: bool) -> Result<(), EngineError> {
        if !keep {
            return write_json(&self.exit_in_memory(), exit, false);
        }
        let Err(error) = write_json(&self.exit(), exit, true) else {
            self.clear_run();
            return Ok(());
        };
        write_json(&self.exit_in_memory(), exit, false).map_err(|_| error)?;
        // What has an end does not run.
        drop(std::fs::remove_file(self.state()));
        Ok(())
    }

    fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// Whether a command or a monitor holds the container's lock.
    pub(crate) fn is_held(&self) -> bool {
        is_locked(&self.lock())
    }

    /// Takes the container's lock, which its command and then its monitor hold as long as they live. `None`: somebody
    /// else holds it, or held it and has removed it.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn try_lock(&self) -> Result<Option<OwnedFd>, EngineError> {
        let path = self.lock();
        let fd = rustix::fs::open(
            &path,
            OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::from_raw_mode(0o600),
        )
        .map_err(EngineError::io("open", &path))?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(is_at(&fd, &path).then_some(fd)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(EngineError::io("lock", &path)(e)),
        }
    }

    /// Takes the lock of a container that is to be made or removed, and makes the run directory for it where there is
    /// none. `None`: somebody else has held it for 10 seconds.
    ///
    /// A command that looks for left-overs between the making and the locking takes the directory for one, and removes
    /// it: then it is made again.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn claim(&self) -> Result<Option<OwnedFd>, EngineError> {
        self.claim_within(Duration::from_secs(10))
    }

    /// [`Layout::claim`], with another patience.
    ///
    /// # Errors
    /// As [`Layout::claim`].
    pub(crate) fn claim_within(&self, patience: Duration) -> Result<Option<OwnedFd>, EngineError> {
        let since = Instant::now();
        while since.elapsed() < patience {
            match std::fs::DirBuilder::new().mode(0o700).create(&self.run) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(EngineError::io("make", &self.run)(e));
                }
                _ => {}
            }
            match self.try_lock() {
                Ok(Some(lock)) => return Ok(Some(lock)),
                Ok(None) => {}
                Err(_) if !self.run.exists() => {}
                Err(e) => return Err(e),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(None)
    }

    /// Waits until nobody holds the lock any more.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub fn wait_unlocked(&self) -> Result<(), EngineError> {
        let path = self.lock();
        match rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => rustix::fs::flock(&fd, FlockOperation::LockExclusive).map_err(EngineError::io("lock", &path)),
            // The monitor has removed its files: it is done.
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(EngineError::io("open", &path)(e)),
        }
    }

    /// Forgets that it was ever started: it is about to be removed.
    pub(crate) fn forget_history(&self) {
        for file in [self.exit_in_memory(), self.exit(), self.state(), self.wanted()] {
            // What is not there needs no removal; what cannot be removed now goes with its directory.
            drop(std::fs::remove_file(file));
        }
    }

    /// Forgets what belongs to this run.
    pub fn clear_run(&self) {
        // What stays is found by the next command.
        drop(std::fs::remove_dir_all(&self.run));
    }
}

/// Whether somebody holds the lock file at `path`. Nothing is made for the look.
pub(crate) fn is_locked(path: &Path) -> bool {
    match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared).is_err(),
        Err(_) => false,
    }
}

/// Whether the file at `path` is still the one that was opened.
pub(crate) fn is_at(fd: &OwnedFd, path: &Path) -> bool {
    let Ok(opened) = rustix::fs::fstat(fd) else { return false };
    rustix::fs::lstat(path).is_ok_and(|found| (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino))
}

/// Reads a JSON file of ours; nothing when it is not there or was cut.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a JSON file under a temporary name and renames it into place.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T, durable: bool) -> Result<(), EngineError> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        if durable {
            file.sync_data()?;
        }
        std::fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        drop(std::fs::remove_file(&temporary));
        EngineError::io("write", path)(e)
    })
}

/// Nanoseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
