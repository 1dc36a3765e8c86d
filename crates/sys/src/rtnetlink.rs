//! The few messages of `rtnetlink(7)` by which a network device changes its namespace and keeps its addresses.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::{Errno, Result};

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
/// A dump that something changed under.
const INTERRUPTED: u16 = 0x10;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
const IFF_UP: u32 = 1;

/// Bytes of the header of a message, and of `ifaddrmsg`.
const HEADER: usize = 16;
const ADDRESS: usize = 8;

/// How often a dump is begun again when what it shows changed meanwhile.
const ATTEMPTS: u32 = 20;

/// A socket of the network namespace that the caller was in when it was opened.
#[derive(Debug)]
pub struct Links {
    fd: OwnedFd,
    sequence: u32,
}

/// A network device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its number in its namespace.
    pub index: u32,
    /// It is up.
    pub up: bool,
}

/// An address of a device: what is needed to give it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) -> Result<()> {
    let length = u16::try_from(value.len() + 4).map_err(|_| Errno::MSGSIZE)?;
    to.extend_from_slice(&length.to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(value);
    to.resize(to.len().next_multiple_of(4), 0);
    Ok(())
}

fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    for number in [index, flags, change] {
        header.extend_from_slice(&number.to_ne_bytes());
    }
    header
}

