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

/// How many links are followed, as by the kernel (`path_resolution(7)`).
const LINKS: usize = 40;

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
        self.file_or(path, Ok(()))
    }

    /// As [`Root::file`]; `link` is what a link that leads nowhere is.
    fn file_or(&self, path: &CStr, link: Result<()>) -> Result<OwnedFd> {
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
            other => return link.and(other),
        }
        let bytes = path.to_bytes();
        let parent = bytes.iter().rposition(|b| *b == b'/').map_or(0, |at| at);
        drop(self.make_parents(bytes.get(..parent).unwrap_or_default(), 0o755, false)?);
        drop(self.open(path, OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW, Mode::from_raw_mode(0o644))?);
        self.handle(path)
    }

    /// A handle on `path`, a directory or else a file, which is made with its parents if it does not exist. A link that
    /// leads nowhere is followed, and what it names is made below the root. Child-safe.
    ///
    /// # Errors
    /// `ENOTDIR` or `EISDIR` when the other kind is there, `ELOOP` for too many links; else as [`Root::open`].
    pub fn target(&self, path: &CStr, directory: bool, mode: u32) -> Result<OwnedFd> {
        let mut place = [0; PATH_MAX];
        let mut length = path.to_bytes().len();
        place.get_mut(..length).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(path.to_bytes());
        for _ in 0..LINKS {
            let path = cstr(&place, length)?;
            // What is missing here is made at once; only a link that leads nowhere is in the way of that.
            match if directory { self.directory(path, mode) } else { self.file_or(path, Err(Errno::NOENT)) } {
                Err(Errno::NOENT) => {}
                other => return other,
            }
            length = self.follow(&mut place, length)?.ok_or(Errno::NOENT)?;
        }
        Err(Errno::LOOP)
    }

    /// Puts the text of the first link on `path` that leads nowhere in its place; the new length, or nothing where none
    /// does.
    fn follow(&self, path: &mut [u8; PATH_MAX], length: usize) -> Result<Option<usize>> {
        let mut so_far = [0; PATH_MAX];
        let mut end = 0;
        while end < length {
            let rest = path.get(end + 1..length).unwrap_or_default();
            let next = rest.iter().position(|b| *b == b'/').map_or(length, |at| end + 1 + at);
            so_far
                .get_mut(end..next)
                .ok_or(Errno::NAMETOOLONG)?
                .copy_from_slice(path.get(end..next).unwrap_or_default());
            let here = cstr(&so_far, next)?;
            let link = match self.open(here, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(None),
                other => other?,
            };
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&link)?.st_mode);
            if kind.is_symlink() && self.handle(here).err() == Some(Errno::NOENT) {
                return splice(path, length, end, next, &link).map(Some);
            }
            end = next;
        }
        Ok(None)
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

/// Replaces the name from `start` (the slash before it) to `end` by what the link says; the new length.
fn splice(path: &mut [u8; PATH_MAX], length: usize, start: usize, end: usize, link: &OwnedFd) -> Result<usize> {
    let mut text = [0_u8; PATH_MAX];
    let said = rustix::fs::readlinkat_raw(link, c"", &mut text)?;
    let text = text.get(..said).ok_or(Errno::NAMETOOLONG)?;
    let mut rest = [0_u8; PATH_MAX];
    let left = path.get(end..length).unwrap_or_default();
    rest.get_mut(..left.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(left);
    // From the root, or from the directory that the link is in.
    let mut at = if text.first() == Some(&b'/') { 0 } else { start + 1 };
    for part in [text, rest.get(..left.len()).unwrap_or_default()] {
        let to = at + part.len();
        path.get_mut(at..to).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
        at = to;
    }
    path.get_mut(at..).unwrap_or_default().fill(0);
    Ok(at)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_link_names_is_made_inside() {
        let top = std::env::temp_dir().join(format!("bulkhead-root-{}", std::process::id()));
        let path = top.join("root");
        std::fs::create_dir_all(path.join("etc")).unwrap();
        std::fs::create_dir_all(path.join("run")).unwrap();
        symlink("/tmp/foo/bar", path.join("jump")).unwrap();
        symlink("/jump/baz/hosts", path.join("etc/hosts")).unwrap();
        symlink("../run/deep/../resolv.conf", path.join("etc/resolv.conf")).unwrap();
        symlink("../../../../outside", path.join("etc/out")).unwrap();
        symlink("b", path.join("a")).unwrap();
        symlink("a", path.join("b")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = Root::new(rustix::fs::open(&path, flags, Mode::empty()).unwrap());
        for (named, directory, made) in [
            (c"/etc/hosts", false, "tmp/foo/bar/baz/hosts"),
            (c"/etc/resolv.conf", false, "run/resolv.conf"),
            (c"/etc/out/d", true, "outside/d"),
            (c"/new/dir", true, "new/dir"),
            (c"/new/file", false, "new/file"),
        ] {
            for _ in 0..2 {
                let there = rustix::fs::fstat(root.target(named, directory, 0o755).unwrap()).unwrap();
                let found = rustix::fs::stat(path.join(made)).unwrap();
                assert_eq!((there.st_dev, there.st_ino), (found.st_dev, found.st_ino), "{named:?}");
            }
        }
        assert!(!top.join("outside").exists());
        assert_eq!(root.target(c"/a/x", true, 0o755).err(), Some(Errno::LOOP));
        assert_eq!(root.target(c"/new/dir", false, 0o755).err(), Some(Errno::ISDIR));
        assert_eq!(root.target(c"/new/file", true, 0o755).err(), Some(Errno::NOTDIR));
        std::fs::remove_dir_all(top).unwrap();
    }
}
