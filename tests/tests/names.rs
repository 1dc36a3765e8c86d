//! Names between containers, and networks that change while a container runs: as root, in a network namespace that plays the
//! host.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};

use bulkhead_tests::net::{carriers, outside, run};
use bulkhead_tests::{Bench, eventually, is_root};

/// Makes a container that only is there.
fn idle(bench: &Bench, name: &str, flags: &[&str]) {
    bench.say(&[&["run", "-d", "--name", name], flags, &["host", "sleep", "1000"]].concat()).ok();
}

/// Addresses that a container finds for a name, sorted; nothing when there are none.
fn finds(bench: &Bench, container: &str, name: &str) -> Vec<String> {
    let said = bench.say(&["exec", container, "getent", "ahosts", name]);
    let mut all: Vec<String> =
        said.out.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    all.sort();
    all.dedup();
    all
}

fn address(bench: &Bench, name: &str, network: &str) -> String {
    let value = bench.look(name, &format!("/NetworkSettings/Networks/{network}/IPAddress"));
    value.as_str().expect("an address").to_owned()
}

/// What the name server says: 192.0.2.7 to everything, but for names that lead inside, and one that leads elsewhere each time.
fn address_of(name: &str, times: u8) -> [u8; 4] {
    match name {
        "inside.example.org." => [192, 168, 77, 7],
        "moves.example.org." => [192, 0, 2, 7 + times],
        _ => [192, 0, 2, 7],
    }
}

/// A name server of the host on its loopback. The names that it was asked for.
fn server() -> (Receiver<String>, std::thread::JoinHandle<()>, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:53").expect("a port");
    let stop = socket.try_clone().expect("a socket");
    let (asked, all) = channel();
    let thread = std::thread::spawn(move || {
        let (mut bytes, mut times) = ([0; 2048], 0);
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let question = &bytes[12..length];
            let Some(end) = question.iter().position(|b| *b == 0) else { return };
            let question = &question[..end + 5];
            let mut name = String::new();
            let mut at = 0;
            while question[at] != 0 {
                let next = at + 1 + usize::from(question[at]);
                name.push_str(&String::from_utf8_lossy(&question[at + 1..next]));
                name.push('.');
                at = next;
            }
            let said = address_of(&name, times);
            let v4 = question[end + 2] == 1;
            times += u8::from(v4 && name.starts_with("moves"));
            asked.send(name).unwrap_or_default();
            // One address for a question of version 4, none for another.
            let header = [&bytes[..2], &[0x81, 0x80, 0, 1, 0, u8::from(v4), 0, 0, 0, 0]].concat();
            let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 77, 0, 4][..], &said].concat();
            let record = if v4 { &record[..] } else { &[] };
            drop(socket.send_to(&[&header, question, record].concat(), from));
        }
    });
    (all, thread, stop)
}

/// Ends the name server.
fn end((_, thread, socket): (Receiver<String>, std::thread::JoinHandle<()>, UdpSocket)) {
    let own = UdpSocket::bind("127.0.0.1:0").expect("a port");
    // A question without an end.
    own.send_to(&[1; 20], socket.local_addr().expect("an address")).expect("it is there");
    thread.join().expect("a thread");
}

