//! Networks of an ordinary user. In the user's half the program runs on the machine, with loopback only; in root's half the
//! same user has it in namespaces that play the host, with a machine outside and a device for `pasta`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bulkhead_sys::clone;
use bulkhead_tests::net::{Space, outside, page, run};
use bulkhead_tests::{Said, eventually, is_root, skip};

/// The account that root's half runs the program as.
const ACCOUNT: &str = "bulkhead-test";

/// A store of an ordinary user.
struct User {
    dir: tempfile::TempDir,
    binary: PathBuf,
    /// Where programs are looked for.
    path: &'static str,
}

impl User {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().expect("a scratch directory");
        let given = PathBuf::from(std::env::var_os("BULKHEAD_BIN").expect("BULKHEAD_BIN names the program under test"));
        let mut binary = given.clone();
        if is_root() {
            // Neither need root's directories be open to the user, nor the program lie in one that is.
            binary = dir.path().join("bulkhead");
            std::fs::copy(given, &binary).expect("a copy of the program");
            run(&format!("chmod 755 {0} {0}/bulkhead && chown {ACCOUNT}: {0}", dir.path().display())).ok();
            assert!(Self::reaches(dir.path()), "{} is not open to {ACCOUNT}", dir.path().display());
        }
        Self { dir, binary, path: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" }
    }

    fn reaches(path: &Path) -> bool {
        let words = [format!("--reuid={ACCOUNT}"), format!("--regid={ACCOUNT}"), "--clear-groups".to_owned()];
        Command::new("setpriv").args(words).args(["test", "-x"]).arg(path).status().is_ok_and(|s| s.success())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(if is_root() { Path::new("setpriv") } else { &self.binary });
        if is_root() {
            command.args([
                &format!("--reuid={ACCOUNT}"),
                &format!("--regid={ACCOUNT}"),
                "--clear-groups",
                "--inh-caps=-all",
            ]);
            command.arg(&self.binary);
        }
        let own = |name: &str| self.dir.path().join(name);
        command.args(words).stdin(Stdio::null()).current_dir("/").env_clear();
        command.env("PATH", self.path).env("HOME", own("home"));
        command.env("BULKHEAD_ROOT", own("root")).env("BULKHEAD_RUN", own("run"));
        command
    }

    fn say(&self, words: &[&str]) -> Said {
        self.command(words).output().expect("the program starts").into()
    }

    fn start(&self, name: &str, flags: &[&str], script: &str) {
        let words = [&["run", "-d", "--name", name, "--hostname", name], flags, &["host", "sh", "-c", script]].concat();
        self.say(&words).ok();
    }

    /// A web server whose one page is the name of its container.
    fn serve(&self, name: &str, flags: &[&str]) {
        let script = "mkdir /tmp/www && hostname > /tmp/www/index.html && exec busybox httpd -f -p 80 -h /tmp/www";
        self.start(name, flags, script);
    }

    fn look(&self, name: &str, pointer: &str) -> String {
        let text = self.say(&["inspect", name]).ok();
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        match value.pointer(&format!("/0{pointer}")) {
            Some(serde_json::Value::String(text)) => text.clone(),
            other => other.map(ToString::to_string).unwrap_or_default(),
        }
    }

    fn address(&self, name: &str, network: &str) -> String {
        self.look(name, &format!("/NetworkSettings/Networks/{network}/IPAddress"))
    }

    /// Whether a container gets a page from somewhere.
    fn gets(&self, name: &str, to: &str) -> bool {
        let (address, port) = to.rsplit_once(':').unwrap_or((to, "80"));
        let script = "exec 3<>/dev/tcp/$0/$1; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; grep -q '200 OK' <&3";
        self.say(&["exec", name, "timeout", "3", "bash", "-ec", script, address, port]).code == 0
    }

    /// Processes of the keeper of this store's network, by their ids: those that have its files open.
    fn keepers(&self) -> Vec<i32> {
        let used = self.dir.path().join("run/network/used");
        processes("network-keeper").into_iter().filter(|pid| has_open(*pid, &used)).collect()
    }

