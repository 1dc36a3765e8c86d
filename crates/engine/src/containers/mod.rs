//! What can be done with containers, a file for each verb.

mod create;
mod exec;
mod explain;
mod halt;
mod health;
mod inspect;
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

pub use self::create::{create, dry_run};
pub use self::exec::exec;
pub use self::explain::{Explanation, explain, isolation};
pub use self::halt::halt;
pub use self::health::{Check, Checked, Health, check, health, probe};
pub use self::inspect::inspect;
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
pub use self::run::{StartOptions, Started, run, start};
pub(crate) use self::spawn::engine_program;
pub use self::stats::{Sample, StatsOf, stats};
pub use self::stop::{kill, restart, stop};
pub use self::top::{Processes, top};
pub use self::update::{UpdateRequest, update};
pub use self::wait::{Attached, attach, wait};

use bulkhead_sandbox::spec::SandboxSpec;

use std::collections::BTreeMap;

use crate::error::EngineError;
use crate::events::Event;
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

/// The spec that was stored with a container.
pub(crate) fn spec_of(record: &ContainerRecord) -> Result<SandboxSpec, EngineError> {
    let missing = || EngineError::State {
        name: record.name.clone(),
        state: "not complete: the command that made it was interrupted".to_owned(),
        hint: format!("remove it with 'bulkhead rm {}'", record.name),
    };
    serde_json::from_slice(record.spec.as_deref().ok_or_else(missing)?).map_err(|_| missing())
}
