//! From port 53 of the resolver's address to where the resolver listens.
//!
//! A socket bound to port 53 would keep a name server in the container from listening there on every address. So the
//! resolver has a port that the kernel chose, and a table of nftables in the container's own namespace rewrites the port of
//! what arrives on its loopback: without connection tracking, and nothing that uses another link ever meets it. A container
//! that may change its network can take it away, and then has no names.

use std::net::Ipv4Addr;

use rustix::net::netlink;

use crate::error::NetError;
use crate::nft::{TABLE, header, kind};
use crate::socket::{ACK, APPEND, CREATE, ERROR, EXCL, REQUEST, Socket, verdict};
use crate::wire::{Writer, messages};

/// `NFPROTO_NETDEV`.
const NETDEV: u8 = 5;
/// Subsystem of nftables, for the marks of a batch.
const SUBSYSTEM: u8 = 10;
const CHAIN: &str = "names";
const DOMAIN: u16 = 53;
/// Header of a packet that an expression looks into.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// Numbers of protocols, and where each has its sum.
const PROTOCOLS: [(u8, u32); 2] = [(6, 16), (17, 6)];

/// `cmp`: the first register is these bytes.
fn equal(w: &mut Writer, bytes: &[u8]) {
    expression(w, "cmp", |w| {
        w.big(1, 1);
        w.big(2, 0);
        w.nest(3, |w| w.attribute(1, bytes));
    });
}

fn expression(w: &mut Writer, name: &str, inside: impl FnOnce(&mut Writer)) {
    w.nest(1, |w| {
        w.text(1, name);
        w.nest(2, inside);
    });
}

/// `meta`: a fact about the packet goes into the first register.
fn meta(w: &mut Writer, key: u32) {
    expression(w, "meta", |w| {
        w.big(1, 1);
        w.big(2, key);
    });
}

/// `payload`: bytes of the packet go into the first register.
fn payload(w: &mut Writer, base: u32, offset: u32, length: u32) {
    expression(w, "payload", |w| {
        w.big(1, 1);
        w.big(2, base);
        w.big(3, offset);
        w.big(4, length);
    });
}

/// One rule: of packets with this address and port, the port becomes another. Both are the destination's, or the source's.
fn rule(w: &mut Writer, address: Ipv4Addr, destination: bool, (protocol, sum): (u8, u32), from: u16, to: u16) {
    let (at_address, at_port) = if destination { (16, 2) } else { (12, 0) };
    // Type of the frame, then the protocol above IP.
    meta(w, 1);
    equal(w, &0x0800_u16.to_be_bytes());
    meta(w, 16);
    equal(w, &[protocol]);
    payload(w, NETWORK, at_address, 4);
    equal(w, &address.octets());
    payload(w, TRANSPORT, at_port, 2);
    equal(w, &from.to_be_bytes());
    expression(w, "immediate", |w| {
        w.big(1, 1);
        w.nest(2, |w| w.attribute(1, &to.to_be_bytes()));
    });
    expression(w, "payload", |w| {
        w.big(5, 1);
        w.big(2, TRANSPORT);
        w.big(3, at_port);
        w.big(4, 2);
        // The sum of the internet protocols, as far as it is not left to the link.
        w.big(6, 1);
        w.big(7, sum);
    });
}

/// Makes the table in the calling thread's network namespace. What comes back keeps the kernel from tidying up now.
pub(super) fn lead(address: Ipv4Addr, port: u16) -> Result<Socket, NetError> {
    let missing = |source| NetError::Missing { what: "speak nftables (CONFIG_NF_TABLES)".to_owned(), source };
    let mut socket = Socket::open(Some(netlink::NETFILTER)).map_err(missing)?;
    let mut writer = Writer::default();
    let first = socket.next();
    writer.begin(kind::BATCH_BEGIN, REQUEST, first, &header(0, SUBSYSTEM));
    writer.end();
    let mut message = |writer: &mut Writer, kind: u16, flags: u16, body: &mut dyn FnMut(&mut Writer)| {
        writer.begin(kind, REQUEST | flags, socket.next(), &header(NETDEV, 0));
        writer.text(1, TABLE);
        body(writer);
        writer.end();
    };
    // There is one when the resolver is another's successor; it must be there to be removed.
    message(&mut writer, kind::NEW_TABLE, CREATE, &mut |_| {});
    message(&mut writer, kind::DEL_TABLE, 0, &mut |_| {});
    message(&mut writer, kind::NEW_TABLE, CREATE | EXCL, &mut |_| {});
    message(&mut writer, kind::NEW_CHAIN, CREATE | EXCL, &mut |w| {
        w.text(3, CHAIN);
        w.nest(4, |w| {
            // Ingress, in the order of its priorities.
            w.big(1, 0);
            w.big(2, 0);
            w.text(3, "lo");
        });
        w.big(5, 1);
        w.text(7, "filter");
    });
    for protocol in PROTOCOLS {
        for (destination, from, to) in [(true, DOMAIN, port), (false, port, DOMAIN)] {
            message(&mut writer, kind::NEW_RULE, CREATE | APPEND, &mut |w| {
                w.text(2, CHAIN);
                w.nest(4, |w| rule(w, address, destination, protocol, from, to));
            });
        }
    }
    writer.flag(ACK);
    let end = socket.next();
    writer.begin(kind::BATCH_END, REQUEST, end, &header(0, SUBSYSTEM));
    writer.end();
    let failed = || "lead questions for names to their resolver (nftables, CONFIG_NETFILTER_INGRESS)".to_owned();
    let bytes = writer.finish().ok_or_else(|| NetError::kernel(failed())(bulkhead_sys::Errno::MSGSIZE))?;
    socket.send(&bytes).map_err(NetError::kernel(failed()))?;
    // Every answer is there when the send returns: refusals of any, or that the last was taken.
    let answers = socket.receive(false).map_err(NetError::kernel(failed()))?;
    for answer in messages(answers).filter(|m| m.kind == ERROR) {
        verdict(&answer).map_err(NetError::refused(failed()))?;
    }
    Ok(socket)
}
