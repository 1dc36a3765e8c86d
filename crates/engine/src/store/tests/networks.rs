use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::networks::{EgressRule, FlowRule, HostPort, Mac, Net, Pool, PortRange, Protocol, WantedPort};

fn new(name: &str, v4: BlockWish) -> NewNetwork {
    NewNetwork {
        id: new_id().unwrap(),
        name: name.to_owned(),
        v4,
        mtu: 1500,
        masquerade: true,
        created: 7,
        ..NewNetwork::default()
    }
}

fn these(subnet: &str) -> BlockWish {
    let subnet = Net::parse(subnet).unwrap();
    BlockWish::These(Block { subnet, gateway: subnet.hosts().unwrap().0, range: None })
}

fn make(store: &Store, network: &NewNetwork, routes: &[(Net, String)]) -> Result<NetworkRecord, StoreError> {
    let pools = [Pool::parse("10.88.0.0/16:24").unwrap()];
    store.create_network(network, &Ground { pools: &pools, routes })
}

fn join(network: &str) -> JoinWish {
    JoinWish { network: network.to_owned(), ..JoinWish::default() }
}

fn member(store: &Store, name: &str, joins: &[JoinWish]) -> ContainerRecord {
    store.create_container(&NewContainer { networks: joins.to_vec(), ..named(name) }, None).unwrap()
}

type Taken = Result<(Vec<Joined>, Vec<PortRecord>), StoreError>;

fn take(store: &Store, id: &str, ports: &[WantedPort]) -> Taken {
    store.take(&LeaseWish { container: id, ports, start: 0, spec: None }, &|_, _, _| None)
}

fn address(taken: &Taken) -> String {
    taken.as_ref().unwrap().0[0].lease.as_ref().unwrap().v4.unwrap().to_string()
}

fn port(address: &str, host: HostPort, protocol: Protocol) -> WantedPort {
    WantedPort {
        asked: "--publish x".to_owned(),
        addresses: vec![address.parse().unwrap()],
        written: true,
        host,
        inner: 80,
        protocol,
    }
}

fn why(error: Result<impl std::fmt::Debug, StoreError>) -> NetworkError {
    match error.unwrap_err() {
        StoreError::Network(e) => e,
        other => panic!("{other}"),
    }
}

#[test]
fn networks_have_a_name_and_addresses_of_their_own() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let web = make(&store, &new("web", BlockWish::Free), &[]).unwrap();
    assert_eq!(web.v4.unwrap().subnet.to_string(), "10.88.0.0/24");
    assert_eq!(store.find_network("web").unwrap(), web);
    assert_eq!(store.find_network(&web.id[..12]).unwrap(), web);
    assert_eq!(why(make(&store, &new("web", BlockWish::Free), &[])), NetworkError::Exists { name: "web".into() });
    let error = why(make(&store, &new("own", these("10.88.0.128/25")), &[]));
    assert!(matches!(&error, NetworkError::Overlap { holder, .. } if holder == "network web"), "{error}");
    // A route of the host is kept clear of, but for that of the own bridge.
    let route = |net: &str, link: &str| (Net::parse(net).unwrap(), link.to_owned());
    let next = make(&store, &new("next", BlockWish::Free), &[route("10.88.1.0/24", "eth0")]).unwrap();
    assert_eq!(next.v4.unwrap().subnet.to_string(), "10.88.2.0/24");
    let error = why(make(&store, &new("own", these("10.9.0.0/16")), &[route("10.9.1.0/24", "eth0")]));
    assert!(error.to_string().contains("10.9.1.0/24 of the host, through eth0"), "{error}");
    let wider = make(&store, &new("own", these("10.9.0.0/16")), &[route("10.0.0.0/8", "eth0")]).unwrap();
    store.remove_network(&wider.id).unwrap();
    let own = new("own", these("10.9.0.0/16"));
    let link = crate::networks::bridge_link(&own.id);
    make(&store, &own, &[route("10.9.0.0/16", &link)]).unwrap();
    for bad in ["", ".x", "a b", "a/b", "none", "host", "container", "default", &"x".repeat(129)] {
        assert!(
            matches!(why(make(&store, &new(bad, BlockWish::Free), &[])), NetworkError::InvalidName { .. }),
            "{bad:?}"
        );
    }
    assert!(matches!(why(store.find_network("nothing")), NetworkError::NotFound { .. }));
    let six = make(&store, &NewNetwork { v6: BlockWish::Free, ..new("six", BlockWish::None) }, &[]).unwrap();
    assert!(six.v4.is_none() && six.v6.unwrap().subnet.to_string().starts_with("fd"));
}

