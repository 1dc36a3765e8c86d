//! `events`: figures once, or every so often, and a line when memory ran out.

use std::time::{Duration, Instant};

use bulkhead_sandbox::cgroup::oci::{self, OomWatch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::Value;

use super::compact;
use crate::runc::args::Global;
use crate::runc::error::RuncError;
use crate::runc::group;
use crate::runc::state::{Record, Status};

/// How soon the end of a container, and memory that ran out, are seen.
const TICK: Duration = Duration::from_millis(100);

/// A line.
#[derive(Debug, Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

/// Prints figures: once, or every `interval` nanoseconds until the container ends.
///
/// # Errors
///
/// `container does not exist`; one that does not run.
pub fn execute(global: &Global, id: &str, stats: bool, interval: u64) -> Result<u8, RuncError> {
    let record = Record::load(global, id)?;
    if !Status::of(&record, group::frozen)?.is_alive() {
        return Err(RuncError::new(format!("container with id {id} is not running")));
    }
    if stats {
        figures(&record)?;
        return Ok(0);
    }
    let interval = Duration::from_nanos(interval);
    let mut next = Instant::now().checked_add(interval);
    // A host that does not account memory kills none for it.
    let mut memory = oci::watch_oom(&record.cgroups).ok();
    loop {
        let wait = next.map_or(TICK, |next| next.saturating_duration_since(Instant::now()).min(TICK));
        wait_for(memory.as_ref(), wait);
        if memory.as_mut().is_some_and(OomWatch::killed) {
            compact(&Event { kind: "oom", id, data: None })?;
        }
        if !Status::of(&record, |_| Ok(false))?.is_alive() {
            return Ok(0);
        }
        if next.is_some_and(|next| Instant::now() >= next) {
            figures(&record)?;
            next = Instant::now().checked_add(interval);
        }
    }
}

/// Until memory ran out, or the time is over.
fn wait_for(memory: Option<&OomWatch>, time: Duration) {
    let timeout =
        Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) };
    let mut polled: Vec<PollFd<'_>> = memory.iter().map(|m| PollFd::new(*m, PollFlags::IN)).collect();
    // Woken early, it looks early.
    poll(&mut polled, Some(&timeout)).map(drop).unwrap_or_default();
}

fn figures(record: &Record) -> Result<(), RuncError> {
    compact(&Event { kind: "stats", id: &record.id, data: Some(oci::stats(&record.cgroups)) })
}
