//! Network namespaces that a test makes: one that plays the host, others that play containers and the outside. Nothing of
//! the machine's own network is seen from them.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use bulkhead_net::{Bridge, Declared, Member, Port, Protocol, Subnet};
use bulkhead_sys::clone;

use crate::Said;

/// How long something that is refused may stay without an answer. Long enough for a second try: a bridge that had no port
/// sends nothing until the kernel has noticed that it has one.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Runs `act` as if in the host's network namespace: a thread of its own with a namespace of its own.
///
/// An ordinary user is root in a user namespace: the whole test runs once more there, as a process of its own.
///
/// # Panics
/// When it does, and when the namespaces cannot be made.
pub fn host(act: impl FnOnce() + Send) {
    if !crate::is_root() {
        return as_root_of_a_namespace();
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            clone::unshare(clone::NEWNET).expect("a network namespace");
            bulkhead_sys::net::loopback_up().expect("loopback");
            act();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn as_root_of_a_namespace() {
    static DONE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let thread = std::thread::current();
    let test = thread.name().expect("the harness names the thread after the test").to_owned();
    // A test that has several hosts has had all of them the first time.
    if !DONE.lock().expect("a lock").insert(test.clone()) {
        return;
    }
    let own = std::env::current_exe().expect("the test program");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(own).args([&test, "--exact", "--nocapture"]).stdin(Stdio::null());
    let said: Said = command.output().expect("unshare").into();
    assert!(said.code == 0 && said.out.contains("1 passed"), "{}\n{}", said.out, said.err);
}

/// Gives the calling thread, and what it starts from now on, a network namespace with loopback alone, unless it has one that
/// is not the machine's: networks that containers of root get are never the machine's.
///
/// # Panics
/// When this is not root.
pub fn apart() {
    use std::os::unix::fs::MetadataExt;
    static MACHINE: OnceLock<u64> = OnceLock::new();
    let own = std::fs::metadata("/proc/thread-self/ns/net").expect("a network namespace").ino();
    if *MACHINE.get_or_init(|| own) == own {
        clone::unshare(clone::NEWNET).expect("a network namespace");
        bulkhead_sys::net::loopback_up().expect("loopback");
    }
}

/// Runs a command here and gives what it said.
#[must_use]
pub fn run(command: &str) -> Said {
    let output = Command::new("/bin/sh").args(["-c", command]).stdin(Stdio::null()).output().expect("a shell");
    output.into()
}

/// The page that a web server says, as seen from here.
///
/// # Panics
/// When this is no address.
#[must_use]
pub fn page(to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().expect("an address");
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, page)| page.trim().to_owned())
}

/// Processes here that carry ports and answer for names: their status files.
///
/// # Panics
/// Without `/proc`.
#[must_use]
pub fn carriers() -> Vec<String> {
    let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
    let all = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    all.filter(|path| std::fs::read_link(path.join("ns/net")).is_ok_and(|net| net == own))
        .filter(|path| {
            std::fs::read(path.join("cmdline")).is_ok_and(|line| line.windows(10).any(|w| w == b"port-proxy"))
        })
        .filter_map(|path| std::fs::read_to_string(path.join("status")).ok())
        .collect()
}

/// Writes a file of `/proc/sys/net` of the calling thread's namespace.
///
/// # Panics
/// When it cannot be written.
pub fn sysctl(name: &str, value: &str) {
    if name.starts_with("bridge/") && !std::path::Path::new("/proc/sys/net/bridge").exists() {
        // The module is the host's to load: without it frames between ports pass no packet filter, as with 0.
        eprintln!("br_netfilter is not loaded: {name} stays 0");
        return;
    }
    std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap_or_else(|e| panic!("{name}: {e}"));
}

