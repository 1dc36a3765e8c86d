//! The loopback interface of a fresh network namespace, and options of netlink sockets.

use std::os::fd::{AsFd, AsRawFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::{Result, check};

/// Brings `lo` up in the network namespace of the caller (`netdevice(7)`). Child-safe.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the namespace.
pub fn loopback_up() -> Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain data; all-zero is a valid value of it.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, alive during the call.
    check(libc::c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }))
        .map(drop)
}

/// An option of a netlink socket (`netlink(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetlinkOption {
    /// An answer does not repeat the message that it answers (Linux 4.2).
    CapAck,
    /// A refusal says in words why (Linux 4.12).
    ExtendedAck,
}

/// Sets an option of a netlink socket.
///
/// # Errors
/// What the kernel says.
pub fn netlink_option(socket: impl AsFd, option: NetlinkOption) -> Result<()> {
    let name = match option {
        NetlinkOption::CapAck => libc::NETLINK_CAP_ACK,
        NetlinkOption::ExtendedAck => libc::NETLINK_EXT_ACK,
    };
    let on: libc::c_int = 1;
    let size = core::mem::size_of::<libc::c_int>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the option is an int, which is alive during the call.
    check(libc::c_long::from(unsafe {
        libc::setsockopt(socket, libc::SOL_NETLINK, name, (&raw const on).cast(), size)
    }))
    .map(drop)
}

/// Bytes that a connection has taken and its other side has not acknowledged yet (`SIOCOUTQ` of `tcp(7)`).
///
/// # Errors
/// What the kernel says.
pub fn unsent(socket: impl AsFd) -> Result<usize> {
    let mut count: libc::c_int = 0;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the request writes an int, which is alive during the call.
    check(libc::c_long::from(unsafe { libc::ioctl(socket, libc::TIOCOUTQ as _, &raw mut count) }))?;
    Ok(usize::try_from(count).unwrap_or(0))
}
