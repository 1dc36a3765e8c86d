//! The rules. They are the same for no container and for a thousand: what differs is in sets.
//!
//! Our links are known by their group, not by a list: a packet of a container finds these rules also when a set was emptied
//! behind our back, and is then dropped.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use super::expr::*;
use super::model::{Base, Chain, Family, Field, Filled, Leads, Rule, Set, Table};
use super::{egress, policy};

/// Group of the bridges (`IFLA_GROUP`).
pub(crate) const BRIDGES: u32 = 0x6268_0001;
/// Group of the host's ends of the containers' links.
pub(crate) const PORTS: u32 = 0x6276_0001;

/// Name of a container's link, its link address, its address.
pub(crate) const MEMBERS4: &str = "members4";
pub(crate) const MEMBERS6: &str = "members6";
/// Bridge and bridge between which packets may go: a network whose members know each other, without a policy.
pub(crate) const JOINED: &str = "joined";
/// Bridges with a way out.
pub(crate) const OUTWARD: &str = "outward";
/// Bridges whose packets leave with the host's address.
pub(crate) const MASQUERADED: &str = "masqueraded";
/// Bridge and the host's address on it.
pub(crate) const GATEWAYS4: &str = "gateways4";
pub(crate) const GATEWAYS6: &str = "gateways6";
/// Bridge and member of a network whose members know each other.
pub(crate) const NEIGHBOURS4: &str = "neighbours4";
pub(crate) const NEIGHBOURS6: &str = "neighbours6";
/// Published ports of one address of the host, and of every one.
pub(crate) const PORTS4: &str = "ports4";
pub(crate) const PORTS6: &str = "ports6";
pub(crate) const ANY4: &str = "any4";
pub(crate) const ANY6: &str = "any6";
/// Families in which the host forwards only because we asked it to.
pub(crate) const GUARDED: &str = "guarded";

pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP4: u8 = 1;
pub(super) const ICMP6: u8 = 58;
pub(super) const RELATED: u32 = 4;
pub(super) const ESTABLISHED_RELATED: u32 = 2 | RELATED;
const INVALID: u32 = 1;
const DESTINATION_CHANGED: u32 = 0x20;
/// What the kernel remembers of refused packets is forgotten after an hour.
pub(super) const REMEMBERED: Filled = Filled::Kernel { size: 8192, timeout: 3_600_000 };

/// A flow as sets have it: source, destination, protocol, destination port.
pub(super) const FLOW4: &[Field] = &[Field::V4, Field::V4, Field::Protocol, Field::Port];
pub(super) const FLOW6: &[Field] = &[Field::V6, Field::V6, Field::Protocol, Field::Port];

/// Both tables, which are always the same.
pub(crate) fn tables() -> &'static [Table; 2] {
    static TABLES: LazyLock<[Table; 2]> = LazyLock::new(|| [bridge(), inet()]);
    &TABLES
}

pub(super) fn rule(says: &'static str, parts: &[&[Expr]]) -> Rule {
    Rule { says, expressions: parts.iter().flat_map(|p| p.iter().cloned()).collect() }
}

pub(super) fn chain(name: &'static str, rules: Vec<Rule>) -> Chain {
    Chain { name, base: None, rules }
}

pub(super) fn base(name: &'static str, kind: &'static str, hook: u32, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name, base: Some(Base { kind, hook, priority }), rules }
}

pub(super) fn set(name: &'static str, key: &'static [Field], leads: Leads) -> Set {
    Set { name, key, leads, filled: Filled::Declared }
}

/// Several loads side by side, as a set's key has them.
pub(super) fn key(parts: &[Load]) -> Vec<Expr> {
    let mut to = 0;
    parts
        .iter()
        .map(|what| {
            let here = Expr::Load { what: *what, to };
            to += u32::try_from(what.len().div_ceil(4)).unwrap_or_default();
            here
        })
        .collect()
}

pub(super) fn compare(what: Load, equal: bool, with: &[u8]) -> Vec<Expr> {
    vec![Expr::Load { what, to: 0 }, Expr::Compare { equal, with: with.to_vec() }]
}

pub(super) fn is(what: Load, with: &[u8]) -> Vec<Expr> {
    compare(what, true, with)
}

