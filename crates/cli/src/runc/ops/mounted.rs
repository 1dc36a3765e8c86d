//! A root file system that is mounted where others see it: a config without a mount namespace asks for that. Nothing ends
//! it but this.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bulkhead_sys::mount;
use rustix::fs::{Mode, OFlags};

use crate::runc::error::{During, RuncError};
use crate::runc::state::{Mounted, Record};

fn there(path: &Path) -> Result<(OwnedFd, u64), bulkhead_sys::Errno> {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let id = mount::mount_id(place.as_fd())?;
    Ok((place, id))
}

/// What is there before anything is mounted.
pub(super) fn before(rootfs: &Path) -> Result<Mounted, RuncError> {
    let (_, before) = there(rootfs).during(format!("look at {}", rootfs.display()))?;
    Ok(Mounted { before, own: None })
}

/// Notes what the container has put there.
pub(super) fn note(record: &mut Record) {
    if let Some(mounted) = &mut record.mounted {
        mounted.own = there(&record.rootfs).ok().map(|(_, id)| id).filter(|id| *id != mounted.before);
    }
}

/// Takes the container's own mount off, if it is there still; never what was there before.
pub(super) fn take_off(record: &Record) -> Result<(), RuncError> {
    let Some(Mounted { before, own }) = record.mounted else { return Ok(()) };
    let Ok((place, id)) = there(&record.rootfs) else { return Ok(()) };
    if id == before || own.is_some_and(|own| own != id) {
        return Ok(());
    }
    mount::detach(place.as_fd()).during(format!("unmount {}", record.rootfs.display()))
}
