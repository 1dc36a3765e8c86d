//! Links, addresses and routes by rtnetlink (`rtnetlink(7)`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use bulkhead_sys::Errno;

use crate::error::NetError;
use crate::socket::{CREATE, EXCL, REPLACE, Refusal, Socket};
use crate::wire::{Writer, find, number, short, text};
use crate::{Bridge, Member, Subnet, nft::rules};

pub(crate) const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
pub(crate) const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const NEW_NEIGHBOUR: u16 = 28;
const GET_NEIGHBOUR: u16 = 30;

/// Attributes of links (`linux/if_link.h`).
pub(crate) const ADDRESS: u16 = 1;
pub(crate) const NAME: u16 = 3;
pub(crate) const MTU: u16 = 4;
const MASTER: u16 = 10;
pub(crate) const LINK_INFO: u16 = 18;
const ALIAS: u16 = 20;
pub(crate) const GROUP: u16 = 27;
pub(crate) const NAMESPACE_FD: u16 = 28;
const EXTENDED_MASK: u16 = 29;
pub(crate) const KIND: u16 = 1;
pub(crate) const DATA: u16 = 2;
const SLAVE_KIND: u16 = 4;
const SLAVE_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
/// Nobody reads the numbers of packets here.
const SKIP_STATISTICS: u32 = 8;

/// Attributes of a bridge and of its ports.
const BRIDGE_STP: u16 = 5;
const BRIDGE_SNOOPING: u16 = 23;
const PORT_LEARNING: u16 = 8;
const PORT_UNICAST_FLOOD: u16 = 9;
const PORT_ISOLATED: u16 = 33;
const PORT_LOCKED: u16 = 39;

const UP: u32 = 1;
const NO_ARP: u32 = 0x80;
const FIXED: usize = 16;

/// A link of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: String,
    /// A note that anybody may put there.
    pub(crate) alias: String,
    pub(crate) group: u32,
    pub(crate) up: bool,
    /// It neither asks nor answers by ARP.
    pub(crate) silent: bool,
    pub(crate) mtu: u32,
    pub(crate) master: Option<u32>,
    /// As a port of a bridge: isolated from others, takes only the addresses it is told, learns none.
    pub(crate) isolated: bool,
    pub(crate) locked: bool,
}

/// Opens a socket of rtnetlink in the caller's namespace.
pub(crate) fn socket() -> Result<Socket, NetError> {
    Socket::open(None).map_err(NetError::kernel("open a netlink socket"))
}

pub(crate) fn header(index: u32, flags: u32, change: u32) -> [u8; FIXED] {
    let mut header = [0; FIXED];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

fn read(body: &[u8]) -> Option<Link> {
    let attribute = |kind| find(body, FIXED, kind);
    let value = |kind| attribute(kind).and_then(|v| number(v, 0));
    let info = attribute(LINK_INFO).unwrap_or_default();
    let port = find(info, 0, SLAVE_DATA).unwrap_or_default();
    let on = |kind| find(port, 0, kind).is_some_and(|v| v == [1]);
    Some(Link {
        index: number(body, 4)?,
        name: text(attribute(NAME)?),
        kind: find(info, 0, KIND).map(text).unwrap_or_default(),
        alias: attribute(ALIAS).map(text).unwrap_or_default(),
        group: value(GROUP).unwrap_or_default(),
        up: number(body, 8)? & UP != 0,
        silent: number(body, 8)? & NO_ARP != 0,
        mtu: value(MTU).unwrap_or_default(),
        master: value(MASTER),
        isolated: on(PORT_ISOLATED),
        // Unknown to kernels before 5.18, which is no change.
        locked: find(port, 0, PORT_LOCKED).is_none_or(|v| v == [1]) && !on(PORT_LEARNING) && !on(PORT_UNICAST_FLOOD),
    })
}

/// The link with this name.
pub(crate) fn by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetError> {
    let body = |w: &mut Writer| {
        w.text(NAME, name);
        w.number(EXTENDED_MASK, SKIP_STATISTICS);
    };
    socket.get(GET_LINK, &header(0, 0, 0), body, read).map_err(NetError::refused(format!("look up the link {name:?}")))
}

/// Every link of ours: bridges, and the host's ends of containers' links.
pub(crate) fn ours(socket: &mut Socket) -> Result<Vec<Link>, NetError> {
    let mask = |w: &mut Writer| w.number(EXTENDED_MASK, SKIP_STATISTICS);
    let is_ours = |link: &Link| [rules::BRIDGES, rules::PORTS].contains(&link.group);
    socket
        .dump(GET_LINK, &header(0, 0, 0), mask, |body| read(body).filter(is_ours))
        .map_err(NetError::refused("list the links"))
}

/// Makes a bridge, down and without addresses. Its MTU is set afterwards where it is not the usual one: what a bridge is born
/// with follows its ports, and is forgotten with the last of them.
pub(crate) fn make_bridge(socket: &mut Socket, bridge: &Bridge) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, CREATE | EXCL, &header(0, 0, 0), |w| {
        w.text(NAME, &bridge.link);
        w.attribute(ADDRESS, &bridge_mac(&bridge.link));
        w.number(GROUP, rules::BRIDGES);
        w.nest(LINK_INFO, |w| {
            w.text(KIND, "bridge");
            w.nest(DATA, |w| {
                w.number(BRIDGE_STP, 0);
                w.attribute(BRIDGE_SNOOPING, &[0]);
            });
        });
    })
}

