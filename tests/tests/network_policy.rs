//! What members of a network may send each other and reach outside, from the command line to the wire: as root, in a
//! network namespace that plays the host.

use std::net::TcpListener;
use std::time::Duration;

use bulkhead_tests::net::{outside, run, sysctl};
use bulkhead_tests::{Bench, eventually, is_root};

/// A web server in a container.
fn serve(bench: &Bench, name: &str, flags: &[&str]) {
    let script = "mkdir /tmp/www && echo hello > /tmp/www/index.html && exec busybox httpd -f -p 80 -h /tmp/www";
    bench.say(&[&["run", "-d", "--name", name], flags, &["host", "sh", "-c", script]].concat()).ok();
}

fn address(bench: &Bench, name: &str, network: &str) -> String {
    let value = bench.look(name, &format!("/NetworkSettings/Networks/{network}/IPAddress"));
    value.as_str().filter(|text| !text.is_empty()).unwrap_or_else(|| panic!("{name} has no address")).to_owned()
}

/// Whether a container opens a connection there, within a second.
fn opens(bench: &Bench, name: &str, to: &str, port: u16) -> bool {
    let script = "exec 3<>/dev/tcp/$0/$1";
    bench.say(&["exec", name, "timeout", "1", "bash", "-ec", script, to, &port.to_string()]).code == 0
}

fn refused(bench: &Bench, words: &[&str], code: i32, wanted: &[&str]) {
    let error = bench.say(words).fails(code);
    for one in wanted {
        assert!(error.contains(one), "{words:?} does not say {one:?}: {error}");
    }
}

fn policy(bench: &Bench, words: &[&str]) {
    bench.say(&[&["network", "policy"], words].concat()).done();
}

fn flows(bench: &Bench, name: &str) -> Vec<String> {
    let words = ["network", "policy", "--format", "{{.From}} {{.To}} {{.Traffic}} {{.Missing}}", name];
    bench.say(&words).ok().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn a_policy_holds_for_containers_that_run_and_for_those_that_come() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    bench.say(&["network", "create", "--allow", "web → db:80", "shop"]).ok();
    assert_eq!(flows(&bench, "shop"), ["web db 80/tcp web,db"]);
    serve(&bench, "base", &["--network", "name=shop,alias=db"]);
    serve(&bench, "web", &["--network", "shop", "--restart", "always"]);
    serve(&bench, "other", &["--network", "shop"]);
    let of = |name: &str| address(&bench, name, "shop");
    let (base, web) = (of("base"), of("web"));
    assert_eq!(flows(&bench, "shop"), ["web db 80/tcp"]);
    assert!(eventually(10, || opens(&bench, "web", &base, 80)));
    assert!(!opens(&bench, "other", &base, 80) && !opens(&bench, "base", &web, 80));
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    let table = bench.say(&["network", "denied"]).ok();
    let line = table.lines().find(|l| l.starts_with("unstated flow") && l.contains(" other "));
    assert!(line.is_some_and(|l| l.contains(&base) && l.contains(" base ") && l.contains("neighbour")), "{table}");
    assert!(table.lines().any(|l| l.starts_with("flow that no policy states")), "{table}");
    // At once, by another name of it, and for everybody.
    policy(&bench, &["--allow", "* -> base:80/tcp", "--remove", "web -> db:80", "shop"]);
    // Who looked for a neighbour in vain looks again within a second.
    let comes = |name: &str| eventually(5, || opens(&bench, name, &base, 80));
    assert!(comes("other") && comes("web"));
    policy(&bench, &["--remove", "* -> base:80", "shop"]);
    assert!(!opens(&bench, "web", &base, 80));
    assert!(bench.say(&["network", "policy", "shop"]).ok().contains("nothing passes between its members"));
    policy(&bench, &["--allow", "other -> db:80", "shop"]);
    assert!(comes("other"));
    // Who starts again has what is said now and not what was said when it was made.
    let first = bench.pid_of("web");
    run(&format!("kill -9 {first}")).ok();
    let again = || bench.state("web").0 == "running" && bench.pid_of("web") != first;
    assert!(eventually(10, || again() && bench.say(&["exec", "web", "true"]).code == 0));
    assert!(!opens(&bench, "web", &base, 80));
    // A name is who has it.
    bench.say(&["rename", "other", "another"]).ok();
    assert!(!opens(&bench, "another", &base, 80));
    bench.say(&["rename", "another", "other"]).ok();
    assert!(comes("other"));
    // What somebody else opened is named, and closed again; on the bridge alone, where it is all that there is.
    sysctl("bridge/bridge-nf-call-iptables", "0");
    run("nft add element bridge bulkhead unlimited { $(ip -br link | awk '/^bv/{sub(\"@.*\",\"\",$1); print \"\\\"\" $1 \"\\\"\"}' | paste -sd,) }").ok();
    assert!(comes("web"));
    let said = bench.say(&["network", "verify"]);
    assert!(said.code == 1 && said.out.contains("unlimited"), "{}", said.out);
    let mended = bench.say(&["network", "verify", "--mend"]);
    assert!(mended.code == 0 && !opens(&bench, "web", &base, 80), "{}", mended.out);
    // Without one everything is as it was, and after a new start.
    policy(&bench, &["--clear", "shop"]);
    assert!(comes("web"));
    assert!(bench.say(&["network", "policy", "shop"]).ok().contains("its members reach each other"));
    policy(&bench, &["--allow", "none", "shop"]);
    bench.say(&["restart", "-t", "0", "other"]).ok();
    assert!(!opens(&bench, "other", &of("base"), 80));
    assert!(run("nft list ruleset").ok().contains(&of("base")));
    bench.say(&["rm", "-f", "web", "base", "other"]).ok();
    let left = run("nft list ruleset").ok();
    assert!(!left.contains("\"bv"), "{left}");
    bench.say(&["network", "rm", "shop"]).ok();
}

