//! The process that reads or writes a container's files for the engine: a worker whose root is the container's own root
//! file system, put together for it alone, or the layers of it side by side.
//!
//! What it meets there was made by somebody who may want it to fail. So it has the container's ids and no others, five
//! capabilities over them, no network, no kernel files, no devices, no way to mount or to start a program; and when the
//! container runs, it enters the container's mount namespace only to take a private copy of it.

use std::os::fd::AsFd;
use std::path::PathBuf;

use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::ids;
use bulkhead_sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};
use bulkhead_sys::proc::Proc;
use serde::{Deserialize, Serialize};

use crate::apply;
use crate::arm::{Armed, Stdio};
use crate::cgroup::CgroupHandle;
use crate::error::StartError;
use crate::facts::HostFacts;
use crate::join::{Target, ended_or, open_process};
use crate::plan::{PlanError, SandboxPlan, Tree, path_text, rootfs};
use crate::protocol::{Channel, Message};
use crate::spec::{Mount, Rootfs, SandboxSpec};
use crate::step::{Missing, Step};
use crate::supervise::{JoinChild, Prepared, await_ready_of, set_limits, set_oom_score};
use crate::verify;
use crate::worker::{self, WorkerSpec};

/// What the worker has as its root.
#[derive(Debug, Clone)]
pub enum View<'a> {
    /// The files of a container that does not run, with its binds, put together as at its start.
    Stopped {
        /// What must hold in it.
        spec: &'a SandboxSpec,
        /// Files may be changed; else the whole view is read-only.
        writable: bool,
        /// With its binds and volumes; else its own layers only.
        mounts: bool,
    },
    /// The files of a container that runs.
    Running {
        /// Files may be changed.
        writable: bool,
        /// With what is mounted in it.
        mounts: bool,
    },
    /// Directories side by side as `/l0`, `/l1` and so on, read-only.
    Layers {
        /// Absolute path, and whether its owners are shifted by the id maps.
        directories: Vec<(PathBuf, bool)>,
    },
}

/// Plans a worker with this view.
///
/// # Errors
/// As [`crate::plan::plan`].
pub fn plan_files(spec: &WorkerSpec, view: &View<'_>, facts: &HostFacts) -> Result<SandboxPlan, PlanError> {
    let mut trees = Vec::new();
    let mut root = vec![Step::PrivateMounts];
    match view {
        View::Stopped { spec: container, writable, mounts } => {
            stopped(container, *writable, *mounts, facts, &mut trees, &mut root)?;
        }
        View::Running { writable, mounts } => {
            let attributes = NOSUID | NODEV | if *writable { 0 } else { RDONLY };
            root.push(Step::JoinedView { recursive: *mounts, attributes });
        }
        View::Layers { directories } => {
            root.push(Step::Scratch { layers: directories.len() });
            for (index, (path, shift)) in directories.iter().enumerate() {
                let from = rootfs::tree(facts, &mut trees, path, false, false, *shift)?;
                root.push(Step::Layer { index, from });
            }
            root.push(Step::ScratchRoot);
        }
    }
    let mut plan = worker::plan_with(spec, facts, trees, root)?;
    if matches!(view, View::Running { .. }) {
        // It enters the container's user namespace instead of one of its own, and its group before that.
        plan.namespaces &= !(clone::NEWUSER | clone::NEWCGROUP);
        plan.steps.retain(|s| !matches!(s, Step::JoinCgroups { .. }));
    }
    Ok(plan)
}

/// The layers, and the binds that the container would have.
fn stopped(
    spec: &SandboxSpec,
    writable: bool,
    mounts: bool,
    facts: &HostFacts,
    trees: &mut Vec<Tree>,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let attributes = NOSUID | NODEV | if writable { 0 } else { RDONLY };
    let Rootfs::Overlay { lowers, writable: own, .. } = &spec.rootfs else {
        return Err(PlanError::invalid("root file system", "a directory", "a container has layers"));
    };
    let append = facts.kernel >= (6, 8);
    let layers = lowers.len() + usize::from(!writable);
    rootfs::check_layers(layers, facts)?;
    steps.push(Step::Scratch { layers });
    for (index, lower) in lowers.iter().enumerate() {
        let from = rootfs::tree(facts, trees, lower, false, false, true)?;
        steps.push(Step::Layer { index, from });
    }
    if writable {
        let from = rootfs::tree(facts, trees, own, false, false, false)?;
        steps.push(Step::Writable { from });
        steps.push(Step::Overlay { layers, append, volatile: false, attributes });
    } else {
        // What the container wrote is one more layer that is read: two overlays never write to one directory.
        let from = rootfs::tree(facts, trees, &own.join("upper"), false, false, false)?;
        steps.push(Step::Layer { index: lowers.len(), from });
        steps.push(Step::LayersRoot { layers, append, attributes });
    }
    if mounts {
        for mount in &spec.mounts {
            bind(mount, writable, facts, trees, steps)?;
        }
    }
    if spec.read_only_root {
        steps.push(Step::ReadOnlyRoot);
    }
    Ok(())
}

