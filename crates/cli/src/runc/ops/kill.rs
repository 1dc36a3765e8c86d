//! `kill`: a signal for a container.

use std::os::fd::AsFd;

use bulkhead_sandbox::cgroup::oci as cgroup;
use bulkhead_sys::clone::NEWPID;
use bulkhead_sys::{Errno, signal};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::runc::args::{Global, KillArgs};
use crate::runc::error::{During, RuncError};
use crate::runc::group;
use crate::runc::state::{Record, Status, is_alive};

const KILL: i32 = 9;

/// Sends a signal to a container's first process, or to all of them.
///
/// # Errors
///
/// `container not running` for one that has ended, in the words that callers look for.
pub fn kill(global: &Global, args: KillArgs) -> Result<u8, RuncError> {
    let record = Record::load(global, &args.id)?;
    let status = Status::of(&record, group::frozen)?;
    if args.all {
        // Whatever is left of a container without a pid namespace of its own is still in its group.
        if record.cgroups.is_empty() {
            // Without a group only its first process is known.
            send(&record, args.signal)?;
            return Ok(0);
        }
        cgroup::kill_all(&record.cgroups, args.signal);
        return Ok(0);
    }
    let left = record.namespaces & NEWPID == 0 && !cgroup::processes(&record.cgroups).is_empty();
    if !status.is_alive() && left && args.signal == KILL {
        // The first process is gone, and no end of a pid namespace has taken the others with it.
        cgroup::kill_all(&record.cgroups, KILL);
        return Ok(0);
    }
    if !status.is_alive() {
        return Err(RuncError::new("container not running"));
    }
    send(&record, args.signal)?;
    if args.signal == KILL && record.namespaces & NEWPID == 0 {
        // No first process takes the others with it.
        cgroup::kill_all(&record.cgroups, KILL);
    }
    thaw_for(&record, status, args.signal)?;
    Ok(0)
}

/// A frozen process takes its end when it is let go.
fn thaw_for(record: &Record, status: Status, signal: i32) -> Result<(), RuncError> {
    if signal == KILL && status == Status::Paused {
        cgroup::freeze(&record.cgroups, false).during("let the container go on, to its end")?;
    }
    Ok(())
}

/// To the first process, whose number another may have by now.
pub(super) fn send(record: &Record, number: i32) -> Result<(), RuncError> {
    let not_running = || RuncError::new("container not running");
    let pid = record.pid.ok_or_else(not_running)?;
    let raw = Pid::from_raw(pid).ok_or_else(not_running)?;
    let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Err(not_running()),
        opened => opened.during(format_args!("open process {pid}"))?,
    };
    // Looked at while it is held.
    if !is_alive(pid, record.start_time)? {
        return Err(not_running());
    }
    match signal::send(pidfd.as_fd(), number) {
        Err(Errno::SRCH) => Err(not_running()),
        sent => sent.during(format_args!("send signal {number} to process {pid}")),
    }
}

/// Ends a container whose start has failed half way.
pub(super) fn end(record: &Record) {
    drop(send(record, KILL));
    cgroup::kill_all(&record.cgroups, KILL);
}