#[test]
fn what_can_be_no_policy_is_named() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    bench.say(&["network", "create", "shop"]).ok();
    bench.say(&["network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart"]).ok();
    bench.say(&["create", "--name", "web", "--network", "shop", "--network-alias", "www", "host", "true"]).ok();
    let of = |words: &[&str], code, wanted: &[&str]| {
        refused(&bench, &[&["network", "policy"], words].concat(), code, wanted);
    };
    of(&["gone"], 1, &["network gone not found"]);
    of(&["--allow", "web -> db:80", "shop"], 1, &["no member of network shop is called \"db\"", "web, www", "--later"]);
    of(&["--allow", "web db", "shop"], 125, &["\"web db\" for --allow", "web -> db:5432/tcp"]);
    of(&["--allow", "web -> www:0", "shop"], 125, &["\"web -> www:0\" for --allow"]);
    of(&["--remove", "web -> www", "shop"], 1, &["has no flow \"web -> www\"", "none yet"]);
    of(&["--allow", "* -> *", "bridge"], 1, &["network bridge", "do not reach each other", "hint: "]);
    of(&["--allow", "* -> *", "apart"], 1, &["network apart", "do not reach each other"]);
    of(&["--clear", "--allow", "* -> *", "shop"], 125, &["--clear"]);
    refused(&bench, &["network", "create", "--allow", "x", "n"], 125, &["\"x\" for --allow"]);
    let with = ["network", "create", "--allow", "a -> b", "-o", "com.docker.network.bridge.enable_icc=false", "n"];
    refused(&bench, &with, 1, &["--allow", "enable_icc"]);
    assert!(flows(&bench, "shop").is_empty());
    policy(&bench, &["--later", "--allow", "web -> db:80", "shop"]);
    assert_eq!(flows(&bench, "shop"), ["web db 80/tcp db"]);
    let shown = bench.say(&["network", "inspect", "-f", "{{json .Bulkhead.Policy}}", "shop"]).ok();
    assert_eq!(shown, "[\"web -> db:80/tcp\"]\n");
    bench.say(&["rm", "web"]).ok();
    bench.say(&["network", "rm", "shop", "apart"]).ok();
}