/// Link address of a bridge: locally administered, and the same whenever the bridge is made again, so that what neighbours
/// remember stays true. FNV-1a of the name.
fn bridge_mac(name: &str) -> [u8; 6] {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let [_, _, _, a, b, c, d, e] = name.bytes().fold(0xcbf2_9ce4_8422_2325, mix).to_be_bytes();
    [0x02, a, b, c, d, e]
}

/// Makes a pair of links: the host's end as a port of the bridge, the other born in the container's namespace. Both are
/// down.
pub(crate) fn make_pair(
    socket: &mut Socket,
    member: &Member,
    mtu: u32,
    master: u32,
    namespace: BorrowedFd<'_>,
) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, CREATE | EXCL, &header(0, 0, 0), |w| {
        w.text(NAME, &member.host_link);
        w.number(MTU, mtu);
        w.number(GROUP, rules::PORTS);
        w.number(MASTER, master);
        w.nest(LINK_INFO, |w| {
            w.text(KIND, "veth");
            w.nest(DATA, |w| {
                w.nest(VETH_PEER, |w| {
                    w.raw(&header(0, 0, 0));
                    w.text(NAME, &member.inner);
                    w.number(MTU, mtu);
                    w.attribute(ADDRESS, &member.mac);
                    w.number(NAMESPACE_FD, namespace.as_raw_fd().unsigned_abs());
                });
            });
        });
    })
}

/// Sets what a port of a bridge may do, and brings it up. It learns no address and takes none but the one it is told. Frames
/// to link-local group addresses are not the bridge's but come to the host by the port itself, from any address: these teach
/// the bridge nothing, get no answer of ARP, and are otherwise for the firewall to stop.
pub(crate) fn open_port(socket: &mut Socket, index: u32, isolated: bool) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, 0, &header(index, UP | NO_ARP, UP | NO_ARP), |w| {
        w.nest(LINK_INFO, |w| {
            w.text(SLAVE_KIND, "bridge");
            w.nest(SLAVE_DATA, |w| {
                w.attribute(PORT_LEARNING, &[0]);
                w.attribute(PORT_UNICAST_FLOOD, &[0]);
                w.attribute(PORT_ISOLATED, &[u8::from(isolated)]);
                w.attribute(PORT_LOCKED, &[1]);
            });
        });
    })
}

const FAMILY_BRIDGE: u8 = 7;
const STATE_STATIC: u8 = 0x40;

