//! The socket by which commands reach a monitor that runs.
//!
//! It lies in the container's run directory, which only its owner can enter. The address of a socket has room for 108
//! bytes and the directory may be deep, so both sides name it through the directory's descriptor.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use crate::frame::{self, kind};
use crate::layout::Layout;

/// How long a monitor may take to let somebody in. It does nothing else than wait for that.
const PATIENCE: Duration = Duration::from_millis(500);

fn address(directory: &OwnedFd) -> Result<SocketAddrUnix, rustix::io::Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), Layout::CONTROL))
}

fn open(run: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    rustix::fs::open(run, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

fn socket() -> Result<OwnedFd, rustix::io::Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// The listening side, for the monitor that holds the container's lock.
pub(super) fn listener(layout: &Layout) -> Result<OwnedFd, rustix::io::Errno> {
    let directory = open(&layout.run)?;
    // Left by a monitor that was killed.
    match rustix::fs::unlinkat(&directory, Layout::CONTROL, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let socket = socket()?;
    bind(&socket, &address(&directory)?)?;
    listen(&socket, 128)?;
    Ok(socket)
}

/// A connection to the monitor of a container, with the first frame sent; nothing when it has none.
pub(crate) fn reach(layout: &Layout, kind: u8, payload: &[u8]) -> Option<OwnedFd> {
    let directory = open(&layout.run).ok()?;
    let socket = socket().ok()?;
    // A monitor that is held up must not hold up whoever comes to it.
    rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).ok()?;
    connect(&socket, &address(&directory).ok()?).ok()?;
    frame::write_all(socket.as_fd(), &frame::encode(kind, payload)).ok()?;
    Some(socket)
}

/// Tells the monitor that the container is to stay stopped; one that is not there needs no word.
pub(crate) fn stay_stopped(layout: &Layout) {
    drop(reach(layout, kind::STOP, &[]));
}
