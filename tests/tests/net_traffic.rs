//! Traffic of containers on networks, in namespaces that the tests make: what must arrive, and what must not.

use std::net::TcpListener;

use bulkhead_net::{Bridge, Denied, Protocol, attach, denied, detach, mend, restore, verify};
use bulkhead_tests::net::{Space, container, declared, host, member, network, outside, port, run, sysctl, tcp, udp};

fn isolated(number: u8, both: bool) -> Bridge {
    Bridge { isolated: true, ..network(number, both) }
}

/// How many packets were stopped for this reason.
fn stopped(wanted: &str) -> u64 {
    let all = denied().expect("readable");
    all.iter()
        .find_map(|d| match d {
            Denied::Reason { reason, packets, .. } if reason == wanted => Some(*packets),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no counter {wanted}"))
}

#[test]
fn members_of_a_network_reach_each_other() {
    for filtered in ["1", "0"] {
        host(|| {
            // Where frames between ports go through the packet filter too, and where not.
            sysctl("bridge/bridge-nf-call-iptables", filtered);
            sysctl("bridge/bridge-nf-call-ip6tables", filtered);
            sysctl("ipv6/conf/all/forwarding", "1");
            let net = network(1, true);
            let ((one, a), (other, b)) = (container(&net, 2), container(&net, 3));
            assert_eq!(verify(&declared(&[&net], &[a, b], &[])).expect("readable"), []);
            assert!(one.pings("10.88.1.3") && other.pings("10.88.1.2") && one.pings("fd88:1::3"));
            let listener = other.listen("0.0.0.0:80");
            assert_eq!(one.tcp(&listener, "10.88.1.3:80"), "10.88.1.2".parse().ok());
            let listener = other.listen("[fd88:1::3]:81");
            assert_eq!(one.tcp(&listener, "[fd88:1::3]:81"), "fd88:1::2".parse().ok());
            let socket = other.datagrams("0.0.0.0:80");
            assert_eq!(one.udp(&socket, "10.88.1.3:80"), "10.88.1.2".parse().ok());
            let socket = other.datagrams("[fd88:1::3]:81");
            assert_eq!(one.udp(&socket, "[fd88:1::3]:81"), "fd88:1::2".parse().ok());
            // The host reaches them, and they answer.
            let listener = other.listen("0.0.0.0:82");
            assert_eq!(tcp(&listener, "10.88.1.3:82"), "10.88.1.1".parse().ok());
            let listener = other.listen("[::]:83");
            assert_eq!(tcp(&listener, "[fd88:1::3]:83"), "fd88:1::1".parse().ok());
            // What comes in order was never stopped.
            assert_eq!((stopped("source"), stopped("network"), stopped("host")), (0, 0, 0));
        });
    }
}

#[test]
fn members_of_an_isolated_network_do_not() {
    for filtered in ["1", "0"] {
        host(|| {
            sysctl("bridge/bridge-nf-call-iptables", filtered);
            sysctl("bridge/bridge-nf-call-ip6tables", filtered);
            sysctl("ipv6/conf/all/forwarding", "1");
            let net = isolated(2, true);
            let ((one, _), (other, _)) = (container(&net, 2), container(&net, 3));
            // The control is the host, who reaches both.
            let (listener, socket) = (other.listen("[::]:80"), other.datagrams("[::]:80"));
            assert!(tcp(&listener, "10.88.2.3:80").is_some() && udp(&socket, "[fd88:2::3]:80").is_some());
            for to in ["10.88.2.3:80", "[fd88:2::3]:80"] {
                assert_eq!((one.tcp(&listener, to), one.udp(&socket, to)), (None, None), "{to}");
            }
            assert!(!one.pings("10.88.2.3") && !one.pings("fd88:2::3"));
            // Nor by way of the host: the gateway as a router between them.
            one.run("ip route add 10.88.2.3 via 10.88.2.1; ip -6 route add fd88:2::3 via fd88:2::1").ok();
            for to in ["10.88.2.3:80", "[fd88:2::3]:80"] {
                assert_eq!((one.tcp(&listener, to), one.udp(&socket, to)), (None, None), "{to} by the gateway");
            }
            assert!(stopped("network") > 0);
        });
    }
}

#[test]
fn nothing_of_the_host_is_reached_but_the_echo_of_the_gateway() {
    for net in [isolated(3, true), network(3, true)] {
        host(|| {
            sysctl("ipv6/conf/all/forwarding", "1");
            let _outside = outside();
            let (one, _) = container(&net, 2);
            let listener = TcpListener::bind("[::]:80").expect("a port");
            let socket = std::net::UdpSocket::bind("[::]:80").expect("a port");
            // The control: the host itself reaches what listens.
            assert!(tcp(&listener, "10.88.3.1:80").is_some() && udp(&socket, "192.0.2.1:80").is_some());
            assert!(one.pings("10.88.3.1") && one.pings("fd88:3::1"));
            for to in ["10.88.3.1:80", "192.0.2.1:80", "[fd88:3::1]:80", "[2001:db8::1]:80"] {
                assert_eq!((one.tcp(&listener, to), one.udp(&socket, to)), (None, None), "{to}");
            }
            // Other addresses of the host do not even echo, and loopback has no other name.
            assert!(!one.pings("192.0.2.1") && !one.pings("2001:db8::1"));
            one.run("ip route add 127.0.0.0/8 via 10.88.3.1 table 9; ip rule add to 127.0.0.0/8 lookup 9 pref 0").ok();
            assert_eq!(one.tcp(&listener, "127.0.0.1:80"), None);
            assert!(stopped("host") >= 8, "{}", stopped("host"));
            let flow = |d: &Denied| matches!(d, Denied::Flow { to, port: 80, protocol: 6, .. } if to.to_string() == "192.0.2.1");
            assert!(denied().expect("readable").iter().any(flow));
        });
    }
}

#[test]
fn metadata_and_link_local_addresses_are_refused() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let machine = outside();
        machine.run("ip addr add 169.254.169.254/32 dev lan0; ip addr add fd00:ec2::254/128 dev lan0 nodad").ok();
        machine.run("ip addr add 198.51.100.9/32 dev lan0; ip addr add fd00:ec2::255/128 dev lan0 nodad").ok();
        run("ip route add 169.254.169.254 via 192.0.2.2; ip -6 route add fd00:ec2::/64 via 2001:db8::2").ok();
        run("ip route add 198.51.100.9 via 192.0.2.2").ok();
        let listener = machine.listen("[::]:80");
        let (one, _) = container(&isolated(4, true), 2);
        // The host reaches the service, and the container the address beside it.
        assert!(tcp(&listener, "169.254.169.254:80").is_some() && tcp(&listener, "[fd00:ec2::254]:80").is_some());
        assert!(one.tcp(&listener, "198.51.100.9:80").is_some() && one.tcp(&listener, "[fd00:ec2::255]:80").is_some());
        for to in ["169.254.169.254:80", "[fd00:ec2::254]:80", "[::ffff:169.254.169.254]:80"] {
            assert_eq!(one.tcp(&listener, to), None, "{to}");
        }
        assert!(stopped("refused") >= 3);
        // A link-local neighbour: the host's own address on the bridge, and one outside.
        let bridge = run("ip -6 -o addr show dev bh-000000000004 scope link").ok();
        let local =
            bridge.split_whitespace().find_map(|w| w.strip_suffix("/64")).expect("the bridge has one").to_owned();
        assert!(run(&format!("ping -n -c 1 -W 1 {local}%bh-000000000004")).code == 0);
        assert!(!one.pings(&format!("{local}%eth0")));
        assert!(stopped("linklocal") > 0);
        // And multicast.
        assert!(!one.pings("ff02::1%eth0"));
        assert!(stopped("multicast") > 0);
    });
}