pub(super) fn masked(what: Load, mask: &[u8], equal: bool, with: &[u8]) -> Vec<Expr> {
    vec![Expr::Load { what, to: 0 }, Expr::Mask { mask: mask.to_vec() }, Expr::Compare { equal, with: with.to_vec() }]
}

/// One of the bits is set.
pub(super) fn any_bit(what: Load, bits: u32) -> Vec<Expr> {
    masked(what, &bits.to_ne_bytes(), false, &[0; 4])
}

pub(super) fn look(parts: &[Load], set: &'static str, found: Found) -> Vec<Expr> {
    let mut all = key(parts);
    all.push(Expr::Lookup { set, found });
    all
}

pub(super) fn then(verdict: Verdict) -> Vec<Expr> {
    vec![Expr::Then(verdict)]
}

/// Counted under this name, then decided in that chain.
pub(super) fn counted(reason: &'static str, chain: &'static str) -> Vec<Expr> {
    vec![Expr::Count(reason), Expr::Then(Verdict::Goto(chain))]
}

pub(super) fn icmp(protocol: u8, kind: u8) -> Vec<Expr> {
    [is(L4, &[protocol]), is(ICMP_TYPE, &[kind])].concat()
}

fn udp_from(port: u16) -> Vec<Expr> {
    [is(L4, &[UDP]), is(SOURCE_PORT, &port.to_be_bytes())].concat()
}

// ---- frames -------------------------------------------------------------------------------------------------------

pub(super) const ETHER_IP4: [u8; 2] = [0x08, 0x00];
pub(super) const ETHER_ARP: [u8; 2] = [0x08, 0x06];
pub(super) const ETHER_IP6: [u8; 2] = [0x86, 0xdd];

/// Why a frame of a container is dropped: the counter, the chain, and the set with the links that did it.
const FRAME_REASONS: [(&str, &str, &str); 6] = [
    ("frame", "drop_frame", "by_frame"),
    ("source", "drop_source", "by_source"),
    ("router", "drop_router", "by_router"),
    ("dhcp", "drop_dhcp", "by_dhcp"),
    ("multicast", "drop_multicast", "by_multicast"),
    ("linklocal", "drop_linklocal", "by_linklocal"),
];

/// Counters of dropped frames, and the sets that say by which link.
pub(crate) fn frame_reasons() -> impl Iterator<Item = (&'static str, &'static str)> {
    FRAME_REASONS.iter().map(|(reason, _, set)| (*reason, *set))
}

fn bridge() -> Table {
    let mut sets = vec![
        set(MEMBERS4, &[Field::Link, Field::Mac, Field::V4], Leads::Nowhere),
        set(MEMBERS6, &[Field::Link, Field::Mac, Field::V6], Leads::Nowhere),
    ];
    let link: &[Field] = &[Field::Link];
    sets.extend(FRAME_REASONS.iter().map(|(_, _, name)| Set {
        name,
        key: link,
        leads: Leads::Nowhere,
        filled: REMEMBERED,
    }));
    sets.extend(policy::frame_sets());
    // Chains that a rule leads to come first.
    let mut chains: Vec<Chain> = FRAME_REASONS
        .iter()
        .map(|(_, name, by)| {
            let remember = [key(&[IN_NAME]), vec![Expr::Remember { set: by }]].concat();
            // Two rules: one that cannot remember any more goes no further.
            chain(name, vec![rule("by which link", &[&remember]), rule("", &[&then(Verdict::Drop)])])
        })
        .collect();
    chains.extend([chain("from_ip4", ip4()), chain("from_arp", arp()), chain("from_ip6", ip6())]);
    chains.push(chain(
        "member",
        vec![
            // As it came: a tag, also one that the link took off, is no type of these (CVE-2025-52890). What there is most of
            // comes first: to compare twice takes a fifth of a look into a map.
            rule("IPv4", &[&is(ETHER_TYPE, &ETHER_IP4), &then(Verdict::Goto("from_ip4"))]),
            rule("IPv6", &[&is(ETHER_TYPE, &ETHER_IP6), &then(Verdict::Goto("from_ip6"))]),
            rule("ARP", &[&is(ETHER_TYPE, &ETHER_ARP), &then(Verdict::Goto("from_arp"))]),
            rule("VLAN tags and all other frames", &[&counted("frame", "drop_frame")]),
        ],
    ));
    let ours = [is(IN_GROUP, &PORTS.to_ne_bytes()), then(Verdict::Goto("member"))].concat();
    chains.push(base("prerouting", "filter", 0, -300, vec![rule("from a container", &[&ours])]));
    chains.extend(policy::frame_chains());
    let counters = FRAME_REASONS.iter().map(|(name, ..)| *name).chain([policy::REASON]).collect();
    Table { family: Family::Bridge, counters, sets, chains }
}

