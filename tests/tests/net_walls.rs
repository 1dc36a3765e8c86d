//! What a container with raw sockets sends that is not its own: dropped and counted, and each time what is its own passes,
//! and without the walls the same frame arrives.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};

use bulkhead_net::{Bridge, Denied, Member, denied, mend, verify};
use bulkhead_tests::net::{Space, container, declared, frames, host, network, run, sysctl};

const MARK: &str = "6275c86b68e461d5";
const FOREIGN: [u8; 6] = [2, 0x99, 0, 0, 0, 0x99];

/// Bytes in which `MARK` is.
fn marked() -> Vec<u8> {
    bytes(MARK)
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("a byte")).collect()
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|b| format!("{b:02x}")).collect()
}

fn ether(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

fn sum(parts: &[&[u8]]) -> [u8; 2] {
    let all = parts.concat();
    let words = all.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}

fn ip4(from: [u8; 4], to: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("short").to_be_bytes();
    let mut header = [&[0x45, 0][..], &length, &[0, 1, 0, 0, 64, protocol, 0, 0], &from, &to].concat();
    let check = sum(&[&header]);
    header[10..12].copy_from_slice(&check);
    [&header, payload].concat()
}

fn ip6(from: [u8; 16], to: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    [&[0x60, 0, 0, 0][..], &length, &[next, 255], &from, &to, payload].concat()
}

fn icmp6(from: [u8; 16], to: [u8; 16], message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let check = sum(&[&from, &to, &length, &[0, 0, 0, 58], message]);
    [&message[..2], &check, &message[4..]].concat()
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    let length = u16::try_from(8 + marked().len()).expect("short").to_be_bytes();
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length, &[0, 0], &marked()].concat()
}

/// An ARP answer: who says that an address is his.
fn arp(mac: [u8; 6], address: [u8; 4], to: [u8; 6]) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, 2][..], &mac, &address, &to, &[10, 88, 20, 3], &marked()].concat()
}

