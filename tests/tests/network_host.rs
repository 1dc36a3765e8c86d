//! The host's network by grant: what a container gets with it, and what stays out of its reach. As root in a network
//! namespace that plays the host; as an ordinary user in the machine's own, where nothing is changed.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use bulkhead_tests::net::run;
use bulkhead_tests::{Bench, eventually, is_root};

/// Reads a word from a port of loopback.
const TCP: &str = "my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $ARGV[0], Timeout => 3) or die $!; \
                   print scalar <$s>";
/// Reads a word from an abstract socket.
const ABSTRACT: &str = "socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; \
                        connect($s, pack('S', AF_UNIX) . \"\\0$ARGV[0]\") or die \"abstract: $!\"; print scalar <$s>";

/// Says `word` to whoever connects.
fn say<S: std::io::Write>(accept: impl Fn() -> Option<S> + Send + 'static, word: &'static str) {
    std::thread::spawn(move || {
        while let Some(mut stream) = accept() {
            // One that has looked in is gone again.
            drop(writeln!(stream, "{word}"));
        }
    });
}

fn links(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}

#[test]
fn the_hosts_network_is_reached_and_not_the_containers_to_change() {
    let bench = Bench::new();
    // Every right that a container can have, in its own user namespace.
    let flags = ["--network", "host", "--privileged"];
    let own = ["run", "-d", "--name", "web", "--hostname", "box"];
    bench.say(&[&own[..], &flags, &["host", "sleep", "600"]].concat()).ok();
    let inside = |script: &str| bench.say(&["exec", "web", "sh", "-c", script]);
    // What listens on the host's loopback is reached from there, and from no other network.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    say(move || listener.accept().ok().map(|(stream, _)| stream), "loopback");
    let ask = ["perl", "-MIO::Socket::INET", "-e", TCP, &port];
    assert_eq!(bench.say(&[&["exec", "web"][..], &ask].concat()).ok(), "loopback\n");
    let apart = bench.say(&[&["run", "--rm", "--network", "none", "host"][..], &ask].concat());
    assert!(apart.code != 0 && !apart.out.contains("loopback"), "{apart:?}");
    let here = links(&std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    assert_eq!(links(&inside("cat /proc/net/dev").ok()), here);
    // It has a name of its own, and rights over nothing there.
    assert_eq!(inside("hostname").ok(), "box\n");
    assert_ne!(rustix::system::uname().nodename().to_bytes(), b"box");
    // Where the host lets everybody have low ports, the container has them.
    let low = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let low: u16 = low.trim().parse().unwrap();
    // The same words where the network is the container's own.
    bench.say(&["run", "-d", "--name", "own", "--network", "none", "--privileged", "host", "sleep", "600"]).ok();
    for (what, script) in [
        ("a link goes down", "ip link set lo down"),
        ("a link is made", "ip link add bhx0 type veth peer name bhx1"),
        ("an address is added", "ip addr add 192.0.2.77/32 dev lo"),
        ("a route is added", "ip route add blackhole 192.0.2.77/32"),
        ("the firewall is read", "nft list ruleset"),
        ("a raw socket", "perl -MSocket -e 'socket(my $s, AF_INET, SOCK_RAW, 1) or die'"),
        ("a packet socket", "perl -e 'socket(my $s, 17, 3, 0x300) or die'"),
        ("a setting is changed", "echo 1 > /proc/sys/net/ipv4/ip_forward"),
        (
            "a setting is reached by a fresh mount",
            "mkdir -p /tmp/p && mount -t proc p /tmp/p && echo 1 > /tmp/p/sys/net/ipv4/ip_forward",
        ),
        ("sysfs is mounted anew", "mkdir -p /tmp/s && mount -t sysfs s /tmp/s && test -d /tmp/s/class/net/lo"),
        (
            "a low port, which is the host's",
            "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(Listen => 1, LocalPort => 7) or die'",
        ),
    ] {
        if what.starts_with("a low port") && low <= 7 {
            continue;
        }
        let said = inside(script);
        assert_ne!(said.code, 0, "{what}: {said:?}");
        let control = bench.say(&["exec", "own", "sh", "-c", script]);
        assert_eq!(control.code, 0, "{what}: {control:?}");
    }
    assert_eq!(links(&std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()), here);
    // Who starts a program inside from another network does not bring it along.
    if is_root() {
        let elsewhere = std::thread::scope(|scope| {
            let away = || {
                bulkhead_sys::clone::unshare(bulkhead_sys::clone::NEWNET).unwrap();
                (std::fs::read_link("/proc/thread-self/ns/net").unwrap(), inside("readlink /proc/self/ns/net").ok())
            };
            scope.spawn(away).join().unwrap()
        });
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(elsewhere.1.trim(), own.to_str().unwrap());
        assert_ne!(elsewhere.0, own);
    }
    bench.say(&["rm", "-f", "web", "own"]).ok();
}

#[test]
fn abstract_sockets_of_the_host_are_kept_away_where_landlock_can() {
    let bench = Bench::new();
    let name = format!("bulkhead-test-{}-{}", std::process::id(), bench.dir.path().display());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    say(move || listener.accept().ok().map(|(stream, _)| stream), "abstract");
    // The control: the same program outside.
    assert_eq!(run(&format!("perl -MSocket -e '{ABSTRACT}' {name}")).ok(), "abstract\n");
    let asked = |network: &str| {
        bench.say(&["run", "--rm", "--network", network, "host", "perl", "-MSocket", "-e", ABSTRACT, &name])
    };
    let (own, hosts) = (asked("none"), asked("host"));
    assert!(own.code != 0 && own.err.contains("abstract:"), "{own:?}");
    let held = bulkhead_sys::landlock::abi() >= 6;
    assert_eq!(hosts.out == "abstract\n", !held, "{hosts:?}");
    // Those that it makes itself are its own.
    let both = "socket(my $l, AF_UNIX, SOCK_STREAM, 0); bind($l, pack('S', AF_UNIX) . \"\\0$ARGV[0]-own\") or die; \
                listen($l, 1); if (!fork) { socket(my $s, AF_UNIX, SOCK_STREAM, 0); \
                connect($s, pack('S', AF_UNIX) . \"\\0$ARGV[0]-own\") or die $!; print {$s} \"mine\\n\"; exit } \
                accept(my $c, $l); print scalar <$c>";
    let said = bench.say(&["run", "--rm", "--network", "host", "host", "perl", "-MSocket", "-e", both, &name]);
    assert_eq!(said.ok(), "mine\n");
    bench.say(&["run", "-d", "--name", "web", "--network", "host", "host", "sleep", "600"]).ok();
    let told = bench.say(&["explain", "web"]).ok();
    let words = if held {
        "Landlock keeps the host's abstract Unix sockets away"
    } else {
        "abstract Unix sockets can be reached"
    };
    assert!(told.contains("--network host") && told.contains(words), "{told}");
    bench.say(&["rm", "-f", "web"]).ok();
}

#[test]
fn the_grant_is_shown_and_its_words_are_looked_at() {
    let bench = Bench::new();
    let flags = ["--network", "host", "--add-host", "db:192.0.2.9"];
    let plan = bench.say(&[&["run", "--dry-run"][..], &flags, &["host", "true"]].concat()).ok();
    assert!(plan.contains("host(network)") && !plan.contains("loopback interface"), "{plan}");
    bench.say(&[&["run", "-d", "--name", "web"][..], &flags, &["host", "sleep", "600"]].concat()).ok();
    let hosts = bench.say(&["exec", "web", "cat", "/etc/hosts"]).ok();
    let of_host = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    assert!(hosts.starts_with(&of_host) && hosts.ends_with("192.0.2.9\tdb\n"), "{hosts}");
    let servers =
        |text: &str| text.lines().filter(|line| line.starts_with("nameserver ")).map(str::to_owned).collect::<Vec<_>>();
    let of_host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(servers(&bench.say(&["exec", "web", "cat", "/etc/resolv.conf"]).ok()), servers(&of_host));
    assert_eq!(bench.look("web", "/HostConfig/NetworkMode"), "host");
    assert!(bench.say(&["inspect", "web"]).ok().contains("host(network)"));
    assert_eq!(bench.say(&["ps", "--format", "{{.Networks}}"]).ok(), "host\n");
    assert!(bench.say(&["ps"]).ok().contains("host(network)"));
    assert!(bench.say(&["network", "graph"]).ok().contains("web  --network host"));
    assert_eq!(bench.say(&["network", "verify"]).code, 0);
    assert_eq!(bench.say(&["stats", "--no-stream", "--format", "{{.NetIO}}"]).ok(), "--\n");
    bench.say(&["restart", "-t", "0", "web"]).ok();
    let told = || bench.say(&["events", "--since", "1h", "--until", "0s", "--filter", "type=network"]).ok();
    assert!(eventually(5, || told().matches("type=host").count() == 3), "{}", told());
    for (words, wanted) in [
        (&["--network", "host", "-p", "80:80"][..], &["--publish 80:80 is refused", "--network host", "leave one"][..]),
        (&["--network", "host", "-P"], &["--publish-all is refused"]),
        (
            &["--network", "host", "--profile", "strict", "-u", "1"],
            &["--profile strict", "is refused", "another network"],
        ),
        (&["--network", "host", "--ip", "192.0.2.5"], &["--ip 192.0.2.5 is refused"]),
        (&["--network", "host", "--egress", "192.0.2.5"], &["--egress", "is refused"]),
        (
            &["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"],
            &["--sysctl", "net.ipv4.ip_forward", "--network host"],
        ),
        (&["--network", "host", "--network", "bridge"], &["\"host\" for --network"]),
        (&["--network", "container:web"], &["container:web", "--network", "write --network host"]),
    ] {
        let error = bench.say(&[&["run", "--rm"][..], words, &["host", "true"]].concat()).fails(125);
        assert!(wanted.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
    let error = bench.say(&["network", "connect", "bridge", "web"]).fails(1);
    assert!(error.contains("the host's"), "{error}");
    bench.say(&["rm", "-f", "web"]).ok();
    // Nothing of it is in what the host has: neither a link nor a rule.
    if is_root() {
        assert_eq!(run("ip -br link show type bridge; nft list ruleset").ok(), "");
    }
}
