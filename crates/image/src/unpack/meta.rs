//! Owners, times, extended attributes.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::path::EntryPath;
use super::tree::Parent;
use super::{OwnIds, Unpacker};
use crate::archive::{Entry, Mtime};
use crate::error::{ImageError, Result};

/// Access and modification time, both as in the archive.
pub(crate) fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) };
    Timestamps { last_access: time, last_modification: time }
}

/// The ids to set, or `None` when the file has them already, being made by this process.
fn owner(entry: &Entry, own: super::Own, setgid: bool) -> Option<(Uid, Gid)> {
    let uid = u32::try_from(entry.uid).ok()?;
    let gid = u32::try_from(entry.gid).ok()?;
    if !own.apply || (uid == own.uid && gid == own.gid && !setgid) {
        return None;
    }
    Some((Uid::from_raw(uid), Gid::from_raw(gid)))
}

impl Unpacker<'_> {
    /// `setgid` says that the group may be another than ours.
    pub(super) fn chown_fd(&self, fd: BorrowedFd<'_>, entry: &Entry, setgid: bool) -> Result<()> {
        let Some((uid, gid)) = owner(entry, self.own, setgid) else { return Ok(()) };
        rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(|e| ImageError::apply(&entry.path, "setting its owner", e))
    }

    /// Owner and time of something that can not be opened, and is not followed.
    pub(super) fn meta_at(&mut self, entry: &Entry, path: &EntryPath, parent: &Parent) -> Result<()> {
        // Only files and directories can have what is let through.
        self.report.skipped.xattrs += crate::len64(entry.xattrs.len());
        if let Some((uid, gid)) = owner(entry, self.own, parent.setgid) {
            rustix::fs::chownat(parent.as_fd(), &*path.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| ImageError::apply(&entry.path, "setting its owner", e))?;
        }
        self.times_at(entry, path, parent)
    }

    pub(super) fn times_at(&self, entry: &Entry, path: &EntryPath, parent: &Parent) -> Result<()> {
        rustix::fs::utimensat(parent.as_fd(), &*path.name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| ImageError::apply(&entry.path, "setting its time", e))
    }

    pub(super) fn xattrs(&mut self, fd: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        for (name, value) in &entry.xattrs {
            let privilege = name.starts_with(b"security.") && self.landing.as_ref().is_some_and(|l| !l.privileges);
            if privilege || !wanted(name) {
                self.report.skipped.xattrs += 1;
                continue;
            }
            if name.len() > 255 || name.contains(&0) || value.len() > 65_536 {
                let reason = format!("extended attribute {} has a bad name or is too long", crate::error::show(name));
                return Err(ImageError::entry(&entry.path, reason));
            }
            match rustix::fs::fsetxattr(fd, &**name, value, XattrFlags::empty()) {
                Ok(()) => {}
                // No room for them here; the program in the container would find out the same way.
                Err(Errno::OPNOTSUPP) => self.report.skipped.xattrs += 1,
                // One id only: no right to give capabilities away, and nobody to give them to.
                Err(Errno::PERM) if self.options.ids == OwnIds::Ignore && name.starts_with(b"security.") => {
                    self.report.skipped.xattrs += 1;
                }
                Err(e) => {
                    return Err(ImageError::apply(&entry.path, "setting an extended attribute", e));
                }
            }
        }
        Ok(())
    }
}

/// `user.*` is plain data, except for overlayfs's own, which would let an image speak to the overlay; capabilities are
/// confined by the user namespace. Everything else belongs to the host.
pub(crate) fn wanted(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.")
            && name.len() > 5
            && !name.starts_with(b"user.overlay.")
            && name != b"user.overlay")
}
