//! Clients that ask by a stream: one question at a time, each answered before the next is read.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_sys::Errno;
use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType};
use simple_dns::RCODE;

use super::About;
use super::answer::{self, Known, Reply};
use super::upstream::{any_number, connected};

/// Clients at once.
const MOST: usize = 64;
/// Steps of one client, and clients that are let in, before others have their turn.
const TURNS: usize = 64;
/// How long a client may be silent, and a server take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest message with its length before it.
const MESSAGE: usize = 2 + 65_535;

/// A server that is being asked.
#[derive(Debug)]
struct Asked {
    socket: OwnedFd,
    /// The question with its length, as it is sent.
    question: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    /// Servers that were tried before.
    tries: usize,
}

#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The question that is asked outside.
    question: Vec<u8>,
    /// An answer that has to wait, and the number by which it is said that it has not any more.
    waits: Option<(u32, Vec<u8>)>,
    asked: Option<Asked>,
    until: Instant,
}

/// A client is told the last thing, or has gone.
struct Gone;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    all: HashMap<u32, Client>,
    next: u32,
}

/// The message at the start of what came, behind its length.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let length = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    bytes.get(2..2 + usize::from(length))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length, message].concat()
}

/// Reads what is there, up to one message. An end is `Gone`.
fn read(socket: &OwnedFd, into: &mut Vec<u8>) -> Result<(), Gone> {
    let mut bytes = vec![0; 4096];
    while into.len() < MESSAGE && whole(into).is_none() {
        match rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()) {
            Ok((_, 0)) => return Err(Gone),
            Ok((_, length)) => into.extend_from_slice(bytes.get(..length).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Gone),
        }
    }
    Ok(())
}

/// Sends what can be sent; how much.
fn write(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Gone> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(_) => Err(Gone),
    }
}

impl Client {
    /// Does all that can be done without waiting.
    fn go_on(&mut self, poll: &OwnedFd, index: u32, servers: &[SocketAddr], known: &mut dyn Known) -> Result<(), Gone> {
        for _ in 0..TURNS {
            if self.waits.is_some() {
                break;
            } else if self.asked.is_some() {
                if !self.ask_on(poll, index, servers, known)? {
                    break;
                }
            } else if self.output.is_empty() {
                read(&self.socket, &mut self.input)?;
                let Some(message) = whole(&self.input).map(<[u8]>::to_vec) else { break };
                self.input.drain(..2 + message.len());
                match answer::reply(&message, false, known) {
                    Reply::Say(said) => self.output = framed(&said),
                    Reply::Forward => {
                        self.question = message;
                        self.outside(poll, index, servers, 0)?;
                    }
                    Reply::Nothing => return Err(Gone),
                }
            } else {
                let sent = write(&self.socket, &self.output)?;
                self.output.drain(..sent);
                if !self.output.is_empty() {
                    break;
                }
            }
        }
        let wanted = match (&self.asked, self.output.is_empty()) {
            _ if self.waits.is_some() => epoll::EventFlags::empty(),
            (Some(_), _) => epoll::EventFlags::empty(),
            // One that has asked again already can be written to, which is the next turn.
            (None, true) if whole(&self.input).is_some() => epoll::EventFlags::OUT,
            (None, true) => epoll::EventFlags::IN,
            (None, false) => epoll::EventFlags::OUT,
        };
        epoll::modify(poll, self.socket.as_fd(), About::Client(index).data(), wanted).map_err(|_| Gone)
    }

    /// Asks the next server that can be asked.
    fn outside(&mut self, poll: &OwnedFd, index: u32, servers: &[SocketAddr], from: usize) -> Result<(), Gone> {
        for (tries, server) in servers.iter().enumerate().skip(from) {
            let Ok(socket) = connected(server, SocketType::STREAM) else { continue };
            let flags = epoll::EventFlags::OUT;
            epoll::add(poll, socket.as_fd(), About::Server(index).data(), flags).map_err(|_| Gone)?;
            let question = framed(&answer::with_number(&self.question, any_number()));
            self.asked = Some(Asked { socket, question, sent: 0, answer: Vec::new(), tries });
            return Ok(());
        }
        self.asked = None;
        if let Reply::Say(said) = answer::failure(&self.question, RCODE::ServerFailure) {
            self.output = framed(&said);
        }
        Ok(())
    }

