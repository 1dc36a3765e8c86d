//! The parent: clone, id maps, mount trees, hand-over, and the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::proc::Proc;
use bulkhead_sys::{Errno, fd, mount, signal};
use rustix::process::{Pid, Rlimit};

use crate::apply;
use crate::arm::{Armed, Stdio};
use crate::cgroup::CgroupHandle;
use crate::error::StartError;
use crate::excursion::Excursion;
use crate::facts::rlimit_named;
use crate::join::Target;
use crate::nest::Parent;
use crate::oci::step::OciStep;
use crate::plan::{LimitStep, Origin, OwnIds, SandboxKind, SandboxPlan, Tree};
use crate::protocol::{Channel, Message};
use crate::share::{self, Entry};
use crate::shift;
use crate::spec::{DeviceRule, outside};
use crate::step::Step;
use crate::verify::verify;
use crate::{maps, netdev, rdt};

/// A child between clone and program. Dropped, it is killed and collected.
#[derive(Debug)]
struct Child {
    pid: i32,
    pidfd: OwnedFd,
    over: bool,
}

impl Child {
    /// One more descriptor of it.
    fn copy(&self) -> Result<OwnedFd, StartError> {
        self.pidfd.try_clone().map_err(|e| StartError::Parent {
            what: "keep hold of the new process".to_owned(),
            source: Errno::from_io_error(&e).unwrap_or(Errno::MFILE),
        })
    }

    fn end(&mut self) -> Option<signal::Ended> {
        self.over = true;
        // It may have ended by itself.
        signal::send(self.pidfd.as_fd(), 9).unwrap_or_default();
        signal::wait(self.pidfd.as_fd()).ok()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.over {
            self.end();
        }
    }
}

/// A sandbox that is ready: everything is in place but the program.
#[derive(Debug)]
pub struct Prepared {
    child: Child,
    channel: Channel,
    terminal: Option<OwnedFd>,
    cgroup: CgroupHandle,
    left: Left,
    program: String,
}

/// The steps that a child has left which has said that it is ready: of the others nothing is to be told any more.
#[derive(Debug)]
pub(crate) struct Left {
    first: usize,
    steps: Vec<Step>,
}

impl Left {
    pub(crate) fn of(steps: &[Step]) -> Self {
        let first = steps.iter().position(|step| *step == Step::Ready).unwrap_or(0);
        Self { first, steps: steps.get(first..).unwrap_or_default().to_vec() }
    }

    fn failed(&self, program: &str, step: u32, errno: i32) -> StartError {
        let known = usize::try_from(step).ok().and_then(|step| step.checked_sub(self.first));
        let index = known.and_then(|index| u32::try_from(index).ok()).unwrap_or(u32::MAX);
        match StartError::step(&self.steps, program, index, errno) {
            StartError::Step { index, description, exec, source } => {
                StartError::Step { index: index.saturating_add(self.first), description, exec, source }
            }
            other => other,
        }
    }
}

/// A sandbox whose program runs.
#[derive(Debug)]
pub struct Running {
    /// Process id of the first process on the host.
    pub pid: i32,
    /// Refers to it.
    pub pidfd: OwnedFd,
    /// Master side of its terminal.
    pub terminal: Option<OwnedFd>,
    /// Its control group, which is removed when this is dropped.
    pub cgroup: CgroupHandle,
}

/// Carries a plan out up to the point where only the program is missing.
///
/// `init` is the protected binary that becomes process 1 when the plan asks for an init.
///
/// # Errors
/// What was attempted; all of it is undone.
pub fn prepare(plan: &SandboxPlan, stdio: Stdio, init: Option<OwnedFd>) -> Result<Prepared, StartError> {
    prepare_beside(plan, stdio, init, None)
}

/// As [`prepare`], of a plan that shares namespaces with the sandbox `other`.
///
/// # Errors
/// As [`prepare`]; when the other sandbox has ended.
pub fn prepare_beside(
    plan: &SandboxPlan,
    stdio: Stdio,
    init: Option<OwnedFd>,
    other: Option<&Target>,
) -> Result<Prepared, StartError> {
    launch(plan, stdio, init, other, Extras::default(), None)
}

