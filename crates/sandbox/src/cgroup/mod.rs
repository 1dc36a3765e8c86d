//! Control groups: limits as pure lists of writes, one dialect for each version (`cgroups(7)`).
//!
//! All sandboxes live below one parent group, which cannot take the last of the machine's memory, processes or CPU:
//! the host reserve.

mod devices;
mod figures;
mod handle;
pub mod oci;
mod v1;
mod v2;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::devices::device_program;
pub use self::figures::{Figures, figures, members, parents};
pub use self::handle::{CgroupError, CgroupHandle, Refusals, Usage, change, refusals, usage};
use crate::facts::{CgroupLayout, HostFacts};
use crate::spec::Resources;

/// Name of the parent group.
const PARENT: &str = "bulkhead";

/// One value for one file of a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Absolute path.
    pub file: PathBuf,
    /// What is written, in one write.
    pub value: String,
}

/// A device that a sandbox may use beside the usual ones. Nothing inside can make a node of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// A block device, else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
}

impl std::fmt::Display for DeviceRule {
    /// As `devices.list` shows it: `c 10:229 rw`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let access = |on, letter| if on { letter } else { "" };
        let kind = if self.block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} {}{}", self.major, self.minor, access(self.read, "r"), access(self.write, "w"))
    }
}

impl CgroupPlan {
    /// Directories of the group, one for each hierarchy.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        match self {
            Self::None => Vec::new(),
            Self::V1 { directories, .. } => directories.clone(),
            Self::V2 { directory, .. } => vec![directory.clone()],
            Self::Oci(group) => group.directories(),
        }
    }

    /// The group of a bundle, if it is one.
    #[must_use]
    pub fn bundle(&self) -> Option<&oci::OciGroup> {
        if let Self::Oci(group) = self { Some(group) } else { None }
    }

    /// Lets the sandbox use these devices too.
    pub(crate) fn grant_devices(&mut self, rules: &[DeviceRule]) {
        match self {
            // A bundle's list is its own, in its own words.
            Self::None | Self::Oci(_) => {}
            Self::V1 { granted, .. } | Self::V2 { granted, .. } => *granted = rules.to_vec(),
        }
    }
}

/// The control group of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupPlan {
    /// The host gives this user none.
    None,
    /// One directory in each v1 hierarchy that is used; the child enters them.
    V1 {
        /// The parent group's directories.
        parents: Vec<PathBuf>,
        /// The parent group's limits.
        reserve: Vec<Write>,
        /// The sandbox's directories.
        directories: Vec<PathBuf>,
        /// The sandbox's limits.
        writes: Vec<Write>,
        /// The parent group's directory in the devices hierarchy; its members inherit its list.
        devices: Option<PathBuf>,
        /// Hierarchies whose view is mounted inside, by controller.
        visible: Vec<String>,
        /// Devices beyond the usual ones.
        granted: Vec<DeviceRule>,
    },
    /// One directory; the child is cloned into it.
    V2 {
        /// The parent group's directory.
        parent: PathBuf,
        /// Controllers that are switched on on the way, then the parent's limits.
        reserve: Vec<Write>,
        /// The sandbox's directory.
        directory: PathBuf,
        /// The sandbox's limits.
        writes: Vec<Write>,
        /// Attach the device filter (needs root).
        device_filter: bool,
        /// Devices beyond the usual ones.
        granted: Vec<DeviceRule>,
    },
    /// The group of an OCI bundle, where its caller wants it.
    Oci(Box<oci::OciGroup>),
}

/// A limit that this host cannot enforce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit {limit} cannot be enforced: {reason}")]
pub struct LimitError {
    /// The option as the user knows it.
    pub limit: String,
    /// Why, and what would help.
    pub reason: String,
}

impl LimitError {
    pub(crate) fn new(limit: &str, reason: impl Into<String>) -> Self {
        Self { limit: limit.to_owned(), reason: reason.into() }
    }
}