#[test]
fn the_outside_is_reached_with_the_hosts_address() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let machine = outside();
        let net = isolated(5, true);
        let (one, _) = container(&net, 2);
        let listener = machine.listen("[::]:80");
        let own = |text: &str| text.parse::<std::net::IpAddr>().ok();
        let mapped = own("::ffff:192.0.2.1");
        assert_eq!(one.tcp(&listener, "192.0.2.2:80"), mapped);
        assert_eq!(one.tcp(&listener, "[2001:db8::2]:80"), own("2001:db8::1"));
        let socket = machine.datagrams("0.0.0.0:81");
        assert_eq!(one.udp(&socket, "192.0.2.2:81"), own("192.0.2.1"));
        assert!(one.pings("192.0.2.2") && one.pings("2001:db8::2"));
        // An internal network has no way out, not even when the container makes itself one.
        let inside = Bridge { internal: true, ..network(6, true) };
        let (two, _) = container(&inside, 2);
        assert_eq!(two.run("ip route show default; ip -6 route show default").ok(), "");
        assert_eq!(two.tcp(&listener, "192.0.2.2:80"), None);
        two.run("ip route add default via 10.88.6.1; ip -6 route add default via fd88:6::1").ok();
        assert_eq!((two.tcp(&listener, "192.0.2.2:80"), two.tcp(&listener, "[2001:db8::2]:80")), (None, None));
        assert!(stopped("internal") >= 2);
        // Two networks are two worlds.
        let listener = one.listen("[::]:82");
        assert!(tcp(&listener, "10.88.5.2:82").is_some());
        assert_eq!((two.tcp(&listener, "10.88.5.2:82"), two.tcp(&listener, "[fd88:5::2]:82")), (None, None));
        assert!(stopped("network") >= 2);
        // Nobody outside reaches a container that published nothing, also with a route to it.
        machine.run("ip route add 10.88.0.0/16 via 192.0.2.1; ip -6 route add fd88::/16 via 2001:db8::1").ok();
        assert_eq!((machine.tcp(&listener, "10.88.5.2:82"), machine.tcp(&listener, "[fd88:5::2]:82")), (None, None));
        assert!(stopped("unpublished") >= 2);
    });
}

