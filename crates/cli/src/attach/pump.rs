//! The poll loop between standard streams, signals and the monitor's socket.
//!
//! The descriptors of standard input and output are shared with whoever started us, so `O_NONBLOCK` is never set on
//! them: a write follows only a poll that promised room, and is short enough to fit it. The socket is ours; it is used
//! with `MSG_DONTWAIT`. When one side does not read, the other is no longer read from: nothing is buffered without end.

use std::os::fd::{AsFd, BorrowedFd};

use bulkhead_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::detach::Detach;
use super::frame::{Decoder, Event, Failure, FrameError, Kind, encode};
use super::terminal::{RawMode, window_size};
use super::{AttachError, PumpEnd, PumpOptions, SIGCONT, SIGWINCH};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Input that may wait for the monitor before we stop reading more.
const WAITING: usize = 128 << 10;
/// A pipe or terminal that polls as writable takes this much without blocking (`PIPE_BUF`).
const SHORT: usize = 4096;

/// The three standard streams.
#[derive(Debug, Clone, Copy)]
pub struct Streams<'a> {
    /// Read from.
    pub stdin: BorrowedFd<'a>,
    /// Written to.
    pub stdout: BorrowedFd<'a>,
    /// Written to.
    pub stderr: BorrowedFd<'a>,
}

/// [`super::pump`] with every descriptor as an argument.
///
/// # Errors
///
/// As [`super::pump`].
pub fn pump_on(
    socket: BorrowedFd<'_>,
    streams: &Streams<'_>,
    signals: Option<&SignalFd>,
    options: &PumpOptions,
) -> Result<PumpEnd, AttachError> {
    let raw = if options.tty && options.stdin { RawMode::enter(streams.stdin)? } else { None };
    let mut pump = Pump {
        socket,
        streams: *streams,
        signals,
        options,
        raw,
        detach: Detach::new(if options.tty { &options.detach_keys } else { &[] }),
        decoder: Decoder::default(),
        received: vec![0; CHUNK],
        start: 0,
        end: 0,
        output: None,
        outgoing: Vec::new(),
        sent: 0,
        peer_reads: true,
        stdin_open: options.stdin,
        stderr_open: true,
        files: (is_file(streams.stdout), is_file(streams.stderr)),
        detached: false,
    };
    if options.tty {
        pump.send_size();
    }
    loop {
        if let Some(end) = pump.turn()? {
            return Ok(end);
        }
    }
}

/// Output at the start of the received bytes that waits to be written.
#[derive(Clone, Copy)]
struct Output {
    stderr: bool,
    left: usize,
}

struct Pump<'a> {
    socket: BorrowedFd<'a>,
    streams: Streams<'a>,
    signals: Option<&'a SignalFd>,
    options: &'a PumpOptions,
    /// Restores the terminal when the pump is dropped.
    raw: Option<RawMode>,
    detach: Detach,
    decoder: Decoder,
    /// Bytes from the socket; `start..end` are not yet handled.
    received: Vec<u8>,
    start: usize,
    end: usize,
    output: Option<Output>,
    /// Frames for the monitor; those before `sent` are gone.
    outgoing: Vec<u8>,
    sent: usize,
    peer_reads: bool,
    stdin_open: bool,
    stderr_open: bool,
    /// Whether standard output and standard error are regular files.
    files: (bool, bool),
    detached: bool,
}

/// Which descriptors became ready.
#[derive(Default)]
struct Ready {
    receive: bool,
    send: bool,
    stdin: bool,
    output: bool,
    signal: bool,
}