fn link_local(mac: [u8; 6]) -> [u8; 16] {
    let [a, b, c, d, e, f] = mac;
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

/// A frame that somebody sends: why it is stopped, and itself.
struct Evil {
    name: &'static str,
    reason: &'static str,
    frame: Vec<u8>,
}

/// A network with an attacker, a victim, and what the one can send to the other.
struct Scene {
    net: Bridge,
    attacker: Space,
    victim: Space,
    members: [Member; 2],
}

impl Scene {
    fn new() -> Self {
        sysctl("ipv6/conf/all/forwarding", "1");
        let net = network(20, true);
        let ((attacker, a), (victim, b)) = (container(&net, 2), container(&net, 3));
        Self { net, attacker, victim, members: [a, b] }
    }

    fn own(&self) -> ([u8; 6], [u8; 4], [u8; 16]) {
        let [a, _] = &self.members;
        (a.mac, a.v4.expect("IPv4").octets(), a.v6.expect("IPv6").octets())
    }

    fn other(&self) -> ([u8; 6], [u8; 4], [u8; 16]) {
        let [_, b] = &self.members;
        (b.mac, b.v4.expect("IPv4").octets(), b.v6.expect("IPv6").octets())
    }

    /// How many marked frames the victim gets of these.
    fn arrive(&self, sent: &[&[u8]]) -> u32 {
        let program = frames();
        let mut counting = self.victim.within(|| {
            let program = Command::new(program).args(["count", "eth0", MARK, "250"]).stdout(Stdio::piped()).spawn();
            program.expect("it starts")
        });
        let mut out = BufReader::new(counting.stdout.take().expect("its output"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a word");
        let all: Vec<String> = sent.iter().map(|f| hex(f)).collect();
        self.attacker.run(&format!("{} send eth0 {}", program.display(), all.join(" "))).ok();
        line.clear();
        out.read_line(&mut line).expect("a number");
        assert!(counting.wait().expect("an end").success());
        line.trim().parse().expect("a number")
    }

    fn rightful(&self) -> Vec<Evil> {
        let (mac, v4, v6) = self.own();
        let (to, to4, to6) = self.other();
        let advertised = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &v6, &[2, 1], &mac, &marked()].concat();
        let plain = |name, frame| Evil { name, reason: "", frame };
        vec![
            plain("UDP", ether(to, mac, 0x0800, &ip4(v4, to4, 17, &udp(9, 9)))),
            plain("UDP, IPv6", ether(to, mac, 0x86dd, &ip6(v6, to6, 17, &udp(9, 9)))),
            plain("ARP", ether(to, mac, 0x0806, &arp(mac, v4, to))),
            plain("neighbour", ether(to, mac, 0x86dd, &ip6(v6, to6, 58, &icmp6(v6, to6, &advertised)))),
        ]
    }

    fn evil(&self) -> Vec<Evil> {
        let mut all = self.evil4();
        all.extend(self.evil6());
        all.extend(self.evil_frames());
        all
    }

    fn evil4(&self) -> Vec<Evil> {
        let (mac, v4, _) = self.own();
        let (to, to4, _) = self.other();
        let packet = ip4(v4, to4, 17, &udp(9, 9));
        let redirect = [&[5, 1, 0, 0, 10, 88, 20, 2][..], &packet, &marked()].concat();
        let evil = |name, reason, frame| Evil { name, reason, frame };
        vec![
            evil("foreign MAC", "source", ether(to, FOREIGN, 0x0800, &packet)),
            evil("MAC of the victim", "source", ether([0xff; 6], to, 0x0800, &packet)),
            evil("foreign address", "source", ether(to, mac, 0x0800, &ip4([10, 88, 20, 77], to4, 17, &udp(9, 9)))),
            evil(
                "address of the gateway",
                "source",
                ether(to, mac, 0x0800, &ip4([10, 88, 20, 1], to4, 17, &udp(9, 9))),
            ),
            evil("ARP for the gateway", "source", ether(to, mac, 0x0806, &arp(mac, [10, 88, 20, 1], to))),
            evil("ARP with another MAC", "source", ether(to, mac, 0x0806, &arp(FOREIGN, v4, to))),
            evil("ARP in a foreign frame", "source", ether(to, FOREIGN, 0x0806, &arp(mac, v4, to))),
            evil("DHCP server", "dhcp", ether(to, mac, 0x0800, &ip4(v4, to4, 17, &udp(67, 68)))),
            evil("redirect", "router", ether(to, mac, 0x0800, &ip4(v4, to4, 1, &redirect))),
            evil("broadcast", "multicast", ether([0xff; 6], mac, 0x0800, &ip4(v4, [255; 4], 17, &udp(9, 9)))),
            evil(
                "multicast",
                "multicast",
                ether([1, 0, 0x5e, 0, 0, 0xfb], mac, 0x0800, &ip4(v4, [224, 0, 0, 251], 17, &udp(9, 9))),
            ),
        ]
    }

    fn evil6(&self) -> Vec<Evil> {
        let (mac, _, v6) = self.own();
        let (to, _, to6) = self.other();
        let local = link_local(mac);
        let gateway = "fd88:14::1".parse::<std::net::Ipv6Addr>().expect("an address").octets();
        let mut foreign = v6;
        foreign[15] = 0x77;
        let router = [&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &marked()].concat();
        let lie = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &gateway, &[2, 1], &mac, &marked()].concat();
        let redirect = [&[137, 0, 0, 0, 0, 0, 0, 0][..], &v6, &gateway, &marked()].concat();
        let hidden = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &icmp6(local, to6, &router)].concat();
        let piece = [&[17, 0, 0, 0, 0, 0, 0, 1][..], &udp(9, 9)].concat();
        let frame = |from, next, payload: &[u8]| ether(to, mac, 0x86dd, &ip6(from, to6, next, payload));
        let evil = |name, reason, frame| Evil { name, reason, frame };
        vec![
            evil("foreign IPv6 address", "source", frame(foreign, 17, &udp(9, 9))),
            evil("foreign IPv6 fragment", "source", frame(foreign, 44, &piece)),
            evil("foreign IPv6 MAC", "source", ether(to, FOREIGN, 0x86dd, &ip6(v6, to6, 17, &udp(9, 9)))),
            evil("unspecified address", "source", frame([0; 16], 17, &udp(9, 9))),
            evil("router advertisement", "router", frame(local, 58, &icmp6(local, to6, &router))),
            evil("router advertisement behind options", "router", frame(local, 0, &hidden)),
            evil("router advertisement from an address", "router", frame(v6, 58, &icmp6(v6, to6, &router))),
            evil("neighbour advertisement for the gateway", "source", frame(v6, 58, &icmp6(v6, to6, &lie))),
            evil("redirect, IPv6", "router", frame(local, 58, &icmp6(local, to6, &redirect))),
            evil("DHCP server, IPv6", "dhcp", frame(v6, 17, &udp(547, 546))),
            evil("link-local", "linklocal", frame(local, 17, &udp(9, 9))),
        ]
    }

    fn evil_frames(&self) -> Vec<Evil> {
        let (mac, v4, _) = self.own();
        let (to, to4, _) = self.other();
        let packet = ip4(v4, to4, 17, &udp(9, 9));
        let tagged = |tag: u16| [&tag.to_be_bytes()[..], &0x0800_u16.to_be_bytes(), &packet].concat();
        let twice = [&[0, 7, 0x81, 0][..], &tagged(9)].concat();
        let evil = |name, frame| Evil { name, reason: "frame", frame };
        vec![
            evil("VLAN", ether(to, mac, 0x8100, &tagged(7))),
            evil("VLAN of priority only", ether(to, mac, 0x8100, &tagged(0xe000))),
            evil("VLAN of a provider", ether(to, mac, 0x88a8, &tagged(7))),
            evil("VLAN in VLAN", ether(to, mac, 0x88a8, &twice)),
            evil("PPPoE", ether(to, mac, 0x8864, &marked())),
            evil("ARP of another kind", ether(to, mac, 0x0806, &[&[0, 6, 8, 0, 6, 4, 0, 2], &marked()[..]].concat())),
        ]
    }
}