#[test]
fn a_published_port_keeps_the_clients_address() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let machine = outside();
        let net = network(7, true);
        let (space, me) = (Space::new(), member(&net, 2));
        let ports = [
            port("0.0.0.0", 8080, Protocol::Tcp, "10.88.7.2", 80),
            port("192.0.2.1", 8081, Protocol::Tcp, "10.88.7.2", 81),
            port("::", 8080, Protocol::Tcp, "fd88:7::2", 80),
            port("2001:db8::1", 8081, Protocol::Tcp, "fd88:7::2", 81),
            port("0.0.0.0", 8080, Protocol::Udp, "10.88.7.2", 80),
        ];
        attach(space.pid(), &[&net], std::slice::from_ref(&me), &ports).expect("attached");
        let (any, one, datagrams) = (space.listen("[::]:80"), space.listen("[::]:81"), space.datagrams("0.0.0.0:80"));
        let client = |text: &str| text.parse::<std::net::IpAddr>().ok();
        assert_eq!(machine.tcp(&any, "192.0.2.1:8080"), client("::ffff:192.0.2.2"));
        assert_eq!(machine.tcp(&one, "192.0.2.1:8081"), client("::ffff:192.0.2.2"));
        assert_eq!(machine.tcp(&any, "[2001:db8::1]:8080"), client("2001:db8::2"));
        assert_eq!(machine.tcp(&one, "[2001:db8::1]:8081"), client("2001:db8::2"));
        assert_eq!(machine.udp(&datagrams, "192.0.2.1:8080"), client("192.0.2.2"));
        // The host by its own address; loopback is nobody's.
        assert_eq!(tcp(&any, "192.0.2.1:8080"), client("::ffff:192.0.2.1"));
        assert_eq!((tcp(&any, "127.0.0.1:8080"), tcp(&any, "[::1]:8080")), (None, None));
        machine.run("ip route add 127.0.0.0/8 via 192.0.2.1 table 9; ip rule add to 127.0.0.0/8 lookup 9 pref 0").ok();
        assert_eq!(machine.tcp(&any, "127.0.0.1:8080"), None);
        // A neighbour, and the container itself, by the host's address.
        let (neighbour, _) = container(&net, 3);
        assert_eq!(neighbour.tcp(&any, "192.0.2.1:8080"), client("::ffff:10.88.7.1"));
        assert_eq!(neighbour.tcp(&any, "[2001:db8::1]:8080"), client("fd88:7::1"));
        sysctl("bridge/bridge-nf-call-iptables", "0");
        sysctl("bridge/bridge-nf-call-ip6tables", "0");
        for client_of in [&neighbour, &space] {
            assert_eq!(client_of.tcp(&any, "192.0.2.1:8080"), client("::ffff:10.88.7.1"));
            assert_eq!(client_of.tcp(&any, "[2001:db8::1]:8080"), client("fd88:7::1"));
        }
        // But not from another network.
        let (stranger, _) = container(&isolated(8, true), 2);
        assert_eq!(stranger.tcp(&any, "192.0.2.1:8080"), None);
        // Gone is gone.
        detach(&[me], &ports).expect("detached");
        assert_eq!((machine.tcp(&any, "192.0.2.1:8080"), machine.tcp(&one, "[2001:db8::1]:8081")), (None, None));
    });
}