fn name_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Attributes from `offset` on; ends at the first that is not whole.
fn attributes(bytes: &[u8], offset: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes.get(offset..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(short(rest, 0)?);
        let (kind, value) = (short(rest, 2)?, rest.get(4..length)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

impl Address {
    /// Of a message of a dump: one that somebody has set for good and that means the same everywhere. What was learned
    /// from a network, or means something on this host alone, is none.
    fn lasting(body: &[u8], index: u32) -> Option<Self> {
        let [family, prefix, flags, scope] = *body.get(..4)? else { return None };
        let all = attributes(body, ADDRESS).find(|(kind, _)| *kind == IFA_FLAGS);
        let flags = all.and_then(|(_, value)| number(value, 0)).unwrap_or(u32::from(flags));
        if number(body, 4)? != index || scope != 0 || flags & IFA_F_PERMANENT == 0 {
            return None;
        }
        let kept = attributes(body, ADDRESS).filter(|(kind, _)| [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST].contains(kind));
        Some(Self { family, prefix, attributes: kept.map(|(kind, value)| (kind, value.to_vec())).collect() })
    }
}

impl Links {
    /// Opens one, which hears the kernel and nobody else.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> Result<Self> {
        // Without a protocol it is rtnetlink.
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// The device of this name.
    ///
    /// # Errors
    /// `ENODEV` when there is none.
    pub fn device(&mut self, name: &str) -> Result<Device> {
        let mut body = link_header(0, 0, 0);
        attribute(&mut body, IFLA_IFNAME, &name_bytes(name))?;
        let mut found = None;
        self.ask(GET_LINK, 0, &body, NEW_LINK, |body| {
            found = found.or_else(|| Some(Device { index: number(body, 4)?, up: number(body, 8)? & IFF_UP != 0 }));
        })?;
        found.ok_or(Errno::NODEV)
    }

    /// Brings a device up or down.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<()> {
        let body = link_header(index, if up { IFF_UP } else { 0 }, IFF_UP);
        self.ask(NEW_LINK, ACK, &body, 0, |_| {})
    }

    /// The addresses of a device that were set for good and have the global scope.
    ///
    /// # Errors
    /// What the kernel says; `EAGAIN` when they change all the time.
    pub fn lasting_addresses(&mut self, index: u32) -> Result<Vec<Address>> {
        for _ in 0..ATTEMPTS {
            let mut all = Vec::new();
            let asked = self.ask(GET_ADDRESS, DUMP, &[0; ADDRESS], NEW_ADDRESS, |body| {
                all.extend(Address::lasting(body, index));
            });
            match asked {
                Ok(()) => return Ok(all),
                Err(Errno::AGAIN) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::AGAIN)
    }

    /// Gives a device an address; one that it has already is good.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn add(&mut self, index: u32, address: &Address) -> Result<()> {
        let mut body = vec![address.family, address.prefix, 0, 0];
        body.extend_from_slice(&index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            attribute(&mut body, *kind, value)?;
        }
        match self.ask(NEW_ADDRESS, ACK | CREATE | EXCLUSIVE, &body, 0, |_| {}) {
            Err(Errno::EXIST) => Ok(()),
            done => done,
        }
    }

    /// Moves a device, which is down, to another network namespace, under a name there.
    ///
    /// # Errors
    /// What the kernel says: `EEXIST` for a name that is taken there, `EINVAL` for a device that cannot be moved.
    pub fn hand_over(&mut self, index: u32, to: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut body = link_header(index, 0, 0);
        attribute(&mut body, IFLA_IFNAME, &name_bytes(name))?;
        let fd = u32::try_from(to.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?;
        attribute(&mut body, IFLA_NET_NS_FD, &fd.to_ne_bytes())?;
        self.ask(NEW_LINK, ACK, &body, 0, |_| {})
    }

    /// One request; `each` gets the bodies of the answers of type `wanted`.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8], wanted: u16, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::MSGSIZE)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(body);
        rustix::net::send(&self.fd, &message, SendFlags::empty())?;
        let dump = flags & DUMP == DUMP;
        let mut buffer = vec![0; 1 << 16];
        let mut whole = true;
        loop {
            let (_, length) = match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            let mut rest = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            while let (Some(length), Some(kind)) = (number(rest, 0), short(rest, 4)) {
                let length = usize::try_from(length).map_err(|_| Errno::PROTO)?;
                let body = rest.get(HEADER..length).ok_or(Errno::PROTO)?;
                let ours = number(rest, 8) == Some(self.sequence);
                whole &= !ours || short(rest, 6).is_some_and(|flags| flags & INTERRUPTED == 0);
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                match kind {
                    _ if !ours => {}
                    ERROR => return answer(body),
                    DONE => return if whole { Ok(()) } else { Err(Errno::AGAIN) },
                    kind if kind == wanted => {
                        each(body);
                        if !dump {
                            return Ok(());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Zero is yes, else a negative error number.
fn answer(body: &[u8]) -> Result<()> {
    let said = number(body, 0).ok_or(Errno::PROTO)?;
    match i32::from_ne_bytes(said.to_ne_bytes()) {
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(code.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found() {
        let mut links = Links::open().unwrap();
        let lo = links.device("lo").unwrap();
        assert_eq!(lo.index, 1);
        assert_eq!(links.device("bulkhead-none").err(), Some(Errno::NODEV));
        // Its own address means something on this host alone.
        let local = vec![127, 0, 0, 1];
        let all = links.lasting_addresses(lo.index).unwrap();
        assert!(!all.iter().any(|a| a.attributes.contains(&(IFA_LOCAL, local.clone()))), "{all:?}");
    }

    #[test]
    fn only_lasting_global_addresses_are_taken_along() {
        let message = |flags: u32, scope: u8, index: u8| {
            let mut body = vec![2, 24, 0, scope, index, 0, 0, 0];
            attribute(&mut body, IFA_LOCAL, &[192, 0, 2, 1]).unwrap();
            attribute(&mut body, 3, b"eth0\0").unwrap();
            attribute(&mut body, IFA_FLAGS, &flags.to_ne_bytes()).unwrap();
            Address::lasting(&body, 7)
        };
        let kept = message(IFA_F_PERMANENT, 0, 7).unwrap();
        assert_eq!((kept.family, kept.prefix), (2, 24));
        assert_eq!(kept.attributes, [(IFA_LOCAL, vec![192, 0, 2, 1])]);
        assert_eq!(
            (message(0, 0, 7), message(IFA_F_PERMANENT, 253, 7), message(IFA_F_PERMANENT, 0, 8)),
            (None, None, None)
        );
        assert_eq!(answer(&(-19_i32).to_ne_bytes()), Err(Errno::NODEV));
    }
}
