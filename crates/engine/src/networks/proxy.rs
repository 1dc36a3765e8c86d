//! Ports of the host's loopback addresses and names of containers: the process that carries and answers, and its starter.
//!
//! The starter, a container's monitor, binds the sockets; the process gets them and nothing else: no right, no file, a
//! user of the container's own range, and a filter that knows the calls of sockets only.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};

use bulkhead_net::names::Redirect;
use bulkhead_net::proxy::{Forward, Listening, serve};
use bulkhead_net::{Declared, Port, Protocol};
use bulkhead_seccomp::{Arch, Context, Profile, ProfileText};
use bulkhead_sys::{Errno, caps, clone, fd, ids, seccomp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::kernel;
use super::place::Place;
use crate::error::EngineError;

/// The verb of the hidden command.
const VERB: &str = "port-proxy";

/// All that the process may ask of the kernel; `fcntl` for `F_DUPFD_CLOEXEC`, and for
/// `F_GETFD`, which a build for tests asks before it closes.
const CALLS: &str = r#"{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[
    {"action":"SCMP_ACT_ALLOW","names":["epoll_create1","epoll_ctl","epoll_wait","epoll_pwait","epoll_pwait2","accept4",
        "connect","recvfrom","recvmsg","sendto","pread64","shutdown","setsockopt","getsockopt","ioctl","close","read","write","mmap","munmap",
        "mremap","mprotect","brk","madvise","futex","clock_gettime","rt_sigreturn","rt_sigprocmask","sigaltstack","exit","exit_group",
        "getrandom"]},
    {"action":"SCMP_ACT_ALLOW","names":["fcntl"],"args":[{"index":1,"value":1,"op":"SCMP_CMP_EQ"}]},
    {"action":"SCMP_ACT_ALLOW","names":["fcntl"],"args":[{"index":1,"value":1030,"op":"SCMP_CMP_EQ"}]},
    {"action":"SCMP_ACT_ALLOW","names":["socket"],"args":[{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]},
    {"action":"SCMP_ACT_ALLOW","names":["socket"],"args":[{"index":0,"value":10,"op":"SCMP_CMP_EQ"}]}]}"#;

/// The process that carries a container's ports for as long as this is held.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    /// Its end is the process's. Orders go over it.
    word: Option<OwnedFd>,
    /// Leads to its sockets inside.
    redirect: Option<Redirect>,
}

thread_local! {
    /// To be closed later: the kernel takes some 10 ms for it, and whoever waits for the container's end would wait for that.
    static LATER: RefCell<Option<Redirect>> = const { RefCell::new(None) };
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.word.take());
        // One that is stopped or hangs is not waited for.
        drop(self.child.kill());
        drop(self.child.wait());
        LATER.with(|later| later.replace(self.redirect.take()));
    }
}

/// The port as this process carries it: one of loopback, and of every address that on loopback, which the kernel does not
/// forward. Of an ordinary user it carries all.
pub(super) fn carried(place: &Place, port: &Port) -> Option<Port> {
    if !matches!(place, Place::Host) {
        return Some(*port);
    }
    let loopback: IpAddr = match port.address {
        IpAddr::V4(a) if a.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(a) if a.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        own => own,
    };
    let same = loopback == port.address;
    let wanted = loopback.is_loopback() && (same || port.protocol != Protocol::Sctp);
    wanted.then_some(Port { address: loopback, ..*port })
}

fn bind(port: &Port) -> Result<OwnedFd, EngineError> {
    let at = SocketAddr::new(port.address, port.port);
    if port.protocol == Protocol::Sctp {
        return Err(EngineError::refused(format!("port {at}/sctp"), NO_SCTP));
    }
    listening(at, port.protocol).map_err(|e| {
        let named = format!("port {at}/{}", port.protocol);
        match e {
            Errno::ADDRNOTAVAIL => kernel::not_of_this_host(port.address),
            Errno::ACCESS => {
                let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
                let first = std::fs::read_to_string(file).unwrap_or_default();
                let reason = format!(
                    "an ordinary user may have ports from {} on; choose one of them, or let the administrator set \
                     net.ipv4.ip_unprivileged_port_start={}",
                    first.trim(),
                    port.port
                );
                EngineError::refused(named, reason)
            }
            _ => {
                let holder = kernel::listener(port.address, port.port, port.protocol);
                let reason = holder.map_or_else(|| e.to_string(), |holder| format!("{holder} listens there"));
                EngineError::refused(named, reason)
            }
        }
    })
}

/// A socket of this address and family only: what is bound to every address of version 6 leaves version 4 alone.
fn listening(at: SocketAddr, protocol: Protocol) -> Result<OwnedFd, Errno> {
    use rustix::net::{bind, listen, socket_with, sockopt};
    const WAITING: i32 = 128;
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if protocol == Protocol::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier run that have just ended are in nobody's way.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &at)?;
    if protocol == Protocol::Tcp {
        listen(&socket, WAITING)?;
    }
    Ok(socket)
}

