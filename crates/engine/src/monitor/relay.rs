//! Moves bytes between a program's streams, its log and the command that is attached. One thread, one `poll`.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sys::{Errno, signal, stdio};
use rustix::event::{PollFd, PollFlags, poll};

use super::log::{LogWriter, Stream};
use crate::frame::{self, Decoder, kind};

/// Our side of the program's streams.
#[derive(Debug)]
pub(crate) enum Streams {
    /// Pipes: its input, output and error.
    Pipes {
        /// Closed at the end of input.
        input: Option<OwnedFd>,
        /// Its output.
        output: Option<OwnedFd>,
        /// Its error output.
        error: Option<OwnedFd>,
    },
    /// The master side of its terminal.
    Terminal(Option<OwnedFd>),
}

/// What is read at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// How the relay came to its end.
#[derive(Debug)]
pub(crate) struct Relay<'a> {
    streams: Streams,
    client: Option<OwnedFd>,
    decoder: Decoder,
    log: Option<&'a mut LogWriter>,
    /// Input that the program has not taken yet.
    backlog: Vec<u8>,
    input_ended: bool,
    /// The first failure to write the log; the program goes on.
    pub(crate) log_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Child,
    Client,
    Output,
    Error,
    Input,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(streams: Streams, client: Option<OwnedFd>, log: Option<&'a mut LogWriter>) -> Self {
        Self {
            streams,
            client,
            decoder: Decoder::default(),
            log,
            backlog: Vec::new(),
            input_ended: false,
            log_error: None,
        }
    }

    /// Runs until the program has ended and all it wrote was read. The program is not collected yet.
    pub(crate) fn run(&mut self, pidfd: &OwnedFd) -> Result<(), Errno> {
        let mut running = true;
        let mut chunk = vec![0_u8; CHUNK];
        while running || self.output_open() {
            let ready = match self.wait(running.then_some(pidfd)) {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
            };
            for (source, events) in ready {
                match source {
                    Source::Child => {
                        running = false;
                        self.end_input();
                    }
                    Source::Client => self.read_client(&mut chunk, pidfd),
                    Source::Output => self.read_program(Stream::Out, events, &mut chunk),
                    Source::Error => self.read_program(Stream::Err, events, &mut chunk),
                    Source::Input => self.write_program(),
                }
            }
        }
        Ok(())
    }

    /// Waits until something can be done, and says what.
    fn wait(&self, pidfd: Option<&OwnedFd>) -> Result<Vec<(Source, PollFlags)>, Errno> {
        let mut sources = Vec::with_capacity(5);
        let mut polled = Vec::with_capacity(5);
        let stuck = !self.backlog.is_empty();
        {
            let mut add = |source, fd, flags| {
                sources.push(source);
                polled.push(PollFd::from_borrowed_fd(fd, flags));
            };
            if let Some(fd) = pidfd {
                add(Source::Child, fd.as_fd(), PollFlags::IN);
            }
            if let Some(client) = &self.client {
                // While input is stuck the client waits too: nothing is buffered without bound.
                add(Source::Client, client.as_fd(), if stuck { PollFlags::empty() } else { PollFlags::IN });
            }
            match &self.streams {
                Streams::Pipes { input, output, error } => {
                    if let Some(fd) = output {
                        add(Source::Output, fd.as_fd(), PollFlags::IN);
                    }
                    if let Some(fd) = error {
                        add(Source::Error, fd.as_fd(), PollFlags::IN);
                    }
                    if let (Some(fd), true) = (input, stuck) {
                        add(Source::Input, fd.as_fd(), PollFlags::OUT);
                    }
                }
                Streams::Terminal(Some(fd)) => {
                    let flags = if stuck { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                    add(Source::Output, fd.as_fd(), flags);
                }
                Streams::Terminal(None) => {}
            }
        }
        poll(&mut polled, None)?;
        Ok(sources.into_iter().zip(&polled).map(|(s, p)| (s, p.revents())).filter(|(_, e)| !e.is_empty()).collect())
    }

    fn output_open(&self) -> bool {
        match &self.streams {
            Streams::Pipes { output, error, .. } => output.is_some() || error.is_some(),
            Streams::Terminal(master) => master.is_some(),
        }
    }

    /// The command that is attached, to be told the end. `None`: it went away.
    pub(crate) fn into_client(self) -> Option<OwnedFd> {
        self.client
    }

    fn read_program(&mut self, stream: Stream, events: PollFlags, chunk: &mut [u8]) {
        if events.contains(PollFlags::OUT) {
            self.write_program();
        }
        if !events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let slot = match (&mut self.streams, stream) {
            (Streams::Pipes { output, .. }, Stream::Out) => output,
            (Streams::Pipes { error, .. }, Stream::Err) => error,
            (Streams::Terminal(master), _) => master,
        };
        let Some(fd) = slot.as_ref() else { return };
        let read = match rustix::io::read(fd, &mut *chunk) {
            Ok(n) => n,
            Err(Errno::INTR | Errno::AGAIN) => return,
            // A terminal whose last user has gone says EIO instead of the end.
            Err(_) => 0,
        };
        if read == 0 {
            *slot = None;
            return;
        }
        let bytes = chunk.get(..read).unwrap_or_default();
        if let Some(log) = self.log.as_mut()
            && let Err(e) = log.push(stream, bytes)
            && self.log_error.is_none()
        {
            self.log_error = Some(e.to_string());
        }
        let kind = if stream == Stream::Err { kind::STDERR } else { kind::STDOUT };
        self.tell(kind, bytes);
    }

    /// Sends a frame to the attached command; one that does not listen is let go.
    fn tell(&mut self, kind: u8, payload: &[u8]) {
        if let Some(client) = &self.client
            && frame::write_all(client.as_fd(), &frame::encode(kind, payload)).is_err()
        {
            self.client = None;
        }
    }

    fn read_client(&mut self, chunk: &mut [u8], pidfd: &OwnedFd) {
        let Some(client) = &self.client else { return };
        match rustix::io::read(client, &mut *chunk) {
            Ok(n) if n > 0 => self.decoder.push(chunk.get(..n).unwrap_or_default()),
            Err(Errno::INTR | Errno::AGAIN) => return,
            Ok(_) | Err(_) => {
                self.client = None;
                self.end_input();
                return;
            }
        }
        loop {
            match self.decoder.next_frame() {
                Ok(Some((kind, payload))) => self.obey(kind, &payload, pidfd),
                Ok(None) => return,
                Err(_) => {
                    self.client = None;
                    return;
                }
            }
        }
    }

    fn obey(&mut self, kind: u8, payload: &[u8], pidfd: &OwnedFd) {
        match (kind, payload) {
            (kind::STDIN, bytes) => {
                self.backlog.extend_from_slice(bytes);
                self.write_program();
            }
            (kind::STDIN_END, _) => self.end_input(),
            (kind::RESIZE, &[a, b, c, d]) => {
                if let Streams::Terminal(Some(master)) = &self.streams {
                    let (rows, columns) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                    // A terminal that is gone has no size.
                    stdio::resize(master.as_fd(), rows, columns).unwrap_or_default();
                }
            }
            // A program that ended meanwhile needs no signal.
            (kind::SIGNAL, &[number]) => signal::send(pidfd.as_fd(), i32::from(number)).unwrap_or_default(),
            (kind::DETACH, _) => self.client = None,
            _ => {}
        }
    }

    /// Writes what the program takes without making us wait.
    fn write_program(&mut self) {
        let fd = match &self.streams {
            Streams::Pipes { input, .. } => input.as_ref(),
            Streams::Terminal(master) => master.as_ref(),
        };
        let Some(fd) = fd else {
            self.backlog.clear();
            return;
        };
        match rustix::io::write(fd, &self.backlog) {
            Ok(n) => drop(self.backlog.drain(..n)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The program has closed its input: what it does not want is dropped.
            Err(_) => {
                self.backlog.clear();
                self.input_ended = true;
            }
        }
        if self.input_ended && self.backlog.is_empty() {
            self.end_input();
        }
    }

    fn end_input(&mut self) {
        self.input_ended = true;
        if !self.backlog.is_empty() {
            return;
        }
        if let Streams::Pipes { input, .. } = &mut self.streams {
            *input = None;
        }
    }
}