/// A process in a network namespace of its own: a container, or a machine outside.
#[derive(Debug)]
pub struct Space {
    child: Child,
    namespace: OwnedFd,
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Default for Space {
    fn default() -> Self {
        Self::new()
    }
}

impl Space {
    /// One whose namespace belongs to a user namespace of its own, as a container's does.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "/bin/sh", "-c", "echo ready; exec sleep 600"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut word = [0; 6];
        let out = child.stdout.as_mut().expect("its output");
        std::io::Read::read_exact(out, &mut word).expect("a word");
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", child.id())).expect("its namespace").into();
        Self { child, namespace }
    }

    /// Its process.
    ///
    /// # Panics
    /// Never: process ids are small.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a small number")
    }

    /// Acts inside, on a thread of its own.
    ///
    /// # Panics
    /// When `act` does.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                clone::join(self.namespace.as_fd(), clone::NEWNET).expect("enter a namespace");
                act()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command inside.
    #[must_use]
    pub fn run(&self, command: &str) -> Said {
        self.within(|| run(command))
    }

    /// A listener of TCP inside.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn listen(&self, address: &str) -> TcpListener {
        self.within(|| TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}")))
    }

    /// A socket of UDP inside.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn datagrams(&self, address: &str) -> UdpSocket {
        self.within(|| UdpSocket::bind(address).unwrap_or_else(|e| panic!("{address}: {e}")))
    }

    /// Whether TCP from inside reaches a listener, and from which address it comes there.
    #[must_use]
    pub fn tcp(&self, listener: &TcpListener, to: &str) -> Option<IpAddr> {
        self.within(|| tcp(listener, to))
    }

    /// As [`Space::tcp`], of UDP.
    #[must_use]
    pub fn udp(&self, socket: &UdpSocket, to: &str) -> Option<IpAddr> {
        self.within(|| udp(socket, to))
    }

    /// Whether an echo comes back.
    #[must_use]
    pub fn pings(&self, to: &str) -> bool {
        let ping = format!("ping -n -c 1 -W 1 {to}");
        self.run(&format!("{ping} || {ping}")).code == 0
    }
}

/// Whether TCP from here reaches a listener that somebody else has open, and from which address it comes there.
///
/// # Panics
/// When the listener is unusable.
pub fn tcp(listener: &TcpListener, to: &str) -> Option<IpAddr> {
    let to: SocketAddr = to.parse().expect("an address");
    let stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    listener.set_nonblocking(true).expect("a listener");
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Ok((mut accepted, from)) = listener.accept() {
            use std::io::{Read as _, Write as _};
            accepted.set_nonblocking(false).expect("a stream");
            accepted.write_all(b"ok").expect("it takes two bytes");
            let mut word = [0; 2];
            (&stream).read_exact(&mut word).expect("two bytes come");
            return Some(from.ip());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{to} was reached, but another listener");
}

/// As [`tcp`], of UDP: there and back.
///
/// # Panics
/// When the socket is unusable.
pub fn udp(socket: &UdpSocket, to: &str) -> Option<IpAddr> {
    let to: SocketAddr = to.parse().expect("an address");
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let own = UdpSocket::bind(any).expect("a port");
    own.connect(to).ok()?;
    socket.set_read_timeout(Some(PATIENCE / 2)).expect("a timeout");
    own.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut buffer = [0; 16];
    let mut ask = || {
        own.send(b"question").ok()?;
        socket.recv_from(&mut buffer).ok()
    };
    let (_, from) = ask().or_else(&mut ask)?;
    socket.send_to(b"answer", from).expect("it can be sent");
    own.recv(&mut buffer).ok()?;
    Some(from.ip())
}

/// The program that sends and counts frames, beside the test program and named after its source.
///
/// # Panics
/// When it cannot be built.
pub fn frames() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("frames/frames.c");
        let text = include_str!("../frames/frames.c");
        let own = std::env::current_exe().expect("the test program");
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let program = own.with_file_name(format!("bulkhead-frames-{:x}", hasher.finish()));
        if !program.exists() {
            let part = program.with_extension(std::process::id().to_string());
            let mut compiler = Command::new("cc");
            let made: Said =
                compiler.args(["-static", "-O1", "-o"]).arg(&part).arg(source).output().expect("cc").into();
            made.ok();
            std::fs::rename(&part, &program).expect("it can be put in place");
        }
        program
    })
}