/// Why SCTP has no port of a loopback address.
pub(super) const NO_SCTP: &str =
    "SCTP is not carried from loopback addresses; write an address of the host before the port";

/// Why SCTP has no port of an ordinary user.
pub(super) const NO_SCTP_OF_USERS: &str =
    "ports of an ordinary user are carried by a process, which knows TCP and UDP; run the container as root for SCTP";

impl Proxy {
    /// Starts the process, where there is a port for it or `names` are to be answered. `binary` is the protected copy of
    /// this program, `user` an id of the container's own. The sockets are the host's, whatever the place.
    ///
    /// An ordinary user's has the ids of his network. One that answers stays in the host's network, where the servers are
    /// that it asks; one that carries is in his own, where the containers are.
    ///
    /// # Errors
    /// A port that somebody has, by the holder; what the kernel says.
    pub(crate) fn start(
        place: &Place,
        wiring: &Declared,
        binary: BorrowedFd<'_>,
        user: u32,
        names: bool,
    ) -> Result<Option<Self>, EngineError> {
        let failed = |e: Errno| EngineError::refused("the process that carries ports", e.to_string());
        // Each port is a socket of this process for a moment.
        let room = bulkhead_net::proxy::room();
        if u64::try_from(wiring.ports.len()).unwrap_or(u64::MAX).saturating_add(64) > room {
            let reason =
                format!("{} of them are more than this host lets a process have open: {room}", wiring.ports.len());
            return Err(EngineError::refused("publishing so many ports", reason));
        }
        let mut sockets = Vec::new();
        let mut words = vec![user.to_string()];
        for port in wiring.ports.iter().filter_map(|port| carried(place, port)) {
            let socket = bind(&port)?;
            fd::keep_over_exec(&socket).map_err(failed)?;
            let to = SocketAddr::new(port.to, port.inner);
            words.push(format!("{}={}={to}", port.protocol, socket.as_raw_fd()));
            sockets.push(socket);
        }
        if sockets.is_empty() && !names {
            return Ok(None);
        }
        let mut entered = Vec::new();
        let there = place.user().map(|user| if names { vec![&user.user] } else { vec![&user.user, &user.net] });
        for fd in there.into_iter().flatten() {
            // Without close-on-exec, for the time of one start.
            entered.push(rustix::io::dup(fd).map_err(failed)?);
        }
        let numbers: Vec<String> = entered.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        words.insert(1, numbers.join(","));
        let (until, word) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(failed)?;
        let binary = rustix::io::dup(binary).map_err(failed)?;
        let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
        command.arg(VERB).args(words).env_clear().current_dir("/");
        command.stdin(Stdio::from(until)).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        // The next process that is started must not have them.
        drop((sockets, binary, entered));
        let child = child.map_err(|e| EngineError::refused("the process that carries ports", e.to_string()))?;
        Ok(Some(Self { child, word: Some(word), redirect: None }))
    }

    /// Where orders go.
    ///
    /// # Errors
    /// Never, as long as it is held.
    pub(crate) fn word(&self) -> Result<BorrowedFd<'_>, EngineError> {
        let gone = || EngineError::refused("the process that carries ports", "it has gone");
        self.word.as_ref().map(AsFd::as_fd).ok_or_else(gone)
    }

    /// Whether it has sockets inside.
    pub(crate) fn answers(&self) -> bool {
        self.redirect.is_some()
    }

    /// Keeps what leads to its sockets inside.
    pub(crate) fn keep(&mut self, redirect: Option<Redirect>) {
        self.redirect = redirect;
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = |word: &OwnedFd| poll(&mut [PollFd::new(word, PollFlags::IN)], Some(&now)).is_ok_and(|n| n > 0);
        self.word.as_ref().is_none_or(gone)
    }
}

