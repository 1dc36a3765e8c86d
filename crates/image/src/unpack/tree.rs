//! Parents of entries, as handles.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid, fchmod, fchown, fstat, statat};
use rustix::io::Errno;

use super::path::EntryPath;
use crate::budget::Meter;
use crate::error::{ImageError, Result};
use crate::fsops;

/// Who this process is, to save the call that would set an owner that is there already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// False when owners are not to be touched.
    pub(crate) apply: bool,
}

/// A directory that entries are made in.
#[derive(Debug)]
pub(crate) struct Parent {
    path: Vec<u8>,
    fd: OwnedFd,
    /// New files get the group of this directory instead of ours.
    pub(crate) setgid: bool,
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The tree being filled. Remembers the last parent: archives list a directory's entries together, and one resolution by
/// the kernel then serves them all.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    root: BorrowedFd<'a>,
    own: Own,
    /// What is mounted below the root belongs to the tree.
    across: bool,
    last: Option<Rc<Parent>>,
    /// Directories that no entry asked for.
    pub(crate) implied: u64,
}

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Directory,
    Symlink,
    Whiteout,
    Other,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>, own: Own, across: bool) -> Self {
        Self { root, own, across, last: None, implied: 0 }
    }

    fn resolve(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        if self.across { fsops::resolve_dir_across(self.root, path) } else { fsops::resolve_dir(self.root, path) }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'a> {
        self.root
    }

    /// Must be called after anything but a plain file was removed or replaced: the remembered parent may be gone, or the
    /// same path may lead elsewhere now. Additions can not change where a path that resolved leads.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// The directory of `path`, or the error of the kernel when it is not there.
    pub(crate) fn existing(&mut self, path: &EntryPath) -> rustix::io::Result<Rc<Parent>> {
        if let Some(last) = &self.last
            && last.path == path.parent
        {
            return Ok(Rc::clone(last));
        }
        let fd = self.resolve(&path.parent)?;
        self.remember(&path.parent, fd)
    }

    /// The directory of `path`, made if need be.
    pub(crate) fn parent(&mut self, path: &EntryPath, meter: &mut Meter) -> Result<Rc<Parent>> {
        match self.existing(path) {
            Ok(parent) => return Ok(parent),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => return Err(ImageError::apply(&path.full(), "opening its directory", e)),
        }
        // Making a whiteout into a directory may have replaced what was remembered.
        self.forget();
        let fd = self.make(&path.parent, path, meter)?;
        self.remember(&path.parent, fd).map_err(|e| ImageError::apply(&path.full(), "opening its directory", e))
    }

    fn remember(&mut self, path: &[u8], fd: OwnedFd) -> rustix::io::Result<Rc<Parent>> {
        let setgid = Mode::from_raw_mode(fstat(&fd)?.st_mode).contains(Mode::SGID);
        let parent = Rc::new(Parent { path: path.to_vec(), fd, setgid });
        self.last = Some(Rc::clone(&parent));
        Ok(parent)
    }

    /// Makes what is missing of `dir`, one component at a time, each relative to the handle of the one above. The depth of
    /// the recursion is that of the path, which is limited.
    fn make(&mut self, dir: &[u8], entry: &EntryPath, meter: &mut Meter) -> Result<OwnedFd> {
        let fail = |step| move |e| ImageError::apply(&entry.full(), step, e);
        match self.resolve(dir) {
            Err(Errno::NOENT | Errno::NOTDIR) if !dir.is_empty() => {}
            other => return other.map_err(fail("opening its directory")),
        }
        let split = dir.iter().rposition(|byte| *byte == b'/');
        let (above, name) = match split {
            Some(at) => (dir.get(..at).unwrap_or_default(), dir.get(at + 1..).unwrap_or_default()),
            None => (&[][..], dir),
        };
        let above = self.make(above, entry, meter)?;
        let found = look(above.as_fd(), name).map_err(fail("looking at its directory"))?.0;
        let refuse = |what| Err(ImageError::entry(&entry.full(), what));
        match found {
            Found::Nothing | Found::Whiteout => {}
            Found::Symlink => {
                return refuse("a directory of its path is a link that leads to no directory in the layer");
            }
            Found::Directory | Found::Other => return refuse("a directory of its path is something else in the layer"),
        }
        if found == Found::Whiteout {
            fsops::remove(above.as_fd(), name).map_err(fail("replacing a whiteout"))?;
        }
        meter.take_entry()?;
        self.implied += 1;
        let fd = fsops::make_dir(above.as_fd(), name).map_err(fail("making its directory"))?;
        if self.own.apply && (self.own.uid != 0 || self.own.gid != 0) {
            fchown(&fd, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(fail("setting the owner of its directory"))?;
        }
        fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(fail("setting the mode of its directory"))?;
        if found == Found::Whiteout {
            set_opaque(fd.as_fd()).map_err(fail("marking its directory opaque"))?;
        }
        Ok(fd)
    }
}

/// What `name` in `parent` is, itself, not what it leads to.
pub(crate) fn look(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<(Found, Option<Stat>)> {
    let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok((Found::Nothing, None)),
        Err(e) => return Err(e),
    };
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory,
        FileType::Symlink => Found::Symlink,
        // Only this crate makes device nodes here, so 0:0 is a whiteout of ours.
        FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
        _ => Found::Other,
    };
    Ok((found, Some(stat)))
}

/// Hides what lower layers have in this directory.
pub(crate) fn set_opaque(dir: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(dir, "user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty())
}
