//! `tmpcopyup`: what a directory of the image holds, copied into the memory file system that is mounted over it.
//!
//! Runs in the child: buffers lie on the stack, and depth is bounded.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use bulkhead_sys::{Errno, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid};

/// Deepest directory that is copied.
const DEPTH: usize = 32;

/// Copies the content of `from` into `to`, with owners, permission bits and times. Child-safe.
///
/// # Errors
/// What the kernel says; `ELOOP` beyond [`DEPTH`].
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let from = rustix::fs::openat(from, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let to = rustix::fs::openat(to, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    directory(from.as_fd(), to.as_fd(), 0)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth >= DEPTH {
        return Err(Errno::LOOP);
    }
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        one(from, to, name, &stat, depth)?;
        owner_and_time(to, name, &stat)?;
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat, depth: usize) -> Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode)?;
            let below = rustix::fs::openat(from, name, read | OFlags::DIRECTORY, Mode::empty())?;
            let made = rustix::fs::openat(to, name, read | OFlags::DIRECTORY, Mode::empty())?;
            directory(below.as_fd(), made.as_fd(), depth + 1)
        }
        FileType::RegularFile => {
            let file = rustix::fs::openat(from, name, read | OFlags::NONBLOCK, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let made = rustix::fs::openat(to, name, flags, mode)?;
            content(file.as_fd(), made.as_fd())
        }
        FileType::Symlink => {
            let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
            let (read, rest) = rustix::fs::readlinkat_raw(from, name, &mut buffer[..])?;
            if rest.is_empty() {
                return Err(Errno::NAMETOOLONG);
            }
            let mut text = [0_u8; 4096];
            text.get_mut(..read.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(read);
            let text = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::NAMETOOLONG)?;
            rustix::fs::symlinkat(text, to, name)
        }
        kind => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev),
    }
}

fn content(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut buffer = [0_u8; 16_384];
    loop {
        let read = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e),
        };
        let mut rest = buffer.get(..read).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn owner_and_time(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        // A change of owner clears bits, and the mask of the caller has cut the mode.
        rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    }
    #[allow(clippy::useless_conversion, reason = "the fields are narrower on some machines")]
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec {
            tv_sec: stat.st_atime.into(),
            tv_nsec: stat.st_atime_nsec.try_into().unwrap_or(0),
        },
        last_modification: rustix::fs::Timespec {
            tv_sec: stat.st_mtime.into(),
            tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or(0),
        },
    };
    rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}
