//! The monitor: one small single-threaded process per container, its parent, which keeps the streams, the log and the
//! exit status. It opens no database and lives on when the command that started it goes.
//!
//! `exec` has the same kind of process, for as long as the program that joined runs.

pub mod log;
mod relay;

use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;

use bulkhead_sandbox::cgroup::{CgroupHandle, usage};
use bulkhead_sandbox::join::{JoinPlan, join};
use bulkhead_sandbox::plan::SandboxPlan;
use bulkhead_sandbox::supervise::{self, Prepared, Running, start_time};
use bulkhead_sandbox::{StartError, Stdio};
use bulkhead_sys::{fd, signal, stdio};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use self::log::{LogLimits, LogWriter};
use self::relay::{Relay, Streams};
use crate::error::EngineError;
use crate::frame::{self, kind};
use crate::layout::{ExitState, Layout, RunState, now};

/// What a monitor is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct MonitorOrder {
    /// What to start.
    pub plan: SandboxPlan,
    /// The container's files.
    pub layout: Layout,
    /// Bounds of its log.
    pub log: LogLimits,
    /// The program has a terminal.
    pub terminal: bool,
    /// Its rows and columns.
    pub size: Option<(u16, u16)>,
    /// Its input stays open for the attached command.
    pub stdin: bool,
    /// Owner of its pipes on the host; `None` when the child gives them away itself.
    pub pipe_owner: Option<(u32, u32)>,
    /// What to run at the end when nobody is attached any more: program and arguments, to remove the container.
    pub cleanup: Option<(PathBuf, Vec<String>)>,
    /// Environment of that.
    pub cleanup_env: Vec<(String, String)>,
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
fn begin<const N: usize>(numbers: [RawFd; N]) -> Result<[OwnedFd; N], EngineError> {
    let wrong = |e: bulkhead_sys::Errno| {
        EngineError::refused("this hidden command", format!("it is started by bulkhead itself: {e}"))
    };
    fd::close_all_but(&numbers).map_err(wrong)?;
    let mut adopted = Vec::with_capacity(N);
    for number in numbers {
        adopted.push(fd::adopt(number).map_err(wrong)?);
    }
    // A session of its own: the terminal of the command is not its terminal.
    rustix::process::setsid().map_err(wrong)?;
    for number in NOT_MEANT {
        signal::ignore(number).map_err(wrong)?;
    }
    rustix::process::chdir("/").map_err(wrong)?;
    adopted.try_into().map_err(|_| wrong(bulkhead_sys::Errno::BADF))
}

fn read_order<T: serde::de::DeserializeOwned>(order: OwnedFd) -> Result<T, EngineError> {
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
    /// The protected binary.
    pub binary: RawFd,
}

/// Runs the monitor of a container until the container has ended.
///
/// # Errors
/// What could not be told to the command either.
pub fn monitor(fds: MonitorFds) -> Result<(), EngineError> {
    let [order, client, lock, binary] = begin([fds.order, fds.client, fds.lock, fds.binary])?;
    let order: MonitorOrder = read_order(order)?;
    match start(&order, binary) {
        Ok((running, streams, since)) => {
            tell(&client, kind::STARTED, &running.pid.to_le_bytes());
            finish(&order, running, streams, client, since, lock);
            Ok(())
        }
        Err(e) => {
            let failure = serde_json::to_vec(&Failure::from(&e)).unwrap_or_default();
            tell(&client, kind::ERROR, &failure);
            Ok(())
        }
    }
}

fn tell(client: &OwnedFd, kind: u8, payload: &[u8]) {
    // Nobody may be listening any more.
    frame::write_all(client.as_fd(), &frame::encode(kind, payload)).unwrap_or_default();
}

