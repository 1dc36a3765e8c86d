//! What tests of several files make networks of.

use std::collections::BTreeMap;

use super::wire::{bridge_link, host_link, wiring};
use super::{Mac, Net, Protocol};
use crate::store::{Block, JoinWish, Joined, Lease, NetworkRecord, PortRecord};

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
