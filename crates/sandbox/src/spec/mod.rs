//! What must hold in a sandbox.
//!
//! A spec is complete and free of the host: which kernel features carry it out is the planner's business. Its defaults
//! are the secure ones; every loosening is visible as a [`Grant`].

pub mod caps;
mod text;

use std::path::PathBuf;

use bulkhead_sys::clone;
use serde::{Deserialize, Serialize};

pub use self::caps::Caps;
pub use self::text::Text;
pub use crate::cgroup::DeviceRule;

/// A named loosening of a default. It is shown by `explain`, in the plan and by `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// The process may gain privileges by `execve`; set-user-id bits work inside.
    NewPrivileges,
    /// No system call filter.
    SeccompUnconfined,
    /// A filter other than the built-in one.
    SeccompCustom,
    /// Capabilities beyond the default set, by name.
    Capabilities(Vec<String>),
    /// No masked and no read-only kernel files.
    KernelPaths,
    /// Mounts may be made inside: no Landlock layer.
    Mounts,
    /// All capabilities inside the own user namespace (`--privileged`).
    Privileged,
    /// Docker's own defaults instead of the hardened ones (`--profile compat`).
    Compat,
    /// A device of the host.
    Device {
        /// Path inside.
        target: String,
        /// Which, and what may be done with it.
        rule: DeviceRule,
    },
    /// Mounts, devices and control groups are those that the caller of the OCI runtime asks for.
    Bundle,
    /// No namespace of its own of these kinds: the host's. A container can be given the network so, and nothing else.
    Host(Vec<String>),
    /// Namespaces of these kinds that somebody else has made.
    Entered(Vec<String>),
    /// The user namespace, and these kinds of namespaces, of another sandbox.
    Shared {
        /// Its id.
        with: String,
        /// `ipc`, `pid`, `uts`, `network`.
        namespaces: Vec<String>,
    },
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NewPrivileges => f.write_str("new-privileges"),
            Self::SeccompUnconfined => f.write_str("seccomp-unconfined"),
            Self::SeccompCustom => f.write_str("seccomp-custom"),
            Self::Capabilities(names) => write!(f, "capabilities({})", names.join(",")),
            Self::KernelPaths => f.write_str("kernel-paths"),
            Self::Mounts => f.write_str("mounts"),
            Self::Privileged => f.write_str("privileged"),
            Self::Compat => f.write_str("compat"),
            Self::Bundle => f.write_str("bundle"),
            Self::Host(kinds) => write!(f, "host({})", kinds.join(",")),
            Self::Entered(kinds) => write!(f, "entered({})", kinds.join(",")),
            Self::Device { target, rule } => {
                let access = |on, letter| if on { letter } else { "" };
                write!(f, "device({target}:{}{})", access(rule.read, "r"), access(rule.write, "w"))
            }
            Self::Shared { with, namespaces } => {
                write!(f, "shared({} of {})", namespaces.join(","), with.get(..12).unwrap_or(with))
            }
        }
    }
}

/// A run of ids: `inside` to `inside + count` are `outside` to `outside + count` on the host (`user_namespaces(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id in the sandbox.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Who writes the id maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapWriter {
    /// The supervisor itself: root.
    Direct,
    /// The set-user-id helpers `newuidmap` and `newgidmap`: an ordinary user with subordinate ids.
    Helpers,
    /// The supervisor, one id only and `setgroups` switched off: an ordinary user without subordinate ids.
    Single,
}

/// The id maps of the user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
    /// Who writes them.
    pub writer: MapWriter,
}

/// The host's id for `id` inside, if it is mapped.
#[must_use]
pub fn outside(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|r| {
        let offset = id.checked_sub(r.inside)?;
        if offset < r.count { r.outside.checked_add(offset) } else { None }
    })
}

/// The id inside for the host's `id`, if it is mapped.
#[must_use]
pub fn inside(ranges: &[IdRange], id: u32) -> Option<u32> {
    ranges.iter().find_map(|r| {
        let offset = id.checked_sub(r.outside)?;
        if offset < r.count { r.inside.checked_add(offset) } else { None }
    })
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rootfs {
    /// Layers, the lowest first, below a private writable directory.
    Overlay {
        /// Absolute directories, lowest first.
        lowers: Vec<PathBuf>,
        /// Absolute directory that holds `upper` and `work`.
        writable: PathBuf,
        /// What is written need not survive a crash of the machine, so that the end of the sandbox waits for no disk.
        volatile: bool,
    },
    /// One directory as it is.
    Directory {
        /// Absolute path.
        path: PathBuf,
    },
}

/// Attributes of a mount that a user chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountFlags {
    /// No writes.
    pub read_only: bool,
    /// Programs may be started from it.
    pub exec: bool,
}

