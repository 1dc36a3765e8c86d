//! Networks of the drivers `macvlan` and `ipvlan`: containers that are machines beside the host, on a link of its own. As
//! root, in a network namespace that plays the host, with a machine at the other end of its link `lan0`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use bulkhead_sys::clone;
use bulkhead_tests::net::{Space, frames, outside, page, run};
use bulkhead_tests::{Bench, eventually, is_root, skip};

/// A web server whose one page is the name of its container, on every address.
fn serve(bench: &Bench, name: &str, flags: &[&str]) {
    let script = "mkdir /tmp/www && hostname > /tmp/www/index.html && exec busybox httpd -f -p 80 -h /tmp/www";
    let words = [&["run", "-d", "--name", name, "--hostname", name], flags, &["host", "sh", "-c", script]].concat();
    bench.say(&words).ok();
}

fn has(machine: &Space, to: &str, name: &str) -> bool {
    eventually(15, || machine.within(|| page(to)).is_some_and(|page| page == name))
}

/// Whether a container opens a connection within so many seconds.
fn opens(bench: &Bench, name: &str, to: &str, port: u16, seconds: &str) -> bool {
    let script = "exec 3<>/dev/tcp/$0/$1";
    bench.say(&["exec", name, "timeout", seconds, "bash", "-ec", script, to, &port.to_string()]).code == 0
}

fn reaches(bench: &Bench, name: &str, to: &str, port: u16) -> bool {
    opens(bench, name, to, port, "10")
}

fn apart(bench: &Bench, name: &str, to: &str, port: u16) -> bool {
    !opens(bench, name, to, port, "1")
}

