//! The monitor: one small single-threaded process per container, its parent, which keeps the streams, the log and the
//! exit status. It lives on when the command that started it goes, and opens no database while the program runs: only at a
//! start that had to make the firewall, and to give back addresses at the end.
//!
//! `exec` has the same kind of process, for as long as the program that joined runs.

mod clients;
pub(crate) mod control;
mod history;
pub mod log;
mod relay;
mod restart;
mod watch;
mod wiring;

use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bulkhead_sandbox::cgroup::{CgroupHandle, refusals};
use bulkhead_sandbox::join::{JoinPlan, join};
use bulkhead_sandbox::nest::Parent;
use bulkhead_sandbox::plan::SandboxPlan;
use bulkhead_sandbox::supervise::{self, Prepared, Running, start_time};
use bulkhead_sandbox::{StartError, Stdio};
use bulkhead_sys::{fd, signal, stdio};
use rustix::event::poll;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use self::clients::{Clients, Door, Word};
pub use self::history::History;
use self::log::{LogLimits, LogWriter};
use self::relay::{Relay, Streams, timespec};
use self::restart::Backoff;
use self::watch::Watch;
pub use self::watch::{GRACE, HealthOrder};
use self::wiring::Wiring;
use crate::error::EngineError;
use crate::frame::{self, kind};
use crate::layout::{ExitState, Layout, RunState, Wanted, now, read_json};
use crate::networks::place::{Place, UserNetwork};
use crate::networks::{Live, NetworkOrder};
use crate::request::RestartPolicy;

/// What a monitor is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct MonitorOrder {
    /// What to start.
    pub plan: SandboxPlan,
    /// The container's files.
    pub layout: Layout,
    /// Bounds of its log; nothing is kept without.
    pub log: Option<LogLimits>,
    /// What follows its end.
    pub restart: RestartPolicy,
    /// How it is found out whether it does its work.
    pub health: Option<HealthOrder>,
    /// Where its events go.
    pub history: History,
    /// The program has a terminal.
    pub terminal: bool,
    /// Its rows and columns.
    pub size: Option<(u16, u16)>,
    /// It has an input, for the commands that attach.
    pub stdin: bool,
    /// The end of one command's input is its end.
    pub stdin_once: bool,
    /// Owner of its pipes on the host; `None` when the child gives them away itself.
    pub pipe_owner: Option<(u32, u32)>,
    /// What to run at the end when nobody is attached any more: program and arguments, to remove the container.
    pub cleanup: Option<(PathBuf, Vec<String>)>,
    /// Environment of that.
    pub cleanup_env: Vec<(String, String)>,
    /// Its networks, when it has any.
    pub(crate) network: Option<NetworkOrder>,
}

/// What a joiner is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct JoinOrder {
    /// What to start.
    pub plan: JoinPlan,
    /// It has a terminal.
    pub terminal: bool,
    /// Its rows and columns.
    pub size: Option<(u16, u16)>,
    /// Its input stays open.
    pub stdin: bool,
    /// Owner of its pipes on the host.
    pub pipe_owner: Option<(u32, u32)>,
    /// Nobody listens to it.
    pub detach: bool,
    /// Where its end is told; health checks are not.
    pub history: Option<History>,
}

/// A failure as an attached command gets it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    /// One sentence.
    pub message: String,
    /// What would help.
    pub hint: Option<String>,
    /// Exit code for the command.
    pub exit: u8,
}

impl From<&EngineError> for Failure {
    fn from(e: &EngineError) -> Self {
        Self { message: e.chain(), hint: e.hint(), exit: e.exit_code() }
    }
}

/// Signals that a terminal or a shell sends to a group: a monitor is not meant by them.
const NOT_MEANT: [i32; 6] = [1, 2, 3, 15, 13, 20];

/// Takes over the descriptors that it was started with, and leaves everything else of its starter behind.
pub(crate) fn begin(numbers: &[RawFd]) -> Result<Vec<OwnedFd>, EngineError> {
    let wrong = |e: bulkhead_sys::Errno| {
        EngineError::refused("this hidden command", format!("it is started by bulkhead itself: {e}"))
    };
    fd::close_all_but(numbers).map_err(wrong)?;
    let mut adopted = Vec::with_capacity(numbers.len());
    for number in numbers {
        adopted.push(fd::adopt(*number).map_err(wrong)?);
    }
    // A session of its own: the terminal of the command is not its terminal.
    rustix::process::setsid().map_err(wrong)?;
    for number in NOT_MEANT {
        signal::ignore(number).map_err(wrong)?;
    }
    rustix::process::chdir("/").map_err(wrong)?;
    Ok(adopted)
}

