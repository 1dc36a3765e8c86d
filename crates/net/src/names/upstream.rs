//! Questions that are asked outside by datagrams. Each has a socket of its own, so that the kernel chooses another port for
//! each and lets in answers of that server only; with a number of our own that makes an answer hard to guess (RFC 5452).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_sys::Errno;
use rustix::event::epoll;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use simple_dns::RCODE;

use super::About;
use super::answer::{self, Reply};

/// Questions on their way at once. What comes beyond is not heard, as on a busy wire: the client asks again.
const MOST: usize = 256;
/// The same question on its way at once.
const ALIKE: usize = 4;
/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Servers that are asked for one question, the same ones again where there are fewer.
const TRIES: usize = 3;

#[derive(Debug)]
struct Asked {
    socket: OwnedFd,
    client: SocketAddr,
    /// As it is sent, with the number of our own.
    message: Vec<u8>,
    /// The client's number.
    number: u16,
    tries: usize,
    until: Instant,
}

/// All that is on its way.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    all: HashMap<u32, Asked>,
    next: u32,
    buffer: Vec<u8>,
}

/// A socket that is connected to a server, or about to be.
pub(super) fn connected(server: &SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match rustix::net::connect(&socket, server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

/// A number that nobody can guess.
pub(super) fn any_number() -> u16 {
    let mut bytes = [0; 2];
    // Without it only the port is left to guess, which is as much.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap_or_default();
    u16::from_ne_bytes(bytes)
}

impl Upstream {
    /// Asks for a client.
    pub(super) fn ask(&mut self, poll: &OwnedFd, servers: &[SocketAddr], client: SocketAddr, message: &[u8]) {
        let Some(number) = answer::number(message).filter(|_| self.all.len() < MOST) else { return };
        // The more of the same are on their way, the easier one is guessed (RFC 5452, section 5).
        let same = |asked: &&Asked| asked.message.get(2..) == message.get(2..);
        if self.all.values().filter(same).count() >= ALIKE {
            return;
        }
        let message = answer::with_number(message, any_number());
        self.send(poll, servers, (client, message, number), 0);
    }

    /// Asks the next server that can be asked at all.
    fn send(
        &mut self,
        poll: &OwnedFd,
        servers: &[SocketAddr],
        (client, message, number): (SocketAddr, Vec<u8>, u16),
        from: usize,
    ) {
        for tries in from..TRIES.max(servers.len()) {
            let Some(server) = tries.checked_rem(servers.len()).and_then(|at| servers.get(at)) else { return };
            let Ok(socket) = connected(server, SocketType::DGRAM) else { continue };
            let index = self.next;
            let watched = epoll::add(poll, socket.as_fd(), About::Asked(index).data(), epoll::EventFlags::IN);
            if watched.is_err() || rustix::net::send(&socket, &message, SendFlags::NOSIGNAL).is_err() {
                continue;
            }
            self.next = self.next.wrapping_add(1);
            let asked = Asked { socket, client, message, number, tries, until: Instant::now() + PATIENCE };
            self.all.insert(index, asked);
            return;
        }
    }

    /// Something came for a question. What the client gets, if it gets something now.
    pub(super) fn ready(
        &mut self,
        poll: &OwnedFd,
        servers: &[SocketAddr],
        index: u32,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let asked = self.all.get(&index)?;
        self.buffer.resize(65_535, 0);
        let received = rustix::net::recv(&asked.socket, &mut self.buffer[..], RecvFlags::empty());
        let bytes = match received {
            Ok((_, length)) => self.buffer.get(..length).unwrap_or_default(),
            Err(Errno::AGAIN | Errno::INTR) => return None,
            // Nobody listens there.
            Err(_) => return self.again(poll, servers, index),
        };
        // What answers another question is not heard.
        if !answer::answers(bytes, &asked.message) {
            return None;
        }
        let failed = matches!(bytes.get(3).map(|codes| codes & 0xf), Some(2 | 5));
        if failed && asked.tries + 1 < servers.len() {
            return self.again(poll, servers, index);
        }
        let said = answer::with_number(bytes, asked.number);
        let asked = self.all.remove(&index)?;
        Some((asked.client, said))
    }

    /// Asks another server; when there is none left, the client is told.
    fn again(&mut self, poll: &OwnedFd, servers: &[SocketAddr], index: u32) -> Option<(SocketAddr, Vec<u8>)> {
        let asked = self.all.remove(&index)?;
        let (client, number) = (asked.client, asked.number);
        let message = asked.message.clone();
        if asked.tries + 1 < TRIES.max(servers.len()) {
            let before = self.all.len();
            self.send(poll, servers, (client, asked.message, number), asked.tries + 1);
            if self.all.len() > before {
                return None;
            }
        }
        match answer::failure(&answer::with_number(&message, number), RCODE::ServerFailure) {
            Reply::Say(said) => Some((client, said)),
            _ => None,
        }
    }

    /// Those that have waited long enough go to another server; what is over is told.
    pub(super) fn late(&mut self, poll: &OwnedFd, servers: &[SocketAddr]) -> Vec<(SocketAddr, Vec<u8>)> {
        let now = Instant::now();
        let late: Vec<u32> = self.all.iter().filter(|(_, a)| a.until <= now).map(|(index, _)| *index).collect();
        late.into_iter().filter_map(|index| self.again(poll, servers, index)).collect()
    }

    /// When the next one has waited long enough.
    pub(super) fn until(&self) -> Option<Instant> {
        self.all.values().map(|asked| asked.until).min()
    }
}
