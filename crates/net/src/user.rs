//! The network namespace of an ordinary user, in which the networks of his containers are: what it has beside them.
//!
//! Its way out is a program of the user's that carries packets between a link there and sockets of the host. To the host
//! these are its own, so every address of the host would be within reach. The namespace has the same addresses itself:
//! what is sent to one arrives there, at the wall that refuses what a container asks of its host.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};

use crate::error::NetError;
use crate::link::{self, Address};
use crate::socket::Socket;
use crate::{Bridge, Subnet, bridge, check, procfs, sysctl};

/// Name of the link that leads out.
pub const WAY_OUT: &str = "out0";
/// Number of the loopback link in every namespace.
const LOOPBACK: u32 = 1;

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Addresses that belong to one host only: neither loopback's, which are everybody's own, nor a link's.
fn is_of_a_host(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local() && !a.is_unspecified(),
    }
}

/// Every address of the caller's network namespace that somebody else could reach, in order.
///
/// # Errors
/// What cannot be read.
pub fn addresses() -> Result<Vec<IpAddr>, NetError> {
    let all = link::all_addresses(&mut link::socket()?)?;
    let mut found: Vec<IpAddr> = all.into_iter().map(|a| a.address).filter(is_of_a_host).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Makes a new network namespace ready for networks: loopback, and forwarding of IPv6, which is nobody else's to decide
/// here. Forwarding of IPv4 comes with the first network, guarded.
///
/// # Errors
/// What the kernel refuses.
pub fn prepare() -> Result<(), NetError> {
    bulkhead_sys::net::loopback_up().map_err(NetError::kernel("bring up the loopback link"))?;
    let proc = procfs()?;
    if sysctl::has_ipv6(&proc) {
        sysctl::set(&proc, "ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// Addresses that the namespace holds so.
fn held(all: &[Address]) -> impl Iterator<Item = IpAddr> {
    let alone = |a: &&Address| a.link == LOOPBACK && a.prefix == width(a.address) && is_of_a_host(&a.address);
    all.iter().filter(alone).map(|a| a.address)
}

/// Gives the namespace these addresses on loopback, and takes away others that it had there. Those of its own networks are
/// left out: what is sent to one gets to the network, and no further.
///
/// # Errors
/// What the kernel refuses.
pub fn hold(wanted: &[IpAddr]) -> Result<(), NetError> {
    let mut socket = link::socket()?;
    let all = link::all_addresses(&mut socket)?;
    let bridges: Vec<u32> = link::ours(&mut socket)?.into_iter().map(|l| l.index).collect();
    let own: Vec<&Address> = all.iter().filter(|a| bridges.contains(&a.link)).collect();
    let elsewhere = |a: &&IpAddr| !own.iter().any(|o| check::overlap((**a, width(**a)), (o.address, o.prefix)));
    let wanted: Vec<IpAddr> = wanted.iter().filter(elsewhere).copied().collect();
    let have: Vec<IpAddr> = held(&all).collect();
    let mut failed = Ok(());
    for address in wanted.iter().filter(|a| !have.contains(a)) {
        let alone = Subnet { address: *address, prefix: width(*address), gateway: *address };
        match link::add_address(&mut socket, LOOPBACK, *address, &alone) {
            Err(no) if no.errno != Errno::EXIST => {
                // The others are held all the same.
                failed = failed.and(Err(NetError::refused(format!("hold the host's address {address}"))(no)));
            }
            _ => {}
        }
    }
    failed?;
    have.iter().filter(|a| !wanted.contains(a)).try_for_each(|a| let_go(&mut socket, *a))
}

fn let_go(socket: &mut Socket, address: IpAddr) -> Result<(), NetError> {
    match link::remove_address(socket, LOOPBACK, address, width(address)) {
        Err(no) if no.errno != Errno::ADDRNOTAVAIL => {
            Err(NetError::refused(format!("let go of the address {address}"))(no))
        }
        _ => Ok(()),
    }
}

/// In a user's network: lets go of addresses that a network there is to have. On the host nothing is anybody's to take.
pub(crate) fn make_room(socket: &mut Socket, bridge: &Bridge) -> Result<(), NetError> {
    if is_of_the_host() {
        return Ok(());
    }
    let all = link::all_addresses(socket)?;
    let mine = |a: &IpAddr| bridge::subnets(bridge).any(|s| check::overlap((*a, width(*a)), (s.address, s.prefix)));
    held(&all).filter(mine).try_for_each(|a| let_go(socket, a))
}

/// Whether the caller is in the first user namespace, where every id is mapped.
fn is_of_the_host() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("4294967295")
}

/// Whether the caller's network namespace has a default route by the link [`WAY_OUT`].
#[must_use]
pub fn leads_out() -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    is_default_v4(&read("route")) || is_default_v6(&read("ipv6_route"))
}

fn is_default_v4(text: &str) -> bool {
    let by = |line: &str| line.split_whitespace().take(2).eq([WAY_OUT, "00000000"]);
    text.lines().any(by)
}

fn is_default_v6(text: &str) -> bool {
    let zero = "0".repeat(32);
    let by = |line: &str| {
        line.split_whitespace().take(2).eq([zero.as_str(), "00"]) && line.split_whitespace().last() == Some(WAY_OUT)
    };
    text.lines().any(by)
}

/// Can be read when addresses or routes of the namespace that it was made in have changed.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Changes {
    /// Of the caller's network namespace.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new() -> Result<Self, NetError> {
        /// `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE` (`rtnetlink(7)`).
        const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;
        let failed = || NetError::kernel("listen to changes of the host's addresses");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).map_err(failed())?;
        rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, GROUPS)).map_err(failed())?;
        Ok(Self(fd))
    }

    /// Forgets what has arrived.
    pub fn drain(&self) {
        let mut buffer = [0_u8; 4096];
        // What did not fit says that there was more, and that is all there is to know.
        while !matches!(rustix::net::recv(&self.0, &mut buffer, RecvFlags::empty()), Err(Errno::AGAIN)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_is_a_default_route_by_its_link() {
        let head = "Iface\tDestination\tGateway\n";
        assert!(is_default_v4(&format!("{head}out0\t00000000\t020200C0\t0003\n")));
        assert!(!is_default_v4(&format!("{head}eth0\t00000000\t020200C0\nout0\t000200C0\t00000000\n")));
        let zero = "0".repeat(32);
        assert!(is_default_v6(&format!("{zero} 00 {zero} 00 fe80 0 0 0 0003 out0\n")));
        assert!(!is_default_v6(&format!("{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n")));
        assert!(!is_default_v6(&format!("{zero} 40 {zero} 00 {zero} 1 1 0 0001 out0\n")));
    }

    #[test]
    fn loopback_and_links_are_nobodys_way_to_the_host() {
        let of_a_host = |text: &str| is_of_a_host(&text.parse().expect("an address"));
        assert!(of_a_host("192.0.2.1") && of_a_host("fd00::1") && of_a_host("172.17.0.1"));
        assert!(!of_a_host("127.0.0.5") && !of_a_host("::1") && !of_a_host("fe80::1") && !of_a_host("169.254.1.1"));
    }
}
