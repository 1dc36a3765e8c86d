//! What every command does first: whatever a killed command or monitor left is brought to an end.
//!
//! The command that makes a container, and then its monitor, hold the container's lock as long as they live. A run
//! directory whose lock is free belongs to nobody.

use bulkhead_sandbox::cgroup::CgroupHandle;

use super::remove::{cgroup_directories, discard};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::{ExitState, Layout, now};
use crate::store::StoreError;

pub(crate) fn recover(engine: &Engine) -> Result<(), EngineError> {
    let directory = engine.paths.run.join("containers");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(EngineError::io("read", &directory)(e)),
    };
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let layout = Layout::new(&engine.paths, &id);
        // Others are looked after, or were removed between the listing and the look. What cannot be settled is in nobody's
        // way: it stays as it is, and its own removal says why.
        if let Ok(Some(_lock)) = layout.try_lock() {
            drop(settle(engine, &id, &layout));
        }
    }
    Ok(())
}

/// Settles one that nobody looks after. The caller holds its lock.
fn settle(engine: &Engine, id: &str, layout: &Layout) -> Result<(), EngineError> {
    let record = match engine.store()?.find_container(id) {
        Ok(record) if record.id == id => record,
        Ok(_) | Err(StoreError::NoSuchContainer { .. }) => return discard(engine, id, true),
        Err(e) => return Err(e.into()),
    };
    let state = layout.read_state();
    let exit = layout.read_exit();
    let never = state.is_none() && exit.is_none();
    if record.auto_remove || (never && !record.ready) {
        return discard(engine, id, true);
    }
    match crate::networks::forget(engine, id) {
        // What cannot be written down is written down by a later command; it keeps nobody from removing what fills the disk.
        Err(e) if e.is_full() => {}
        other => other?,
    }
    if never {
        // Its first start was interrupted before anything of it ran.
        CgroupHandle::remove_all(&cgroup_directories(engine, id)?).map_err(|e| EngineError::Start(e.into()))?;
        layout.clear_run();
        return Ok(());
    }
    CgroupHandle::remove_all(&cgroup_directories(engine, id)?).map_err(|e| EngineError::Start(e.into()))?;
    let ended = state.as_ref().and_then(|s| s.restarting.clone());
    let restarts = state.as_ref().map_or(0, |s| s.restarts);
    // A run that was under way is newer than any end that was written down.
    let lost = state.is_some() && ended.is_none();
    let exit = ended.or(exit.filter(|_| !lost)).unwrap_or_else(|| ExitState {
        code: 137,
        since: state.map_or(0, |s| s.since),
        at: now(),
        out_of_memory: false,
        pids_refused: 0,
        error: Some("its monitor was killed, and the container with it".to_owned()),
        restarts,
    });
    if lost {
        let event = Event::new(Kind::Container, "die", id).with("exitCode", "137");
        engine.events().emit(&super::about(event, &record));
    }
    // A full disk must not keep anybody from removing what fills it.
    drop(layout.write_exit(&exit, true));
    Ok(())
}

/// Settles what the last boot left: containers that were being made, or were to be removed at their end. What was in the
/// run directory is gone, so they are found in the store. Containers that ran get their end written down. The first
/// command after a boot does it.
pub(crate) fn sweep(engine: &Engine) -> Result<(), EngineError> {
    for record in engine.store()?.unready_containers()? {
        let layout = Layout::new(&engine.paths, &record.id);
        if layout.run.exists() {
            continue;
        }
        let never = layout.read_wanted().is_none() && layout.read_exit().is_none();
        if !record.auto_remove && !never {
            continue;
        }
        if let Some(_lock) = layout.claim()? {
            // What cannot be removed now is in nobody's way.
            drop(discard(engine, &record.id, true));
        }
    }
    // Nothing that had addresses before the boot has them now.
    crate::networks::forget_all(engine)?;
    crate::system::mark_lost(engine)
}
