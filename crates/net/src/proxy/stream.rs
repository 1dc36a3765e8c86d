//! Connections: two sockets, and what is on its way between them.
//!
//! Each direction ends by itself: an end is passed on as an end, and what was cut off as a reset, but only when all that
//! came before it has arrived.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};

use super::About;

/// Bytes on their way in one direction.
const ROOM: usize = 64 * 1024;

/// Turns of one direction before others have theirs.
const TURNS: usize = 16;

/// How long a connection that has ended may take to deliver what was said last.
const LAST: Duration = Duration::from_secs(5);

/// After descriptors ran out, new clients wait so long, unless a connection ends.
const PAUSE: Duration = Duration::from_secs(1);

/// A silent connection is asked after so long whether its other side is still there.
const SILENT: Duration = Duration::from_secs(600);

/// One direction.
#[derive(Debug, Default)]
struct Half {
    bytes: Vec<u8>,
    sent: usize,
    /// Nothing more comes from the sender.
    ended: bool,
    /// The sender was cut off: what came is not all.
    cut: bool,
    /// The receiver knows the end, or is gone.
    told: bool,
    /// The receiver went before it had all.
    lost: bool,
}

/// What a direction needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The kernel says when.
    Wait,
    /// Another turn, after the others.
    Turn,
}

impl Half {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    fn forget(&mut self) {
        self.bytes = Vec::new();
        self.sent = 0;
    }

    fn lose(&mut self) {
        self.forget();
        (self.ended, self.told, self.lost) = (true, true, true);
    }

    /// Moves what can be moved without waiting. Each side comes with whether the kernel has said that it was reset: it says
    /// so once, to whoever asks first, and then lets it look like an end.
    fn pump(&mut self, (from, cut): (&OwnedFd, &mut bool), (to, gone): (&OwnedFd, &mut bool)) -> Next {
        for _ in 0..TURNS {
            if self.told {
                return Next::Wait;
            }
            if *gone {
                self.lose();
                return Next::Wait;
            }
            if !self.is_empty() {
                match rustix::net::send(to, self.bytes.get(self.sent..).unwrap_or_default(), SendFlags::NOSIGNAL) {
                    Ok(count) => self.sent += count,
                    Err(Errno::AGAIN | Errno::INTR) => return Next::Wait,
                    Err(e) => {
                        // After an end of its own it is a broken pipe.
                        *gone |= e != Errno::PIPE;
                        self.lose();
                    }
                }
                continue;
            }
            if self.ended {
                self.forget();
                self.told = true;
                if !self.cut {
                    // One that has gone already needs no end.
                    rustix::net::shutdown(to, Shutdown::Write).unwrap_or_default();
                }
                return Next::Wait;
            }
            self.bytes.clear();
            self.sent = 0;
            self.bytes.reserve_exact(ROOM);
            match rustix::net::recv(from, rustix::buffer::spare_capacity(&mut self.bytes), RecvFlags::empty()) {
                Ok(_) => {
                    self.ended = self.bytes.is_empty();
                    self.cut = self.ended && *cut;
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    // A connection that waits costs no memory.
                    self.forget();
                    return Next::Wait;
                }
                Err(_) => {
                    self.forget();
                    *cut = true;
                    (self.ended, self.cut) = (true, true);
                }
            }
        }
        Next::Turn
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
    /// Which of them the kernel has said to be reset.
    cut: [bool; 2],
    /// Both directions are over; what was said last is on its way until then.
    until: Option<Instant>,
}

impl Stream {
    fn pump(&mut self) -> Next {
        let [client, container] = &self.sides;
        let [client_cut, container_cut] = &mut self.cut;
        let [out, back] = &mut self.halves;
        let first = out.pump((client, client_cut), (container, container_cut));
        let second = back.pump((container, container_cut), (client, client_cut));
        // The second may have found what ends the first.
        let found = *container_cut && !out.told;
        if first == Next::Turn || second == Next::Turn || found { Next::Turn } else { Next::Wait }
    }

    fn is_over(&self) -> bool {
        self.halves.iter().all(|half| half.told)
    }

    /// Whether nothing is left to wait for before the sockets are closed. A close with input that was not read, and one
    /// that is to be a reset, throw away what is still on its way.
    fn is_delivered(&self) -> bool {
        let [client, container] = &self.sides;
        let [out, back] = &self.halves;
        if self.until.is_none_or(|until| Instant::now() >= until) {
            return true;
        }
        let arrived = |side: &OwnedFd| bulkhead_sys::net::unsent(side).is_ok_and(|left| left == 0);
        if out.lost {
            // What the client still sends is read, and goes nowhere.
            let mut waste = [0; 16 * 1024];
            let gone = loop {
                match rustix::net::recv(client, &mut waste[..], RecvFlags::empty()) {
                    Ok((_, 0)) => break true,
                    Ok(_) => {}
                    Err(Errno::AGAIN) => break false,
                    Err(_) => break true,
                }
            };
            if !back.cut && !gone {
                return false;
            }
        }
        (!back.cut || arrived(client)) && (!out.cut || arrived(container))
    }

