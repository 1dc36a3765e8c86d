//! What a network's policy lets pass between its members, and what a list lets a container reach outside: real traffic, and
//! beside each thing that must not arrive one like it that does.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;

use bulkhead_net::{
    Bridge, Denied, Drift, End, Flow, Member, Protocol, Reach, Traffic, denied, detach, pin, refresh, restore, verify,
};
use bulkhead_tests::net::{Space, container, declared, host, member, network, outside, port, run, sysctl, tcp};

fn ports(protocol: Protocol, first: u16, last: u16) -> Traffic {
    Traffic::Ports { protocol, first, last }
}

fn flow(network: &Bridge, from: u8, to: u8, traffic: Traffic) -> Flow {
    let end = |host| End::from(&member(network, host));
    Flow { from: end(from), to: end(to), traffic }
}

/// A network whose members reach each other by these flows alone.
fn limited(number: u8, flows: &[(u8, u8, Traffic)]) -> Bridge {
    let open = network(number, true);
    let policy = flows.iter().map(|(from, to, traffic)| flow(&open, *from, *to, *traffic)).collect();
    Bridge { policy: Some(policy), ..open }
}

/// Listeners of a container, of both families and protocols.
struct Servers {
    tcp: TcpListener,
    udp: UdpSocket,
}

fn serve(space: &Space, port: u16) -> Servers {
    Servers { tcp: space.listen(&format!("[::]:{port}")), udp: space.datagrams(&format!("[::]:{port}")) }
}

