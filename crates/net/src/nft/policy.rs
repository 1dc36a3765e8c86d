//! What a network's policy lets pass between its members, in both tables.
//!
//! Frames from member to member never leave the bridge, so they are judged there, without the kernel's tracking of
//! connections, which bridges have on few kernels. What answers is known by itself: of TCP a segment that opens nothing, of
//! SCTP one that is no INIT, of an echo its reply; and of UDP what was asked for less than [`ASKED_FOR`] ago, or was
//! answered less than [`ANSWERED_FOR`] ago. Both ends are known by their links, which no frame can choose.
//!
//! Packets that come back through the host, by the gateway or a published port, are judged by addresses where the host
//! routes. There the kernel's tracking is asked besides.

use super::expr::*;
use super::model::{Chain, Field, Filled, Leads, Rule, Set};
use super::rules::*;

/// Ports of bridges whose network has no policy.
pub(crate) const UNLIMITED: &str = "unlimited";
/// Bridge and bridge, as [`JOINED`], of a network with a policy.
pub(crate) const LIMITED: &str = "limited";
/// From which port of a bridge to which one may be sent, by protocol and destination port.
pub(crate) const STATED: &str = "stated";
/// The same by addresses.
pub(crate) const STATED4: &str = "stated4";
pub(crate) const STATED6: &str = "stated6";
/// Two ports of a bridge with a flow between them, either way.
pub(crate) const PAIRS: &str = "pairs";
/// Two ports of a bridge, and the addresses in a packet that the first may say it could not take.
pub(crate) const ABOUT4: &str = "about4";
pub(crate) const ABOUT6: &str = "about6";
/// A port of a bridge whose network has a policy, and the address behind it.
pub(crate) const OWNERS4: &str = "owners4";
pub(crate) const OWNERS6: &str = "owners6";
/// All that flows are in, and who has a part in them.
pub(crate) const FLOWS: [&str; 8] = [STATED, STATED4, STATED6, PAIRS, ABOUT4, ABOUT6, OWNERS4, OWNERS6];
/// Two ports of a bridge and two of UDP: the answer that is waited for.
const ASKED: &str = "asked";
/// Packets that no flow allows: source, destination, protocol, port.
pub(crate) const UNSTATED4: &str = "unstated4";
pub(crate) const UNSTATED6: &str = "unstated6";
/// Who was sought by whom without a flow between them: one who finds no neighbour sends no packet.
pub(crate) const SOUGHT4: &str = "sought4";
pub(crate) const SOUGHT6: &str = "sought6";
/// Counter of these.
pub(crate) const REASON: &str = "policy";

/// How long an answer of UDP is waited for, in milliseconds; as the kernel's own tracking does.
const ASKED_FOR: u64 = 30_000;
/// And how long after one another is, which may ask again.
const ANSWERED_FOR: u64 = 180_000;
/// Answers that are waited for at one time, on all networks.
const ASKED_ROOM: u32 = 65_536;

pub(super) const SCTP: u8 = 132;
const SYN_AND_ACK: u8 = 0x12;
const SYN: u8 = 0x02;
/// RFC 9260, section 3.2.
const INIT: u8 = 1;
/// RFC 8200, section 4.5.
const FRAGMENT: u8 = 44;

/// Sets of the table `bridge`.
pub(super) fn frame_sets() -> Vec<Set> {
    let declared = |name, key| Set { name, key, leads: Leads::Nowhere, filled: Filled::Declared };
    vec![
        declared(UNLIMITED, &[Field::Link]),
        Set {
            name: STATED,
            key: &[Field::Link, Field::Link, Field::Protocol, Field::Port],
            leads: Leads::Nowhere,
            filled: Filled::Boxes,
        },
        declared(PAIRS, &[Field::Link, Field::Link]),
        declared(ABOUT4, &[Field::Link, Field::Link, Field::V4, Field::V4]),
        declared(ABOUT6, &[Field::Link, Field::Link, Field::V6, Field::V6]),
        Set {
            name: ASKED,
            key: &[Field::Link, Field::Link, Field::EtherType, Field::Port, Field::Port],
            leads: Leads::Nowhere,
            filled: Filled::Kernel { size: ASKED_ROOM, timeout: ASKED_FOR },
        },
        declared(OWNERS4, &[Field::Link, Field::V4]),
        declared(OWNERS6, &[Field::Link, Field::V6]),
        Set { name: SOUGHT4, key: &[Field::V4, Field::V4], leads: Leads::Nowhere, filled: REMEMBERED },
        Set { name: SOUGHT6, key: &[Field::V6, Field::V6], leads: Leads::Nowhere, filled: REMEMBERED },
        Set { name: UNSTATED4, key: FLOW4, leads: Leads::Nowhere, filled: REMEMBERED },
        Set { name: UNSTATED6, key: FLOW6, leads: Leads::Nowhere, filled: REMEMBERED },
    ]
}