fn start(order: &MonitorOrder, binary: OwnedFd) -> Result<(Running, Streams, i64), EngineError> {
    let (theirs, ours) = streams(order.terminal, order.stdin, order.pipe_owner)?;
    let prepared: Prepared = supervise::prepare(&order.plan, theirs, Some(binary))?;
    set_size(&prepared, order.size);
    let since = now();
    // Before the program runs: whoever sees it running finds its state.
    order.layout.write_state(&RunState {
        pid: prepared.pid(),
        started: start_time(prepared.pid()).unwrap_or(0),
        monitor: i32::try_from(std::process::id()).unwrap_or(0),
        namespaces: order.plan.namespaces,
        cgroups: prepared.cgroup_directories().to_vec(),
        since,
    })?;
    let mut running = prepared.exec()?;
    let streams = ours.unwrap_or_else(|| Streams::Terminal(running.terminal.take()));
    Ok((running, streams, since))
}

/// Before the program runs, so that it never sees a terminal without a size.
fn set_size(prepared: &Prepared, size: Option<(u16, u16)>) {
    if let (Some(master), Some((rows, columns))) = (prepared.terminal(), size) {
        // Only how it looks depends on it.
        stdio::resize(master, rows, columns).unwrap_or_default();
    }
}

/// Relays until the end, then writes down how it ended and removes what was made.
fn finish(order: &MonitorOrder, running: Running, streams: Streams, client: OwnedFd, since: i64, lock: OwnedFd) {
    let mut log_error = None;
    let mut log = match LogWriter::new(&order.layout.log(), order.log) {
        Ok(log) => Some(log),
        Err(e) => {
            log_error = Some(format!("cannot open the log: {e}"));
            None
        }
    };
    let mut relay = Relay::new(streams, Some(client), log.as_mut());
    let relayed = relay.run(&running.pidfd);
    log_error = log_error.or_else(|| relay.log_error.take().map(|e| format!("the log is incomplete: {e}")));
    let client = relay.into_client();
    if let Some(log) = log.as_mut()
        && let Err(e) = log.finish()
    {
        log_error = log_error.or_else(|| Some(format!("the log is incomplete: {e}")));
    }
    let ended = supervise::wait(&running);
    let figures = usage(running.cgroup.directories());
    let code = ended.as_ref().map_or(255, |e| u32::try_from(e.code()).unwrap_or(255));
    let error = match (relayed, ended) {
        (Err(e), _) => Some(format!("cannot relay its streams: {e}")),
        (_, Err(e)) => Some(EngineError::Start(e).chain()),
        _ => log_error,
    };
    let mut cgroup = running.cgroup;
    cgroup.keep();
    let removed = CgroupHandle::remove_all(cgroup.directories());
    let exit = ExitState {
        code,
        since,
        at: now(),
        out_of_memory: figures.oom_kills.is_some_and(|n| n > 0),
        pids_refused: figures.pids_refused.unwrap_or(0),
        error: error.or_else(|| removed.err().map(|e| e.to_string())),
    };
    // One that is removed at once needs no memory of its end on disk.
    // What could not be written is found missing by the next command.
    drop(order.layout.write_exit(&exit, order.cleanup.is_none()));
    match client {
        Some((client, rest)) => {
            // The end is written down: nobody waits for a command that takes its time to read.
            drop(lock);
            if !last_words(&client, &rest, code) {
                clean_up(order);
            }
        }
        None => clean_up(order),
    }
}

/// Sends what is left and the exit code; false when the command went away, which would have removed the container.
fn last_words(client: &OwnedFd, rest: &[u8], code: u32) -> bool {
    frame::write_all(client.as_fd(), rest).is_ok()
        && frame::write_all(client.as_fd(), &frame::encode(kind::EXITED, &code.to_le_bytes())).is_ok()
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
    let [order, client] = begin([order, client])?;
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
            let client = (!order.detach).then_some(client);
            let mut relay = Relay::new(streams, client, None);
            // Whatever the streams say, the end of the program is what counts.
            relay.run(&running.pidfd).unwrap_or_default();
            let code = supervise::wait(&running).map_or(255, |e| e.code());
            if let Some((client, rest)) = relay.into_client() {
                // A command that went away needs no exit code.
                last_words(&client, &rest, u32::try_from(code).unwrap_or(255));
            }
        }
        Err(e) => tell(&client, kind::ERROR, &serde_json::to_vec(&Failure::from(&e)).unwrap_or_default()),
    }
    Ok(())
}
