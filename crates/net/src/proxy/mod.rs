//! Ports of the host's loopback addresses, carried into a container by a process of their own, which also answers the
//! container's questions for names ([`crate::names`]).
//!
//! A packet for `127.0.0.1` leaves the host's own stack only with `route_localnet`, which opens every other service on
//! loopback to the neighbours too (CVE-2020-8558). So these ports are ordinary sockets: the host's firewall and its list
//! of listeners treat them as any other, and what arrives is carried over by copying. The process that does it has one
//! thread, no rights, and ends with whoever started it.

mod datagram;
mod stream;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use self::datagram::Flows;
use self::stream::Streams;
use crate::names;

/// One port.
#[derive(Debug)]
pub struct Forward {
    /// Where the host's side listens.
    pub listening: Listening,
    /// Address and port of the container.
    pub to: SocketAddr,
}

/// A socket that waits for clients.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Stream(TcpListener),
    /// UDP.
    Datagram(UdpSocket),
}

/// Descriptors that are kept free of connections: the resolver's, most of them.
const RESERVED: u64 = 448;

/// Most connections at once, however many descriptors there may be.
const MOST: u64 = 16_384;

/// Most flows of datagrams at once and port.
const MOST_FLOWS: u64 = 1024;

/// After so long without a datagram a flow is forgotten.
const IDLE: Duration = Duration::from_secs(90);

/// How often idle flows are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Whoever started this has something to say, or has ended.
    Word,
    /// A socket of the host's side, by its index.
    Listener(u32),
    /// One side of a connection: 0 is the client's.
    Side(u32, u8),
    /// The container's side of a flow: port and flow.
    Flow(u32, u32),
    /// The resolver has something to do.
    Names,
}

impl About {
    fn data(self) -> epoll::EventData {
        let (kind, a, b) = match self {
            Self::Word => (0, 0, 0),
            Self::Listener(index) => (1, index, 0),
            Self::Side(index, side) => (2, index, u32::from(side)),
            Self::Flow(port, flow) => (3, port, flow),
            Self::Names => (4, 0, 0),
        };
        // Ports are few: 30 bits are enough for each number.
        epoll::EventData::new_u64(kind << 60 | u64::from(a) << 30 | u64::from(b))
    }

    fn of(data: epoll::EventData) -> Self {
        let data = data.u64();
        let part = |shift: u32| u32::try_from(data >> shift & 0x3fff_ffff).unwrap_or(0);
        match data >> 60 {
            1 => Self::Listener(part(30)),
            2 => Self::Side(part(30), u8::try_from(part(0)).unwrap_or(0)),
            3 => Self::Flow(part(30), part(0)),
            4 => Self::Names,
            _ => Self::Word,
        }
    }
}

/// Descriptors that the process may have; raises the limit as far as that goes. To be asked before sockets are bound, and
/// before the process gives up its rights.
#[must_use]
pub fn room() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // All that is allowed: connections are what this process is for.
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap_or_default();
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(2 * MOST)
}

/// Connections at once, and flows of each port for datagrams, that so many descriptors are enough for.
fn shares(descriptors: u64, ports: u64, of_datagrams: u64) -> (usize, usize) {
    let left = descriptors.saturating_sub(RESERVED + ports);
    let flows = (left / 3).checked_div(of_datagrams).map_or(0, |each| each.clamp(1, MOST_FLOWS));
    let streams = (left.saturating_sub(flows * of_datagrams) / 2).clamp(1, MOST);
    (usize::try_from(streams).unwrap_or(1), usize::try_from(flows).unwrap_or(1))
}

/// Sockets of the host's side, in the order of the forwards.
struct Ports {
    listeners: Vec<(Option<TcpListener>, SocketAddr)>,
    flows: Vec<Option<Flows>>,
}

impl Ports {
    fn watched(poll: &OwnedFd, forwards: Vec<Forward>, most_flows: usize) -> Result<Self, Errno> {
        let mut all = Self { listeners: Vec::new(), flows: Vec::new() };
        for (index, forward) in (0_u32..).zip(forwards) {
            let about = About::Listener(index).data();
            match forward.listening {
                Listening::Stream(socket) => {
                    rustix::io::ioctl_fionbio(&socket, true)?;
                    epoll::add(poll, &socket, about, epoll::EventFlags::IN)?;
                    all.listeners.push((Some(socket), forward.to));
                    all.flows.push(None);
                }
                Listening::Datagram(socket) => {
                    rustix::io::ioctl_fionbio(&socket, true)?;
                    epoll::add(poll, &socket, about, epoll::EventFlags::IN)?;
                    all.listeners.push((None, forward.to));
                    all.flows.push(Some(Flows::new(index, socket, forward.to, most_flows)));
                }
            }
        }
        Ok(all)
    }

