//! What can be done with containers, a file for each verb.

mod exec;
mod explain;
mod inspect;
mod list;
mod logs;
mod recover;
mod remove;
mod run;
mod spawn;
mod stop;

pub use self::exec::exec;
pub use self::explain::{Explanation, explain, isolation};
pub use self::inspect::inspect;
pub(crate) use self::inspect::time;
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

/// The spec that was stored with a container.
pub(crate) fn spec_of(record: &ContainerRecord) -> Result<SandboxSpec, EngineError> {
    let missing = || EngineError::State {
        name: record.name.clone(),
        state: "not complete: the command that made it was interrupted".to_owned(),
        hint: format!("remove it with 'bulkhead rm {}'", record.name),
    };
    serde_json::from_slice(record.spec.as_deref().ok_or_else(missing)?).map_err(|_| missing())
}
