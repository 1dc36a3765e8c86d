//! Networks as they are declared: made, listed, refused, removed, and what containers are to be connected to. Nothing here
//! changes the network of the machine: what is started has loopback only.

use std::collections::BTreeSet;

use bulkhead_tests::Bench;
use serde_json::Value;

fn names(bench: &Bench, filters: &[&str]) -> Vec<String> {
    let words = [&["network", "ls", "--format", "{{.Name}}"], filters].concat();
    bench.say(&words).ok().lines().map(str::to_owned).collect()
}

fn look(bench: &Bench, name: &str) -> Value {
    let text = bench.say(&["network", "inspect", name]).ok();
    let all: Value = serde_json::from_str(&text).unwrap();
    all[0].clone()
}

/// One sentence that holds each of these words, and the exit code.
fn refused(bench: &Bench, words: &[&str], code: i32, wanted: &[&str]) {
    let error = bench.say(words).fails(code);
    let first = error.lines().next().unwrap_or_default();
    assert!(first.starts_with("bulkhead: "), "{words:?}: {error}");
    for one in wanted {
        assert!(error.contains(one), "{words:?} does not say {one:?}: {error}");
    }
}

#[test]
fn the_default_network_is_always_there() {
    let bench = Bench::new();
    assert_eq!(names(&bench, &[]), ["bridge"]);
    let table = bench.say(&["network", "ls"]).ok();
    assert!(table.starts_with("NETWORK ID     NAME      DRIVER    SCOPE\n"), "{table}");
    let bridge = look(&bench, "bridge");
    assert_eq!(
        (&bridge["Driver"], &bridge["EnableIPv4"], &bridge["Bulkhead"]["Isolated"]),
        (&"bridge".into(), &true.into(), &true.into())
    );
    let id = bridge["Id"].as_str().unwrap().to_owned();
    assert_eq!(bridge["Bulkhead"]["Bridge"], format!("bh-{}", &id[..12]));
    // By its id, and the start of it; and always the same.
    assert_eq!(look(&bench, &id)["Name"], "bridge");
    assert_eq!(look(&bench, &id[..6])["Name"], "bridge");
    assert_eq!(bench.say(&["inspect", "--type", "network", "-f", "{{.Id}}", "bridge"]).ok().trim(), id);
    refused(&bench, &["network", "rm", "bridge"], 1, &["bridge is a pre-defined network and cannot be removed"]);
    assert_eq!(bench.say(&["network", "prune", "-f"]).ok(), "");
    assert_eq!(names(&bench, &["-f", "type=builtin"]), ["bridge"]);
    refused(&bench, &["network", "create", "bridge"], 1, &["bridge already exists"]);
}

