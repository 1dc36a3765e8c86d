//! The kernel's state beside what is declared: what `nft` says was made, what is noticed and mended, and that nothing is
//! left of what failed or ended.

use std::net::TcpListener;

use bulkhead_net::{
    Bridge, Drift, Member, Port, Protocol, Subnet, attach, attach_to, detach, holder_of, mend, remove_bridge,
    remove_network, unplug, verify,
};
use bulkhead_tests::net::{Space, container, declared, host, member, network, outside, port, run, sysctl, tcp};
use serde_json::Value;

/// What `nft` shows, with the values of one kind of object.
fn listed(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(&run("nft -j list ruleset").ok()).expect("JSON");
    let objects = all["nftables"].as_array().expect("a list").iter();
    objects.filter_map(|o| o.get(kind)).cloned().collect()
}

/// The elements of a set or a map, as text.
fn elements(set: &str) -> Vec<String> {
    let all = listed("set").into_iter().chain(listed("map"));
    let found = all.into_iter().find(|s| s["name"] == set).unwrap_or_else(|| panic!("no set {set}"));
    found["elem"].as_array().into_iter().flatten().map(ToString::to_string).collect()
}

/// Rules, chains, sets: all but elements and what is counted.
fn shape() -> (usize, usize, usize) {
    (listed("rule").len(), listed("chain").len(), listed("set").len() + listed("map").len())
}

/// Names of the links of containers and their networks.
fn links() -> String {
    run("(ip -o link show group 1650982913; ip -o link show group 1651900417; ip -o link show type veth) | \
         sed 's/^[0-9]*: //; s/[@:].*//' | sort -u")
    .ok()
}