#[test]
fn members_of_a_network_find_each_other_and_nobody_else() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    bench.say(&["network", "create", "shop"]).ok();
    bench.say(&["network", "create", "yard"]).ok();
    idle(&bench, "db", &["--network", "shop", "--network-alias", "store_1", "--hostname", "files"]);
    idle(&bench, "db2", &["--network", "shop", "--network-alias", "store_1"]);
    idle(&bench, "app", &["--network", "shop", "--link", "db:base", "--link", "db2"]);
    idle(&bench, "other", &["--network", "yard"]);
    idle(&bench, "both", &["--network", "shop", "--network", "yard"]);
    idle(&bench, "alone", &[]);
    let [db, db2] = ["db", "db2"].map(|name| address(&bench, name, "shop"));
    let id = bench.look("db", "/Id").as_str().expect("an id")[..12].to_owned();
    for name in ["db", "DB", "files", "base", &id] {
        assert_eq!(finds(&bench, "app", name), std::slice::from_ref(&db), "{name}");
    }
    assert_eq!(finds(&bench, "app", "store_1"), [db.clone(), db2.clone()]);
    let links = bench.look("app", "/NetworkSettings/Networks/shop/Links");
    assert!(links.to_string().contains(":base"), "{links}");
    // The link is that container's own word.
    assert_eq!(finds(&bench, "db2", "base"), [""; 0]);
    assert_eq!(finds(&bench, "both", "db"), std::slice::from_ref(&db));
    assert_eq!(finds(&bench, "both", "other"), [address(&bench, "other", "yard")]);
    for (from, name) in [("other", "db"), ("other", "store_1"), ("app", "other"), ("alone", "db"), ("db", "alone")] {
        assert_eq!(finds(&bench, from, name), [""; 0], "{from} finds {name}");
    }
    let backwards = bench.say(&["exec", "app", "getent", "hosts", &db]).ok();
    assert!(backwards.ends_with("db\n"), "{backwards}");
    // A name server in the container can have port 53 of every address.
    let script = "my @all = map { IO::Socket::INET->new(LocalPort => 53, Proto => $_, ($_ eq 'tcp' ? (Listen => 1) : ())) or die } \
        qw(udp tcp); exec 'getent', 'hosts', 'db'";
    let said = bench.say(&["exec", "app", "perl", "-MIO::Socket::INET", "-e", script]).ok();
    assert!(said.starts_with(&db), "{said}");
    // By a stream too, and what is too long for a datagram.
    let script = "my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.11:53', Proto => 'tcp') or die; \
        my $q = pack('nCCnnnn', 7, 1, 0, 1, 0, 0, 0) . \"\\2db\\0\\0\\1\\0\\1\"; print $s pack('n', length $q) . $q; \
        read($s, my $l, 2); read($s, my $a, unpack 'n', $l); print join '.', unpack('C4', substr $a, -4)";
    assert_eq!(bench.say(&["exec", "app", "perl", "-MIO::Socket::INET", "-e", script]).ok(), db);
    // Another name, and another address, are known at once.
    bench.say(&["rename", "db", "base2"]).ok();
    assert_eq!((finds(&bench, "app", "base2"), finds(&bench, "app", "db")), (vec![db.clone()], Vec::new()));
    bench.say(&["stop", "-t", "0", "base2"]).ok();
    assert_eq!((finds(&bench, "app", "base2"), finds(&bench, "app", "store_1")), (Vec::new(), vec![db2]));
    bench.say(&["start", "base2"]).ok();
    assert_eq!(finds(&bench, "app", "base"), [address(&bench, "base2", "shop")]);
    for (words, named) in [
        (&["--network", "shop", "--link", "nobody"][..], "nobody"),
        (&["--network", "shop", "--link", "other:x"], "other is not on network shop"),
        (&["--link", "base2"], "network create"),
        (&["--network", "shop", "--link", "base2:-x"], "--link"),
    ] {
        let error = bench.say(&[&["run", "--rm"], words, &["host", "true"]].concat()).fails(125);
        assert!(error.contains(named) && error.contains("--link"), "{error}");
    }
    bench.say(&["rm", "-f", "base2", "db2", "app", "other", "both", "alone"]).ok();
    bench.say(&["network", "rm", "shop", "yard"]).ok();
    let names = std::fs::read_dir(bench.path("run").join("names")).expect("a directory").flatten();
    assert_eq!(names.map(|e| e.file_name()).collect::<Vec<_>>(), ["lock"]);
}