#[test]
fn a_network_is_made_shown_and_removed() {
    let bench = Bench::new();
    let id = bench
        .say(&[
            "network",
            "create",
            "--subnet",
            "10.211.0.0/24",
            "--gateway=10.211.0.254",
            "--ip-range",
            "10.211.0.128/25",
            "--subnet",
            "fd11:7::/64",
            "--ipv6",
            "--internal",
            "--label",
            "tier=low",
            "-o",
            "com.docker.network.driver.mtu=1400",
            "shop",
        ])
        .ok();
    let id = id.trim();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let shop = look(&bench, "shop");
    let config = shop["IPAM"]["Config"].as_array().unwrap();
    assert_eq!(config[0]["Subnet"], "10.211.0.0/24");
    assert_eq!((&config[0]["Gateway"], &config[0]["IPRange"]), (&"10.211.0.254".into(), &"10.211.0.128/25".into()));
    assert_eq!((&config[1]["Subnet"], &config[1]["Gateway"]), (&"fd11:7::/64".into(), &"fd11:7::1".into()));
    assert_eq!((&shop["Internal"], &shop["Labels"]["tier"]), (&true.into(), &"low".into()));
    assert_eq!((&shop["Bulkhead"]["MTU"], &shop["Bulkhead"]["Masquerade"]), (&1400.into(), &false.into()));
    assert_eq!(bench.say(&["network", "inspect", "-f", "{{.Name}} {{.EnableIPv6}}", "shop"]).ok(), "shop true\n");
    bench.say(&["network", "create", "web"]).done();
    assert_eq!(names(&bench, &[]), ["bridge", "shop", "web"]);
    assert_eq!(names(&bench, &["-f", "label=tier"]), ["shop"]);
    assert_eq!(names(&bench, &["-f", "dangling=true"]), ["shop", "web"]);
    // Each has its own.
    let subnet = |name: &str| look(&bench, name)["IPAM"]["Config"][0]["Subnet"].as_str().unwrap().to_owned();
    assert_eq!([subnet("bridge"), subnet("web"), subnet("shop")].iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(bench.say(&["network", "rm", "shop"]).ok(), "shop\n");
    refused(&bench, &["network", "rm", "shop"], 1, &["network shop not found"]);
    assert_eq!(bench.say(&["network", "rm", "-f", "shop"]).ok(), "shop\n");
    refused(&bench, &["network", "inspect", "shop"], 1, &["network shop not found"]);
    let log = std::fs::read_to_string(bench.path("root/events.log")).unwrap();
    for action in ["create", "destroy"] {
        let wanted = format!("\"Type\":\"network\",\"Action\":\"{action}\"");
        assert!(log.lines().any(|l| l.contains(&wanted) && l.contains("\"name\":\"shop\"")), "{action}: {log}");
    }
    assert_eq!(bench.say(&["network", "prune", "-f", "--filter", "label=none"]).ok(), "");
    let (out, said) = bench.feed(&["network", "prune"], b"n\n");
    assert!(said.code == 0 && String::from_utf8_lossy(&out).contains("[y/N]") && names(&bench, &[]).len() == 2);
    assert_eq!(bench.say(&["network", "prune", "-f"]).ok(), "Deleted Networks:\nweb\n\n");
    bench.say(&["network", "create", "web"]).done();
    let said = bench.say(&["system", "prune", "-f"]).ok();
    assert!(said.contains("Deleted Networks:\nweb\n"), "{said}");
    bench.assert_empty();
}

#[test]
fn what_cannot_be_a_network_is_named() {
    let bench = Bench::new();
    bench.say(&["network", "create", "--subnet", "10.212.0.0/24", "web"]).done();
    for (words, code, wanted) in [
        (&["web"][..], 1, &["network with name web already exists", "hint: "][..]),
        (&["-x"], 125, &["-x"]),
        (&["a/b"], 1, &["\"a/b\"", "[a-zA-Z0-9]"]),
        (&["host"], 1, &["invalid network name \"host\""]),
        (&["--driver", "overlay", "n"], 1, &["\"overlay\" for --driver", "bridge, macvlan or ipvlan"]),
        (
            &["--subnet", "10.212.0.128/25", "n"],
            1,
            &["--subnet 10.212.0.128/25 overlaps with 10.212.0.0/24 of network web", "hint: "],
        ),
        (&["--subnet", "10.0.0.0/8", "n"], 1, &["overlaps", "network"]),
        (&["--subnet", "10.213.0.5/24", "n"], 125, &["\"10.213.0.5/24\" for --subnet", "10.213.0.0/24"]),
        (&["--subnet", "10.213.0.0", "n"], 125, &["\"10.213.0.0\" for --subnet"]),
        (&["--subnet", "127.0.0.0/24", "n"], 1, &["--subnet", "loopback"]),
        (&["--subnet", "169.254.0.0/24", "n"], 1, &["--subnet", "link-local"]),
        (&["--subnet", "10.213.0.0/31", "n"], 1, &["--subnet", "/30"]),
        (&["--subnet", "10.213.0.0/24", "--gateway", "10.214.0.1", "n"], 1, &["\"10.214.0.1\" for --gateway"]),
        (
            &["--subnet", "10.213.0.0/24", "--gateway", "10.213.0.0", "n"],
            1,
            &["\"10.213.0.0\" for --gateway", "10.213.0.1"],
        ),
        (&["--subnet", "10.213.0.0/24", "--ip-range", "10.214.0.0/25", "n"], 1, &["\"10.214.0.0/25\" for --ip-range"]),
        (&["--gateway", "x", "n"], 125, &["\"x\" for --gateway"]),
        (&["--ipv4=false", "n"], 1, &["--ipv4", "--ipv6 is needed"]),
        (&["--ipv4=maybe", "n"], 125, &["\"maybe\" for --ipv4"]),
        (&["-o", "com.docker.network.driver.mtu=1", "n"], 1, &["com.docker.network.driver.mtu=1", "68"]),
        (&["-o", "com.docker.network.bridge.name=br0", "n"], 1, &["--opt com.docker.network.bridge.name is refused"]),
        (&["-o", "colour=red", "n"], 1, &["--opt colour is refused", "com.docker.network.driver.mtu"]),
        (&["--attachable", "n"], 125, &["--attachable is refused"]),
        (&[], 1, &["NETWORK"]),
    ] {
        refused(&bench, &[&["network", "create"], words].concat(), code, wanted);
    }
    assert_eq!(names(&bench, &[]), ["bridge", "web"]);
    bench.assert_empty();
}

#[test]
fn what_a_container_asks_of_networks_is_looked_at_when_it_is_made() {
    const CLI: [&str; 2] = ["--mac-address", "--expose"];
    let bench = Bench::new();
    bench.say(&["network", "create", "--subnet", "10.215.0.0/24", "web"]).done();
    for (flags, wanted) in [
        (&["--network", "gone"][..], &["network gone not found", "hint: "][..]),
        (&["--network", "host", "-P"], &["--publish-all is refused", "--network host"]),
        (&["--network", "container:gone"], &["No such container: gone"]),
        (&["--network", "web", "--network", "web"], &["\"web\" for --network", "twice"]),
        (&["--network", "web", "--network", "none"], &["\"none\" for --network"]),
        (&["--network", "web", "--ip", "10.216.0.5"], &["--ip 10.216.0.5", "network web", "10.215.0.1"]),
        (&["--network", "web", "--ip", "10.215.0.1"], &["--ip 10.215.0.1", "gateway"]),
        (&["--network", "web", "--ip", "10.215.0.255"], &["--ip 10.215.0.255"]),
        (&["--network", "web", "--ip6", "fd00::5"], &["--ip6 fd00::5", "family"]),
        (&["--network-alias", "db"], &["--network-alias db", "bridge"]),
        (&["--network", "none", "-p", "80:80"], &["--publish 80:80 is refused", "none"]),
        (&["--network", "none", "--ip", "10.215.0.5"], &["--ip 10.215.0.5 is refused", "none"]),
        (&["--mac-address", "01:00:5e:00:00:01"], &["for --mac-address"]),
        (&["-p", "80:"], &["\"80:\" for --publish"]),
        (&["-p", "8000-8001:80-82"], &["for --publish", "as many ports"]),
        (&["-p", "::1:80:80"], &["for --publish", "[::1]"]),
        (&["--expose", "x"], &["\"x\" for --expose"]),
    ] {
        // What the command line itself says is 125, as of every command; what the engine says is 1, as of Docker's `create`.
        let code = if wanted[0].contains("for --publish") || CLI.contains(&flags[0]) || flags.ends_with(&["none"]) {
            125
        } else {
            1
        };
        refused(&bench, &[&["create"], flags, &["host", "true"]].concat(), code, wanted);
    }
    assert_eq!(bench.say(&["ps", "-aq"]).ok(), "");
    bench.assert_empty();
}

#[test]
fn a_container_holds_its_networks_and_shows_what_it_asked_for() {
    let bench = Bench::new();
    bench.say(&["network", "create", "--subnet", "10.217.0.0/24", "web"]).done();
    bench.say(&["network", "create", "db"]).done();
    let words = [
        "create",
        "--name",
        "shop",
        "--network",
        "web",
        "--network",
        "name=db,alias=store",
        "--ip",
        "10.217.0.9",
        "-p",
        "8080:80",
        "-p",
        "[::1]::53/udp",
        "--expose",
        "443",
        "host",
        "true",
    ];
    bench.say(&words).done();
    bench.say(&["create", "--name", "plain", "host", "true"]).done();
    bench.say(&["create", "--name", "alone", "--network", "none", "host", "true"]).done();
    assert_eq!(bench.look("shop", "/HostConfig/NetworkMode"), "web");
    let bindings = bench.look("shop", "/HostConfig/PortBindings");
    assert_eq!(bindings["80/tcp"][0]["HostPort"], "8080");
    assert_eq!((&bindings["53/udp"][0]["HostIp"], &bindings["53/udp"][0]["HostPort"]), (&"::1".into(), &"".into()));
    let networks = bench.look("shop", "/NetworkSettings/Networks");
    assert_eq!(networks["web"]["IPAMConfig"]["IPv4Address"], "10.217.0.9");
    assert_eq!((&networks["web"]["IPAddress"], &networks["db"]["Aliases"][0]), (&"".into(), &"store".into()));
    assert_eq!(bench.look("plain", "/HostConfig/NetworkMode"), "bridge");
    assert_eq!(bench.look("alone", "/HostConfig/NetworkMode"), "none");
    let shown = |filter: &str| {
        let words = ["ps", "-a", "-f", filter, "--format", "{{.Names}} {{.Networks}}"];
        bench.say(&words).ok().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown("network=web"), ["shop web,db"]);
    assert_eq!(shown("network=bridge"), ["plain bridge"]);
    assert_eq!(shown("network=none"), ["alone none"]);
    assert_eq!(bench.say(&["port", "shop"]).ok(), "");
    let explained = bench.say(&["explain", "shop"]).ok();
    assert!(explained.contains("on web (a way out, members reach each other)"), "{explained}");
    refused(&bench, &["network", "rm", "web"], 1, &["web has active endpoints", "\"shop\"", "bulkhead rm shop"]);
    assert_eq!(bench.say(&["network", "prune", "-f"]).ok(), "");
    // Connected and disconnected while it does not run.
    bench.say(&["network", "disconnect", "db", "shop"]).done();
    refused(&bench, &["network", "disconnect", "db", "shop"], 1, &["shop is not connected to network db"]);
    bench.say(&["network", "connect", "--alias", "again", "db", "shop"]).done();
    refused(&bench, &["network", "connect", "db", "shop"], 1, &["shop already exists in network db"]);
    refused(&bench, &["network", "connect", "db", "alone"], 1, &["alone", "--network none"]);
    refused(&bench, &["network", "connect", "gone", "shop"], 1, &["network gone not found"]);
    assert_eq!(shown("network=db"), ["shop web,db"]);
    bench.say(&["rm", "shop", "plain", "alone"]).done();
    assert_eq!(bench.say(&["network", "prune", "-f"]).ok(), "Deleted Networks:\ndb\nweb\n\n");
    bench.assert_empty();
}

#[test]
fn a_dry_run_says_which_networks_it_would_have() {
    let bench = Bench::new();
    let said = bench.say(&["run", "--dry-run", "-p", "8080:80", "host", "true"]).ok();
    assert!(
        said.contains("network a stack of its own, on bridge (a way out, members apart); published: 8080:80"),
        "{said}"
    );
    let said = bench.say(&["run", "--dry-run", "--network", "none", "host", "true"]).ok();
    assert!(said.contains("network a stack of its own with loopback only"), "{said}");
    refused(&bench, &["run", "--dry-run", "--network", "gone", "host", "true"], 125, &["network gone not found"]);
    bench.assert_empty();
}

#[test]
fn networks_that_are_made_at_once_have_addresses_of_their_own() {
    const COUNT: usize = 8;
    let bench = Bench::new();
    let children: Vec<_> = (0..COUNT).map(|n| bench.spawn(&["network", "create", &format!("n{n}")])).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let all = names(&bench, &[]);
    assert_eq!(all.len(), COUNT + 1);
    let subnets: BTreeSet<String> =
        all.iter().map(|n| look(&bench, n)["IPAM"]["Config"][0]["Subnet"].as_str().unwrap().to_owned()).collect();
    assert_eq!(subnets.len(), COUNT + 1);
    // Of those that want one name, or one subnet, one gets it.
    let won = |words: &dyn Fn(usize) -> Vec<String>| {
        let children: Vec<_> = (0..4)
            .map(|n| {
                let words = words(n);
                bench.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        children.into_iter().map(|mut c| usize::from(c.wait().unwrap().success())).sum::<usize>()
    };
    let text = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    assert_eq!(won(&|_| text(&["network", "create", "same"])), 1);
    assert_eq!(won(&|n| text(&["network", "create", "--subnet", "10.218.0.0/24", &format!("s{n}")])), 1);
    bench.say(&["network", "prune", "-f"]).done();
    assert_eq!(names(&bench, &[]), ["bridge"]);
    bench.assert_empty();
}

#[test]
fn a_container_can_have_the_network_of_another() {
    let bench = Bench::new();
    bench.start(&["--name", "first", "--network", "none"], "exec sleep 1000");
    bench.start(&["--name", "second", "--network", "container:first"], "exec sleep 1000");
    let stack = |name: &str| std::fs::read_link(format!("/proc/{}/ns/net", bench.pid_of(name))).unwrap();
    assert_eq!(stack("first"), stack("second"));
    // The control: another has its own.
    bench.start(&["--name", "third", "--network", "none"], "exec sleep 1000");
    assert_ne!(stack("first"), stack("third"));
    // A program that joins is there too.
    let own = bench.say(&["exec", "second", "readlink", "/proc/self/ns/net"]).ok();
    assert_eq!(own.trim(), stack("first").to_str().unwrap());
    assert_eq!(bench.look("second", "/HostConfig/NetworkMode"), "container:first");
    let shown = bench.say(&["ps", "-f", "name=second", "--format", "{{.Networks}} {{.Status}}"]).ok();
    assert!(shown.starts_with("container:first ") && shown.contains("weakened: shared(network of "), "{shown}");
    let explained = bench.say(&["explain", "second"]).ok();
    assert!(explained.contains("--network container:") && explained.contains("they have one network"), "{explained}");
    for (flags, wanted) in [
        (&["-p", "80:80"][..], "--publish 80:80 is refused"),
        (&["-P"], "--publish-all is refused"),
        (&["--ip", "10.1.0.2"], "--ip 10.1.0.2 is refused"),
        (&["--sysctl", "net.core.somaxconn=5"], "net.core.somaxconn"),
        (&["--ipc", "container:third"], "third"),
    ] {
        let words = [&["create", "--network", "container:first"], flags, &["host", "true"]].concat();
        refused(&bench, &words, 1, &[wanted]);
    }
    bench.say(&["stop", "-t", "0", "first"]).done();
    refused(&bench, &["create", "--network", "container:first", "host", "true"], 1, &["first is not running"]);
    bench.say(&["rm", "-f", "first", "second", "third"]).done();
    bench.assert_empty();
}
