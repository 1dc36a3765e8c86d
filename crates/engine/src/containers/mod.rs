//! What can be done with containers, a file for each verb.

mod commit;
mod copy;
mod diff;
mod exec;
mod explain;
mod export;
mod freeze;
mod inspect;
mod list;
mod logs;
mod recover;
mod remove;
mod run;
mod spawn;
mod stop;

pub use self::commit::{CommitRequest, commit};
pub use self::copy::{CopyOptions, HostSide, copy_in, copy_out};
pub use self::diff::{Change, diff};
pub use self::exec::exec;
pub use self::explain::{Explanation, explain, isolation};
pub use self::export::export;
pub(crate) use self::freeze::thaw;
pub use self::inspect::inspect;
pub use self::list::{State, Summary, list, writable_size};
pub use self::logs::{LogsRequest, Piece, logs};
pub(crate) use self::recover::recover;
pub(crate) use self::remove::cgroup_directories;
pub use self::remove::{remove, remove_by_id};
pub use self::run::{Started, dry_run, run};
pub use self::stop::{kill, stop};

use bulkhead_sandbox::spec::SandboxSpec;

use crate::error::EngineError;
use crate::store::ContainerRecord;

/// Whether the first process of a container is there.
pub(crate) fn is_alive(state: &crate::layout::RunState) -> bool {
    self::stop::process(state).is_some()
}

/// Writes down what happened to a container.
fn container_event(engine: &crate::engine::Engine, record: &ContainerRecord, action: &str) {
    use crate::events::{Event, Kind};
    let event = Event::new(Kind::Container, action, record.id.clone())
        .with("name", record.name.clone())
        .with("image", record.request.image.clone());
    engine.events().emit(&event);
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
