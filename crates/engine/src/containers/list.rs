//! `ps`: every container with its state.

use bulkhead_sandbox::spec::SandboxSpec;

use super::stop::process;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::store::ContainerRecord;

/// State of a container; times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Recorded; its command has not started it yet.
    Created,
    /// Running.
    Running {
        /// Since when.
        since: i64,
    },
    /// Frozen.
    Paused {
        /// Running since.
        since: i64,
    },
    /// Ended; its monitor starts it again in a moment.
    Restarting {
        /// Exit code.
        code: u32,
        /// When it ended.
        at: i64,
    },
    /// Ended.
    Exited {
        /// Exit code.
        code: u32,
        /// When.
        at: i64,
    },
}

/// A container and its state.
#[derive(Debug)]
pub struct Summary {
    /// What the store has.
    pub record: ContainerRecord,
    /// What must hold in it; nothing when its command was interrupted.
    pub spec: Option<SandboxSpec>,
    /// Its state.
    pub state: State,
    /// `starting`, `healthy` or `unhealthy`, for one that runs and has health checks.
    pub health: Option<String>,
}

pub(super) fn state_of(layout: &Layout) -> State {
    if let Some(state) = layout.read_state() {
        if let Some(ended) = &state.restarting {
            return State::Restarting { code: ended.code, at: ended.at };
        }
        if process(&state).is_some() {
            let since = state.since;
            return if super::pause::is_paused(&state) { State::Paused { since } } else { State::Running { since } };
        }
    }
    match layout.read_exit() {
        Some(exit) => State::Exited { code: exit.code, at: exit.at },
        None => State::Created,
    }
}

fn health_of(engine: &Engine, record: &ContainerRecord, layout: &Layout, state: State) -> Option<String> {
    if !matches!(state, State::Running { .. } | State::Paused { .. }) {
        return None;
    }
    let image = crate::images::of_container(engine, record).ok()?;
    let check = super::check(&record.request.health, &image.config);
    super::health(layout, check.as_ref()).map(|h| h.status)
}

/// Bytes on disk of a container's own writable layer.
#[must_use]
pub fn writable_size(engine: &Engine, id: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut total: u64 = 0;
    let mut stack = vec![Layout::new(&engine.paths, id).writable().join("upper")];
    while let Some(dir) = stack.pop() {
        // What an ordinary user may not look into is not counted.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            total = total.saturating_add(meta.blocks().saturating_mul(512));
            if meta.is_dir() {
                stack.push(entry.path());
            }
        }
    }
    total
}

/// Every container, the newest first.
///
/// # Errors
/// What the store says.
pub fn list(engine: &Engine) -> Result<Vec<Summary>, EngineError> {
    engine.recover()?;
    let records = engine.store()?.list_containers()?;
    Ok(records
        .into_iter()
        .map(|record| {
            let layout = Layout::new(&engine.paths, &record.id);
            let state = state_of(&layout);
            Summary {
                health: health_of(engine, &record, &layout, state),
                state,
                spec: record.spec.as_deref().and_then(|s| serde_json::from_slice(s).ok()),
                record,
            }
        })
        .collect())
}
