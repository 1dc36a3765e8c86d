//! The systemd driver: a container's group is a scope that systemd makes, in the slice that the caller names.
//!
//! A scope cannot be made empty. So a process that does nothing is put into it and ended as soon as the container's own
//! is there, which is then born in the group as it is without systemd.

mod bus;
mod text;
mod unit;
mod wire;

use self::bus::Target;
pub use self::bus::{Bus, BusError};
pub use self::unit::Unit;
use self::wire::Value;
use crate::oci::config::LinuxResources;

const MANAGER: Target = Target {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// Reads a message of the bus, for the targets in `fuzz/`; says whether it is the same when it is written and read again.
#[must_use]
pub fn fuzz_message(bytes: &[u8]) -> Option<bool> {
    if let Some(start) = bytes.first_chunk() {
        wire::Message::size(start).ok()?;
    }
    let message = wire::Message::decode(bytes).ok()?;
    // As bytes: not every number equals itself.
    let written = message.encode();
    Some(wire::Message::decode(&written).is_ok_and(|again| again.encode() == written))
}

fn list(properties: Vec<(String, Value)>) -> Value {
    let pair = |(name, value)| Value::Struct(vec![Value::Str(name), Value::Variant(Box::new(value))]);
    Value::Array("(sv)".into(), properties.into_iter().map(pair).collect())
}

fn is(error: &BusError, wanted: &str) -> bool {
    matches!(error, BusError::Call { name, .. } if name.strip_prefix("org.freedesktop.systemd1.") == Some(wanted))
}

/// Waits for the end of the job that a call began.
fn job(bus: &mut Bus, unit: &str, answer: &[Value]) -> Result<(), BusError> {
    let Some(job) = answer.first().and_then(Value::text).map(str::to_owned) else {
        return Err(BusError::Job { unit: unit.to_owned(), result: "no job".to_owned() });
    };
    // Its number, its path, the unit, how it ended.
    let body = bus.signal("JobRemoved", |body| body.get(1).and_then(Value::text) == Some(&job))?;
    match body.get(3).and_then(Value::text).unwrap_or_default() {
        "done" => Ok(()),
        result => Err(BusError::Job { unit: unit.to_owned(), result: result.to_owned() }),
    }
}

fn listen(bus: &mut Bus) -> Result<(), BusError> {
    const RULE: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                        interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
    bus.call(&bus::BUS, "AddMatch", vec![Value::Str(RULE.to_owned())])?;
    // Some managers send no signals but to who asked for them.
    bus.call(&MANAGER, "Subscribe", vec![]).map(drop)
}

/// Makes the unit with the process `pid` in it, and returns when it is there. A failed one of the same name is cleared
/// away first.
///
/// # Errors
/// What systemd says; the unit is cleared away again.
pub fn start(bus: &mut Bus, unit: &Unit, pid: u32) -> Result<(), BusError> {
    listen(bus)?;
    let properties = unit.properties(pid).map_err(std::io::Error::other)?;
    let body = || {
        vec![
            Value::Str(unit.name.clone()),
            Value::Str("replace".to_owned()),
            list(properties.clone()),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ]
    };
    let answer = match bus.call(&MANAGER, "StartTransientUnit", body()) {
        Err(e) if is(&e, "UnitExists") => {
            reset(bus, &unit.name)?;
            bus.call(&MANAGER, "StartTransientUnit", body())?
        }
        other => other?,
    };
    let result = job(bus, &unit.name, &answer);
    if result.is_err() {
        // The error that is told is the first one.
        drop(reset(bus, &unit.name));
    }
    result
}

/// Tells systemd of new limits of a unit that runs. Before they are written to the group's files, by
/// [`crate::cgroup::oci::change`].
///
/// # Errors
/// What systemd says.
pub fn set(bus: &mut Bus, unit: &str, resources: &LinuxResources, unified: bool) -> Result<(), BusError> {
    let properties = unit::properties(resources, unified).map_err(std::io::Error::other)?;
    if properties.is_empty() {
        return Ok(());
    }
    // For this run of the host alone.
    let body = vec![Value::Str(unit.to_owned()), Value::Bool(true), list(properties)];
    bus.call(&MANAGER, "SetUnitProperties", body).map(drop)
}

/// Ends the unit and all that is in it, and clears it away. One that is gone is no error.
///
/// # Errors
/// What systemd says.
pub fn stop(bus: &mut Bus, unit: &str) -> Result<(), BusError> {
    listen(bus)?;
    let body = vec![Value::Str(unit.to_owned()), Value::Str("replace".to_owned())];
    let result = match bus.call(&MANAGER, "StopUnit", body) {
        Ok(answer) => job(bus, unit, &answer),
        Err(e) if is(&e, "NoSuchUnit") => Ok(()),
        Err(e) => Err(e),
    };
    reset(bus, unit).and(result)
}

/// Clears a failed unit away; it is no error that there is none.
fn reset(bus: &mut Bus, unit: &str) -> Result<(), BusError> {
    match bus.call(&MANAGER, "ResetFailedUnit", vec![Value::Str(unit.to_owned())]) {
        Err(e) if !is(&e, "NoSuchUnit") => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
