//! Connections: two sockets, and what is on its way between them.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};

use super::About;

/// Bytes on their way in one direction.
const ROOM: usize = 64 * 1024;

/// Turns of one direction before others have theirs.
const TURNS: usize = 16;

/// One direction.
#[derive(Debug, Default)]
struct Half {
    bytes: Vec<u8>,
    sent: usize,
    /// The sender has said all.
    ended: bool,
    /// The receiver was told so.
    told: bool,
}

impl Half {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Moves what can be moved without waiting.
    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
        for _ in 0..TURNS {
            if self.is_empty() {
                if self.ended {
                    if !self.told {
                        self.told = true;
                        match rustix::net::shutdown(to, Shutdown::Write) {
                            // It has gone already.
                            Ok(()) | Err(Errno::NOTCONN) => {}
                            Err(e) => return Err(e),
                        }
                    }
                    // Nothing comes any more.
                    self.bytes = Vec::new();
                    self.sent = 0;
                    return Ok(());
                }
                self.bytes.clear();
                self.sent = 0;
                self.bytes.reserve_exact(ROOM);
                let room = rustix::buffer::spare_capacity(&mut self.bytes);
                match rustix::net::recv(from, room, RecvFlags::empty()) {
                    Ok(_) => self.ended = self.bytes.is_empty(),
                    Err(Errno::AGAIN | Errno::INTR) => {
                        // A connection that waits costs no memory.
                        self.bytes = Vec::new();
                        return Ok(());
                    }
                    Err(e) => return Err(e),
                }
                continue;
            }
            match rustix::net::send(to, self.bytes.get(self.sent..).unwrap_or_default(), SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Stream {
    /// The client's and the container's.
    sides: [OwnedFd; 2],
    /// From the client, and from the container.
    halves: [Half; 2],
    /// What is waited for on each side; nothing where the kernel has no more to say.
    wanted: [Option<epoll::EventFlags>; 2],
    connecting: bool,
}

impl Stream {
    fn pump(&mut self) -> Result<(), Errno> {
        let [client, container] = &self.sides;
        let [out, back] = &mut self.halves;
        out.pump(client, container)?;
        back.pump(container, client)
    }

    fn is_over(&self) -> bool {
        self.halves.iter().all(|half| half.told)
    }

    fn wants(&self, side: usize) -> epoll::EventFlags {
        let [out, back] = &self.halves;
        let (from, to) = if side == 0 { (out, back) } else { (back, out) };
        let mut flags = epoll::EventFlags::empty();
        if self.connecting {
            flags.set(epoll::EventFlags::OUT, side == 1);
            return flags;
        }
        flags.set(epoll::EventFlags::IN, from.is_empty() && !from.ended);
        flags.set(epoll::EventFlags::OUT, !to.is_empty());
        flags
    }

    /// Tells the kernel what is waited for.
    fn watch(&mut self, poll: &OwnedFd, index: u32) -> Result<(), Errno> {
        for (side, number) in [(0, 0_u8), (1, 1)] {
            let flags = self.wants(side);
            let (Some(wanted), Some(socket)) = (self.wanted.get_mut(side), self.sides.get(side)) else {
                continue;
            };
            if wanted.is_some_and(|wanted| wanted != flags) {
                epoll::modify(poll, socket.as_fd(), About::Side(index, number).data(), flags)?;
                *wanted = Some(flags);
            }
        }
        Ok(())
    }

    /// What the kernel says of a side goes on until the side is taken away.
    fn unwatch(&mut self, poll: &OwnedFd, side: usize) {
        if let (Some(wanted @ Some(_)), Some(socket)) = (self.wanted.get_mut(side), self.sides.get(side)) {
            *wanted = None;
            epoll::delete(poll, socket.as_fd()).unwrap_or_default();
        }
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Streams {
    all: Vec<Option<Stream>>,
    free: Vec<u32>,
    /// Ended in this turn: an event of the same turn may still name them.
    ended: Vec<u32>,
    most: usize,
}

impl Streams {
    pub(super) fn new(most: usize) -> Self {
        Self { all: Vec::new(), free: Vec::new(), ended: Vec::new(), most }
    }

    pub(super) fn is_full(&self) -> bool {
        self.all.len() - self.free.len() >= self.most
    }

    pub(super) fn forget_ended(&mut self) {
        self.free.append(&mut self.ended);
    }

    /// Takes the clients that wait.
    pub(super) fn accept(&mut self, poll: &OwnedFd, socket: &TcpListener, to: SocketAddr) {
        while !self.is_full() {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(socket, flags) {
                // A client that cannot be served is let go of; the next may have more luck.
                Ok(client) => self.begin(poll, client, to).unwrap_or_default(),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn begin(&mut self, poll: &OwnedFd, client: OwnedFd, to: SocketAddr) -> Result<(), Errno> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let container = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&client, true)?;
        sockopt::set_tcp_nodelay(&container, true)?;
        match rustix::net::connect(&container, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => {
                refuse(&client);
                return Err(e);
            }
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.all.push(None);
                u32::try_from(self.all.len() - 1).map_err(|_| Errno::OVERFLOW)?
            }
        };
        let mut stream =
            Stream { sides: [client, container], halves: Default::default(), wanted: [None, None], connecting: true };
        for (side, number) in [(0, 0_u8), (1, 1)] {
            let flags = stream.wants(side);
            if let (Some(socket), Some(wanted)) = (stream.sides.get(side), stream.wanted.get_mut(side)) {
                if let Err(e) = epoll::add(poll, socket, About::Side(index, number).data(), flags) {
                    self.free.push(index);
                    return Err(e);
                }
                *wanted = Some(flags);
            }
        }
        if let Some(slot) = self.all.get_mut(usize::try_from(index).unwrap_or(usize::MAX)) {
            *slot = Some(stream);
        }
        Ok(())
    }

    /// A side can be read or written, or has gone.
    pub(super) fn ready(&mut self, poll: &OwnedFd, index: u32, side: u8, flags: epoll::EventFlags) {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(Some(stream)) = self.all.get_mut(at) else {
            return;
        };
        let over = turn(poll, index, usize::from(side), flags, stream).is_err() || stream.is_over();
        if over && let Some(slot) = self.all.get_mut(at) {
            *slot = None;
            self.ended.push(index);
        }
    }
}

fn turn(poll: &OwnedFd, index: u32, side: usize, flags: epoll::EventFlags, stream: &mut Stream) -> Result<(), Errno> {
    let [client, container] = &stream.sides;
    if stream.connecting {
        let refused = sockopt::socket_error(container)?.err();
        if let Some(errno) = refused {
            refuse(client);
            return Err(errno);
        }
        if side == 0 && flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return Err(Errno::CONNRESET);
        }
        if side == 1 {
            stream.connecting = false;
        }
    }
    if flags.contains(epoll::EventFlags::ERR) {
        // The other side hears of it in the same way.
        refuse(client);
        refuse(container);
        return Err(Errno::CONNRESET);
    }
    if !stream.connecting {
        stream.pump()?;
    }
    if flags.contains(epoll::EventFlags::HUP) {
        stream.unwatch(poll, side);
    }
    stream.watch(poll, index)
}

/// Lets go of a client so that it hears of a refusal, not of an empty answer.
fn refuse(client: &OwnedFd) {
    sockopt::set_socket_linger(client, Some(std::time::Duration::ZERO)).unwrap_or_default();
}