    /// What the keeper has written down.
    fn state(&self) -> serde_json::Value {
        let text = std::fs::read(self.dir.path().join("run/network/state.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The process that holds the namespaces.
    fn holder(&self) -> i32 {
        self.state()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0)
    }

    fn clear(&self) {
        let ids = self.say(&["ps", "-aq", "--no-trunc"]).out;
        for id in ids.split_whitespace() {
            drop(self.say(&["rm", "-f", id]));
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.clear();
        // A keeper stays for a moment; no test waits for it.
        for pid in self.keepers() {
            kill(pid);
        }
    }
}

fn kill(pid: i32) {
    // It may have ended by itself.
    bulkhead_sys::signal::kill(pid, 9).unwrap_or_default();
}

/// Processes with this word in their arguments.
fn processes(word: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|arg| arg == word.as_bytes())
    })
    .collect()
}

fn has_open(pid: i32, file: &Path) -> bool {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    all.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|to| to == file)
}

fn alive(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The program that leads out of the network that this process holds.
fn pasta_of(holder: i32) -> Vec<i32> {
    processes(&holder.to_string()).into_iter().filter(|pid| processes("--no-map-gw").contains(pid)).collect()
}

fn namespace(pid: i32) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/ns/net")).map(|meta| meta.ino()).unwrap_or(0)
}

fn has(to: &str, name: &str) -> bool {
    eventually(10, || page(to).is_some_and(|page| page == name))
}

/// A server of this namespace: one page, for as long as the listener lives.
fn answer(address: &str) -> std::thread::JoinHandle<()> {
    let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    std::thread::spawn(move || {
        for stream in listener.incoming().take(1) {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 512];
            drop(stream.read(&mut request));
            drop(stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\n"));
            // Until the client has it: an end that comes too soon is a reset on the way.
            drop(stream.shutdown(std::net::Shutdown::Write));
            drop(stream.set_read_timeout(Some(Duration::from_secs(2))));
            drop(stream.read_to_end(&mut Vec::new()));
        }
    })
}