#[test]
fn other_names_are_asked_of_the_hosts_servers_and_inside_nobody_is() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let server = server();
    bench.say(&["network", "create", "shop"]).ok();
    bench.say(&["network", "create", "--internal", "vault"]).ok();
    idle(&bench, "app", &["--network", "shop", "--dns", "127.0.0.1", "--dns-search", "lan.example"]);
    idle(&bench, "safe", &["--network", "vault", "--dns", "127.0.0.1"]);
    assert_eq!(finds(&bench, "app", "www.example.org"), ["192.0.2.7"]);
    let asked: Vec<String> = server.0.try_iter().collect();
    assert!(asked.iter().all(|name| name == "www.example.org.") && !asked.is_empty(), "{asked:?}");
    // A neighbour's name goes nowhere as it is, and a neighbour is found before a search domain is tried.
    assert_eq!(finds(&bench, "app", "app"), [address(&bench, "app", "shop")]);
    assert_eq!(server.0.try_iter().count(), 0);
    assert_eq!(finds(&bench, "app", "nobody"), ["192.0.2.7"]);
    assert!(server.0.try_iter().all(|name| name == "nobody.lan.example."));
    // No way out, not for a name either (CVE-2024-29018).
    assert_eq!(finds(&bench, "safe", "www.example.org"), [""; 0]);
    assert_eq!(finds(&bench, "safe", "safe"), [address(&bench, "safe", "vault")]);
    assert_eq!(server.0.try_iter().count(), 0);
    // Many at once.
    let script = "for i in $(seq 200); do getent ahostsv4 n$i.example.org & done | grep -c STREAM";
    assert_eq!(bench.say(&["exec", "app", "sh", "-c", script]).ok(), "200\n");
    bench.say(&["rm", "-f", "app", "safe"]).ok();
    bench.say(&["network", "rm", "shop", "vault"]).ok();
    end(server);
}

/// Whether a container reaches an address.
fn pings(bench: &Bench, from: &str, to: &str) -> bool {
    bench.say(&["exec", from, "ping", "-c", "1", "-W", "2", to]).code == 0
}