/// As [`begin`], of so many.
fn begin_with<const N: usize>(numbers: [RawFd; N]) -> Result<[OwnedFd; N], EngineError> {
    let wrong = |_| EngineError::refused("this hidden command", "it is started by bulkhead itself");
    begin(&numbers)?.try_into().map_err(wrong)
}

pub(crate) fn read_order<T: serde::de::DeserializeOwned>(order: OwnedFd) -> Result<T, EngineError> {
    let mut text = Vec::new();
    std::fs::File::from(order)
        .read_to_end(&mut text)
        .map_err(EngineError::io("read", std::path::Path::new("the monitor's order")))?;
    serde_json::from_slice(&text).map_err(|e| EngineError::refused("the monitor's order", e.to_string()))
}

/// Streams of the program: its ends, and ours unless it has a terminal.
fn streams(terminal: bool, stdin: bool, owner: Option<(u32, u32)>) -> Result<(Stdio, Option<Streams>), EngineError> {
    if terminal {
        return Ok((Stdio::Terminal, None));
    }
    let failed =
        |e: rustix::io::Errno| EngineError::Start(StartError::Parent { what: "make pipes".to_owned(), source: e });
    let input = if stdin {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK).map_err(failed)?;
        (theirs, Some(ours))
    } else {
        let null = rustix::fs::open(
            c"/dev/null",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        (null.map_err(failed)?, None)
    };
    let (output, their_output) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (error, their_error) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    if let Some((uid, gid)) = owner {
        // The program may open /dev/stdout anew: the kernel lets the owner of the pipe.
        for pipe in [&their_output, &their_error].into_iter().chain(stdin.then_some(&input.0)) {
            stdio::give_to(pipe, uid, gid).map_err(failed)?;
        }
    }
    let ours = Streams::Pipes { input: input.1, output: Some(output), error: Some(error) };
    Ok((Stdio::Files([input.0, their_output, their_error]), Some(ours)))
}

/// Descriptors that the monitor of a container was started with, by number.
#[derive(Debug, Clone, Copy)]
pub struct MonitorFds {
    /// The order, sealed.
    pub order: RawFd,
    /// The socket to the command.
    pub client: RawFd,
    /// The container's lock.
    pub lock: RawFd,
    /// The namespaces of an ordinary user's networks: user, network, and the lock that says that they are used.
    pub user: Option<[RawFd; 3]>,
    /// The protected binary.
    pub binary: RawFd,
}

/// Runs the monitor of a container until the container has ended.
///
/// # Errors
/// What could not be told to the command either.
pub fn monitor(fds: MonitorFds) -> Result<(), EngineError> {
    let (numbers, there) = ([fds.order, fds.client, fds.lock, fds.binary], fds.user.unwrap_or_default());
    let (order, client, lock, binary, user) = match fds.user {
        None => {
            let [order, client, lock, binary] = begin_with(numbers)?;
            (order, client, lock, binary, None)
        }
        Some(_) => {
            let [a, b, c, d] = numbers;
            let [e, f, g] = there;
            let [order, client, lock, binary, user, net, used] = begin_with([a, b, c, d, e, f, g])?;
            (order, client, lock, binary, Some(UserNetwork::adopt([user, net, used])))
        }
    };
    let place = Rc::new(Place::of(user));
    let order: MonitorOrder = read_order(order)?;
    let socket = EngineError::io::<rustix::io::Errno>("make the control socket in", &order.layout.run);
    let started = control::listener(&order.layout).map_err(socket).and_then(|listener| {
        let first = start(&order, order.network.as_ref(), (&binary, &place), 0)?;
        Ok((listener, first))
    });
    match started {
        Ok((listener, first)) => {
            tell(&client, kind::STARTED, &first.running.pid.to_le_bytes());
            let clients = Clients::new(Some(client), Some(listener));
            let network = order.network.clone();
            let backoff = Backoff::default();
            Life { order: &order, network, binary, place, clients, backoff, stopped: false, owner: false }
                .live(first, lock);
            Ok(())
        }
        Err(e) => {
            let failure = Failure::from(&e);
            // It never ran: whoever looks next finds it as it was, and why.
            order.layout.forget_state();
            order.layout.note_failed(&failure);
            give_back(&order, order.network.as_ref());
            let failure = serde_json::to_vec(&failure).unwrap_or_default();
            tell(&client, kind::ERROR, &failure);
            Ok(())
        }
    }
}