impl Pump<'_> {
    /// Handles what was received, waits, and does what became possible.
    fn turn(&mut self) -> Result<Option<PumpEnd>, AttachError> {
        if let Some(end) = self.decode()? {
            return Ok(Some(end));
        }
        // Nothing left to tell the monitor, or nobody to tell it to.
        if self.detached && self.outgoing.is_empty() {
            return Ok(Some(PumpEnd::Detached));
        }
        let ready = self.wait()?;
        if ready.signal
            && let Some(end) = self.signal()?
        {
            return Ok(Some(end));
        }
        if ready.output
            && let Some(end) = self.write_output()?
        {
            return Ok(Some(end));
        }
        if ready.stdin {
            self.read_stdin();
        }
        if ready.send {
            self.send()?;
        }
        if ready.receive { self.receive() } else { Ok(None) }
    }

    /// Handles received bytes up to output that has to be written first.
    fn decode(&mut self) -> Result<Option<PumpEnd>, AttachError> {
        while self.output.is_none() && self.start < self.end {
            let bytes = self.received.get(self.start..self.end).unwrap_or_default();
            let (taken, event) = self.decoder.next(bytes)?;
            self.start += taken;
            match event {
                Event::More | Event::Output { length: 0, .. } => {}
                Event::Output { stderr, length } => self.output = Some(Output { stderr, left: length }),
                Event::Control(kind, payload) => {
                    if let Some(end) = control(kind, &payload)? {
                        return Ok(Some(end));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Polls for everything that can be used now. A descriptor that cannot be used is left out: a closed peer would
    /// wake us for ever.
    fn wait(&self) -> Result<Ready, AttachError> {
        let mut fds = Vec::with_capacity(4);
        let mut socket = PollFlags::empty();
        socket.set(PollFlags::IN, self.output.is_none());
        socket.set(PollFlags::OUT, !self.outgoing.is_empty());
        if !socket.is_empty() {
            fds.push((Source::Socket, PollFd::from_borrowed_fd(self.socket, socket)));
        }
        if self.stdin_open && self.outgoing.len() < WAITING {
            fds.push((Source::Stdin, PollFd::from_borrowed_fd(self.streams.stdin, PollFlags::IN)));
        }
        if let Some(output) = self.output {
            fds.push((Source::Output, PollFd::from_borrowed_fd(self.target(output), PollFlags::OUT)));
        }
        if let Some(signals) = self.signals {
            fds.push((Source::Signal, PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)));
        }
        let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) = fds.into_iter().unzip();
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(errno) => return Err(AttachError::Wait(errno.into())),
        }
        let mut ready = Ready::default();
        for (source, fd) in sources.iter().zip(&fds) {
            let events = fd.revents();
            // An error or a hang-up shows itself in the call that follows.
            let broken = events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
            match source {
                Source::Socket => {
                    ready.receive = socket.contains(PollFlags::IN) && (broken || events.contains(PollFlags::IN));
                    ready.send = socket.contains(PollFlags::OUT) && (broken || events.contains(PollFlags::OUT));
                }
                Source::Stdin => ready.stdin = !events.is_empty(),
                Source::Output => ready.output = !events.is_empty(),
                Source::Signal => ready.signal = !events.is_empty(),
            }
        }
        Ok(ready)
    }

    fn target(&self, output: Output) -> BorrowedFd<'_> {
        if output.stderr { self.streams.stderr } else { self.streams.stdout }
    }

    fn signal(&mut self) -> Result<Option<PumpEnd>, AttachError> {
        let Some(signals) = self.signals else { return Ok(None) };
        while let Some(signal) = signals.read().map_err(|errno| AttachError::Signals(errno.into()))? {
            match signal {
                SIGWINCH => self.send_size(),
                SIGCONT => {
                    if let Some(raw) = &self.raw {
                        raw.again()?;
                    }
                    self.send_size();
                }
                signal if self.options.forward_signals => {
                    if let Ok(number) = u8::try_from(signal) {
                        self.queue(Kind::Signal, &[number]);
                    }
                }
                signal => return Ok(Some(PumpEnd::Interrupted(signal))),
            }
        }
        Ok(None)
    }

    fn send_size(&mut self) {
        let size = window_size(self.streams.stdout).or_else(|| window_size(self.streams.stdin));
        if let Some(size) = size {
            let ([a, b], [c, d]) = (size.rows.to_le_bytes(), size.columns.to_le_bytes());
            self.queue(Kind::Resize, &[a, b, c, d]);
        }
    }

    fn queue(&mut self, kind: Kind, payload: &[u8]) {
        if self.peer_reads {
            encode(kind, payload, &mut self.outgoing);
        }
    }

    fn write_output(&mut self) -> Result<Option<PumpEnd>, AttachError> {
        let Some(output) = self.output else { return Ok(None) };
        let target = self.target(output);
        let file = if output.stderr { self.files.1 } else { self.files.0 };
        let room = if file { output.left } else { output.left.min(SHORT) };
        let bytes = self.received.get(self.start..self.start + room).unwrap_or_default();
        let hidden = if output.stderr { self.options.hidden.1 || !self.stderr_open } else { self.options.hidden.0 };
        let written = if hidden { Ok(room) } else { rustix::io::write(target, bytes) };
        let written = match written {
            Ok(count) => count,
            // Somebody else made the description non-blocking: the next poll tells when to go on.
            Err(Errno::AGAIN | Errno::INTR) => 0,
            // Errors that nobody reads are dropped; without a reader of the output there is no use in going on.
            Err(Errno::PIPE | Errno::BADF) if output.stderr => {
                self.stderr_open = false;
                output.left
            }
            Err(Errno::PIPE) => return Ok(Some(PumpEnd::OutputClosed)),
            Err(errno) => return Err(AttachError::Output(errno.into())),
        };
        self.start += written;
        let left = output.left - written;
        self.output = (left > 0).then_some(Output { left, ..output });
        Ok(None)
    }

    fn read_stdin(&mut self) {
        let mut typed = vec![0; CHUNK];
        let count = match rustix::io::read(self.streams.stdin, &mut typed) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return,
            // A terminal that went away, or a descriptor that was never open: nothing more comes.
            Err(_) => 0,
        };
        if count == 0 {
            self.stdin_open = false;
            self.queue(Kind::StdinEnd, &[]);
            return;
        }
        typed.truncate(count);
        let (pass, complete) = self.detach.filter(&typed);
        if !pass.is_empty() {
            self.queue(Kind::Stdin, &pass);
        }
        if complete {
            self.queue(Kind::Detach, &[]);
            self.stdin_open = false;
            self.detached = true;
        }
    }

    fn send(&mut self) -> Result<(), AttachError> {
        let bytes = self.outgoing.get(self.sent..).unwrap_or_default();
        match rustix::net::send(self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => self.sent += count,
            Err(Errno::AGAIN | Errno::INTR) => {}
            // It may have said how the program ended before it closed: go on reading.
            Err(Errno::PIPE | Errno::CONNRESET) => {
                self.peer_reads = false;
                self.stdin_open = false;
                self.sent = self.outgoing.len();
            }
            Err(errno) => return Err(AttachError::Socket(errno.into())),
        }
        if self.sent >= self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        } else if self.sent >= CHUNK {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<PumpEnd>, AttachError> {
        // The decoder took everything, or the socket would not have been polled for reading.
        match rustix::net::recv(self.socket, self.received.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => {
                return Ok(Some(if self.detached { PumpEnd::Detached } else { PumpEnd::Lost }));
            }
            Ok((count, _)) => (self.start, self.end) = (0, count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(AttachError::Socket(errno.into())),
        }
        Ok(None)
    }
}

#[derive(Clone, Copy)]
enum Source {
    Socket,
    Stdin,
    Output,
    Signal,
}

/// What a frame that is no output means for us.
fn control(kind: Kind, payload: &[u8]) -> Result<Option<PumpEnd>, AttachError> {
    match kind {
        Kind::Started => Ok(None),
        Kind::Exited => {
            let code = <[u8; 4]>::try_from(payload).map_err(|_| FrameError::Payload(kind))?;
            Ok(Some(PumpEnd::Exited(u32::from_le_bytes(code))))
        }
        Kind::Error => {
            let failure: Failure = serde_json::from_slice(payload).map_err(|_| FrameError::Payload(kind))?;
            Ok(Some(PumpEnd::Failed(failure)))
        }
        // The monitor says that another client, or our own request, took the connection away.
        Kind::Detach => Ok(Some(PumpEnd::Detached)),
        other => Err(FrameError::Unexpected(other).into()),
    }
}

/// A regular file never blocks, whatever the length.
fn is_file(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}
