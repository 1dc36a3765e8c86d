//! A connection to a message bus: `EXTERNAL` authentication, calls and signals, one after the other.

use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::wire::{self, Message, Value, WireError};

/// How long the bus and systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of a line of the authentication.
const MOST_LINE: usize = 1024;

/// What systemd was asked for and did not do.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No bus can be reached.
    #[error("cannot reach the bus of systemd at {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Neither variable says where the user's bus is.
    #[error("the user's bus is not known; set DBUS_SESSION_BUS_ADDRESS, or log in so that XDG_RUNTIME_DIR has one")]
    NoAddress,
    /// The connection broke.
    #[error("the bus of systemd does not answer: {0}")]
    Io(#[from] std::io::Error),
    /// What came back cannot be read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It does not let this user in.
    #[error("the bus refuses this user: {0:?}")]
    Refused(String),
    /// A call was answered with an error.
    #[error("systemd refuses {call}: {message} ({name})")]
    Call {
        /// Method.
        call: String,
        /// Name of the error.
        name: String,
        /// Its text.
        message: String,
    },
    /// A job ended otherwise than it should.
    #[error("systemd's job for {unit} ended with {result:?}")]
    Job {
        /// The unit.
        unit: String,
        /// `failed`, `canceled`, `timeout`, …
        result: String,
    },
}

/// A connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Message>,
    deadline: Instant,
}

/// Where the user's bus is, from the environment.
fn user_address() -> Result<String, BusError> {
    let variable = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
    let runtime = || Some(format!("unix:path={}/bus", variable("XDG_RUNTIME_DIR")?));
    variable("DBUS_SESSION_BUS_ADDRESS").or_else(runtime).ok_or(BusError::NoAddress)
}

/// `%2f` and its kin.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut digits = || -> Option<u8> {
            let pair = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()
        };
        out.push(if byte == b'%' { digits().unwrap_or(b'%') } else { byte });
    }
    out
}

/// Connects to the first of `unix:path=…,guid=…;unix:abstract=…` that answers.
fn connect(address: &str) -> Result<UnixStream, std::io::Error> {
    use std::os::unix::ffi::OsStrExt as _;
    let unknown = || std::io::Error::other("only unix:path= and unix:abstract= are understood");
    let mut last = unknown();
    for one in address.split(';') {
        let Some(options) = one.strip_prefix("unix:") else { continue };
        for option in options.split(',') {
            let result = match option.split_once('=') {
                Some(("path", path)) => UnixStream::connect(Path::new(std::ffi::OsStr::from_bytes(&unescape(path)))),
                Some(("abstract", name)) => SocketAddr::from_abstract_name(unescape(name))
                    .and_then(|address| UnixStream::connect_addr(&address)),
                _ => continue,
            };
            match result {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
    }
    Err(last)
}

/// Connects to the bus at an address.
pub(super) fn open_at(address: &str) -> Result<Bus, BusError> {
    Bus::of(connect(address).map_err(|source| BusError::Connect { address: address.to_owned(), source })?)
}

impl Bus {
    /// Connects to the bus of the host's systemd, or of the user's.
    ///
    /// # Errors
    /// When there is none, or it refuses this user.
    pub fn open(user: bool) -> Result<Self, BusError> {
        const SYSTEM: &str = "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket";
        let address = if user { user_address()? } else { SYSTEM.to_owned() };
        open_at(&address)
    }

    /// Over a connection that is there.
    ///
    /// # Errors
    /// When the other side refuses this user.
    pub fn of(stream: UnixStream) -> Result<Self, BusError> {
        let mut bus = Self { stream, serial: 0, signals: Vec::new(), deadline: Instant::now() + PATIENCE };
        // No identity is named: in a user namespace the id is another than the bus sees, and it asks the kernel anyhow.
        bus.send(b"\0AUTH EXTERNAL\r\n")?;
        let mut line = bus.line()?;
        if line.starts_with("DATA") {
            bus.send(b"DATA\r\n")?;
            line = bus.line()?;
        }
        if !line.starts_with("OK") {
            return Err(BusError::Refused(line));
        }
        bus.send(b"BEGIN\r\n")?;
        bus.call(&BUS, "Hello", vec![])?;
        Ok(bus)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        self.stream.set_write_timeout(Some(PATIENCE))?;
        Ok(self.stream.write_all(bytes)?)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BusError> {
        let mut done = 0;
        while done < buffer.len() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(buffer.get_mut(done..).unwrap_or_default()) {
                Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, BusError> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            if line.len() > MOST_LINE {
                return Err(BusError::Refused("a line without end".to_owned()));
            }
            self.fill(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn receive(&mut self) -> Result<Message, BusError> {
        let mut start = [0; 16];
        self.fill(&mut start)?;
        let size = Message::size(&start)?;
        let mut bytes = start.to_vec();
        bytes.resize(size, 0);
        self.fill(bytes.get_mut(16..).unwrap_or_default())?;
        Ok(Message::decode(&bytes)?)
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// The answer, where it is an error.
    pub(super) fn call(&mut self, to: &Target, method: &str, body: Vec<Value>) -> Result<Vec<Value>, BusError> {
        self.deadline = Instant::now() + PATIENCE;
        self.serial += 1;
        let serial = self.serial;
        let fields = [
            (wire::PATH, Value::Path(to.path.into())),
            (wire::INTERFACE, Value::Str(to.interface.into())),
            (wire::MEMBER, Value::Str(method.into())),
            (wire::DESTINATION, Value::Str(to.name.into())),
        ];
        let message = Message { kind: wire::CALL, serial, fields: fields.into(), body };
        self.send(&message.encode())?;
        loop {
            let message = self.receive()?;
            let answers = message.fields.get(&wire::REPLY_SERIAL) == Some(&Value::U32(serial));
            match message.kind {
                wire::REPLY if answers => return Ok(message.body),
                wire::ERROR if answers => {
                    return Err(BusError::Call {
                        call: method.to_owned(),
                        name: message.field(wire::ERROR_NAME).unwrap_or_default().to_owned(),
                        message: message.body.first().and_then(Value::text).unwrap_or_default().to_owned(),
                    });
                }
                wire::SIGNAL => self.keep(message),
                _ => {}
            }
        }
    }

    fn keep(&mut self, signal: Message) {
        // Enough for every job that ends while one is begun.
        const MOST: usize = 4096;
        if self.signals.len() < MOST {
            self.signals.push(signal);
        }
    }

    /// The arguments of the first signal of this name of which `wanted` holds.
    ///
    /// # Errors
    /// When it does not come in time.
    pub(super) fn signal(&mut self, member: &str, wanted: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>, BusError> {
        self.deadline = Instant::now() + PATIENCE;
        loop {
            let message = match self.signals.is_empty() {
                true => self.receive()?,
                false => self.signals.remove(0),
            };
            if message.kind == wire::SIGNAL && message.field(wire::MEMBER) == Some(member) && wanted(&message.body) {
                return Ok(message.body);
            }
        }
    }
}

/// An object of a service.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

/// The bus itself.
pub(super) const BUS: Target =
    Target { name: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };
