//! `update`: other limits and another restart policy, also for a container that runs.

use bulkhead_sandbox::cgroup;

use super::spec_of;
use super::stop::process;
use crate::config;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::{Layout, write_json};
use crate::request::{ContainerRequest, LimitRequest, ProfileName, RestartPolicy};
use crate::resolve;

/// What is to change; what is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateRequest {
    /// Limits of control groups; those of the process itself (ulimits, `/dev/shm`) cannot be changed.
    pub limits: LimitRequest,
    /// `--restart`.
    pub restart: Option<RestartPolicy>,
}

fn merge(limits: &mut LimitRequest, change: &LimitRequest) {
    fn set<T: Clone>(value: &mut Option<T>, change: &Option<T>) {
        if change.is_some() {
            value.clone_from(change);
        }
    }
    set(&mut limits.memory, &change.memory);
    set(&mut limits.memory_swap, &change.memory_swap);
    set(&mut limits.memory_reservation, &change.memory_reservation);
    set(&mut limits.milli_cpus, &change.milli_cpus);
    set(&mut limits.cpu_shares, &change.cpu_shares);
    set(&mut limits.cpuset_cpus, &change.cpuset_cpus);
    set(&mut limits.cpuset_mems, &change.cpuset_mems);
    set(&mut limits.pids, &change.pids);
    set(&mut limits.blkio_weight, &change.blkio_weight);
}

/// Changes a container. What runs has the new limits when this returns, or the old ones and an error.
///
/// # Errors
/// A limit that cannot be, or that this host cannot enforce.
pub fn update(engine: &Engine, query: &str, change: &UpdateRequest) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    // The change alone: a pin that came later than the container says nothing about what it has already.
    let changed =
        ContainerRequest { limits: change.limits.clone(), profile: ProfileName::Strict, ..ContainerRequest::default() };
    config::hold(&engine.config, &changed)?;
    let mut request = record.request.clone();
    merge(&mut request.limits, &change.limits);
    if let Some(policy) = change.restart {
        if record.auto_remove && policy != RestartPolicy::No {
            return Err(EngineError::refused(
                "--restart",
                "the container was made with --rm, which removes it when it ends",
            ));
        }
        request.restart = policy;
    }
    let mut spec = spec_of(&record)?;
    let before = spec.resources.clone();
    spec.resources = resolve::resources(&request)?;
    let facts = engine.facts()?;
    let wanted = cgroup::plan(&record.id, &spec.resources, facts).map_err(bulkhead_sandbox::plan::PlanError::from)?;
    let layout = Layout::new(&engine.paths, &record.id);
    let runs = layout.read_state().is_some_and(|s| process(&s).is_some());
    if runs
        && spec.resources != before
        && let Err(e) = cgroup::change(&wanted)
    {
        let back = cgroup::plan(&record.id, &before, facts).map_err(bulkhead_sandbox::plan::PlanError::from)?;
        // One that was written stays written otherwise.
        drop(cgroup::change(&back));
        return Err(EngineError::Start(e.into()));
    }
    let text =
        serde_json::to_vec(&spec).map_err(|e| EngineError::io("store", &layout.dir)(std::io::Error::other(e)))?;
    engine.store()?.update_container(&record.id, &request, &text)?;
    if change.restart.is_some() {
        // The monitor of one that runs looks here when the program ends; without one there is no such place, and the
        // next is told.
        match write_json(&layout.policy(), &request.restart, false) {
            Err(EngineError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    super::container_event(engine, &record, "update");
    Ok(())
}
