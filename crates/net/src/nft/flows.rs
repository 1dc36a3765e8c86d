//! Flows and what is reached outside, as elements of sets. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::elements::{Placed, link, number, octets, placed, word};
use super::model::{Element, Family, Value};
use super::rules::{ICMP4, ICMP6};
use super::{egress, policy};
use crate::boxes::{Span, disjoint};
use crate::{Bridge, End, Flow, Reach, Traffic};

const ALL_PROTOCOLS: Span = (0, 255);
const ALL_PORTS: Span = (0, 65_535);

/// Protocols and ports. `icmp` are the protocols of that name.
fn spans(traffic: Traffic, icmp: &[u8]) -> Vec<[Span; 2]> {
    let one = |protocol: u8| (u128::from(protocol), u128::from(protocol));
    match traffic {
        Traffic::Any => vec![[ALL_PROTOCOLS, ALL_PORTS]],
        Traffic::Icmp => icmp.iter().map(|protocol| [one(*protocol), ALL_PORTS]).collect(),
        Traffic::Ports { protocol, first, last } => {
            vec![[one(number(protocol)), (u128::from(first), u128::from(last))]]
        }
    }
}

/// The last bytes of a number, as many as a field has.
fn bytes(value: u128, length: usize) -> Vec<u8> {
    let all = value.to_be_bytes();
    all.get(all.len().saturating_sub(length)..).map(<[u8]>::to_vec).unwrap_or_default()
}

/// Protocol and port as the end of a key has them.
fn tail(protocol: u128, port: u128) -> Vec<u8> {
    [word(&bytes(protocol, 1)), word(&bytes(port, 2))].concat()
}

/// An element from the beginnings of its first and its last key and a box of protocols and ports.
fn boxed(family: Family, set: &'static str, heads: (&[u8], &[u8]), rest: [Span; 2]) -> Placed {
    let [protocol, port] = rest;
    let key = [heads.0, &tail(protocol.0, port.0)].concat();
    let end = [heads.1, &tail(protocol.1, port.1)].concat();
    Placed { family, set, element: Element { key, end: Some(end), value: Value::Nothing } }
}

/// What a network's policy lets pass, where it has one.
pub(crate) fn of_policy(bridge: &Bridge) -> Vec<Placed> {
    let mut pairs: BTreeMap<(&End, &End), Vec<Traffic>> = BTreeMap::new();
    for Flow { from, to, traffic } in bridge.policy.iter().flatten() {
        pairs.entry((from, to)).or_default().push(*traffic);
    }
    let mut all: Vec<Placed> = pairs.iter().flat_map(|((from, to), traffic)| one_way(from, to, traffic)).collect();
    for (from, to) in pairs.keys() {
        all.extend(both_ways(from, to));
        all.extend(both_ways(to, from));
    }
    all.sort();
    all.dedup();
    all
}

fn one_way(from: &End, to: &End, traffic: &[Traffic]) -> Vec<Placed> {
    let of = |icmp: &[u8]| disjoint(traffic.iter().flat_map(|t| spans(*t, icmp)));
    let mut all = Vec::new();
    let head = [link(&from.link), link(&to.link)].concat();
    all.extend(of(&[ICMP4, ICMP6]).into_iter().map(|b| boxed(Family::Bridge, policy::STATED, (&head, &head), b)));
    if let (Some(from), Some(to)) = (from.v4, to.v4) {
        let head = [from.octets(), to.octets()].concat();
        all.extend(of(&[ICMP4]).into_iter().map(|b| boxed(Family::Inet, policy::STATED4, (&head, &head), b)));
    }
    if let (Some(from), Some(to)) = (from.v6, to.v6) {
        let head = [from.octets(), to.octets()].concat();
        all.extend(of(&[ICMP6]).into_iter().map(|b| boxed(Family::Inet, policy::STATED6, (&head, &head), b)));
    }
    all
}

/// What two members with a flow between them say to each other besides.
fn both_ways(one: &End, other: &End) -> Vec<Placed> {
    let head = [link(&one.link), link(&other.link)].concat();
    let mut all = vec![placed(Family::Bridge, policy::PAIRS, head.clone(), Value::Nothing)];
    // What one complains about came from the other.
    if let (Some(own), Some(theirs)) = (one.v4, other.v4) {
        let key = [&head[..], &theirs.octets(), &own.octets()].concat();
        all.push(placed(Family::Bridge, policy::ABOUT4, key, Value::Nothing));
    }
    if let (Some(own), Some(theirs)) = (one.v6, other.v6) {
        let key = [&head[..], &theirs.octets(), &own.octets()].concat();
        all.push(placed(Family::Bridge, policy::ABOUT6, key, Value::Nothing));
    }
    all
}

