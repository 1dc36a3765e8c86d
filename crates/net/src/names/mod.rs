//! Names of containers: a resolver for one container, in a process without rights.
//!
//! It answers names, other names and links of the container's own networks, and asks servers of the host for the rest. Its
//! sockets were opened inside the container's network namespace by somebody else: who asks is known by the socket, no
//! firewall of the host is in the way, and nothing listens on an address of the host. The container's programs find it at
//! port 53 of [`ADDRESS`]; see [`redirect`](self) for why it does not listen there.

mod answer;
mod order;
mod redirect;
mod stream;
mod table;
mod upstream;

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_sys::Errno;
use rustix::event::{Timespec, epoll};

use self::answer::{Known, Outside, Reply};
pub use self::order::{Found, Order, hear, ready};
pub(crate) use self::order::{Word, receive};
use self::stream::Clients;
use self::table::Table;
pub use self::table::{Entry, parse, render};
use self::upstream::Upstream;
use crate::error::NetError;
use crate::inside::{self, Namespace};
use crate::{procfs, socket};

/// Where a container finds its resolver: an address of its own loopback, the one that Docker has for it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Datagrams of one turn before others have theirs.
const TURNS: usize = 64;

/// Sockets inside a container's network namespace.
#[derive(Debug)]
pub struct Doors {
    /// For questions by UDP.
    pub datagrams: UdpSocket,
    /// For questions by TCP.
    pub streams: TcpListener,
    /// What leads questions to them, where it is kept. The kernel takes some 10 ms to close it.
    pub redirect: Option<Redirect>,
}

/// Keeps the connection to the kernel by which questions were redirected.
#[derive(Debug)]
pub struct Redirect(#[expect(dead_code, reason = "it is kept to be closed late")] socket::Socket);

/// Opens the sockets in the network namespace of a process, and leads port 53 of [`ADDRESS`] there to them. The calling
/// process should have one thread: it enters the namespace and comes back.
///
/// # Errors
/// [`NetError::NoWayBack`] leaves the caller inside: it should end. What the kernel refuses.
pub fn open(pid: i32) -> Result<Doors, NetError> {
    let proc = procfs()?;
    let theirs = inside::of_process(&proc, pid)?;
    let failed = |what: &'static str| {
        move |e: std::io::Error| {
            let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
            NetError::kernel(format!("{what} in the container's network namespace"))(errno)
        }
    };
    Namespace::new(&proc, theirs.as_fd())?.visit(|| {
        // The kernel chooses a port that both protocols have, nearly always the first time.
        let mut attempts = 0;
        let (datagrams, streams) = loop {
            let datagrams = UdpSocket::bind((ADDRESS, 0)).map_err(failed("open a socket for names"))?;
            let port = datagrams.local_addr().map_err(failed("look at a socket for names"))?.port();
            match TcpListener::bind((ADDRESS, port)) {
                Ok(streams) => break (datagrams, streams),
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && attempts < 16 => attempts += 1,
                Err(e) => return Err(failed("open a socket for names")(e)),
            }
        };
        let port = datagrams.local_addr().map_err(failed("look at a socket for names"))?.port();
        let redirect = Some(Redirect(redirect::lead(ADDRESS, port)?));
        Ok(Doors { datagrams, streams, redirect })
    })
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Datagrams,
    Streams,
    /// A question that is asked outside.
    Asked(u32),
    /// A client of a stream, and the server that is asked for it.
    Client(u32),
    Server(u32),
}

impl About {
    fn data(self) -> epoll::EventData {
        let (kind, index) = match self {
            Self::Datagrams => (0, 0),
            Self::Streams => (1, 0),
            Self::Asked(index) => (2, index),
            Self::Client(index) => (3, index),
            Self::Server(index) => (4, index),
        };
        epoll::EventData::new_u64(kind << 32 | u64::from(index))
    }

    fn of(data: epoll::EventData) -> Self {
        let data = data.u64();
        let index = u32::try_from(data & 0xffff_ffff).unwrap_or_default();
        match data >> 32 {
            0 => Self::Datagrams,
            1 => Self::Streams,
            2 => Self::Asked(index),
            3 => Self::Client(index),
            _ => Self::Server(index),
        }
    }
}

/// What the container may know.
#[derive(Debug, Default)]
struct View {
    tables: Vec<Table>,
    order: Order,
    /// Whom addresses are told to that the container will reach.
    word: Option<OwnedFd>,
    /// How often that was done.
    number: u32,
}