fn group_addressed() -> Vec<Expr> {
    masked(ETHER_DESTINATION, &[1, 0, 0, 0, 0, 0], false, &[0; 6])
}

fn ip4() -> Vec<Rule> {
    let protocol = is(ETHER_PROTOCOL, &ETHER_IP4);
    let foreign = look(&[IN_NAME, ETHER_SOURCE, IP4_SOURCE], MEMBERS4, Found::NoKey);
    vec![
        rule("foreign addresses", &[&protocol, &foreign, &counted("source", "drop_source")]),
        rule("multicast and broadcast", &[&group_addressed(), &counted("multicast", "drop_multicast")]),
        rule("answers of a DHCP server", &[&udp_from(67), &counted("dhcp", "drop_dhcp")]),
        rule("ICMP redirects", &[&icmp(ICMP4, 5), &counted("router", "drop_router")]),
    ]
}

fn arp() -> Vec<Rule> {
    let protocol = is(ETHER_TYPE, &ETHER_ARP);
    let odd = compare(ARP_HEADER, false, &[0, 1, 8, 0, 6, 4]);
    let foreign = look(&[IN_NAME, ETHER_SOURCE, ARP_IP], MEMBERS4, Found::NoKey);
    let liar = look(&[IN_NAME, ARP_MAC, ARP_IP], MEMBERS4, Found::NoKey);
    vec![
        rule("ARP of other kinds", &[&odd, &counted("frame", "drop_frame")]),
        rule("foreign addresses", &[&protocol, &foreign, &counted("source", "drop_source")]),
        rule("answers for others", &[&protocol, &liar, &counted("source", "drop_source")]),
    ]
}

fn ip6() -> Vec<Rule> {
    let protocol = is(ETHER_PROTOCOL, &ETHER_IP6);
    let foreign = look(&[IN_NAME, ETHER_SOURCE, IP6_SOURCE], MEMBERS6, Found::NoKey);
    let liar = look(&[IN_NAME, ETHER_SOURCE, ND_TARGET], MEMBERS6, Found::NoKey);
    let link_local = [[0xff, 0xc0].as_slice(), &[0; 14]].concat();
    let prefix = [[0xfe, 0x80].as_slice(), &[0; 14]].concat();
    vec![
        rule("foreign addresses", &[&protocol, &foreign, &counted("source", "drop_source")]),
        rule("router advertisements", &[&icmp(ICMP6, 134), &counted("router", "drop_router")]),
        rule("ICMP redirects", &[&icmp(ICMP6, 137), &counted("router", "drop_router")]),
        rule("neighbour solicitations", &[&icmp(ICMP6, 135), &then(Verdict::Accept)]),
        rule("answers for others", &[&icmp(ICMP6, 136), &liar, &counted("source", "drop_source")]),
        rule("neighbour advertisements", &[&icmp(ICMP6, 136), &then(Verdict::Accept)]),
        // The kernel of every container says at its start what it listens to; nobody counts that against it.
        rule("listener reports", &[&icmp(ICMP6, 143), &then(Verdict::Drop)]),
        rule("multicast", &[&group_addressed(), &counted("multicast", "drop_multicast")]),
        rule(
            "link-local sources",
            &[&protocol, &masked(IP6_SOURCE, &link_local, true, &prefix), &counted("linklocal", "drop_linklocal")],
        ),
        rule(
            "link-local destinations",
            &[&protocol, &masked(IP6_DESTINATION, &link_local, true, &prefix), &counted("linklocal", "drop_linklocal")],
        ),
        rule("answers of a DHCP server", &[&udp_from(547), &counted("dhcp", "drop_dhcp")]),
    ]
}

