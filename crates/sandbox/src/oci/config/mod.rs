//! `config.json` as it is written: the types of the OCI runtime specification, read and not judged.
//!
//! Own types rather than a library's: none that was looked at has every field of the specification (`intelRdt.schemata`),
//! and a field that is not read cannot be refused by name. What the specification calls unknown is passed over, as it
//! demands ("Extensibility"); what it knows is either carried out by the plan or refused there.

mod linux;
mod process;
mod resources;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

pub use self::linux::{
    DeviceNode, IdMapping, IntelRdt, Linux, MemoryPolicy, Namespace, NetDevice, Personality, TimeOffset,
};
pub use self::process::{Capabilities, ConsoleSize, CpuAffinity, IoPriority, Process, RlimitEntry, Scheduler, User};
pub use self::resources::{
    BlockIo, Cpu, DeviceCgroup, HugepageLimit, InterfacePriority, LinuxResources, Memory, Network, Pids, Rdma,
    ThrottleDevice, WeightDevice,
};

/// Most bytes of a `config.json`. Engines write some tens of KiB; a config with a thousand mounts has 300.
pub const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;

/// A list or object that may be missing or `null`: programs in Go write their empty ones so.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The whole of `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Version of the specification that it keeps to.
    pub oci_version: String,
    /// The root file system.
    pub root: Option<Root>,
    /// Mounts beside the root file system, in order.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    /// What is started; only a container that is created and never started may lack it.
    pub process: Option<Process>,
    /// UTS host name.
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    /// UTS domain name.
    #[serde(deserialize_with = "or_default")]
    pub domainname: String,
    /// Programs that are run around the life of the container.
    pub hooks: Option<Hooks>,
    /// What callers want to find again in `state`.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// What is Linux's own.
    pub linux: Option<Linux>,
    /// Another platform's: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solaris: Option<serde_json::Value>,
    /// Another platform's: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<serde_json::Value>,
    /// Another platform's: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<serde_json::Value>,
    /// Another platform's: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zos: Option<serde_json::Value>,
    /// Another platform's: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freebsd: Option<serde_json::Value>,
}

/// The root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Root {
    /// A directory, relative to the bundle unless absolute.
    pub path: String,
    /// It takes no writes.
    #[serde(deserialize_with = "or_default")]
    pub readonly: bool,
}

/// One mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Path inside.
    pub destination: String,
    /// File system type; `bind`, `none` and nothing mean a bind where the options say so.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// Directory, file or device of the host, or a word that only shows.
    #[serde(deserialize_with = "or_default")]
    pub source: String,
    /// As `mount(8)` has them, and the specification's own.
    #[serde(deserialize_with = "or_default")]
    pub options: Vec<String>,
    /// Ids of this mount, inside to host.
    #[serde(deserialize_with = "or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Ids of this mount, inside to host.
    #[serde(deserialize_with = "or_default")]
    pub gid_mappings: Vec<IdMapping>,
}

/// Hooks by the moment at which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Old name of `createRuntime`, run before it.
    #[serde(deserialize_with = "or_default")]
    pub prestart: Vec<Hook>,
    /// Outside, when the namespaces and mounts are there and the root is not yet changed.
    #[serde(deserialize_with = "or_default")]
    pub create_runtime: Vec<Hook>,
    /// The same moment, inside the container's namespaces, the program taken from the host.
    #[serde(deserialize_with = "or_default")]
    pub create_container: Vec<Hook>,
    /// Inside the container, before its program.
    #[serde(deserialize_with = "or_default")]
    pub start_container: Vec<Hook>,
    /// Outside, after the program was started.
    #[serde(deserialize_with = "or_default")]
    pub poststart: Vec<Hook>,
    /// Outside, after the container was deleted.
    #[serde(deserialize_with = "or_default")]
    pub poststop: Vec<Hook>,
}

/// A program that is run with the container's state on its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hook {
    /// Absolute path.
    pub path: String,
    /// Arguments, the program's name first; none means the path alone.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// `NAME=VALUE`, all of its environment; none means the caller's.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Seconds after which it is ended and the container with it.
    pub timeout: Option<i64>,
}

/// A text that is no `config.json`.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than any that is read.
    #[error("it has {0} bytes; at most {MAX_CONFIG_BYTES} are read")]
    TooLarge(usize),
    /// It is not JSON, or a field has another type.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// The line, column and reason of what cannot be read.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        if bytes.len() > MAX_CONFIG_BYTES {
            return Err(ReadError::TooLarge(bytes.len()));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// What is Linux's own, or nothing of it.
    #[must_use]
    pub fn linux(&self) -> std::borrow::Cow<'_, Linux> {
        match &self.linux {
            Some(linux) => std::borrow::Cow::Borrowed(linux),
            None => std::borrow::Cow::Owned(Linux::default()),
        }
    }
}
