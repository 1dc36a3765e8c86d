//! A verified handle on procfs.
//!
//! A container can lay mounts and links over its own `/proc`, and a host administrator over his; a write that goes
//! through a path string there can land in another file (CVE-2019-16884, CVE-2025-52881). So the runtime opens a
//! procfs once, checks that it is one, and reaches files below it without crossing a mount or a link.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::{Errno, Result};

/// `PROC_SUPER_MAGIC` of `statfs(2)`.
const MAGIC: i64 = 0x9fa0;
/// Inode number of the root of every procfs.
const ROOT_INODE: u64 = 1;

/// A procfs that was checked to be one.
#[derive(Debug)]
pub struct Proc {
    fd: OwnedFd,
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Proc {
    /// The host's `/proc`.
    ///
    /// # Errors
    /// `ENOTSUP` when what is there is not the root of a procfs.
    pub fn host() -> Result<Self> {
        let fd = rustix::fs::open(
            c"/proc",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Self::verified(fd)
    }

    /// Takes a directory that should be the root of a procfs. Child-safe.
    ///
    /// # Errors
    /// `ENOTSUP` when it is not.
    pub fn verified(fd: OwnedFd) -> Result<Self> {
        let magic = rustix::fs::fstatfs(&fd)?.f_type;
        let inode = rustix::fs::fstat(&fd)?.st_ino;
        if i128::from(magic) != i128::from(MAGIC) || inode != ROOT_INODE {
            return Err(Errno::NOTSUP);
        }
        Ok(Self { fd })
    }

    /// Opens `path` below it: no link is followed, no mount is crossed. Child-safe.
    ///
    /// # Errors
    /// `EXDEV` when something is mounted on the way, `ELOOP` at a link; else what the kernel says.
    pub fn open(&self, path: &CStr, flags: OFlags) -> Result<OwnedFd> {
        openat2(
            &self.fd,
            path,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// Writes `value` in one write. Child-safe.
    ///
    /// # Errors
    /// As [`Proc::open`]; `EIO` when the kernel took only a part.
    pub fn write(&self, path: &CStr, value: &[u8]) -> Result<()> {
        let fd = self.open(path, OFlags::WRONLY)?;
        if rustix::io::write(&fd, value)? == value.len() { Ok(()) } else { Err(Errno::IO) }
    }

    /// Reads a whole file of up to 1 MiB.
    ///
    /// # Errors
    /// As [`Proc::open`]; `EFBIG` past the limit.
    pub fn read(&self, path: &CStr) -> Result<Vec<u8>> {
        const LIMIT: usize = 1 << 20;
        let fd = self.open(path, OFlags::RDONLY)?;
        let mut content = Vec::new();
        let mut chunk = [0_u8; 4096];
        loop {
            let n = rustix::io::read(&fd, &mut chunk)?;
            if n == 0 {
                return Ok(content);
            }
            content.extend_from_slice(chunk.get(..n).unwrap_or_default());
            if content.len() > LIMIT {
                return Err(Errno::FBIG);
            }
        }
    }

    /// A handle on a namespace of a process, by the one magic link that has to be followed: the directory that holds
    /// it is reached without any. `kind` is `user`, `net`, ….
    ///
    /// # Errors
    /// What the kernel says.
    pub fn namespace(&self, pid: i32, kind: &CStr) -> Result<OwnedFd> {
        let dir = format!("{pid}/ns\0");
        let dir = CStr::from_bytes_with_nul(dir.as_bytes()).map_err(|_| Errno::INVAL)?;
        let dir = self.open(dir, OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::fs::openat(&dir, kind, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }
}
