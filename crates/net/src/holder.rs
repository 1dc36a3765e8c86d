//! Who has a port of the host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::netlink;

use crate::Protocol;
use crate::nft::elements::number as protocol_number;
use crate::socket::Socket;
use crate::wire::{find, number};

/// `sock_diag(7)`: a request by family, and the states of sockets that wait for somebody.
const BY_FAMILY: u16 = 20;
const LISTENING: u32 = 1 << 10;
/// A datagram socket that is bound and connected to nobody.
const BOUND: u32 = 1 << 7;
/// Length of `inet_diag_msg`.
const FIXED: usize = 72;
const ONLY_IPV6: u16 = 11;

/// Whoever listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process, unless it is another user's and hidden, or the kernel itself.
    pub pid: Option<i32>,
    /// Its short name (`comm` of `proc(5)`). The process chooses it.
    pub command: Option<String>,
    /// Owner of the socket.
    pub uid: u32,
    /// Address that it listens on.
    pub address: IpAddr,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "process {pid} ({})", command.escape_debug()),
            (Some(pid), None) => write!(f, "process {pid}"),
            _ => write!(f, "a process of user {}", self.uid),
        }
    }
}

/// Who listens where a port would be bound, if anybody does: on this address, or on every one. `None` too where the kernel
/// does not say (`sock_diag(7)` missing).
#[must_use]
pub fn holder_of(address: IpAddr, port: u16, protocol: Protocol) -> Option<Holder> {
    let mut socket = Socket::open(Some(netlink::SOCK_DIAG)).ok()?;
    let found = [2_u8, 10].into_iter().flat_map(|family| sockets(&mut socket, family, protocol)).collect::<Vec<_>>();
    let bound = found.into_iter().find(|s| s.port == port && s.excludes(address))?;
    let pid = owner(bound.inode);
    let command = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    Some(Holder { pid, command: command.map(|c| c.trim_end().to_owned()), uid: bound.uid, address: bound.address })
}

#[derive(Debug)]
struct Bound {
    address: IpAddr,
    port: u16,
    only_ipv6: bool,
    uid: u32,
    inode: u32,
}

impl Bound {
    /// Whether nobody else can have this address: `bind(2)` for sockets that do not share.
    fn excludes(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                self.address == address || self.address.is_unspecified() || address.is_unspecified()
            }
            (IpAddr::V6(own), IpAddr::V4(asked)) => match own.to_ipv4_mapped() {
                Some(own) => own == asked || asked.is_unspecified(),
                None => own.is_unspecified() && !self.only_ipv6,
            },
            // A socket of [::] that is made later takes both families unless it is told not to, which ours are.
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

fn sockets(socket: &mut Socket, family: u8, protocol: Protocol) -> Vec<Bound> {
    let states = if protocol == Protocol::Udp { BOUND } else { LISTENING };
    let mut header = [0_u8; 56];
    header[0] = family;
    header[1] = protocol_number(protocol);
    header[4..8].copy_from_slice(&states.to_ne_bytes());
    socket.dump(BY_FAMILY, &header, |_| {}, read).unwrap_or_default()
}

fn read(body: &[u8]) -> Option<Bound> {
    let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
    let source: [u8; 16] = body.get(8..24)?.try_into().ok()?;
    let address = match body.first()? {
        2 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(source.get(..4)?).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(source)),
    };
    Some(Bound {
        address,
        port,
        only_ipv6: find(body, FIXED, ONLY_IPV6) == Some(&[1]),
        uid: number(body, 64)?,
        inode: number(body, 68)?,
    })
}

/// A process that has this socket open.
fn owner(inode: u32) -> Option<i32> {
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find(|pid| {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors
            .into_iter()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(address: &str, only_ipv6: bool) -> Bound {
        Bound { address: address.parse().expect("an address"), port: 80, only_ipv6, uid: 0, inode: 1 }
    }

    #[test]
    fn addresses_exclude_each_other_as_in_bind() {
        for (own, only_ipv6, asked, excludes) in [
            ("127.0.0.1", false, "127.0.0.1", true),
            ("127.0.0.1", false, "127.0.0.2", false),
            ("0.0.0.0", false, "127.0.0.1", true),
            ("127.0.0.1", false, "0.0.0.0", true),
            ("::", false, "0.0.0.0", true),
            ("::", true, "127.0.0.1", false),
            ("::1", false, "127.0.0.1", false),
            ("::ffff:127.0.0.1", false, "127.0.0.1", true),
            ("::ffff:127.0.0.2", false, "127.0.0.1", false),
            ("::", true, "::1", true),
            ("0.0.0.0", false, "::1", false),
        ] {
            let asked_for = asked.parse().expect("an address");
            assert_eq!(bound(own, only_ipv6).excludes(asked_for), excludes, "{own} {asked}");
        }
    }

    #[test]
    fn a_listener_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let holder = holder_of(address.ip(), address.port(), Protocol::Tcp).expect("somebody listens");
        assert_eq!(holder.pid, i32::try_from(std::process::id()).ok());
        assert!(holder.to_string().contains(&std::process::id().to_string()), "{holder}");
        assert_eq!(holder_of(address.ip(), address.port(), Protocol::Udp), None);
        drop(listener);
        assert_eq!(holder_of(address.ip(), address.port(), Protocol::Tcp), None);
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = datagrams.local_addr().expect("an address");
        assert!(holder_of(address.ip(), address.port(), Protocol::Udp).is_some());
    }
}
