//! Who is connected to a monitor: the command that started it, commands that attach later, and those that wait for the
//! end.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sys::Errno;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{SendFlags, SocketFlags, accept_with};

use crate::frame::{self, Decoder, attach, kind};

/// More than these are not let in: each may cost a buffer.
const MOST: usize = 1024;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It has not said so yet.
    New,
    /// It gets output, and its input is taken when it is said so.
    Attached { input: bool },
    /// It is told the end.
    Waiting,
}

#[derive(Debug)]
struct Client {
    fd: OwnedFd,
    /// Nobody else's: their places change.
    number: u64,
    role: Role,
    /// It is the command that started the container, which removes it at its end where that was asked for.
    owner: bool,
    decoder: Decoder,
    /// Frames that it has not taken yet.
    outbox: Vec<u8>,
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Bytes for the program.
    Input(Vec<u8>),
    /// No more of them.
    InputEnd,
    /// Rows and columns.
    Resize(u16, u16),
    /// A signal for the program.
    Signal(i32),
    /// No restart any more.
    Stop,
    /// Other networks; the number of who waits for that.
    Networks(u64, Vec<u8>),
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    listener: Option<OwnedFd>,
    all: Vec<Client>,
    /// How many there were.
    count: u64,
}

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Somebody new.
    Listener,
    /// The client at this place.
    Client(usize),
}

impl Clients {
    /// With the command that started the program, and the socket that others come to.
    pub(crate) fn new(first: Option<OwnedFd>, listener: Option<OwnedFd>) -> Self {
        let owner = first.map(|fd| Client {
            fd,
            number: 0,
            role: Role::Attached { input: true },
            owner: true,
            decoder: Decoder::default(),
            outbox: Vec::new(),
        });
        Self { listener, all: owner.into_iter().collect(), count: 0 }
    }

    /// Adds what is to be waited for. While input is stuck nobody is read from: nothing is buffered without bound.
    pub(crate) fn polls<'a>(&'a self, stuck: bool, add: &mut dyn FnMut(Door, PollFd<'a>)) {
        if let Some(listener) = self.listener.as_ref().filter(|_| self.all.len() < MOST) {
            add(Door::Listener, PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN));
        }
        for (index, client) in self.all.iter().enumerate() {
            let mut flags = if stuck { PollFlags::empty() } else { PollFlags::IN };
            if !client.outbox.is_empty() {
                flags |= PollFlags::OUT;
            }
            add(Door::Client(index), PollFd::from_borrowed_fd(client.fd.as_fd(), flags));
        }
    }

    /// Whether everybody has taken all output: one that does not read holds the program back, as a pipe would.
    pub(crate) fn listening(&self) -> bool {
        self.all.iter().all(|c| c.outbox.is_empty())
    }

    /// Handles what became ready; `doors` in the order of [`Clients::polls`].
    pub(crate) fn handle(&mut self, doors: &[(Door, PollFlags)], chunk: &mut [u8]) -> Vec<Word> {
        let mut words = Vec::new();
        let mut gone = Vec::new();
        for (door, events) in doors {
            let Door::Client(index) = *door else { continue };
            let Some(client) = self.all.get_mut(index) else { continue };
            let alive = client.flush()
                && (!events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
                    || client.read(chunk, &mut words));
            if !alive {
                gone.push(index);
            }
        }
        for index in gone.into_iter().rev() {
            self.all.remove(index);
        }
        if doors.iter().any(|(door, _)| *door == Door::Listener) {
            self.accept();
        }
        words
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        // One that went away before it was let in is nobody's loss.
        if let Ok(fd) = accept_with(listener, SocketFlags::CLOEXEC) {
            self.count += 1;
            self.all.push(Client {
                fd,
                number: self.count,
                role: Role::New,
                owner: false,
                decoder: Decoder::default(),
                outbox: Vec::new(),
            });
        }
    }

    /// Whether one is still there to hear an answer.
    pub(crate) fn waits(&self, number: u64) -> bool {
        use rustix::net::RecvFlags;
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let gone = |client: &Client| matches!(rustix::net::recv(&client.fd, &mut [0; 1][..], flags), Ok((_, 0)));
        self.all.iter().any(|client| client.number == number && !gone(client))
    }

    /// Sends a frame to one, who is let go then.
    pub(crate) fn answer(&mut self, number: u64, kind: u8, payload: &[u8]) {
        if let Some(at) = self.all.iter().position(|c| c.number == number) {
            let mut client = self.all.remove(at);
            client.outbox.extend_from_slice(&frame::encode(kind, payload));
            // It is a short word, and there is room for it.
            client.flush();
        }
    }

    /// Sends a frame to all that are attached.
    pub(crate) fn tell(&mut self, kind: u8, payload: &[u8]) {
        self.all.retain_mut(|client| {
            if !matches!(client.role, Role::Attached { .. }) {
                return true;
            }
            client.outbox.extend_from_slice(&frame::encode(kind, payload));
            client.flush()
        });
    }

    /// Tells all that are attached how this run of the program ended, and lets them go. True when the command that
    /// started it was among them and knows now; `patience`: the seconds that it may take to read, without end when there
    /// is nothing left to do. Those that wait stay.
    pub(crate) fn dismiss(&mut self, code: u32, patience: Option<u64>) -> bool {
        let mut owner = false;
        let (attached, rest): (Vec<Client>, Vec<Client>) =
            std::mem::take(&mut self.all).into_iter().partition(|c| matches!(c.role, Role::Attached { .. }));
        self.all = rest;
        // The owner last: it may take its time to read, and nobody else shall wait for that.
        let (owners, others): (Vec<Client>, Vec<Client>) = attached.into_iter().partition(|c| c.owner);
        for client in others {
            client.last_words(code, Some(1));
        }
        for client in owners {
            owner |= client.last_words(code, patience);
        }
        owner
    }

    /// Tells those that wait; the container has ended for good.
    pub(crate) fn announce(&mut self, code: u32) {
        self.listener = None;
        for client in std::mem::take(&mut self.all) {
            if client.role == Role::Waiting {
                client.last_words(code, Some(1));
            }
        }
    }
}