/// Which file it was that somebody looked at: another one in its place is not it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Device number of its file system, as the kernel packs it.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// A directory in a fresh tmpfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsDirectory {
    /// Path below the tmpfs, parents first.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
}

/// One mount below the root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mount {
    /// A directory or file of the host.
    Bind {
        /// Absolute path on the host; it exists.
        source: PathBuf,
        /// What of the source is bound, relative to it; somebody else filled the source, so nothing leads out of it.
        #[serde(default)]
        below: Option<String>,
        /// Absolute path in the sandbox.
        target: String,
        /// What is bound is a directory (else a file).
        directory: bool,
        /// Whether mounts below the source come along.
        recursive: bool,
        /// The source is its own true path: a link on the way, laid since it was looked at, stops the start.
        exact: bool,
        /// What was looked at when it was resolved: anything else in its place stops the start.
        #[serde(default)]
        expected: Option<FileId>,
        /// Owners are shifted by the id maps; off for what already belongs to ids of the sandbox.
        shift_ids: bool,
        /// Attributes.
        flags: MountFlags,
    },
    /// Memory.
    Tmpfs {
        /// Absolute path in the sandbox.
        target: String,
        /// Most bytes that it holds.
        size: u64,
        /// Permission bits of its root.
        mode: u32,
        /// Owner and group of its root inside.
        #[serde(default)]
        owner: (u32, u32),
        /// Most files and directories that it holds.
        #[serde(default = "usual_inodes")]
        inodes: u64,
        /// Attributes.
        flags: MountFlags,
        /// Directories that the image has there, made again in the fresh file system.
        directories: Vec<TmpfsDirectory>,
    },
}

/// Files and directories of a memory file system of which nobody said how many: each costs a kilobyte of the kernel's.
fn usual_inodes() -> u64 {
    65_536
}

impl Mount {
    /// Absolute path in the sandbox.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }

    /// Its attributes.
    #[must_use]
    pub fn flags(&self) -> MountFlags {
        match self {
            Self::Bind { flags, .. } | Self::Tmpfs { flags, .. } => *flags,
        }
    }
}

/// A device of the host that the sandbox may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the sandbox, below `/dev`.
    pub target: String,
    /// Which, and what may be done with it.
    pub rule: DeviceRule,
    /// Permission bits of the node inside, where the supervisor makes one that belongs to the sandbox's root.
    pub mode: u32,
}

/// Namespaces of another sandbox that this one enters, together with its user namespace, without which nobody may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Id of the other sandbox.
    pub with: String,
    /// System V IPC, message queues and `/dev/shm`.
    pub ipc: bool,
    /// Processes.
    pub pid: bool,
    /// Host name.
    pub uts: bool,
    /// Network.
    #[serde(default)]
    pub network: bool,
}

impl Share {
    /// What is shared, by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let all = [("ipc", self.ipc), ("pid", self.pid), ("uts", self.uts), ("network", self.network)];
        all.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// `CLONE_NEW*` bits of what is entered, the user namespace included.
    #[must_use]
    pub fn bits(&self) -> u64 {
        let bit = |on, bit| if on { bit } else { 0 };
        clone::NEWUSER
            | bit(self.ipc, clone::NEWIPC)
            | bit(self.pid, clone::NEWPID)
            | bit(self.uts, clone::NEWUTS)
            | bit(self.network, clone::NEWNET)
    }
}

/// A resource limit of a process (`setrlimit(2)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Name as `ulimit` options have it: `nofile`, `core`, ….
    pub name: String,
    /// Soft limit in the unit of the resource; `None` is unlimited.
    pub soft: Option<u64>,
    /// Hard limit.
    pub hard: Option<u64>,
    /// It was asked for: a host that cannot give it refuses. A default is brought down to what the host can give.
    pub required: bool,
}

/// Who a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary group ids inside.
    pub groups: Vec<u32>,
}

