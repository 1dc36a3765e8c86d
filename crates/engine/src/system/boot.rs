//! What a boot needs: containers that ran when the machine went down are marked, and those with a restart policy that
//! says so are started again.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use bulkhead_sandbox::cgroup::CgroupHandle;

use crate::containers::{self, State};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::{ExitState, Layout, Wanted, now};
use crate::request::RestartPolicy;
use crate::store::ContainerRecord;

/// Exit code of a container that ran when the machine went down, as Docker has it.
const LOST: u32 = 255;

/// When the last run of a container was lost with the machine: since when it ran, in nanoseconds since 1970.
///
/// Nothing of the run directory is left then. What stays is that it was to run since a time, and no end after that.
fn lost_since(layout: &Layout) -> Option<i64> {
    if layout.run.exists() || layout.read_wanted() != Some(Wanted::Running) {
        return None;
    }
    let written = std::fs::metadata(layout.wanted()).ok()?;
    let since = written.mtime().saturating_mul(1_000_000_000).saturating_add(written.mtime_nsec());
    layout.read_exit().is_none_or(|exit| exit.at < since).then_some(since)
}

/// Writes down the end of the containers that ran when the machine went down.
pub(crate) fn mark_lost(engine: &Engine) -> Result<(), EngineError> {
    for id in engine.store()?.container_ids()? {
        let layout = Layout::new(&engine.paths, &id);
        if lost_since(&layout).is_none() {
            continue;
        }
        // Who holds it is starting or removing it.
        let Some(_lock) = layout.claim_within(Duration::from_millis(20))? else { continue };
        let since = std::fs::metadata(layout.wanted()).map_or(0, |m| m.mtime().saturating_mul(1_000_000_000));
        if layout.read_state().is_some() {
            continue;
        }
        // Where only the run directory was lost, something of it may live on that nobody looks after.
        let groups = containers::cgroup_directories(engine, &id)?;
        CgroupHandle::remove_all(&groups).map_err(|e| EngineError::Start(e.into()))?;
        let exit = ExitState {
            code: LOST,
            since,
            at: now(),
            out_of_memory: false,
            pids_refused: 0,
            error: Some("the machine went down while it ran".to_owned()),
            restarts: 0,
        };
        let record = engine.store()?.find_container(&id);
        // On a full disk it is told again by the next boot.
        let written = layout.write_exit(&exit, true).is_ok();
        layout.clear_run();
        if let (true, Ok(record)) = (written, record) {
            let event = Event::new(Kind::Container, "die", &id).with("exitCode", LOST.to_string());
            engine.events().emit(&containers::about(event, &record));
        }
    }
    Ok(())
}

/// What [`restore`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Names of the containers that were started.
    pub started: Vec<String>,
    /// Names of those that could not be started, with the reason.
    pub failed: Vec<(String, String)>,
}

/// Whether a container that does not run is to run after a boot.
fn is_wanted(policy: RestartPolicy, wanted: Option<Wanted>, exit: Option<&ExitState>) -> bool {
    let running = wanted == Some(Wanted::Running);
    match policy {
        RestartPolicy::No => false,
        // As Docker: also one that was stopped by hand, but none that never was started.
        RestartPolicy::Always => wanted.is_some() || exit.is_some(),
        RestartPolicy::UnlessStopped => running,
        RestartPolicy::OnFailure(most) => {
            running && exit.is_some_and(|e| e.code != 0 && (most == 0 || e.restarts < most))
        }
    }
}

/// Starts the containers whose restart policy wants them after a boot, a few at a time, the oldest first. Those that run
/// are left alone, so that it can be done at any time and twice.
///
/// # Errors
/// What the store says. A container that does not start is part of the answer.
pub fn restore(engine: &Engine) -> Result<Restored, EngineError> {
    engine.recover()?;
    mark_lost(engine)?;
    let mut waiting: VecDeque<ContainerRecord> = engine.store()?.list_containers()?.into();
    waiting.retain(|record| {
        let layout = Layout::new(&engine.paths, &record.id);
        let policy = record.request.restart;
        let stopped = matches!(containers::state_of(&layout), State::Created | State::Exited { .. });
        stopped && is_wanted(policy, layout.read_wanted(), layout.read_exit().as_ref())
    });
    waiting.make_contiguous().reverse();
    let (program, env) = containers::engine_program(engine)?;
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8).min(waiting.len());
    let waiting = Mutex::new(waiting);
    let restored = Mutex::new(Restored::default());
    let next = || waiting.lock().ok().and_then(|mut w| w.pop_front());
    // A command of its own for each: starts share no descriptors, and one that fails takes nothing along.
    let start = |record: &ContainerRecord| -> Result<(), String> {
        let mut command = Command::new(&program);
        command.args(["start", &record.id]).env_clear().envs(env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
        let output = command.output().map_err(|e| format!("cannot run {program:?}: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("bulkhead: ").to_owned();
        Err(if said.is_empty() { "its command ended without a word".to_owned() } else { said })
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(record) = next() {
                    let result = start(&record);
                    if let Ok(mut restored) = restored.lock() {
                        match result {
                            Ok(()) => restored.started.push(record.name),
                            Err(why) => restored.failed.push((record.name, why)),
                        }
                    }
                }
            });
        }
    });
    Ok(restored.into_inner().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::is_wanted;
    use crate::layout::{ExitState, Wanted};
    use crate::request::RestartPolicy as Policy;

    fn exit(code: u32, restarts: u32) -> ExitState {
        ExitState { code, since: 1, at: 2, out_of_memory: false, pids_refused: 0, error: None, restarts }
    }

    #[test]
    fn policies_after_a_boot_are_dockers() {
        let (ran, stopped) = (Some(Wanted::Running), Some(Wanted::Stopped));
        let (ok, failed, tired) = (exit(0, 0), exit(1, 0), exit(1, 3));
        for (policy, wanted, exit, starts) in [
            (Policy::No, ran, Some(&failed), false),
            (Policy::Always, ran, Some(&ok), true),
            (Policy::Always, stopped, Some(&ok), true),
            (Policy::Always, None, None, false),
            (Policy::UnlessStopped, ran, Some(&ok), true),
            (Policy::UnlessStopped, stopped, Some(&ok), false),
            (Policy::UnlessStopped, None, None, false),
            (Policy::OnFailure(0), ran, Some(&failed), true),
            (Policy::OnFailure(0), ran, Some(&ok), false),
            (Policy::OnFailure(0), stopped, Some(&failed), false),
            (Policy::OnFailure(3), ran, Some(&tired), false),
            (Policy::OnFailure(4), ran, Some(&tired), true),
        ] {
            assert_eq!(is_wanted(policy, wanted, exit), starts, "{policy:?} {wanted:?} {exit:?}");
        }
    }
}
