//! What killed commands left of images, for the check of the store.

use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::load;
use crate::engine::Engine;
use crate::error::EngineError;

/// Whether a command holds the lock of a staging directory. Nothing is made for it.
pub(crate) fn staging_in_use(lock: &Path) -> bool {
    match rustix::fs::open(lock, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared).is_err(),
        Err(_) => false,
    }
}

/// Removes a staging directory, and its lock, that nobody holds.
///
/// # Errors
/// What could not be removed.
pub(crate) fn clear_staging(engine: &Engine, lock: &Path) -> Result<(), EngineError> {
    // Those with a lock, as every command does it.
    load::recover(engine)?;
    let directory = lock.with_extension("");
    if staging_in_use(lock) || !directory.exists() {
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