#[test]
fn networks_are_changed_while_the_container_runs() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    for network in ["shop", "yard"] {
        bench.say(&["network", "create", network]).ok();
    }
    idle(&bench, "web", &["-p", "8080:80"]);
    idle(&bench, "db", &["--network", "shop"]);
    idle(&bench, "app", &["--network", "shop"]);
    let pid = bench.pid_of("db");
    let route = |container: &str| bench.say(&["exec", container, "ip", "-4", "route", "show", "default"]).ok();
    assert!(route("db").contains("dev eth0"), "{}", route("db"));
    let error = bench.say(&["network", "connect", "--alias", "base", "--link", "app:x", "yard", "db"]).fails(1);
    assert!(error.contains("app is not on network yard"), "{error}");
    assert_eq!(bench.look("db", "/NetworkSettings/Networks").as_object().map(serde_json::Map::len), Some(1));
    bench.say(&["network", "connect", "--alias", "base", "yard", "db"]).ok();
    idle(&bench, "till", &["--network", "yard", "--link", "db:lager"]);
    let new = address(&bench, "db", "yard");
    assert_eq!((finds(&bench, "till", "base"), finds(&bench, "till", "lager")), (vec![new.clone()], vec![new.clone()]));
    assert!(pings(&bench, "till", "base") && pings(&bench, "app", "db") && pings(&bench, "db", "till"));
    assert!(bench.say(&["exec", "db", "cat", "/etc/hosts"]).ok().contains(&new));
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    // It leaves the first, and what led out through it leads out through the second.
    bench.say(&["network", "disconnect", "shop", "db"]).ok();
    assert_eq!((finds(&bench, "app", "db"), finds(&bench, "db", "app")), (Vec::new(), Vec::new()));
    assert!(route("db").contains("dev eth1"), "{}", route("db"));
    assert!(pings(&bench, "till", "db"));
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    // What was asked for at the wrong time changes nothing.
    let error = bench.say(&["network", "disconnect", "shop", "db"]).fails(1);
    assert!(error.contains("not connected"), "{error}");
    let error = bench.say(&["network", "connect", "yard", "db"]).fails(1);
    assert!(error.contains("already"), "{error}");
    let error = bench.say(&["network", "disconnect", "bridge", "web"]).fails(1);
    assert!(error.contains("8080") && error.contains("stop"), "{error}");
    // One that had no resolver gets one, and loses all networks but that.
    bench.say(&["network", "connect", "yard", "web"]).ok();
    assert_eq!(finds(&bench, "web", "db"), std::slice::from_ref(&new));
    bench.say(&["network", "disconnect", "yard", "db"]).ok();
    assert!(!bench.say(&["exec", "db", "ip", "-br", "link"]).ok().contains("eth"));
    // What it has left it does not hear of any more, also from the resolver itself; its own loopback is there.
    let asked = |name: &str| {
        let script = "my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.11:53', Proto => 'udp') or die; my $name = shift; \
            my $q = pack('nCCnnnn', 7, 1, 0, 1, 0, 0, 0) . pack('C/a*', $name) . \"\\0\\0\\1\\0\\1\"; \
            alarm 5; $s->send($q); $s->recv(my $a, 512); print unpack('n', substr $a, 6, 2)";
        bench.say(&["exec", "db", "perl", "-MIO::Socket::INET", "-e", script, name]).ok()
    };
    assert_eq!((asked("localhost"), asked("web"), asked("till")), ("1".into(), "0".into(), "0".into()));
    assert_eq!((finds(&bench, "web", "db"), finds(&bench, "db", "web")), (Vec::new(), Vec::new()));
    bench.say(&["network", "connect", "shop", "db"]).ok();
    assert!(pings(&bench, "app", "db") && route("db").contains("default"));
    assert_eq!(bench.pid_of("db"), pid);
    // A restart begins with what there was at the end, and nothing is left.
    bench.say(&["restart", "-t", "0", "db"]).ok();
    assert!(pings(&bench, "app", "db") && finds(&bench, "web", "till") != [""; 0]);
    bench.say(&["rm", "-f", "web", "db", "app", "till"]).ok();
    bench.say(&["network", "rm", "shop", "yard"]).ok();
    assert!(eventually(10, || !run("ip -br link").ok().lines().any(|line| line.starts_with("bv"))));
}

#[test]
fn a_resolver_or_a_monitor_that_is_killed_costs_no_name() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    bench.say(&["network", "create", "shop"]).ok();
    idle(&bench, "db", &["--network", "shop"]);
    idle(&bench, "app", &["--network", "shop", "-p", "127.0.0.1:8080:80"]);
    let db = vec![address(&bench, "db", "shop")];
    assert_eq!(finds(&bench, "app", "db"), db);
    for status in carriers() {
        let pid = status.lines().find_map(|l| l.strip_prefix("Pid:")).expect("a pid").trim();
        let process = pid.parse().expect("a number");
        assert!(status.contains("CapEff:\t0000000000000000") && status.contains("Seccomp:\t2"), "{status}");
        bulkhead_sys::signal::kill(process, 9).expect("it is there");
    }
    assert!(eventually(10, || finds(&bench, "app", "db") == db));
    assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, 8080)).is_ok());
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    // A monitor that is killed takes its container with it: nobody finds it after the next command.
    let state = bench.path("run").join("containers").join(bench.look("db", "/Id").as_str().expect("an id"));
    let state = std::fs::read_to_string(state.join("state.json")).expect("a state");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    let monitor = i32::try_from(state["monitor"].as_i64().expect("a pid")).expect("a pid");
    bulkhead_sys::signal::kill(monitor, 9).expect("it is there");
    assert!(eventually(10, || bench.say(&["ps", "-a"]).ok().contains("Exited")));
    bench.say(&["rm", "-f", "db"]).ok();
    assert_eq!(finds(&bench, "app", "db"), [""; 0]);
    // A file that somebody has damaged is made anew from what is known.
    let book = bench.path("run").join("names");
    let network = bench.say(&["network", "inspect", "-f", "{{.Id}}", "shop"]).ok().trim().to_owned();
    std::fs::write(book.join(&network), "names1 0").expect("a file");
    idle(&bench, "next", &["--network", "shop"]);
    assert_eq!(finds(&bench, "next", "app"), [address(&bench, "app", "shop")]);
    bench.say(&["rm", "-f", "app", "next"]).ok();
    bench.say(&["network", "rm", "shop"]).ok();
}