/// Those of these probes that arrive, all of them at once: from whom, by what, where to.
fn arriving<'a>(probes: &[(&Space, &Servers, &'a str)]) -> Vec<&'a str> {
    std::thread::scope(|scope| {
        let each: Vec<_> = probes
            .iter()
            .map(|(from, servers, to)| {
                scope.spawn(move || {
                    let (what, at) = to.split_once(' ').expect("a protocol and an address");
                    let came = match what {
                        "tcp" => from.tcp(&servers.tcp, at).is_some(),
                        "udp" => from.udp(&servers.udp, at).is_some(),
                        _ => from.pings(at),
                    };
                    came.then_some(*to)
                })
            })
            .collect();
        each.into_iter().filter_map(|one| one.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}

fn stopped(wanted: &str) -> u64 {
    let all = denied().expect("readable");
    let of = |d: &Denied| match d {
        Denied::Reason { reason, packets, .. } if reason == wanted => Some(*packets),
        _ => None,
    };
    all.iter().find_map(of).unwrap_or_else(|| panic!("no counter {wanted}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn only_stated_flows_pass_and_their_answers() {
    for filtered in ["1", "0"] {
        host(|| {
            sysctl("bridge/bridge-nf-call-iptables", filtered);
            sysctl("bridge/bridge-nf-call-ip6tables", filtered);
            sysctl("ipv6/conf/all/forwarding", "1");
            let flows = [(2, 3, ports(Protocol::Tcp, 80, 80)), (2, 3, ports(Protocol::Udp, 80, 80))];
            let net = limited(21, &flows);
            let ((web, a), (db, b), (third, c)) = (container(&net, 2), container(&net, 3), container(&net, 4));
            assert_eq!(verify(&declared(&[&net], &[a, b, c], &[])).expect("readable"), []);
            let (open, shut, own) = (serve(&db, 80), serve(&db, 81), serve(&web, 80));
            for to in ["tcp 10.88.21.3:80", "tcp [fd88:15::3]:80", "udp 10.88.21.3:80", "udp [fd88:15::3]:80"] {
                assert_eq!(arriving(&[(&web, &open, to)]), [to]);
            }
            // The host is no member; it reaches them all.
            assert!(tcp(&shut.tcp, "10.88.21.3:81").is_some() && tcp(&own.tcp, "[fd88:15::2]:80").is_some());
            // Other ports, the way back, a third one there and here, and an echo.
            let probes: Vec<(&Space, &Servers, &str)> = vec![
                (&web, &shut, "tcp 10.88.21.3:81"),
                (&web, &shut, "tcp [fd88:15::3]:81"),
                (&web, &shut, "udp 10.88.21.3:81"),
                (&web, &shut, "udp [fd88:15::3]:81"),
                (&db, &own, "tcp 10.88.21.2:80"),
                (&db, &own, "udp [fd88:15::2]:80"),
                (&third, &open, "tcp 10.88.21.3:80"),
                (&third, &own, "tcp [fd88:15::2]:80"),
                (&web, &open, "ping 10.88.21.3"),
                (&db, &open, "ping fd88:15::2"),
            ];
            assert_eq!(arriving(&probes), [""; 0]);
            assert!(stopped("policy") >= 8, "{}", stopped("policy"));
            let tried = |d: &Denied| {
                let Denied::Flow { from, to, protocol: 6, port: 81, unstated: true, packets } = d else { return false };
                (*from, *to) == (ip("10.88.21.2"), ip("10.88.21.3")) && *packets > 0
            };
            assert!(denied().expect("readable").iter().any(tried), "{:?}", denied());
            // Nor by way of the gateway, where the stated one goes as well.
            web.run("ip route add 10.88.21.3 via 10.88.21.1; ip -6 route add fd88:15::3 via fd88:15::1").ok();
            for to in ["tcp 10.88.21.3:80", "tcp [fd88:15::3]:80"] {
                assert_eq!(arriving(&[(&web, &open, to)]), [to], "by the gateway");
            }
            let round = [
                (&web, &shut, "tcp 10.88.21.3:81"),
                (&web, &shut, "udp [fd88:15::3]:81"),
                (&web, &open, "ping 10.88.21.3"),
            ];
            assert_eq!(arriving(&round), [""; 0], "by the gateway");
        });
    }
}

/// Datagrams from a stated port that nobody asked for, and segments that open a connection from there.
#[test]
fn an_answer_is_one_only_to_a_question() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let flows = [(2, 3, ports(Protocol::Udp, 53, 53)), (2, 3, ports(Protocol::Tcp, 53, 53))];
        let net = limited(22, &flows);
        let ((web, _), (db, _)) = (container(&net, 2), container(&net, 3));
        let (server, client) = (db.datagrams("0.0.0.0:53"), web.datagrams("0.0.0.0:4000"));
        client.set_read_timeout(Some(Duration::from_millis(700))).expect("a timeout");
        let mut buffer = [0; 16];
        server.send_to(b"unasked", "10.88.22.2:4000").expect("sent");
        assert!(client.recv_from(&mut buffer).is_err(), "nobody asked");
        client.send_to(b"question", "10.88.22.3:53").expect("sent");
        server.recv_from(&mut buffer).expect("the question comes");
        server.send_to(b"answer", "10.88.22.2:4000").expect("sent");
        client.recv_from(&mut buffer).expect("the answer comes");
        // To that port alone.
        let other = web.datagrams("0.0.0.0:4001");
        other.set_read_timeout(Some(Duration::from_millis(700))).expect("a timeout");
        server.send_to(b"unasked", "10.88.22.2:4001").expect("sent");
        assert!(other.recv_from(&mut buffer).is_err(), "another port asked");
        // What is larger than a frame comes in fragments, both ways.
        server.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
        let (large, mut room) = ([7_u8; 4000], [0_u8; 5000]);
        client.send_to(&large, "10.88.22.3:53").expect("sent");
        assert_eq!(server.recv_from(&mut room).expect("it comes").0, 4000);
        server.send_to(&large, "10.88.22.2:4000").expect("sent");
        assert_eq!(client.recv_from(&mut room).expect("it comes").0, 4000);
        // TCP from the stated port.
        let listener = web.listen("0.0.0.0:4000");
        let range = "echo 53 53 >/proc/sys/net/ipv4/ip_local_port_range";
        db.run(&format!("echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start && {range}")).ok();
        assert!(tcp(&listener, "10.88.22.2:4000").is_some());
        assert_eq!(db.tcp(&listener, "10.88.22.2:4000"), None);
        // A closed port says so at once: the error is about a flow.
        let refused = web.within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.connect("10.88.22.3:53").expect("connected");
            socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
            drop(server);
            socket.send(b"anybody?").expect("sent");
            socket.recv(&mut [0; 4]).expect_err("nobody is there").kind()
        });
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_policy_is_changed_while_containers_run() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let open = network(23, true);
        let ((web, a), (db, b)) = (container(&open, 2), container(&open, 3));
        let (eighty, other) = (serve(&db, 80), serve(&db, 81));
        let all = ["tcp 10.88.23.3:80", "udp [fd88:17::3]:80", "ping fd88:17::3"];
        assert_eq!(arriving(&all.map(|to| (&web, &eighty, to))), all);
        let with = |flows: &[(u8, u8, Traffic)]| {
            let net = limited(23, flows);
            let members = [&a, &b].map(|m| Member { limited: true, ..m.clone() });
            declared(&[&net], &members, &[])
        };
        // It is open where nothing should pass.
        let closed = with(&[]);
        assert!(verify(&closed).expect("readable").iter().any(|d| matches!(d, Drift::ElementWrong { .. })));
        refresh(&closed).expect("changed");
        assert_eq!(verify(&closed).expect("readable"), []);
        assert_eq!(arriving(&all.map(|to| (&web, &eighty, to))), [""; 0]);
        // Ranges, what lies in others, and an echo.
        let some =
            with(&[(2, 3, ports(Protocol::Tcp, 70, 80)), (2, 3, ports(Protocol::Tcp, 80, 80)), (2, 3, Traffic::Icmp)]);
        refresh(&some).expect("changed");
        assert_eq!(verify(&some).expect("readable"), []);
        assert_eq!(arriving(&all.map(|to| (&web, &eighty, to))), ["tcp 10.88.23.3:80", "ping fd88:17::3"]);
        assert_eq!(arriving(&[(&web, &other, "tcp 10.88.23.3:81")]), [""; 0]);
        // Everything one way, and then none of it: what was open is cut.
        refresh(&with(&[(2, 3, Traffic::Any)])).expect("changed");
        assert_eq!(arriving(&all.map(|to| (&web, &eighty, to))), all);
        let (there, here) = web.within(|| {
            let stream = std::net::TcpStream::connect("10.88.23.3:81").expect("it is open");
            (stream, other.tcp.accept().expect("it came").0)
        });
        refresh(&closed).expect("changed");
        here.set_read_timeout(Some(Duration::from_millis(700))).expect("a timeout");
        std::io::Write::write_all(&mut &there, b"late").expect("into its own buffer");
        assert!(std::io::Read::read(&mut &here, &mut [0; 4]).is_err());
        // And without one everything is as before.
        let free = declared(&[&open], &[a, b], &[]);
        refresh(&free).expect("changed");
        assert_eq!(verify(&free).expect("readable"), []);
        assert_eq!(arriving(&all.map(|to| (&web, &eighty, to))), all);
    });
}