impl Client {
    /// Sends what it takes without making us wait; false when it has gone.
    fn flush(&mut self) -> bool {
        while !self.outbox.is_empty() {
            match rustix::net::send(&self.fd, &self.outbox, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => drop(self.outbox.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Takes what it says; false when it has gone or wants to.
    fn read(&mut self, chunk: &mut [u8], words: &mut Vec<Word>) -> bool {
        let takes_input = matches!(self.role, Role::Attached { input: true });
        match rustix::io::read(&self.fd, &mut *chunk) {
            Ok(n) if n > 0 => self.decoder.push(chunk.get(..n).unwrap_or_default()),
            Err(Errno::INTR | Errno::AGAIN) => return true,
            Ok(_) | Err(_) => {
                if takes_input {
                    words.push(Word::InputEnd);
                }
                return false;
            }
        }
        loop {
            let Ok(next) = self.decoder.next_frame() else { return false };
            let Some((kind, payload)) = next else { return true };
            let input = matches!(self.role, Role::Attached { input: true });
            match (kind, payload.as_slice()) {
                (kind::ATTACH, &[flags]) if self.role == Role::New => {
                    self.role = Role::Attached { input: flags & attach::INPUT != 0 };
                }
                (kind::WAIT, _) if self.role == Role::New => self.role = Role::Waiting,
                (kind::NETWORKS, _) if self.role == Role::New => words.push(Word::Networks(self.number, payload)),
                (kind::STDIN, _) if input => words.push(Word::Input(payload)),
                (kind::STDIN_END, _) if input => words.push(Word::InputEnd),
                (kind::RESIZE, &[a, b, c, d]) => {
                    words.push(Word::Resize(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])));
                }
                (kind::SIGNAL, &[number]) => words.push(Word::Signal(i32::from(number))),
                (kind::STOP, _) => words.push(Word::Stop),
                (kind::DETACH, _) => return false,
                _ => {}
            }
        }
    }

    /// Sends what is left and the exit code, waiting for it to read (`patience` seconds at most); false when it went away.
    fn last_words(self, code: u32, patience: Option<u64>) -> bool {
        if let Some(seconds) = patience {
            let limit = Some(std::time::Duration::from_secs(seconds));
            // Without the limit it waits for a reader that is there.
            let timeout = rustix::net::sockopt::Timeout::Send;
            rustix::net::sockopt::set_socket_timeout(&self.fd, timeout, limit).unwrap_or_default();
        }
        frame::write_all(self.fd.as_fd(), &self.outbox).is_ok()
            && frame::write_all(self.fd.as_fd(), &frame::encode(kind::EXITED, &code.to_le_bytes())).is_ok()
    }
}
