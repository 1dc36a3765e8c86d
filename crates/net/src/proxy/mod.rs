//! Ports of the host's loopback addresses, carried into a container by a process of their own.
//!
//! A packet for `127.0.0.1` leaves the host's own stack only with `route_localnet`, which opens every other service on
//! loopback to the neighbours too (CVE-2020-8558). So these ports are ordinary sockets: the host's firewall and its list
//! of listeners treat them as any other, and what arrives is carried over by copying. The process that does it has one
//! thread, no rights, and ends with whoever started it.

mod datagram;
mod stream;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use self::datagram::Flows;
use self::stream::Streams;

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

/// Descriptors that are kept free of connections.
const RESERVED: u64 = 32;

/// Most connections at once, however many descriptors there may be.
const MOST: u64 = 16_384;

/// Most flows of datagrams at once and port.
const MOST_FLOWS: usize = 1024;

/// After so long without a datagram a flow is forgotten.
const IDLE: Duration = Duration::from_secs(90);

/// How often idle flows are looked for, in seconds.
const SWEEP: i64 = 10;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Whoever started this has ended.
    End,
    /// A socket of the host's side, by its index.
    Listener(u32),
    /// One side of a connection: 0 is the client's.
    Side(u32, u8),
    /// The container's side of a flow: port and flow.
    Flow(u32, u32),
}

impl About {
    fn data(self) -> epoll::EventData {
        let (kind, a, b) = match self {
            Self::End => (0, 0, 0),
            Self::Listener(index) => (1, index, 0),
            Self::Side(index, side) => (2, index, u32::from(side)),
            Self::Flow(port, flow) => (3, port, flow),
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
            _ => Self::End,
        }
    }
}

/// Connections that the process may have at once; raises its limit of descriptors as far as that goes. To be asked before
/// the process gives up its rights.
#[must_use]
pub fn room() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // All that is allowed: connections are what this process is for.
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap_or_default();
    let descriptors = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(2 * MOST);
    usize::try_from((descriptors.saturating_sub(RESERVED) / 2).clamp(1, MOST)).unwrap_or(1)
}

/// Carries what arrives until `until` can be read or its other side is closed; `most` connections at once, the others wait.
///
/// # Errors
/// What the kernel says about the sockets that were given; never about a connection.
pub fn serve(forwards: Vec<Forward>, until: &OwnedFd, most: usize) -> Result<(), Errno> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, until, About::End.data(), epoll::EventFlags::IN)?;
    let mut streams = Streams::new(most);
    let mut flows = Vec::new();
    let mut listeners = Vec::new();
    for (index, forward) in (0_u32..).zip(forwards) {
        let about = About::Listener(index).data();
        match forward.listening {
            Listening::Stream(socket) => {
                rustix::io::ioctl_fionbio(&socket, true)?;
                epoll::add(&poll, &socket, about, epoll::EventFlags::IN)?;
                listeners.push((Some(socket), forward.to));
                flows.push(None);
            }
            Listening::Datagram(socket) => {
                rustix::io::ioctl_fionbio(&socket, true)?;
                epoll::add(&poll, &socket, about, epoll::EventFlags::IN)?;
                listeners.push((None, forward.to));
                flows.push(Some(Flows::new(index, socket, forward.to)));
            }
        }
    }
    let mut events = Vec::with_capacity(64);
    let mut accepting = true;
    loop {
        events.clear();
        let some = flows.iter().flatten().any(|f| !f.is_empty());
        let pause = Timespec { tv_sec: SWEEP, tv_nsec: 0 };
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), some.then_some(&pause)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        for event in &events {
            match About::of(event.data) {
                About::End => return Ok(()),
                About::Listener(index) => {
                    let at = usize::try_from(index).unwrap_or(usize::MAX);
                    match (listeners.get(at), flows.get_mut(at)) {
                        (Some((Some(socket), to)), _) => streams.accept(&poll, socket, *to),
                        (_, Some(Some(port))) => port.arrived(&poll),
                        _ => {}
                    }
                }
                About::Side(index, side) => streams.ready(&poll, index, side, event.flags),
                About::Flow(port, flow) => {
                    if let Some(Some(port)) = flows.get_mut(usize::try_from(port).unwrap_or(usize::MAX)) {
                        port.answered(flow);
                    }
                }
            }
        }
        flows.iter_mut().flatten().for_each(Flows::forget_idle);
        streams.forget_ended();
        // At the limit new clients wait in the kernel's queue.
        if accepting == streams.is_full() {
            accepting = !accepting;
            let flags = if accepting { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
            for (index, (socket, _)) in (0_u32..).zip(&listeners) {
                if let Some(socket) = socket {
                    epoll::modify(&poll, socket.as_fd(), About::Listener(index).data(), flags)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