#[test]
fn a_list_with_names_opens_what_they_lead_to_and_nothing_else() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let machine = outside();
    // The wide world, and a private network beside it.
    machine.run("for a in 192.0.2.7 192.0.2.8 192.168.77.7; do ip addr add $a/32 dev lan0; done").ok();
    run("ip route add 192.168.77.0/24 via 192.0.2.2").ok();
    let listeners = [80, 81].map(|port| machine.listen(&format!("0.0.0.0:{port}")));
    let server = server();
    let reaches = |container: &str, to: &str| {
        let (host, port) = to.split_once(':').unwrap_or((to, "80"));
        bench.say(&["exec", container, "timeout", "4", "bash", "-c", "exec 3<>/dev/tcp/$0/$1", host, port]).code == 0
    };
    bench.say(&["network", "create", "shop"]).ok();
    let dns = ["--dns", "127.0.0.1"];
    idle(&bench, "free", &[&["--network", "shop"][..], &dns].concat());
    let list = ["--egress", "*.example.org:80", "--egress", "api.example.com:80"];
    idle(&bench, "held", &[&["--network", "shop"][..], &dns, &list].concat());
    idle(&bench, "apart", &[&dns[..], &list].concat());
    // The control: without a list all of it is reached.
    assert!(reaches("free", "192.0.2.7") && reaches("free", "192.0.2.8:81") && reaches("free", "192.168.77.7"));
    assert_eq!(finds(&bench, "free", "other.example.com"), ["192.0.2.7"]);
    for held in ["held", "apart"] {
        while server.0.try_recv().is_ok() {}
        assert!(!reaches(held, "192.0.2.7"), "{held}");
        assert_eq!(finds(&bench, held, "other.example.com"), [""; 0]);
        assert!(server.0.try_recv().is_err(), "it was asked outside");
        assert!(reaches(held, "www.example.org") && reaches(held, "192.0.2.7") && !reaches(held, "192.0.2.7:81"));
        assert!(!reaches(held, "192.0.2.8"));
        // What a name leads to is not inside, whatever the name says.
        assert_eq!(finds(&bench, held, "inside.example.org"), ["192.168.77.7"]);
        assert!(!reaches(held, "192.168.77.7"));
        assert!(reaches(held, "api.example.com"));
    }
    // A name that moves opens the new way, and what it led to stays open for its time.
    assert!(
        reaches("held", "moves.example.org") && reaches("held", "moves.example.org") && reaches("held", "192.0.2.8")
    );
    assert!(reaches("held", "192.0.2.7"));
    // A neighbour is not outside.
    assert!(pings(&bench, "held", "free"));
    let denied = bench.say(&["network", "denied"]).ok();
    assert!(denied.contains("held") && denied.contains("192.168.77.7"), "{denied}");
    for (words, named) in [
        (&["--egress", "a.example.org:443", "--egress", "b.example.org:400-500"][..], "ports in common"),
        (&["--egress", "*.:443"], "--egress"),
    ] {
        let error = bench.say(&[&["run", "--rm"], words, &["host", "true"]].concat()).fails(125);
        assert!(error.contains(named), "{error}");
    }
    bench.say(&["rm", "-f", "free", "held", "apart"]).ok();
    bench.say(&["network", "rm", "shop"]).ok();
    let left = run("nft list set inet bulkhead pinned4").ok();
    assert!(!left.contains("192.0.2.7"), "{left}");
    drop(listeners);
    end(server);
}
