//! Entering a running sandbox: the same steps as its first process, in its namespaces.
//!
//! The caller is a process of its own, started for this from the protected copy of the binary: it enters the
//! namespaces itself, holding nothing of the host that it does not need, and cannot be traced from before it does so
//! (CVE-2016-9962).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::proc::Proc;
use bulkhead_sys::{Errno, ids, mount};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::apply;
use crate::arm::{Armed, Stdio};
use crate::error::StartError;
use crate::facts::HostFacts;
use crate::plan::{LimitStep, PlanError, Program, identity, limits, program};
use crate::protocol::{Channel, Message};
use crate::spec::{Grant, Process, SandboxSpec, Seccomp};
use crate::step::Step;
use crate::supervise::{JoinChild, Prepared, await_ready_of, set_limits, set_oom_score, start_time};
use crate::verify;

/// Steps for one more process in a running sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinPlan {
    /// First process of the sandbox, on the host.
    pub pid: i32,
    /// Its start time, so that another process with its number is never entered.
    pub started: u64,
    /// Namespaces that were made for it.
    pub namespaces: u64,
    /// Member files of its control groups.
    pub members: Vec<PathBuf>,
    /// The directory of version 2 beside groups of version 1, into which the process is cloned: to move it there takes
    /// the kernel a while.
    #[serde(default)]
    pub into: Option<PathBuf>,
    /// Its mounts are the caller's own: the root of its first process is entered apart.
    #[serde(default)]
    pub root: bool,
    /// Process limits.
    pub limits: Vec<LimitStep>,
    /// `oom_score_adj`; nothing leaves the caller's.
    pub oom_score_adj: Option<i32>,
    /// Steps of the child.
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

/// Where a running sandbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// First process of the sandbox, on the host.
    pub pid: i32,
    /// Its start time.
    pub started: u64,
    /// Namespaces that were made for it.
    pub namespaces: u64,
    /// Directories of its control groups.
    pub cgroups: Vec<PathBuf>,
}

/// Plans a process that joins.
///
/// # Errors
/// As [`crate::plan::plan`].
pub fn plan_join(
    spec: &SandboxSpec,
    process: &Process,
    target: &Target,
    facts: &HostFacts,
) -> Result<JoinPlan, PlanError> {
    let members: Vec<PathBuf> = target.cgroups.iter().map(|d| member_file(d)).collect();
    Ok(JoinPlan {
        pid: target.pid,
        started: target.started,
        namespaces: target.namespaces | clone::NEWCGROUP,
        limits: limits(process, spec, facts)?,
        oom_score_adj: Some(process.oom_score_adj),
        steps: identity::join_steps(process, spec, facts, members.len())?,
        members,
        into: None,
        root: false,
        program: program(process)?,
        preserve: 0,
        filter: match &spec.seccomp {
            Seccomp::Unconfined => Vec::new(),
            Seccomp::Filter { program, .. } => program.insns().to_vec(),
        },
        grants: spec.grants.clone(),
    })
}

/// Version 1 has `tasks`, which spares a wait that `cgroup.procs` has; version 2 has only the latter.
pub(crate) fn member_file(directory: &Path) -> PathBuf {
    let tasks = directory.join("tasks");
    if tasks.exists() { tasks } else { directory.join("cgroup.procs") }
}