/// Plans the group of sandbox `id`.
///
/// # Errors
/// When a limit was asked for that the host cannot enforce.
pub fn plan(id: &str, wanted: &Resources, facts: &HostFacts) -> Result<CgroupPlan, LimitError> {
    match &facts.cgroup {
        CgroupLayout::None => {
            refuse_all(wanted)?;
            Ok(CgroupPlan::None)
        }
        CgroupLayout::V1 { controllers } => v1::plan(id, wanted, facts, controllers),
        CgroupLayout::V2 { base, controllers } => v2::plan(id, wanted, facts, base, controllers),
    }
}

/// Without any group, each limit that was asked for is an error.
fn refuse_all(wanted: &Resources) -> Result<(), LimitError> {
    let Resources {
        memory,
        swap: _,
        memory_reservation,
        milli_cpus,
        cpu_shares,
        cpuset_cpus,
        cpuset_mems,
        pids: _,
        pids_required: _,
        cpu_period,
        cpu_quota,
        swappiness,
        blkio_weight_devices,
        blkio_weight,
        device_rates,
        hugetlb,
        unified,
    } = wanted;
    let asked = [
        ("--memory", memory.is_some()),
        ("--memory-reservation", memory_reservation.is_some()),
        ("--cpus", milli_cpus.is_some()),
        ("--cpu-shares", cpu_shares.is_some()),
        ("--cpu-period", cpu_period.is_some()),
        ("--cpu-quota", cpu_quota.is_some()),
        ("--memory-swappiness", swappiness.is_some()),
        ("--blkio-weight-device", !blkio_weight_devices.is_empty()),
        ("--cpuset-cpus", cpuset_cpus.is_some()),
        ("--cpuset-mems", cpuset_mems.is_some()),
        ("--blkio-weight", blkio_weight.is_some()),
        ("--device-read-bps and its kin", !device_rates.is_empty()),
        ("hugetlb", !hugetlb.is_empty()),
        ("--cgroup-conf", !unified.is_empty()),
    ];
    for (name, is_asked) in asked {
        if is_asked {
            return Err(LimitError::new(
                name,
                "no control group is delegated to this user; run as root, or log in on a host with cgroup v2 and systemd",
            ));
        }
    }
    Ok(())
}

/// So many percent, of numbers that 64 bits hold.
fn percent(whole: u64, of_hundred: u64) -> u64 {
    whole / 100 * of_hundred + whole % 100 * of_hundred / 100
}

/// How many processes the parent group may hold: half of what the host can have, where nothing else is configured.
fn parent_pids(facts: &HostFacts) -> u64 {
    percent(facts.pid_max, facts.reserve.pids).max(64)
}

/// How much memory the parent group may hold: four fifths of the host's, where nothing else is configured.
fn parent_memory(facts: &HostFacts) -> u64 {
    // A whole number of pages, as the kernel reads it back.
    percent(facts.memory, facts.reserve.memory) / 4096 * 4096
}

/// CPU weight of the parent group, where `usual` is that of any single group of the host.
fn parent_weight(facts: &HostFacts, usual: u64) -> u64 {
    percent(usual, facts.reserve.cpu).max(2)
}

/// Period of a CPU quota in microseconds, as Docker has it.
const CPU_PERIOD: u64 = 100_000;

/// Quota and period in microseconds, from `--cpus` or from `--cpu-quota` and `--cpu-period`; a quota of `None` is no
/// limit.
fn bandwidth(wanted: &Resources) -> Result<Option<(Option<u64>, u64)>, LimitError> {
    let period = wanted.cpu_period.unwrap_or(CPU_PERIOD);
    match (wanted.milli_cpus, wanted.cpu_quota) {
        (Some(milli), _) => Ok(Some((Some(cpu_quota(milli)?), CPU_PERIOD))),
        (None, Some(quota)) => Ok(Some((u64::try_from(quota).ok().filter(|q| *q > 0), period))),
        (None, None) => Ok(wanted.cpu_period.map(|period| (None, period))),
    }
}

/// CPU time per period in microseconds. The kernel refuses less than a millisecond.
fn cpu_quota(milli_cpus: u64) -> Result<u64, LimitError> {
    let quota = milli_cpus.saturating_mul(CPU_PERIOD) / 1000;
    if quota < 1000 {
        return Err(LimitError::new("--cpus", "the kernel gives no less than 0.01 of a CPU"));
    }
    Ok(quota)
}