/// Gives the addresses back.
fn give_back(order: &MonitorOrder, network: Option<&NetworkOrder>) {
    if let Some(network) = network {
        network.give_back(&order.history.id);
    }
}

pub(crate) fn tell(client: &OwnedFd, kind: u8, payload: &[u8]) {
    // Nobody may be listening any more.
    frame::write_all(client.as_fd(), &frame::encode(kind, payload)).unwrap_or_default();
}

/// The overflow id of the kernel, where a container has no range of its own.
const NOBODY: u32 = 65_534;

/// One run of the program.
struct Run {
    running: Running,
    streams: Streams,
    /// Nanoseconds since 1970.
    since: i64,
    began: Instant,
    /// Its networks.
    network: Option<Live>,
}

/// Everything of it but the program, which waits.
fn prepare(order: &MonitorOrder, binary: &OwnedFd, place: &Place, theirs: Stdio) -> Result<Prepared, EngineError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| EngineError::Start(StartError::Parent { what, source })
    };
    let copy = rustix::io::fcntl_dupfd_cloexec(binary, 3).map_err(failed("pass on the binary"))?;
    let other = order.plan.share.as_ref().and_then(|share| order.layout.beside(&share.with).target());
    // What was said of the run before is not said of this one.
    drop(std::fs::remove_file(order.layout.health()));
    let ids = order.network.as_ref().and_then(|network| network.ids.as_ref());
    let Some((user, ids)) = place.user().zip(ids) else {
        return Ok(supervise::prepare_beside(&order.plan, theirs, Some(copy), other.as_ref())?);
    };
    let namespace = rustix::io::fcntl_dupfd_cloexec(&user.user, 3).map_err(failed("pass on the user's namespace"))?;
    let parent = Parent { namespace, ids: ids.clone() };
    Ok(supervise::prepare_below(&order.plan, theirs, Some(copy), other.as_ref(), &parent)?)
}

fn start(
    order: &MonitorOrder,
    network: Option<&NetworkOrder>,
    (binary, place): (&OwnedFd, &Rc<Place>),
    restarts: u32,
) -> Result<Run, EngineError> {
    let (theirs, ours) = streams(order.terminal, order.stdin, order.pipe_owner)?;
    let prepared = prepare(order, binary, place, theirs)?;
    set_size(&prepared, order.size);
    let since = now();
    if restarts == 0 && order.cleanup.is_none() {
        // Before anybody can stop it. After a boot it says that the container is to run.
        order.layout.write_wanted(Wanted::Running)?;
    }
    // Before the program runs: whoever sees it running finds its state.
    order.layout.write_state(&RunState {
        pid: prepared.pid(),
        started: start_time(prepared.pid()).unwrap_or(0),
        monitor: i32::try_from(std::process::id()).unwrap_or(0),
        namespaces: order.plan.entered(),
        cgroups: prepared.cgroup_directories().to_vec(),
        since,
        restarts,
        restarting: None,
        health: order.health.is_some(),
    })?;
    // The program is there and waits: it never runs without the networks that it is to have.
    let user = order.pipe_owner.map_or(NOBODY, |(uid, _)| uid);
    let connect = |network: &NetworkOrder| {
        Live::begin(network.clone(), Rc::clone(place), prepared.pid(), binary.as_fd(), user, &order.history)
    };
    let network = network.map(connect).transpose()?;
    let mut running = match prepared.exec() {
        Ok(running) => running,
        Err(e) => {
            network.map(|live| live.end(&order.history));
            return Err(e.into());
        }
    };
    if order.plan.in_hosts_network() {
        crate::networks::tell_of_hosts(&order.history, "connect");
    }
    order.history.tell("start", &[]);
    let streams = ours.unwrap_or_else(|| Streams::Terminal(running.terminal.take()));
    Ok(Run { running, streams, since, began: Instant::now(), network })
}

/// Before the program runs, so that it never sees a terminal without a size.
fn set_size(prepared: &Prepared, size: Option<(u16, u16)>) {
    if let (Some(master), Some((rows, columns))) = (prepared.terminal(), size) {
        // Only how it looks depends on it.
        stdio::resize(master, rows, columns).unwrap_or_default();
    }
}

