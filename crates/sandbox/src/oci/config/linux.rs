//! `linux` of `config.json`.

use std::collections::BTreeMap;

use bulkhead_seccomp::ProfileText;
use serde::{Deserialize, Serialize};

use super::or_default;
use super::resources::LinuxResources;

/// What is Linux's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// User ids of the user namespace.
    #[serde(deserialize_with = "or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of the user namespace.
    #[serde(deserialize_with = "or_default")]
    pub gid_mappings: Vec<IdMapping>,
    /// Settings below `/proc/sys`.
    #[serde(deserialize_with = "or_default")]
    pub sysctl: BTreeMap<String, String>,
    /// Limits.
    pub resources: Option<LinuxResources>,
    /// Where the control group is: a path, or `slice:prefix:name` for systemd.
    #[serde(deserialize_with = "or_default")]
    pub cgroups_path: String,
    /// Namespaces that are new or entered; of what is not named the container has the caller's.
    #[serde(deserialize_with = "or_default")]
    pub namespaces: Vec<Namespace>,
    /// Devices beside the ones that are always there.
    #[serde(deserialize_with = "or_default")]
    pub devices: Vec<DeviceNode>,
    /// Network devices of the host that are moved in, by name.
    #[serde(deserialize_with = "or_default")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// System call filter; what it says is judged by the profile reader.
    pub seccomp: Option<ProfileText>,
    /// Propagation of the root mount: `shared`, `slave`, `private`, `unbindable` or one of them with `r`.
    #[serde(deserialize_with = "or_default")]
    pub rootfs_propagation: String,
    /// Kernel files that read as empty.
    #[serde(deserialize_with = "or_default")]
    pub masked_paths: Vec<String>,
    /// Kernel files that take no writes.
    #[serde(deserialize_with = "or_default")]
    pub readonly_paths: Vec<String>,
    /// SELinux label of mounts.
    #[serde(deserialize_with = "or_default")]
    pub mount_label: String,
    /// Cache and memory bandwidth.
    pub intel_rdt: Option<IntelRdt>,
    /// Where memory is taken from (`set_mempolicy(2)`).
    pub memory_policy: Option<MemoryPolicy>,
    /// Execution domain (`personality(2)`).
    pub personality: Option<Personality>,
    /// Shifts of the clocks of the time namespace, by clock.
    #[serde(deserialize_with = "or_default")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

/// A run of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
    #[serde(rename = "type")]
    pub kind: String,
    /// File of one that is entered; without it a new one is made.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// A node of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceNode {
    /// `c`, `u`, `b` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Absolute path inside.
    pub path: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits.
    pub file_mode: Option<u32>,
    /// Owner inside.
    pub uid: Option<u32>,
    /// Group inside.
    pub gid: Option<u32>,
}

/// A network device that is moved in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetDevice {
    /// Its name inside; nothing keeps the host's.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// Intel's resource director.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntelRdt {
    /// Name of the class of service.
    #[serde(rename = "closID", deserialize_with = "or_default")]
    pub clos_id: String,
    /// Lines of `schemata`.
    #[serde(deserialize_with = "or_default")]
    pub schemata: Vec<String>,
    /// Third-level cache.
    #[serde(deserialize_with = "or_default")]
    pub l3_cache_schema: String,
    /// Memory bandwidth.
    #[serde(deserialize_with = "or_default")]
    pub mem_bw_schema: String,
    /// Monitoring.
    #[serde(rename = "enableCMT", deserialize_with = "or_default")]
    pub enable_cmt: bool,
    /// Monitoring.
    #[serde(rename = "enableMBM", deserialize_with = "or_default")]
    pub enable_mbm: bool,
    /// Monitoring.
    #[serde(deserialize_with = "or_default")]
    pub enable_monitoring: bool,
}

/// Where memory is taken from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryPolicy {
    /// `MPOL_…`.
    pub mode: String,
    /// Memory nodes as a list.
    #[serde(deserialize_with = "or_default")]
    pub nodes: String,
    /// `MPOL_F_…`.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

/// Execution domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// None is known to the specification.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
}

/// Shift of a clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds beside them.
    pub nanosecs: u32,
}
