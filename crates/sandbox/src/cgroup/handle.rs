//! Control groups on the host: made, limited, read and removed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bulkhead_sys::{Errno, bpf};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{CgroupPlan, DeviceRule, Write};

/// A control group operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path:?}")]
pub struct CgroupError {
    what: String,
    path: PathBuf,
    source: std::io::Error,
}

impl CgroupError {
    pub(crate) fn new(what: impl Into<String>, path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self { what: what.into(), path: path.to_path_buf(), source: source.into() }
    }

    /// The kernel said that this user may not.
    pub(super) fn is_not_permitted(&self) -> bool {
        use std::io::ErrorKind;
        matches!(self.source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
    }
}

/// The group of one sandbox. Dropped without [`CgroupHandle::keep`], it removes what it made.
#[derive(Debug)]
pub struct CgroupHandle {
    directories: Vec<PathBuf>,
    /// The v2 directory, for `CLONE_INTO_CGROUP`.
    into: Option<OwnedFd>,
    /// `tasks` of each v1 directory.
    tasks: Vec<OwnedFd>,
    remove: bool,
    /// What was made of an OCI bundle's tree: there what was found is left.
    made: super::oci::Made,
    /// What systemd made; after the directories, for it ends what is in them.
    scope: Option<super::oci::Scope>,
}

/// Figures of a group. `None` where the host does not account it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of memory now.
    pub memory: Option<u64>,
    /// Most bytes of memory ever.
    pub memory_peak: Option<u64>,
    /// Limit in bytes.
    pub memory_limit: Option<u64>,
    /// Nanoseconds of CPU time.
    pub cpu_nanoseconds: Option<u64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
    /// Times that the pids limit refused a process.
    pub pids_refused: Option<u64>,
    /// Processes killed because memory ran out.
    pub oom_kills: Option<u64>,
}

fn write(write: &Write) -> Result<(), CgroupError> {
    let attempt = |source| CgroupError::new(format!("write {:?} to", write.value), &write.file, source);
    let mut file = OpenOptions::new().write(true).open(&write.file).map_err(attempt)?;
    file.write_all(write.value.as_bytes()).map_err(attempt)
}

/// Devices of the minimal `/dev`, and pseudo-terminals, as `devices.list` shows them.
const DEVICES: [&str; 8] =
    ["c 1:3 rw", "c 1:5 rw", "c 1:7 rw", "c 1:8 rw", "c 1:9 rw", "c 5:0 rw", "c 5:2 rw", "c 136:* rw"];

/// Writes the device list unless it is in force already: a group inherits its parent's when it is made, and nine writes
/// saved are a tenth of a millisecond of every start.
///
/// A parent passes its list on when a group is made below it, so one that was widened for the sake of one sandbox is
/// narrowed again for the next one here.
fn restrict_devices(directory: &Path, granted: &[DeviceRule]) -> Result<(), CgroupError> {
    let list = directory.join("devices.list");
    let text = std::fs::read_to_string(&list).map_err(|e| CgroupError::new("read", &list, e))?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let granted: Vec<String> = granted.iter().map(ToString::to_string).collect();
    let mut wanted: Vec<&str> = DEVICES.into_iter().chain(granted.iter().map(String::as_str)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if lines == wanted {
        return Ok(());
    }
    write(&Write { file: directory.join("devices.deny"), value: "a".to_owned() })?;
    for rule in wanted {
        write(&Write { file: directory.join("devices.allow"), value: rule.to_owned() })?;
    }
    Ok(())
}

/// Makes a directory; whether it is new.
fn make(directory: &Path) -> Result<bool, CgroupError> {
    match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(CgroupError::new("make the control group", directory, e)),
    }
}

impl CgroupHandle {
    /// Puts the calling process into the group.
    ///
    /// # Errors
    /// The group that does not take it.
    pub(crate) fn enter(&self) -> Result<(), CgroupError> {
        for directory in &self.directories {
            let tasks = directory.join("tasks");
            let file = if tasks.exists() { tasks } else { directory.join("cgroup.procs") };
            write(&Write { file, value: "0".to_owned() })?;
        }
        Ok(())
    }