/// A network whose third byte is `number`: 10.88.number.0/24 and fd88:number::/64.
///
/// # Panics
/// Never.
#[must_use]
pub fn network(number: u8, both: bool) -> Bridge {
    let v6 = |last: &str| format!("fd88:{number:x}::{last}").parse().expect("an address");
    Bridge {
        link: format!("bh-{number:012x}"),
        v4: Some(Subnet { address: [10, 88, number, 0].into(), prefix: 24, gateway: [10, 88, number, 1].into() }),
        v6: both.then(|| Subnet { address: v6(""), prefix: 64, gateway: v6("1") }),
        mtu: 1500,
        internal: false,
        isolated: false,
        masquerade: true,
        policy: None,
    }
}

/// A member of such a network, with `host` as the last byte of its addresses.
///
/// # Panics
/// Never.
#[must_use]
pub fn member(network: &Bridge, host: u8) -> Member {
    let v4 = network.v4.map(|subnet| match subnet.address {
        IpAddr::V4(a) => std::net::Ipv4Addr::from(u32::from(a) | u32::from(host)),
        IpAddr::V6(_) => unreachable!("an IPv4 subnet"),
    });
    let v6 = network.v6.map(|subnet| match subnet.address {
        IpAddr::V6(a) => std::net::Ipv6Addr::from(u128::from(a) | u128::from(host)),
        IpAddr::V4(_) => unreachable!("an IPv6 subnet"),
    });
    let tail: u32 = u32::from_be_bytes(v4.expect("IPv4").octets());
    Member {
        bridge: network.link.clone(),
        host_link: format!("bv{tail:012x}"),
        inner: "eth0".to_owned(),
        mac: [2, 0x88, 0, 0, v4.expect("IPv4").octets()[2], host],
        v4,
        v6,
        default_route: true,
        limited: network.policy.is_some(),
        egress: None,
    }
}

/// A published port.
///
/// # Panics
/// When an address is none.
#[must_use]
pub fn port(address: &str, port: u16, protocol: Protocol, to: &str, inner: u16) -> Port {
    let ip = |text: &str| text.parse().expect("an address");
    Port { address: ip(address), port, protocol, to: ip(to), inner }
}

/// All of it.
#[must_use]
pub fn declared(bridges: &[&Bridge], members: &[Member], ports: &[Port]) -> Declared {
    Declared {
        bridges: bridges.iter().map(|b| (*b).clone()).collect(),
        members: members.to_vec(),
        ports: ports.to_vec(),
        ..Declared::default()
    }
}

/// A container on a network.
///
/// # Panics
/// When it cannot be attached.
#[must_use]
pub fn container(network: &Bridge, host: u8) -> (Space, Member) {
    let (space, member) = (Space::new(), member(network, host));
    bulkhead_net::attach(space.pid(), &[network], std::slice::from_ref(&member), &[]).expect("attached");
    (space, member)
}

/// A machine outside: 192.0.2.2 and 2001:db8::2, with the host as its neighbour at .1 and ::1 by the link `lan0`.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn outside() -> Space {
    let space = Space::new();
    let pid = space.pid();
    // Two ends with the same number are a second late to know that they are connected.
    run(&format!(
        "set -e; ip link add lan0 index 1000 type veth peer name lan0 netns {pid}; ip addr add 192.0.2.1/24 dev lan0; \
         ip addr add 2001:db8::1/64 dev lan0 nodad; echo 0 >/proc/sys/net/ipv6/conf/lan0/accept_dad; \
         ip link set lan0 up"
    ))
    .ok();
    space
        .run(
            "set -e; ip link set lo up; ip addr add 192.0.2.2/24 dev lan0; ip addr add 2001:db8::2/64 dev lan0 nodad; \
             echo 0 >/proc/sys/net/ipv6/conf/lan0/accept_dad; ip link set lan0 up",
        )
        .ok();
    space
}