/// Packets stopped by reason.
fn stopped() -> BTreeMap<String, u64> {
    let all = denied().expect("readable").into_iter();
    all.filter_map(|d| if let Denied::Reason { reason, packets, .. } = d { Some((reason, packets)) } else { None })
        .collect()
}

/// As if the table were nobody's and the ports like any other's.
fn tear_down(scene: &Scene) {
    run("nft delete table bridge bulkhead").ok();
    tear_down_ports(scene);
}

#[test]
fn what_is_not_its_own_is_dropped_and_counted() {
    host(|| {
        let scene = Scene::new();
        for right in scene.rightful() {
            assert_eq!(scene.arrive(&[&right.frame]), 1, "{}", right.name);
        }
        assert!(stopped().values().all(|n| *n == 0), "{:?}", stopped());
        let all = scene.evil();
        for evil in &all {
            let before = stopped();
            assert_eq!(scene.arrive(&[&evil.frame]), 0, "{} arrived", evil.name);
            assert_eq!(
                stopped()[evil.reason],
                before[evil.reason] + 1,
                "{} is not counted: {:?}",
                evil.name,
                stopped()
            );
        }
        // Each is written down for the link that it came by, and nobody else.
        let by: Vec<(String, String, u64)> = denied()
            .expect("readable")
            .into_iter()
            .filter_map(|d| {
                if let Denied::Frames { reason, link, packets } = d { Some((reason, link, packets)) } else { None }
            })
            .collect();
        assert!(by.iter().all(|(_, link, _)| *link == scene.members[0].host_link), "{by:?}");
        for (reason, count) in stopped().iter().filter(|(_, n)| **n > 0) {
            assert!(by.iter().any(|(r, _, n)| r == reason && n == count), "{reason} {count}: {by:?}");
        }
        // The control: without the walls every one of them arrives.
        tear_down(&scene);
        for evil in &all {
            assert_eq!(scene.arrive(&[&evil.frame]), 1, "{} does not arrive without walls", evil.name);
        }
    });
}

