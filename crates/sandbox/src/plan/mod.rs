//! From what must hold and what the host offers to an ordered list of steps. Pure: nothing on the host changes here.

mod host;
pub(crate) mod identity;
pub(crate) mod rootfs;
mod share;

use serde::{Deserialize, Serialize};

use bulkhead_sys::clone;

use crate::cgroup::{self, CgroupPlan, LimitError};
use crate::facts::{HostFacts, rlimit_named};
use crate::netdev::NetDevice;
use crate::oci::Enter;
use crate::rdt::RdtPlan;
use crate::spec::{DeviceRule, Grant, IdMaps, IdRange, MapWriter, Process, SandboxSpec, Seccomp, Share, Text};
use crate::step::{Step, TreePath};

/// A mount tree that the parent opens and sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Where it is.
    pub place: TreePath,
    /// Shift owners by the id maps.
    pub shift_ids: bool,
    /// Whose it is.
    pub origin: Origin,
    /// Shift owners by these ranges instead.
    #[serde(default)]
    pub maps: Option<TreeMaps>,
    /// What is mounted below it on either side is to appear on the other. Else nothing of the sandbox travels to the host.
    #[serde(default)]
    pub peer: bool,
}

/// How the ids of one mount are shifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeMaps {
    /// By ranges of its own; nothing is by the map of the sandbox's user namespace.
    pub ids: Option<OwnIds>,
    /// With the mounts below it.
    pub recursive: bool,
}

/// Ids that a mount has and nothing else: as it shows them, and as the file system has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnIds {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

/// Where a tree that the parent opens is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// On the host.
    Host,
    /// In the sandbox whose namespaces are shared.
    Other,
    /// Nowhere yet: a node of a device is made in memory, for the sandbox's root, with these permission bits.
    Node(DeviceRule, u32),
}

/// The program that is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Paths that are tried in turn, as `execvp(3)` searches `PATH`.
    pub candidates: Vec<Text>,
    /// Program and arguments.
    pub args: Vec<Text>,
    /// Environment.
    pub env: Vec<Text>,
    /// Supplementary groups inside.
    pub groups: Vec<u32>,
    /// Started by our own init from the engine's protected binary.
    pub init: bool,
}

impl Program {
    /// The program as it was named.
    #[must_use]
    pub fn name(&self) -> String {
        self.args.first().map(|a| a.show().into_owned()).unwrap_or_default()
    }
}

/// A process limit, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStep {
    /// Name as `ulimit` options have it.
    pub name: String,
    /// Soft limit; `None` is unlimited.
    pub soft: Option<u64>,
    /// Hard limit.
    pub hard: Option<u64>,
}

/// What a sandbox is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxKind {
    /// A container.
    Container,
    /// A worker of the engine: see [`crate::worker`].
    Worker,
    /// A container of another engine: see [`crate::oci`].
    Bundle,
}

/// Ordered steps for one sandbox: immutable, complete, printable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// What it is for.
    pub kind: SandboxKind,
    /// Names the sandbox in messages.
    pub id: String,
    /// `CLONE_NEW*` bits of `clone3(2)`.
    pub namespaces: u64,
    /// Namespaces that somebody else has made, entered by the parent for the time of the clone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enter: Vec<Enter>,
    /// Lines for `/proc/PID/timens_offsets` (`time_namespaces(7)`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub time_offsets: Vec<String>,
    /// Namespaces of another sandbox that are entered.
    pub share: Option<Share>,
    /// Control group.
    pub cgroup: CgroupPlan,
    /// Id maps, written by the parent.
    pub ids: IdMaps,
    /// Process limits, set by the parent: raising one takes a right over the host that the child does not have.
    pub limits: Vec<LimitStep>,
    /// `oom_score_adj`, written by the parent; nothing leaves the caller's.
    pub oom_score_adj: Option<i32>,
    /// Network devices of the caller's that are moved in by the parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<NetDevice>,
    /// Class of cache and memory bandwidth, which the parent puts the child into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<RdtPlan>,
    /// Mount trees that the parent opens.
    pub trees: Vec<Tree>,
    /// What the child does, in order.
    pub steps: Vec<Step>,
    /// What it starts.
    pub program: Program,
    /// How many descriptors beyond the standard streams the program gets.
    #[serde(default)]
    pub preserve: u32,
    /// System call filter; empty for none.
    pub filter: Vec<bulkhead_seccomp::Insn>,
    /// What was loosened.
    pub grants: Vec<Grant>,
}

impl SandboxPlan {
    /// `CLONE_NEW*` bits of all namespaces that the sandbox is in and the host is not: its own, and those it shares.
    #[must_use]
    pub fn entered(&self) -> u64 {
        let entered = self.enter.iter().fold(0, |bits, e| bits | e.kind);
        self.namespaces | entered | self.share.as_ref().map_or(0, Share::bits)
    }

    /// It is in the network of whoever starts it.
    #[must_use]
    pub fn in_hosts_network(&self) -> bool {
        self.entered() & clone::NEWNET == 0
    }
}