/// As [`prepare_beside`]; the user namespace of the sandbox is made in `parent`, if it has one of its own.
///
/// # Errors
/// As [`prepare_beside`]; ids that `parent` has not.
pub fn prepare_below(
    plan: &SandboxPlan,
    stdio: Stdio,
    init: Option<OwnedFd>,
    other: Option<&Target>,
    parent: &Parent,
) -> Result<Prepared, StartError> {
    launch(plan, stdio, init, other, Extras::default(), Some(parent))
}

/// What a bundle has beside its plan.
#[derive(Default)]
pub struct Extras<'a> {
    /// A listening socket: a connection to it starts the program.
    pub listener: Option<OwnedFd>,
    /// Runs the hooks of the moment before the root is changed; takes the process id.
    pub hooks: Option<&'a mut dyn FnMut(i32) -> Result<(), String>>,
}

impl std::fmt::Debug for Extras<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extras").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// Takes the descriptor of a system call filter that asks to whoever answers.
pub type Deliver<'a> = dyn FnMut(OwnedFd) -> Result<(), String> + 'a;

pub(crate) fn deliver_from(fds: &mut Vec<OwnedFd>, deliver: &mut Deliver<'_>) -> Result<(), StartError> {
    let listener = fds.pop().ok_or_else(|| StartError::Vanished("it broke the protocol".to_owned()))?;
    deliver(listener).map_err(StartError::Listener)
}

/// The host's `/proc`, opened when it is needed first.
#[derive(Debug, Default)]
pub(crate) struct HostProc(std::cell::OnceCell<Proc>);

impl HostProc {
    pub(crate) fn get(&self) -> Result<&Proc, StartError> {
        match self.0.get() {
            Some(proc) => Ok(proc),
            None => {
                let proc = Proc::host().map_err(StartError::parent("open /proc as a procfs"))?;
                Ok(self.0.get_or_init(|| proc))
            }
        }
    }
}

/// As [`prepare`], of a bundle.
///
/// # Errors
/// As [`prepare`]; a hook that fails.
pub fn prepare_bundle(plan: &SandboxPlan, stdio: Stdio, extras: Extras<'_>) -> Result<Prepared, StartError> {
    launch(plan, stdio, None, None, extras, None)
}

/// Makes the child, which goes its own way; in the caller: what refers to it, and the channel to it.
fn make(
    plan: &SandboxPlan,
    proc: &HostProc,
    cgroup: &CgroupHandle,
    (stdio, init, listener): (Stdio, Option<OwnedFd>, Option<OwnedFd>),
    entry: Option<&Entry>,
) -> Result<(Child, Channel), StartError> {
    let (ours, theirs) = Channel::pair().map_err(StartError::parent("make a channel"))?;
    let init = if plan.program.init { init } else { None };
    let mut armed = Armed::new(&plan.steps, &plan.program, &plan.filter, stdio, plan.trees.len(), cgroup.tasks(), init);
    armed.hidden = plan.entered() & !plan.namespaces & clone::NEWPID != 0;
    armed.preserve = plan.preserve;
    armed.survives = plan.kind == SandboxKind::Bundle;
    armed.listener = listener;
    let single = SingleThreaded::check().map_err(StartError::parent("clone a process that has one thread"))?;
    // What is shared is entered by a go-between, which makes the rest.
    let first = if entry.is_some() { 0 } else { plan.namespaces };
    let away = Excursion::begin(plan, proc)?;
    let made = clone::clone3(&single, first, cgroup.into_fd());
    if !matches!(made, Ok(Fork::Child)) {
        away.end()?;
    }
    match made.map_err(|e| StartError::parent(crate::oci::unmade(plan.namespaces, e))(e))? {
        Fork::Child => {
            drop(ours);
            if let Some(entry) = entry {
                entry.pass(&single, &theirs);
            }
            apply::run(&mut armed, &theirs)
        }
        Fork::Parent { pid, pidfd } => Ok((Child { pid, pidfd, over: false }, ours)),
    }
}