#[test]
fn the_bridge_alone_stops_foreign_link_addresses() {
    host(|| {
        let scene = Scene::new();
        // Somebody flushed every table: what is left is the bridge's own lock.
        run("nft flush ruleset").ok();
        let (mac, v4, _) = scene.own();
        let (to, to4, _) = scene.other();
        let packet = ip4(v4, to4, 17, &udp(9, 9));
        assert_eq!(scene.arrive(&[&ether(to, mac, 0x0800, &packet)]), 1);
        assert_eq!(scene.arrive(&[&ether(to, FOREIGN, 0x0800, &packet)]), 0);
        // A frame to a link-local group address is not the bridge's, and teaches it nothing.
        let lldp = ether([1, 0x80, 0xc2, 0, 0, 0x0e], FOREIGN, 0x88cc, &marked());
        scene.arrive(&[&lldp]);
        let known = || run("bridge fdb show br bh-000000000014").ok();
        assert!(!known().contains("02:99:00:00:00:99"), "{}", known());
        let declared = declared(&[&scene.net], &scene.members, &[]);
        assert!(!verify(&declared).expect("readable").is_empty());
        tear_down_ports(&scene);
        scene.arrive(&[&lldp]);
        assert!(known().contains("02:99:00:00:00:99"), "{}", known());
        // And mending locks them again.
        let drift = mend(&declared).expect("mended");
        assert!(drift.iter().any(|d| d.to_string().contains("any address")), "{drift:?}");
        assert_eq!(verify(&declared).expect("readable"), []);
        assert_eq!(scene.arrive(&[&ether(to, FOREIGN, 0x0800, &packet)]), 0);
    });
}

fn tear_down_ports(scene: &Scene) {
    for member in &scene.members {
        run(&format!("bridge link set dev {} locked off learning on flood on", member.host_link)).ok();
    }
}

/// What came to the host: datagrams with the mark, and echo requests of either family.
struct Arrived {
    socket: UdpSocket,
}

impl Arrived {
    fn echoes() -> u64 {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("counters");
        let (snmp, snmp6) = (read("snmp"), read("snmp6"));
        let mut icmp = snmp.lines().filter(|l| l.starts_with("Icmp:"));
        let (names, values) = (icmp.next().expect("names"), icmp.next().expect("values"));
        let at = names.split(' ').position(|n| n == "InEchos").expect("echoes");
        let v4: u64 = values.split(' ').nth(at).expect("a value").parse().expect("a number");
        let v6 = snmp6.lines().find(|l| l.starts_with("Icmp6InEchos ")).expect("echoes");
        v4 + v6.split_whitespace().nth(1).expect("a value").parse::<u64>().expect("a number")
    }

    /// Whether the host's own IP took this frame.
    fn takes(&self, attacker: &Space, frame: &[u8]) -> bool {
        let before = Self::echoes();
        attacker.run(&format!("{} send eth0 {}", frames().display(), hex(frame))).ok();
        self.socket.recv(&mut [0; 64]).is_ok() || Self::echoes() != before
    }
}

/// Packets to the host in frames to group addresses that no bridge forwards, from own and from foreign addresses.
fn past_the_bridge(scene: &Scene) -> Vec<(String, Vec<u8>)> {
    let (mac, v4, v6) = scene.own();
    let gateway = "fd88:14::1".parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let echo = [&[8, 0, 0, 0, 0, 1, 0, 1][..], &marked()].concat();
    let echo = [&echo[..2], &sum(&[&echo]), &echo[4..]].concat();
    let echo6 = icmp6(v6, gateway, &[&[128, 0, 0, 0, 0, 1, 0, 1][..], &marked()].concat());
    let mut all = Vec::new();
    for last in [0x03, 0x0e] {
        let to = [1, 0x80, 0xc2, 0, 0, last];
        for from in [v4, [10, 88, 20, 77], [192, 0, 2, 7]] {
            for host in [[10, 88, 20, 1], [192, 0, 2, 1]] {
                for mac in [mac, FOREIGN] {
                    let name = format!("{last:02x} {mac:02x?} {from:?} {host:?}");
                    all.push((format!("UDP {name}"), ether(to, mac, 0x0800, &ip4(from, host, 17, &udp(9, 5353)))));
                    all.push((format!("echo {name}"), ether(to, mac, 0x0800, &ip4(from, host, 1, &echo))));
                }
            }
        }
        all.push((format!("echo {last:02x} IPv6"), ether(to, mac, 0x86dd, &ip6(v6, gateway, 58, &echo6))));
    }
    all
}

