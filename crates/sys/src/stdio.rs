//! Terminals of a sandbox (`pty(7)`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;

use crate::{Result, check};

/// A new pseudo-terminal from the `ptmx` of the devpts instance whose root is `devpts`: (master, slave). Child-safe.
///
/// The slave is opened from the master, not by a path that somebody else could have laid (CVE-2025-52565).
///
/// # Errors
/// What the kernel says.
pub fn new_terminal(devpts: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    let master = rustix::fs::openat(devpts, c"ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let slave =
        rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok((master, slave))
}

/// Makes `terminal` the controlling terminal of the calling session leader. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn control(terminal: BorrowedFd<'_>) -> Result<()> {
    rustix::process::ioctl_tiocsctty(terminal)
}

/// Sets rows and columns of a terminal. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn resize(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    rustix::termios::tcsetwinsize(
        terminal,
        rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 },
    )
}

/// Gives an open file to `uid`:`gid`. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn give_to(file: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: takes three integers; `fchown` reads no memory of this process.
    check(libc::c_long::from(unsafe { libc::fchown(file.as_fd().as_raw_fd(), uid, gid) })).map(drop)
}