/// A forward as [`Proxy::start`] writes it.
fn parse(word: &str) -> Option<(Protocol, RawFd, SocketAddr)> {
    let mut parts = word.splitn(3, '=');
    let protocol = match parts.next()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((protocol, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Runs the process: gives up everything, then carries and answers until its standard input ends.
///
/// # Errors
/// What it could not give up; nobody is told, and the ports are closed.
pub fn main(args: &[String]) -> Result<(), EngineError> {
    let wrong = || EngineError::refused("this hidden command", "it is started by bulkhead itself");
    let failed = |e: Errno| EngineError::refused("carrying ports", e.to_string());
    let [user, place, words @ ..] = args else { return Err(wrong()) };
    let user: u32 = user.parse().map_err(|_| wrong())?;
    let place: Vec<RawFd> =
        place.split_terminator(',').map(|n| n.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    let parsed: Vec<_> = words.iter().map(|w| parse(w).ok_or_else(wrong)).collect::<Result<_, _>>()?;
    let numbers: Vec<RawFd> = parsed.iter().map(|(_, number, _)| *number).chain(place.iter().copied()).collect();
    fd::close_all_but(&numbers).map_err(failed)?;
    let mut forwards = Vec::with_capacity(parsed.len());
    for (protocol, number, to) in parsed {
        let socket = fd::adopt(number).map_err(failed)?;
        let listening = match protocol {
            Protocol::Tcp => Listening::Stream(TcpListener::from(socket)),
            _ => Listening::Datagram(UdpSocket::from(socket)),
        };
        forwards.push(Forward { listening, to });
    }
    // What a list of listeners shows.
    rustix::thread::set_name(c"bulkhead-port").map_err(failed)?;
    let until = rustix::io::dup(std::io::stdin().as_fd()).map_err(failed)?;
    ids::die_with_parent().map_err(failed)?;
    let room = bulkhead_net::proxy::room();
    // The sockets stay the host's; what is opened in another network namespace is not.
    for (number, kind) in place.into_iter().zip([clone::NEWUSER, clone::NEWNET]) {
        let there = fd::adopt(number).map_err(failed)?;
        clone::join(there.as_fd(), kind).map_err(failed)?;
    }
    give_up(user)?;
    serve(forwards, &until, room).map_err(failed)
}

/// No right, no other user's files, no call but those of sockets.
fn give_up(user: u32) -> Result<(), EngineError> {
    let failed = |e: Errno| EngineError::refused("giving up rights", e.to_string());
    let filter = filter().map_err(|e| EngineError::refused("the filter of a process that carries ports", e))?;
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    caps::drop_bounding(0).map_err(failed)?;
    match ids::become_user(user, user, Some(&[])) {
        // The namespace of a user without subordinate ids has one id and takes no groups.
        Err(Errno::PERM | Errno::INVAL) if rustix::process::geteuid().is_root() && !is_of_the_host() => {}
        done => done.map_err(failed)?,
    }
    caps::set(0).map_err(failed)?;
    // Asked for again: a change of user has cleared it.
    ids::die_with_parent().map_err(failed)?;
    seccomp::load(&filter).map_err(failed)
}

/// Whether every id is mapped, as in the first user namespace only.
fn is_of_the_host() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("4294967295")
}

fn filter() -> Result<Vec<seccomp::Instruction>, String> {
    let text: ProfileText = serde_json::from_str(CALLS).map_err(|e| e.to_string())?;
    let profile = Profile::from_text(&text).map_err(|e| e.to_string())?;
    let arch = Arch::native().ok_or("no filters are made for this machine")?;
    let context = Context { arch, caps: 0, kernel: (6, 0) };
    let resolved = profile.resolve(&context).map_err(|e| e.to_string())?;
    let program = bulkhead_seccomp::compile(&resolved).map_err(|e| e.to_string())?;
    let plain = |i: &bulkhead_seccomp::Insn| seccomp::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
    Ok(program.insns().iter().map(plain).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        let read = parse("tcp=7=10.88.0.2:80").unwrap();
        assert_eq!(read, (Protocol::Tcp, 7, "10.88.0.2:80".parse().unwrap()));
        let read = parse("udp=9=[fd00::2]:53").unwrap();
        assert_eq!(read, (Protocol::Udp, 9, "[fd00::2]:53".parse().unwrap()));
        for wrong in ["", "tcp", "tcp=7", "sctp=7=10.88.0.2:80", "tcp=x=10.88.0.2:80", "tcp=7=10.88.0.2"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_carried_and_every_address_holds_it() {
        let port = |address: &str, protocol| Port {
            address: address.parse().unwrap(),
            port: 8080,
            protocol,
            to: "10.88.0.2".parse().unwrap(),
            inner: 80,
        };
        let carried =
            |address, protocol| carried(&Place::Host, &port(address, protocol)).map(|p| p.address.to_string());
        assert_eq!(carried("127.0.0.9", Protocol::Tcp).as_deref(), Some("127.0.0.9"));
        assert_eq!(carried("0.0.0.0", Protocol::Udp).as_deref(), Some("127.0.0.1"));
        assert_eq!(carried("::", Protocol::Tcp).as_deref(), Some("::1"));
        assert_eq!(carried("0.0.0.0", Protocol::Sctp), None);
        assert_eq!(carried("192.0.2.1", Protocol::Tcp), None);
    }

    #[test]
    fn the_filter_is_one_that_the_compiler_takes() {
        assert!(!filter().unwrap().is_empty());
    }
}
