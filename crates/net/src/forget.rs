//! Connections that the kernel remembers and that are over: of addresses that are free again, whose next owner must not get
//! their answers, and of ports that lead to a container now.

use std::net::IpAddr;

use bulkhead_sys::Errno;

use crate::error::NetError;
use crate::nft::elements::number;
use crate::socket::Socket;
use crate::wire::Writer;
use crate::{Member, Port, Protocol, link};

/// Removal of connections (`linux/netfilter/nfnetlink_conntrack.h`).
const DELETE: u16 = 1 << 8 | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const FILTER: u16 = 25;
const NESTED_IP: u16 = 1;
const SOURCE4: u16 = 1;
const DESTINATION4: u16 = 2;
const SOURCE6: u16 = 3;
const DESTINATION6: u16 = 4;
/// Only the source of a tuple is compared.
const BY_SOURCE: u32 = 1;

/// Its protocol, and the address and the port that it goes to.
const BY_DESTINATION: u32 = 1 << 1 | 1 << 3 | 1 << 5;
const NESTED_PROTOCOL: u16 = 2;

/// Forgets every connection that began at an address of these, or that it answers. A kernel that cannot do that for one
/// address (before 6.7) is left alone: there they end by their own time.
pub(crate) fn connections(socket: &mut Socket, members: &[Member]) -> Result<(), NetError> {
    let addresses = members.iter().flat_map(|m| [m.v4.map(IpAddr::V4), m.v6.map(IpAddr::V6)]).flatten();
    for address in addresses {
        let (family, bytes) = link::octets(address);
        let kind = if address.is_ipv4() { SOURCE4 } else { SOURCE6 };
        for (tuple, flags) in [(ORIGINAL, 1), (REPLY, 2)] {
            let body = |w: &mut Writer| {
                w.nest(tuple, |w| w.nest(NESTED_IP, |w| w.attribute(kind, &bytes)));
                w.nest(FILTER, |w| w.number(flags, BY_SOURCE));
            };
            if !forget(socket, family, body)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Forgets what clients of UDP sent to ports of the host before these led to a container: a client that goes on from the
/// same port of its own would never be led there. What goes to the same port of somebody else stays.
pub(crate) fn strays(socket: &mut Socket, ports: &[Port]) -> Result<(), NetError> {
    let datagrams: Vec<&Port> = ports.iter().filter(|p| p.protocol == Protocol::Udp).collect();
    let own: Vec<IpAddr> = if datagrams.iter().any(|p| p.address.is_unspecified()) {
        let all = link::all_addresses(&mut link::socket()?)?;
        all.into_iter().map(|a| a.address).filter(|a| !a.is_loopback()).collect()
    } else {
        Vec::new()
    };
    for port in datagrams {
        let every = own.iter().filter(|a| port.address.is_unspecified() && a.is_ipv4() == port.address.is_ipv4());
        let one = (!port.address.is_unspecified()).then_some(&port.address);
        for address in every.chain(one) {
            if !stray(socket, port, *address)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn stray(socket: &mut Socket, port: &Port, to: IpAddr) -> Result<bool, NetError> {
    let (family, bytes) = link::octets(to);
    let kind = if to.is_ipv4() { DESTINATION4 } else { DESTINATION6 };
    forget(socket, family, |w| {
        w.nest(ORIGINAL, |w| {
            w.nest(NESTED_IP, |w| w.attribute(kind, &bytes));
            w.nest(NESTED_PROTOCOL, |w| {
                w.attribute(1, &[number(port.protocol)]);
                w.attribute(3, &port.port.to_be_bytes());
            });
        });
        w.nest(FILTER, |w| w.number(1, BY_DESTINATION));
    })
}

/// Whether the kernel can do it.
fn forget(socket: &mut Socket, family: u8, body: impl FnOnce(&mut Writer)) -> Result<bool, NetError> {
    match socket.ask(DELETE, 0, &[family, 0, 0, 0], body).map_err(|no| no.errno) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOENT) => Ok(false),
        Err(e) => Err(NetError::kernel("forget connections that are over")(e)),
    }
}