/// Who comes later is given the flows with those that run; who goes takes his along, whoever gave them.
#[test]
fn flows_come_and_go_with_members() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let net = limited(24, &[(2, 3, ports(Protocol::Tcp, 80, 80)), (3, 2, Traffic::Icmp)]);
        let without = Bridge { policy: Some(Vec::new()), ..net.clone() };
        let (_web, a) = container(&without, 2);
        let (db, b) = container(&net, 3);
        assert_eq!(verify(&declared(&[&net], &[a.clone(), b.clone()], &[])).expect("readable"), []);
        detach(std::slice::from_ref(&a), &[]).expect("detached");
        assert_eq!(
            verify(&declared(&[&without], std::slice::from_ref(&b), &[])).expect("readable").len(),
            1,
            "its link"
        );
        // A start that fails leaves none behind either.
        let taken = Member { mac: b.mac, ..member(&net, 4) };
        let more = Bridge { policy: Some(vec![flow(&net, 4, 3, Traffic::Any)]), mtu: 1280, ..net.clone() };
        let space = Space::new();
        space.run("ip link add eth0 type bridge").ok();
        assert!(bulkhead_net::attach(space.pid(), &[&more], &[taken], &[]).is_err());
        assert_eq!(verify(&declared(&[&without], std::slice::from_ref(&b), &[])).expect("readable").len(), 1);
        // The next one with the same address has nothing of it.
        let (again, _) = container(&without, 2);
        let server = serve(&db, 80);
        assert_eq!(arriving(&[(&again, &server, "tcp 10.88.24.3:80")]), [""; 0]);
    });
}

