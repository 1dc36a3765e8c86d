//! Moves bytes between a program's streams, its log and the command that is attached. One thread, one `poll`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_sys::{Errno, signal, stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clients::{Clients, Door, Word};
use super::log::{LogWriter, Stream};
use super::watch::{Key, Watch};
use super::wiring::Wiring;
use crate::frame::kind;

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

/// Most bytes that are read of a program that has ended: far more than its pipes can hold.
const DRAIN: usize = 8 << 20;

/// Moves the bytes of one program.
#[derive(Debug)]
pub(crate) struct Relay<'a> {
    streams: Streams,
    clients: &'a mut Clients,
    watch: &'a mut Watch,
    /// Its networks, which can be changed.
    wiring: Option<Wiring<'a>>,
    log: Option<&'a mut LogWriter>,
    /// Input that the program has not taken yet.
    backlog: Vec<u8>,
    input_ended: bool,
    /// The end of one client's input is the end of the program's.
    input_once: bool,
    /// Somebody said that the container is to stay stopped.
    pub(crate) stopped: bool,
    /// The first failure to write the log; the program goes on.
    pub(crate) log_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Child,
    Door(Door),
    Watch(Key),
    /// The process that carries ports and answers for names.
    Helper,
    Output,
    Error,
    Input,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(
        streams: Streams,
        clients: &'a mut Clients,
        watch: &'a mut Watch,
        log: Option<&'a mut LogWriter>,
        input_once: bool,
    ) -> Self {
        Self {
            streams,
            clients,
            watch,
            wiring: None,
            log,
            backlog: Vec::new(),
            input_ended: false,
            input_once,
            stopped: false,
            log_error: None,
        }
    }

    /// With networks that can be changed.
    pub(crate) fn wired(mut self, wiring: Option<Wiring<'a>>) -> Self {
        self.wiring = wiring;
        self
    }

    /// Runs until the program has ended and all it wrote was read. The program is not collected yet.
    ///
    /// Its end is the end: a stream that somebody else still holds, because the program gave it away or left a child
    /// behind, is read as long as something comes at once, and never beyond a second or [`DRAIN`] bytes.
    pub(crate) fn run(&mut self, pidfd: &OwnedFd) -> Result<(), Errno> {
        let mut ended: Option<Instant> = None;
        let mut drained = 0;
        let mut chunk = vec![0_u8; CHUNK];
        while ended.is_none() || self.output_open() {
            let ready = match self.wait(ended.is_none().then_some(pidfd)) {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
            };
            if let Some(since) = ended {
                drained += CHUNK;
                if ready.is_empty() || drained > DRAIN || since.elapsed() > Duration::from_secs(1) {
                    return Ok(());
                }
            } else {
                self.watch.tick();
            }
            let mut doors = Vec::new();
            for (source, events) in ready {
                match source {
                    Source::Child => {
                        ended = Some(Instant::now());
                        self.end_input();
                    }
                    Source::Door(door) => doors.push((door, events)),
                    Source::Watch(key) => self.watch.ready(key),
                    Source::Helper => self.wiring.iter_mut().for_each(Wiring::hear),
                    Source::Output => self.read_program(Stream::Out, events, &mut chunk),
                    Source::Error => self.read_program(Stream::Err, events, &mut chunk),
                    Source::Input => self.write_program(),
                }
            }
            for word in self.clients.handle(&doors, &mut chunk) {
                self.obey(word, pidfd);
            }
        }
        Ok(())
    }

    /// Waits until something can be done, and says what.
    fn wait(&self, pidfd: Option<&OwnedFd>) -> Result<Vec<(Source, PollFlags)>, Errno> {
        let mut sources = Vec::with_capacity(8);
        let mut polled = Vec::with_capacity(8);
        let stuck = !self.backlog.is_empty();
        // A command that does not read holds the program back, as a pipe would; never the monitor.
        let listen = pidfd.is_none() || self.clients.listening();
        let mut timeout = Some(Duration::from_millis(100));
        {
            let mut add = |source, fd| {
                sources.push(source);
                polled.push(fd);
            };
            if let Some(fd) = pidfd {
                add(Source::Child, PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
                self.clients.polls(stuck, &mut |door, fd| add(Source::Door(door), fd));
                self.watch.polls(&mut |key, fd| add(Source::Watch(key), fd));
                for word in self.wiring.iter().flat_map(|w| w.live.words()) {
                    add(Source::Helper, PollFd::from_borrowed_fd(word, PollFlags::IN));
                }
                timeout = self.watch.timeout();
            }
            match &self.streams {
                Streams::Pipes { input, output, error } => {
                    if let (Some(fd), true) = (output, listen) {
                        add(Source::Output, PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
                    }
                    if let (Some(fd), true) = (error, listen) {
                        add(Source::Error, PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
                    }
                    if let (Some(fd), true) = (input, stuck) {
                        add(Source::Input, PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT));
                    }
                }
                Streams::Terminal(Some(fd)) => {
                    let mut flags = if listen { PollFlags::IN } else { PollFlags::empty() };
                    if stuck {
                        flags |= PollFlags::OUT;
                    }
                    // One that is hung up says so whatever was asked; it is read when the command listens again.
                    if listen || stuck {
                        add(Source::Output, PollFd::from_borrowed_fd(fd.as_fd(), flags));
                    }
                }
                Streams::Terminal(None) => {}
            }
        }
        poll(&mut polled, timeout.map(timespec).as_ref())?;
        Ok(sources.into_iter().zip(&polled).map(|(s, p)| (s, p.revents())).filter(|(_, e)| !e.is_empty()).collect())
    }

    fn output_open(&self) -> bool {
        match &self.streams {
            Streams::Pipes { output, error, .. } => output.is_some() || error.is_some(),
            Streams::Terminal(master) => master.is_some(),
        }
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
        self.clients.tell(kind, bytes);
    }

    fn obey(&mut self, word: Word, pidfd: &OwnedFd) {
        match word {
            Word::Input(bytes) => {
                self.backlog.extend_from_slice(&bytes);
                self.write_program();
            }
            Word::InputEnd if self.input_once => self.end_input(),
            Word::InputEnd => {}
            Word::Resize(rows, columns) => {
                if let Streams::Terminal(Some(master)) = &self.streams {
                    // A terminal that is gone has no size.
                    stdio::resize(master.as_fd(), rows, columns).unwrap_or_default();
                }
            }
            // A program that ended meanwhile needs no signal.
            Word::Signal(number) => signal::send(pidfd.as_fd(), number).unwrap_or_default(),
            Word::Stop => self.stopped = true,
            // One who has gone has taken it back.
            Word::Networks(client, _) if !self.clients.waits(client) => {}
            Word::Networks(client, order) => {
                let (kind, payload) = super::wiring::change(self.wiring.as_mut(), &order);
                self.clients.answer(client, kind, &payload);
            }
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

/// A length of time as `poll` takes it.
pub(super) fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};
    use std::process::{Command, Stdio};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    use super::{Clients, Relay, Streams, Watch};
    use crate::frame::{encode, kind, write_all};

    /// A command that leaves while it has frames to take must not leave its program blocked.
    #[test]
    fn a_program_goes_on_when_a_command_that_did_not_read_detaches() {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        while send(&ours, &[0; 4096], SendFlags::DONTWAIT).is_ok() {}
        let mut child =
            Command::new("sh").args(["-c", "head -c 400000 /dev/zero"]).stdout(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let output = Some(OwnedFd::from(child.stdout.take().unwrap()));
        let (done, finished) = channel();
        std::thread::spawn(move || {
            let mut clients = Clients::new(Some(ours), None);
            let mut watch = Watch::default();
            let streams = Streams::Pipes { input: None, output, error: None };
            let mut relay = Relay::new(streams, &mut clients, &mut watch, None, true);
            done.send(relay.run(&pidfd)).unwrap();
        });
        // The relay has something for the command by now, and no room to send it.
        std::thread::sleep(Duration::from_millis(200));
        write_all(theirs.as_fd(), &encode(kind::DETACH, &[])).unwrap();
        let ended = finished.recv_timeout(Duration::from_secs(20));
        child.kill().unwrap_or_default();
        child.wait().unwrap();
        assert_eq!(ended, Ok(Ok(())), "the program was held back by a command that is gone");
    }
}