    /// Makes the parent group, asserts its reserve, makes the sandbox's group and writes its limits.
    ///
    /// # Errors
    /// The first thing that failed; what was made is removed again.
    pub fn create(plan: &CgroupPlan) -> Result<Self, CgroupError> {
        let mut handle = Self {
            directories: Vec::new(),
            into: None,
            tasks: Vec::new(),
            remove: true,
            made: super::oci::Made::default(),
            scope: None,
        };
        match plan {
            CgroupPlan::None => {}
            CgroupPlan::Oci(group) => {
                handle.remove = false;
                handle.scope = group.unit.as_ref().map(super::oci::Scope::start).transpose()?;
                let doors = super::oci::make(group, &mut handle.made)?;
                handle.directories = group.directories();
                (handle.into, handle.tasks) = (doors.into, doors.tasks);
            }
            CgroupPlan::V1 { parents, reserve, directories, writes, devices, visible: _, granted } => {
                for parent in parents {
                    let new = make(parent)?;
                    if Some(parent) != devices.as_ref() {
                        continue;
                    }
                    if new {
                        restrict_devices(parent, &[])?;
                    }
                    // No group may have what its parent lacks.
                    for rule in granted {
                        write(&Write { file: parent.join("devices.allow"), value: rule.to_string() })?;
                    }
                }
                handle.fill(reserve, directories, writes)?;
                if let Some(parent) = devices {
                    for directory in directories.iter().filter(|d| d.starts_with(parent)) {
                        restrict_devices(directory, granted)?;
                    }
                }
                for directory in directories {
                    let tasks = directory.join("tasks");
                    let fd = rustix::fs::open(&tasks, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                        .map_err(|e| CgroupError::new("open", &tasks, e))?;
                    handle.tasks.push(fd);
                }
            }
            CgroupPlan::V2 { parent, reserve, directory, writes, device_filter, granted } => {
                make(parent)?;
                handle.fill(reserve, std::slice::from_ref(directory), writes)?;
                let fd = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|e| CgroupError::new("open", directory, e))?;
                if *device_filter {
                    filter_devices(directory, "the device filter", &super::device_program(granted))?;
                }
                handle.into = Some(fd);
            }
        }
        Ok(handle)
    }

    fn fill(&mut self, reserve: &[Write], directories: &[PathBuf], writes: &[Write]) -> Result<(), CgroupError> {
        for one in reserve {
            write(one)?;
        }
        for directory in directories {
            make(directory)?;
            self.directories.push(directory.clone());
        }
        for one in writes {
            write(one)?;
        }
        Ok(())
    }

    /// The v2 directory to clone into.
    #[must_use]
    pub fn into_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.into.as_ref().map(AsFd::as_fd)
    }

    /// The v1 `tasks` files to enter.
    #[must_use]
    pub fn tasks(&self) -> &[OwnedFd] {
        &self.tasks
    }

    /// Lets go of the descriptors that were only needed to enter.
    pub fn entered(&mut self) {
        bulkhead_sys::fd::close_all(std::mem::take(&mut self.tasks));
        self.into = None;
        if let Some(scope) = &mut self.scope {
            scope.entered();
        }
    }

    /// The directories, to be found again by [`CgroupHandle::remove_all`].
    #[must_use]
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Leaves the group in place when the handle is dropped.
    pub fn keep(&mut self) {
        self.remove = false;
        self.made.keep();
        if let Some(scope) = &mut self.scope {
            scope.keep();
        }
    }

    /// Kills what is left in the group and removes its directories, deepest first.
    ///
    /// # Errors
    /// The last one; all directories are tried.
    pub fn remove_all(directories: &[PathBuf]) -> Result<(), CgroupError> {
        let mut result = Ok(());
        let busy = remove_empty(directories);
        // All of them first: what is frozen in one hierarchy ends in none before it is let go there.
        for directory in &busy {
            kill_members(directory);
        }
        for directory in busy {
            if let Err(e) = remove_tree(directory, 0) {
                result = Err(e);
            }
        }
        result
    }
}

/// Removes those of the directories in which and below which nobody is; the others.
pub(super) fn remove_empty(directories: &[PathBuf]) -> Vec<&PathBuf> {
    let busy = |d: &&PathBuf| !matches!(rustix::fs::rmdir(d.as_path()), Ok(()) | Err(Errno::NOENT));
    directories.iter().filter(busy).collect()
}

impl Drop for CgroupHandle {
    fn drop(&mut self) {
        if self.remove {
            // Nobody is left to tell; the next command finds what stays.
            drop(Self::remove_all(&self.directories));
        }
    }
}