// ---- packets ------------------------------------------------------------------------------------------------------

const FORWARD: u32 = 2;
const INPUT: u32 = 1;
const PREROUTING: u32 = 0;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// Why a packet is refused: names of the counters.
pub(crate) const PACKET_REASONS: [&str; 9] =
    ["host", "refused", "network", "internal", egress::REASON, "unpublished", "invalid", "forward", "bypass"];

/// Refused packets: source, destination, protocol, port.
pub(crate) const FLOWS4: &str = "flows4";
pub(crate) const FLOWS6: &str = "flows6";

fn inet() -> Table {
    let sets = inet_sets();
    let any = |keys: &[Load], set, family, words| {
        let lookup = look(keys, set, Found::Value);
        [lookup, vec![Expr::Destination { family, address_words: words }]].concat()
    };
    let ours = |what: Load| is(what, &BRIDGES.to_ne_bytes());
    let (v4, v6) = (is(FAMILY, &[IPV4]), is(FAMILY, &[IPV6]));
    let local = compare(Load::DestinationKind, false, &2_u32.to_ne_bytes());
    let loopback4 = masked(IP4_DESTINATION, &[0xff, 0, 0, 0], true, &[127, 0, 0, 0]);
    let loopback6 = is(IP6_DESTINATION, &Ipv6Addr::LOCALHOST.octets());
    let publish = vec![
        rule("only addresses of the host", &[&local, &then(Verdict::Return)]),
        rule("never loopback", &[&v4, &loopback4, &then(Verdict::Return)]),
        rule("never loopback", &[&v6, &loopback6, &then(Verdict::Return)]),
        rule("ports of one address", &[&v4, &any(&[IP4_DESTINATION, L4, PORT], PORTS4, 2, 1)]),
        rule("ports of every address", &[&v4, &any(&[L4, PORT], ANY4, 2, 1)]),
        rule("ports of one address", &[&v6, &any(&[IP6_DESTINATION, L4, PORT], PORTS6, 10, 4)]),
        rule("ports of every address", &[&v6, &any(&[L4, PORT], ANY6, 10, 4)]),
    ];
    let to_publish = then(Verdict::Jump("publish"));
    let chains = vec![
        chain("record", record()),
        chain("deny", vec![rule("", &[&then(Verdict::Jump("record"))]), rule("", &[&then(Verdict::Drop)])]),
        chain(
            "refuse",
            vec![
                rule("", &[&then(Verdict::Jump("record"))]),
                rule("", &[&is(L4, &[TCP]), &[Expr::Reject { reset: true }]]),
                rule("", &[&[Expr::Reject { reset: false }]]),
            ],
        ),
        chain("routed", policy::routed()),
        chain("between", between()),
        chain("outbound", outbound()),
        chain("inbound", inbound()),
        chain("to_host", to_host()),
        chain("publish", publish),
        base(
            "forward",
            "filter",
            FORWARD,
            0,
            vec![
                rule("from a container", &[&ours(IN_GROUP), &then(Verdict::Goto("outbound"))]),
                rule("to a container", &[&ours(OUT_GROUP), &then(Verdict::Goto("inbound"))]),
                rule(
                    "the host forwards for containers only",
                    &[&look(&[FAMILY], GUARDED, Found::Key), &counted("forward", "deny")],
                ),
            ],
        ),
        base(
            "input",
            "filter",
            INPUT,
            0,
            vec![rule("from a container", &[&ours(IN_GROUP), &then(Verdict::Goto("to_host"))])],
        ),
        // Frames to link-local group addresses (IEEE 802.1D) pass the bridge and its hooks: the host takes them from the port.
        base(
            "ports",
            "filter",
            PREROUTING,
            -300,
            vec![rule("past the bridge", &[&is(IN_GROUP, &PORTS.to_ne_bytes()), &counted("bypass", "deny")])],
        ),
        base("prerouting", "nat", PREROUTING, -100, vec![rule("published ports", &[&to_publish])]),
        base("output", "nat", OUTPUT, -100, vec![rule("published ports", &[&to_publish])]),
        base("postrouting", "nat", POSTROUTING, 100, postrouting()),
    ];
    Table { family: Family::Inet, counters: PACKET_REASONS.to_vec(), sets, chains }
}

