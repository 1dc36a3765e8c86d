//! `events`: figures once, or every so often, and a line when memory ran out.

use std::time::{Duration, Instant};

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
    let mut kills = group::oom_kills(&record.cgroups);
    loop {
        let now = Instant::now();
        let wait = next.map_or(TICK, |next| next.saturating_duration_since(now).min(TICK));
        std::thread::sleep(wait);
        let killed = group::oom_kills(&record.cgroups);
        for _ in kills..killed {
            compact(&Event { kind: "oom", id, data: None })?;
        }
        kills = kills.max(killed);
        if !Status::of(&record, |_| Ok(false))?.is_alive() {
            return Ok(0);
        }
        if next.is_some_and(|next| Instant::now() >= next) {
            figures(&record)?;
            next = Instant::now().checked_add(interval);
        }
    }
}

fn figures(record: &Record) -> Result<(), RuncError> {
    compact(&Event { kind: "stats", id: &record.id, data: Some(group::stats(&record.cgroups)) })
}