/// A spec that cannot become a plan on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A limit that cannot be enforced.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A value that is not acceptable.
    #[error("invalid {field} {value:?}: {accepted}")]
    Invalid {
        /// Field as the user knows it.
        field: String,
        /// Its value.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
    /// Something this host does not have.
    #[error("{what} is not possible on this host: {reason}")]
    Unsupported {
        /// What was needed.
        what: String,
        /// Why it is not there and what would help.
        reason: String,
    },
}

impl PlanError {
    pub(crate) fn invalid(field: &str, value: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), value: value.into(), accepted: accepted.into() }
    }
}

/// A string for the kernel.
pub(crate) fn text(field: &str, value: &str) -> Result<Text, PlanError> {
    Text::new(value).map_err(|_| PlanError::invalid(field, value.escape_debug().to_string(), "it must not hold a NUL"))
}

/// A path for the kernel, absolute and without `..`.
pub(crate) fn path_text(field: &str, value: &str) -> Result<Text, PlanError> {
    if !value.starts_with('/') || value.split('/').any(|c| c == "..") {
        return Err(PlanError::invalid(field, value, "an absolute path without \"..\" is needed"));
    }
    text(field, value)
}

/// Plans a sandbox.
///
/// # Errors
/// A value that is not acceptable, or something that this host cannot do; nothing was changed.
pub fn plan(spec: &SandboxSpec, facts: &HostFacts) -> Result<SandboxPlan, PlanError> {
    check_ids(&spec.ids)?;
    let mut cgroup = cgroup::plan(&spec.id, &spec.resources, facts)?;
    cgroup.grant_devices(&spec.devices.iter().map(|d| d.rule).collect::<Vec<_>>());
    let mut namespaces = clone::NEWUSER | clone::NEWNS | clone::NEWPID | clone::NEWNET | clone::NEWIPC | clone::NEWUTS;
    if facts.has_namespace("time") {
        namespaces |= clone::NEWTIME;
    }
    if let Some(share) = &spec.share {
        share::check(spec, share, &cgroup)?;
        namespaces &= !share.bits();
    }
    let host_network = host::network(spec);
    if host_network {
        host::check(spec)?;
        namespaces &= !clone::NEWNET;
    }
    let mut trees = Vec::new();
    let mut steps = vec![Step::DieWithParent];
    let own_cgroup_view = facts.has_namespace("cgroup");
    match &cgroup {
        CgroupPlan::None => {
            if own_cgroup_view {
                namespaces |= clone::NEWCGROUP;
            }
        }
        CgroupPlan::V1 { directories, .. } => {
            steps.push(Step::JoinCgroups { count: directories.len() });
            if own_cgroup_view {
                // Not at the clone: the view is rooted where the process is, and it has only now arrived.
                steps.push(Step::CgroupNamespace);
            }
        }
        CgroupPlan::V2 { .. } | CgroupPlan::Oci(_) => namespaces |= clone::NEWCGROUP,
    }
    let many_ids = spec.ids.writer != MapWriter::Single;
    steps.push(Step::BecomeRoot { drop_groups: many_ids });
    steps.push(Step::NewSession);
    if !host_network && !spec.share.as_ref().is_some_and(|s| s.network) {
        steps.push(Step::Loopback);
    }
    if !spec.share.as_ref().is_some_and(|s| s.uts) {
        steps.push(Step::Hostname { name: hostname("--hostname", &spec.hostname)? });
    }
    // Its file in /proc belongs to the host's root; the call asks the user namespace.
    for (_, value) in spec.sysctls.iter().filter(|(name, _)| is_domain(name)) {
        steps.push(Step::Domainname { name: hostname("--domainname", value)? });
    }
    rootfs::steps(spec, facts, &cgroup, &mut trees, &mut steps)?;
    identity::process_steps(&spec.process, &spec.ids, facts, &mut steps)?;
    identity::rights_steps(&spec.process, spec, facts, &mut steps)?;
    Ok(SandboxPlan {
        kind: SandboxKind::Container,
        id: spec.id.clone(),
        namespaces,
        enter: Vec::new(),
        time_offsets: Vec::new(),
        share: spec.share.clone(),
        cgroup,
        ids: spec.ids.clone(),
        limits: limits(&spec.process, spec, facts)?,
        oom_score_adj: Some(oom_score(spec.process.oom_score_adj)?),
        net_devices: Vec::new(),
        rdt: None,
        trees,
        steps,
        program: program(&spec.process)?,
        preserve: 0,
        filter: match &spec.seccomp {
            Seccomp::Unconfined => Vec::new(),
            Seccomp::Filter { program, .. } => program.insns().to_vec(),
        },
        grants: spec.grants.clone(),
    })
}

/// The setting that is the domain name of the UTS namespace.
pub(crate) fn is_domain(sysctl: &str) -> bool {
    matches!(sysctl, "kernel.domainname" | "kernel/domainname")
}