#[test]
fn nft_reads_what_was_made() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let net = network(30, true);
        let (space, me) = (Space::new(), member(&net, 2));
        let ports = [
            port("0.0.0.0", 8080, Protocol::Tcp, "10.88.30.2", 80),
            port("192.0.2.1", 53, Protocol::Udp, "10.88.30.2", 5353),
            port("::", 8080, Protocol::Sctp, "fd88:1e::2", 80),
        ];
        attach(space.pid(), &[&net], std::slice::from_ref(&me), &ports).expect("attached");
        let tables = listed("table");
        assert!(tables.iter().all(|t| t["name"] == "bulkhead"), "{tables:?}");
        assert_eq!(tables.len(), 2);
        assert_eq!(elements("members4"), [r#"{"concat":["bv00000a581e02","02:88:00:00:1e:02","10.88.30.2"]}"#]);
        assert_eq!(elements("members6").len(), 2);
        assert_eq!(elements("outward"), [r#""bh-00000000001e""#]);
        assert_eq!(elements("masqueraded"), elements("outward"));
        assert_eq!(elements("joined"), [r#"{"concat":["bh-00000000001e","bh-00000000001e"]}"#]);
        // Where there is no `/etc/protocols`, nft shows numbers.
        let named = |set: &str| {
            let all = elements(set).join(" ");
            [("[6,", "[\"tcp\","), (",17,", ",\"udp\","), ("[132,", "[\"sctp\",")]
                .iter()
                .fold(all, |text, (number, name)| text.replace(number, name))
        };
        assert_eq!(named("any4"), r#"[{"concat":["tcp",8080]},{"concat":["10.88.30.2",80]}]"#);
        assert_eq!(named("ports4"), r#"[{"concat":["192.0.2.1","udp",53]},{"concat":["10.88.30.2",5353]}]"#);
        assert_eq!(named("any6"), r#"[{"concat":["sctp",8080]},{"concat":["fd88:1e::2",80]}]"#);
        assert_eq!(elements("guarded"), [""; 0]);
        let bridge = run("ip -d link show bh-00000000001e").ok();
        for word in ["stp_state 0", "mcast_snooping 0", "group 1650982913", "mtu 1500"] {
            assert!(bridge.contains(word), "{word}: {bridge}");
        }
        let end = run("ip -d link show bv00000a581e02").ok();
        for word in ["isolated off", "locked on", "learning off", " flood off", "bcast_flood on"] {
            assert!(end.contains(word), "{word}: {end}");
        }
        let refused = elements("refused4");
        assert!(refused.iter().any(|e| e.contains("169.254.0.0") && e.contains("16")), "{refused:?}");
        // Every base chain lets through what it does not know: the host's own rules decide about that.
        let chains = listed("chain");
        let base: Vec<&Value> = chains.iter().filter(|c| c.get("hook").is_some()).collect();
        assert_eq!(base.len(), 8);
        assert!(base.iter().all(|c| c["policy"] == "accept"), "{base:?}");
        // More containers and more ports are no more rules.
        let before = shape();
        let more: Vec<(Space, Member)> = (3..9).map(|host| container(&net, host)).collect();
        let (other, another) = (Space::new(), member(&network(31, true), 2));
        let many: Vec<Port> = (1..50).map(|n| port("0.0.0.0", 9000 + n, Protocol::Tcp, "10.88.31.2", n)).collect();
        attach(other.pid(), &[&network(31, true)], &[another], &many).expect("attached");
        assert_eq!(shape(), before);
        assert_eq!((elements("members4").len(), elements("any4").len(), more.len()), (8, 50, 6));
        // All of it is in words of nft, but for what its older versions have none for: the target of an advertisement, the
        // header of ARP, chunks of SCTP, fragments of IPv6, and the packet that an error is about.
        let text = run("nft list ruleset").ok();
        let raw: Vec<&str> = text.split_whitespace().filter(|w| w.starts_with('@') && w.contains(',')).collect();
        let without = [
            "@th,64,128",
            "@nh,0,48",
            "@th,96,8",
            "@nh,336,16",
            "@nh,64,128",
            "@th,160,32",
            "@th,192,32",
            "@th,128,128",
            "@th,256,128",
        ];
        assert!(raw.iter().all(|w| without.contains(w)), "{raw:?}");
    });
}

#[test]
fn what_is_changed_behind_our_back_is_noticed_and_mended() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        sysctl("ipv4/ip_forward", "0");
        let net = network(32, true);
        let ((one, a), (other, b)) = (container(&net, 2), container(&net, 3));
        let ports = [port("0.0.0.0", 8080, Protocol::Tcp, "10.88.32.2", 80)];
        let all = declared(&[&net], &[a.clone(), b.clone()], &ports);
        // A port that was declared meanwhile.
        assert_eq!(mend(&all).expect("mended").len(), 1);
        assert_eq!(verify(&all).expect("readable"), []);
        let shape_before = shape();
        let changes = [
            "nft flush ruleset",
            "nft delete table inet bulkhead",
            "nft delete table bridge bulkhead",
            "nft flush table inet bulkhead",
            "nft flush chain bridge bulkhead from_ip4",
            "nft insert rule inet bulkhead outbound accept",
            "nft add rule inet bulkhead to_host accept",
            "nft add chain inet bulkhead more '{ type filter hook input priority 0; }'",
            "h=$(nft -a list chain inet bulkhead to_host | sed -n 's/.*refuse.*handle //p'); \
             nft delete rule inet bulkhead to_host handle $h",
            "h=$(nft -a list chain inet bulkhead to_host | sed -n 's/.*refuse.*handle //p'); \
             nft replace rule inet bulkhead to_host handle $h counter accept",
            "nft chain inet bulkhead forward '{ policy drop; }'",
            "nft flush set inet bulkhead outward",
            "nft flush set inet bulkhead guarded",
            "nft flush set bridge bulkhead members4",
            "nft add element inet bulkhead outward '{ \"bh-other\" }'",
            "nft delete element inet bulkhead any4 '{ tcp . 8080 }'",
            "nft add element inet bulkhead any4 '{ tcp . 81 : 10.88.32.3 . 81 }'",
            "nft delete element inet bulkhead any4 '{ tcp . 8080 }'; \
             nft add element inet bulkhead any4 '{ tcp . 8080 : 10.88.32.3 . 80 }'",
            "nft delete element inet bulkhead refused4 '{ 169.254.0.0/16 }'",
            "h=$(nft -a list chain bridge bulkhead member | sed -n 's/.*goto from_arp.*handle //p'); \
             nft delete rule bridge bulkhead member handle $h",
            "ip addr del 10.88.32.1/24 dev bh-000000000020",
            "ip link set bh-000000000020 down",
            "ip link set bh-000000000020 mtu 1400",
            "ip link set bv00000a582002 down",
            "ip link set bv00000a582002 nomaster",
            "ip link set bv00000a582002 arp on",
            "bridge fdb del 02:88:00:00:20:02 dev bv00000a582002 master",
            "bridge fdb replace 02:88:00:00:20:02 dev bv00000a582003 master static",
            "bridge link set dev bv00000a582002 isolated on",
            "bridge link set dev bv00000a582002 locked off",
            "bridge link set dev bv00000a582002 learning on",
            "echo 0 >/proc/sys/net/ipv4/ip_forward",
        ];
        for change in changes {
            run(change).ok();
            let drift = verify(&all).expect("readable");
            assert!(!drift.is_empty(), "nobody noticed: {change}");
            assert_eq!(mend(&all).expect("mended"), drift, "{change}");
            assert_eq!(verify(&all).expect("readable"), [], "{change}");
            assert_eq!(shape(), shape_before, "{change}");
            assert!(one.pings("10.88.32.3") && other.pings("10.88.32.1"), "{change}");
        }
        // What others have stays theirs.
        run("nft 'add table inet other; add chain inet other mine; add rule inet other mine accept'").ok();
        run("nft flush table inet bulkhead").ok();
        mend(&all).expect("mended");
        assert!(run("nft list table inet other").ok().contains("accept"));
        // A link that belongs to nobody goes; a container's that is gone is said, and stays gone.
        run("ip link add bvffffffffffff type veth peer name x; ip link set bvffffffffffff group 1651900417").ok();
        let drift = mend(&all).expect("mended");
        assert_eq!(drift, [Drift::LinkForeign { link: "bvffffffffffff".to_owned() }]);
        assert_eq!(verify(&all).expect("readable"), []);
        run("ip link del bv00000a582003").ok();
        let gone = [Drift::MemberMissing { link: b.host_link.clone() }];
        assert_eq!(mend(&all).expect("mended"), gone);
        assert_eq!(verify(&all).expect("readable"), gone);
    });
}

#[test]
fn nothing_passes_while_the_rules_are_there_and_the_sets_are_not() {
    host(|| {
        let net = network(33, false);
        let ((one, a), (other, b)) = (container(&net, 2), container(&net, 3));
        let machine = outside();
        let listener = machine.listen("0.0.0.0:80");
        assert!(one.pings("10.88.33.3") && one.tcp(&listener, "192.0.2.2:80").is_some());
        run("nft flush set bridge bulkhead members4").ok();
        assert!(!one.pings("10.88.33.3") && one.tcp(&listener, "192.0.2.2:80").is_none());
        mend(&declared(&[&net], &[a, b], &[])).expect("mended");
        run("nft flush set inet bulkhead outward").ok();
        assert!(other.pings("10.88.33.2") && one.tcp(&listener, "192.0.2.2:80").is_none());
    });
}

#[test]
fn the_next_start_mends_the_rules_and_keeps_what_is_left() {
    host(|| {
        let net = network(34, false);
        let (one, _) = container(&net, 2);
        run("nft flush chain inet bulkhead to_host; nft flush chain bridge bulkhead from_arp").ok();
        let (space, me) = (Space::new(), member(&net, 3));
        let attached = attach(space.pid(), &[&net], &[me], &[]).expect("attached");
        assert_eq!(attached.mended.len(), 2, "{attached:?}");
        assert!(one.pings("10.88.34.3") && space.pings("10.88.34.2"));
        assert_eq!(elements("members4").len(), 2);
    });
}

#[test]
fn an_attachment_that_fails_leaves_nothing() {
    host(|| {
        let net = network(35, false);
        let (first, mine) = (Space::new(), member(&net, 2));
        let taken = [port("0.0.0.0", 8080, Protocol::Tcp, "10.88.35.2", 80)];
        attach(first.pid(), &[&net], &[mine], &taken).expect("attached");
        let before = (links(), run("nft -j list ruleset").ok());
        let fresh = network(36, false);
        let two = |inner: [&str; 2]| {
            let members = [member(&net, 3), member(&fresh, 3)];
            let named = members.into_iter().zip(inner).map(|(m, inner)| Member { inner: inner.to_owned(), ..m });
            named.collect::<Vec<_>>()
        };
        let unchanged = |why: &str| {
            assert_eq!(links(), before.0, "{why}");
            for set in ["members4", "neighbours4", "any4"] {
                assert_eq!(elements(set).len(), 1, "{why}: {set}");
            }
            assert_eq!(elements("outward").len(), 1, "{why}");
        };
        // The port is another container's.
        let space = Space::new();
        let clash = [port("0.0.0.0", 8080, Protocol::Tcp, "10.88.35.3", 80)];
        let refused = attach(space.pid(), &[&net, &fresh], &two(["eth0", "eth1"]), &clash).expect_err("taken");
        assert_eq!(refused.to_string(), "port 8080/tcp of 0.0.0.0 already leads to another container");
        unchanged("a port that is taken");
        // Both links want one name.
        let refused = attach(space.pid(), &[&net, &fresh], &two(["eth0", "eth0"]), &[]).expect_err("one name");
        assert!(refused.to_string().contains("cannot make the link"), "{refused}");
        unchanged("a name that is taken");
        // Inside, the last step fails: two default routes.
        let refused = attach(space.pid(), &[&net, &fresh], &two(["eth0", "eth1"]), &[]).expect_err("two routes");
        assert!(refused.to_string().contains("route through 10.88.36.1"), "{refused}");
        unchanged("the last step");
        // A bridge that is somebody else's, and the host itself.
        run("ip link add bh-000000000024 type bridge").ok();
        let refused = attach(space.pid(), &[&fresh], &[member(&fresh, 3)], &[]).expect_err("foreign");
        assert!(refused.to_string().contains("none of ours") || refused.to_string().contains("not a network of ours"));
        run("ip link del bh-000000000024").ok();
        let own = std::fs::File::open("/proc/thread-self/ns/net").expect("the host's");
        let refused =
            attach_to(std::os::fd::AsFd::as_fd(&own), &[&net], &[member(&net, 3)], &[]).expect_err("the host");
        assert!(refused.to_string().contains("that of a container"), "{refused}");
        let refused = attach(i32::MAX, &[&net], &[member(&net, 3)], &[]).expect_err("nobody");
        assert!(refused.to_string().contains("one that is running"), "{refused}");
        unchanged("all of it");
        assert_eq!(space.run("ip -o link show type veth").ok(), "");
        // And then it works.
        let mut members = two(["eth0", "eth1"]);
        members[1].default_route = false;
        attach(space.pid(), &[&net, &fresh], &members, &[]).expect("attached");
        assert!(space.pings("10.88.35.2") && space.pings("10.88.36.1"));
    });
}

#[test]
fn what_ends_leaves_nothing() {
    host(|| {
        let net = network(37, true);
        sysctl("ipv6/conf/all/forwarding", "1");
        let (space, me) = (Space::new(), member(&net, 2));
        let ports = [port("0.0.0.0", 8080, Protocol::Tcp, "10.88.37.2", 80)];
        let all = |m: &Member| vec![m.clone()];
        attach(space.pid(), &[&net], &all(&me), &ports).expect("attached");
        let refused = remove_bridge(&net.link).expect_err("in use");
        assert!(refused.to_string().contains(&me.host_link), "{refused}");
        // Twice is no error; the container has nothing any more, though its link is still there.
        let listener = space.listen("[::]:80");
        assert!(tcp(&listener, "10.88.37.2:80").is_some());
        detach(&all(&me), &ports).expect("detached");
        detach(&all(&me), &ports).expect("nothing to do");
        assert!(tcp(&listener, "10.88.37.2:80").is_none());
        for set in ["members4", "members6", "neighbours4", "neighbours6", "any4"] {
            assert_eq!(elements(set), [""; 0], "{set}");
        }
        // Again under the same name, which is still taken, and then off while it runs.
        let next = Space::new();
        attach(next.pid(), &[&net], &all(&me), &ports).expect("attached");
        assert!(next.pings("10.88.37.1"));
        unplug(&all(&me), &ports).expect("unplugged");
        assert_eq!(next.run("ip -o link show type veth").ok(), "");
        assert_eq!(run("ip -o link show type veth").ok(), "");
        remove_bridge(&net.link).expect("removed");
        remove_bridge(&net.link).expect("nothing to do");
        assert_eq!(links(), "");
        for set in ["joined", "outward", "masqueraded", "gateways4", "gateways6"] {
            assert_eq!(elements(set), [""; 0], "{set}");
        }
        assert_eq!(verify(&declared(&[], &[], &[])).expect("readable"), []);
    });
}

#[test]
fn a_subnet_that_the_host_has_elsewhere_is_refused() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let (first, mut second) = (network(46, true), network(47, true));
        let (one, _) = container(&first, 2);
        let space = Space::new();
        let refused = |second: &Bridge| {
            let mut me = member(&network(47, true), 2);
            (me.v4, me.v6) = (None, None);
            let refused = attach(space.pid(), &[second], &[me], &[]).expect_err("it overlaps");
            assert!(!links().contains(&second.link), "{}", links());
            refused.to_string()
        };
        // Another store chose the same subnet, or one around it.
        second.v4 = first.v4;
        let said = "has addresses in common with 10.88.46.1/24 of the host's link \"bh-00000000002e\"; choose another \
                    subnet ('network.pools', '--subnet')";
        let both = refused(&second);
        assert!(both.starts_with("the subnet 10.88.46.0/24") && both.contains(said), "{both}");
        second.v4 = second.v4.map(|v4| Subnet { address: [10, 88, 0, 0].into(), prefix: 16, ..v4 });
        assert!(refused(&second).contains(said));
        second.v4 = network(47, true).v4;
        second.v6 = first.v6;
        assert!(refused(&second).contains("the subnet fd88:2e::/64 has addresses in common with fd88:2e::1/64"));
        // What is at the other end of a link counts too; what does not overlap is no matter.
        second.v6 = network(47, true).v6;
        run("ip link add far0 type veth peer name far1; ip addr add 192.0.2.1 peer 10.88.47.9/32 dev far0").ok();
        assert!(refused(&second).contains("10.88.47.9/32 of the host's link \"far0\""));
        run("ip link del far0").ok();
        attach(space.pid(), &[&second], &[member(&second, 2)], &[]).expect("attached");
        assert!(space.pings("10.88.47.1") && one.pings("10.88.46.1"));
    });
}