/// Acts in the network namespace of a container.
fn within<T: Send>(bench: &Bench, name: &str, act: impl FnOnce() -> T + Send) -> T {
    let theirs = File::open(format!("/proc/{}/ns/net", bench.pid_of(name))).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            clone::join(std::os::fd::AsFd::as_fd(&theirs), clone::NEWNET).unwrap();
            act()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether this kernel makes links of a kind on `lan0`.
fn makes(kind: &str) -> bool {
    let made = run(&format!("ip link add link lan0 name bhtry type {kind} && ip link del bhtry"));
    made.code == 0
}

/// The network of `lan0`, in both families: the machine is its router.
fn create(bench: &Bench, name: &str, driver: &str, more: &[&str]) {
    let addresses = ["--subnet", "192.0.2.0/24", "--gateway", "192.0.2.2", "--ip-range", "192.0.2.64/26"];
    let six = ["--ipv6", "--subnet", "2001:db8::/64", "--gateway", "2001:db8::2"];
    let words =
        [&["network", "create", "-d", driver, "-o", "parent=lan0"], &addresses[..], &six, more, &[name]].concat();
    let said = bench.say(&words);
    assert!(said.err.contains("'network inspect' says what holds"), "{said:?}");
    said.ok();
}

fn look(bench: &Bench, name: &str, field: &str) -> String {
    let value = bench.look(name, &format!("/NetworkSettings/Networks/lan/{field}"));
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn containers_are_machines_beside_the_host() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let machine = outside();
    // What is beyond the router.
    machine.run("ip addr add 198.51.100.1/32 dev lo; ip addr add 2001:db8:9::1/128 dev lo nodad").ok();
    create(&bench, "lan", "macvlan", &[]);
    serve(&bench, "web", &["--network", "lan", "--ip", "192.0.2.70", "--network-alias", "www"]);
    serve(&bench, "db", &["--network", "lan"]);
    assert_eq!(look(&bench, "db", "IPAddress"), "192.0.2.64");
    let six = look(&bench, "web", "GlobalIPv6Address");
    assert!(has(&machine, "192.0.2.70:80", "web") && has(&machine, &format!("[{six}]:80"), "web"));
    // Each other, by address and by name; and what is outside, with their own addresses.
    for to in ["192.0.2.70", "web", "www", &six] {
        assert!(reaches(&bench, "db", to, 80), "{to}");
    }
    let listener = machine.listen("[::]:7000");
    for (to, from) in
        [("198.51.100.1", "192.0.2.64".to_owned()), ("2001:db8:9::1", look(&bench, "db", "GlobalIPv6Address"))]
    {
        assert!(reaches(&bench, "db", to, 7000), "{to}");
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip().to_canonical().to_string(), from);
    }
    // Not the host: the kernel parts a link from those on it.
    let own = TcpListener::bind("0.0.0.0:7001").unwrap();
    assert!(apart(&bench, "db", "192.0.2.1", 7001) && page("192.0.2.70:80").is_none());
    drop(own);
    // Link-local addresses, where metadata services are, as on every network.
    machine.run("ip addr add 169.254.169.254/32 dev lo").ok();
    assert!(apart(&bench, "db", "169.254.169.254", 7000));
    // What is shown.
    let shown = bench.say(&["network", "inspect", "lan"]).ok();
    for part in
        ["\"Driver\": \"macvlan\"", "\"Parent\": \"lan0\"", "\"Mode\": \"bridge\"", "\"NotHeld\"", "192.0.2.70/24"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(bench.say(&["network", "ls", "-f", "driver=macvlan"]).ok().contains("lan"));
    assert!(bench.say(&["network", "graph"]).ok().contains("macvlan on lan0 192.0.2.0/24"));
    assert!(bench.say(&["explain", "db"]).ok().contains("macvlan on lan0, past the host's firewall"));
    assert!(bench.say(&["events", "--since", "1h", "--until", "0s"]).ok().contains("type=macvlan"));
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    // No bridge and no rule of ours is there for it.
    assert_eq!(run("ip -br link show type bridge; nft list ruleset").ok(), "");
    // On and off while it runs, and back with a way out.
    bench.say(&["network", "disconnect", "lan", "db"]).ok();
    assert!(
        apart(&bench, "db", "192.0.2.70", 80) && bench.say(&["exec", "db", "ip", "link", "show", "eth0"]).code != 0
    );
    bench.say(&["network", "connect", "--ip", "192.0.2.99", "lan", "db"]).ok();
    assert!(has(&machine, "192.0.2.99:80", "db") && reaches(&bench, "db", "198.51.100.1", 7000));
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    assert!(bench.say(&["network", "rm", "lan"]).fails(1).contains("active endpoints"));
    bench.say(&["rm", "-f", "web", "db"]).ok();
    bench.say(&["network", "rm", "lan"]).ok();
    // The host's own link stays.
    run("ip link show lan0").ok();
}

#[test]
fn with_a_bridge_beside_it_each_network_is_what_it_is() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let machine = outside();
    create(&bench, "lan", "macvlan", &["-o", "macvlan_mode=private"]);
    serve(&bench, "web", &["--network", "lan", "--network", "bridge", "-p", "8080:80"]);
    serve(&bench, "db", &["--network", "lan"]);
    assert!(has(&machine, &format!("{}:80", look(&bench, "web", "IPAddress")), "web"));
    // The port leads there by the bridge.
    assert!(eventually(5, || page("127.0.0.1:8080").as_deref() == Some("web")));
    // Private: neither by address nor by name.
    assert!(apart(&bench, "db", &look(&bench, "web", "IPAddress"), 80));
    assert!(bench.say(&["network", "graph"]).ok().contains("members do not reach each other"));
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    // A new network of the same parent beside it, and one that has it for itself.
    let same = [
        "network",
        "create",
        "-d",
        "macvlan",
        "-o",
        "parent=lan0",
        "-o",
        "macvlan_mode=passthru",
        "--subnet",
        "10.7.0.0/24",
    ];
    let error = bench.say(&[&same[..], &["alone"]].concat()).fails(1);
    assert!(error.contains("parent=lan0") && error.contains("network lan is on it"), "{error}");
    bench.say(&["rm", "-f", "web", "db"]).ok();
    bench.say(&["network", "rm", "lan"]).ok();
    bench.say(&[&same[..], &["alone"]].concat()).ok();
    serve(&bench, "only", &["--network", "alone"]);
    let mac = |text: String| text.split_whitespace().skip_while(|w| *w != "link/ether").nth(1).map(str::to_owned);
    let inside = mac(bench.say(&["exec", "only", "ip", "link", "show", "eth0"]).ok());
    assert_eq!(inside, mac(run("ip link show lan0").ok()));
    assert_eq!(bench.look("only", "/NetworkSettings/Networks/alone/MacAddress"), "");
    let error = bench.say(&["run", "--rm", "--network", "alone", "host", "true"]).fails(125);
    assert!(error.contains("\"lan0\" takes no macvlan link") && error.contains("passthru"), "{error}");
    let error = bench.say(&["run", "--rm", "--network", "alone", "--mac-address", "02:00:00:00:00:09", "host", "true"]);
    assert!(error.fails(125).contains("--mac-address 02:00:00:00:00:09 is refused"));
    bench.say(&["rm", "-f", "only"]).ok();
    bench.say(&["network", "prune", "-f"]).ok();
}

