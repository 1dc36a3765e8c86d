//! `process` of `config.json`, which is also what `exec --process` takes.

use serde::{Deserialize, Serialize};

use super::or_default;

/// A program and all that it starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// It gets a terminal of its own.
    #[serde(deserialize_with = "or_default")]
    pub terminal: bool,
    /// Size of the terminal; without one it means nothing (`config.md`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who it is.
    pub user: User,
    /// Program and arguments.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// Our own, for hooks: the path of the program where it is not the first of `args`.
    #[serde(rename = "io.bulkhead.program", skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Windows' own form of `args`: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// `NAME=VALUE`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// Capabilities by set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Process limits.
    #[serde(deserialize_with = "or_default")]
    pub rlimits: Vec<RlimitEntry>,
    /// `no_new_privs` (`prctl(2)`).
    #[serde(deserialize_with = "or_default")]
    pub no_new_privileges: bool,
    /// AppArmor profile.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub apparmor_profile: String,
    /// -1000 to 1000; nothing leaves the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// SELinux label.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub selinux_label: String,
    /// Class and level of `ioprio_set(2)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// What `sched_setattr(2)` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// CPUs of a process that joins.
    #[serde(rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

/// Who a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// File mode creation mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups inside.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
    /// Windows' own: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// Names of capabilities by set (`capabilities(7)`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// What the process or its children can ever have.
    #[serde(deserialize_with = "or_default")]
    pub bounding: Vec<String>,
    /// In force.
    #[serde(deserialize_with = "or_default")]
    pub effective: Vec<String>,
    /// Kept over a program with the same inheritable ones in its file.
    #[serde(deserialize_with = "or_default")]
    pub inheritable: Vec<String>,
    /// What can be put in force.
    #[serde(deserialize_with = "or_default")]
    pub permitted: Vec<String>,
    /// Kept over any program.
    #[serde(deserialize_with = "or_default")]
    pub ambient: Vec<String>,
}

/// A process limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RlimitEntry {
    /// `RLIMIT_NOFILE` and its like.
    #[serde(rename = "type")]
    pub kind: String,
    /// Hard limit in the unit of the resource.
    pub hard: u64,
    /// Soft limit.
    pub soft: u64,
}

/// I/O priority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `_BE` or `_IDLE`.
    pub class: String,
    /// 0 to 7, 0 is served first.
    pub priority: i64,
}

/// CPU scheduling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scheduler {
    /// `SCHED_OTHER` and its like.
    pub policy: String,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// `SCHED_FLAG_…`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// `SCHED_DEADLINE`: nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<u64>,
    /// `SCHED_DEADLINE`: nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// `SCHED_DEADLINE`: nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
}

/// CPUs of a process that joins, as lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuAffinity {
    /// Before it is in the control group.
    #[serde(deserialize_with = "or_default")]
    pub initial: String,
    /// From then on.
    #[serde(rename = "final", deserialize_with = "or_default")]
    pub last: String,
}