#[test]
fn no_frame_gets_to_the_host_past_the_bridge() {
    host(|| {
        let scene = Scene::new();
        run("ip addr add 192.0.2.1/32 dev lo").ok();
        let link = &scene.members[0].host_link;
        let socket = UdpSocket::bind("0.0.0.0:5353").expect("a port");
        socket.set_read_timeout(Some(std::time::Duration::from_millis(40))).expect("a timeout");
        let arrived = Arrived { socket };
        // Nothing but the walls is to stop them.
        for at in ["all", link] {
            sysctl(&format!("ipv4/conf/{at}/rp_filter"), "0");
        }
        sysctl(&format!("ipv6/conf/{link}/disable_ipv6"), "0");
        let all = past_the_bridge(&scene);
        for (name, frame) in &all {
            let before = stopped();
            assert!(!arrived.takes(&scene.attacker, frame), "{name} arrived");
            assert_eq!(stopped()["bypass"], before["bypass"] + 1, "{name} is not counted: {:?}", stopped());
        }
        // Who asks by ARP there is not noted as a neighbour.
        let (mac, v4, _) = scene.own();
        let question = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac, &v4, &[0; 6], &[10, 88, 20, 1]].concat();
        let question = hex(&ether([1, 0x80, 0xc2, 0, 0, 0x0e], mac, 0x0806, &question));
        let neighbours = || {
            scene.attacker.run(&format!("{} send eth0 {question}", frames().display())).ok();
            run(&format!("ip -4 neigh show dev {link}")).ok()
        };
        assert_eq!(neighbours(), "");
        // The control: without the walls all of it arrives.
        run("nft flush ruleset").ok();
        for (name, frame) in &all {
            // Twice, for a machine that is busy.
            let arrives = || arrived.takes(&scene.attacker, frame);
            assert!(arrives() || arrives(), "{name} does not arrive without walls");
        }
        run(&format!("ip link set {link} arp on")).ok();
        assert!(neighbours().contains("10.88.20.2"));
    });
}

#[test]
fn a_router_advertisement_changes_no_route_of_the_host() {
    host(|| {
        let scene = Scene::new();
        let (mac, ..) = scene.own();
        let (local, all) = (link_local(mac), "ff02::1".parse::<std::net::Ipv6Addr>().expect("an address").octets());
        // A prefix for documentation, to be routed to its sender.
        let prefix = [&[3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8][..], &[0; 12]].concat();
        let message = [&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &prefix].concat();
        let frame = ether([0x33, 0x33, 0, 0, 0, 1], mac, 0x86dd, &ip6(local, all, 58, &icmp6(local, all, &message)));
        let routes = || run("ip -6 route").ok() + &scene.victim.run("ip -6 route").ok();
        let before = routes();
        scene.arrive(&[&frame]);
        assert_eq!(routes(), before);
        // Also without the firewall: nobody here listens to routers.
        tear_down(&scene);
        scene.arrive(&[&frame]);
        assert_eq!(routes(), before);
        // The control is a link that does.
        scene.victim.within(|| sysctl("ipv6/conf/eth0/accept_ra", "2"));
        scene.arrive(&[&frame]);
        assert_ne!(routes(), before);
    });
}

#[test]
fn a_network_without_ipv6_has_none() {
    host(|| {
        let net = network(21, false);
        let ((one, a), (other, b)) = (container(&net, 2), container(&net, 3));
        for space in [&one, &other] {
            assert_eq!(space.run("ip -6 -o addr show dev eth0").ok(), "");
        }
        for link in [&net.link, &a.host_link, &b.host_link] {
            assert_eq!(run(&format!("ip -6 -o addr show dev {link}")).ok(), "", "{link}");
        }
        // A container that gives itself one gets nowhere.
        one.within(|| sysctl("ipv6/conf/eth0/disable_ipv6", "0"));
        other.within(|| sysctl("ipv6/conf/eth0/disable_ipv6", "0"));
        other.run("ip -6 addr add fd00:9::3/64 dev eth0 nodad").ok();
        one.run("ip -6 addr add fd00:9::2/64 dev eth0 nodad").ok();
        assert!(one.pings("10.88.21.3") && !one.pings("fd00:9::3"));
    });
}