#[test]
fn a_network_goes_with_what_is_left_on_it() {
    host(|| {
        let (net, other) = (network(44, false), network(45, false));
        // One whose container ended, but whose namespace somebody keeps, and one that nobody took off.
        let ((kept, a), (_left, b)) = (container(&net, 2), container(&net, 3));
        let (stays, c) = container(&other, 2);
        detach(&[a], &[]).expect("detached");
        remove_network(&net.link).expect("removed");
        remove_network(&net.link).expect("nothing to do");
        assert_eq!(kept.run("ip -o link show type veth").ok(), "");
        assert_eq!(links(), format!("{}\n{}\n", other.link, c.host_link));
        assert_eq!(elements("members4").len(), 1, "{}", b.host_link);
        for set in ["joined", "outward", "masqueraded", "gateways4", "neighbours4"] {
            assert_eq!(elements(set).len(), 1, "{set}");
        }
        assert_eq!(verify(&declared(&[&other], &[c], &[])).expect("readable"), []);
        assert!(stays.pings("10.88.45.1"));
        // What is none of ours stays.
        run("ip link add bh-00000000002c type bridge").ok();
        assert!(remove_network(&net.link).expect_err("foreign").to_string().contains("not a network of ours"));
        // Without a firewall too.
        run("nft flush ruleset").ok();
        remove_network(&other.link).expect("removed");
        assert_eq!(links(), "");
    });
}