fn hostname(flag: &str, name: &str) -> Result<Text, PlanError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
        return Err(PlanError::invalid(flag, name, "1 to 64 letters, digits, '-' and '.' are needed"));
    }
    text(flag, name)
}

pub(crate) fn oom_score(value: i32) -> Result<i32, PlanError> {
    if (-1000..=1000).contains(&value) {
        return Ok(value);
    }
    Err(PlanError::invalid("--oom-score-adj", value.to_string(), "-1000 to 1000 is needed"))
}

/// Ranges must not wrap, overlap or reach the id that means "none".
fn check_ids(ids: &IdMaps) -> Result<(), PlanError> {
    for (name, ranges) in [("uid map", &ids.uids), ("gid map", &ids.gids)] {
        let ends_well = |r: &IdRange| {
            r.count > 0 && r.inside.checked_add(r.count).is_some() && r.outside.checked_add(r.count).is_some()
        };
        if ranges.is_empty() || !ranges.iter().all(ends_well) {
            return Err(PlanError::invalid(name, format!("{ranges:?}"), "ranges of at least one 32-bit id are needed"));
        }
        if crate::spec::outside(ranges, 0).is_none() {
            return Err(PlanError::invalid(name, format!("{ranges:?}"), "id 0 must be mapped"));
        }
        for (i, a) in ranges.iter().enumerate() {
            for b in ranges.iter().skip(i + 1) {
                let meet = |a0: u32, b0: u32| a0 < b0 + b.count && b0 < a0 + a.count;
                if meet(a.inside, b.inside) || meet(a.outside, b.outside) {
                    return Err(PlanError::invalid(name, format!("{ranges:?}"), "ranges must not overlap"));
                }
            }
        }
    }
    Ok(())
}

/// Resolves the program against its own `PATH`.
pub(crate) fn program(process: &Process) -> Result<Program, PlanError> {
    program_of(&process.args, &process.env, &process.identity.groups, process.init)
}

/// [`program`], of its parts.
pub(crate) fn program_of(args: &[String], env: &[String], groups: &[u32], init: bool) -> Result<Program, PlanError> {
    const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let Some(first) = args.first().filter(|a| !a.is_empty()) else {
        return Err(PlanError::invalid("command", "", "the image has none; name a program after the image"));
    };
    let candidates = if first.contains('/') {
        vec![text("command", first)?]
    } else {
        let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        // An empty element would be the working directory, where anybody could have put a program.
        path.split(':')
            .filter(|d| d.starts_with('/'))
            .map(|d| text("PATH", &format!("{}/{first}", d.trim_end_matches('/'))))
            .collect::<Result<_, _>>()?
    };
    let all = |field: &str, words: &[String]| words.iter().map(|w| text(field, w)).collect::<Result<Vec<_>, _>>();
    Ok(Program {
        candidates,
        args: all("argument", args)?,
        env: all("environment variable", env)?,
        groups: groups.to_vec(),
        init,
    })
}

/// Process limits: what was asked for must be possible; a default is brought down to what is.
pub(crate) fn limits(process: &Process, spec: &SandboxSpec, facts: &HostFacts) -> Result<Vec<LimitStep>, PlanError> {
    let mut steps: Vec<LimitStep> = Vec::new();
    for limit in &process.rlimits {
        if rlimit_named(&limit.name).is_none() {
            return Err(PlanError::invalid("--ulimit", &limit.name, "a name like nofile or core is needed"));
        }
        let value = |v: Option<u64>| v.unwrap_or(u64::MAX);
        if value(limit.soft) > value(limit.hard) {
            return Err(PlanError::invalid("--ulimit", &limit.name, "the soft limit must not exceed the hard limit"));
        }
        let (mut soft, mut hard) = (limit.soft, limit.hard);
        if let Some(most) =
            facts.hard_limits.get(&limit.name).filter(|most| value(hard) > **most && !facts.may_raise_limits)
        {
            if limit.required {
                return Err(PlanError::Unsupported {
                    what: format!("--ulimit {}={}", limit.name, value(hard)),
                    reason: format!("the caller's own hard limit is {most} and it has no right to raise it"),
                });
            }
            hard = Some(*most);
            soft = Some(value(soft).min(*most));
        }
        steps.push(LimitStep { name: limit.name.clone(), soft, hard });
    }
    let counted = match &facts.cgroup {
        crate::facts::CgroupLayout::None => false,
        crate::facts::CgroupLayout::V1 { controllers } => controllers.contains_key("pids"),
        crate::facts::CgroupLayout::V2 { controllers, .. } => controllers.iter().any(|c| c == "pids"),
    };
    if let (false, Some(pids)) = (counted, spec.resources.pids) {
        // Without a pids controller: processes of one id are counted per user namespace (Linux 5.14).
        if !steps.iter().any(|s| s.name == "nproc") {
            steps.push(LimitStep { name: "nproc".to_owned(), soft: Some(pids), hard: Some(pids) });
        }
    }
    Ok(steps)
}
