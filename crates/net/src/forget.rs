//! Connections of addresses that are free again. Whoever gets such an address next must not get its answers.

use std::net::IpAddr;

use bulkhead_sys::Errno;

use crate::Member;
use crate::error::NetError;
use crate::socket::Socket;
use crate::wire::Writer;

/// Removal of connections (`linux/netfilter/nfnetlink_conntrack.h`).
const DELETE: u16 = 1 << 8 | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const FILTER: u16 = 25;
const NESTED_IP: u16 = 1;
/// Only the source of a tuple is compared.
const BY_SOURCE: u32 = 1;

/// Forgets every connection that began at an address of these, or that it answers. A kernel that cannot do that for one
/// address (before 6.7) is left alone: there they end by their own time.
pub(crate) fn connections(socket: &mut Socket, members: &[Member]) -> Result<(), NetError> {
    let addresses = members.iter().flat_map(|m| [m.v4.map(IpAddr::V4), m.v6.map(IpAddr::V6)]).flatten();
    for address in addresses {
        for (tuple, flags) in [(ORIGINAL, 1), (REPLY, 2)] {
            match forget(socket, address, tuple, flags) {
                Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOENT) => return Ok(()),
                Err(e) => return Err(NetError::kernel("forget the connections of an address")(e)),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

fn forget(socket: &mut Socket, address: IpAddr, tuple: u16, flags: u16) -> Result<(), Errno> {
    let (family, kind, bytes) = match address {
        IpAddr::V4(a) => (2, 1, a.octets().to_vec()),
        IpAddr::V6(a) => (10, 3, a.octets().to_vec()),
    };
    let body = |w: &mut Writer| {
        w.nest(tuple, |w| w.nest(NESTED_IP, |w| w.attribute(kind, &bytes)));
        w.nest(FILTER, |w| w.number(flags, BY_SOURCE));
    };
    socket.ask(DELETE, 0, &[family, 0, 0, 0], body).map_err(|no| no.errno)
}