/// Addresses of one answer that are told. What an answer has beyond is not reached.
pub(crate) const MOST_FOUND: usize = 32;
/// Answers that wait, and how long each may.
const MOST_WAITING: usize = 256;
const PATIENCE: Duration = Duration::from_secs(3);
/// How long clients of streams wait when there are no descriptors.
const SHUT: Duration = Duration::from_secs(1);

/// Whether a name, in small letters, is the one that is listed, or below it: `*.example.org` is all below `example.org`.
#[must_use]
pub fn fits(listed: &str, name: &str) -> bool {
    match listed.strip_prefix('*') {
        Some(below) => name.len() > below.len() && name.ends_with(below),
        None => listed == name,
    }
}

impl Known for View {
    fn addresses(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        // A link is this container's own word for another: it goes before what others call themselves.
        let linked = self.order.links.iter().find(|(word, _)| word == name).map(|(_, container)| container);
        let mut found: Option<Vec<IpAddr>> = None;
        for table in &mut self.tables {
            let entries = table.entries();
            let here = match linked {
                Some(id) => entries.iter().find(|e| e.container == *id).map(|e| e.addresses.clone()),
                None => answer::named(entries, name),
            };
            if let Some(here) = here {
                found.get_or_insert_default().extend(here);
            }
        }
        found
    }

    fn name(&mut self, address: IpAddr) -> Option<String> {
        let mut all = self.tables.iter_mut().flat_map(|table| table.entries().iter());
        all.find(|e| e.addresses.contains(&address)).and_then(|e| e.names.first().cloned())
    }

    fn outside(&self, name: &str) -> Outside {
        match (self.order.outside, self.order.servers.is_empty()) {
            (false, _) => Outside::None,
            _ if self.order.only && !self.order.listed.iter().any(|one| fits(one, name)) => Outside::Unlisted,
            (true, true) => Outside::Missing,
            (true, false) => Outside::Asked,
        }
    }

    fn wait(&mut self, answer: &[u8]) -> Option<u32> {
        if self.order.listed.is_empty() {
            return None;
        }
        let mut addresses = answer::addresses_of(answer);
        addresses.truncate(MOST_FOUND);
        let name = answer::asked_for(answer).filter(|_| !addresses.is_empty())?;
        self.order.listed.iter().find(|one| fits(one, &name))?;
        self.number = self.number.wrapping_add(1);
        let found = Found { number: self.number, name, addresses };
        let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
        // What cannot be said now waits in vain, and the client asks again.
        if let Some(word) = &self.word {
            rustix::net::send(word, found.write().as_bytes(), flags).map(drop).unwrap_or_default();
        }
        Some(self.number)
    }
}

/// The resolver, as a part of a loop.
#[derive(Debug)]
pub(crate) struct Server {
    poll: OwnedFd,
    datagrams: Option<UdpSocket>,
    streams: Option<TcpListener>,
    view: View,
    upstream: Upstream,
    clients: Clients,
    /// Answers by datagram that wait, by their numbers.
    waiting: HashMap<u32, (SocketAddr, Vec<u8>, Instant)>,
    /// Until then nobody is let in who wants a stream: there were no descriptors.
    shut: Option<Instant>,
    buffer: Vec<u8>,
}

impl Server {
    /// One that nobody can ask yet. Over `word` it tells what was found.
    pub(crate) fn new(word: &OwnedFd) -> Result<Self, Errno> {
        let word = Some(rustix::io::fcntl_dupfd_cloexec(word, 3)?);
        Ok(Self {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            datagrams: None,
            streams: None,
            view: View { word, ..View::default() },
            waiting: HashMap::new(),
            shut: None,
            upstream: Upstream::default(),
            clients: Clients::default(),
            buffer: Vec::new(),
        })
    }

    /// Can be read when there is something to do.
    pub(crate) fn ready(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }

    /// Goes by another order from now on.
    ///
    /// # Errors
    /// What the kernel says of the sockets; `EPROTO` when they are missing.
    pub(crate) fn follow(&mut self, order: Order, descriptors: Vec<OwnedFd>) -> Result<(), Errno> {
        let mut descriptors = descriptors.into_iter();
        if order.doors {
            let datagrams = UdpSocket::from(descriptors.next().ok_or(Errno::PROTO)?);
            let streams = TcpListener::from(descriptors.next().ok_or(Errno::PROTO)?);
            rustix::io::ioctl_fionbio(&datagrams, true)?;
            rustix::io::ioctl_fionbio(&streams, true)?;
            epoll::add(&self.poll, &datagrams, About::Datagrams.data(), epoll::EventFlags::IN)?;
            epoll::add(&self.poll, &streams, About::Streams.data(), epoll::EventFlags::IN)?;
            (self.datagrams, self.streams) = (Some(datagrams), Some(streams));
        }
        let tables = descriptors.map(|fd| Table::new(File::from(fd))).collect();
        (self.view.tables, self.view.order) = (tables, order);
        Ok(())
    }

    /// What waits under this number can be reached now.
    pub(crate) fn reached(&mut self, number: u32) {
        if let Some((client, said, _)) = self.waiting.remove(&number) {
            self.say([(client, said)]);
        } else if let Some(index) = self.clients.waited(number) {
            let servers = self.view.order.servers.clone();
            self.clients.ready(&self.poll, (index, false), &servers, &mut self.view);
        }
    }

    /// How long it may be left alone.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let waiting = self.waiting.values().map(|(.., until)| *until).min();
        let until = [self.upstream.until(), self.clients.until(), waiting, self.shut].into_iter().flatten().min()?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Does what there is to do.
    pub(crate) fn turn(&mut self) {
        let mut events = Vec::with_capacity(64);
        let now = Timespec::default();
        epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&now)).unwrap_or_default();
        for event in &events {
            match About::of(event.data) {
                About::Datagrams => self.asked(),
                About::Streams => {
                    if let Some(listener) = &self.streams
                        && !self.clients.accept(&self.poll, listener)
                    {
                        self.let_in(false);
                    }
                }
                About::Asked(index) => {
                    if let Some((client, said)) = self.upstream.ready(&self.poll, &self.view.order.servers, index) {
                        self.found(client, said);
                    }
                }
                About::Client(index) | About::Server(index) => {
                    let (flags, end) = (event.flags, epoll::EventFlags::HUP | epoll::EventFlags::ERR);
                    let gone = matches!(About::of(event.data), About::Client(_)) && flags.intersects(end);
                    let servers = self.view.order.servers.clone();
                    self.clients.ready(&self.poll, (index, gone), &servers, &mut self.view);
                }
            }
        }
        let late = self.upstream.late(&self.poll, &self.view.order.servers);
        self.say(late);
        self.clients.late();
        let now = Instant::now();
        self.waiting.retain(|_, (.., until)| *until > now);
        if self.shut.is_some_and(|until| until <= now) {
            self.let_in(true);
        }
    }

    /// Lets clients of streams in, or leaves them waiting for a while.
    fn let_in(&mut self, open: bool) {
        let flags = if open { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
        if let Some(listener) = &self.streams {
            epoll::modify(&self.poll, listener, About::Streams.data(), flags).unwrap_or_default();
        }
        self.shut = (!open).then(|| Instant::now() + SHUT);
    }

    /// An answer from outside for a client of datagrams.
    fn found(&mut self, client: SocketAddr, said: Vec<u8>) {
        match self.view.wait(&said) {
            None => self.say([(client, said)]),
            Some(number) if self.waiting.len() < MOST_WAITING => {
                self.waiting.insert(number, (client, said, Instant::now() + PATIENCE));
            }
            // The client asks again.
            Some(_) => {}
        }
    }

    fn say(&self, all: impl IntoIterator<Item = (SocketAddr, Vec<u8>)>) {
        for (client, said) in all {
            if let Some(socket) = &self.datagrams {
                // One who does not listen any more gets nothing.
                drop(socket.send_to(&said, client));
            }
        }
    }

    /// Questions by datagram.
    fn asked(&mut self) {
        self.buffer.resize(65_535, 0);
        for _ in 0..TURNS {
            let Some(socket) = &self.datagrams else { return };
            let (length, client) = match socket.recv_from(&mut self.buffer) {
                Ok(found) => found,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                // What the kernel says of an earlier answer.
                Err(_) => continue,
            };
            let message = self.buffer.get(..length).unwrap_or_default();
            match answer::reply(message, true, &mut self.view) {
                Reply::Say(said) => self.say([(client, said)]),
                Reply::Forward => self.upstream.ask(&self.poll, &self.view.order.servers, client, message),
                Reply::Nothing => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
