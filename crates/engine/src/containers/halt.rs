//! Stopping everything for a shutdown, so that it comes back after it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_sys::signal;

use super::stop::{STOP_GRACE, ended_by, process, stop_signal};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::store::ContainerRecord;

struct Stopping {
    record: ContainerRecord,
    layout: Layout,
    pidfd: Option<OwnedFd>,
    deadline: Option<Instant>,
}

/// Stops every container that runs, all at once: their own signals first, SIGKILL after `timeout` seconds (`None`: their
/// own or 10; negative: never). That they were running is remembered: unlike with `stop`, the next boot starts them again
/// when their restart policy says so. Returns their names.
///
/// # Errors
/// What the store says, or a signal that could not be sent.
pub fn halt(engine: &Engine, timeout: Option<i64>) -> Result<Vec<String>, EngineError> {
    engine.recover()?;
    let began = Instant::now();
    let mut all = Vec::new();
    for record in super::list::running_records(engine)? {
        let layout = Layout::new(&engine.paths, &record.id);
        let Some(state) = layout.read_state() else { continue };
        // For this run: its monitor does not start it again.
        crate::monitor::control::stay_stopped(&layout);
        let pidfd = process(&state);
        if let Some(pidfd) = &pidfd {
            send(&record, pidfd, stop_signal(engine, &record).unwrap_or(15))?;
            super::pause::thaw(&state)?;
        }
        let patience = timeout.or_else(|| record.request.stop_timeout.map(i64::from)).unwrap_or(STOP_GRACE);
        let deadline = u64::try_from(patience).ok().and_then(|s| began.checked_add(Duration::from_secs(s)));
        all.push(Stopping { record, layout, pidfd, deadline });
    }
    // Those that are to be killed first are waited for first; those that never are, last.
    all.sort_by_key(|one| (one.deadline.is_none(), one.deadline));
    for one in &all {
        if let Some(pidfd) = &one.pidfd {
            if !ended_by(pidfd, one.deadline) {
                send(&one.record, pidfd, 9)?;
            }
            ended_by(pidfd, None);
        }
        one.layout.wait_unlocked()?;
        super::container_event(engine, &one.record, "stop");
    }
    Ok(all.into_iter().map(|one| one.record.name).collect())
}

fn send(record: &ContainerRecord, pidfd: &OwnedFd, number: i32) -> Result<(), EngineError> {
    match signal::send(pidfd.as_fd(), number) {
        Ok(()) | Err(bulkhead_sys::Errno::SRCH) => Ok(()),
        Err(e) => Err(EngineError::io("send a signal to", std::path::Path::new(&record.name))(e)),
    }
}
