//! What the host offers, read once and handed around as a value, so that a plan can be made for any host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bulkhead_sys::{Errno, caps, landlock, proc::Proc};
use rustix::fs::{AtFlags, OFlags};
use serde::{Deserialize, Serialize};

use crate::mountinfo;

/// How control groups are laid out (`cgroups(7)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupLayout {
    /// No hierarchy that this user may use.
    None,
    /// One directory a controller.
    V1 {
        /// Mount point by controller.
        controllers: BTreeMap<String, PathBuf>,
    },
    /// The unified hierarchy.
    V2 {
        /// Directory below which groups may be made: the root of the hierarchy, or what was delegated.
        base: PathBuf,
        /// Controllers that groups below it can use.
        controllers: Vec<String>,
    },
}

/// How much all containers together may have, in percent: what is left is the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// Of the host's memory.
    pub memory: u64,
    /// Of the host's process ids.
    pub pids: u64,
    /// Of the CPU weight of one group of the host.
    pub cpu: u64,
}

impl Default for Reserve {
    fn default() -> Self {
        Self { memory: 80, pids: 50, cpu: 50 }
    }
}

/// What the host offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Root of the initial user namespace with all it needs: ids are mapped freely and mounts can be id-mapped.
    pub privileged: bool,
    /// Root of a user namespace that somebody else made, with all that root can have there: an engine of an ordinary
    /// user calls a runtime so. It needs no user namespace of its own, and has no right over the host.
    pub nested: bool,
    /// Effective user id of the caller.
    pub uid: u32,
    /// Effective group id of the caller.
    pub gid: u32,
    /// Kernel version.
    pub kernel: (u32, u32),
    /// Landlock ABI; 0 is none.
    pub landlock_abi: u32,
    /// Namespace kinds that the kernel has, as in `/proc/self/ns`.
    pub namespaces: Vec<String>,
    /// Control groups.
    pub cgroup: CgroupLayout,
    /// Where procfs and sysfs are mounted.
    #[serde(default)]
    pub kernel_mounts: Vec<String>,
    /// Mount points below `/sys`; root needs none of them.
    #[serde(default)]
    pub below_sys: Vec<String>,
    /// v1 only: memory and swap can be limited together.
    pub swap_accounting: bool,
    /// AppArmor is active.
    pub apparmor: bool,
    /// SELinux is active.
    pub selinux: bool,
    /// The kernel has keyrings.
    pub keyrings: bool,
    /// Hard process limits of the caller by name; a missing one is unlimited.
    pub hard_limits: BTreeMap<String, u64>,
    /// Hard process limits may be raised.
    pub may_raise_limits: bool,
    /// Bytes of memory.
    pub memory: u64,
    /// Largest number of processes.
    pub pid_max: u64,
    /// CPUs that are possible.
    pub cpus: u32,
    /// The caller's own `oom_score_adj`, below which an ordinary user cannot go; 0 for root.
    pub oom_score_adj: i32,
    /// What all containers together may have.
    pub reserve: Reserve,
}

/// A fact that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} to learn what this host offers")]
pub struct FactsError {
    what: &'static str,
    source: Errno,
}

/// Process limits by the names that `ulimit` options have, with their numbers (`getrlimit(2)`).
pub(crate) const RLIMITS: [(&str, rustix::process::Resource); 16] = {
    use rustix::process::Resource as R;
    [
        ("cpu", R::Cpu),
        ("fsize", R::Fsize),
        ("data", R::Data),
        ("stack", R::Stack),
        ("core", R::Core),
        ("rss", R::Rss),
        ("nproc", R::Nproc),
        ("nofile", R::Nofile),
        ("memlock", R::Memlock),
        ("as", R::As),
        ("locks", R::Locks),
        ("sigpending", R::Sigpending),
        ("msgqueue", R::Msgqueue),
        ("nice", R::Nice),
        ("rtprio", R::Rtprio),
        ("rttime", R::Rttime),
    ]
};

/// The resource of a limit name.
#[must_use]
pub fn rlimit_named(name: &str) -> Option<rustix::process::Resource> {
    RLIMITS.iter().find(|(n, _)| *n == name).map(|(_, r)| *r)
}

impl HostFacts {
    /// Reads them.
    ///
    /// # Errors
    /// When procfs is not there or is not one.
    pub fn gather() -> Result<Self, FactsError> {
        Self::gather_with(&text("/proc/self/mountinfo"))
    }

    /// As [`HostFacts::gather`], by a caller who has read `/proc/self/mountinfo` (`proc(5)`): making it costs the kernel
    /// more than anything else that is read here.
    ///
    /// # Errors
    /// As [`HostFacts::gather`].
    pub fn gather_with(mountinfo: &str) -> Result<Self, FactsError> {
        Self::look(&Proc::host().map_err(|source| FactsError { what: "/proc", source })?, mountinfo, true)
    }