    fn arrived(&mut self, poll: &OwnedFd, index: u32, streams: &mut Streams) {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        match (self.listeners.get(at), self.flows.get_mut(at)) {
            (Some((Some(socket), to)), _) => streams.accept(poll, socket, *to),
            (_, Some(Some(port))) => port.arrived(poll),
            _ => {}
        }
    }

    fn accept(&self, poll: &OwnedFd, on: bool) -> Result<(), Errno> {
        let flags = if on { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
        for (index, (socket, _)) in (0_u32..).zip(&self.listeners) {
            if let Some(socket) = socket {
                epoll::modify(poll, socket.as_fd(), About::Listener(index).data(), flags)?;
            }
        }
        Ok(())
    }
}

/// Carries what arrives, and answers for names as the orders say that come over `word`, a socket of type
/// `SOCK_SEQPACKET`, until its other side is closed. `descriptors` is what [`room`] has said: clients that there are none for
/// wait.
///
/// # Errors
/// What the kernel says about the sockets that were given; never about a connection.
pub fn serve(forwards: Vec<Forward>, word: &OwnedFd, descriptors: u64) -> Result<(), Errno> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, word, About::Word.data(), epoll::EventFlags::IN)?;
    let of_datagrams = forwards.iter().filter(|f| matches!(f.listening, Listening::Datagram(_))).count();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (most, most_flows) = shares(descriptors, number(forwards.len()), number(of_datagrams));
    let mut streams = Streams::new(most);
    let mut ports = Ports::watched(&poll, forwards, most_flows)?;
    let mut names: Option<names::Server> = None;
    let mut events = Vec::with_capacity(64);
    let (mut accepting, mut swept) = (true, Instant::now());
    loop {
        events.clear();
        let some = ports.flows.iter().flatten().any(|f| !f.is_empty());
        let pause = streams.patience().or(some.then_some(SWEEP));
        let pause = [pause, names.as_ref().and_then(names::Server::patience)].into_iter().flatten().min();
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), pause.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        for event in &events {
            match About::of(event.data) {
                About::Word => match names::receive(word) {
                    Ok(None) => return Ok(()),
                    Ok(Some(names::Word::Order(order, files))) => {
                        resolver(&poll, word, &mut names)?.follow(order, files)?;
                    }
                    Ok(Some(names::Word::Ready(number))) => names.iter_mut().for_each(|n| n.reached(number)),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(e) => return Err(e),
                },
                About::Names => {}
                About::Listener(index) => ports.arrived(&poll, index, &mut streams),
                About::Side(index, side) => streams.ready(&poll, index, side, event.flags),
                About::Flow(port, flow) => {
                    if let Some(Some(port)) = ports.flows.get_mut(usize::try_from(port).unwrap_or(usize::MAX)) {
                        port.answered(flow);
                    }
                }
            }
        }
        names.iter_mut().for_each(names::Server::turn);
        if swept.elapsed() > SWEEP {
            ports.flows.iter_mut().flatten().for_each(Flows::forget_idle);
            swept = Instant::now();
        }
        streams.go_on(&poll);
        // At the limit new clients wait in the kernel's queue.
        if accepting == streams.is_full() {
            accepting = !accepting;
            ports.accept(&poll, accepting)?;
        }
    }
}

/// The resolver, made when it is needed first.
fn resolver<'a>(
    poll: &OwnedFd,
    word: &OwnedFd,
    names: &'a mut Option<names::Server>,
) -> Result<&'a mut names::Server, Errno> {
    if names.is_none() {
        let made = names::Server::new(word)?;
        epoll::add(poll, made.ready(), About::Names.data(), epoll::EventFlags::IN)?;
        *names = Some(made);
    }
    names.as_mut().ok_or(Errno::PROTO)
}

#[cfg(test)]
mod tests;
