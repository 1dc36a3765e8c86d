//! What tests of several files make networks of.

use std::collections::BTreeMap;

use super::wire::{bridge_link, host_link, wiring};
use super::{EgressRule, FlowRule, Mac, Net, Protocol};
use crate::store::{Block, JoinWish, Joined, Lease, NetworkRecord, Peer, PortRecord};

pub(super) fn network(name: &str, subnet: &str) -> NetworkRecord {
    let subnet = Net::parse(subnet).unwrap();
    NetworkRecord {
        id: format!("{name:a<64}"),
        name: name.to_owned(),
        driver: "bridge".to_owned(),
        v4: Some(Block { subnet, gateway: subnet.hosts().unwrap().0, range: None }),
        v6: None,
        mtu: 1500,
        internal: false,
        isolated: false,
        masquerade: true,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        created: 7,
        policy: None,
        egress: None,
    }
}

pub(super) fn joined(network: NetworkRecord, address: &str) -> Joined {
    let mac = Mac::derived(&network.id, address.parse().unwrap(), 0);
    let lease = Lease { v4: address.parse().ok(), v6: None, mac, link: host_link("c", &network.id) };
    Joined {
        wish: JoinWish { network: network.name.clone(), ..JoinWish::default() },
        network,
        lease: Some(lease),
        peers: Vec::new(),
    }
}

#[test]
fn the_first_network_with_a_way_out_has_the_default_route() {
    let mut inner = network("inner", "10.1.0.0/24");
    inner.internal = true;
    let all = [
        joined(inner, "10.1.0.2"),
        Joined { lease: None, ..joined(network("off", "10.2.0.0/24"), "10.2.0.2") },
        joined(network("web", "10.3.0.0/24"), "10.3.0.2"),
        joined(network("more", "10.4.0.0/24"), "10.4.0.2"),
    ];
    let port = PortRecord {
        address: "0.0.0.0".parse().unwrap(),
        port: 8080,
        protocol: Protocol::Udp,
        target: "10.3.0.2".parse().unwrap(),
        inner: 80,
    };
    let made = wiring(&all, &[port]);
    let ends: Vec<(&str, bool)> = made.members.iter().map(|m| (m.inner.as_str(), m.default_route)).collect();
    assert_eq!(ends, [("eth0", false), ("eth1", true), ("eth2", false)]);
    assert!(made.bridges[0].internal && !made.bridges[0].masquerade && made.bridges[1].masquerade);
    assert!(made.members.iter().zip(&made.bridges).all(|(m, b)| m.bridge == b.link));
    assert_eq!((made.ports[0].to.to_string().as_str(), made.ports[0].inner), ("10.3.0.2", 80));
    assert!(wiring(&[], &[]).is_empty());
    // Of two containers on one network.
    let mut both = made.clone();
    both.add(made);
    assert_eq!((both.bridges.len(), both.members.len(), both.ports.len()), (3, 6, 2));
}

#[test]
fn names_of_links_fit_the_kernel_and_are_always_the_same() {
    let id = "ab".repeat(32);
    assert_eq!(bridge_link(&id), "bh-abababababab");
    let link = host_link(&id, "n");
    assert!(link.len() <= 15 && link.starts_with("bv") && link == host_link(&id, "n"), "{link}");
    assert!(link != host_link(&id, "m") && link != host_link("x", "n"));
}

fn rule(text: &str) -> FlowRule {
    FlowRule::parse(text).unwrap()
}

#[test]
fn a_member_has_the_flows_with_those_that_run() {
    let mut shop = network("shop", "10.1.0.0/24");
    shop.policy = Some(["web -> db:80", "* -> web/icmp", "gone -> db", "db -> web:1-2/any"].map(rule).to_vec());
    let mut web = joined(shop.clone(), "10.1.0.2");
    let peer = |name: &str, alias: &str, address: Option<&str>| Peer {
        container: name.repeat(8),
        names: vec![name.to_owned(), alias.to_owned()],
        lease: address.map(|a| Lease {
            link: format!("bv-{name}"),
            v4: a.parse().ok(),
            ..web.lease.clone().expect("it runs")
        }),
    };
    web.peers = vec![
        peer("web", "www", None),
        peer("base", "db", Some("10.1.0.3")),
        peer("off", "x", None),
        peer("y", "z", Some("10.1.0.4")),
    ];
    let made = wiring(&[web.clone()], &[]);
    assert!(made.members[0].limited && made.members[0].egress.is_none());
    let mut flows: Vec<String> = made.bridges[0]
        .policy
        .iter()
        .flatten()
        .map(|f| {
            let end = |end: &bulkhead_net::End| end.v4.map(|a| a.octets()[3]).unwrap_or_default();
            format!("{}>{} {}", end(&f.from), end(&f.to), f.traffic)
        })
        .collect();
    flows.sort();
    let expected = ["2>3 80/tcp", "3>2 1-2/sctp", "3>2 1-2/tcp", "3>2 1-2/udp", "3>2 icmp", "4>2 icmp"];
    assert_eq!(flows, expected);
    // What one start declares and what another does are the same network.
    let mut all = made.clone();
    all.add(made);
    assert_eq!((all.bridges.len(), all.bridges[0].policy.as_ref().map(Vec::len)), (1, Some(6)));
    // Without a policy nothing is said of flows.
    web.network.policy = None;
    let open = wiring(&[web], &[]);
    assert!(open.bridges[0].policy.is_none() && !open.members[0].limited);
}

#[test]
fn a_container_says_what_it_reaches_or_its_network_does() {
    let list = |texts: &[&str]| Some(texts.iter().map(|t| EgressRule::parse(t).unwrap()).collect::<Vec<_>>());
    let mut web = joined(network("web", "10.1.0.0/24"), "10.1.0.2");
    let reached = |joined: &Joined| {
        let made = wiring(std::slice::from_ref(joined), &[]);
        made.members[0].egress.as_ref().map(|all| all.iter().map(|r| r.address.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(reached(&web), None);
    web.network.egress = list(&["192.0.2.0/24", "a.example.org:443"]);
    assert_eq!(reached(&web), Some(vec!["192.0.2.0".to_owned()]));
    web.wish.egress = list(&[]);
    assert_eq!(reached(&web), Some(Vec::new()));
}
