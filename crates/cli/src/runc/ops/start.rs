//! `start`: the program of a created container.

use bulkhead_sandbox::StartError;
use bulkhead_sandbox::oci::config::Config;
use bulkhead_sandbox::oci::{self, Rest};
use bulkhead_sys::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::hooks::{self, Moment};
use super::{SOCKET, address, create, kill, streams};
use crate::runc::args::Global;
use crate::runc::error::{During, RuncError};
use crate::runc::group;
use crate::runc::show::state::State;
use crate::runc::state::{Place, Record, Status, Use};

/// Starts the program of a created container, and returns when it runs.
///
/// # Errors
///
/// A container that is not created; a hook that fails; a program that cannot be started.
pub fn start(global: &Global, id: String) -> Result<u8, RuncError> {
    let (place, _lock) = Place::locked(global, &id, Use::Exclusive)?;
    let mut record = Record::read(&place)?;
    match Status::of(&record, group::frozen)? {
        Status::Created => {}
        Status::Stopped => return Err(RuncError::new("cannot start a container that has stopped")),
        Status::Running => return Err(RuncError::new("cannot start an already running container")),
        other => return Err(RuncError::new(format!("cannot start a container in the {other} state"))),
    }
    begin(global, &place, &mut record, &place.read_config()?)?;
    Ok(0)
}

/// Starts one that is created; the caller has the right to change it.
pub(super) fn begin(global: &Global, place: &Place, record: &mut Record, config: &Config) -> Result<(), RuncError> {
    let hooks = config.hooks.clone().unwrap_or_default();
    if !hooks.start_container.is_empty() {
        let state = State::new(record, Status::Created).to_json()?;
        hooks::in_container(global, config, &record.id, &hooks.start_container, &state)
            .inspect_err(|_| kill::end(record))?;
    }
    let what = || format!("reach container {}", record.id);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .during_with(what)?;
    match rustix::net::connect(&socket, &address(place)?) {
        // Nobody waits there: whoever started the program was killed before he wrote it down.
        Err(Errno::CONNREFUSED | Errno::NOENT) => {
            record.started = true;
            record.write(place)?;
            return Err(RuncError::new("cannot start an already running container"));
        }
        connected => connected.during_with(what)?,
    }
    let first = record.first_step;
    let rest = || {
        let facts = bulkhead_sandbox::facts::HostFacts::gather().map_err(|e| {
            bulkhead_sandbox::plan::PlanError::Unsupported { what: e.to_string(), reason: String::new() }
        })?;
        Rest::of(config, first, &facts)
    };
    let mut deliver = |asking| create::deliver(config, record, Status::Created, &asking);
    oci::start(socket, &mut deliver, rest).map_err(|e| {
        if !matches!(e, StartError::Step { .. }) {
            // It may wait for an answer that nobody gives.
            kill::end(record);
        }
        streams::program_error(&e, "")
    })?;
    global.log.debug(|| "init: closing the pipe to signal completion: the program runs".to_owned());
    record.started = true;
    record.write(place)?;
    rustix::fs::unlinkat(place, SOCKET, rustix::fs::AtFlags::empty()).unwrap_or_default();
    if !hooks.poststart.is_empty() {
        let state = State::new(record, Status::Running).to_json()?;
        hooks::outside(Moment::Poststart, &hooks.poststart, &record.bundle, &state)
            .inspect_err(|_| kill::end(record))?;
    }
    Ok(())
}