/// One program that is started in the sandbox: its first, or one that joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// Who it is.
    pub identity: Identity,
    /// File mode creation mask.
    pub umask: u32,
    /// It gets a terminal of its own.
    pub terminal: bool,
    /// Effective and permitted capabilities at the start.
    pub caps: Caps,
    /// Capabilities that it or its children can ever have.
    pub bounding: Caps,
    /// `no_new_privs` (`prctl(2)`).
    pub no_new_privileges: bool,
    /// Process limits.
    pub rlimits: Vec<Rlimit>,
    /// -1000 to 1000; more is killed earlier when memory runs out.
    pub oom_score_adj: i32,
    /// A small init of ours is process 1 and starts the program.
    pub init: bool,
    /// AppArmor profile, where AppArmor is active.
    pub apparmor: Option<String>,
    /// SELinux label, where SELinux is active.
    pub selinux: Option<String>,
}

/// The system call filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// None: a grant.
    Unconfined,
    /// A compiled program.
    Filter {
        /// What it was compiled from, for people: `default`, `strict`, `custom`.
        name: String,
        /// The instructions.
        program: bulkhead_seccomp::Program,
    },
}

/// A block device rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// Major and minor number.
    pub device: (u32, u32),
    /// What is limited.
    pub kind: RateKind,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// Which rate of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateKind {
    /// Bytes read per second.
    ReadBps,
    /// Bytes written per second.
    WriteBps,
    /// Reads per second.
    ReadIops,
    /// Writes per second.
    WriteIops,
}

/// Limits of a control group. `None` leaves the parent's limit in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Swap in bytes, not counting memory; `u64::MAX` is no limit.
    pub swap: Option<u64>,
    /// Memory that is reclaimed last, in bytes.
    pub memory_reservation: Option<u64>,
    /// Thousandths of a CPU.
    pub milli_cpus: Option<u64>,
    /// Length of the period of a quota, in microseconds.
    pub cpu_period: Option<u64>,
    /// CPU time in a period, in microseconds; 0 and less is no limit.
    pub cpu_quota: Option<i64>,
    /// How readily memory is swapped out, 0 to 100; version 1 only.
    pub swappiness: Option<u64>,
    /// CPU shares as Docker counts them: 2 to 262144, 1024 is normal.
    pub cpu_shares: Option<u64>,
    /// CPUs as a list.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes as a list.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The pids limit was asked for; when false a host without the controller falls back to `RLIMIT_NPROC`.
    pub pids_required: bool,
    /// Block I/O weight, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Block I/O weights of single devices, by major and minor number.
    pub blkio_weight_devices: Vec<((u32, u32), u16)>,
    /// Block device rates.
    pub device_rates: Vec<DeviceRate>,
    /// Huge pages: (page size as the kernel names it, `2MB`; bytes).
    pub hugetlb: Vec<(String, u64)>,
    /// cgroup v2 files and values written as they are.
    pub unified: Vec<(String, String)>,
}

/// Everything that must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Names the control group and appears in messages.
    pub id: String,
    /// UTS host name.
    pub hostname: String,
    /// Id maps.
    pub ids: IdMaps,
    /// Root file system.
    pub rootfs: Rootfs,
    /// The root file system takes no writes.
    pub read_only_root: bool,
    /// Further mounts, in order.
    pub mounts: Vec<Mount>,
    /// Devices beyond the usual ones.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Namespaces of another sandbox.
    pub share: Option<Share>,
    /// Bytes of `/dev/shm`; 0 for none.
    pub shm_size: u64,
    /// `/proc` shows processes only (`subset=pid`).
    pub proc_pid_only: bool,
    /// Kernel files that read as empty.
    pub masked_paths: Vec<String>,
    /// Kernel files that take no writes.
    pub read_only_paths: Vec<String>,
    /// Namespaced sysctls.
    pub sysctls: Vec<(String, String)>,
    /// The first process.
    pub process: Process,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Control group limits.
    pub resources: Resources,
    /// What was loosened.
    pub grants: Vec<Grant>,
}

impl SandboxSpec {
    /// Whether a grant of this kind was given.
    #[must_use]
    pub fn granted(&self, wanted: impl Fn(&Grant) -> bool) -> bool {
        self.grants.iter().any(wanted)
    }
}
