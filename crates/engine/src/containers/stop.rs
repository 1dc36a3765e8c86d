//! `stop` and `kill`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_sandbox::supervise::start_time;
use bulkhead_sys::signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::{Layout, RunState, Wanted};
use crate::request::RestartPolicy;
use crate::store::ContainerRecord;

/// Seconds between the polite signal and the last one, as Docker has it.
pub(crate) const STOP_GRACE: i64 = 10;

/// The first process of a running container, held so that no other can take its number.
pub(super) fn process(state: &RunState) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(state.pid)?, PidfdFlags::empty()).ok()?;
    (start_time(state.pid) == Some(state.started)).then_some(pidfd)
}

pub(super) fn not_running(record: &ContainerRecord) -> EngineError {
    EngineError::State {
        name: record.name.clone(),
        state: "not running".to_owned(),
        hint: "see 'bulkhead ps -a' for what happened to it".to_owned(),
    }
}

pub(super) fn paused(record: &ContainerRecord) -> EngineError {
    EngineError::State {
        name: record.name.clone(),
        state: "paused".to_owned(),
        hint: format!("'bulkhead unpause {}' lets it go on", record.name),
    }
}

/// The state of a container whose program runs and can be reached: one that is paused or between two runs cannot.
pub(super) fn ready(layout: &Layout, record: &ContainerRecord) -> Result<RunState, EngineError> {
    let state = layout.read_state().ok_or_else(|| not_running(record))?;
    if super::pause::is_paused(&state) {
        return Err(paused(record));
    }
    if state.restarting.is_some() {
        return Err(EngineError::State {
            name: record.name.clone(),
            state: "restarting".to_owned(),
            hint: "wait until it runs".to_owned(),
        });
    }
    Ok(state)
}

pub(crate) fn busy(record: &ContainerRecord) -> EngineError {
    EngineError::State {
        name: record.name.clone(),
        state: "being started or removed by another command".to_owned(),
        hint: "try again when 'bulkhead ps -a' shows it as running or exited".to_owned(),
    }
}

/// Sends a signal to the first process of a running container. One that ends it (SIGKILL, or the container's own stop
/// signal) is a stop too: the container is not started again.
///
/// # Errors
/// A container that does not run.
pub fn kill(engine: &Engine, query: &str, number: i32) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let layout = Layout::new(&engine.paths, &record.id);
    let state = layout.read_state().ok_or_else(|| not_running(&record))?;
    let ends = number == 9 || stop_signal(engine, &record).is_ok_and(|own| own == number);
    if state.restarting.is_some() && ends {
        stay_stopped(&layout)?;
        return layout.wait_unlocked();
    }
    let pidfd = process(&state).ok_or_else(|| not_running(&record))?;
    if ends && record.request.restart != RestartPolicy::No {
        stay_stopped(&layout)?;
    }
    let to = std::path::Path::new(&record.name);
    signal::send(pidfd.as_fd(), number).map_err(EngineError::io("send a signal to", to))?;
    if ends {
        super::pause::thaw(&state)?;
    }
    let event = Event::new(Kind::Container, "kill", &record.id).with("signal", number.to_string());
    engine.events().emit(&super::about(event, &record));
    Ok(())
}

/// From here on the container is not started again by itself. On a full disk, which may be the container's own doing,
/// it is only its monitor that knows: nobody is kept from stopping what fills the disk.
fn stay_stopped(layout: &Layout) -> Result<(), EngineError> {
    layout.mark_stopped();
    match layout.write_wanted(Wanted::Stopped) {
        Err(e) if !e.is_full() => return Err(e),
        _ => {}
    }
    crate::monitor::control::stay_stopped(layout);
    Ok(())
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
    let ran = Layout::new(&engine.paths, &record.id).read_state().is_some();
    end(engine, &record, number, timeout)?;
    if ran {
        super::container_event(engine, &record, "stop");
    }
    Ok(())
}

/// Stops a container as [`stop`] does, if it runs, and starts it again.
///
/// # Errors
/// As [`stop`] and [`super::start`]; one that is removed when it ends.
pub fn restart(engine: &Engine, query: &str, number: Option<i32>, timeout: Option<i64>) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    if record.auto_remove {
        return Err(EngineError::refused(
            format!("restarting {}", record.name),
            "it was made with --rm, so it is removed when it ends",
        ));
    }
    stop(engine, &record.id, number, timeout)?;
    super::start(engine, &record.id, super::StartOptions::default())?;
    super::container_event(engine, &record, "restart");
    Ok(())
}

/// The container's own stop signal: what was asked, what its image says, or SIGTERM.
pub(super) fn stop_signal(engine: &Engine, record: &ContainerRecord) -> Result<i32, EngineError> {
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
    stay_stopped(&layout)?;
    if let Some(pidfd) = process(&state) {
        let failed = |e| EngineError::io("send a signal to", std::path::Path::new(&record.name))(e);
        let send = |number| match signal::send(pidfd.as_fd(), number) {
            Ok(()) | Err(bulkhead_sys::Errno::SRCH) => Ok(()),
            Err(e) => Err(failed(e)),
        };
        send(number)?;
        super::pause::thaw(&state)?;
        let patience = timeout.unwrap_or(STOP_GRACE);
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
pub(super) fn ended_by(pidfd: &OwnedFd, deadline: Option<Instant>) -> bool {
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
