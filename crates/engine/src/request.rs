//! What a user asked for: one type for the flags of the command line and, later, for the API.
//!
//! A request holds words that were already parsed (sizes are bytes, paths are paths) and nothing that was decided:
//! defaults, image configuration and policy meet it in [`crate::resolve`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::networks::{EgressRule, Exposed, PublishRequest};
use crate::store::JoinWish;

/// How strict the defaults are that the container starts from; ordered from the strictest on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileName {
    /// Read-only root, a user other than root, no capability at all, `/proc` with processes only.
    Strict,
    /// The hardened defaults that ordinary images run with.
    #[default]
    Default,
    /// Docker's own defaults for an image that needs them; the user namespace stays.
    Compat,
}

impl ProfileName {
    /// All of them as they are written.
    pub const NAMES: [&str; 3] = ["strict", "default", "compat"];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Default => "default",
            Self::Compat => "compat",
        }
    }

    /// The one that is written like this.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Strict, Self::Default, Self::Compat].into_iter().find(|one| one.as_str() == name)
    }
}

/// Which seccomp profile `--security-opt seccomp=` chose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompChoice {
    /// The profile that belongs to the named profile of the container.
    #[default]
    Builtin,
    /// No filter: a grant.
    Unconfined,
    /// A profile in Docker's JSON format, read from this file by the command.
    Json(String),
}

/// `--security-opt`, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityOptions {
    /// `no-new-privileges[=true|false]`; `None` when not written.
    pub no_new_privileges: Option<bool>,
    /// `seccomp=unconfined|builtin|FILE`.
    pub seccomp: SeccompChoice,
    /// `apparmor=PROFILE`.
    pub apparmor: Option<String>,
    /// `label=…` words (SELinux), in order.
    pub selinux: Vec<String>,
    /// `systempaths=unconfined`: no masked and no read-only kernel files; a grant.
    pub unmask_kernel_paths: bool,
}

/// One `-v` or `--mount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum MountRequest {
    /// A directory or file of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Absolute path in the container.
        target: PathBuf,
        /// `ro`.
        read_only: bool,
        /// `exec`: programs may be started from it.
        exec: bool,
        /// `--mount` refuses a missing source; `-v` makes a directory, as Docker does.
        create_source: bool,
        /// Mounts below the source come along; off by `bind-recursive=disabled`.
        #[serde(default = "yes")]
        recursive: bool,
    },
    /// `--tmpfs` or `--mount type=tmpfs`.
    Tmpfs {
        /// Absolute path in the container.
        target: PathBuf,
        /// Bytes; `None`: the default of 64 MiB.
        size: Option<u64>,
        /// Permission bits; `None`: 1777.
        mode: Option<u32>,
        /// `exec`.
        exec: bool,
        /// `ro`.
        read_only: bool,
        /// Owner of its root inside.
        #[serde(default)]
        uid: u32,
        /// Group of its root inside.
        #[serde(default)]
        gid: u32,
        /// Most files and directories; `None`: 65,536.
        #[serde(default)]
        inodes: Option<u64>,
    },
    /// A volume (`-v name:/path`).
    Volume {
        /// The volume's name; `None` for an anonymous one that has none yet.
        name: Option<String>,
        /// Absolute path in the container.
        target: PathBuf,
        /// `ro`.
        read_only: bool,
        /// `exec`.
        exec: bool,
        /// `nocopy`: what the image has at the target does not go into an empty volume.
        #[serde(default)]
        no_copy: bool,
        /// `volume-subpath`: only this part of the volume.
        #[serde(default)]
        subpath: Option<String>,
        /// `volume-label`, for a volume that is made.
        #[serde(default)]
        labels: Vec<(String, String)>,
        /// `volume-opt`, for a volume that is made.
        #[serde(default)]
        options: Vec<(String, String)>,
        /// It was asked for without a name; the engine sets it with the name that it makes.
        #[serde(default)]
        anonymous: bool,
    },
}

fn yes() -> bool {
    true
}

impl MountRequest {
    /// A volume with nothing but a place.
    #[must_use]
    pub fn volume(name: Option<String>, target: PathBuf) -> Self {
        Self::Volume {
            name,
            target,
            read_only: false,
            exec: false,
            no_copy: false,
            subpath: None,
            labels: Vec::new(),
            options: Vec::new(),
            anonymous: false,
        }
    }

