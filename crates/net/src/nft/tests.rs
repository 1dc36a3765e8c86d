//! The rules and elements as data, without a kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_sys::Errno;

use super::batch::{Refused, comment};
use super::elements::{self, Placed};
use super::expr::{Expr, Verdict};
use super::flows;
use super::model::{Field, Filled, Leads, Value, length, shown_as};
use super::rules::{self, tables};
use crate::socket::Refusal;
use crate::{Bridge, Declared, End, Flow, Member, Port, Protocol, Reach, Subnet, Traffic};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn network() -> Bridge {
    Bridge {
        link: "bh-1".to_owned(),
        v4: Some(Subnet { address: ip("10.1.0.0"), prefix: 24, gateway: ip("10.1.0.1") }),
        v6: Some(Subnet { address: ip("fd00::"), prefix: 64, gateway: ip("fd00::1") }),
        mtu: 1500,
        internal: false,
        isolated: false,
        masquerade: true,
        policy: None,
    }
}

fn container() -> Member {
    Member {
        bridge: "bh-1".to_owned(),
        host_link: "bv1".to_owned(),
        inner: "eth0".to_owned(),
        mac: [2, 0, 0, 0, 0, 9],
        v4: "10.1.0.9".parse().ok(),
        v6: "fd00::9".parse().ok(),
        default_route: true,
        limited: false,
        egress: None,
    }
}

fn port(address: &str, protocol: Protocol, to: &str) -> Port {
    Port { address: ip(address), port: 8080, protocol, to: ip(to), inner: 80 }
}

fn sets(all: &[Placed]) -> Vec<&'static str> {
    all.iter().map(|p| p.set).collect()
}

#[test]
fn every_name_in_a_rule_is_there() {
    for table in tables() {
        let mut known: BTreeSet<&str> = BTreeSet::new();
        let chains: BTreeSet<&str> = table.chains.iter().map(|c| c.name).collect();
        assert_eq!(chains.len(), table.chains.len(), "a name twice");
        for chain in &table.chains {
            for expression in chain.rules.iter().flat_map(|r| &r.expressions) {
                match expression {
                    Expr::Then(Verdict::Jump(to) | Verdict::Goto(to)) => assert!(chains.contains(to), "{to}"),
                    Expr::Count(name) => assert!(table.counters.contains(name), "{name}"),
                    Expr::Lookup { set, .. } | Expr::Remember { set } | Expr::Refresh { set, .. } => {
                        assert!(table.sets.iter().any(|s| s.name == *set), "{set}");
                        known.insert(set);
                    }
                    _ => {}
                }
            }
        }
        // And the other way round: a set that no rule looks into would protect nobody.
        let all: BTreeSet<&str> = table.sets.iter().map(|s| s.name).collect();
        assert_eq!(known, all);
    }
}