fn inet_sets() -> Vec<Set> {
    let mut all = own_inet_sets();
    all.extend(policy::packet_sets());
    all.extend(egress::sets());
    all
}

fn own_inet_sets() -> Vec<Set> {
    let leads4 = Leads::Values(&[Field::V4, Field::Port]);
    let leads6 = Leads::Values(&[Field::V6, Field::Port]);
    let nowhere = Leads::Nowhere;
    vec![
        set(JOINED, &[Field::Link, Field::Link], nowhere),
        set(OUTWARD, &[Field::Link], nowhere),
        set(MASQUERADED, &[Field::Link], nowhere),
        set(GATEWAYS4, &[Field::Link, Field::V4], nowhere),
        set(GATEWAYS6, &[Field::Link, Field::V6], nowhere),
        set(NEIGHBOURS4, &[Field::Link, Field::V4], nowhere),
        set(NEIGHBOURS6, &[Field::Link, Field::V6], nowhere),
        set(PORTS4, &[Field::V4, Field::Protocol, Field::Port], leads4),
        set(ANY4, &[Field::Protocol, Field::Port], leads4),
        set(PORTS6, &[Field::V6, Field::Protocol, Field::Port], leads6),
        set(ANY6, &[Field::Protocol, Field::Port], leads6),
        Set { name: GUARDED, key: &[Field::Family], leads: nowhere, filled: Filled::Host },
        Set { name: "refused4", key: &[Field::V4], leads: nowhere, filled: Filled::Ranges(refused4()) },
        Set { name: "refused6", key: &[Field::V6], leads: nowhere, filled: Filled::Ranges(refused6()) },
        Set { name: FLOWS4, key: FLOW4, leads: nowhere, filled: REMEMBERED },
        Set { name: FLOWS6, key: FLOW6, leads: nowhere, filled: REMEMBERED },
    ]
}

/// From the first address to the one behind the last; nothing behind it is the end of all addresses.
type Ranges = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What no container may send to, whatever its network: this host, loopback, link-local with the metadata services in it,
/// metadata services elsewhere, multicast and what is reserved.
fn refused4() -> Ranges {
    let range = |from: [u8; 4], prefix: u32| {
        let first = u32::from(Ipv4Addr::from(from));
        let behind = first.checked_add(1 << (32 - prefix)).map(|a| a.to_be_bytes().to_vec());
        (from.to_vec(), behind)
    };
    vec![
        range([0, 0, 0, 0], 8),
        range([100, 100, 100, 200], 32),
        range([127, 0, 0, 0], 8),
        range([169, 254, 0, 0], 16),
        range([192, 0, 0, 192], 32),
        range([224, 0, 0, 0], 3),
    ]
}