    /// Absolute path in the container.
    #[must_use]
    pub fn target(&self) -> &std::path::Path {
        let (Self::Bind { target, .. } | Self::Tmpfs { target, .. } | Self::Volume { target, .. }) = self;
        target
    }
}

/// `--volumes-from CONTAINER[:ro|rw]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Name, id or unique start of an id.
    pub container: String,
    /// `ro`; without it each mount is as it is there.
    pub read_only: bool,
}

/// One `--device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the container, below `/dev`.
    pub target: PathBuf,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
}

/// `--ipc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipc {
    /// Its own, which nobody joins.
    #[default]
    Private,
    /// Its own, without `/dev/shm`.
    None,
    /// Its own, which other containers may join.
    Shareable,
    /// That of another container, by name or id.
    Container(String),
}

impl Ipc {
    /// Whether it comes with a `/dev/shm` of its own.
    #[must_use]
    pub fn has_own_memory(&self) -> bool {
        matches!(self, Self::Private | Self::Shareable)
    }

    /// As Docker writes it.
    #[must_use]
    pub fn word(&self) -> String {
        match self {
            Self::Private => "private".to_owned(),
            Self::None => "none".to_owned(),
            Self::Shareable => "shareable".to_owned(),
            Self::Container(name) => format!("container:{name}"),
        }
    }
}

