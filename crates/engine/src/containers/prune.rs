//! `container prune`: every container that does not run.

use std::time::Duration;

use super::list::{State, state_of};
use super::remove::discard;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::store::ContainerRecord;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedContainers {
    /// Full ids.
    pub ids: Vec<String>,
    /// Bytes on disk that are free now.
    pub bytes: u64,
    /// What could not be removed, with the reason.
    pub failed: Vec<String>,
}

/// Removes the containers that do not run and that `wanted` wants, one after the other. One that another command works
/// with, or that was started meanwhile, stays.
///
/// # Errors
/// What the store says.
pub fn prune(engine: &Engine, wanted: impl Fn(&ContainerRecord) -> bool) -> Result<PrunedContainers, EngineError> {
    engine.recover()?;
    let mut pruned = PrunedContainers::default();
    for record in engine.store()?.list_containers()?.into_iter().filter(wanted) {
        match remove_stopped(engine, &record) {
            Ok(Some(bytes)) => {
                pruned.ids.push(record.id);
                pruned.bytes = pruned.bytes.saturating_add(bytes);
            }
            Ok(None) => {}
            Err(e) => pruned.failed.push(format!("{}: {}", record.name, e.chain())),
        }
    }
    Ok(pruned)
}

fn remove_stopped(engine: &Engine, record: &ContainerRecord) -> Result<Option<u64>, EngineError> {
    let layout = Layout::new(&engine.paths, &record.id);
    let stopped = || matches!(state_of(&layout), State::Created | State::Exited { .. });
    // Somebody who holds its lock is starting, running or removing it.
    if layout.read_state().is_some() || !stopped() {
        return Ok(None);
    }
    let Some(_lock) = layout.claim_within(Duration::from_millis(20))? else { return Ok(None) };
    if layout.read_state().is_some() {
        return Ok(None);
    }
    if !engine.store()?.has_container(&record.id)? {
        // Removed meanwhile: what was made here for its lock must not stay.
        layout.clear_run();
        return Ok(None);
    }
    let bytes = super::writable_size(engine, &record.id);
    discard(engine, &record.id, false)?;
    Ok(Some(bytes))
}