fn launch(
    plan: &SandboxPlan,
    stdio: Stdio,
    init: Option<OwnedFd>,
    other: Option<&Target>,
    mut extras: Extras<'_>,
    parent: Option<&Parent>,
) -> Result<Prepared, StartError> {
    verify(plan)?;
    let entry = match (Entry::of(plan, other)?, parent) {
        (None, Some(parent)) => Some(Entry::below(plan, parent)?),
        (entry, _) => entry,
    };
    let below = entry.as_ref().is_some_and(Entry::is_below);
    let mut cgroup = CgroupHandle::create(&plan.cgroup)?;
    let proc = HostProc::default();
    let listener = extras.listener.take();
    let (mut child, ours) = make(plan, &proc, &cgroup, (stdio, init, listener), entry.as_ref())?;
    if plan.namespaces & clone::NEWUSER != 0 && !below {
        maps::write(&plan.ids, proc.get()?, child.pid)?;
    }
    // The limit on processes that a namespace is made with holds for all that are above it together (Linux 5.14): that of one
    // sandbox must not become the limit of all.
    let limited = plan.kind != SandboxKind::Bundle;
    if limited && !below {
        set_limits(&plan.limits, child.pid)?;
    }
    if plan.oom_score_adj.is_some() {
        set_oom_score(proc.get()?, child.pid, plan.oom_score_adj)?;
    }
    if let Some(entry) = &entry {
        let (pid, pidfd) = share::await_birth(entry, &ours, child.pidfd.as_fd())?;
        child.over = true;
        child = Child { pid, pidfd, over: false };
    }
    if limited && below {
        set_limits(&plan.limits, child.pid)?;
    }
    // Given back where the start fails.
    let devices = match plan.net_devices.is_empty() {
        true => None,
        false => netdev::attach(&plan.net_devices, proc.get()?, child.pid)?,
    };
    let class = plan.rdt.as_ref().map(|rdt| rdt::enter(rdt, child.pid)).transpose()?;
    send_trees(plan, &proc, &child, &ours, entry.as_ref())?;
    ours.send(Message::Proceed, &[]).map_err(StartError::parent("tell the new process to begin"))?;
    let terminal = await_ready(&plan.steps, &ours, &mut child, extras.hooks)?;
    cgroup.entered();
    if plan.kind == SandboxKind::Bundle {
        // A bundle's mounts may need more descriptors than its program may have.
        set_limits(&plan.limits, child.pid)?;
    }
    if let Some(devices) = devices {
        devices.keep();
    }
    if let Some(class) = class {
        class.keep();
    }
    let program = plan.program.name();
    Ok(Prepared { child, channel: ours, terminal, cgroup, left: Left::of(&plan.steps), program })
}

pub(crate) fn await_ready_of(
    steps: &[Step],
    channel: &Channel,
    child: &mut JoinChild,
) -> Result<Option<OwnedFd>, StartError> {
    await_ready(steps, channel, &mut child.0, None)
}

/// A process that joins, between clone and program.
#[derive(Debug)]
pub(crate) struct JoinChild(Child);

impl JoinChild {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd) -> Self {
        Self(Child { pid, pidfd, over: false })
    }

    pub(crate) fn into_prepared(
        self,
        channel: Channel,
        terminal: Option<OwnedFd>,
        left: Left,
        program: String,
    ) -> Result<Prepared, StartError> {
        let cgroup = CgroupHandle::create(&crate::cgroup::CgroupPlan::None)?;
        Ok(Prepared { child: self.0, channel, terminal, cgroup, left, program })
    }
}