/// Limits, in the units of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitRequest {
    /// `-m`: bytes.
    pub memory: Option<u64>,
    /// `--memory-swap`: memory plus swap in bytes, `-1` for no limit.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation`: bytes.
    pub memory_reservation: Option<u64>,
    /// `--cpus` in thousandths of a CPU.
    pub milli_cpus: Option<u64>,
    /// `--cpu-period`: microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota`: microseconds of a period; 0 and -1 are no limit.
    pub cpu_quota: Option<i64>,
    /// `--memory-swappiness`, 0 to 100.
    pub swappiness: Option<u64>,
    /// `--blkio-weight-device`: (device path, 10 to 1000).
    pub blkio_weight_devices: Vec<(PathBuf, u16)>,
    /// `--cpu-shares`, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// `--cpuset-cpus`, a list as the kernel writes it (`0-1,3`).
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; `-1` for none.
    pub pids: Option<i64>,
    /// `--blkio-weight`, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// `--device-read-bps` and its kin: (device path, kind, rate per second).
    pub device_rates: Vec<DeviceRate>,
    /// `--shm-size`: bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit NAME=SOFT[:HARD]`; `u64::MAX` is unlimited.
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--cgroup-conf KEY=VALUE`: cgroup v2 keys written as they are.
    pub unified: Vec<(String, String)>,
}

/// Which rate of a block device is limited.
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

/// One block device rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// Path of the device on the host.
    pub device: PathBuf,
    /// What is limited.
    pub kind: RateKind,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// `--restart`: what follows the end of a container's program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again after an exit code other than 0, this many times at most; 0 is without end.
    OnFailure(u32),
    /// It is started again always, and after a boot.
    Always,
    /// As `Always`, but not after a boot when it had been stopped.
    UnlessStopped,
}

/// `--health-*`: how it is found out whether a container does its work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRequest {
    /// `--no-healthcheck`: none, whatever the image says.
    pub none: bool,
    /// `--health-cmd`: a line for the shell.
    pub command: Option<String>,
    /// `--health-interval` in nanoseconds.
    pub interval: Option<u64>,
    /// `--health-timeout` in nanoseconds.
    pub timeout: Option<u64>,
    /// `--health-start-period` in nanoseconds.
    pub start_period: Option<u64>,
    /// `--health-start-interval` in nanoseconds.
    pub start_interval: Option<u64>,
    /// `--health-retries`.
    pub retries: Option<u32>,
}

/// `--log-driver` and `--log-opt`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// `--log-driver none`: nothing is kept.
    pub none: bool,
    /// `max-size` in bytes.
    pub max_size: Option<u64>,
    /// `max-file`.
    pub max_files: Option<u32>,
}

/// Which network stack a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetMode {
    /// Nothing was asked. In a request that was recorded it is that of a container that was made before there were
    /// networks, and means what it meant then: as `None`.
    #[default]
    Unset,
    /// `none`: its own, with loopback only.
    None,
    /// `bridge`, or names: its own, connected to [`NetRequest::joins`].
    Networks,
    /// `host`: the host's.
    Host,
    /// `container:NAME`: another container's.
    Container(String),
}

/// `--network`, `-p` and their kin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetRequest {
    /// Which stack.
    pub mode: NetMode,
    /// Networks that it is connected to, in order: the first has the way out.
    pub joins: Vec<JoinWish>,
    /// `-p`.
    pub publish: Vec<PublishRequest>,
    /// `-P`.
    pub publish_all: bool,
    /// `--expose`, and what the image says.
    pub expose: Vec<Exposed>,
    /// `--egress`: all that it reaches outside; `None`: what its networks say, which may be everything.
    pub egress: Option<Vec<EgressRule>>,
}

/// What `run` was asked to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRequest {
    /// The image as written.
    pub image: String,
    /// Words after the image; empty: the image's own command.
    pub args: Vec<String>,
    /// `--entrypoint`; `Some(vec![])` for the empty string, which clears the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `--name`.
    pub name: Option<String>,
    /// `-e` after `--env-file`: `NAME=VALUE`; a bare `NAME` was already replaced by the caller's value or dropped.
    pub env: Vec<String>,
    /// `-l`.
    pub labels: Vec<(String, String)>,
    /// `-u` as written.
    pub user: Option<String>,
    /// `--group-add` as written.
    pub group_add: Vec<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `--annotation`.
    pub annotations: Vec<(String, String)>,
    /// `--platform` as written: the image must be for it.
    pub platform: Option<String>,
    /// `--cidfile`, for `inspect`.
    pub cid_file: Option<PathBuf>,
    /// `--device`.
    pub devices: Vec<DeviceRequest>,
    /// `--ipc`.
    pub ipc: Ipc,
    /// `--pid container:…`: name or id.
    pub pid_of: Option<String>,
    /// `--uts container:…`: name or id.
    pub uts_of: Option<String>,
    /// `--dns`: addresses.
    pub dns: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--add-host`: (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// `-i`.
    pub stdin: bool,
    /// `-t`.
    pub tty: bool,
    /// Rows and columns of the caller's terminal, which its terminal has from the first moment.
    #[serde(skip)]
    pub size: Option<(u16, u16)>,
    /// `-d`.
    pub detach: bool,
    /// `--rm`.
    pub auto_remove: bool,
    /// `--init`.
    pub init: bool,
    /// `--read-only`.
    pub read_only: bool,
    /// `--profile`.
    pub profile: ProfileName,
    /// `--privileged`: all capabilities inside the container's own user namespace.
    pub privileged: bool,
    /// `--cap-add` as written.
    pub cap_add: Vec<String>,
    /// `--cap-drop` as written.
    pub cap_drop: Vec<String>,
    /// `--security-opt`.
    pub security: SecurityOptions,
    /// `-v`, `--mount`, `--tmpfs`, in the order written.
    pub mounts: Vec<MountRequest>,
    /// `--volumes-from`.
    #[serde(default)]
    pub volumes_from: Vec<VolumesFrom>,
    /// `--sysctl NAME=VALUE`.
    pub sysctls: Vec<(String, String)>,
    /// Limits.
    pub limits: LimitRequest,
    /// `--network` and what belongs to it.
    pub net: NetRequest,
    /// `--stop-signal` as written.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`: seconds; -1 waits for ever.
    pub stop_timeout: Option<i32>,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--health-*`.
    pub health: HealthRequest,
    /// `--log-driver`, `--log-opt`.
    pub log: LogRequest,
}

/// What `exec` was asked to start in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Name, id or unique prefix of the container.
    pub container: String,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `-e`.
    pub env: Vec<String>,
    /// `-u` as written.
    pub user: Option<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `-i`.
    pub stdin: bool,
    /// `-t`.
    pub tty: bool,
    /// Rows and columns of the caller's terminal, which its terminal has from the first moment.
    #[serde(skip)]
    pub size: Option<(u16, u16)>,
    /// `-d`.
    pub detach: bool,
    /// `--privileged`: every capability the container's user namespace can give.
    pub privileged: bool,
}
