//! What parent and child say to each other: fixed-size messages over one `SOCK_SEQPACKET` pair.
//!
//! ```text
//!      parent                                    child (after clone3, one thread)
//!        │  id maps, limits, mount trees           │ blocked on receive
//!        │ ──────── Tree × n  (+ descriptor) ────► │
//!        │ ──────── Proceed ─────────────────────► │
//!        │                                         │ apply step 0, 1, 2 …
//!        │ ◄─────── Failed { step, errno } ─────── │ at any time, then _exit
//!        │ ◄─────── Shift  (+ tree) ────────────── │ a mount of the container with ids of its own
//!        │ ──────── Proceed ─────────────────────► │
//!        │ ◄─────── Hooks ──────────────────────── │ a bundle that has some: before the root is changed
//!        │ ──────── Proceed ─────────────────────► │
//!        │ ◄─────── Ready  (+ terminal) ────────── │ all but what takes rights away is done
//!        │ ──────── Exec ────────────────────────► │
//!        │ ◄─────── Failed { step, errno }, or end │ end of stream by close-on-exec: the program runs
//! ```
//!
//! A container that waits for its start takes "Exec" and then accepts one connection on a socket in the run directory:
//! from there on that is its channel, and whoever starts it is the parent of the picture.
//!
//! A failure is the index of a step and an error number. The parent holds the same plan and writes the sentence.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bulkhead_sys::{Errno, fd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const TREES: u32 = 0xffff_0001;
const PROCEED: u32 = 0xffff_0002;
const READY: u32 = 0xffff_0003;
const EXEC: u32 = 0xffff_0004;
const BORN: u32 = 0xffff_0005;
const OUTSIDE: u32 = 0xffff_0006;
const HOOKS: u32 = 0xffff_0007;
const LISTENER: u32 = 0xffff_0008;
const SHIFT: u32 = 0xffff_0009;

/// How long the child may take for what lies between two messages.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Mount trees come with it.
    Trees,
    /// The child may begin.
    Proceed,
    /// The child is done with all but the last phase; its terminal comes with it.
    Ready,
    /// The child may start the program.
    Exec,
    /// A go-between has made the child; a descriptor of it comes with it.
    Born,
    /// A go-between could not enter another sandbox.
    Outside {
        /// Error number.
        errno: i32,
    },
    /// The child waits for its hooks to be run.
    Hooks,
    /// The child, which has no right to, wants the ids of a mount tree shifted, which comes with it.
    Shift {
        /// Index of the step.
        step: u32,
    },
    /// The descriptor of a system call filter that asks comes with it.
    Listener,
    /// A step failed.
    Failed {
        /// Index in the plan.
        step: u32,
        /// Error number.
        errno: i32,
    },
}

impl Message {
    pub(crate) fn encode(self) -> [u8; 8] {
        let (a, b) = match self {
            Self::Trees => (TREES, 0),
            Self::Proceed => (PROCEED, 0),
            Self::Ready => (READY, 0),
            Self::Exec => (EXEC, 0),
            Self::Hooks => (HOOKS, 0),
            Self::Listener => (LISTENER, 0),
            Self::Shift { step } => (SHIFT, i32::try_from(step).unwrap_or(i32::MAX)),
            Self::Born => (BORN, 0),
            Self::Outside { errno } => (OUTSIDE, errno),
            Self::Failed { step, errno } => (step, errno),
        };
        let mut bytes = [0; 8];
        let (first, second) = bytes.split_at_mut(4);
        first.copy_from_slice(&a.to_ne_bytes());
        second.copy_from_slice(&b.to_ne_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: [u8; 8]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = bytes;
        match u32::from_ne_bytes([a, b, c, d]) {
            TREES => Some(Self::Trees),
            PROCEED => Some(Self::Proceed),
            READY => Some(Self::Ready),
            EXEC => Some(Self::Exec),
            HOOKS => Some(Self::Hooks),
            LISTENER => Some(Self::Listener),
            SHIFT => Some(Self::Shift { step: u32::from_ne_bytes([e, f, g, h]) }),
            BORN => Some(Self::Born),
            OUTSIDE => Some(Self::Outside { errno: i32::from_ne_bytes([e, f, g, h]) }),
            step if step < TREES => Some(Self::Failed { step, errno: i32::from_ne_bytes([e, f, g, h]) }),
            _ => None,
        }
    }
}

/// One end of the channel.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
}

impl Channel {
    /// A connected socket.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Both ends.
    pub(crate) fn pair() -> Result<(Self, Self), Errno> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self { socket: a }, Self { socket: b }))
    }

    /// Sends. Child-safe.
    pub(crate) fn send(&self, message: Message, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        fd::send(self.socket.as_fd(), &message.encode(), fds)
    }

    /// Sends by `write(2)`, which every system call filter lets a program do: a failure that is not heard would look like
    /// a start. Child-safe; a peer that is gone may end the caller.
    pub(crate) fn tell(&self, message: Message) -> Result<(), Errno> {
        rustix::io::write(&self.socket, &message.encode()).map(drop)
    }

    /// Receives; nothing at the end of the stream. Child-safe when `fds` has room.
    pub(crate) fn recv(&self, fds: &mut Vec<OwnedFd>) -> Result<Option<Message>, Errno> {
        let mut bytes = [0; 8];
        let received = match fd::recv(self.socket.as_fd(), &mut bytes, fds) {
            // It was killed before it had read everything: an end like any other.
            Err(Errno::CONNRESET) => 0,
            other => other?,
        };
        match received {
            0 => Ok(None),
            8 => Message::decode(bytes).map(Some).ok_or(Errno::PROTO),
            _ => Err(Errno::PROTO),
        }
    }

    /// Receives within [`DEADLINE`].
    pub(crate) fn recv_in_time(&self, fds: &mut Vec<OwnedFd>) -> Result<Option<Message>, Errno> {
        let timeout = Timespec { tv_sec: i64::try_from(DEADLINE.as_secs()).unwrap_or(60), tv_nsec: 0 };
        loop {
            let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut polled, Some(&timeout)) {
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) => return self.recv(fds),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Whether the other end is gone. Child-safe.
    pub(crate) fn is_closed(&self) -> bool {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok_and(|n| n > 0)
            && polled.iter().any(|p| p.revents().contains(PollFlags::HUP))
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Message};

    #[test]
    fn messages_survive_the_trip() {
        let (a, b) = Channel::pair().unwrap();
        for message in [
            Message::Trees,
            Message::Proceed,
            Message::Ready,
            Message::Exec,
            Message::Hooks,
            Message::Listener,
            Message::Born,
            Message::Outside { errno: 1 },
            Message::Failed { step: 17, errno: 13 },
            Message::Failed { step: 0, errno: -1 },
        ] {
            a.send(message, &[]).unwrap();
            assert_eq!(b.recv(&mut Vec::new()).unwrap(), Some(message));
        }
        assert!(!b.is_closed());
        drop(a);
        assert!(b.is_closed());
        assert_eq!(b.recv(&mut Vec::new()).unwrap(), None);
    }
}