/// Ports of bridges with the link addresses that are pinned to them.
pub(crate) fn pinned(socket: &mut Socket) -> Result<BTreeSet<(u32, [u8; 6])>, NetError> {
    const FLAG_SELF: u8 = 2;
    let read = |body: &[u8]| {
        let state = short(body, 8)?;
        // What the port itself listens to is no entry of the bridge.
        if state != u16::from(STATE_STATIC) || body.get(10)? & FLAG_SELF != 0 {
            return None;
        }
        Some((number(body, 4)?, <[u8; 6]>::try_from(find(body, 12, 2)?).ok()?))
    };
    let header = [FAMILY_BRIDGE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let all = socket.dump(GET_NEIGHBOUR, &header, |_| {}, read);
    Ok(all.map_err(NetError::refused("list the link addresses of bridges"))?.into_iter().collect())
}

/// Tells a bridge which link address is behind a port.
pub(crate) fn pin(socket: &mut Socket, port: u32, mac: [u8; 6]) -> Result<(), Refusal> {
    const FLAG_MASTER: u8 = 4;
    // It stays there, whatever comes by another port.
    const FLAG_STICKY: u8 = 0x40;
    let [a, b, c, d] = port.to_ne_bytes();
    let [low, high] = u16::from(STATE_STATIC).to_ne_bytes();
    let header = [FAMILY_BRIDGE, 0, 0, 0, a, b, c, d, low, high, FLAG_MASTER | FLAG_STICKY, 0];
    socket.ask(NEW_NEIGHBOUR, CREATE | REPLACE, &header, |w| w.attribute(2, &mac))
}

/// Brings a link up.
pub(crate) fn up(socket: &mut Socket, index: u32) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, 0, &header(index, UP, UP), |_| {})
}

/// Sets the largest packet of a link.
pub(crate) fn set_mtu(socket: &mut Socket, index: u32, mtu: u32) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, 0, &header(index, 0, 0), |w| w.number(MTU, mtu))
}

/// Makes a link a port of a bridge.
pub(crate) fn set_master(socket: &mut Socket, index: u32, master: u32) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, 0, &header(index, 0, 0), |w| w.number(MASTER, master))
}

/// Puts a note on a link.
pub(crate) fn set_alias(socket: &mut Socket, index: u32, alias: &str) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, 0, &header(index, 0, 0), |w| w.attribute(ALIAS, alias.as_bytes()))
}

/// Puts a link into a group.
pub(crate) fn set_group(socket: &mut Socket, index: u32, group: u32) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, 0, &header(index, 0, 0), |w| w.number(GROUP, group))
}

/// Removes a link; that takes until every processor has let go of it, tens of milliseconds. One that is gone is no error.
pub(crate) fn remove(socket: &mut Socket, index: u32) -> Result<(), Refusal> {
    gone(socket.ask(DEL_LINK, 0, &header(index, 0, 0), |_| {}))
}

/// Removes every link of a group, which takes as long as one.
pub(crate) fn remove_group(socket: &mut Socket, group: u32) -> Result<(), Refusal> {
    gone(socket.ask(DEL_LINK, 0, &header(0, 0, 0), |w| w.number(GROUP, group)))
}

fn gone(done: Result<(), Refusal>) -> Result<(), Refusal> {
    match done {
        Err(no) if no.errno == Errno::NODEV => Ok(()),
        done => done,
    }
}

/// Family (`AF_INET`, `AF_INET6`) and bytes of an address.
pub(crate) fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(a) => (2, a.octets().to_vec()),
        IpAddr::V6(a) => (10, a.octets().to_vec()),
    }
}

/// Gives a link an address of a subnet. One of IPv6 is used at once: nobody else can have it.
pub(crate) fn add_address(socket: &mut Socket, index: u32, address: IpAddr, subnet: &Subnet) -> Result<(), Refusal> {
    const NO_DUPLICATE_CHECK: u8 = 2;
    let (family, bytes) = octets(address);
    let flags = if address.is_ipv6() { NO_DUPLICATE_CHECK } else { 0 };
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [family, subnet.prefix, flags, 0, a, b, c, d];
    socket.ask(NEW_ADDRESS, CREATE | EXCL, &header, |w| {
        w.attribute(2, &bytes);
        w.attribute(1, &bytes);
        if let Some(broadcast) = broadcast(subnet) {
            w.attribute(4, &broadcast);
        }
    })
}

