//! What the process that answers is told, in one message with descriptors.

use std::net::SocketAddr;
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
}

impl Order {
    fn write(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(self.doors.then(|| "doors".to_owned()));
        lines.extend(self.outside.then(|| "outside".to_owned()));
        lines.extend(self.servers.iter().map(|server| format!("server {server}")));
        lines.extend(self.links.iter().map(|(name, container)| format!("link {name} {container}")));
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

/// One message of the other side: an order with its descriptors, or that it has gone.
///
/// # Errors
/// What the kernel says; `EPROTO` for a message that is none.
pub(crate) fn receive(from: &OwnedFd) -> Result<Option<(Order, Vec<OwnedFd>)>, Errno> {
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
    let text = bytes.get(..received.bytes).and_then(|b| std::str::from_utf8(b).ok());
    let order = text.and_then(Order::read).ok_or(Errno::PROTO)?;
    Ok(Some((order, descriptors)))
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
        };
        order.send(a.as_fd(), &[a.as_fd(), b.as_fd()]).unwrap();
        Order::default().send(a.as_fd(), &[]).unwrap();
        let (received, first) = receive(&b).unwrap().unwrap();
        assert_eq!((received, first.len()), (order, 2));
        let (received, descriptors) = receive(&b).unwrap().unwrap();
        assert_eq!((received, descriptors.len()), (Order::default(), 0));
        assert_eq!(receive(&b).unwrap_err(), Errno::AGAIN);
        drop((a, first));
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for text in ["x", "server 10.0.0.1", "link a", "doors 1"] {
            assert_eq!(Order::read(text), None, "{text}");
        }
    }
}
