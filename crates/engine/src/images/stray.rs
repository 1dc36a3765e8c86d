//! What killed commands left of images, for the check of the store.

use std::path::Path;

use super::load;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::is_locked;

/// Removes a staging directory, and its lock, that nobody holds.
///
/// # Errors
/// What could not be removed.
pub(crate) fn clear_staging(engine: &Engine, lock: &Path) -> Result<(), EngineError> {
    // Those with a lock, as every command does it.
    load::recover(engine)?;
    let directory = lock.with_extension("");
    if is_locked(lock) || !directory.exists() {
        return Ok(());
    }
    if lock.exists() {
        return Err(EngineError::refused("removing what is in staging", "its lock could not be taken"));
    }
    // One that lost its lock file: the name is random and will not be taken again.
    if directory.is_dir() {
        load::forget(engine, lock)
    } else {
        std::fs::remove_file(&directory).map_err(EngineError::io("remove", &directory))
    }
}

/// Removes the layers that no image has.
///
/// # Errors
/// The file operation that failed.
pub(crate) fn clear_strays(engine: &Engine) -> Result<(), EngineError> {
    let staging = load::Staging::new(engine)?;
    load::restore(engine, &staging)
}
