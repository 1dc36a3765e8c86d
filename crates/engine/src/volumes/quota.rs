//! The size limit of a volume on disk: a project quota, where the file system keeps them.

use std::os::fd::AsFd;
use std::path::Path;

use bulkhead_sys::quota;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::engine::Engine;
use crate::error::EngineError;

/// Project ids that are tried: above those that administrators write into `/etc/projid`.
const FIRST: u32 = 0x4000_0000;

fn refused(engine: &Engine, size: u64, why: &str) -> EngineError {
    EngineError::refused(
        format!("a volume of {size} bytes"),
        format!(
            "it cannot be kept to on the file system of {:?}: {why}; mount that with prjquota (ext4 with the feature project, or xfs), or keep the volume in memory with --opt type=tmpfs --opt o=size={size}",
            engine.paths.volumes(),
        ),
    )
}

/// Limits a fresh volume's directory, and returns the id of its project.
///
/// # Errors
/// A file system without project quotas, or a user who may not set them: nothing is done by halves.
pub(super) fn limit(engine: &Engine, directory: &Path, size: u64) -> Result<u32, EngineError> {
    if !engine.facts()?.privileged {
        return Err(refused(engine, size, "only root sets quotas"));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(directory, flags, Mode::empty()).map_err(EngineError::io("open", directory))?;
    let random: u32 = crate::store::new_id()?.get(..7).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
    // Another store, or somebody else, may use ids of this file system too.
    let free = (0..64_u32).map(|step| FIRST + (random + step) % 0x1000_0000).find_map(|id| {
        match quota::project(dir.as_fd(), id) {
            Ok((0, 0)) | Err(Errno::NOENT) => Some(Ok(id)),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        }
    });
    let project = match free {
        Some(Ok(id)) => id,
        Some(Err(Errno::SRCH | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NODEV | Errno::INVAL | Errno::NOTTY)) => {
            return Err(refused(engine, size, "it keeps no project quotas"));
        }
        Some(Err(e)) => return Err(refused(engine, size, &format!("the kernel says: {e}"))),
        None => return Err(refused(engine, size, "no project id is free")),
    };
    let set = || -> Result<(), Errno> {
        quota::limit(dir.as_fd(), project, size)?;
        quota::give(dir.as_fd(), project)
    };
    set().map_err(|e| refused(engine, size, &format!("the kernel says: {e}")))?;
    // A file system that has the ids but does not enforce them would let everything through.
    match quota::project(dir.as_fd(), project) {
        Ok((_, limit)) if limit >= size => Ok(project),
        _ => Err(refused(engine, size, "the limit is not kept")),
    }
}

/// Takes the limit away again, before the id is used for something else.
pub(super) fn forget(directory: &Path, project: u32) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(dir) = rustix::fs::open(directory, flags, Mode::empty()) {
        // An id with a limit is not chosen again: what stays costs nothing but a number.
        quota::limit(dir.as_fd(), project, 0).unwrap_or_default();
    }
}
