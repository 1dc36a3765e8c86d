//! One thing in a directory, opened as what it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::archive::Mtime;

/// Most extended attributes' names of one file, in bytes, and most bytes of one value; the kernel's own limits.
const XATTR: usize = 65_536;
/// How often a name that changes while it is looked at is looked at again.
const ATTEMPTS: u32 = 16;

/// One thing, held where it can be.
#[derive(Debug)]
pub enum Node {
    /// A directory, open for reading.
    Directory(OwnedFd, Stat),
    /// A regular file, open for reading.
    File(OwnedFd, Stat),
    /// What a symbolic link says.
    Link(Vec<u8>, Stat),
    /// Anything else: never opened.
    Other(Stat),
}

impl Node {
    /// What `name` in `dir` is; a link is not followed. `name` is one component.
    ///
    /// # Errors
    /// `ENOENT` when it is gone or never stays the same; else what the kernel says.
    pub fn open(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let stat = stat_of(dir, name)?;
            let opened = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => open_as(dir, name, OFlags::DIRECTORY, FileType::Directory),
                FileType::RegularFile => open_as(dir, name, OFlags::empty(), FileType::RegularFile),
                FileType::Symlink => match link_target(dir, name) {
                    Ok(target) => return Ok(Self::Link(target, stat)),
                    // No link any more.
                    Err(Errno::INVAL) => Ok(None),
                    Err(e) => Err(e),
                },
                _ => return Ok(Self::Other(stat)),
            };
            match opened {
                Ok(Some(node)) => return Ok(node),
                // It was swapped for something else between the two calls.
                Ok(None) | Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::NOENT)
    }

    /// Its metadata: of the open file where there is one.
    #[must_use]
    pub fn stat(&self) -> &Stat {
        match self {
            Self::Directory(_, stat) | Self::File(_, stat) | Self::Link(_, stat) | Self::Other(stat) => stat,
        }
    }

    /// A character device 0:0: overlayfs's mark of a deletion.
    #[must_use]
    pub fn is_whiteout(&self) -> bool {
        let Self::Other(stat) = self else { return false };
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    }

    /// A directory that hides what lower layers have in it.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        let Self::Directory(dir, _) = self else { return false };
        let mut value = [0; 1];
        rustix::fs::fgetxattr(dir, "user.overlay.opaque", &mut value).is_ok_and(|n| n == 1 && value == *b"y")
    }
}

fn open_as(dir: BorrowedFd<'_>, name: &[u8], how: OFlags, kind: FileType) -> rustix::io::Result<Option<Node>> {
    // Never waiting: a pipe that has taken the place of a file would hold us until somebody writes.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Node::of(openat(dir, name, flags | how, Mode::empty())?, kind)
}

impl Node {
    /// An open file or directory; nothing when it is of another kind.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(fd: OwnedFd, kind: FileType) -> rustix::io::Result<Option<Self>> {
        let stat = fstat(&fd)?;
        Ok(match (FileType::from_raw_mode(stat.st_mode), kind) {
            (FileType::Directory, FileType::Directory) => Some(Self::Directory(fd, stat)),
            (FileType::RegularFile, FileType::RegularFile) => Some(Self::File(fd, stat)),
            _ => None,
        })
    }
}

pub(super) fn stat_of(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn link_target(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Vec<u8>> {
    readlinkat(dir, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

pub(super) fn times_of(stat: &Stat) -> Mtime {
    #[allow(clippy::useless_conversion, reason = "the fields are narrower on some machines")]
    Mtime { secs: i64::from(stat.st_mtime), nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

pub(super) fn device(stat: &Stat) -> (u32, u32) {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice | FileType::BlockDevice => {
            (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
        }
        _ => (0, 0),
    }
}

/// Attributes that belong to the content: those of users, without overlayfs's own, and capabilities.
pub(super) fn xattrs_of(node: &Node) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let fd = match node {
        Node::Directory(fd, _) | Node::File(fd, _) => fd.as_fd(),
        Node::Link(..) | Node::Other(_) => return Ok(Vec::new()),
    };
    // Most files have none.
    if matches!(rustix::fs::flistxattr(fd, &mut [0_u8; 1]), Ok(0)) {
        return Ok(Vec::new());
    }
    let mut list = vec![0; XATTR];
    let length = match rustix::fs::flistxattr(fd, &mut list) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for name in list.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        if !crate::unpack::wanted(name) {
            continue;
        }
        let mut value = vec![0; XATTR];
        match rustix::fs::fgetxattr(fd, name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                value.shrink_to_fit();
                found.push((name.to_vec(), value));
            }
            // It went away, or is not for us.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort();
    Ok(found)
}