/// A frame in hexadecimal.
fn frame(to: &str, from: &str, kind: &str, rest: &str) -> String {
    let hex = |text: &str| text.replace([':', ' '], "");
    format!("{}{}{}{}{MARK}", hex(to), hex(from), kind, hex(rest))
}

const MARK: &str = "b001ca2d5eed77a1";

/// How many marked frames the machine gets of these, sent by a link of the container with every right there.
fn arrive(bench: &Bench, machine: &Space, sent: &[String]) -> String {
    let program = frames();
    let mut counting = machine.within(|| {
        let mut program = Command::new(program);
        program.args(["count", "lan0", MARK, "400"]).stdout(Stdio::piped()).spawn().unwrap()
    });
    let mut out = BufReader::new(counting.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // What a wall stops is an error for who sends it; the others are sent all the same.
    let said = within(bench, "web", || run(&format!("{} send eth0 {}", program.display(), sent.join(" "))));
    assert!([0, 2].contains(&said.code) && !said.err.contains("frames:"), "{said:?}");
    line.clear();
    out.read_line(&mut line).unwrap();
    counting.wait().unwrap();
    line.trim().to_owned()
}

#[test]
fn a_container_is_held_to_its_own_addresses() {
    if !is_root() {
        return;
    }
    if run("command -v cc").code != 0 {
        return skip("a_container_is_held_to_its_own_addresses", "a C compiler, for what sends frames");
    }
    let bench = Bench::new();
    let machine = outside();
    create(&bench, "lan", "macvlan", &[]);
    serve(&bench, "web", &["--network", "lan", "--ip", "192.0.2.70", "--ip6", "2001:db8::70"]);
    let mac = look(&bench, "web", "MacAddress");
    let beyond = machine.run("ip -br link show lan0").ok();
    let (to, own) = (beyond.split_whitespace().nth(2).unwrap(), mac.as_str());
    // With its true length, or nothing looks further into it: the mark is behind the rest.
    let length = |rest: &str| rest.replace([' ', ':'], "").len() / 2 + MARK.len() / 2;
    let ip4 = |from: &str, to: &str, protocol: &str, rest: &str| {
        format!("4500 {:04x} 0000 0000 40{protocol} 0000 {from} {to} {rest}", 20 + length(rest))
    };
    let ip6 = |from: &str, to: &str, next: &str, rest: &str| {
        format!("6000 0000 {:04x} {next}ff {from} {to} {rest}", length(rest))
    };
    let (own4, own6) = ("c0000246", "20010db8000000000000000000000070");
    let (other4, other6) = ("c0000202", "20010db8000000000000000000000002");
    let (udp, dhcp) = ("0009 0009 0010 0000", "0043 0044 0010 0000");
    let good = [
        frame(to, own, "0800", &ip4(own4, other4, "11", udp)),
        frame(to, own, "86dd", &ip6(own6, other6, "11", udp)),
        frame("ff:ff:ff:ff:ff:ff", own, "0806", &format!("0001 0800 0604 0001 {own} {own4} 000000000000 {other4}")),
    ];
    let foreign = "02:00:00:00:00:66";
    let evil = [
        ("foreign hardware address", frame(to, foreign, "0800", &ip4(own4, other4, "11", udp))),
        ("foreign address", frame(to, own, "0800", &ip4("c0000263", other4, "11", udp))),
        (
            "foreign address of version 6",
            frame(to, own, "86dd", &ip6("20010db8000000000000000000000063", other6, "11", udp)),
        ),
        (
            "an answer of ARP for another",
            frame(to, own, "0806", &format!("0001 0800 0604 0002 {own} c0000263 {to} {other4}")),
        ),
        (
            "ARP with a foreign hardware address",
            frame(to, own, "0806", &format!("0001 0800 0604 0002 {foreign} {own4} {to} {other4}")),
        ),
        ("multicast", frame("01:00:5e:00:00:fb", own, "0800", &ip4(own4, "e00000fb", "11", udp))),
        ("broadcast", frame("ff:ff:ff:ff:ff:ff", own, "0800", &ip4(own4, "c00002ff", "11", udp))),
        ("metadata", frame(to, own, "0800", &ip4(own4, "a9fea9fe", "11", udp))),
        ("an answer of DHCP", frame(to, own, "0800", &ip4(own4, other4, "11", dhcp))),
        ("ICMP redirect", frame(to, own, "0800", &ip4(own4, other4, "01", "0501 0000 c0000246"))),
        (
            "router advertisement",
            frame(
                "33:33:00:00:00:01",
                own,
                "86dd",
                &ip6(own6, "ff020000000000000000000000000001", "3a", "8600 0000 4000 0708 0000 0000"),
            ),
        ),
        (
            "neighbour advertisement for another",
            frame(to, own, "86dd", &ip6(own6, other6, "3a", "8800 0000 6000 0000 20010db8000000000000000000000063")),
        ),
        ("metadata of version 6", frame(to, own, "86dd", &ip6(own6, "fd000ec2000000000000000000000254", "11", udp))),
        ("a VLAN tag", frame(to, own, "8100", &format!("0005 0800 {}", ip4(own4, other4, "11", udp)))),
        ("another protocol", frame(to, own, "88cc", "0207 04")),
    ];
    // Twice, for a machine that is busy.
    let pass = || arrive(&bench, &machine, &good) == "3";
    assert!(pass() || pass());
    let all: Vec<String> = evil.iter().map(|(_, frame)| frame.clone()).collect();
    // The last of them is a good one, by which it is seen that all were sent in time.
    let marked = [&all[..], &good[..1]].concat();
    let held = || arrive(&bench, &machine, &marked) == "1";
    assert!(held() || held());
    // What a program may write without any right: a source that is not the machine's (IPV6_FREEBIND).
    let spoof = "socket(my $s, AF_INET6, SOCK_DGRAM, 0) or die; setsockopt($s, 41, 78, pack('i', 1)) or die; \
        bind($s, pack_sockaddr_in6(0, inet_pton(AF_INET6, '2001:db8::63'))) or die; \
        send($s, 'foreign', 0, pack_sockaddr_in6(9, inet_pton(AF_INET6, '2001:db8::2'))) or print \"stopped: $!\\n\"";
    let socket = machine.datagrams("[2001:db8::2]:9");
    socket.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let send = || bench.say(&["exec", "web", "perl", "-MSocket=:all", "-e", spoof]).done();
    send();
    assert!(socket.recv(&mut [0; 16]).is_err(), "a foreign source has left the container");
    // It cannot take them away, and a comparison sees who could.
    assert_ne!(bench.say(&["exec", "web", "nft", "delete", "table", "netdev", "bulkhead-eth0"]).code, 0);
    assert_ne!(bench.say(&["exec", "web", "ip", "link", "set", "eth0", "address", foreign]).code, 0);
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    within(&bench, "web", || run("nft delete table netdev bulkhead-eth0")).ok();
    let said = bench.say(&["network", "verify"]);
    assert!(said.code == 1 && said.out.contains("its walls are gone"), "{said:?}");
    // The control: without them all of it arrives.
    let whole = evil.len().to_string();
    if arrive(&bench, &machine, &all) != whole && arrive(&bench, &machine, &all) != whole {
        for (name, one) in &evil {
            let arrives = || arrive(&bench, &machine, std::slice::from_ref(one)) == "1";
            assert!(arrives() || arrives(), "{name} does not arrive without walls");
        }
    }
    send();
    assert!(socket.recv(&mut [0; 16]).is_ok(), "the control did not send");
    // A new start has them again.
    bench.say(&["restart", "-t", "0", "web"]).ok();
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    assert!(held() || held());
    bench.say(&["rm", "-f", "web"]).ok();
    bench.say(&["network", "rm", "lan"]).ok();
}

#[test]
fn a_parent_that_goes_and_a_monitor_that_is_killed_leave_what_the_next_command_mends() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let machine = outside();
    create(&bench, "lan", "macvlan", &[]);
    serve(&bench, "web", &["--network", "lan", "--ip", "192.0.2.70"]);
    assert!(has(&machine, "192.0.2.70:80", "web"));
    run("ip link del lan0").ok();
    let said = bench.say(&["network", "verify", "--mend"]);
    assert!(said.code == 1 && said.out.contains("\"lan0\" is gone") && said.out.contains("eth0"), "{said:?}");
    let error = bench.say(&["restart", "-t", "0", "web"]).fails(1);
    assert!(error.contains("parent \"lan0\"") && error.contains("a link of the host is needed"), "{error}");
    drop(machine);
    let machine = outside();
    bench.say(&["start", "web"]).ok();
    assert!(has(&machine, "192.0.2.70:80", "web"));
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    // Down is said and not changed: it is the administrator's.
    run("ip link set lan0 down").ok();
    let said = bench.say(&["network", "verify"]);
    assert!(said.code == 1 && said.out.contains("\"lan0\" is down"), "{said:?}");
    run("ip link set lan0 up; ip addr replace 192.0.2.1/24 dev lan0").ok();
    // A monitor takes its container along, and the address is free for the next.
    let id = bench.look("web", "/Id").as_str().unwrap().to_owned();
    let state = std::fs::read_to_string(bench.path("run").join("containers").join(&id).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    bulkhead_sys::signal::kill(i32::try_from(state["monitor"].as_i64().unwrap()).unwrap(), 9).unwrap();
    assert!(eventually(10, || bench.say(&["ps", "-q"]).ok().is_empty()));
    serve(&bench, "next", &["--network", "lan", "--ip", "192.0.2.70"]);
    assert!(has(&machine, "192.0.2.70:80", "next"));
    bench.say(&["stop", "-t", "0", "next"]).ok();
    // As after a boot: nothing below the run directory.
    std::fs::remove_dir_all(bench.path("run")).unwrap();
    bench.say(&["start", "next"]).ok();
    assert!(has(&machine, "192.0.2.70:80", "next"));
    bench.say(&["rm", "-f", "web", "next"]).ok();
    bench.say(&["network", "rm", "lan"]).ok();
}

#[test]
fn what_cannot_be_is_said_when_it_is_asked() {
    let bench = Bench::new();
    let create = |words: &[&str]| bench.say(&[&["network", "create"], words, &["x"]].concat());
    if !is_root() {
        let error = create(&["-d", "macvlan", "-o", "parent=lo"]).fails(1);
        assert!(error.contains("--driver macvlan is refused") && error.contains("ordinary user"), "{error}");
        return;
    }
    let _machine = outside();
    for (words, wanted) in [
        (&["-d", "macvlan", "-o", "parent=gone0"][..], &["parent=gone0", "'ip link' lists them"][..]),
        (&["-d", "macvlan", "-o", "parent=gone0.50"], &["parent=gone0.50", "nor \"gone0\""]),
        (&["-d", "ipvlan", "-o", "parent=lo"], &["parent=lo", "loopback"]),
        (&["-d", "macvlan", "-o", "parent="], &["\"parent=\"", "a link of the host"]),
        (&["-d", "macvlan", "-o", "parent=a/b"], &["parent=a/b", "letters"]),
        (
            &["-d", "macvlan", "-o", "parent=lan0", "-o", "macvlan_mode=l2"],
            &["macvlan_mode=l2", "bridge, private, vepa, passthru"],
        ),
        (&["-d", "ipvlan", "-o", "parent=lan0", "-o", "ipvlan_mode=l9"], &["ipvlan_mode=l9", "l2, l3, l3s"]),
        (&["-d", "macvlan", "-o", "parent=lan0", "-o", "x=y"], &["--opt x is refused", "macvlan_mode"]),
        (
            &["-d", "macvlan", "-o", "parent=lan0", "--egress", "none"],
            &["--egress with --driver macvlan", "--driver bridge"],
        ),
        (&["-d", "macvlan", "-o", "parent=lan0", "--allow", "a -> b"], &["--allow with --driver macvlan"]),
        (&["-d", "overlay"], &["\"overlay\" for --driver", "bridge, macvlan or ipvlan"]),
    ] {
        let error = create(words).fails(1);
        assert!(wanted.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
    assert_eq!(bench.say(&["network", "ls", "-q"]).ok().lines().count(), 1);
    let lan = ["-d", "macvlan", "-o", "parent=lan0", "--subnet", "192.0.2.0/24", "--gateway", "192.0.2.2"];
    bench.say(&[&["network", "create"][..], &lan, &["lan"]].concat()).ok();
    let error = create(&["-d", "ipvlan", "-o", "parent=lan0", "--subnet", "10.7.0.0/24"]).fails(1);
    assert!(error.contains("parent=lan0") && error.contains("network lan has macvlan links"), "{error}");
    bench.say(&["network", "create", "web"]).ok();
    for (words, wanted) in [
        (&["-p", "80:80"][..], &["publishing 80:80", "at its own address"][..]),
        (&["-P"], &["publishing -P"]),
        (&["--egress", "192.0.2.9"], &["--egress 192.0.2.9", "network lan (macvlan on lan0)", "bridge network"]),
        (&["--profile", "strict", "-u", "1000"], &["--egress none", "network lan"]),
        (&["--cap-add", "NET_ADMIN"], &["--cap-add NET_ADMIN", "network lan", "--cap-drop NET_ADMIN"]),
        (&["--cap-add", "NET_RAW"], &["NET_RAW", "network lan"]),
        (&["--privileged"], &["--privileged", "network lan"]),
        (&["--ip", "192.0.2.2"], &["--ip 192.0.2.2", "gateway"]),
        (&["--ip", "192.0.3.2"], &["--ip 192.0.3.2", "192.0.2.1"]),
    ] {
        let error = bench.say(&[&["run", "--rm", "--network", "lan"], words, &["host", "true"]].concat()).fails(125);
        assert!(wanted.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
    let error = bench.say(&["network", "policy", "lan", "--allow", "a -> b", "--later"]).fails(1);
    assert!(error.contains("a policy for network lan is refused") && error.contains("macvlan"), "{error}");
    // Somebody who could change the walls does not come beside one, nor onto such a network later.
    bench
        .say(&["run", "-d", "--name", "own", "--network", "web", "--cap-add", "NET_ADMIN", "host", "sleep", "60"])
        .ok();
    let error = bench.say(&["network", "connect", "lan", "own"]).fails(1);
    assert!(error.contains("NET_ADMIN") && error.contains("network lan"), "{error}");
    bench.say(&["run", "-d", "--name", "on", "--network", "lan", "host", "sleep", "60"]).ok();
    let beside = ["run", "--rm", "--network", "container:on", "--cap-add", "NET_ADMIN", "host", "true"];
    let error = bench.say(&beside).fails(125);
    assert!(error.contains("sharing namespaces with on") && error.contains("NET_ADMIN"), "{error}");
    bench.say(&["run", "--rm", "--network", "container:on", "host", "true"]).ok();
    bench.say(&["rm", "-f", "own", "on"]).ok();
    bench.say(&["network", "rm", "web", "lan"]).ok();
}

#[test]
fn without_a_parent_members_reach_each_other_alone() {
    const NAME: &str = "without_a_parent_members_reach_each_other_alone";
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let _machine = outside();
    let kinds = ["dummy", "ifb"];
    if !kinds.iter().any(|kind| run(&format!("ip link add name bhtry type {kind} && ip link del bhtry")).code == 0) {
        return skip(NAME, "links that lead nowhere (CONFIG_DUMMY)");
    }
    bench.say(&["network", "create", "-d", "macvlan", "--subnet", "10.7.0.0/24", "alone"]).ok();
    let made = || run("ip -br link show group 1651245057").out;
    assert!(made().starts_with("bh-"), "{}", run("ip link").out);
    serve(&bench, "web", &["--network", "alone"]);
    serve(&bench, "db", &["--network", "alone"]);
    assert!(reaches(&bench, "db", "web", 80));
    assert!(apart(&bench, "db", "192.0.2.2", 7000));
    assert_eq!(bench.say(&["exec", "db", "ip", "route", "show", "default"]).ok(), "");
    let shown = bench.say(&["network", "inspect", "alone"]).ok();
    assert!(shown.contains("\"Internal\": true"), "{shown}");
    // One that was taken away comes back with the next start, and with --mend.
    run(&format!("ip link del {}", made().split_whitespace().next().unwrap())).ok();
    assert_eq!(bench.say(&["network", "verify", "--mend"]).code, 1);
    assert!(made().starts_with("bh-"));
    bench.say(&["restart", "-t", "0", "web", "db"]).ok();
    assert!(eventually(5, || reaches(&bench, "db", "web", 80)));
    bench.say(&["rm", "-f", "web", "db"]).ok();
    bench.say(&["network", "prune", "-f"]).ok();
    assert_eq!(made(), "");
}

#[test]
fn a_link_with_a_tag_is_made_and_removed_with_its_network() {
    const NAME: &str = "a_link_with_a_tag_is_made_and_removed_with_its_network";
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let machine = outside();
    if !makes("vlan id 50") {
        let words = ["network", "create", "-d", "macvlan", "-o", "parent=lan0.50", "--subnet", "10.7.0.0/24", "tag"];
        let error = bench.say(&words).fails(1);
        assert!(error.contains("lan0.50") && error.contains("CONFIG_VLAN_8021Q"), "{error}");
        assert_eq!(bench.say(&["network", "ls", "-q"]).ok().lines().count(), 1);
        return skip(NAME, "VLAN tags in the kernel (CONFIG_VLAN_8021Q)");
    }
    machine
        .run("ip link add link lan0 name lan0.50 type vlan id 50; ip addr add 10.7.0.2/24 dev lan0.50; ip link set lan0.50 up")
        .ok();
    for name in ["tag", "more"] {
        let subnet = if name == "tag" { "10.7.0.0/24" } else { "10.8.0.0/24" };
        bench.say(&["network", "create", "-d", "macvlan", "-o", "parent=lan0.50", "--subnet", subnet, name]).ok();
    }
    serve(&bench, "web", &["--network", "tag", "--ip", "10.7.0.9"]);
    assert!(has(&machine, "10.7.0.9:80", "web"));
    run("ip link del lan0.50").ok();
    assert_eq!(bench.say(&["network", "verify", "--mend"]).code, 1);
    bench.say(&["restart", "-t", "0", "web"]).ok();
    assert!(has(&machine, "10.7.0.9:80", "web"));
    bench.say(&["rm", "-f", "web"]).ok();
    bench.say(&["network", "rm", "tag"]).ok();
    run("ip link show lan0.50").ok();
    bench.say(&["network", "rm", "more"]).ok();
    assert_ne!(run("ip link show lan0.50").code, 0);
    // One that was there before is the host's.
    run("ip link add link lan0 name lan0.50 type vlan id 50; ip link set lan0.50 up").ok();
    bench.say(&["network", "create", "-d", "macvlan", "-o", "parent=lan0.50", "--subnet", "10.7.0.0/24", "tag"]).ok();
    bench.say(&["network", "rm", "tag"]).ok();
    run("ip link show lan0.50").ok();
}

#[test]
fn links_that_share_the_hardware_address() {
    const NAME: &str = "links_that_share_the_hardware_address";
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let machine = outside();
    if !makes("ipvlan") {
        create(&bench, "lan", "ipvlan", &[]);
        let error = bench.say(&["run", "--rm", "--network", "lan", "host", "true"]).fails(125);
        assert!(error.contains("make a ipvlan link (CONFIG_IPVLAN)"), "{error}");
        bench.say(&["network", "rm", "lan"]).ok();
        return skip(NAME, "ipvlan links in the kernel (CONFIG_IPVLAN)");
    }
    create(&bench, "lan", "ipvlan", &[]);
    serve(&bench, "web", &["--network", "lan", "--ip", "192.0.2.70"]);
    serve(&bench, "db", &["--network", "lan"]);
    let six = look(&bench, "web", "GlobalIPv6Address");
    assert!(has(&machine, "192.0.2.70:80", "web") && has(&machine, &format!("[{six}]:80"), "web"));
    assert!(reaches(&bench, "db", "web", 80) && reaches(&bench, "db", &six, 80));
    assert_eq!(look(&bench, "web", "MacAddress"), "");
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    let error = bench.say(&[
        "network",
        "create",
        "-d",
        "ipvlan",
        "-o",
        "parent=lan0",
        "-o",
        "ipvlan_mode=l3",
        "--subnet",
        "10.7.0.0/24",
        "x",
    ]);
    assert!(error.fails(1).contains("in the mode l2"));
    bench.say(&["rm", "-f", "web", "db"]).ok();
    bench.say(&["network", "rm", "lan"]).ok();
    // Routed: no neighbours, and the machine has to know the way.
    let words = [
        "network",
        "create",
        "-d",
        "ipvlan",
        "-o",
        "parent=lan0",
        "-o",
        "ipvlan_mode=l3",
        "--subnet",
        "10.7.0.0/24",
        "far",
    ];
    bench.say(&words).ok();
    machine.run("ip route add 10.7.0.0/24 dev lan0").ok();
    serve(&bench, "web", &["--network", "far", "--ip", "10.7.0.9"]);
    serve(&bench, "db", &["--network", "far"]);
    assert!(reaches(&bench, "db", "web", 80));
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    bench.say(&["rm", "-f", "web", "db"]).ok();
    bench.say(&["network", "rm", "far"]).ok();
}
