//! `ps`: every container with its state.

use bulkhead_sandbox::spec::Grant;
use serde::Deserialize;

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

/// What a list shows of a specification. The rest, most of it a filter of a thousand instructions, is passed over.
#[derive(Debug, Clone, Deserialize)]
pub struct Shown {
    /// Its program.
    pub process: ShownProcess,
    /// Defaults that were loosened.
    pub grants: Vec<Grant>,
}

/// A program as a list shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct ShownProcess {
    /// Program and arguments.
    pub args: Vec<String>,
}

/// Which containers are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those that run, are paused, or are started again in a moment.
    Running,
    /// The last made.
    Last(usize),
}

/// A container and its state.
#[derive(Debug)]
pub struct Summary {
    /// What the store has.
    pub record: ContainerRecord,
    /// What of its specification is shown; nothing when its command was interrupted.
    pub spec: Option<Shown>,
    /// Its state.
    pub state: State,
    /// `starting`, `healthy` or `unhealthy`, for one that runs and has health checks.
    pub health: Option<String>,
    /// Names of its networks; `none` or `host` for one that is in none.
    pub networks: Vec<String>,
    /// Its ports as Docker writes them: `127.0.0.1:8080->80/tcp`, and `443/tcp` for one that is only exposed.
    pub ports: Vec<String>,
}

pub(crate) fn state_of(layout: &Layout) -> State {
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

fn health_of(layout: &Layout) -> Option<String> {
    let checked = layout.read_state().filter(|s| s.health && process(s).is_some());
    checked.map(|_| super::health::last(layout).status)
}

/// Bytes on disk of a container's own writable layer.
#[must_use]
pub fn writable_size(engine: &Engine, id: &str) -> u64 {
    crate::system::size_of(&Layout::new(&engine.paths, id).writable().join("upper"))
}

/// Records of the containers that have a run directory, the newest first. Their number is what it costs, not that of
/// all containers.
pub(super) fn running_records(engine: &Engine) -> Result<Vec<ContainerRecord>, EngineError> {
    let names = std::fs::read_dir(engine.paths.run.join("containers")).into_iter().flatten().flatten();
    let ids: Vec<String> = names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    Ok(engine.store()?.containers_with_ids(&ids)?)
}

/// The containers that are asked for, the newest first.
///
/// # Errors
/// What the store says.
pub fn list(engine: &Engine, which: Which) -> Result<Vec<Summary>, EngineError> {
    engine.recover()?;
    let records = match which {
        Which::All => engine.store()?.list_containers()?,
        Which::Last(count) => engine.store()?.last_containers(count)?,
        Which::Running => running_records(engine)?,
    };
    let store = engine.store()?;
    let summary = |record: ContainerRecord| -> Result<Summary, EngineError> {
        let layout = Layout::new(&engine.paths, &record.id);
        let state = state_of(&layout);
        let running = !matches!(state, State::Created | State::Exited { .. });
        let ports = if running { store.ports_of(&record.id)? } else { Vec::new() };
        Ok(Summary {
            networks: crate::networks::names(&record.request, store.networks_of(&record.id)?),
            ports: if running { crate::networks::lines(&record.request, &ports) } else { Vec::new() },
            health: health_of(&layout),
            state,
            spec: record.spec.as_deref().and_then(|s| serde_json::from_slice(s).ok()),
            record,
        })
    };
    let runs = |s: &Summary| !matches!(s.state, State::Created | State::Exited { .. });
    let all = records.into_iter().map(summary).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(|s| which != Which::Running || runs(s)).collect())
}