/// Enters the sandbox and prepares the process. The caller itself ends up in its namespaces.
///
/// # Errors
/// What was attempted; the sandbox is as it was.
pub fn join(plan: &JoinPlan, stdio: Stdio) -> Result<Prepared, StartError> {
    verify::rights(&plan.steps, &plan.filter, &plan.grants)?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let proc = Proc::host().map_err(StartError::parent("open /proc as a procfs"))?;
    set_oom_score(&proc, own, plan.oom_score_adj)?;
    set_limits(&plan.limits, own)?;
    let pidfd = open_process(plan.pid, plan.started)?;
    let mut members = Vec::with_capacity(plan.members.len());
    for file in &plan.members {
        let fd = rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| ended_or(e, format!("open {file:?}")))?;
        members.push(fd);
    }
    let open = |path: &PathBuf| {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| ended_or(e, format!("open {path:?}")))
    };
    let into = plan.into.as_ref().map(open).transpose()?;
    if plan.namespaces & clone::NEWNET == 0 {
        enter_network(&proc, own, plan.pid)?;
    }
    let root = if plan.root { Some(root_of(plan.pid, plan.started)?) } else { None };
    // Now: in the container's own /proc this process does not exist.
    let single = SingleThreaded::check().map_err(StartError::parent("clone a process that has one thread"))?;
    ids::set_dumpable(false).map_err(StartError::parent("forbid being traced"))?;
    clone::join(pidfd.as_fd(), plan.namespaces)
        .map_err(|e| ended_or(e, "enter the container's namespaces".to_owned()))?;
    if let Some(root) = root {
        mount::change_root(root.as_fd()).map_err(StartError::parent("enter the container's root"))?;
    }
    drop(proc);
    let (ours, theirs) = Channel::pair().map_err(StartError::parent("make a channel"))?;
    let mut armed = Armed::new(&plan.steps, &plan.program, &plan.filter, stdio, 0, &members, None);
    armed.joining = true;
    armed.preserve = plan.preserve;
    armed.survives = !plan.steps.contains(&Step::DieWithParent);
    let mut child = match clone::clone3(&single, 0, into.as_ref().map(AsFd::as_fd))
        .map_err(StartError::parent("make a process in the container"))?
    {
        Fork::Child => {
            drop(ours);
            apply::run(&mut armed, &theirs)
        }
        Fork::Parent { pid, pidfd } => JoinChild::new(pid, pidfd),
    };
    drop(theirs);
    drop(armed);
    ours.send(Message::Proceed, &[]).map_err(StartError::parent("tell the new process to begin"))?;
    let terminal = await_ready_of(&plan.steps, &ours, &mut child)?;
    child.into_prepared(ours, terminal, crate::supervise::Left::of(&plan.steps), plan.program.name())
}

/// Goes to the network of a container that has the host's: it is that of whoever has started the container, and the caller
/// may be in another by now. It is no namespace of the container's, whose root could not enter it.
fn enter_network(proc: &Proc, own: i32, pid: i32) -> Result<(), StartError> {
    let number = |network: &OwnedFd| {
        let stat = rustix::fs::fstat(network).map_err(StartError::parent("look at the container's network"))?;
        Ok::<_, StartError>(stat.st_ino)
    };
    let theirs = match proc.namespace(pid, c"net") {
        // Who may not even look at it could not enter it: it stays where it is.
        Err(Errno::ACCESS | Errno::PERM) => return Ok(()),
        other => other.map_err(|e| ended_or(e, "open the container's network".to_owned()))?,
    };
    let here = proc.namespace(own, c"net").map_err(StartError::parent("open the own network"))?;
    let (inside, here) = (number(&theirs)?, number(&here)?);
    if inside == here {
        return Ok(());
    }
    clone::join(theirs.as_fd(), clone::NEWNET).map_err(StartError::parent("enter the container's network"))
}

/// What a container that ends this moment answers is that it has ended.
pub(crate) fn ended_or(error: Errno, what: String) -> StartError {
    match error {
        Errno::NOENT | Errno::NODEV | Errno::SRCH => StartError::Vanished("the container has ended".to_owned()),
        source => StartError::Parent { what, source },
    }
}

/// The root of the first process, which is still the one that is meant after it was opened.
fn root_of(pid: i32, started: u64) -> Result<OwnedFd, StartError> {
    let path = format!("/proc/{pid}/root");
    let root = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| ended_or(e, format!("open {path:?}")))?;
    if start_time(pid) == Some(started) {
        Ok(root)
    } else {
        Err(StartError::Vanished("the container has ended".to_owned()))
    }
}

/// A descriptor of the first process, checked after it is held: the number may have been given to another meanwhile.
pub(crate) fn open_process(pid: i32, started: u64) -> Result<OwnedFd, StartError> {
    let gone = || StartError::Vanished("the container has ended".to_owned());
    let first = Pid::from_raw(pid).ok_or_else(gone)?;
    let pidfd = pidfd_open(first, PidfdFlags::empty()).map_err(|_| gone())?;
    if start_time(pid) == Some(started) { Ok(pidfd) } else { Err(gone()) }
}