#[test]
fn what_is_gone_already_keeps_nothing_else() {
    host(|| {
        let net = network(43, false);
        let (space, me) = (Space::new(), member(&net, 2));
        let ports: Vec<Port> =
            (0..3000).map(|n| port("192.0.2.1", 20_000 + n, Protocol::Tcp, "10.88.43.2", 20_000 + n)).collect();
        let members = [me];
        attach(space.pid(), &[&net], &members, &ports).expect("attached");
        let off = |why: &str| detach(&members, &ports).unwrap_or_else(|e| panic!("{why}: {e}"));
        // Some are gone: the others still go, and with them the container's own.
        run("nft delete element inet bulkhead ports4 '{ 192.0.2.1 . tcp . 20001, 192.0.2.1 . tcp . 21999 }'").ok();
        assert_eq!(elements("ports4").len(), 2998);
        off("two are gone");
        assert_eq!((elements("ports4").len(), elements("members4").len(), elements("outward").len()), (0, 0, 1));
        run("nft flush ruleset").ok();
        off("all of it is gone");
    });
}

#[test]
fn connections_of_an_address_are_forgotten_with_it() {
    host(|| {
        let machine = outside();
        let net = network(38, false);
        let (one, me) = container(&net, 2);
        let listener = machine.listen("0.0.0.0:80");
        assert!(one.tcp(&listener, "192.0.2.2:80").is_some());
        let known = || std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default();
        let entries = || known().lines().filter(|l| l.contains("10.88.38.2")).count();
        let before = entries();
        detach(&[me], &[]).expect("detached");
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        // Before 6.7 the kernel forgets by itself, later.
        if std::path::Path::new("/proc/thread-self/net/nf_conntrack").exists() && kernel.as_str() >= "6.7" {
            assert_eq!((before > 0, entries()), (true, 0));
        }
    });
}