/// A published port of a neighbour is no way round a policy.
#[test]
fn a_published_port_leads_members_no_further() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let outside = outside();
        let net = limited(25, &[(2, 3, ports(Protocol::Tcp, 80, 80)), (2, 3, ports(Protocol::Udp, 80, 80))]);
        let (web, _) = container(&net, 2);
        let (db, b) = (Space::new(), member(&net, 3));
        let published = [
            port("192.0.2.1", 8080, Protocol::Tcp, "10.88.25.3", 80),
            port("192.0.2.1", 8081, Protocol::Tcp, "10.88.25.3", 81),
            port("192.0.2.1", 8080, Protocol::Udp, "10.88.25.3", 80),
        ];
        bulkhead_net::attach(db.pid(), &[&net], &[b], &published).expect("attached");
        let (eighty, other) = (serve(&db, 80), serve(&db, 81));
        assert!(
            outside.tcp(&eighty.tcp, "192.0.2.1:8080").is_some() && outside.tcp(&other.tcp, "192.0.2.1:8081").is_some()
        );
        assert!(web.tcp(&eighty.tcp, "192.0.2.1:8080").is_some());
        assert!(web.udp(&eighty.udp, "192.0.2.1:8080").is_some());
        assert_eq!(web.tcp(&other.tcp, "192.0.2.1:8081"), None);
    });
}

fn reach(address: &str, prefix: u8, traffic: Traffic) -> Reach {
    Reach { address: ip(address), prefix, traffic }
}