/// Takes an address from a link.
pub(crate) fn remove_address(socket: &mut Socket, index: u32, address: IpAddr, prefix: u8) -> Result<(), Refusal> {
    let (family, bytes) = octets(address);
    let [a, b, c, d] = index.to_ne_bytes();
    socket.ask(DEL_ADDRESS, 0, &[family, prefix, 0, 0, a, b, c, d], |w| {
        w.attribute(2, &bytes);
        w.attribute(1, &bytes);
    })
}

/// The last address of a subnet that has one to spare.
fn broadcast(subnet: &Subnet) -> Option<[u8; 4]> {
    let IpAddr::V4(first) = subnet.address else { return None };
    let hosts = u32::MAX.checked_shr(subnet.prefix.into()).unwrap_or_default();
    (subnet.prefix < 31).then(|| (u32::from(first) | hosts).to_be_bytes())
}

/// An address of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// Number of its link.
    pub(crate) link: u32,
    pub(crate) address: IpAddr,
    /// The one at the other end, where the link has just one neighbour; else the same.
    pub(crate) other: IpAddr,
    pub(crate) prefix: u8,
}

/// Every address of every link.
pub(crate) fn all_addresses(socket: &mut Socket) -> Result<Vec<Address>, NetError> {
    let read = |body: &[u8]| {
        let family = *body.first()?;
        let address = |bytes: &[u8]| match family {
            2 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
            10 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            _ => None,
        };
        let own = find(body, 8, 2).or_else(|| find(body, 8, 1)).and_then(address)?;
        let other = find(body, 8, 1).and_then(address).unwrap_or(own);
        Some(Address { link: number(body, 4)?, address: own, other, prefix: *body.get(1)? })
    };
    socket.dump(GET_ADDRESS, &[0; 8], |_| {}, read).map_err(NetError::refused("list the addresses"))
}

/// Name of the link with this number.
pub(crate) fn name_of(socket: &mut Socket, index: u32) -> Result<Option<String>, NetError> {
    socket
        .get(
            GET_LINK,
            &header(index, 0, 0),
            |w| w.number(EXTENDED_MASK, SKIP_STATISTICS),
            |body| read(body).map(|l| l.name),
        )
        .map_err(NetError::refused("look up a link"))
}

/// Sends everything that has no other way through a gateway; or straight by the link, in the family of that address.
pub(crate) fn add_default_route(
    socket: &mut Socket,
    index: u32,
    gateway: IpAddr,
    through: bool,
) -> Result<(), Refusal> {
    const TABLE_MAIN: u8 = 254;
    const BY_ADMINISTRATOR: u8 = 4;
    const UNICAST: u8 = 1;
    let (family, bytes) = octets(gateway);
    const SCOPE_LINK: u8 = 253;
    // Of IPv6 the kernel knows no scopes.
    let scope = if through || gateway.is_ipv6() { 0 } else { SCOPE_LINK };
    let header = [family, 0, 0, 0, TABLE_MAIN, BY_ADMINISTRATOR, scope, UNICAST, 0, 0, 0, 0];
    socket.ask(NEW_ROUTE, CREATE | EXCL, &header, |w| {
        if through {
            w.attribute(5, &bytes);
        }
        w.number(4, index);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_is_for_broadcast() {
        let subnet = |address: &str, prefix| Subnet {
            address: address.parse().expect("an address"),
            prefix,
            gateway: "10.0.0.1".parse().expect("an address"),
        };
        assert_eq!(broadcast(&subnet("10.1.2.0", 24)), Some([10, 1, 2, 255]));
        assert_eq!(broadcast(&subnet("10.0.0.0", 8)), Some([10, 255, 255, 255]));
        assert_eq!(broadcast(&subnet("0.0.0.0", 0)), Some([255; 4]));
        assert_eq!(broadcast(&subnet("10.1.2.0", 31)), None);
        assert_eq!(broadcast(&subnet("10.1.2.0", 32)), None);
        assert_eq!(broadcast(&subnet("fd00::", 64)), None);
    }

    #[test]
    fn a_bridge_has_one_unicast_address_of_its_own() {
        let (one, other) = (bridge_mac("bh-0123456789ab"), bridge_mac("bh-0123456789ac"));
        assert_eq!(one, bridge_mac("bh-0123456789ab"));
        assert_ne!(one, other);
        assert_eq!(one[0], 2);
    }
}