fn await_ready(
    steps: &[Step],
    channel: &Channel,
    child: &mut Child,
    mut hooks: Option<&mut dyn FnMut(i32) -> Result<(), String>>,
) -> Result<Option<OwnedFd>, StartError> {
    let mut fds = Vec::with_capacity(1);
    let hear =
        |fds: &mut Vec<OwnedFd>| channel.recv_in_time(fds).map_err(StartError::parent("hear from the new process"));
    let mut heard = hear(&mut fds)?;
    while let Some(Message::Hooks | Message::Shift { .. }) = heard {
        match (heard, &mut hooks) {
            (Some(Message::Hooks), Some(hooks)) => hooks(child.pid).map_err(StartError::Hook)?,
            (Some(Message::Shift { step }), _) => shift::shift(steps, step, child.pid, fds.pop())?,
            _ => break,
        }
        channel.send(Message::Proceed, &[]).map_err(StartError::parent("tell the new process to go on"))?;
        heard = hear(&mut fds)?;
    }
    match heard {
        Some(Message::Ready) => Ok(fds.pop()),
        Some(Message::Failed { step, errno }) => Err(StartError::step(steps, "the program", step, errno)),
        Some(_) => Err(StartError::Vanished("it broke the protocol".to_owned())),
        None => Err(StartError::Vanished(
            child.end().map_or_else(|| "no exit status".to_owned(), |e| format!("exit status {}", e.code())),
        )),
    }
}

impl Prepared {
    /// Process id of the first process on the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Refers to the first process.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Master side of its terminal.
    #[must_use]
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(AsFd::as_fd)
    }

    /// Directories of its control group.
    #[must_use]
    pub fn cgroup_directories(&self) -> &[std::path::PathBuf] {
        self.cgroup.directories()
    }

    /// Takes the terminal, whose other side is the container's.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Lets the new process wait for its start, for as long as it takes: it outlives the caller, and so does its group.
    /// What is returned refers to it. `deliver` gets the descriptor of a filter that asks and is loaded before the wait.
    ///
    /// # Errors
    /// When it cannot be told; what `deliver` says; all of the sandbox is undone.
    pub fn leave(mut self, deliver: &mut Deliver<'_>) -> Result<OwnedFd, StartError> {
        self.channel.send(Message::Exec, &[]).map_err(StartError::parent("tell the new process to wait"))?;
        let asks = |step: &&Step| matches!(step, Step::Bundle(OciStep::Filter { listener: true, .. }));
        let waits = self.left.steps.iter().position(|step| *step == OciStep::AwaitStart.into()).unwrap_or(0);
        if self.left.steps.iter().take(waits).any(|step| asks(&step)) {
            let mut fds = Vec::with_capacity(1);
            match self.channel.recv_in_time(&mut fds).map_err(StartError::parent("hear from the new process"))? {
                Some(Message::Listener) => deliver_from(&mut fds, deliver)?,
                Some(Message::Failed { step, errno }) => {
                    return Err(self.left.failed(&self.program, step, errno));
                }
                _ => return Err(StartError::Vanished("no listener came from it".to_owned())),
            }
        }
        let pidfd = self.child.copy()?;
        self.child.over = true;
        self.cgroup.keep();
        Ok(pidfd)
    }

    /// Starts the program and returns when it runs.
    ///
    /// # Errors
    /// The step that failed; all of the sandbox is undone.
    pub fn exec(self) -> Result<Running, StartError> {
        self.exec_asking(&mut |_| Err("its system call filter asks, and nobody answers".to_owned()))
    }

    /// As [`Prepared::exec`]; `deliver` gets the descriptor of a filter that asks, as soon as it exists.
    ///
    /// # Errors
    /// As [`Prepared::exec`]; what `deliver` says.
    pub fn exec_asking(mut self, deliver: &mut Deliver<'_>) -> Result<Running, StartError> {
        self.channel.send(Message::Exec, &[]).map_err(StartError::parent("tell the new process to start"))?;
        let mut fds = Vec::with_capacity(1);
        loop {
            match self.channel.recv_in_time(&mut fds).map_err(StartError::parent("hear from the new process"))? {
                None => break,
                Some(Message::Listener) => deliver_from(&mut fds, deliver)?,
                Some(Message::Failed { step, errno }) => {
                    return Err(self.left.failed(&self.program, step, errno));
                }
                Some(_) => return Err(StartError::Vanished("it broke the protocol".to_owned())),
            }
        }
        self.child.over = true;
        let Self { mut child, terminal, cgroup, .. } = self;
        child.over = true;
        let pidfd = child.copy()?;
        Ok(Running { pid: child.pid, pidfd, terminal, cgroup })
    }
}