/// The same of IPv6, with IPv4 in its clothes (RFC 4291, RFC 6052).
fn refused6() -> Ranges {
    let range = |from: [u16; 8], prefix: u32| {
        let first = u128::from(Ipv6Addr::from(from));
        let behind = first.checked_add(1 << (128 - prefix)).map(|a| a.to_be_bytes().to_vec());
        (first.to_be_bytes().to_vec(), behind)
    };
    vec![
        range([0, 0, 0, 0, 0, 0, 0, 0], 80),
        range([0x64, 0xff9b, 0, 0, 0, 0, 0xa9fe, 0], 112),
        // For translation within one network (RFC 8215): where it leads to is not known here.
        range([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
        range([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128),
        range([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128),
        range([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
        range([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        range([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    ]
}

fn record() -> Vec<Rule> {
    let remember = |parts: &[Load], set| [key(parts), vec![Expr::Remember { set }]].concat();
    vec![
        rule("", &[&is(FAMILY, &[IPV4]), &remember(&[IP4_SOURCE, IP4_DESTINATION, L4, PORT], FLOWS4)]),
        rule("", &[&is(FAMILY, &[IPV6]), &remember(&[IP6_SOURCE, IP6_DESTINATION, L4, PORT], FLOWS6)]),
    ]
}

/// From a bridge of ours to one of ours. Frames between ports of one bridge come here too where the host sends them through
/// (`net.bridge.bridge-nf-call-iptables`).
fn between() -> Vec<Rule> {
    let joined = look(&[IN_NAME, OUT_NAME], JOINED, Found::Key);
    let limited = look(&[IN_NAME, OUT_NAME], policy::LIMITED, Found::Key);
    vec![
        rule("members of one network", &[&joined, &then(Verdict::Accept)]),
        rule("and with a policy", &[&limited, &then(Verdict::Goto("routed"))]),
        rule("other networks", &[&counted("network", "refuse")]),
    ]
}

fn outbound() -> Vec<Rule> {
    let mut rules = vec![
        rule("to a container", &[&is(OUT_GROUP, &BRIDGES.to_ne_bytes()), &then(Verdict::Goto("between"))]),
        rule("answers", &[&any_bit(STATE, ESTABLISHED_RELATED), &then(Verdict::Accept)]),
        // They would leave with the container's own address.
        rule("out of no connection", &[&any_bit(STATE, INVALID), &counted("invalid", "deny")]),
        rule(
            "metadata and link-local",
            &[&is(FAMILY, &[IPV4]), &look(&[IP4_DESTINATION], "refused4", Found::Key), &counted("refused", "refuse")],
        ),
        rule(
            "metadata and link-local",
            &[&is(FAMILY, &[IPV6]), &look(&[IP6_DESTINATION], "refused6", Found::Key), &counted("refused", "refuse")],
        ),
        rule("internal networks", &[&look(&[IN_NAME], OUTWARD, Found::NoKey), &counted("internal", "refuse")]),
    ];
    rules.extend(egress::rules());
    rules
}

fn inbound() -> Vec<Rule> {
    vec![
        rule("answers", &[&any_bit(STATE, ESTABLISHED_RELATED), &then(Verdict::Accept)]),
        rule("published ports", &[&any_bit(STATUS, DESTINATION_CHANGED), &then(Verdict::Accept)]),
        rule("what nobody published", &[&counted("unpublished", "deny")]),
    ]
}

fn to_host() -> Vec<Rule> {
    let accept = then(Verdict::Accept);
    let gateway4 = look(&[IN_NAME, IP4_DESTINATION], GATEWAYS4, Found::Key);
    let gateway6 = look(&[IN_NAME, IP6_DESTINATION], GATEWAYS6, Found::Key);
    vec![
        rule("answers", &[&any_bit(STATE, ESTABLISHED_RELATED), &accept]),
        rule("echo of the gateway", &[&is(FAMILY, &[IPV4]), &icmp(ICMP4, 8), &gateway4, &accept]),
        rule("echo of the gateway", &[&is(FAMILY, &[IPV6]), &icmp(ICMP6, 128), &gateway6, &accept]),
        rule("neighbours", &[&icmp(ICMP6, 135), &accept]),
        rule("neighbours", &[&icmp(ICMP6, 136), &accept]),
        rule("the host", &[&counted("host", "refuse")]),
    ]
}

fn postrouting() -> Vec<Rule> {
    let masquerade = [Expr::Masquerade];
    let to_ours = is(OUT_GROUP, &BRIDGES.to_ne_bytes());
    let published = any_bit(STATUS, DESTINATION_CHANGED);
    // Frames that the host sends through the packet filter come here without the link they came by.
    let from4 = [is(FAMILY, &[IPV4]), look(&[OUT_NAME, IP4_SOURCE], NEIGHBOURS4, Found::Key)].concat();
    let from6 = [is(FAMILY, &[IPV6]), look(&[OUT_NAME, IP6_SOURCE], NEIGHBOURS6, Found::Key)].concat();
    vec![
        // Or the answer would go straight to the neighbour, who asked somebody else.
        rule("a published port of a neighbour", &[&to_ours, &published, &from4, &masquerade]),
        rule("a published port of a neighbour", &[&to_ours, &published, &from6, &masquerade]),
        rule(
            "out with the host's address",
            &[
                &is(IN_GROUP, &BRIDGES.to_ne_bytes()),
                &compare(OUT_GROUP, false, &BRIDGES.to_ne_bytes()),
                &look(&[IN_NAME], MASQUERADED, Found::Key),
                &masquerade,
            ],
        ),
    ]
}
