//! Datagrams: each client has a socket of its own towards the container, so that answers find their way.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::{About, IDLE};

/// Datagrams of one turn before others have theirs.
const TURNS: usize = 64;

/// Longest datagram.
const LONGEST: usize = 65_535;

#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    container: OwnedFd,
    used: Instant,
}

/// The flows of one port.
#[derive(Debug)]
pub(super) struct Flows {
    port: u32,
    socket: UdpSocket,
    to: SocketAddr,
    by_client: HashMap<SocketAddr, u32>,
    all: HashMap<u32, Flow>,
    next: u32,
    most: usize,
    buffer: Vec<u8>,
}

impl Flows {
    pub(super) fn new(port: u32, socket: UdpSocket, to: SocketAddr, most: usize) -> Self {
        let (by_client, all) = (HashMap::new(), HashMap::new());
        Self { port, socket, to, by_client, all, next: 0, most, buffer: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Datagrams of clients.
    pub(super) fn arrived(&mut self, poll: &OwnedFd) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(LONGEST, 0);
        for _ in 0..TURNS {
            let (length, client) = match self.socket.recv_from(&mut buffer) {
                Ok(found) => found,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                // What a client's host says of an earlier answer.
                Err(_) => continue,
            };
            if let Ok(flow) = self.flow(poll, client) {
                flow.used = Instant::now();
                // What the container has no room for is lost, as on any wire.
                let bytes = buffer.get(..length).unwrap_or_default();
                rustix::net::send(&flow.container, bytes, SendFlags::NOSIGNAL).unwrap_or_default();
            }
        }
        self.buffer = buffer;
    }

    fn flow(&mut self, poll: &OwnedFd, client: SocketAddr) -> Result<&mut Flow, Errno> {
        if let Some(number) = self.by_client.get(&client) {
            return self.all.get_mut(number).ok_or(Errno::BADF);
        }
        if self.all.len() >= self.most
            && let Some((oldest, _)) = self.all.iter().min_by_key(|(_, flow)| flow.used)
        {
            self.forget(*oldest);
        }
        let family = if self.to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let container = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        rustix::net::connect(&container, &self.to)?;
        let number = self.next;
        self.next = (number + 1) & 0x3fff_ffff;
        epoll::add(poll, container.as_fd(), About::Flow(self.port, number).data(), epoll::EventFlags::IN)?;
        self.by_client.insert(client, number);
        let flow = Flow { client, container, used: Instant::now() };
        Ok(self.all.entry(number).insert_entry(flow).into_mut())
    }

    /// Datagrams of the container.
    pub(super) fn answered(&mut self, number: u32) {
        let Some(flow) = self.all.get_mut(&number) else {
            return;
        };
        flow.used = Instant::now();
        self.buffer.resize(LONGEST, 0);
        for _ in 0..TURNS {
            match rustix::net::recv(&flow.container, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => {
                    drop(self.socket.send_to(self.buffer.get(..length).unwrap_or_default(), flow.client));
                }
                Err(Errno::AGAIN) => return,
                // Nobody listens there at the moment; reading it has cleared it.
                Err(_) => {}
            }
        }
    }

    fn forget(&mut self, number: u32) {
        if let Some(flow) = self.all.remove(&number) {
            self.by_client.remove(&flow.client);
        }
    }

    pub(super) fn forget_idle(&mut self) {
        let idle: Vec<u32> =
            self.all.iter().filter(|(_, flow)| flow.used.elapsed() > IDLE).map(|(number, _)| *number).collect();
        idle.into_iter().for_each(|number| self.forget(number));
    }
}