/// Chains of the table `bridge`; one that a rule leads to comes first.
pub(super) fn frame_chains() -> Vec<Chain> {
    let limited = look(&[IN_NAME], UNLIMITED, Found::NoKey);
    let ours = is(IN_GROUP, &PORTS.to_ne_bytes());
    vec![
        chain("drop_policy", unstated()),
        chain("policy", stated()),
        base(
            "forward",
            "filter",
            2,
            // Before the host's packet filter has them, where it has them at all (NF_BR_PRI_BRNF is 0).
            -200,
            vec![rule("a network with a policy", &[&ours, &limited, &then(Verdict::Goto("policy"))])],
        ),
    ]
}

fn unstated() -> Vec<Rule> {
    let remember = |parts: &[Load], set| [key(parts), vec![Expr::Remember { set }]].concat();
    vec![
        rule("", &[&is(ETHER_PROTOCOL, &ETHER_IP4), &remember(&[IP4_SOURCE, IP4_DESTINATION, L4, PORT], UNSTATED4)]),
        rule("", &[&is(ETHER_PROTOCOL, &ETHER_IP6), &remember(&[IP6_SOURCE, IP6_DESTINATION, L4, PORT], UNSTATED6)]),
        rule("", &[&then(Verdict::Drop)]),
    ]
}

fn stated() -> Vec<Rule> {
    let accept = then(Verdict::Accept);
    let there = look(&[IN_NAME, OUT_NAME, L4, PORT], STATED, Found::Key);
    // Sent by whom the flow leads to, from where it leads to.
    let back = look(&[OUT_NAME, IN_NAME, L4, SOURCE_PORT], STATED, Found::Key);
    let pair = look(&[IN_NAME, OUT_NAME], PAIRS, Found::Key);
    let udp = is(L4, &[UDP]);
    let asking = [OUT_NAME, IN_NAME, ETHER_PROTOCOL, PORT, SOURCE_PORT];
    let answering = [IN_NAME, OUT_NAME, ETHER_PROTOCOL, SOURCE_PORT, PORT];
    let keep = |parts: &[Load], timeout| [key(parts), vec![Expr::Refresh { set: ASKED, timeout }]].concat();
    let opens_nothing = masked(TCP_FLAGS, &[SYN_AND_ACK], false, &[SYN]);
    let fragment4 = [is(ETHER_PROTOCOL, &ETHER_IP4), masked(FRAGMENT4, &[0x1f, 0xff], false, &[0; 2])].concat();
    let fragment6 = [
        is(ETHER_PROTOCOL, &ETHER_IP6),
        is(NEXT_HEADER6, &[FRAGMENT]),
        masked(FRAGMENT6, &[0xff, 0xf8], false, &[0; 2]),
    ]
    .concat();
    let arp = is(ETHER_TYPE, &ETHER_ARP);
    let count = vec![Expr::Count(REASON)];
    let sought = |from, to, set| [key(&[from, to]), vec![Expr::Remember { set }]].concat();
    let about4 = look(&[IN_NAME, OUT_NAME, ABOUT4_SOURCE, ABOUT4_DESTINATION], ABOUT4, Found::Key);
    let about6 = look(&[IN_NAME, OUT_NAME, ABOUT6_SOURCE, ABOUT6_DESTINATION], ABOUT6, Found::Key);
    vec![
        // Without room for the answer it is not asked.
        rule("stated flows", &[&udp, &there, &keep(&asking, ASKED_FOR), &accept]),
        rule("stated flows", &[&compare(L4, false, &[UDP]), &there, &accept]),
        rule("answers of TCP", &[&is(L4, &[TCP]), &opens_nothing, &back, &accept]),
        rule(
            "answers of UDP",
            &[&udp, &back, &look(&answering, ASKED, Found::Key), &keep(&answering, ANSWERED_FOR), &accept],
        ),
        rule("answers of SCTP", &[&is(L4, &[SCTP]), &compare(SCTP_CHUNK, false, &[INIT]), &back, &accept]),
        rule("answers of an echo", &[&icmp(ICMP4, 0), &back, &accept]),
        rule("answers of an echo", &[&icmp(ICMP6, 129), &back, &accept]),
        // A first fragment has the ports, and no other is of use without it.
        rule("fragments", &[&udp, &fragment4, &pair, &accept]),
        rule("fragments", &[&udp, &fragment6, &pair, &accept]),
        // Of whatever kind: the addresses in it are those of the two.
        rule("errors about a flow", &[&is(L4, &[ICMP4]), &about4, &accept]),
        rule("errors about a flow", &[&is(L4, &[ICMP6]), &about6, &accept]),
        rule("neighbours", &[&arp, &pair, &accept]),
        rule("neighbours", &[&icmp(ICMP6, 135), &pair, &accept]),
        rule("neighbours", &[&icmp(ICMP6, 136), &pair, &accept]),
        // Everybody is asked who has an address; only the one who has it was meant.
        rule(
            "sought",
            &[&arp, &look(&[OUT_NAME, ARP_TARGET], OWNERS4, Found::Key), &count, &sought(ARP_IP, ARP_TARGET, SOUGHT4)],
        ),
        rule(
            "sought",
            &[
                &icmp(ICMP6, 135),
                &look(&[OUT_NAME, ND_TARGET], OWNERS6, Found::Key),
                &count,
                &sought(IP6_SOURCE, ND_TARGET, SOUGHT6),
            ],
        ),
        rule("others' neighbours", &[&arp, &then(Verdict::Drop)]),
        rule("others' neighbours", &[&icmp(ICMP6, 135), &then(Verdict::Drop)]),
        rule("what no flow allows", &[&counted(REASON, "drop_policy")]),
    ]
}

