//! One netlink socket: a request and its answer.

use std::os::fd::OwnedFd;

use bulkhead_sys::Errno;
use bulkhead_sys::net::{NetlinkOption, netlink_option};
use rustix::buffer::spare_capacity;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::wire::{HEADER, Received, Writer, attributes, messages, number, text};

/// An answer that is an error or an acknowledgement.
pub(crate) const ERROR: u16 = 2;
/// The end of a dump.
const DONE: u16 = 3;

pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;
pub(crate) const DUMP: u16 = 0x300;
/// A dump that something changed under.
const DUMP_INTR: u16 = 0x10;
/// The answer has attributes with the kernel's own words.
const ACK_TLVS: u16 = 0x200;

/// Bytes that are received at once: more than the kernel puts into one message. What nothing comes to is never touched.
const ROOM: usize = 1 << 16;

/// Times that a dump is begun again when what it shows changed meanwhile.
const DUMP_ATTEMPTS: u32 = 20;

/// The kernel's no: its number, and its words where it has any.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) errno: Errno,
    pub(crate) said: Option<String>,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, said: None }
    }
}

/// A socket of the network namespace that the caller was in when it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one; `None` is rtnetlink.
    pub(crate) fn open(protocol: Option<Protocol>) -> Result<Self, Errno> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        netlink_option(&fd, NetlinkOption::ExtendedAck)?;
        // Or a refused message comes back whole.
        netlink_option(&fd, NetlinkOption::CapAck)?;
        Ok(Self { fd, sequence: 0, buffer: Vec::with_capacity(ROOM) })
    }

    /// Makes room for one message of this size, and for its answers.
    pub(crate) fn room(&self, bytes: usize) -> Result<(), Errno> {
        use rustix::net::sockopt;
        let (out, back) = (bytes.saturating_mul(2).max(1 << 18), bytes.saturating_mul(2).max(1 << 20));
        let forced = sockopt::set_socket_send_buffer_size_force(&self.fd, out)
            .and_then(|()| sockopt::set_socket_recv_buffer_size_force(&self.fd, back));
        match forced {
            // Root of a user namespace gets as much as the host lets everybody have.
            Err(Errno::PERM) => sockopt::set_socket_send_buffer_size(&self.fd, out)
                .and_then(|()| sockopt::set_socket_recv_buffer_size(&self.fd, back)),
            done => done,
        }
    }

    /// The number of the next message.
    pub(crate) fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends bytes that are whole messages.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::empty()) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(Errno::MSGSIZE),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Receives once. `EAGAIN` when there is nothing and `wait` is not set.
    pub(crate) fn receive(&mut self, wait: bool) -> Result<&[u8], Errno> {
        let flags = if wait { RecvFlags::TRUNC } else { RecvFlags::TRUNC | RecvFlags::DONTWAIT };
        loop {
            self.buffer.clear();
            match rustix::net::recv(&self.fd, spare_capacity(&mut self.buffer), flags) {
                Ok((_, whole)) if whole > self.buffer.len() => return Err(Errno::MSGSIZE),
                Ok(_) => return Ok(&self.buffer),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Number of the link with this name in the socket's namespace.
    pub(crate) fn index_of(&self, name: &str) -> Result<u32, Errno> {
        rustix::net::netdevice::name_to_index(&self.fd, name)
    }

    /// One request that is answered by yes or no.
    pub(crate) fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        body: impl FnOnce(&mut Writer),
    ) -> Result<(), Refusal> {
        let sequence = self.write(kind, flags | ACK, header, body)?;
        loop {
            let received = self.receive(true)?;
            if let Some(answer) = messages(received).find(|m| m.sequence == sequence && m.kind == ERROR) {
                return verdict(&answer);
            }
        }
    }

    fn write(&mut self, kind: u16, flags: u16, header: &[u8], body: impl FnOnce(&mut Writer)) -> Result<u32, Errno> {
        let sequence = self.next();
        let mut writer = Writer::default();
        writer.begin(kind, REQUEST | flags, sequence, header);
        body(&mut writer);
        writer.end();
        self.send(&writer.finish().ok_or(Errno::MSGSIZE)?)?;
        Ok(sequence)
    }

    /// One object. `None` when there is none.
    pub(crate) fn get<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        body: impl FnOnce(&mut Writer),
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let sequence = self.write(kind, 0, header, body)?;
        loop {
            let received = self.receive(true)?;
            let Some(answer) = messages(received).find(|m| m.sequence == sequence) else { continue };
            if answer.kind != ERROR {
                return Ok(read(answer.body));
            }
            return match verdict(&answer) {
                Err(no) if matches!(no.errno, Errno::NODEV | Errno::NOENT) => Ok(None),
                Err(no) => Err(no),
                Ok(()) => Ok(None),
            };
        }
    }

    /// Every object. It is begun again when something changed while it was being read.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        body: impl Fn(&mut Writer),
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(all) = self.dump_once(kind, header, &body, &read)? {
                return Ok(all);
            }
        }
        Err(Errno::AGAIN.into())
    }

    fn dump_once<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        body: impl FnOnce(&mut Writer),
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Refusal> {
        let sequence = self.write(kind, DUMP, header, body)?;
        let (mut all, mut whole) = (Vec::new(), true);
        loop {
            let received = self.receive(true)?;
            for message in messages(received).filter(|m| m.sequence == sequence) {
                whole &= message.flags & DUMP_INTR == 0;
                match message.kind {
                    DONE => return Ok(whole.then_some(all)),
                    ERROR => {
                        return match verdict(&message) {
                            // What is not there has no members.
                            Err(no) if no.errno == Errno::NOENT => Ok(Some(Vec::new())),
                            Err(no) => Err(no),
                            Ok(()) => Ok(Some(all)),
                        };
                    }
                    _ => all.extend(read(message.body)),
                }
            }
        }
    }
}

/// What an error message says: yes is an error of 0.
pub(crate) fn verdict(answer: &Received<'_>) -> Result<(), Refusal> {
    let code = number(answer.body, 0).map(u32::cast_signed).ok_or(Errno::PROTO)?;
    if code == 0 {
        return Ok(());
    }
    let said = (answer.flags & ACK_TLVS != 0)
        .then(|| attributes(answer.body, 4 + HEADER).find(|(kind, ..)| *kind == 1).map(|(_, _, value)| text(value)))
        .flatten();
    Err(Refusal { errno: Errno::from_raw_os_error(code.wrapping_neg()), said })
}