/// What a member with these addresses reaches outside. Without a list that is everything.
pub(crate) fn of_egress(
    bridge: &str,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    list: Option<&[Reach]>,
) -> Vec<Placed> {
    let own = v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6));
    let of_own = |own: IpAddr| match list {
        None => {
            let set = if own.is_ipv4() { egress::FREE4 } else { egress::FREE6 };
            vec![placed(Family::Inet, set, [link(bridge), octets(own)].concat(), Value::Nothing)]
        }
        Some(list) => {
            let set = if own.is_ipv4() { egress::EGRESS4 } else { egress::EGRESS6 };
            reached(set, own, list)
        }
    };
    own.flat_map(of_own).collect()
}

/// A list as a member with this address has it.
fn reached(set: &'static str, own: IpAddr, list: &[Reach]) -> Vec<Placed> {
    let (icmp, length) = if own.is_ipv4() { (ICMP4, 4) } else { (ICMP6, 16) };
    let same = list.iter().filter(|reach| reach.address.is_ipv4() == own.is_ipv4());
    let boxes = same.flat_map(|reach| {
        let block = block(reach.address, reach.prefix);
        spans(reach.traffic, &[icmp]).into_iter().map(move |[protocol, port]| [block, protocol, port])
    });
    disjoint(boxes)
        .into_iter()
        .map(|[block, protocol, port]| {
            let head = |address: u128| [octets(own), bytes(address, length)].concat();
            boxed(Family::Inet, set, (&head(block.0), &head(block.1)), [protocol, port])
        })
        .collect()
}

/// The first and the last address of a block.
fn block(address: IpAddr, prefix: u8) -> Span {
    let (first, bits) = match address {
        IpAddr::V4(a) => (u128::from(a.to_bits()), 32_u32),
        IpAddr::V6(a) => (a.to_bits(), 128),
    };
    let behind = bits.saturating_sub(u32::from(prefix));
    let ones = 1_u128.checked_shl(behind).map_or(u128::MAX, |one| one - 1);
    (first & !ones, first | ones)
}

/// One address outside that a member reaches because of its name.
pub(crate) fn of_pin(own: IpAddr, to: IpAddr, traffic: Traffic) -> Vec<Placed> {
    let (set, icmp) = if own.is_ipv4() { (egress::PINNED4, ICMP4) } else { (egress::PINNED6, ICMP6) };
    if own.is_ipv4() != to.is_ipv4() {
        return Vec::new();
    }
    let head = [octets(own), octets(to)].concat();
    spans(traffic, &[icmp]).into_iter().map(|rest| boxed(Family::Inet, set, (&head, &head), rest)).collect()
}

/// The address of a member, from the element that says which network it is of.
pub(crate) fn neighbour(placed: &Placed) -> Option<IpAddr> {
    let address = placed.element.key.get(16..)?;
    match placed.set {
        super::rules::NEIGHBOURS4 => <[u8; 4]>::try_from(address).ok().map(IpAddr::from),
        super::rules::NEIGHBOURS6 => <[u8; 16]>::try_from(address).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether it depends on what a network's policy is.
pub(crate) fn is_of_policy(placed: &Placed) -> bool {
    let set = placed.set;
    policy::FLOWS.contains(&set) || [policy::UNLIMITED, policy::LIMITED, super::rules::JOINED].contains(&set)
}

/// Whether an element is about one of these links or addresses: what it says of them is for whoever declares them.
pub(crate) fn concerns(placed: &Placed, links: &[&str], bridges: &[&str], addresses: &[IpAddr]) -> bool {
    use super::rules::{GATEWAYS4, GATEWAYS6, JOINED, MASQUERADED, MEMBERS4, MEMBERS6, OUTWARD};
    let key = placed.element.key.as_slice();
    let name = |at: usize, known: &[&str]| {
        key.get(at..at + 16).map(crate::wire::text).is_some_and(|name| known.contains(&name.as_str()))
    };
    let address = |at: usize, length: usize| {
        key.get(at..at + length).is_some_and(|bytes| addresses.iter().any(|a| octets(*a) == bytes))
    };
    match placed.set {
        MEMBERS4 | MEMBERS6 | policy::UNLIMITED | policy::OWNERS4 | policy::OWNERS6 => name(0, links),
        policy::STATED | policy::PAIRS | policy::ABOUT4 | policy::ABOUT6 => name(0, links) || name(16, links),
        JOINED | policy::LIMITED | OUTWARD | MASQUERADED | GATEWAYS4 | GATEWAYS6 => name(0, bridges),
        policy::STATED4 => address(0, 4) || address(4, 4),
        policy::STATED6 => address(0, 16) || address(16, 16),
        egress::FREE4 => address(16, 4),
        egress::FREE6 => address(16, 16),
        egress::EGRESS4 => address(0, 4),
        egress::EGRESS6 => address(0, 16),
        _ => false,
    }
}