    /// The sockets are about to be closed.
    fn end(&self) {
        let [client, container] = &self.sides;
        let [out, back] = &self.halves;
        if back.cut {
            reset(client);
        }
        if out.cut {
            reset(container);
        }
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
            let (Some(wanted), Some(socket)) = (self.wanted.get_mut(side), self.sides.get(side)) else { continue };
            if wanted.is_some_and(|wanted| wanted != flags) {
                epoll::modify(poll, socket.as_fd(), About::Side(index, number).data(), flags)?;
                *wanted = Some(flags);
            }
        }
        Ok(())
    }

    /// What the kernel says of a side that has gone goes on until the side is taken away. All that it has to give can be
    /// read without waiting from now on.
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
    /// Have another turn to come.
    again: Vec<u32>,
    /// Are over, and deliver what was said last.
    last: Vec<u32>,
    most: usize,
    starved: Option<Instant>,
}

impl Streams {
    pub(super) fn new(most: usize) -> Self {
        let (all, free, ended, again, last) = Default::default();
        Self { all, free, ended, again, last, most, starved: None }
    }

    /// Whether new clients have to wait.
    pub(super) fn is_full(&self) -> bool {
        self.starved.is_some() || self.all.len() - self.free.len() >= self.most
    }

    /// How long nothing needs to be done here, if the kernel says nothing.
    pub(super) fn patience(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let last = (!self.last.is_empty()).then_some(Duration::from_millis(10));
        last.or_else(|| self.starved.map(|until| until.saturating_duration_since(Instant::now())))
    }

    /// What is to be done at the end of every turn.
    pub(super) fn go_on(&mut self, poll: &OwnedFd) {
        for index in std::mem::take(&mut self.again) {
            self.turn(poll, index, None);
        }
        for index in std::mem::take(&mut self.last) {
            match self.get(index) {
                Some(stream) if !stream.is_delivered() => self.last.push(index),
                Some(_) => self.end(index),
                None => {}
            }
        }
        if !self.ended.is_empty() || self.starved.is_some_and(|until| Instant::now() >= until) {
            self.starved = None;
        }
        self.free.append(&mut self.ended);
    }

    fn get(&mut self, index: u32) -> Option<&mut Stream> {
        self.all.get_mut(usize::try_from(index).unwrap_or(usize::MAX))?.as_mut()
    }

    fn end(&mut self, index: u32) {
        let slot = self.all.get_mut(usize::try_from(index).unwrap_or(usize::MAX));
        if let Some(stream) = slot.and_then(Option::take) {
            stream.end();
            self.ended.push(index);
        }
    }

    /// Takes the clients that wait.
    pub(super) fn accept(&mut self, poll: &OwnedFd, socket: &TcpListener, to: SocketAddr) {
        while !self.is_full() {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let done = match rustix::net::accept_with(socket, flags) {
                Ok(client) => self.begin(poll, client, to),
                Err(Errno::CONNABORTED | Errno::INTR) => Ok(()),
                Err(Errno::AGAIN) => return,
                Err(e) => Err(e),
            };
            if let Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::NOSPC) = done {
                self.starved = Some(Instant::now() + PAUSE);
            }
        }
    }

    fn begin(&mut self, poll: &OwnedFd, client: OwnedFd, to: SocketAddr) -> Result<(), Errno> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let container =
            rustix::net::socket_with(family, SocketType::STREAM, flags, None).inspect_err(|_| reset(&client))?;
        for side in [&client, &container] {
            sockopt::set_tcp_nodelay(side, true)?;
            sockopt::set_socket_keepalive(side, true)?;
            sockopt::set_tcp_keepidle(side, SILENT)?;
        }
        match rustix::net::connect(&container, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => {
                reset(&client);
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
        let mut stream = Stream {
            sides: [client, container],
            halves: Default::default(),
            wanted: [None, None],
            connecting: true,
            cut: [false, false],
            until: None,
        };
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
        self.turn(poll, index, Some((usize::from(side), flags)));
    }

    fn turn(&mut self, poll: &OwnedFd, index: u32, event: Option<(usize, epoll::EventFlags)>) {
        let Some(stream) = self.get(index) else { return };
        if stream.until.is_some() {
            return;
        }
        if stream.connecting && !connected(stream, event) {
            return self.end(index);
        }
        if stream.connecting {
            return;
        }
        let next = stream.pump();
        if let Some((side, flags)) = event
            && flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            stream.unwatch(poll, side);
        }
        if stream.is_over() {
            stream.until = Some(Instant::now() + LAST);
            for side in [0, 1] {
                stream.unwatch(poll, side);
            }
            if stream.is_delivered() {
                self.end(index)
            } else {
                self.last.push(index)
            }
            return;
        }
        // Where a side is not watched, nobody says that more of it can be read.
        let watched = stream.watch(poll, index).is_ok();
        if !watched {
            return self.end(index);
        }
        if next == Next::Turn {
            self.again.push(index);
        }
    }
}

/// Looks whether the container answers; `false` when it never will, or the client has gone.
fn connected(stream: &mut Stream, event: Option<(usize, epoll::EventFlags)>) -> bool {
    let [client, container] = &stream.sides;
    if !matches!(sockopt::socket_error(container), Ok(Ok(()))) {
        reset(client);
        return false;
    }
    match event {
        Some((0, flags)) if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) => false,
        Some((1, _)) => {
            stream.connecting = false;
            true
        }
        _ => true,
    }
}

/// The close of the socket will be a reset: its other side hears of a refusal, not of an end.
fn reset(socket: &OwnedFd) {
    sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap_or_default();
}
