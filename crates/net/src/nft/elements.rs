//! What is declared, as elements of sets. Pure.

use std::net::IpAddr;

use super::model::{Element, Family, Value};
use super::{flows, policy, rules};
use crate::{Bridge, Declared, Member, Port, Protocol};

/// An element and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Placed {
    pub(crate) family: Family,
    pub(crate) set: &'static str,
    pub(crate) element: Element,
}

/// An element that is one key.
pub(super) fn placed(family: Family, set: &'static str, key: Vec<u8>, value: Value) -> Placed {
    Placed { family, set, element: Element::new(key, value) }
}

/// Bytes of a field among several: whole words.
pub(super) fn word(bytes: &[u8]) -> Vec<u8> {
    let mut word = bytes.to_vec();
    word.resize(bytes.len().next_multiple_of(4), 0);
    word
}

/// Name of a link as a register holds it.
pub(super) fn link(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// Bytes of an address.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Address that a link has by its own: RFC 4291, appendix A.
pub(crate) fn link_local(mac: [u8; 6]) -> [u8; 16] {
    let [a, b, c, d, e, f] = mac;
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

/// Everything that is declared, each once, in order.
pub(crate) fn all(declared: &Declared) -> Vec<Placed> {
    let bridges = declared.bridges.iter().flat_map(of_bridge);
    let members = declared.members.iter().flat_map(of_member);
    let policies = declared.bridges.iter().flat_map(flows::of_policy);
    let ports = declared.ports.iter().map(of_port);
    let mut all: Vec<Placed> = bridges.chain(policies).chain(members).chain(ports).collect();
    all.sort();
    all.dedup();
    all
}

/// What a network is allowed.
pub(crate) fn of_bridge(bridge: &Bridge) -> Vec<Placed> {
    let name = link(&bridge.link);
    let here = |set, key| placed(Family::Inet, set, key, Value::Nothing);
    let mut all = Vec::new();
    if !bridge.isolated {
        let set = if bridge.policy.is_none() { rules::JOINED } else { policy::LIMITED };
        all.push(here(set, [name.clone(), name.clone()].concat()));
    }
    if !bridge.internal {
        all.push(here(rules::OUTWARD, name.clone()));
    }
    if bridge.masquerade && !bridge.internal {
        all.push(here(rules::MASQUERADED, name.clone()));
    }
    for (subnet, set) in [(&bridge.v4, rules::GATEWAYS4), (&bridge.v6, rules::GATEWAYS6)] {
        all.extend(subnet.as_ref().map(|s| here(set, [name.clone(), octets(s.gateway)].concat())));
    }
    all
}

/// What a container may call itself, and what it reaches by itself.
pub(crate) fn of_member(member: &Member) -> Vec<Placed> {
    let port = [link(&member.host_link), word(&member.mac)].concat();
    let here = |set, address: &[u8]| placed(Family::Bridge, set, [&port[..], address].concat(), Value::Nothing);
    let mut all = Vec::new();
    let neighbour =
        |set, address: &[u8]| placed(Family::Inet, set, [&link(&member.bridge)[..], address].concat(), Value::Nothing);
    if let Some(address) = member.v4 {
        all.push(here(rules::MEMBERS4, &address.octets()));
        all.push(neighbour(rules::NEIGHBOURS4, &address.octets()));
    }
    if let Some(address) = member.v6 {
        all.push(neighbour(rules::NEIGHBOURS6, &address.octets()));
        all.push(here(rules::MEMBERS6, &address.octets()));
        all.push(here(rules::MEMBERS6, &link_local(member.mac)));
    }
    if member.limited {
        let own = |address: &[u8]| [&link(&member.host_link)[..], address].concat();
        let v4 = member.v4.map(|a| placed(Family::Bridge, policy::OWNERS4, own(&a.octets()), Value::Nothing));
        let v6 = member.v6.map(|a| placed(Family::Bridge, policy::OWNERS6, own(&a.octets()), Value::Nothing));
        all.extend(v4.into_iter().chain(v6));
    } else {
        all.push(placed(Family::Bridge, policy::UNLIMITED, link(&member.host_link), Value::Nothing));
    }
    all.extend(flows::of_egress(&member.bridge, member.v4, member.v6, member.egress.as_deref()));
    all
}

/// `IPPROTO_*`.
pub(crate) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// Where a published port leads.
pub(crate) fn of_port(port: &Port) -> Placed {
    let tail = [word(&[number(port.protocol)]), word(&port.port.to_be_bytes())].concat();
    let value = Value::Bytes([octets(port.to), word(&port.inner.to_be_bytes())].concat());
    let (set, key) = match (port.address, port.address.is_unspecified()) {
        (IpAddr::V4(_), true) => (rules::ANY4, tail),
        (IpAddr::V6(_), true) => (rules::ANY6, tail),
        (IpAddr::V4(a), false) => (rules::PORTS4, [&a.octets()[..], &tail].concat()),
        (IpAddr::V6(a), false) => (rules::PORTS6, [&a.octets()[..], &tail].concat()),
    };
    placed(Family::Inet, set, key, value)
}