    fn look(proc: &Proc, mountinfo: &str, all: bool) -> Result<Self, FactsError> {
        let uid = rustix::process::geteuid().as_raw();
        let effective = caps::effective().unwrap_or(0);
        let initial = proc_text(proc, c"thread-self/uid_map", "self/uid_map")
            .is_some_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
        let needed = 1 << 21 | 1 << 7 | 1 << 6 | 1;
        let kernel = kernel_version();
        let cgroup = cgroup_layout(mountinfo, uid == 0);
        let swap_accounting = match &cgroup {
            CgroupLayout::V1 { controllers } => {
                all && controllers.get("memory").is_some_and(|p| p.join("memory.memsw.limit_in_bytes").exists())
            }
            CgroupLayout::V2 { .. } | CgroupLayout::None => false,
        };
        let may_raise_limits = effective & (1 << 24) != 0 && initial;
        let hard_limits = RLIMITS
            .iter()
            .filter(|_| all || !may_raise_limits)
            .filter_map(|(name, resource)| {
                rustix::process::getrlimit(*resource).maximum.map(|hard| ((*name).to_owned(), hard))
            })
            .collect();
        let root = uid == 0 && effective & needed == needed;
        let (privileged, nested) = (root && initial, root && !initial);
        let oom_score = || proc_text(proc, c"thread-self/oom_score_adj", "self/oom_score_adj")?.trim().parse().ok();
        Ok(Self {
            privileged,
            nested,
            oom_score_adj: if privileged { 0 } else { oom_score().unwrap_or(0) },
            reserve: Reserve::default(),
            uid,
            gid: rustix::process::getegid().as_raw(),
            kernel,
            landlock_abi: if all { landlock::abi() } else { 0 },
            namespaces: if all {
                namespaces(proc)
            } else {
                KINDS.map(|kind| kind.to_string_lossy().into_owned()).into()
            },
            kernel_mounts: kernel_mounts(mountinfo),
            below_sys: if all && !privileged { below_sys(mountinfo) } else { Vec::new() },
            swap_accounting,
            cgroup,
            apparmor: text("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            keyrings: Path::new("/proc/keys").exists(),
            hard_limits,
            may_raise_limits,
            memory: if all { memory_total() } else { 0 },
            pid_max: if all { text("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(32_768) } else { 0 },
            cpus: if all { possible_cpus(&text("/sys/devices/system/cpu/possible")) } else { 0 },
        })
    }

    /// What the plan of a bundle asks, by a caller who has opened `/proc` and read `mountinfo`: as [`HostFacts::gather_with`], but that what
    /// only the engine's own containers need stays as it is without it, and that the kernel is believed to have every
    /// kind of namespace. It says so itself when they are made.
    ///
    /// # Errors
    /// As [`HostFacts::gather`].
    pub fn gather_for_bundle(proc: &Proc, mountinfo: &str) -> Result<Self, FactsError> {
        Self::look(proc, mountinfo, false)
    }

    /// Whether Landlock can keep abstract Unix sockets of others away: since its ABI 6, Linux 6.12.
    #[must_use]
    pub fn keeps_sockets_apart(&self) -> bool {
        self.landlock_abi >= 6
    }

    /// Whether the kernel has this kind of namespace.
    #[must_use]
    pub fn has_namespace(&self, kind: &str) -> bool {
        self.namespaces.iter().any(|n| n == kind)
    }
}

fn text(path: &str) -> String {
    bulkhead_sys::fd::text(path).unwrap_or_default()
}

/// Reads a file of the own process. `thread-self` and `self` are links, which the verified handle refuses, so the pid is
/// spelled out.
fn proc_text(proc: &Proc, _: &std::ffi::CStr, name: &str) -> Option<String> {
    let pid = rustix::process::getpid().as_raw_nonzero();
    let path = std::ffi::CString::new(format!("{pid}/{}", name.strip_prefix("self/")?)).ok()?;
    String::from_utf8(proc.read(&path).ok()?).ok()
}

/// Files of `/proc/PID/ns` (`namespaces(7)`).
const KINDS: [&std::ffi::CStr; 8] = [c"cgroup", c"ipc", c"mnt", c"net", c"pid", c"time", c"user", c"uts"];

/// Kinds of namespaces that the kernel has. Each is asked for: to list them would make it look at every one twice.
fn namespaces(proc: &Proc) -> Vec<String> {
    let own = format!("{}/ns", rustix::process::getpid().as_raw_nonzero());
    let directory = std::ffi::CString::new(own).ok().and_then(|own| proc.open(&own, OFlags::PATH).ok());
    let Some(directory) = directory else { return Vec::new() };
    let there = |kind: &&&std::ffi::CStr| rustix::fs::statat(&directory, **kind, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    KINDS.iter().filter(there).map(|kind| kind.to_string_lossy().into_owned()).collect()
}

fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn memory_total() -> u64 {
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit.max(1));
    #[allow(clippy::useless_conversion, reason = "the field is narrower on 32-bit machines")]
    u64::from(info.totalram).saturating_mul(unit)
}

fn possible_cpus(list: &str) -> u32 {
    list.trim()
        .rsplit([',', '-'])
        .next()
        .and_then(|last| last.parse::<u32>().ok())
        .map_or(1, |last| last.saturating_add(1))
}

/// Mount points of procfs and sysfs from `mountinfo`; the one on top is the last.
fn kernel_mounts(mountinfo: &str) -> Vec<String> {
    mountinfo::of(mountinfo, &["proc", "sysfs"]).map(|line| crate::cgroup::oci::unescape(line.point)).collect()
}

/// Mount points below `/sys` from `mountinfo`, each once, parents before what is mounted below them.
fn below_sys(mountinfo: &str) -> Vec<String> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with("/sys/"));
    let all: std::collections::BTreeSet<String> = points.map(crate::cgroup::oci::unescape).collect();
    all.into_iter().collect()
}

/// Finds the hierarchies from `mountinfo`. A user who is not root can use only what was delegated to him on v2.
fn cgroup_layout(mountinfo: &str, root: bool) -> CgroupLayout {
    let mut v1 = BTreeMap::new();
    let mut v2 = None;
    for line in mountinfo::of(mountinfo, &["cgroup", "cgroup2"]) {
        let point = line.point;
        match line.kind {
            // The first is the host's; later ones can be those of containers whose mounts are seen here.
            "cgroup2" => drop(v2.get_or_insert_with(|| PathBuf::from(point))),
            _ => {
                for option in
                    line.options.split(',').filter(|o| !matches!(*o, "rw" | "ro" | "xattr") && !o.contains('='))
                {
                    v1.entry(option.to_owned()).or_insert_with(|| PathBuf::from(point));
                }
            }
        }
    }
    if !v1.is_empty() {
        return if root { CgroupLayout::V1 { controllers: v1 } } else { CgroupLayout::None };
    }
    let Some(mount) = v2 else { return CgroupLayout::None };
    let base = if root { mount } else { delegated(&mount) };
    let controllers: Vec<String> =
        text(&base.join("cgroup.controllers").to_string_lossy()).split_whitespace().map(str::to_owned).collect();
    if !root && !writable(&base) {
        return CgroupLayout::None;
    }
    CgroupLayout::V2 { base, controllers }
}

/// The group that systemd delegates to an ordinary user: the nearest parent of the caller's group that he may write.
fn delegated(mount: &Path) -> PathBuf {
    let own = text("/proc/self/cgroup");
    let path = own.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default();
    let mut best = mount.join(path);
    let mut at = best.clone();
    while at.starts_with(mount) && writable(&at) {
        best.clone_from(&at);
        if !at.pop() {
            break;
        }
    }
    best
}

/// Whether groups can be made in the directory and processes put into them.
pub(crate) fn writable(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
        && rustix::fs::access(directory.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{CgroupLayout, below_sys, cgroup_layout, possible_cpus};

    #[test]
    fn what_is_mounted_below_sys_is_listed_once() {
        let info = "22 1 0:20 / /sys rw - sysfs sysfs rw\n23 22 0:7 / /sys/kernel/debug rw - debugfs debugfs rw\n\
                    31 22 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/a\\040b rw - cgroup c rw\n\
                    33 22 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n34 1 0:30 / /system rw - tmpfs tmpfs rw\n";
        assert_eq!(below_sys(info), ["/sys/fs/cgroup", "/sys/fs/cgroup/a b", "/sys/kernel/debug"]);
    }

    #[test]
    fn hybrid_hosts_are_v1_for_root_and_nothing_for_a_user() {
        let info = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                    35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                    40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let CgroupLayout::V1 { controllers } = cgroup_layout(info, true) else { panic!("not v1") };
        assert_eq!(controllers.keys().collect::<Vec<_>>(), ["cpu", "cpuacct", "memory"]);
        assert_eq!(cgroup_layout(info, false), CgroupLayout::None);
        let again = info.to_owned() + "90 23 0:32 / /c/rootfs/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(cgroup_layout(&again, true), cgroup_layout(info, true));
    }

    #[test]
    fn possible_cpus_counts_from_zero() {
        assert_eq!(possible_cpus("0-1\n"), 2);
        assert_eq!(possible_cpus("0\n"), 1);
        assert_eq!(possible_cpus("0-3,8-11\n"), 12);
        assert_eq!(possible_cpus(""), 1);
    }
}
