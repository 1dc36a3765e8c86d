//! The terminal of a container: its master side goes to a socket of the caller.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bulkhead_sandbox::oci::config::Process;
use bulkhead_sys::fd;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

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
pub(super) fn resize(master: BorrowedFd<'_>, process: &Process) -> Result<(), RuncError> {
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
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).during(what())?;
    let address = SocketAddrUnix::new(path).during(what())?;
    rustix::net::connect(&socket, &address).during(what())?;
    Ok(socket)
}

/// A socket of the caller, connected before the container's file system is entered.
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open(path: &Path) -> Result<Self, RuncError> {
        connect(path).map(Self)
    }

    pub(super) fn send(&self, master: BorrowedFd<'_>) -> Result<(), RuncError> {
        fd::send(self.0.as_fd(), b"/dev/ptmx", &[master]).during("send the terminal")
    }

    pub(super) fn send_with(&self, message: &[u8], file: BorrowedFd<'_>) -> Result<(), RuncError> {
        fd::send(self.0.as_fd(), message, &[file]).during("send the descriptor of the system call filter")
    }

    pub(super) fn send_pidfd(&self, pidfd: BorrowedFd<'_>) -> Result<(), RuncError> {
        fd::send(self.0.as_fd(), b"pidfd", &[pidfd]).during("send the pidfd")
    }
}

/// Sends the master side; the message is a name, as callers expect.
pub(super) fn send(path: &Path, master: BorrowedFd<'_>) -> Result<(), RuncError> {
    Socket::open(path)?.send(master)
}

/// Sends a pidfd of the first process.
pub(super) fn send_pidfd(path: &Path, pid: i32) -> Result<(), RuncError> {
    let what = || format!("open process {pid}");
    let pid = Pid::from_raw(pid).ok_or_else(|| RuncError::new(what()))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).during(what())?;
    Socket::open(path)?.send_pidfd(pidfd.as_fd())
}
