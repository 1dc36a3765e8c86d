//! What can be done with containers, a file for each verb.

mod commit;
mod copy;
mod create;
mod diff;
mod exec;
mod explain;
mod export;
mod freeze;
mod halt;
mod health;
mod inspect;
mod inspect_asked;
mod list;
mod logs;
mod members;
mod pause;
mod port;
mod prune;
mod recover;
mod remove;
mod rename;
mod run;
mod spawn;
mod stats;
mod stop;
mod top;
mod update;
mod wait;

pub use self::commit::{CommitRequest, commit};
pub use self::copy::{CopyOptions, HostSide, copy_in, copy_out};
pub use self::create::{DryRun, create, dry_run};
pub use self::diff::{Change, diff};
pub use self::exec::exec;
pub use self::explain::{Explanation, explain, isolation};
pub use self::export::export;
pub(crate) use self::freeze::thaw;
pub use self::halt::halt;
pub use self::health::{Check, Checked, Health, check, health, probe};
pub use self::inspect::inspect;
pub(crate) use self::inspect::time;
pub(crate) use self::list::state_of;
pub use self::list::{State, Summary, Which, list, writable_size};
pub use self::logs::{LogsRequest, Piece, logs};
pub use self::pause::{pause, unpause};
pub use self::port::{Published, port};
pub use self::prune::{PrunedContainers, prune};
pub(crate) use self::recover::{recover, sweep};
pub(crate) use self::remove::{cgroup_directories, discard};
pub use self::remove::{remove, remove_by_id};
pub use self::rename::rename;
pub(crate) use self::run::await_start;
pub use self::run::{StartOptions, Started, run, start};
pub(crate) use self::spawn::{engine_program, spawn};
pub use self::stats::{Interface, Sample, StatsOf, Traffic, stats};
#[cfg(test)]
pub(crate) use self::stop::STOP_GRACE;
pub(crate) use self::stop::busy;
pub use self::stop::{kill, restart, stop};
pub use self::top::{Processes, top};
pub use self::update::{UpdateRequest, update};
pub use self::wait::{Attached, attach, wait};

use bulkhead_sandbox::spec::SandboxSpec;

use std::collections::BTreeMap;

use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::store::ContainerRecord;

/// What events say of a container, as Docker has it: its labels, its image and its name.
fn attributes(record: &ContainerRecord) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = record.request.labels.iter().cloned().collect();
    all.insert("image".to_owned(), record.request.image.clone());
    all.insert("name".to_owned(), record.name.clone());
    all
}

/// An event with all that is said of its container.
pub(crate) fn about(event: Event, record: &ContainerRecord) -> Event {
    attributes(record).into_iter().fold(event, |event, (name, value)| {
        // What the event says itself counts more than a label of the same name.
        if event.actor.attributes.contains_key(&name) { event } else { event.with(&name, value) }
    })
}

/// The host name that a container has.
pub(crate) fn hostname_of(record: &ContainerRecord) -> String {
    spec_of(record).map(|spec| spec.hostname).unwrap_or_default()
}

/// Whether the first process of a container is there.
pub(crate) fn is_running(layout: &crate::layout::Layout) -> bool {
    layout.read_state().is_some_and(|state| is_alive(&state))
}

/// Whether the process that this state names is there.
pub(crate) fn is_alive(state: &crate::layout::RunState) -> bool {
    self::stop::process(state).is_some()
}

/// Writes down what happened to a container.
fn container_event(engine: &crate::engine::Engine, record: &ContainerRecord, action: &str) {
    engine.events().emit(&about(Event::new(Kind::Container, action, &record.id), record));
}

/// The spec that was stored with a container.
pub(crate) fn spec_of(record: &ContainerRecord) -> Result<SandboxSpec, EngineError> {
    let missing = || EngineError::State {
        name: record.name.clone(),
        state: "not complete: the command that made it was interrupted".to_owned(),
        hint: format!("remove it with 'bulkhead rm {}'", record.name),
    };
    serde_json::from_slice(record.spec.as_deref().ok_or_else(missing)?).map_err(|_| missing())
}