/// A container from its first start to its end for good.
struct Life<'a> {
    order: &'a MonitorOrder,
    /// Its networks as they are by now.
    network: Option<NetworkOrder>,
    binary: OwnedFd,
    place: Rc<Place>,
    clients: Clients,
    backoff: Backoff,
    /// Somebody said that it is to stay stopped.
    stopped: bool,
    /// The command that started it knows the end, and removes it where that was asked for.
    owner: bool,
}

impl Life<'_> {
    fn live(mut self, first: Run, lock: OwnedFd) {
        let mut run = Ok(first);
        let exit = loop {
            let (exit, ran) = match run {
                Ok(run) => {
                    let began = run.began;
                    (self.follow(run), began.elapsed())
                }
                // The first start was told to its command; this is one of the monitor's own.
                Err(e) => (self.unstarted(&e), Duration::ZERO),
            };
            self.order.history.tell("die", &[("exitCode", &exit.code.to_string())]);
            let Some(pause) = self.again(&exit, ran) else { break exit };
            self.mark_restarting(&exit);
            // The next run waits for nobody who does not read.
            self.owner |= self.clients.dismiss(exit.code, Some(1));
            if !self.pause(pause) {
                break exit;
            }
            run = start(self.order, self.network.as_ref(), (&self.binary, &self.place), self.backoff.restarts);
        };
        // Before the end is told: who waits for it may start another with the same address.
        give_back(self.order, self.network.as_ref());
        // One that is removed at once needs no memory of its end on disk.
        // What could not be written is found missing by the next command.
        drop(self.order.layout.write_exit(&exit, self.order.cleanup.is_none()));
        // The end is written down: nobody waits for a command that takes its time to read.
        drop(lock);
        self.owner |= self.clients.dismiss(exit.code, None);
        self.clients.announce(exit.code);
        if !self.owner {
            clean_up(self.order);
        }
    }

    /// Relays until the end of a run, then says how it ended and removes what was made for it.
    fn follow(&mut self, run: Run) -> ExitState {
        let Run { running, streams, since, mut network, .. } = run;
        let order = self.order;
        let mut log_error = None;
        let mut log = order.log.and_then(|limits| match LogWriter::new(&order.layout.log(), limits) {
            Ok(log) => Some(log),
            Err(e) => {
                log_error = Some(format!("cannot open the log: {e}"));
                None
            }
        });
        let groups = running.cgroup.directories();
        let mut watch = Watch::new(order.history.clone(), groups, order.health.as_ref());
        let (binary, history) = (&self.binary, &order.history);
        let wiring = network.as_mut().map(|live| Wiring { live, binary, history });
        let relay = Relay::new(streams, &mut self.clients, &mut watch, log.as_mut(), order.stdin_once);
        let mut relay = relay.wired(wiring);
        let relayed = relay.run(&running.pidfd);
        self.stopped |= relay.stopped;
        log_error = log_error.or_else(|| relay.log_error.take().map(|e| format!("the log is incomplete: {e}")));
        if let Some(log) = log.as_mut()
            && let Err(e) = log.finish()
        {
            log_error = log_error.or_else(|| Some(format!("the log is incomplete: {e}")));
        }
        let ended = supervise::wait(&running);
        if let Some(live) = network {
            self.network = Some(live.end(&order.history));
        }
        if order.plan.in_hosts_network() {
            crate::networks::tell_of_hosts(&order.history, "disconnect");
        }
        let refusals = refusals(running.cgroup.directories());
        watch.finish(refusals);
        drop(watch);
        let code = ended.as_ref().map_or(255, |e| u32::try_from(e.code()).unwrap_or(255));
        let error = match (relayed, ended) {
            (Err(e), _) => Some(format!("cannot relay its streams: {e}")),
            (_, Err(e)) => Some(EngineError::Start(e).chain()),
            _ => log_error,
        };
        let mut cgroup = running.cgroup;
        cgroup.keep();
        let removed = CgroupHandle::remove_all(cgroup.directories());
        ExitState {
            code,
            since,
            at: now(),
            out_of_memory: refusals.oom_kills > 0,
            pids_refused: refusals.pids,
            error: error.or_else(|| removed.err().map(|e| e.to_string())),
            restarts: self.backoff.restarts,
        }
    }

    fn unstarted(&self, error: &EngineError) -> ExitState {
        ExitState {
            code: u32::from(error.exit_code()),
            since: 0,
            at: now(),
            out_of_memory: false,
            pids_refused: 0,
            error: Some(error.chain()),
            restarts: self.backoff.restarts,
        }
    }

    /// Whether somebody has stopped it.
    fn is_to_stay(&self) -> bool {
        self.order.layout.is_marked_stopped()
    }

    /// The pause before the next run, if there is to be one.
    fn again(&mut self, exit: &ExitState, ran: Duration) -> Option<Duration> {
        if self.stopped || self.is_to_stay() {
            return None;
        }
        let policy = read_json(&self.order.layout.policy()).unwrap_or(self.order.restart);
        self.backoff.next(policy, exit.code, ran)
    }

    /// Writes down that it has ended and begins again in a moment.
    fn mark_restarting(&self, exit: &ExitState) {
        let state = RunState {
            pid: 0,
            started: 0,
            monitor: i32::try_from(std::process::id()).unwrap_or(0),
            namespaces: 0,
            cgroups: Vec::new(),
            since: exit.since,
            restarts: self.backoff.restarts,
            restarting: Some(exit.clone()),
            health: false,
        };
        // Without it the container looks as if it had ended, which it has.
        drop(self.order.layout.write_state(&state));
    }

    /// Waits between two runs; false when somebody says that it is to stay stopped.
    fn pause(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut chunk = vec![0_u8; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return !self.is_to_stay();
            }
            let mut doors: Vec<Door> = Vec::new();
            let mut polled = Vec::new();
            self.clients.polls(false, &mut |door, fd| {
                doors.push(door);
                polled.push(fd);
            });
            // Interrupted or not: the time that is left is looked at again.
            poll(&mut polled, Some(&timespec(left))).unwrap_or_default();
            let ready: Vec<_> =
                doors.into_iter().zip(&polled).map(|(d, p)| (d, p.revents())).filter(|(_, e)| !e.is_empty()).collect();
            for word in self.clients.handle(&ready, &mut chunk) {
                match word {
                    Word::Stop => return false,
                    Word::Networks(client, _) if !self.clients.waits(client) => {}
                    Word::Networks(client, order) => {
                        // It begins with them.
                        let read = wiring::read(&order).map(|mut new| {
                            self.network.iter().for_each(|old| new.keep_links_of(old));
                            self.network = Some(new);
                        });
                        let (kind, payload) = wiring::answer(read);
                        self.clients.answer(client, kind, &payload);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Becomes the command that removes the container.
fn clean_up(order: &MonitorOrder) {
    use std::os::unix::process::CommandExt;
    if let Some((program, args)) = &order.cleanup {
        let mut command = std::process::Command::new(program);
        command.args(args).env_clear().envs(order.cleanup_env.iter().map(|(k, v)| (k, v)));
        // What it does not remove, the next command does.
        drop(command.exec());
    }
}

/// Runs a program that joins a container until it has ended.
///
/// # Errors
/// What could not be told to the command either.
pub fn joiner(order: RawFd, client: RawFd) -> Result<(), EngineError> {
    let [order, client] = begin_with([order, client])?;
    let order: JoinOrder = read_order(order)?;
    let started = (|| -> Result<(Running, Streams), EngineError> {
        let (theirs, ours) = streams(order.terminal, order.stdin, order.pipe_owner)?;
        let prepared = join(&order.plan, theirs)?;
        set_size(&prepared, order.size);
        let mut running = prepared.exec()?;
        let streams = ours.unwrap_or_else(|| Streams::Terminal(running.terminal.take()));
        Ok((running, streams))
    })();
    match started {
        Ok((running, streams)) => {
            tell(&client, kind::STARTED, &running.pid.to_le_bytes());
            let mut clients = Clients::new((!order.detach).then_some(client), None);
            let mut watch = Watch::default();
            // Whatever the streams say, the end of the program is what counts.
            Relay::new(streams, &mut clients, &mut watch, None, true).run(&running.pidfd).unwrap_or_default();
            let code = supervise::wait(&running).map_or(255, |e| e.code());
            let code = u32::try_from(code).unwrap_or(255);
            if let Some(history) = &order.history {
                history.tell("exec_die", &[("exitCode", &code.to_string())]);
            }
            // A command that went away needs no exit code.
            clients.dismiss(code, None);
        }
        Err(e) => tell(&client, kind::ERROR, &serde_json::to_vec(&Failure::from(&e)).unwrap_or_default()),
    }
    Ok(())
}