/// Removes `directory` and the groups below it, of which a container can have made some.
fn remove_tree(directory: &Path, depth: usize) -> Result<(), CgroupError> {
    const ATTEMPTS: u32 = 200;
    let mut attempt = 0;
    loop {
        match rustix::fs::rmdir(directory) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) if attempt < ATTEMPTS => {}
            Err(e) => return Err(CgroupError::new("remove the control group", directory, e)),
        }
        if attempt == 0 && depth < 64 {
            if let Ok(entries) = std::fs::read_dir(directory) {
                for entry in entries.flatten() {
                    if entry.file_type().is_ok_and(|t| t.is_dir()) {
                        remove_tree(&entry.path(), depth + 1)?;
                    }
                }
            }
            kill_members(directory);
        }
        attempt += 1;
        // A killed process leaves its group a moment after it was collected.
        std::thread::sleep(std::time::Duration::from_millis(if attempt < 20 { 1 } else { 20 }));
    }
}

fn kill_members(directory: &Path) {
    signal_members(directory);
    // A frozen process takes its end when it is let go.
    for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let file = directory.join(file);
        if file.exists() {
            std::fs::write(&file, thawed).unwrap_or_default();
        }
    }
}

fn signal_members(directory: &Path) {
    if std::fs::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let members = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 1) {
        // It may be gone already.
        bulkhead_sys::signal::kill(pid, 9).unwrap_or_default();
    }
}

/// Attaches a device filter to a v2 group, and then takes off what was attached before.
pub(super) fn filter_devices(directory: &Path, what: &str, program: &[bpf::Instruction]) -> Result<(), CgroupError> {
    let attempt = |source: Errno| CgroupError::new(format!("attach {what} to"), directory, source);
    let program = bpf::load_device_filter(program).map_err(attempt)?;
    let fd = rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(attempt)?;
    let before = bpf::device_filters(fd.as_fd()).map_err(attempt)?;
    bpf::attach_device_filter(fd.as_fd(), program.as_fd()).map_err(attempt)?;
    before.iter().try_for_each(|old| bpf::detach_device_filter(fd.as_fd(), old.as_fd())).map_err(attempt)
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok())
}

/// Reads the figures of the groups in `directories`.
#[must_use]
pub fn usage(directories: &[PathBuf]) -> Usage {
    let mut usage = Usage::default();
    for d in directories {
        let any = |names: &[&str]| names.iter().find_map(|n| number(&d.join(n)));
        usage.memory = usage.memory.or(any(&["memory.current", "memory.usage_in_bytes"]));
        usage.memory_peak = usage.memory_peak.or(any(&["memory.peak", "memory.max_usage_in_bytes"]));
        usage.memory_limit = usage.memory_limit.or(any(&["memory.max", "memory.limit_in_bytes"]));
        usage.cpu_nanoseconds = usage
            .cpu_nanoseconds
            .or(any(&["cpuacct.usage"]))
            .or_else(|| keyed(&d.join("cpu.stat"), "usage_usec ").map(|us| us.saturating_mul(1000)));
        usage.pids = usage.pids.or(any(&["pids.current"]));
        usage.pids_refused = usage.pids_refused.or_else(|| pids_refused(d));
        usage.oom_kills = usage.oom_kills.or_else(|| oom_kills(d));
    }
    usage
}

fn pids_refused(directory: &Path) -> Option<u64> {
    keyed(&directory.join("pids.events"), "max ")
}

fn oom_kills(directory: &Path) -> Option<u64> {
    let kills = |name: &str| keyed(&directory.join(name), "oom_kill ");
    kills("memory.events").or_else(|| kills("memory.oom_control"))
}

/// How often the limits of a group said no; 0 where the host does not count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Processes killed because memory ran out.
    pub oom_kills: u64,
    /// Times that the pids limit refused a process.
    pub pids: u64,
}

/// Reads the refusals of the groups in `directories`: at the end of a run nothing else of [`usage`] is wanted.
#[must_use]
pub fn refusals(directories: &[PathBuf]) -> Refusals {
    let first = |count: fn(&Path) -> Option<u64>| directories.iter().find_map(|d| count(d)).unwrap_or(0);
    Refusals { oom_kills: first(oom_kills), pids: first(pids_refused) }
}

/// Writes the limits of a sandbox that runs. Some files take a value only after another one was written (memory with
/// and without swap), so what fails is tried once more after the rest.
///
/// # Errors
/// The first one that failed twice: a group that was not made for this limit, or a value below what is in use.
pub fn change(plan: &CgroupPlan) -> Result<(), CgroupError> {
    let (CgroupPlan::V1 { writes, .. } | CgroupPlan::V2 { writes, .. }) = plan else { return Ok(()) };
    let refused: Vec<&Write> = writes.iter().filter(|one| write(one).is_err()).collect();
    refused.into_iter().try_for_each(write)
}