#[test]
fn a_network_in_use_stays_and_names_its_members() {
    let scratch = Scratch::new();
    let store = scratch.open();
    make(&store, &new("web", BlockWish::Free), &[]).unwrap();
    make(&store, &new(DEFAULT_NETWORK, BlockWish::Free), &[]).unwrap();
    let one = member(&store, "one", &[join("web")]);
    let NetworkError::InUse { users, .. } = why(store.remove_network("web")) else { panic!("in use") };
    assert_eq!(users, [(one.id.clone(), "one".to_owned())]);
    assert_eq!(store.prune_networks(|_| true).unwrap(), []);
    assert!(matches!(why(store.remove_network("bridge")), NetworkError::Predefined { .. }));
    // A container with a network that is not there is none.
    let new = NewContainer { networks: vec![join("gone")], ..named("two") };
    assert!(matches!(why(store.create_container(&new, None)), NetworkError::NotFound { .. }));
    assert!(store.find_container("two").is_err());
    store.remove_container(&one.id).unwrap();
    assert_eq!(store.prune_networks(|n| n.name == "other").unwrap(), []);
    assert_eq!(store.prune_networks(|_| true).unwrap().len(), 1);
    assert_eq!(store.list_networks().unwrap().len(), 1);
}

#[test]
fn addresses_come_with_the_start_and_go_with_the_end() {
    let scratch = Scratch::new();
    let store = scratch.open();
    make(&store, &new("web", these("10.1.0.0/29")), &[]).unwrap();
    let all: Vec<ContainerRecord> = (0..6).map(|n| member(&store, &format!("c{n}"), &[join("web")])).collect();
    let given: Vec<String> = all.iter().take(5).map(|c| address(&take(&store, &c.id, &[]))).collect();
    assert_eq!(given, ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
    let error = why(take(&store, &all[5].id, &[]));
    assert_eq!(error, NetworkError::NoAddressLeft { network: "web".into(), subnet: "10.1.0.0/29".into() });
    assert_eq!(store.leaseholders().unwrap().len(), 5);
    store.give_back(&all[2].id).unwrap();
    store.give_back(&all[2].id).unwrap();
    assert!(store.joined(&all[2].id).unwrap()[0].lease.is_none());
    assert_eq!(address(&take(&store, &all[5].id, &[])), "10.1.0.4");
    // A container that goes takes its addresses along.
    store.remove_container(&all[0].id).unwrap();
    assert_eq!(address(&take(&store, &all[2].id, &[])), "10.1.0.2");
    // Once more is the same container: what it had is given back first.
    assert_eq!(take(&store, &all[2].id, &[]).unwrap().0.len(), 1);
    let macs: BTreeSet<Mac> =
        all[1..].iter().map(|c| store.joined(&c.id).unwrap()[0].lease.as_ref().unwrap().mac).collect();
    assert_eq!(macs.len(), 5);
}

#[test]
fn addresses_that_were_asked_for_are_given_or_their_holder_is_named() {
    let scratch = Scratch::new();
    let store = scratch.open();
    make(&store, &new("web", these("10.1.0.0/24")), &[]).unwrap();
    let mac = Mac::parse("02:00:00:00:00:09");
    let wish = JoinWish { v4: Some("10.1.0.9".parse().unwrap()), mac, ..join("web") };
    let (one, two) = (member(&store, "one", std::slice::from_ref(&wish)), member(&store, "two", &[wish]));
    assert_eq!(address(&take(&store, &one.id, &[])), "10.1.0.9");
    let error = why(take(&store, &two.id, &[]));
    assert!(error.to_string().contains("--ip 10.1.0.9 is taken in network web by container one"), "{error}");
    let other = JoinWish { mac, ..join("web") };
    let three = member(&store, "three", &[other]);
    assert!(why(take(&store, &three.id, &[])).to_string().contains("--mac-address 02:00:00:00:00:09"));
    store.give_back(&one.id).unwrap();
    assert_eq!(address(&take(&store, &two.id, &[])), "10.1.0.9");
    for bad in ["10.1.0.0", "10.1.0.255", "10.1.0.1", "10.2.0.5"] {
        let wish = JoinWish { v4: Some(bad.parse().unwrap()), ..join("web") };
        let error = why(store.create_container(&NewContainer { networks: vec![wish], ..named("bad") }, None));
        assert!(matches!(&error, NetworkError::BadAddress { address, .. } if address == bad), "{error}");
    }
    let six = JoinWish { v6: Some("fd00::5".parse().unwrap()), ..join("web") };
    let error = why(store.create_container(&NewContainer { networks: vec![six], ..named("bad") }, None));
    assert!(error.to_string().contains("--ip6 fd00::5"), "{error}");
}

#[test]
fn ports_are_one_containers_at_a_time_and_all_or_none() {
    let scratch = Scratch::new();
    let store = scratch.open();
    make(&store, &new("web", these("10.1.0.0/24")), &[]).unwrap();
    let (one, two) = (member(&store, "one", &[join("web")]), member(&store, "two", &[join("web")]));
    let tcp = |address, number| port(address, HostPort::One(number), Protocol::Tcp);
    let (_, ports) = take(&store, &one.id, &[tcp("127.0.0.1", 8080), tcp("::1", 8080)]).unwrap();
    // A port of loopback is passed on, so the family may change.
    assert_eq!(ports.iter().map(|p| p.target.to_string()).collect::<Vec<_>>(), ["10.1.0.2", "10.1.0.2"]);
    let error = why(take(&store, &two.id, &[tcp("10.0.0.1", 9090), tcp("0.0.0.0", 8080)]));
    let NetworkError::PortTaken { port: named, holder, .. } = &error else { panic!("{error}") };
    assert_eq!((named.as_str(), holder.as_str()), ("0.0.0.0:8080/tcp", "container one"));
    // Nothing of it was taken, not even the address.
    assert_eq!(store.ports_of(&two.id).unwrap(), []);
    assert!(store.joined(&two.id).unwrap()[0].lease.is_none());
    // Another address, another protocol.
    take(&store, &two.id, &[tcp("10.0.0.1", 8080), port("127.0.0.1", HostPort::One(8080), Protocol::Udp)]).unwrap();
    // The same twice is its own holder.
    let error = why(take(&store, &two.id, &[tcp("10.0.0.1", 7000), tcp("0.0.0.0", 7000)]));
    assert!(matches!(&error, NetworkError::PortTaken { holder, .. } if holder == "container two"), "{error}");
    let range = PortRange { first: 8080, last: 8081 };
    let (_, ports) = take(&store, &two.id, &[port("127.0.0.1", HostPort::Of(range), Protocol::Tcp)]).unwrap();
    assert_eq!(ports[0].port, 8081);
    let only = PortRange { first: 8080, last: 8080 };
    let error = why(take(&store, &two.id, &[port("127.0.0.1", HostPort::Of(only), Protocol::Tcp)]));
    assert!(matches!(error, NetworkError::NoPortLeft { .. }), "{error}");
    let (_, ports) = take(&store, &two.id, &[port("127.0.0.1", HostPort::Any, Protocol::Tcp)]).unwrap();
    assert_eq!(ports[0].port, 61_000);
    // What the host listens on is nobody's.
    let busy = |_: IpAddr, number: u16, _: Protocol| (number < 61_002).then(|| "process 7 (nginx)".to_owned());
    let wanted = [tcp("127.0.0.1", 80)];
    let error = why(store.take(&LeaseWish { container: &two.id, ports: &wanted, start: 0, spec: None }, &busy));
    assert!(error.to_string().contains("127.0.0.1:80/tcp is taken by process 7 (nginx)"), "{error}");
    let any = [port("127.0.0.1", HostPort::Any, Protocol::Tcp)];
    let (_, ports) = store.take(&LeaseWish { container: &two.id, ports: &any, start: 0, spec: None }, &busy).unwrap();
    assert_eq!(ports[0].port, 61_002);
    // Beyond loopback the family stays.
    let error = why(take(&store, &two.id, &[tcp("::", 80)]));
    assert!(matches!(&error, NetworkError::Unreachable { reason, .. } if reason.contains("version 6")), "{error}");
    store.give_back(&one.id).unwrap();
    assert_eq!(store.ports_of(&one.id).unwrap(), []);
}

#[test]
fn an_internal_network_publishes_nothing() {
    let scratch = Scratch::new();
    let store = scratch.open();
    make(&store, &NewNetwork { internal: true, ..new("db", BlockWish::Free) }, &[]).unwrap();
    let one = member(&store, "one", &[join("db")]);
    let wanted = [port("127.0.0.1", HostPort::One(80), Protocol::Tcp)];
    let error = why(take(&store, &one.id, &wanted));
    assert!(error.to_string().contains("internal"), "{error}");
    make(&store, &new("web", BlockWish::Free), &[]).unwrap();
    store.connect(&one.id, &join("web"), false).unwrap();
    let (joined, ports) = take(&store, &one.id, &wanted).unwrap();
    assert_eq!(joined.iter().map(|j| j.network.name.as_str()).collect::<Vec<_>>(), ["db", "web"]);
    assert_eq!(IpAddr::V4(joined[1].lease.as_ref().unwrap().v4.unwrap()), ports[0].target);
    assert!(matches!(why(store.connect(&one.id, &join("web"), false)), NetworkError::Connected { .. }));
    let user = (one.id.clone(), one.name.clone());
    store.disconnect(&user, "db").unwrap();
    assert!(matches!(why(store.disconnect(&user, "db")), NetworkError::NotConnected { .. }));
    assert_eq!(store.networks_of(&one.id).unwrap(), ["web"]);
    assert_eq!(store.members(&store.find_network("web").unwrap().id).unwrap().len(), 1);
}

/// Each of several threads has a database of its own, as each command has.
#[test]
fn those_that_start_at_once_get_addresses_and_ports_of_their_own() {
    const THREADS: usize = 4;
    const EACH: usize = 12;
    let scratch = Scratch::new();
    let store = scratch.open();
    make(&store, &new("web", these("10.1.0.0/24")), &[]).unwrap();
    let ids: Vec<String> = (0..THREADS * EACH).map(|n| member(&store, &format!("c{n}"), &[join("web")]).id).collect();
    let taken: Vec<(String, u16)> = std::thread::scope(|scope| {
        let work = |mine: &[String]| {
            let store = scratch.open();
            let any = [port("127.0.0.1", HostPort::Any, Protocol::Tcp)];
            mine.iter()
                .map(|id| {
                    // Given back and taken again, so that they meet.
                    drop(take(&store, id, &any).unwrap());
                    store.give_back(id).unwrap();
                    let taken = take(&store, id, &any);
                    (address(&taken), taken.unwrap().1[0].port)
                })
                .collect::<Vec<_>>()
        };
        let handles: Vec<_> = ids.chunks(EACH).map(|mine| scope.spawn(move || work(mine))).collect();
        handles.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    assert_eq!(taken.iter().map(|(a, _)| a).collect::<BTreeSet<_>>().len(), THREADS * EACH);
    assert_eq!(taken.iter().map(|(_, p)| p).collect::<BTreeSet<_>>().len(), THREADS * EACH);
    // And one address that all want has one holder.
    let wish = JoinWish { v4: Some("10.1.0.200".parse().unwrap()), ..join("web") };
    let ids: Vec<String> =
        (0..THREADS).map(|n| member(&store, &format!("s{n}"), std::slice::from_ref(&wish)).id).collect();
    let had: usize = std::thread::scope(|scope| {
        let handles: Vec<_> =
            ids.iter().map(|id| scope.spawn(|| usize::from(take(&scratch.open(), id, &[]).is_ok()))).collect();
        handles.into_iter().map(|h| h.join().unwrap()).sum()
    });
    assert_eq!(had, 1);
}

#[test]
fn the_default_network_is_made_once() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let network = new(DEFAULT_NETWORK, BlockWish::Free);
    let ground = || (vec![Pool::parse("10.88.0.0/16:24").unwrap()], Vec::new());
    let made = store.default_network(&network, ground).unwrap();
    assert_eq!(store.default_network(&network, || panic!("it is there")).unwrap(), made);
    let alias = JoinWish { aliases: vec!["db".to_owned()], ..join("bridge") };
    let error = why(store.create_container(&NewContainer { networks: vec![alias], ..named("box") }, None));
    assert!(error.to_string().contains("--network-alias db"), "{error}");
}

#[test]
fn a_policy_is_kept_and_its_members_are_known() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let flow = |text: &str| FlowRule::parse(text).unwrap();
    let egress = Some(vec![EgressRule::parse("192.0.2.0/24:443").unwrap()]);
    let shop =
        NewNetwork { policy: Some(vec![flow("web -> db:1")]), egress: egress.clone(), ..new("shop", BlockWish::Free) };
    let made = make(&store, &shop, &[]).unwrap();
    assert_eq!((&made.policy, &made.egress), (&shop.policy, &egress));
    let own = Some(Vec::new());
    let wish = JoinWish { aliases: vec!["db".to_owned()], egress: own.clone(), ..join("shop") };
    let (base, web) = (member(&store, "base", &[wish]), member(&store, "web", &[join("shop")]));
    let (joined, _) = take(&store, &base.id, &[]).unwrap();
    assert_eq!((&joined[0].wish.egress, &joined[0].network.egress), (&own, &egress));
    // Its own first, without the addresses that it is given in this moment.
    let names = |all: &[Peer]| all.iter().map(|p| (p.names.join(" "), p.lease.is_some())).collect::<Vec<_>>();
    assert_eq!(names(&joined[0].peers), [("base db".to_owned(), false), ("web".to_owned(), false)]);
    let (joined, _) = take(&store, &web.id, &[]).unwrap();
    assert_eq!(names(&joined[0].peers), [("web".to_owned(), false), ("base db".to_owned(), true)]);
    let changed = store.change_policy("shop", |network, peers| {
        assert_eq!((network.policy.as_ref().map(Vec::len), peers.len()), (Some(1), 2));
        Ok(Some(vec![flow("* -> db"), flow("web -> db:1")]))
    });
    assert_eq!(store.find_network("shop").unwrap().policy, changed.unwrap().policy);
    // What is refused changes nothing.
    let refused = store.change_policy("shop", |network, _| Err(NetworkError::Isolated { name: network.name.clone() }));
    assert!(refused.is_err() && store.find_network("shop").unwrap().policy.map(|p| p.len()) == Some(2));
    store.change_policy("shop", |_, _| Ok(None)).unwrap();
    assert_eq!(store.find_network("shop").unwrap().policy, None);
    assert!(store.joined(&web.id).unwrap()[0].peers.is_empty());
    make(&store, &NewNetwork { isolated: true, ..new("apart", BlockWish::Free) }, &[]).unwrap();
    assert!(why(store.change_policy("apart", |_, _| panic!("it is refused"))).to_string().contains("apart"));
}

#[test]
fn what_is_asked_at_each_start_uses_an_index() {
    let scratch = Scratch::new();
    let store = scratch.open();
    for sql in [
        "SELECT 1 FROM leases WHERE container = ?1 AND link IS NOT NULL",
        "SELECT v4 FROM leases WHERE network = ?1 AND v4 >= 'x' ORDER BY v4",
        "SELECT c.name FROM leases l JOIN containers c ON c.id = l.container WHERE l.network = ?1 AND l.mac = 'x'",
        "SELECT c.name FROM ports p JOIN containers c ON c.id = p.container WHERE p.protocol = ?1 AND p.port = 80",
        "DELETE FROM ports WHERE container = ?1",
        "UPDATE leases SET v4 = NULL WHERE container = ?1",
    ] {
        let mut query = store.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> = query.query_map(["x"], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        assert!(!plan.iter().any(|line| line.starts_with("SCAN")), "{sql}: {plan:?}");
    }
}
