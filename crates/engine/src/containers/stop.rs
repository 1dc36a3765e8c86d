//! `stop` and `kill`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_sandbox::supervise::start_time;
use bulkhead_sys::signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::{Layout, RunState};
use crate::store::ContainerRecord;

/// Seconds between the polite signal and the last one, as Docker has it.
const GRACE: i64 = 10;

/// The first process of a running container, held so that no other can take its number.
pub(super) fn process(state: &RunState) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(state.pid)?, PidfdFlags::empty()).ok()?;
    (start_time(state.pid) == Some(state.started)).then_some(pidfd)
}

fn not_running(record: &ContainerRecord) -> EngineError {
    EngineError::State {
        name: record.name.clone(),
        state: "not running".to_owned(),
        hint: "see 'bulkhead ps -a' for what happened to it".to_owned(),
    }
}

/// Sends a signal to the first process of a running container.
///
/// # Errors
/// A container that does not run.
pub fn kill(engine: &Engine, query: &str, number: i32) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let state = Layout::new(&engine.paths, &record.id).read_state().ok_or_else(|| not_running(&record))?;
    let pidfd = process(&state).ok_or_else(|| not_running(&record))?;
    signal::send(pidfd.as_fd(), number).map_err(EngineError::io("send a signal to", std::path::Path::new(&record.name)))
}

/// Stops a container: its signal, then after `timeout` seconds (`None`: its own or 10; negative: never) SIGKILL.
/// Returns when its end is written down. One that does not run is no error.
///
/// # Errors
/// An unknown container; a signal name that is none.
pub fn stop(engine: &Engine, query: &str, number: Option<i32>, timeout: Option<i64>) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let number = match number {
        Some(number) => number,
        None => stop_signal(engine, &record)?,
    };
    let timeout = timeout.or_else(|| record.request.stop_timeout.map(i64::from));
    end(engine, &record, number, timeout)
}

/// The container's own stop signal: what was asked, what its image says, or SIGTERM.
fn stop_signal(engine: &Engine, record: &ContainerRecord) -> Result<i32, EngineError> {
    let image = crate::images::of_container(engine, record).map(|i| i.config.stop_signal).unwrap_or_default();
    let name = record.request.stop_signal.clone().unwrap_or(image);
    if name.is_empty() {
        return Ok(15);
    }
    signal_number(&name)
        .ok_or_else(|| EngineError::invalid("--stop-signal", name, "a signal like TERM, QUIT or 15 is needed"))
}

/// Number of a signal by name or number.
#[must_use]
fn signal_number(name: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 18] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("CHLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("WINCH", 28),
        ("PWR", 30),
        ("SYS", 31),
    ];
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    NAMES.iter().find(|(n, _)| *n == bare).map(|(_, number)| *number)
}

pub(super) fn end(
    engine: &Engine,
    record: &ContainerRecord,
    number: i32,
    timeout: Option<i64>,
) -> Result<(), EngineError> {
    let layout = Layout::new(&engine.paths, &record.id);
    let Some(state) = layout.read_state() else { return Ok(()) };
    if let Some(pidfd) = process(&state) {
        let failed = |e| EngineError::io("send a signal to", std::path::Path::new(&record.name))(e);
        let send = |number| match signal::send(pidfd.as_fd(), number) {
            Ok(()) | Err(bulkhead_sys::Errno::SRCH) => Ok(()),
            Err(e) => Err(failed(e)),
        };
        send(number)?;
        let patience = timeout.unwrap_or(GRACE);
        let deadline = u64::try_from(patience).ok().and_then(|s| Instant::now().checked_add(Duration::from_secs(s)));
        if number != 9 && !ended_by(&pidfd, deadline) {
            send(9)?;
        }
        ended_by(&pidfd, None);
    }
    layout.wait_unlocked()?;
    if record.auto_remove {
        await_removal(engine, &record.id)?;
    }
    Ok(())
}

/// Waits a while for the removal of a container that ends with `--rm`, so that its name is free for the next command.
fn await_removal(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        match engine.store()?.find_container(id) {
            Ok(_) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Waits for the end of the process; false when the deadline passed first.
fn ended_by(pidfd: &OwnedFd, deadline: Option<Instant>) -> bool {
    loop {
        let timeout = deadline.map(|d| {
            let left = d.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}