impl Running {
    /// Lets it go on without this process; its group stays.
    #[must_use]
    pub fn into_kept(mut self) -> OwnedFd {
        self.cgroup.keep();
        self.pidfd
    }
}

/// Waits for the program to end.
///
/// # Errors
/// When it is not a child of the caller.
pub fn wait(running: &Running) -> Result<signal::Ended, StartError> {
    signal::wait(running.pidfd.as_fd()).map_err(StartError::parent("wait for the program"))
}

pub(crate) fn set_limits(limits: &[LimitStep], pid: i32) -> Result<(), StartError> {
    for limit in limits {
        let Some(resource) = rlimit_named(&limit.name) else { continue };
        let value = Rlimit { current: limit.soft, maximum: limit.hard };
        rustix::process::prlimit(Pid::from_raw(pid), resource, value)
            .map_err(StartError::parent(format!("set the limit {} of the new process", limit.name)))?;
    }
    Ok(())
}

pub(crate) fn set_oom_score(proc: &Proc, pid: i32, score: Option<i32>) -> Result<(), StartError> {
    let Some(score) = score else { return Ok(()) };
    let path = std::ffi::CString::new(format!("{pid}/oom_score_adj")).unwrap_or_default();
    let current = proc.read(&path).ok().and_then(|b| String::from_utf8(b).ok()?.trim().parse::<i32>().ok());
    if current == Some(score) {
        return Ok(());
    }
    proc.write(&path, score.to_string().as_bytes()).map_err(StartError::parent(format!("set oom_score_adj to {score}")))
}

/// Opens what the child has no right to, shifts its owners by the child's own map, and sends it.
fn send_trees(
    plan: &SandboxPlan,
    proc: &HostProc,
    child: &Child,
    channel: &Channel,
    entry: Option<&Entry>,
) -> Result<(), StartError> {
    if plan.trees.is_empty() {
        return Ok(());
    }
    // Only the owners of the host's trees are shifted, by root.
    if plan.trees.iter().all(|t| t.origin == Origin::Other) {
        let opened = entry.map(other_memory).transpose()?;
        let borrowed: Vec<BorrowedFd<'_>> = opened.iter().map(AsFd::as_fd).collect();
        return channel.send(Message::Trees, &borrowed).map_err(StartError::parent("send mount trees"));
    }
    let userns = proc
        .get()?
        .namespace(child.pid, c"user")
        .map_err(StartError::parent("open the user namespace of the new process"))?;
    let mut opened = Vec::with_capacity(plan.trees.len());
    // Many mounts have the same ids.
    let mut made: Vec<(&OwnIds, OwnedFd)> = Vec::new();
    for tree in &plan.trees {
        let own = tree.maps.as_ref().and_then(|maps| maps.ids.as_ref());
        if let Some(ids) = own.filter(|ids| !made.iter().any(|(known, _)| known == ids)) {
            made.push((ids, crate::excursion::user_namespace(ids)?));
        }
        let shifter = own.and_then(|ids| made.iter().find(|(known, _)| *known == ids)).map_or(&userns, |(_, fd)| fd);
        opened.push(match (tree.origin, entry) {
            (Origin::Host, _) => open_tree(plan, tree, shifter.as_fd())?,
            (Origin::Node(rule, mode), _) => node(plan, tree, rule, mode)?,
            (Origin::Other, Some(entry)) => other_memory(entry)?,
            (Origin::Other, None) => return Err(StartError::Vanished("there is no other container".to_owned())),
        });
    }
    for some in opened.chunks(fd::FDS_PER_MESSAGE) {
        let borrowed: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
        channel.send(Message::Trees, &borrowed).map_err(StartError::parent("send mount trees"))?;
    }
    Ok(())
}