fn bind(
    mount: &Mount,
    writable: bool,
    facts: &HostFacts,
    trees: &mut Vec<Tree>,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    // A missing mount point cannot be made where nothing may be written; there it has nothing to hide either.
    let missing = if writable { Missing::Make } else { Missing::Skip };
    match mount {
        Mount::Bind { target, directory, flags, .. } => {
            let Some((from, shift_ids)) = rootfs::bind_place(mount)? else { return Ok(()) };
            let from = rootfs::place(facts, trees, from, shift_ids);
            let read_only = if flags.read_only || !writable { RDONLY } else { 0 };
            let attributes = NOSUID | NODEV | NOEXEC | read_only;
            let target = path_text("mount target", target)?;
            match missing {
                Missing::Skip => steps.push(Step::BindExisting { from, target, attributes }),
                _ => steps.push(Step::Bind { from, target, directory: *directory, attributes }),
            }
        }
        // Fresh at every start: what would be written there now would never be seen.
        Mount::Tmpfs { target, .. } => steps.push(Step::Mount {
            filesystem: crate::plan::text("file system", "tmpfs")?,
            target: path_text("mount target", target)?,
            options: vec![(crate::plan::text("mount option", "size")?, Some(crate::plan::text("mount option", "4k")?))],
            attributes: NOSUID | NODEV | NOEXEC | RDONLY,
            missing: Missing::Skip,
            directories: Vec::new(),
        }),
    }
    Ok(())
}

/// A worker's plan, and the running container whose files it gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinedPlan {
    /// First process of the container, on the host.
    pub pid: i32,
    /// Its start time.
    pub started: u64,
    /// What the worker does.
    pub plan: SandboxPlan,
}

impl JoinedPlan {
    /// For a running container.
    #[must_use]
    pub fn new(target: &Target, plan: SandboxPlan) -> Self {
        Self { pid: target.pid, started: target.started, plan }
    }
}

/// Enters the user and mount namespaces of the container and prepares the worker there. The caller itself ends up in
/// them: it is a process that was started for this.
///
/// # Errors
/// What was attempted; the container is as it was.
pub fn prepare_joined(joined: &JoinedPlan, stdio: Stdio, binary: std::os::fd::OwnedFd) -> Result<Prepared, StartError> {
    let plan = &joined.plan;
    verify::joined_worker(plan)?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let proc = Proc::host().map_err(StartError::parent("open /proc as a procfs"))?;
    // This process goes ahead: its child inherits the group and the limits.
    let mut cgroup = CgroupHandle::create(&plan.cgroup)?;
    cgroup.enter()?;
    cgroup.keep();
    set_oom_score(&proc, own, plan.oom_score_adj)?;
    set_limits(&plan.limits, own)?;
    let pidfd = open_process(joined.pid, joined.started)?;
    let (ours, theirs) = Channel::pair().map_err(StartError::parent("make a channel"))?;
    let mut armed = Armed::new(&plan.steps, &plan.program, &plan.filter, stdio, 0, &[], Some(binary));
    let single = SingleThreaded::check().map_err(StartError::parent("clone a process that has one thread"))?;
    ids::set_dumpable(false).map_err(StartError::parent("forbid being traced"))?;
    clone::join(pidfd.as_fd(), clone::NEWUSER | clone::NEWNS)
        .map_err(|e| ended_or(e, "enter the container's namespaces".to_owned()))?;
    // The change of rights has cleared it.
    ids::die_with_parent().map_err(StartError::parent("end with the command"))?;
    drop(proc);
    let fork = clone::clone3(&single, plan.namespaces, None);
    let mut child = match fork.map_err(StartError::parent("make the namespaces"))? {
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
