//! `pause`, `resume` and `update`: the control group of a container that runs.

use bulkhead_sandbox::cgroup::oci as cgroup;
use bulkhead_sandbox::systemd::{self, Bus};

use super::facts;
use crate::runc::args::{Global, UpdateArgs};
use crate::runc::error::{During, RuncError};
use crate::runc::group;
use crate::runc::state::{Place, Record, Status, Use};

/// Freezes a container.
///
/// # Errors
///
/// One that does not run; a host without a freezer.
pub fn pause(global: &Global, id: String) -> Result<u8, RuncError> {
    let (place, _lock) = Place::locked(global, &id, Use::Exclusive)?;
    let record = Record::read(&place)?;
    match Status::of(&record, group::frozen)? {
        Status::Created | Status::Running => {}
        other => return Err(RuncError::new(format!("container not running or created: {other}"))),
    }
    cgroup::freeze(&record.cgroups, true).during("pause the container")?;
    Ok(0)
}

/// Lets a frozen container go on.
///
/// # Errors
///
/// One that is not paused.
pub fn resume(global: &Global, id: String) -> Result<u8, RuncError> {
    let (place, _lock) = Place::locked(global, &id, Use::Exclusive)?;
    let record = Record::read(&place)?;
    if Status::of(&record, group::frozen)? != Status::Paused {
        return Err(RuncError::new("container not paused"));
    }
    cgroup::freeze(&record.cgroups, false).during("resume the container")?;
    Ok(0)
}

/// Changes the limits of a container; what is not named stays.
///
/// # Errors
///
/// One that has stopped; a limit that cannot be enforced, by its field.
pub fn update(global: &Global, args: UpdateArgs) -> Result<u8, RuncError> {
    let resources = args.resources()?;
    let (place, _lock) = Place::locked(global, &args.id, Use::Exclusive)?;
    let record = Record::read(&place)?;
    if !Status::of(&record, group::frozen)?.is_alive() {
        return Err(RuncError::new("container not running"));
    }
    // Before systemd is told, which writes the files too.
    let resources = cgroup::completed(&record.cgroups, &resources);
    if let Some(unit) = &record.unit {
        let told =
            Bus::open(unit.user).and_then(|mut bus| systemd::set(&mut bus, &unit.name, &resources, unit.unified));
        told.during("tell systemd of the limits")?;
    }
    cgroup::change(&record.cgroups, &resources, &facts()?).during("update the limits")?;
    Ok(0)
}
