//! What every command does first: whatever a killed command or monitor left is brought to an end.
//!
//! The command that makes a container, and then its monitor, hold the container's lock as long as they live. A run
//! directory whose lock is free belongs to nobody.

use bulkhead_sandbox::cgroup::CgroupHandle;

use super::remove::{cgroup_directories, discard};
use crate::engine::Engine;
use crate::error::EngineError;
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
    if record.auto_remove || (state.is_none() && exit.is_none()) {
        return discard(engine, id, true);
    }
    CgroupHandle::remove_all(&cgroup_directories(engine, id)?).map_err(|e| EngineError::Start(e.into()))?;
    let exit = exit.unwrap_or_else(|| ExitState {
        code: 137,
        since: state.map_or(0, |s| s.since),
        at: now(),
        out_of_memory: false,
        pids_refused: 0,
        error: Some("its monitor was killed, and the container with it".to_owned()),
    });
    // A full disk must not keep anybody from removing what fills it.
    drop(layout.write_exit(&exit, true));
    Ok(())
}