fn other_memory(entry: &Entry) -> Result<OwnedFd, StartError> {
    share::shared_memory(entry).map_err(StartError::parent("open /dev/shm of the other container"))
}

/// A node of a granted device for the sandbox's root, alone in a memory file system of the host that is mounted nowhere.
/// The host's own node is left alone: who may open it there says nothing about here.
fn node(plan: &SandboxPlan, tree: &Tree, rule: DeviceRule, mode: u32) -> Result<OwnedFd, StartError> {
    use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
    let attempt = || -> Result<OwnedFd, Errno> {
        let options: [(&std::ffi::CStr, Option<&std::ffi::CStr>); 2] =
            [(c"size", Some(c"4k")), (c"nr_inodes", Some(c"2"))];
        let memory = mount::new_filesystem(c"tmpfs", options.into_iter(), mount::NOSUID | mount::NOEXEC)?;
        let kind = if rule.block { FileType::BlockDevice } else { FileType::CharacterDevice };
        let device = rustix::fs::makedev(rule.major, rule.minor);
        rustix::fs::mknodat(&memory, c"node", kind, Mode::from_raw_mode(mode), device)?;
        let root = |ranges| outside(ranges, 0).ok_or(Errno::INVAL);
        let (uid, gid) = (Uid::from_raw(root(&plan.ids.uids)?), Gid::from_raw(root(&plan.ids.gids)?));
        rustix::fs::chownat(&memory, c"node", Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::chmodat(&memory, c"node", Mode::from_raw_mode(mode), AtFlags::empty())?;
        match mount::copy_tree(memory.as_fd(), c"node", false) {
            // Before Linux 6.15; the child takes the node out.
            Err(Errno::INVAL) => Ok(memory),
            node => node,
        }
    };
    attempt().map_err(StartError::parent(format!("make a node for the device {:?}", tree.place.show())))
}

fn open_tree(plan: &SandboxPlan, tree: &Tree, userns: BorrowedFd<'_>) -> Result<OwnedFd, StartError> {
    let path = tree.place.show();
    let copy = apply::open_tree(&tree.place).map_err(StartError::parent(format!("open the mount tree of {path:?}")))?;
    if !tree.peer {
        // A copy of a shared mount, as systemd makes all of them, is the host's peer: what the sandbox mounts below it
        // would be mounted on the host too, and the kernel makes no root of it (`mount_namespaces(7)`, `pivot_root(2)`).
        let apart = plan.steps.contains(&Step::PrivateMounts);
        let propagation = if apart { mount::PRIVATE } else { mount::SLAVE };
        mount::change(copy.as_fd(), 0, 0, propagation, tree.place.recursive)
            .map_err(StartError::parent(format!("part {path:?} from the host's mounts")))?;
    }
    let recursive = match &tree.maps {
        Some(maps) => Some(maps.recursive),
        None => tree.shift_ids.then_some(tree.place.recursive),
    };
    if let Some(recursive) = recursive {
        mount::map_ids(copy.as_fd(), userns, recursive)
            .map_err(StartError::parent(format!("shift the owners of {path:?}")))?;
    }
    Ok(copy)
}

/// Reads a pid's start time in clock ticks since boot: with the pid it names one process for ever.
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    start_time_in(&Proc::host().ok()?, pid)
}

/// As [`start_time`], by a caller who has `/proc` open.
#[must_use]
pub fn start_time_in(proc: &Proc, pid: i32) -> Option<u64> {
    let path = std::ffi::CString::new(format!("{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&proc.read(&path).ok()?).into_owned();
    // The second field is the name, in parentheses, and may hold anything.
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