/// Runs `act` where the user has a host of his own with a machine outside, and a device for pasta: a thread with a network
/// namespace and a mount namespace. False when it cannot be.
fn host(test: &str, act: impl FnOnce(Space) + Send) -> bool {
    if !is_root() {
        // The same is run by root's half as this kind of user.
        skip(test, "root, to make a host for an ordinary user");
        return false;
    }
    let missing = [
        (run(&format!("id {ACCOUNT} && grep -q ^{ACCOUNT}: /etc/subuid")).code == 0, "the account bulkhead-test"),
        (run("command -v pasta").code == 0, "pasta, of the package passt"),
        (Path::new("/dev/net/tun").exists(), "/dev/net/tun"),
    ];
    if let Some((_, what)) = missing.iter().find(|(there, _)| !there) {
        skip(test, what);
        return false;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            clone::unshare(clone::NEWNET | clone::NEWNS).expect("namespaces");
            run("mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /dev/net && \
                 mknod -m 666 /dev/net/tun c 10 200 && ip link set lo up")
            .ok();
            let machine = outside();
            run("ip route add default via 192.0.2.2 && ip -6 route add default via 2001:db8::2").ok();
            act(machine);
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    true
}

#[test]
fn containers_of_a_user_have_networks_and_ports() {
    if is_root() {
        // The other tests of root's half do all of this too.
        return;
    }
    let mut user = User::new();
    user.path = "/nonexistent";
    user.say(&["network", "create", "web"]).ok();
    user.serve("web", &["--network", "web", "-p", "80"]);
    user.serve("other", &["--network", "web"]);
    user.serve("plain", &[]);
    user.serve("alone", &[]);
    let port = user.say(&["port", "web", "80"]).ok();
    let port = port.trim();
    assert!(port.starts_with("127.0.0.1:") && has(port, "web"), "{port}");
    let shown = user.say(&["ps", "--format", "{{.Names}} {{.Networks}} {{.Ports}}"]).ok();
    assert!(shown.contains(&format!("web web {port}->80/tcp")) && shown.contains("plain bridge"), "{shown}");
    // Members of a declared network reach each other, and nobody else; on the default network they do not.
    assert!(eventually(10, || user.gets("other", &user.address("web", "web"))));
    assert!(eventually(10, || user.gets("plain", "127.0.0.1")) && eventually(10, || user.gets("alone", "127.0.0.1")));
    assert!(!user.gets("plain", &user.address("alone", "bridge")) && !user.gets("plain", &user.address("web", "web")));
    assert!(!user.gets("web", &user.address("plain", "bridge")));
    // They find each other by name, and networks change while they run.
    let found = user.say(&["exec", "other", "getent", "hosts", "web"]).ok();
    assert!(found.contains(&user.address("web", "web")), "{found}");
    user.say(&["network", "create", "late"]).ok();
    for name in ["web", "plain"] {
        user.say(&["network", "connect", "late", name]).ok();
    }
    assert!(eventually(10, || user.gets("plain", &user.address("web", "late"))));
    user.say(&["network", "disconnect", "late", "plain"]).ok();
    assert!(!user.gets("plain", &user.address("web", "late")) && has(port, "web"));
    // The machine's loopback is not a container's, whatever listens there.
    assert!(!user.gets("other", port) && !user.gets("other", &port.replace("127.0.0.1", "127.0.1.1")));
    let stopped = user.say(&["network", "denied"]).ok();
    assert!(stopped.contains("network"), "{stopped}");
    assert_eq!(user.say(&["network", "verify"]).code, 0);
    // Each has a user namespace below the one that has the network, with the ids of all containers of this user.
    let map = user.say(&["exec", "web", "cat", "/proc/self/uid_map"]).ok();
    let fields: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(fields.first(), Some(&"0"), "{map}");
    assert_eq!(user.say(&["exec", "web", "sh", "-c", "touch /made && stat -c %u /made"]).ok(), "0\n");
    // Copies, changes and images of one that runs are made as ever.
    user.say(&["cp", "web:/made", "-"]).ok();
    assert!(user.say(&["diff", "web"]).ok().contains("A /made"));
    // Nobody can be asked for what has no way out, and it is said why.
    let info = user.say(&["info"]);
    let all = format!("{}{}", info.out, info.err);
    assert!(all.contains("without a way out: pasta is not installed; it is in the package passt"), "{all}");
    for (flags, wanted) in [
        (&["-p", "127.0.0.1:1:80"][..], "net.ipv4.ip_unprivileged_port_start"),
        (&["-p", "192.0.2.1:8080:80/sctp"], "knows TCP and UDP"),
        (&["-p", "192.0.2.77:8080:80"], "an address of this host is needed"),
        (&["-p", "80", "--network", "none"], "--network none"),
    ] {
        let words = [&["run", "--rm"], flags, &["host", "true"]].concat();
        let error = user.say(&words).fails(125);
        // A machine may let users have every port.
        let any =
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").is_ok_and(|n| n.trim() <= "1");
        assert!(error.contains(wanted) || (any && flags.contains(&"127.0.0.1:1:80")), "{error}");
    }
    let taken = user.say(&["run", "--rm", "-p", &format!("{port}:80"), "host", "true"]).fails(125);
    assert!(taken.contains("container web"), "{taken}");
    // What carried the port has no right, and is not the user to the kernel where he has other ids.
    let holder = user.holder();
    assert_ne!(namespace(holder), namespace(1.max(i32::try_from(std::process::id()).expect("small"))));
    user.clear();
    assert_eq!(page(port), None);
    assert_eq!(user.say(&["network", "rm", "web", "late"]).ok(), "web\nlate\n");
}

#[test]
fn a_users_network_ends_with_its_last_container_and_outlives_its_keeper() {
    if is_root() {
        return;
    }
    let mut user = User::new();
    user.path = "/nonexistent";
    user.say(&["network", "create", "web"]).ok();
    user.serve("web", &["--network", "web", "-p", "80"]);
    user.serve("other", &["--network", "web"]);
    let port = user.say(&["port", "web", "80"]).ok().trim().to_owned();
    assert!(has(&port, "web"));
    let (holder, network) = (user.holder(), namespace(user.holder()));
    let keepers = user.keepers();
    assert!(alive(holder) && keepers.contains(&holder) && keepers.len() == 2, "{keepers:?} {holder}");
    // The keeper is killed: what runs goes on, and it is said; the next start has the same network.
    for pid in keepers {
        kill(pid);
    }
    assert!(eventually(5, || !alive(holder)));
    assert!(user.gets("other", &user.address("web", "web")) && has(&port, "web"));
    let drift = user.say(&["network", "verify"]).fails(1);
    let drift = format!("{drift}{}", user.say(&["network", "verify"]).out);
    assert!(drift.contains("has ended"), "{drift}");
    user.serve("third", &["--network", "web"]);
    assert_eq!(namespace(user.holder()), network);
    assert!(eventually(10, || user.gets("third", &user.address("web", "web"))));
    assert_eq!(user.say(&["network", "verify"]).code, 0);
    // A container that is made anew by its restart policy, and one that is killed with its monitor.
    user.say(&["restart", "-t", "0", "third"]).ok();
    assert!(eventually(10, || user.gets("other", &user.address("third", "web"))));
    let state = std::fs::read_dir(user.dir.path().join("run/containers")).expect("containers").flatten();
    for entry in state {
        let text = std::fs::read_to_string(entry.path().join("state.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(monitor) = state["monitor"].as_i64() {
            kill(i32::try_from(monitor).expect("a small number"));
        }
    }
    let holder = user.holder();
    assert!(eventually(10, || user.say(&["ps", "-q"]).ok().is_empty()));
    // Nobody uses it any more.
    assert!(eventually(20, || !alive(holder)), "{:?}", user.keepers());
    assert!(eventually(5, || user.keepers().is_empty()) && user.state().is_null());
    user.serve("again", &["--network", "web"]);
    assert_ne!(namespace(user.holder()), 0);
    assert_eq!(user.say(&["network", "verify"]).code, 0);
}

#[test]
fn the_way_out_of_a_user_reaches_others_and_not_the_host() {
    host("the_way_out_of_a_user_reaches_others_and_not_the_host", |machine| {
        let user = User::new();
        user.say(&["network", "create", "--ipv6", "web"]).ok();
        let ports = ["-p", "8080:80", "-p", "0.0.0.0:9090:80"];
        user.serve("web", &[&["--network", "web"], &ports[..]].concat());
        let info = user.say(&["info"]);
        assert!(!format!("{}{}", info.out, info.err).contains("without a way out"), "{}{}", info.out, info.err);
        let holder = user.holder();
        assert_eq!((pasta_of(holder).len(), user.state()["closed"].is_null()), (1, true), "{}", user.state());
        // Out, by both families, from declared and default networks.
        for to in ["192.0.2.2:7001", "[2001:db8::2]:7002"] {
            let served = machine.within(|| answer(to));
            assert!(user.gets("web", &to.replace(['[', ']'], "")), "{to}");
            served.join().expect("one answer");
        }
        let served = machine.within(|| answer("192.0.2.2:7003"));
        let script = "exec 3<>/dev/tcp/192.0.2.2/7003; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; grep -q '200 OK' <&3";
        user.say(&["run", "--rm", "host", "timeout", "5", "bash", "-ec", script]).ok();
        served.join().expect("one answer");
        // The host's own addresses and loopback, by whatever name; and a second link of it. The control: they do listen.
        run("ip link add second0 type veth peer name second1 && ip addr add 198.51.100.7/24 dev second0 && ip link set second0 up").ok();
        for to in ["192.0.2.1:7011", "198.51.100.7:7012", "127.0.0.1:7013", "[2001:db8::1]:7014"] {
            let served = answer(to);
            let plain = to.replace(['[', ']'], "");
            // A new address is the user's network's own within a moment.
            assert!(eventually(3, || !user.gets("web", &plain)), "{to}");
            let (_, port) = to.rsplit_once(':').expect("a port");
            for by in ["192.0.2.2", "169.254.169.254"] {
                assert!(!user.gets("web", &format!("{by}:{port}")), "{by}:{port}");
            }
            assert_eq!(page(to).as_deref(), Some("hello"), "{to}");
            served.join().expect("one answer");
        }
        let stopped = user.say(&["network", "denied"]).ok();
        assert!(stopped.contains("host") && stopped.contains("refused"), "{stopped}");
        // Published: loopback's from here only, the others from outside too, and never as if from loopback inside.
        assert!(has("127.0.0.1:8080", "web") && has("192.0.2.1:9090", "web"));
        machine.within(|| {
            assert!(has("192.0.2.1:9090", "web"));
            assert_eq!(page("192.0.2.1:8080"), None);
        });
        let mut stream = TcpStream::connect("127.0.0.1:8080").expect("a connection");
        let seen = || user.say(&["exec", "web", "busybox", "netstat", "-tn"]).ok();
        let network = user.address("web", "web");
        let gateway = format!("{}.1:", network.rsplit_once('.').expect("an address").0);
        assert!(eventually(5, || seen().contains(&gateway)), "{gateway} {}", seen());
        assert!(!seen().contains("127.0.0.1:"), "{}", seen());
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it goes on");
        // Datagrams, by an address of the host.
        let script = "my $s = IO::Socket::INET->new(LocalPort => 53, Proto => 'udp') or die; \
            while ($s->recv(my $text, 100)) { $s->send($text) }";
        let words = ["run", "-d", "-p", "0.0.0.0:9053:53/udp", "host", "perl", "-MIO::Socket::INET", "-e", script];
        user.say(&words).ok();
        let own = machine.within(|| UdpSocket::bind("192.0.2.2:0")).expect("a port");
        own.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let mut word = [0; 16];
        assert!(eventually(10, || {
            drop(own.send_to(b"question", "192.0.2.1:9053"));
            own.recv_from(&mut word).is_ok_and(|(length, from)| length == 8 && from.port() == 9053)
        }));
    });
}

#[test]
fn a_way_out_that_is_killed_is_made_again() {
    host("a_way_out_that_is_killed_is_made_again", |machine| {
        let user = User::new();
        user.serve("web", &[]);
        let out = |name: &str, port: u16| {
            let to = format!("192.0.2.2:{port}");
            let served = machine.within(|| answer(&to));
            let reached = user.gets(name, &to);
            if !reached {
                // Nobody else would.
                drop(machine.within(|| page(&to)));
            }
            served.join().expect("one answer");
            reached
        };
        assert!(out("web", 7101));
        let [before] = pasta_of(user.holder())[..] else { panic!("one pasta") };
        kill(before);
        assert!(eventually(10, || pasta_of(user.holder()).iter().any(|pid| *pid != before)));
        assert!(eventually(10, || out("web", 7102)));
        // The keeper, and pasta with it: the next start makes both, for what is there.
        let network = namespace(user.holder());
        for pid in user.keepers() {
            kill(pid);
        }
        assert!(eventually(5, || processes("--no-map-gw").iter().all(|pid| namespace(*pid) != network)));
        user.start("next", &[], "exec sleep 1000");
        assert_eq!(namespace(user.holder()), network);
        assert!(eventually(10, || out("next", 7103)) && eventually(10, || out("web", 7104)));
        // Another store has another network, and no way from one to the other.
        let other = User::new();
        other.serve("web", &[]);
        assert_ne!(namespace(other.holder()), network);
        assert!(
            !other.gets("web", &user.address("web", "bridge"))
                || other.address("web", "bridge") == user.address("web", "bridge")
        );
        // Without the device it is said why.
        run("mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 600 /dev/net/tun c 10 200").ok();
        let third = User::new();
        third.start("web", &[], "exec sleep 1000");
        let info = third.say(&["info"]);
        let all = format!("{}{}", info.out, info.err);
        assert!(all.contains("without a way out: /dev/net/tun cannot be opened by this user"), "{all}");
        assert!(!third.gets("web", "192.0.2.2:7105"));
    });
}