#[test]
fn what_the_host_drops_stays_dropped() {
    host(|| {
        let machine = outside();
        let net = isolated(9, false);
        let (space, me) = (Space::new(), member(&net, 2));
        let ports = [port("0.0.0.0", 8080, Protocol::Tcp, "10.88.9.2", 80)];
        attach(space.pid(), &[&net], &[me], &ports).expect("attached");
        let (published, listener) = (space.listen("0.0.0.0:80"), machine.listen("0.0.0.0:80"));
        assert!(machine.tcp(&published, "192.0.2.1:8080").is_some() && space.tcp(&listener, "192.0.2.2:80").is_some());
        for priority in ["-5", "5"] {
            let chain = format!("type filter hook forward priority {priority}; policy drop;");
            run(&format!("nft 'add table inet own; add chain inet own forward {{ {chain} }}'")).ok();
            assert_eq!(machine.tcp(&published, "192.0.2.1:8080"), None, "{priority}");
            assert_eq!(space.tcp(&listener, "192.0.2.2:80"), None, "{priority}");
            run("nft delete table inet own").ok();
            assert!(machine.tcp(&published, "192.0.2.1:8080").is_some(), "{priority}");
        }
    });
}

#[test]
fn the_host_forwards_for_containers_only() {
    host(|| {
        sysctl("ipv4/ip_forward", "0");
        let (machine, other) = (outside(), Space::new());
        run(&format!(
            "set -e; ip link add lan1 index 1001 type veth peer name lan0 netns {}; ip addr add 198.51.100.1/24 dev lan1; \
             ip link set lan1 up",
            other.pid()
        ))
        .ok();
        other.run("set -e; ip addr add 198.51.100.2/24 dev lan0; ip link set lan0 up; ip route add default via 198.51.100.1").ok();
        machine.run("ip route add default via 192.0.2.1").ok();
        let listener = other.listen("0.0.0.0:80");
        // It does not forward, then for a container, and still for nobody else.
        assert_eq!(machine.tcp(&listener, "198.51.100.2:80"), None);
        let net = isolated(10, false);
        let (one, me) = container(&net, 2);
        assert_eq!(one.tcp(&listener, "198.51.100.2:80"), "198.51.100.1".parse().ok());
        assert_eq!(machine.tcp(&listener, "198.51.100.2:80"), None);
        assert!(stopped("forward") > 0);
        // That is not forgotten with the tables: neither by the next start nor by a comparison.
        run("nft flush ruleset").ok();
        assert!(machine.tcp(&listener, "198.51.100.2:80").is_some());
        let next = container(&net, 3);
        assert_eq!(machine.tcp(&listener, "198.51.100.2:80"), None);
        let all = declared(&[&net], &[me, next.1.clone()], &[]);
        mend(&all).expect("mended");
        for change in ["nft flush ruleset", "nft flush set inet bulkhead guarded"] {
            run(change).ok();
            let drift = verify(&all).expect("readable");
            assert!(
                drift.iter().any(|d| d.to_string() == "IPv4 is missing in the firewall's set guarded"),
                "{drift:?}"
            );
            restore(&all).expect("restored");
            assert_eq!(verify(&all).expect("readable"), []);
            assert_eq!(machine.tcp(&listener, "198.51.100.2:80"), None, "{change}");
        }
        // An administrator who wants it otherwise says so, as the documentation has it.
        run("for link in $(ip -br link show group 1650982913 | cut -d' ' -f1); do ip link set \"$link\" alias ''; done; \
             nft flush set inet bulkhead guarded")
        .ok();
        assert!(machine.tcp(&listener, "198.51.100.2:80").is_some());
        assert_eq!(verify(&all).expect("readable"), []);
        let _last = container(&net, 4);
        assert!(machine.tcp(&listener, "198.51.100.2:80").is_some());
    });
    host(|| {
        let both = Space::new();
        let net = network(11, true);
        let refused = attach(both.pid(), &[&net], &[member(&net, 2)], &[]).expect_err("IPv6 is not forwarded");
        assert!(refused.to_string().contains("net.ipv6.conf.all.forwarding"), "{refused}");
        assert_eq!(run("ip -o link show type bridge").ok(), "");
    });
}