#[test]
fn a_client_that_was_there_before_the_port_is_led_to_it() {
    host(|| {
        let machine = outside();
        let net = network(39, false);
        let client = machine.datagrams("192.0.2.2:5000");
        client.connect("192.0.2.1:53").expect("connected");
        client.send(b"early").expect("sent");
        let (space, me) = (Space::new(), member(&net, 2));
        let server = space.datagrams("0.0.0.0:5353");
        server.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("a timeout");
        let ports = [port("0.0.0.0", 53, Protocol::Udp, "10.88.39.2", 5353)];
        attach(space.pid(), &[&net], &[me], &ports).expect("attached");
        // An answer of the host that nobody listens may be waiting.
        drop(client.send(b"word"));
        drop(client.send(b"word"));
        let (length, from) = server.recv_from(&mut [0; 16]).expect("it is led there");
        assert_eq!((length, from.to_string().as_str()), (4, "192.0.2.2:5000"));
    });
}

#[test]
fn a_port_of_datagrams_leaves_those_of_others_alone() {
    host(|| {
        let machine = outside();
        let net = network(48, false);
        let (asking, _) = container(&net, 2);
        let resolver = machine.datagrams("192.0.2.2:53");
        resolver.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("a timeout");
        for (host, address) in [(3, "0.0.0.0"), (4, "192.0.2.1")] {
            let client = asking.datagrams("0.0.0.0:0");
            client.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("a timeout");
            // What is left of an earlier client's.
            resolver.set_nonblocking(true).expect("a socket");
            while resolver.recv(&mut [0; 16]).is_ok() {}
            resolver.set_nonblocking(false).expect("a socket");
            // A bridge that is new may lose the first.
            let ask = |_| {
                client.send_to(b"question", "192.0.2.2:53").ok()?;
                resolver.recv_from(&mut [0; 16]).ok()
            };
            let (_, from) = (0..5).find_map(ask).expect("a question");
            assert_eq!(from.ip().to_string(), "192.0.2.1");
            // Meanwhile the host's port with the same number is published.
            let (space, me) = (Space::new(), member(&net, host));
            let ports = [port(address, 53, Protocol::Udp, &format!("10.88.48.{host}"), 53)];
            attach(space.pid(), &[&net], std::slice::from_ref(&me), &ports).expect("attached");
            resolver.send_to(b"answer", from).expect("sent");
            assert_eq!(client.recv(&mut [0; 16]).expect("the answer arrives"), 6, "{address}");
            detach(&[me], &ports).expect("detached");
        }
    });
}

#[test]
fn whoever_listens_is_named() {
    host(|| {
        let listener = TcpListener::bind("127.0.0.1:8080").expect("a port");
        let own = i32::try_from(std::process::id()).ok();
        for (address, found) in [("127.0.0.1", true), ("0.0.0.0", true), ("127.0.0.2", false), ("::1", false)] {
            let holder = holder_of(address.parse().expect("an address"), 8080, Protocol::Tcp);
            assert_eq!(holder.map(|h| h.pid), found.then_some(own), "{address}");
        }
        drop(listener);
        let _both = TcpListener::bind("[::]:8081").expect("a port");
        assert!(holder_of("192.0.2.1".parse().expect("an address"), 8081, Protocol::Tcp).is_some());
        let _datagrams = std::net::UdpSocket::bind("0.0.0.0:8082").expect("a port");
        let holder = holder_of("127.0.0.1".parse().expect("an address"), 8082, Protocol::Udp).expect("somebody");
        assert!(holder.to_string().starts_with(&format!("process {} (", std::process::id())), "{holder}");
        assert_eq!(holder_of("127.0.0.1".parse().expect("an address"), 8082, Protocol::Sctp), None);
    });
}