    /// Whether there is something new to do.
    fn ask_on(
        &mut self,
        poll: &OwnedFd,
        index: u32,
        servers: &[SocketAddr],
        known: &mut dyn Known,
    ) -> Result<bool, Gone> {
        let Some(asked) = self.asked.as_mut() else { return Ok(true) };
        let rest = asked.question.get(asked.sent..).unwrap_or_default();
        let done = if rest.is_empty() {
            read(&asked.socket, &mut asked.answer)
        } else {
            // While it is being connected nothing can be sent.
            write(&asked.socket, rest).map(|sent| asked.sent += sent)
        };
        if done.is_err() {
            let tries = asked.tries + 1;
            self.outside(poll, index, servers, tries)?;
            return Ok(true);
        }
        if let Some(message) = whole(&asked.answer) {
            let right = asked.question.get(2..).is_some_and(|q| answer::answers(message, q));
            let number = answer::number(&self.question).unwrap_or_default();
            let (said, tries) = (framed(&answer::with_number(message, number)), asked.tries + 1);
            if right {
                match known.wait(message) {
                    Some(number) => self.waits = Some((number, said)),
                    None => self.output = said,
                }
                self.asked = None;
            } else {
                self.outside(poll, index, servers, tries)?;
            }
            return Ok(true);
        }
        let sent = asked.sent == asked.question.len();
        let wanted = if sent { epoll::EventFlags::IN } else { epoll::EventFlags::OUT };
        epoll::modify(poll, asked.socket.as_fd(), About::Server(index).data(), wanted).map_err(|_| Gone)?;
        Ok(false)
    }
}

impl Clients {
    /// Lets in who waits. When there are too many, the one that has been silent longest goes. False when there are no
    /// descriptors for more.
    pub(super) fn accept(&mut self, poll: &OwnedFd, listener: &TcpListener) -> bool {
        for _ in 0..TURNS {
            let socket = match rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => return false,
                Err(_) => return true,
            };
            if self.all.len() >= MOST
                && let Some(oldest) = self.all.iter().min_by_key(|(_, c)| c.until).map(|(index, _)| *index)
            {
                self.all.remove(&oldest);
            }
            let index = self.next;
            self.next = self.next.wrapping_add(1);
            if epoll::add(poll, socket.as_fd(), About::Client(index).data(), epoll::EventFlags::IN).is_ok() {
                let (input, output, question, asked, waits) = (Vec::new(), Vec::new(), Vec::new(), None, None);
                let until = Instant::now() + PATIENCE;
                self.all.insert(index, Client { socket, input, output, question, waits, asked, until });
            }
        }
        true
    }

    /// Something is ready for a client, on its side or the server's; or it has gone.
    pub(super) fn ready(
        &mut self,
        poll: &OwnedFd,
        (index, gone): (u32, bool),
        servers: &[SocketAddr],
        known: &mut dyn Known,
    ) {
        let Some(client) = self.all.get_mut(&index) else { return };
        client.until = Instant::now() + PATIENCE;
        if gone || client.go_on(poll, index, servers, known).is_err() {
            self.all.remove(&index);
        }
    }

    /// The client whose answer waited under this number.
    pub(super) fn waited(&mut self, number: u32) -> Option<u32> {
        let is_it = |client: &Client| client.waits.as_ref().is_some_and(|(own, _)| *own == number);
        let (index, client) = self.all.iter_mut().find(|(_, client)| is_it(client))?;
        client.output = client.waits.take()?.1;
        Some(*index)
    }

    /// Whoever was silent too long goes.
    pub(super) fn late(&mut self) {
        let now = Instant::now();
        self.all.retain(|_, client| client.until > now);
    }

    /// When the next one has been silent too long.
    pub(super) fn until(&self) -> Option<Instant> {
        self.all.values().map(|client| client.until).min()
    }
}