#[test]
fn a_container_reaches_outside_what_its_list_has() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let outside = outside();
        outside.run("ip addr add 192.0.2.3/24 dev lan0").ok();
        let net = network(26, true);
        let list = vec![
            reach("192.0.2.2", 32, ports(Protocol::Tcp, 80, 80)),
            reach("192.0.2.0", 24, ports(Protocol::Tcp, 79, 80)),
            reach("192.0.2.2", 32, Traffic::Icmp),
            reach("2001:db8::", 64, ports(Protocol::Udp, 1, 65535)),
        ];
        let (one, a) = (Space::new(), Member { egress: Some(list), ..member(&net, 2) });
        let published = [port("192.0.2.1", 8080, Protocol::Tcp, "10.88.26.2", 80)];
        bulkhead_net::attach(one.pid(), &[&net], std::slice::from_ref(&a), &published).expect("attached");
        let (free, b) = container(&net, 3);
        // The way back for IPv6, which keeps its address here.
        outside.run("ip -6 route add fd88:1a::/64 via 2001:db8::1").ok();
        let all = declared(&[&net], &[a.clone(), b], &published);
        assert_eq!(verify(&all).expect("readable"), []);
        let (eighty, other) = (serve(&outside, 80), serve(&outside, 81));
        for to in ["tcp 192.0.2.2:80", "tcp 192.0.2.3:80", "udp [2001:db8::2]:80", "ping 192.0.2.2"] {
            assert_eq!(arriving(&[(&one, &eighty, to)]), [to]);
        }
        // The control is who has no list.
        let not = ["udp 192.0.2.2:80", "tcp [2001:db8::2]:80", "ping 192.0.2.3", "ping 2001:db8::2"];
        assert_eq!(arriving(&not.map(|to| (&free, &eighty, to))), not);
        assert_eq!(arriving(&not.map(|to| (&one, &eighty, to))), [""; 0]);
        assert_eq!(arriving(&[(&one, &other, "tcp 192.0.2.2:81")]), [""; 0]);
        assert!(stopped("egress") >= 4);
        let tried = |d: &Denied| matches!(d, Denied::Flow { to, protocol: 6, port: 81, unstated: false, .. } if *to == ip("192.0.2.2"));
        assert!(denied().expect("readable").iter().any(tried));
        // Members of its own network are not outside, and who comes to a published port is answered.
        let neighbour = serve(&free, 4444);
        assert_eq!(arriving(&[(&one, &neighbour, "tcp 10.88.26.3:4444")]).len(), 1);
        let own = serve(&one, 80);
        assert!(outside.tcp(&own.tcp, "192.0.2.1:8080").is_some());
        // With a set emptied nothing more is open.
        run("nft flush set inet bulkhead free4; nft flush set inet bulkhead egress4").ok();
        assert_eq!(arriving(&[(&free, &other, "tcp 192.0.2.2:81"), (&one, &eighty, "tcp 192.0.2.2:80")]), [""; 0]);
        restore(&all).expect("changed");
        assert_eq!(arriving(&[(&free, &other, "tcp 192.0.2.2:81")]).len(), 1);
        assert_eq!(arriving(&[(&one, &eighty, "tcp 192.0.2.2:80")]).len(), 1);
        detach(&[a], &published).expect("detached");
        assert_eq!(arriving(&[(&one, &eighty, "tcp 192.0.2.2:80")]), [""; 0]);
    });
}

#[test]
fn an_address_is_pinned_for_its_time() {
    host(|| {
        sysctl("ipv6/conf/all/forwarding", "1");
        let outside = outside();
        let net = network(27, true);
        let (one, a) = (Space::new(), Member { egress: Some(Vec::new()), ..member(&net, 2) });
        bulkhead_net::attach(one.pid(), &[&net], std::slice::from_ref(&a), &[]).expect("attached");
        outside.run("ip -6 route add fd88:1b::/64 via 2001:db8::1").ok();
        let (eighty, other) = (serve(&outside, 80), serve(&outside, 81));
        let (four, six) = ("tcp 192.0.2.2:80", "tcp [2001:db8::2]:80");
        assert_eq!(arriving(&[(&one, &eighty, four), (&one, &eighty, six)]), [""; 0]);
        let own = [ip("10.88.27.2"), ip("fd88:1b::2")];
        let web = [ports(Protocol::Tcp, 80, 80), ports(Protocol::Tcp, 443, 443)];
        let long = Duration::from_secs(600);
        pin(&own, ip("192.0.2.2"), &web, long).expect("pinned");
        pin(&own, ip("2001:db8::2"), &web, long).expect("pinned");
        assert_eq!(arriving(&[(&one, &eighty, four), (&one, &eighty, six)]), [four, six]);
        assert_eq!(arriving(&[(&one, &other, "tcp 192.0.2.2:81")]), [""; 0]);
        // A shorter time, which is over.
        pin(&own, ip("192.0.2.2"), &web, Duration::from_millis(200)).expect("pinned again");
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(arriving(&[(&one, &eighty, four), (&one, &eighty, six)]), [six]);
        // It is of no concern to what is declared, and goes with the container.
        assert_eq!(verify(&declared(&[&net], std::slice::from_ref(&a), &[])).expect("readable"), []);
        detach(&[a], &[]).expect("detached");
        let left = run("nft list set inet bulkhead pinned4; nft list set inet bulkhead pinned6").ok();
        assert!(!left.contains("2001:db8"), "{left}");
    });
}
