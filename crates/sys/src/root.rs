//! The only way into a tree that somebody else filled: relative to a handle of its root, resolved by the kernel.
//!
//! Eight of the thirteen published holes of one widely used runtime were a path that was checked as a string and used
//! as a string again. Here a path is used once, by `openat2(2)` with `RESOLVE_IN_ROOT`, and what comes back is a
//! descriptor.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};

use crate::{Errno, Result};

/// Longest path that is looked up below a root, in bytes; `PATH_MAX` of Linux.
pub const PATH_MAX: usize = 4096;

/// A directory whose content is not trusted.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// Takes an open directory (or the root of a detached mount) as the root.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens `path` below the root; `..` and symbolic links stay inside, magic links are refused. Child-safe.
    ///
    /// # Errors
    /// What the kernel says; `ELOOP` for a magic link.
    pub fn open(&self, path: &CStr, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        // "/" and "" are the root itself.
        let path = if path.to_bytes().iter().all(|b| *b == b'/') { c"." } else { path };
        loop {
            let opened = openat2(
                &self.fd,
                path,
                flags | OFlags::CLOEXEC,
                mode,
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            );
            // EAGAIN: a rename or mount elsewhere raced with a `..`; the kernel asks to try again.
            if opened.as_ref().err() != Some(&Errno::AGAIN) {
                return opened;
            }
        }
    }

    /// A handle on `path` that only names it. Child-safe.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn handle(&self, path: &CStr) -> Result<OwnedFd> {
        self.open(path, OFlags::PATH, Mode::empty())
    }

    /// A handle on the directory `path`, which is made with its parents if it does not exist. Child-safe.
    ///
    /// # Errors
    /// `ENOTDIR` when something else is there; else as [`Root::open`].
    pub fn directory(&self, path: &CStr, mode: u32) -> Result<OwnedFd> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        self.make_parents(path.to_bytes(), mode, true)
    }

    /// A handle on the file `path`, or on a link of this name that leads nowhere; an empty file is made, with its parent
    /// directories, if nothing exists. Child-safe.
    ///
    /// # Errors
    /// `EISDIR` when a directory is there; else as [`Root::open`].
    pub fn file(&self, path: &CStr) -> Result<OwnedFd> {
        match self.handle(path) {
            Err(Errno::NOENT) => {}
            Ok(fd) => {
                let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
                return if kind.is_dir() { Err(Errno::ISDIR) } else { Ok(fd) };
            }
            Err(e) => return Err(e),
        }
        // A link that leads nowhere, as many images have for resolv.conf: the link itself is the place.
        match self.open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let bytes = path.to_bytes();
        let parent = bytes.iter().rposition(|b| *b == b'/').map_or(0, |at| at);
        drop(self.make_parents(bytes.get(..parent).unwrap_or_default(), 0o755, false)?);
        drop(self.open(path, OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW, Mode::from_raw_mode(0o644))?);
        self.handle(path)
    }

    /// Makes each missing directory on the way, every one relative to a fresh handle of the one before
    /// (CVE-2024-45310 was doing this by joined strings). A handle on the last, which with `last` is known to be missing.
    fn make_parents(&self, path: &[u8], mode: u32, last: bool) -> Result<OwnedFd> {
        if path.len() >= PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let mut prefix = [0_u8; PATH_MAX];
        // Mostly it is the last one alone that is missing.
        let mut end = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        prefix.get_mut(..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(path.get(..end).unwrap_or_default());
        let above = self.open(cstr(&prefix, end)?, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let mut parent = match above {
            Ok(fd) => fd,
            Err(_) => {
                prefix = [0; PATH_MAX];
                end = 0;
                self.open(c".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?
            }
        };
        for component in path.get(end..).unwrap_or_default().split(|b| *b == b'/') {
            if component.is_empty() || component == b"." {
                continue;
            }
            let start = end;
            if let (Some(slash), Some(room)) = (prefix.get_mut(start), component.len().checked_add(start + 1)) {
                *slash = b'/';
                end = room;
            }
            prefix.get_mut(start + 1..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(component);
            let so_far = cstr(&prefix, end)?;
            // Whoever calls has seen that the last one is missing.
            let there = match last && end == path.len() {
                true => Err(Errno::NOENT),
                false => self.open(so_far, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()),
            };
            match there {
                Ok(fd) => parent = fd,
                Err(Errno::NOENT) => {
                    let mut name = [0_u8; 256];
                    name.get_mut(..component.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(component);
                    match mkdirat(&parent, cstr(&name, component.len())?, Mode::from_raw_mode(mode)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(e),
                    }
                    parent = self.open(so_far, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(parent)
    }
}

/// The first `len` bytes of `buffer` as a C string; the byte after them is still zero.
fn cstr(buffer: &[u8], len: usize) -> Result<&CStr> {
    let with_nul = buffer.get(..=len).ok_or(Errno::NAMETOOLONG)?;
    CStr::from_bytes_with_nul(with_nul).map_err(|_| Errno::INVAL)
}

/// The working directory as the kernel names it, into `buffer` (`getcwd(2)`). Child-safe.
///
/// # Errors
/// `ERANGE` when it does not fit.
pub fn working_directory(buffer: &mut [core::mem::MaybeUninit<u8>; PATH_MAX]) -> Result<&[u8]> {
    // SAFETY: the kernel writes at most the given number of bytes to the buffer.
    let length = crate::check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), PATH_MAX) })?;
    let length = usize::try_from(length).map_err(|_| Errno::RANGE)?;
    let written = buffer.get(..length).ok_or(Errno::RANGE)?;
    // SAFETY: the kernel has written exactly `length` bytes, all of `written`.
    Ok(unsafe { core::slice::from_raw_parts(written.as_ptr().cast(), length) })
}
