//! `delete`: nothing is left of a container.

use std::time::{Duration, Instant};

use bulkhead_sandbox::cgroup::{CgroupHandle, oci as cgroup};
use bulkhead_sandbox::oci::config::Config;
use bulkhead_sandbox::rdt;
use bulkhead_sandbox::systemd::{self, Bus};

use super::hooks::{self, Moment};
use super::{kill, mounted};
use crate::runc::args::{DeleteArgs, Global};
use crate::runc::error::{During, RuncError};
use crate::runc::group;
use crate::runc::show::state::State;
use crate::runc::state::{Place, Record, Status, Use, is_alive};

/// How long a killed process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes a container that has stopped, or with `--force` any.
///
/// # Errors
///
/// A container that runs; what cannot be removed, which can be tried again.
pub fn delete(global: &Global, args: DeleteArgs) -> Result<u8, RuncError> {
    let (place, _lock) = match Place::locked(global, &args.id, Use::Exclusive) {
        Err(error) if args.force && error.is_unknown() => return Ok(0),
        found => found?,
    };
    let record = match Record::read(&place) {
        // A create that was killed before it had made anything else.
        Err(error) if args.force && error.is_unknown() => {
            place.remove()?;
            return Ok(0);
        }
        read => read?,
    };
    let status = Status::of(&record, group::frozen)?;
    match status {
        Status::Stopped | Status::Created | Status::Creating => {}
        _ if args.force => {}
        other => {
            return Err(RuncError::new(format!("cannot delete container {} that is not stopped: {other}", record.id)));
        }
    }
    remove(global, &place, &record, None)?;
    Ok(0)
}

/// Ends what runs, removes the group and the record, and runs the last hooks, those of the container's copy of its config
/// where the caller does not have it.
pub(super) fn remove(
    global: &Global,
    place: &Place,
    record: &Record,
    config: Option<&Config>,
) -> Result<(), RuncError> {
    if record.pid.is_some() {
        drop(kill::send(record, 9));
    }
    // Mostly nobody is left, and there is nothing to freeze and to look for.
    let removed = record.unit.is_none() && cgroup::remove_empty(&record.cgroups);
    if !removed {
        // It lets them go on, to their end.
        cgroup::kill_all(&record.cgroups, 9);
    }
    gone(record)?;
    mounted::take_off(record)?;
    rdt::remove(&record.rdt_own);
    if let Some(unit) = &record.unit {
        Bus::open(unit.user).and_then(|mut bus| systemd::stop(&mut bus, &unit.name)).during("remove the unit")?;
    }
    if !removed {
        CgroupHandle::remove_all(&record.cgroups).during("remove the control group")?;
    }
    settle(&record.pending);
    let last = match config {
        Some(config) => config.hooks.as_ref().map(|hooks| hooks.poststop.clone()),
        None => place.read_config().ok().and_then(|config| config.hooks).map(|hooks| hooks.poststop),
    };
    place.remove()?;
    let last = last.unwrap_or_default();
    if last.is_empty() {
        return Ok(());
    }
    let state = State::new(record, Status::Stopped).to_json()?;
    for (index, hook) in last.iter().enumerate() {
        // The specification: a failure here is told and stops nothing.
        if let Err(error) = hooks::one(Moment::Poststop, index, hook, &record.bundle, &state) {
            global.log.warn(&error.message);
        }
    }
    Ok(())
}

/// Removes the groups of a create that was killed before it had written down that it had made them. A process of it that
/// is in there has lost the other end of its channel, and ends; anybody else is none of ours, and keeps the group.
fn settle(pending: &[std::path::PathBuf]) {
    let end = Instant::now() + PATIENCE / 5;
    while !cgroup::remove_empty(pending) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn gone(record: &Record) -> Result<(), RuncError> {
    let Some(pid) = record.pid else { return Ok(()) };
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(100);
    while is_alive(pid, record.start_time)? {
        if Instant::now() >= end {
            return Err(RuncError::new(format!("process {pid} was killed and does not end")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(())
}