/// Sets of the table `inet`.
pub(super) fn packet_sets() -> Vec<Set> {
    let boxes = |name, key| Set { name, key, leads: Leads::Nowhere, filled: Filled::Boxes };
    let limited =
        Set { name: LIMITED, key: &[Field::Link, Field::Link], leads: Leads::Nowhere, filled: Filled::Declared };
    vec![limited, boxes(STATED4, FLOW4), boxes(STATED6, FLOW6)]
}

/// Rules for packets that come to the host from a network with a policy and go back there. Frames between its ports come
/// here too where the host sends them through.
pub(super) fn routed() -> Vec<Rule> {
    let accept = then(Verdict::Accept);
    let (v4, v6) = (is(FAMILY, &[IPV4]), is(FAMILY, &[IPV6]));
    let there4 = look(&[IP4_SOURCE, IP4_DESTINATION, L4, PORT], STATED4, Found::Key);
    let there6 = look(&[IP6_SOURCE, IP6_DESTINATION, L4, PORT], STATED6, Found::Key);
    let back4 = look(&[IP4_DESTINATION, IP4_SOURCE, L4, SOURCE_PORT], STATED4, Found::Key);
    let back6 = look(&[IP6_DESTINATION, IP6_SOURCE, L4, SOURCE_PORT], STATED6, Found::Key);
    let answer = any_bit(STATE, ESTABLISHED_RELATED);
    vec![
        rule("stated flows", &[&v4, &there4, &accept]),
        rule("stated flows", &[&v6, &there6, &accept]),
        rule("answers to them", &[&answer, &v4, &back4, &accept]),
        rule("answers to them", &[&answer, &v6, &back6, &accept]),
        rule("errors about a flow", &[&any_bit(STATE, RELATED), &is(L4, &[ICMP4]), &accept]),
        rule("errors about a flow", &[&any_bit(STATE, RELATED), &is(L4, &[ICMP6]), &accept]),
        // Nobody routes them: their hop limit says so (RFC 4861, section 7.1).
        rule("neighbours", &[&icmp(ICMP6, 135), &accept]),
        rule("neighbours", &[&icmp(ICMP6, 136), &accept]),
        rule("what no flow allows", &[&counted("network", "refuse")]),
    ]
}