#[test]
fn what_a_lookup_reads_is_what_the_set_holds() {
    for table in tables() {
        for rule in table.chains.iter().flat_map(|c| &c.rules) {
            let mut width = 0;
            for expression in &rule.expressions {
                match expression {
                    Expr::Load { what, to } => {
                        let from = usize::try_from(*to).expect("small") * 4;
                        width = if from == 0 { what.len() } else { from + what.len().next_multiple_of(4) };
                    }
                    Expr::Lookup { set, .. } | Expr::Remember { set } | Expr::Refresh { set, .. } => {
                        let set = table.sets.iter().find(|s| s.name == *set).expect("it is there");
                        assert_eq!(width, length(set.key), "{} in {:?}", set.name, rule.says);
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn whatever_is_not_allowed_ends_in_a_drop() {
    let tables = tables();
    let chain = |name: &str| tables.iter().flat_map(|t| &t.chains).find(|c| c.name == name).expect("a chain");
    let ends_with = |name: &str, expected: &[Expr]| {
        let last = chain(name).rules.last().expect("a rule").expressions.clone();
        assert_eq!(last, expected, "{name}");
    };
    let counted = |reason, to| vec![Expr::Count(reason), Expr::Then(Verdict::Goto(to))];
    ends_with("member", &counted("frame", "drop_frame"));
    ends_with("outbound", &counted("egress", "refuse"));
    ends_with("routed", &counted("network", "refuse"));
    ends_with("policy", &counted("policy", "drop_policy"));
    ends_with("drop_policy", &[Expr::Then(Verdict::Drop)]);
    ends_with("between", &counted("network", "refuse"));
    ends_with("inbound", &counted("unpublished", "deny"));
    ends_with("to_host", &counted("host", "refuse"));
    let ports = &chain("ports").rules;
    assert!(ports.iter().all(|r| r.expressions.ends_with(&counted("bypass", "deny"))), "{ports:?}");
    ends_with("deny", &[Expr::Then(Verdict::Drop)]);
    ends_with("refuse", &[Expr::Reject { reset: false }]);
    for (reason, _) in rules::frame_reasons() {
        ends_with(&format!("drop_{reason}"), &[Expr::Then(Verdict::Drop)]);
    }
}

#[test]
fn elements_of_a_network() {
    let all = |bridge: &Bridge| sets(&elements::of_bridge(bridge));
    assert_eq!(all(&network()), ["joined", "outward", "masqueraded", "gateways4", "gateways6"]);
    assert_eq!(all(&Bridge { isolated: true, ..network() }), ["outward", "masqueraded", "gateways4", "gateways6"]);
    assert_eq!(all(&Bridge { internal: true, ..network() }), ["joined", "gateways4", "gateways6"]);
    assert_eq!(all(&Bridge { masquerade: false, v6: None, ..network() }), ["joined", "outward", "gateways4"]);
    let joined = &elements::of_bridge(&network())[0].element.key;
    assert_eq!(joined.len(), 32);
    assert_eq!((&joined[..5], &joined[16..21]), (&b"bh-1\0"[..], &b"bh-1\0"[..]));
}

#[test]
fn elements_of_a_member_pin_its_addresses() {
    let all = elements::of_member(&container());
    let own = ["members4", "neighbours4", "neighbours6", "members6", "members6", "unlimited", "free4", "free6"];
    assert_eq!(sets(&all), own);
    let key = |at: usize| &all[at].element.key;
    assert_eq!(&key(0)[..4], b"bv1\0");
    assert_eq!(&key(0)[16..], [2, 0, 0, 0, 0, 9, 0, 0, 10, 1, 0, 9]);
    // Its link has an address of its own: EUI-64 of the link address.
    assert_eq!(&key(4)[24..], [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 9]);
    let four = ["members4", "neighbours4", "unlimited", "free4"];
    assert_eq!(sets(&elements::of_member(&Member { v6: None, ..container() })), four);
    assert!(elements::of_member(&Member { v4: None, v6: None, limited: true, ..container() }).is_empty());
}

#[test]
fn elements_of_a_port() {
    let at = |p: Port| (elements::of_port(&p).set, elements::of_port(&p).element);
    let (set, element) = at(port("0.0.0.0", Protocol::Tcp, "10.1.0.9"));
    assert_eq!((set, &element.key[..]), ("any4", &[6, 0, 0, 0, 0x1f, 0x90, 0, 0][..]));
    assert_eq!(element.value, Value::Bytes(vec![10, 1, 0, 9, 0, 80, 0, 0]));
    let (set, element) = at(port("192.0.2.1", Protocol::Udp, "10.1.0.9"));
    assert_eq!((set, &element.key[..]), ("ports4", &[192, 0, 2, 1, 17, 0, 0, 0, 0x1f, 0x90, 0, 0][..]));
    let (set, element) = at(port("::", Protocol::Sctp, "fd00::9"));
    assert_eq!((set, &element.key[..]), ("any6", &[132, 0, 0, 0, 0x1f, 0x90, 0, 0][..]));
    assert_eq!(at(port("fd00::1", Protocol::Tcp, "fd00::9")).0, "ports6");
}

fn flow(from: u8, to: u8, traffic: Traffic) -> Flow {
    let end = |host: u8| End {
        link: format!("bv{host}"),
        v4: Some([10, 1, 0, host].into()),
        v6: Some([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)].into()),
    };
    Flow { from: end(from), to: end(to), traffic }
}

fn tcp(first: u16, last: u16) -> Traffic {
    Traffic::Ports { protocol: Protocol::Tcp, first, last }
}

#[test]
fn a_policy_closes_the_network_and_opens_its_flows() {
    let of = |flows: &[Flow]| Bridge { policy: Some(flows.to_vec()), ..network() };
    assert_eq!(sets(&elements::of_bridge(&of(&[]))), ["limited", "outward", "masqueraded", "gateways4", "gateways6"]);
    assert!(flows::of_policy(&network()).is_empty() && flows::of_policy(&of(&[])).is_empty());
    let all = flows::of_policy(&of(&[flow(2, 3, tcp(80, 80))]));
    let expected = ["stated4", "stated6", "about4", "about4", "about6", "about6", "pairs", "pairs", "stated"];
    assert_eq!(sets(&all), expected);
    let stated = &all[8].element;
    assert_eq!((&stated.key[..4], &stated.key[16..20]), (&b"bv2\0"[..], &b"bv3\0"[..]));
    assert_eq!(&stated.key[32..], [6, 0, 0, 0, 0, 80, 0, 0]);
    assert_eq!(stated.end.as_ref(), Some(&stated.key));
    // What bv2 complains about came from bv3.
    assert_eq!(&all[2].element.key[32..], [10, 1, 0, 3, 10, 1, 0, 2]);
    // What lies in another is not there twice: the kernel would refuse it.
    let both = flows::of_policy(&of(&[flow(2, 3, tcp(80, 80)), flow(2, 3, Traffic::Any), flow(2, 3, tcp(1, 90))]));
    assert_eq!(both, flows::of_policy(&of(&[flow(2, 3, Traffic::Any)])));
    // ICMP of both families by the links, of its own by addresses.
    let echo = flows::of_policy(&of(&[flow(2, 3, Traffic::Icmp)]));
    let protocols = |set: &str| -> Vec<u8> {
        echo.iter().filter(|p| p.set == set).map(|p| p.element.key[p.element.key.len() - 8]).collect()
    };
    assert_eq!((protocols("stated"), protocols("stated4"), protocols("stated6")), (vec![1, 58], vec![1], vec![58]));
}

#[test]
fn a_list_of_what_is_reached_is_of_the_members_own_family() {
    let reach = |address: &str, prefix, traffic| Reach { address: ip(address), prefix, traffic };
    let of = |list: &[Reach]| elements::of_member(&Member { egress: Some(list.to_vec()), ..container() });
    let only =
        |all: &[Placed]| -> Vec<Placed> { all.iter().filter(|p| p.set.starts_with("egress")).cloned().collect() };
    assert!(only(&of(&[])).is_empty() && !sets(&of(&[])).contains(&"free4"));
    let all = only(&of(&[reach("192.0.2.0", 24, tcp(443, 444)), reach("2001:db8::", 32, Traffic::Any)]));
    assert_eq!(sets(&all), ["egress4", "egress6"]);
    assert_eq!(all[0].element.key, [10, 1, 0, 9, 192, 0, 2, 0, 6, 0, 0, 0, 1, 187, 0, 0]);
    assert_eq!(all[0].element.end, Some(vec![10, 1, 0, 9, 192, 0, 2, 255, 6, 0, 0, 0, 1, 188, 0, 0]));
    let end = all[1].element.end.as_ref().expect("a range");
    assert_eq!(&end[16..], [&[0x20, 1, 0xd, 0xb8][..], &[255; 12], &[255, 0, 0, 0, 255, 255, 0, 0]].concat());
    let everything = only(&of(&[reach("0.0.0.0", 0, Traffic::Any), reach("192.0.2.1", 32, tcp(1, 1))]));
    assert_eq!(everything.len(), 1);
    assert_eq!(everything[0].element.end.as_ref().map(|e| e[4..8].to_vec()), Some(vec![255; 4]));
}

#[test]
fn what_is_about_a_member_is_known() {
    let limited = Bridge { policy: Some(vec![flow(2, 3, Traffic::Any)]), ..network() };
    let member = Member { egress: Some(vec![]), ..container() };
    let about = |all: &[Placed], links: &[&str], addresses: &[IpAddr]| {
        all.iter().filter(|p| flows::concerns(p, links, &[], addresses)).count()
    };
    let all = flows::of_policy(&limited);
    // Either end by its link, and by its address where the host routes.
    assert_eq!((about(&all, &["bv2"], &[]), about(&all, &["bv3"], &[]), about(&all, &["bv4"], &[])), (7, 7, 0));
    assert_eq!(about(&all, &[], &[ip("10.1.0.3"), ip("fd00::2")]), 2);
    let own = elements::of_member(&member);
    assert_eq!(about(&own, &["bv1"], &[ip("10.1.0.9"), ip("fd00::9")]), 4);
    let joined = elements::of_bridge(&network());
    assert!(joined.iter().all(|p| flows::concerns(p, &[], &["bh-1"], &[])));
    assert!(!joined.iter().any(|p| flows::concerns(p, &[], &["bh-2"], &[])));
}

#[test]
fn every_element_fits_its_set_and_is_there_once() {
    let ports = [
        port("0.0.0.0", Protocol::Tcp, "10.1.0.9"),
        port("192.0.2.1", Protocol::Tcp, "10.1.0.9"),
        port("::", Protocol::Tcp, "fd00::9"),
        port("fd00::1", Protocol::Tcp, "fd00::9"),
        port("0.0.0.0", Protocol::Tcp, "10.1.0.9"),
    ];
    let mut declared =
        Declared { bridges: vec![network()], members: vec![container()], ports: ports.to_vec(), ..Declared::default() };
    assert_eq!(elements::all(&declared).len(), 5 + 8 + 4);
    let some = vec![flow(2, 3, Traffic::Any), flow(3, 2, tcp(5, 9))];
    declared.bridges.push(Bridge { link: "bh-2".to_owned(), policy: Some(some), ..network() });
    let reach = |address: &str| Reach { address: ip(address), prefix: 8, traffic: tcp(1, 2) };
    let limited = Member { limited: true, egress: Some(vec![reach("11.0.0.0"), reach("fd00::")]), ..container() };
    declared.members.push(Member { v4: "10.2.0.9".parse().ok(), v6: "fd02::9".parse().ok(), ..limited });
    let all = elements::all(&declared);
    let tables = tables();
    for placed in &all {
        let table = tables.iter().find(|t| t.family == placed.family).expect("a table");
        let set = table.sets.iter().find(|s| s.name == placed.set).expect("a set");
        assert!(set.filled.is_declared());
        assert_eq!(placed.element.key.len(), length(set.key), "{}", set.name);
        let end = placed.element.end.as_ref().map(Vec::len);
        assert_eq!(end, (set.filled == Filled::Boxes).then(|| length(set.key)), "{}", set.name);
        match (set.leads, &placed.element.value) {
            (Leads::Nowhere, Value::Nothing) => {}
            (Leads::Values(fields), Value::Bytes(bytes)) => assert_eq!(bytes.len(), length(fields)),
            other => panic!("{}: {other:?}", set.name),
        }
    }
}

#[test]
fn refused_addresses_are_ranges_in_order() {
    for table in tables() {
        for set in &table.sets {
            let Filled::Ranges(ranges) = &set.filled else { continue };
            for pair in ranges.windows(2) {
                let behind = pair[0].1.as_ref().expect("only the last goes to the end");
                assert!(pair[0].0 < *behind && *behind <= pair[1].0, "{}: {pair:02x?}", set.name);
            }
            let holds = |address: &str| {
                let octets = match ip(address) {
                    IpAddr::V4(a) => a.octets().to_vec(),
                    IpAddr::V6(a) => a.octets().to_vec(),
                };
                ranges.iter().any(|(from, behind)| *from <= octets && behind.as_ref().is_none_or(|b| octets < *b))
            };
            let (bad, good): (&[&str], &[&str]) = if set.key == [Field::V4] {
                (
                    &[
                        "0.0.0.0",
                        "127.9.9.9",
                        "169.254.169.254",
                        "100.100.100.200",
                        "192.0.0.192",
                        "224.0.0.1",
                        "255.255.255.255",
                    ],
                    &["1.1.1.1", "10.0.0.1", "100.100.100.201", "169.253.255.255", "169.255.0.0", "223.255.255.255"],
                )
            } else {
                (
                    &[
                        "::",
                        "::1",
                        "::ffff:169.254.169.254",
                        "64:ff9b::169.254.169.254",
                        "64:ff9b:1::1",
                        "64:ff9b:1:ffff:ffff:ffff:a9fe:a9fe",
                        "fd00:ec2::254",
                        "fe80::1",
                        "febf::1",
                        "ff02::1",
                    ],
                    &[
                        "2001:db8::1",
                        "fd00::1",
                        "fd00:ec2::255",
                        "64:ff9b::8.8.8.8",
                        "64:ff9b:2::1",
                        "fec0::1",
                        "::1:0:0:0",
                    ],
                )
            };
            assert!(bad.iter().all(|a| holds(a)), "{bad:?}");
            assert!(!good.iter().any(|a| holds(a)), "{good:?}");
        }
    }
}

#[test]
fn words_for_a_listing() {
    assert_eq!(shown_as(&[Field::V4]), 7);
    assert_eq!(shown_as(&[Field::V4, Field::Protocol, Field::Port]), 0x730d);
    assert_eq!(length(&[Field::Protocol, Field::Port]), 8);
    assert_eq!(length(&[Field::Mac]), 6);
    assert_eq!(comment("ab"), [0, 3, b'a', b'b', 0]);
}

#[test]
fn what_a_kernel_lacks_is_named() {
    let refused = |what: &str, errno| {
        let no = Refusal { errno, said: None };
        Refused { at: None, what: what.to_owned(), no }.error().to_string()
    };
    let missing = refused("make rule 1 of the chain publish (fib, cmp, immediate)", Errno::NOENT);
    assert!(missing.contains("fib") && missing.contains("has no network here"), "{missing}");
    assert!(!refused("add to the set ports4 of the firewall", Errno::NOENT).contains("no network here"));
    assert!(!refused("make the table", Errno::PERM).contains("no network here"));
}
