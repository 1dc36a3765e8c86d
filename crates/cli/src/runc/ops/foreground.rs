//! Waiting for a program: signals go to it, and the terminal is copied both ways.

use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sys::signal::{self, Ended, SignalFd};
use bulkhead_sys::{Errno, stdio};
use rustix::event::{PollFd, PollFlags, poll};

use crate::attach::{RawMode, window_size};
use crate::runc::error::{During, RuncError};

const CHLD: i32 = 17;
const WINCH: i32 = 28;
/// What cannot be caught, what the C library keeps for itself, and what the terminal says to who reads it.
const LEFT: [i32; 6] = [9, 19, 32, 33, 21, 22];

/// Waits for the program `pid` behind `pidfd`, a child of this process, and returns its exit code.
pub(super) fn wait(pid: i32, pidfd: OwnedFd, terminal: Option<OwnedFd>) -> Result<u8, RuncError> {
    let all: Vec<i32> = (1..=signal::LAST).filter(|s| !LEFT.contains(s)).collect();
    let signals = SignalFd::new(&all).during("receive signals")?;
    let stdin = rustix::stdio::stdin();
    let raw = match &terminal {
        Some(_) if std::io::stdin().is_terminal() => RawMode::enter(stdin.as_fd()).during("make the terminal raw")?,
        _ => None,
    };
    resize(terminal.as_ref());
    let mut copy = Copy { terminal, input: true };
    let mut collected = None;
    loop {
        let mut polled = vec![PollFd::new(&signals, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
        let (mut from_terminal, mut from_input) = (None, None);
        if let Some(terminal) = &copy.terminal {
            from_terminal = Some(polled.len());
            polled.push(PollFd::new(terminal, PollFlags::IN));
            if copy.input {
                from_input = Some(polled.len());
                polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
        }
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(RuncError::chain(&e).during("wait for the program")),
        }
        let ready = |at: Option<usize>| at.and_then(|at| polled.get(at)).is_some_and(|p| !p.revents().is_empty());
        let (output, input, ended, told) = (ready(from_terminal), ready(from_input), ready(Some(1)), ready(Some(0)));
        drop(polled);
        if output {
            copy.output();
        }
        if input {
            copy.input();
        }
        if told {
            pass_on(&signals, &pidfd, copy.terminal.as_ref())?;
            collected = collected.or_else(|| collect(pid));
        }
        if ended && !output {
            drop(raw);
            let ended = match collected {
                Some(ended) => ended,
                None => signal::wait(pidfd.as_fd()).during("wait for the program")?,
            };
            return Ok(u8::try_from(ended.code()).unwrap_or(255));
        }
    }
}

/// Our own terminal makes what it needs of a line's end; made twice, files would get what nobody wrote. Before the
/// program writes its first.
pub(super) fn leave_line_ends(terminal: impl AsFd) -> Result<(), RuncError> {
    let what = "set the container's terminal";
    let mut settings = rustix::termios::tcgetattr(&terminal).during(what)?;
    settings.output_modes.remove(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Now, &settings).during(what)
}

fn pass_on(signals: &SignalFd, pidfd: &OwnedFd, terminal: Option<&OwnedFd>) -> Result<(), RuncError> {
    while let Some(number) = signals.read().during("receive signals")? {
        match number {
            WINCH => resize(terminal),
            CHLD => {}
            // It may have ended this moment.
            number => signal::send(pidfd.as_fd(), number).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Collects whoever has ended, orphans that this process has adopted too; how the program ended, if it has.
fn collect(pid: i32) -> Option<Ended> {
    let mut program = None;
    while let Ok(Some((ended, how))) = signal::reap_any() {
        if ended == pid {
            program = Some(how);
        }
    }
    program
}

fn resize(terminal: Option<&OwnedFd>) {
    if let (Some(terminal), Some(size)) = (terminal, window_size(rustix::stdio::stdin())) {
        // A terminal whose other side is closed has no size.
        stdio::resize(terminal.as_fd(), size.rows, size.columns).unwrap_or_default();
    }
}

struct Copy {
    terminal: Option<OwnedFd>,
    input: bool,
}

impl Copy {
    /// From the program to our output; its end, or ours, ends the copying.
    fn output(&mut self) {
        let Some(terminal) = &self.terminal else { return };
        let mut buffer = [0; 16_384];
        match rustix::io::read(terminal, &mut buffer) {
            Ok(0) => self.terminal = None,
            Ok(read) => {
                if !all(rustix::stdio::stdout(), buffer.get(..read).unwrap_or_default()) {
                    self.terminal = None;
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // `EIO`: nobody has the other side open.
            Err(_) => self.terminal = None,
        }
    }

    fn input(&mut self) {
        const END_OF_FILE: u8 = 4;
        let Some(terminal) = &self.terminal else { return };
        let mut buffer = [0; 4096];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => {
                all(terminal.as_fd(), &[END_OF_FILE]);
                self.input = false;
            }
            Ok(read) => {
                all(terminal.as_fd(), buffer.get(..read).unwrap_or_default());
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.input = false,
        }
    }
}

fn all(to: impl AsFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
