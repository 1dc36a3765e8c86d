//! The client's side of an attached container: our terminal and standard streams on one side, the stream socket of the
//! monitor on the other.
//!
//! ```text
//!  header: kind (u8), length (u32, little endian); then the payload, 1 MiB at most
//!
//!  0 stdin data   client → monitor      5 signal    u8, client → monitor
//!  1 stdout data  monitor → client      6 started   u32 pid
//!  2 stderr data  monitor → client      7 error     JSON {"message", "hint", "exit"}
//!  3 stdin ended  client → monitor      8 exited    u32 exit code
//!  4 resize       u16 rows, u16 columns 9 detach    client → monitor
//! ```

mod detach;
mod frame;
mod pump;
mod terminal;

#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sys::signal::SignalFd;

pub use frame::{Decoder, Event, Failure, FrameError, Kind, LIMIT, encode};
pub use pump::{Streams, pump_on};
pub use terminal::{RawMode, Size, window_size};

/// What the pump connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PumpOptions {
    /// Pass standard input on (`-i`).
    pub stdin: bool,
    /// The container has a terminal (`-t`): ours becomes raw, and changes of its size are passed on.
    pub tty: bool,
    /// Pass SIGINT, SIGTERM and the like on, instead of ending with them.
    pub forward_signals: bool,
    /// Keys that leave the container running; empty for none. Only looked for with `tty`.
    pub detach_keys: Vec<u8>,
    /// Whether output, and whether errors, are thrown away.
    pub hidden: (bool, bool),
}

impl PumpOptions {
    /// Docker's detach keys: ctrl-p, ctrl-q.
    pub const DETACH_KEYS: [u8; 2] = [0x10, 0x11];
}

/// How the connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PumpEnd {
    /// The program ended with this code (128 + signal when a signal ended it).
    Exited(u32),
    /// The detach keys were pressed; the container goes on.
    Detached,
    /// The monitor could not start the program.
    Failed(Failure),
    /// The monitor closed the connection without a word.
    Lost,
    /// This signal arrived and is not passed on; the container goes on.
    Interrupted(i32),
    /// The reader of our standard output went away; the container goes on.
    OutputClosed,
}

/// What the pump cannot go on after.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Waiting failed.
    #[error("cannot wait for the container's output")]
    Wait(#[source] std::io::Error),
    /// The socket to the monitor failed.
    #[error("cannot talk to the container's monitor")]
    Socket(#[source] std::io::Error),
    /// Our own standard output or standard error failed.
    #[error("cannot write the container's output")]
    Output(#[source] std::io::Error),
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals(#[source] std::io::Error),
    /// The terminal cannot be set.
    #[error("cannot set the terminal to raw mode")]
    Terminal(#[source] std::io::Error),
    /// The monitor speaks another language.
    #[error("the container's monitor sent what cannot be understood")]
    Frame(#[from] FrameError),
}

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGTERM: i32 = 15;
const SIGCONT: i32 = 18;
const SIGWINCH: i32 = 28;

/// Connects our standard streams, terminal and signals with the monitor until one side ends.
///
/// The terminal is raw meanwhile and restored before the return, whatever the reason. The signals stay blocked for this
/// thread afterwards, so a child started later has to unblock them. SIGPIPE is ignored by Rust's start-up code; SIGTSTP
/// keeps its default.
///
/// # Errors
///
/// Broken descriptors, and a monitor that breaks the protocol.
pub fn pump(socket: OwnedFd, options: &PumpOptions) -> Result<PumpEnd, AttachError> {
    let signals = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT, SIGWINCH];
    // Without a terminal, sizes and continuing mean nothing to us.
    let wanted = signals.get(..if options.tty { 8 } else { 6 }).unwrap_or(&signals);
    let signals = SignalFd::new(wanted).map_err(|errno| AttachError::Signals(errno.into()))?;
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = Streams { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
    pump_on(socket.as_fd(), &streams, Some(&signals), options)
}
