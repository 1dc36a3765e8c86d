//! The terminal of a container: its master side goes to a socket of the caller.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bulkhead_sandbox::oci::config::Process;
use bulkhead_sys::fd;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::foreground;
use crate::runc::error::{During, RuncError};

/// A terminal needs somebody who holds its other side, and only a terminal has one.
pub(super) fn check(terminal: bool, detached: bool, socket: Option<&Path>) -> Result<(), RuncError> {
    match (terminal, detached, socket) {
        (true, true, None) => Err(RuncError::new(
            "process.terminal is true: nobody stays to hold the terminal; name a socket with --console-socket",
        )),
        (false, _, Some(_)) => Err(RuncError::new(
            "--console-socket is given, and process.terminal is false: there is no terminal to send",
        )),
        _ => Ok(()),
    }
}

/// Gives the terminal the size of the config.
fn resize(master: BorrowedFd<'_>, process: &Process) -> Result<(), RuncError> {
    let Some(size) = process.console_size else { return Ok(()) };
    let number = |n: u64| {
        u16::try_from(n)
            .map_err(|_| RuncError::new(format!("invalid process.consoleSize {n}: at most {} is possible", u16::MAX)))
    };
    bulkhead_sys::stdio::resize(master, number(size.height)?, number(size.width)?)
        .during("set the size of the terminal")
}

/// A connection to a socket of the caller.
fn connect(path: &Path) -> Result<OwnedFd, RuncError> {
    let what = || format!("connect to {}", path.display());
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .during_with(what)?;
    let address = SocketAddrUnix::new(path).during_with(what)?;
    rustix::net::connect(&socket, &address).during_with(what)?;
    Ok(socket)
}

/// A socket of the caller, connected before the container's file system is entered.
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open(path: &Path) -> Result<Self, RuncError> {
        connect(path).map(Self)
    }

    /// The message is a name, as callers expect.
    fn send(&self, master: BorrowedFd<'_>) -> Result<(), RuncError> {
        fd::send(self.0.as_fd(), b"/dev/ptmx", &[master]).during("send the terminal")
    }

    pub(super) fn send_with(&self, message: &[u8], file: BorrowedFd<'_>) -> Result<(), RuncError> {
        fd::send(self.0.as_fd(), message, &[file]).during("send the descriptor of the system call filter")
    }

    pub(super) fn send_pidfd(&self, pidfd: BorrowedFd<'_>) -> Result<(), RuncError> {
        fd::send(self.0.as_fd(), b"pidfd", &[pidfd]).during("send the pidfd")
    }
}

/// Gives the terminal its size and sends its master side to who asked for it; else it comes back, for this process to
/// hold. Before the program writes its first.
pub(super) fn hand_over(
    master: Option<OwnedFd>,
    process: &Process,
    socket: Option<&Socket>,
) -> Result<Option<OwnedFd>, RuncError> {
    let Some(master) = master else { return Ok(None) };
    resize(master.as_fd(), process)?;
    if let Some(socket) = socket {
        socket.send(master.as_fd())?;
        return Ok(None);
    }
    foreground::leave_line_ends(&master)?;
    Ok(Some(master))
}