#[test]
fn a_container_reaches_what_it_was_told_and_its_network_says_the_rest() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let machine = outside();
    machine.run("ip addr add 192.0.2.3/24 dev lan0").ok();
    let (eighty, other) = (machine.listen("0.0.0.0:80"), machine.listen("0.0.0.0:81"));
    let host = TcpListener::bind("0.0.0.0:80").expect("a port");
    bench.say(&["network", "create", "--egress", "192.0.2.3:80", "shop"]).ok();
    serve(&bench, "free", &[]);
    serve(&bench, "one", &["--egress", "192.0.2.2:80", "--egress", "[2001:db8::]/32", "-p", "192.0.2.1:8080:80"]);
    serve(&bench, "shut", &["--egress", "none"]);
    serve(&bench, "shop", &["--network", "shop"]);
    serve(&bench, "own", &["--network", "shop", "--egress", "192.0.2.2:80"]);
    let reached = |name: &str| -> Vec<bool> {
        [("192.0.2.2", 80), ("192.0.2.2", 81), ("192.0.2.3", 80)]
            .iter()
            .map(|(a, p)| opens(&bench, name, a, *p))
            .collect()
    };
    assert_eq!(reached("free"), [true, true, true]);
    assert_eq!(reached("one"), [true, false, false]);
    assert_eq!(reached("shut"), [false, false, false]);
    assert_eq!((reached("shop"), reached("own")), (vec![false, false, true], vec![true, false, false]));
    // Members are not outside; the host is no way out; who comes to a published port is answered.
    assert!(opens(&bench, "own", &address(&bench, "shop", "shop"), 80));
    assert!(!opens(&bench, "one", "192.0.2.1", 80));
    let came = || {
        machine.within(|| {
            std::net::TcpStream::connect_timeout(&"192.0.2.1:8080".parse().unwrap(), Duration::from_secs(1)).is_ok()
        })
    };
    assert!(eventually(5, came));
    let table = bench.say(&["network", "denied"]).ok();
    assert!(table.lines().any(|l| l.starts_with("not on the egress list")), "{table}");
    assert!(table.lines().any(|l| l.contains(" shut ") && l.contains("192.0.2.2") && l.contains("81/tcp")), "{table}");
    assert_eq!(bench.say(&["network", "verify"]).ok(), "everything is as declared\n");
    // It is shown, and it stays after a new start and with one more network.
    assert_eq!(bench.look("one", "/HostConfig/Egress/0"), "192.0.2.2:80/tcp");
    assert!(bench.say(&["explain", "one"]).ok().contains("a way out to 192.0.2.2:80/tcp [2001:db8::]/32 only"));
    assert_eq!(
        bench.say(&["network", "inspect", "-f", "{{index .Bulkhead.Egress 0}}", "shop"]).ok(),
        "192.0.2.3:80/tcp\n"
    );
    bench.say(&["stop", "-t", "0", "shut"]).ok();
    bench.say(&["network", "connect", "shop", "shut"]).ok();
    bench.say(&["network", "disconnect", "bridge", "shut"]).ok();
    bench.say(&["start", "shut"]).ok();
    assert_eq!(reached("shut"), [false, false, false]);
    bench.say(&["rm", "-f", "free", "one", "shut", "shop", "own"]).ok();
    let left = run("nft list set inet bulkhead egress4; nft list set inet bulkhead egress6").ok();
    assert!(!left.contains("192.0.2.") && !left.contains("2001:db8"), "{left}");
    drop((eighty, other, host));
    // The strict profile reaches nothing that it was not told.
    let strict = |flags: &[&str]| {
        bench
            .say(
                &[
                    &["run", "--rm", "--profile", "strict", "--user", "1000"],
                    flags,
                    &["host", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.2/80"],
                ]
                .concat(),
            )
            .code
    };
    let _again = machine.listen("0.0.0.0:80");
    assert_eq!((strict(&[]), strict(&["--egress", "192.0.2.2:80"])), (1, 0));
    for (words, code, wanted) in [
        (&["--egress", "169.254.169.254:80"][..], 125, &["\"169.254.169.254:80\" for --egress", "metadata"][..]),
        (&["--egress", "2001:db8::1"], 125, &["for --egress", "[2001:db8::1]"]),
        (&["--egress", "none", "--egress", "192.0.2.2"], 125, &["\"none\" for --egress"]),
        (&["--network", "none", "--egress", "192.0.2.2"], 1, &["--egress 192.0.2.2 is refused", "none"]),
    ] {
        refused(&bench, &[&["create"], words, &["host", "true"]].concat(), code, wanted);
    }
    refused(&bench, &["network", "create", "--internal", "--egress", "192.0.2.2", "n"], 1, &["--internal"]);
    bench.say(&["network", "rm", "shop"]).ok();
    bench.assert_empty();
}
