//! What the process that answers is told, in one message with descriptors.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::Errno;
use rustix::io::IoSlice;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

/// Most descriptors of one message (`SCM_MAX_FD`, `unix(7)`).
const DESCRIPTORS: usize = 253;
/// Longest message.
const LONGEST: usize = 64 * 1024;

/// What a container may be told, without the descriptors that go with it: first those of [`super::Doors`] where
/// `doors` is set, then the files of its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// The sockets to answer at come with it.
    pub doors: bool,
    /// There is an outside: a network with a way out.
    pub outside: bool,
    /// Who is asked there, in this order.
    pub servers: Vec<SocketAddr>,
    /// Names of its own for other containers, by their ids.
    pub links: Vec<(String, String)>,
    /// Names whose addresses are told before they are answered: `example.org`, or `*.example.org` for all below it.
    pub listed: Vec<String>,
    /// No other names are asked outside.
    pub only: bool,
}

/// What the process says: these addresses are the answer for a name, and wait for [`ready`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// To be said back.
    pub number: u32,
    /// The name that was asked for, in small letters.
    pub name: String,
    /// Addresses, and the seconds that each may be kept.
    pub addresses: Vec<(IpAddr, u32)>,
}

impl Found {
    pub(super) fn write(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(|(address, life)| format!("{address}={life}")).collect();
        format!("found {} {} {}", self.number, self.name, addresses.join(" "))
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (mark, number, name) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let address = |word: &str| {
            let (address, life) = word.split_once('=')?;
            Some((address.parse().ok()?, life.parse().ok()?))
        };
        let addresses = words.map(address).collect::<Option<Vec<_>>>()?;
        // More than it should say is nothing.
        if addresses.len() > super::MOST_FOUND {
            return None;
        }
        (mark == "found").then(|| Self { number, name: name.to_owned(), addresses })
    }
}

/// What comes from the process: something found; nothing for what is none; or that it has gone.
///
/// # Errors
/// What the kernel says; `EAGAIN` when nothing has come.
pub fn hear(from: BorrowedFd<'_>) -> Result<Option<Option<Found>>, Errno> {
    let mut bytes = [0; 4096];
    let (length, whole) = rustix::net::recv(from, &mut bytes, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
    if whole == 0 {
        return Ok(None);
    }
    let text = bytes.get(..length).filter(|_| whole == length).and_then(|b| std::str::from_utf8(b).ok());
    Ok(Some(text.and_then(Found::read)))
}

/// Says that what was found can be reached.
///
/// # Errors
/// What the kernel says.
pub fn ready(to: BorrowedFd<'_>, number: u32) -> Result<(), Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::send(to, format!("ready {number}").as_bytes(), flags).map(drop)
}

/// A message to the process.
#[derive(Debug)]
pub(crate) enum Word {
    /// An order with its descriptors.
    Order(Order, Vec<OwnedFd>),
    /// What waits under this number may be answered.
    Ready(u32),
}

impl Order {
    fn write(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(self.doors.then(|| "doors".to_owned()));
        lines.extend(self.outside.then(|| "outside".to_owned()));
        lines.extend(self.servers.iter().map(|server| format!("server {server}")));
        lines.extend(self.links.iter().map(|(name, container)| format!("link {name} {container}")));
        lines.extend(self.only.then(|| "only".to_owned()));
        lines.extend(self.listed.iter().map(|name| format!("name {name}")));
        lines.join("\n")
    }

    fn read(text: &str) -> Option<Self> {
        let mut order = Self::default();
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                // An order that says nothing is one too.
                [""] => {}
                ["doors"] => order.doors = true,
                ["outside"] => order.outside = true,
                ["server", address] => order.servers.push(address.parse().ok()?),
                ["only"] => order.only = true,
                ["name", name] => order.listed.push(name.to_owned()),
                ["link", name, container] => order.links.push((name.to_owned(), container.to_owned())),
                _ => return None,
            }
        }
        Some(order)
    }

    /// Sends it over a socket of type `SOCK_SEQPACKET`, without waiting.
    ///
    /// # Errors
    /// What the kernel says; `EMSGSIZE` for more than one message holds.
    pub fn send(&self, to: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let text = self.write();
        if text.len() > LONGEST || descriptors.len() > DESCRIPTORS {
            return Err(Errno::MSGSIZE);
        }
        // One without a byte would be the end.
        let text = format!("{text}\n");
        let mut room = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::MSGSIZE);
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(to, &[IoSlice::new(text.as_bytes())], &mut ancillary, flags).map(drop)
    }
}

/// One message of the other side, or that it has gone.
///
/// # Errors
/// What the kernel says; `EPROTO` for a message that is none.
pub(crate) fn receive(from: &OwnedFd) -> Result<Option<Word>, Errno> {
    let mut bytes = vec![0; LONGEST + 1];
    let mut room = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let mut into = [rustix::io::IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::net::recvmsg(from.as_fd(), &mut into, &mut ancillary, flags)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(all) = message {
            descriptors.extend(all);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let text = bytes.get(..received.bytes).and_then(|b| std::str::from_utf8(b).ok()).ok_or(Errno::PROTO)?;
    if let Some(number) = text.strip_prefix("ready ") {
        return number.parse().map(|number| Some(Word::Ready(number))).map_err(|_| Errno::PROTO);
    }
    let order = Order::read(text).ok_or(Errno::PROTO)?;
    Ok(Some(Word::Order(order, descriptors)))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn what_is_sent_arrives_with_its_descriptors() {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let order = Order {
            doors: true,
            outside: true,
            servers: vec!["10.0.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()],
            links: vec![("db".into(), "0123".into())],
            listed: vec!["*.example.org".into()],
            only: true,
        };
        order.send(a.as_fd(), &[a.as_fd(), b.as_fd()]).unwrap();
        Order::default().send(a.as_fd(), &[]).unwrap();
        let Some(Word::Order(received, first)) = receive(&b).unwrap() else { panic!() };
        assert_eq!((received, first.len()), (order, 2));
        let Some(Word::Order(received, second)) = receive(&b).unwrap() else { panic!() };
        assert_eq!((received, second.len()), (Order::default(), 0));
        assert_eq!(receive(&b).unwrap_err(), Errno::AGAIN);
        ready(a.as_fd(), 7).unwrap();
        assert!(matches!(receive(&b).unwrap(), Some(Word::Ready(7))));
        let found = Found { number: 7, name: "a.b".into(), addresses: vec![("fd00::1".parse().unwrap(), 60)] };
        rustix::net::send(&b, found.write().as_bytes(), SendFlags::empty()).unwrap();
        rustix::net::send(&b, b"found x", SendFlags::empty()).unwrap();
        assert_eq!(hear(a.as_fd()).unwrap(), Some(Some(found)));
        assert_eq!((hear(a.as_fd()).unwrap(), hear(a.as_fd()).unwrap_err()), (Some(None), Errno::AGAIN));
        drop((a, first));
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for text in ["x", "server 10.0.0.1", "link a", "doors 1", "only a", "name"] {
            assert_eq!(Order::read(text), None, "{text}");
        }
    }
}
