//! What `run` and `exec` share: an attached program, from the first byte to the exit code.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};

use crate::attach::{self, PumpEnd, PumpOptions};
use crate::error::{BROKEN_PIPE, CliError, FAILED, USAGE};

/// Refuses `-it` without a terminal before anything is started, as Docker does.
///
/// # Errors
///
/// Standard input is no terminal.
pub fn check_terminal(stdin: bool, tty: bool, detach: bool) -> Result<(), CliError> {
    if stdin && tty && !detach && !std::io::stdin().is_terminal() {
        let message = "cannot attach standard input to a container with a terminal (-t): it is not a terminal";
        return Err(CliError::usage(message).with_code(FAILED).with_hint("leave out -t, or leave out -i"));
    }
    Ok(())
}

/// Rows and columns of our terminal, for a program that gets one.
#[must_use]
pub fn size(tty: bool, detach: bool) -> Option<(u16, u16)> {
    let (stdout, stdin) = (std::io::stdout(), std::io::stdin());
    let found = attach::window_size(stdout.as_fd()).or_else(|| attach::window_size(stdin.as_fd()));
    found.filter(|_| tty && !detach).map(|size| (size.rows, size.columns))
}

/// How an attached program was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It ended with this code.
    Exited(u8),
    /// We went, it stays; with the exit code of our command.
    Left(u8),
    /// It could not be started (125, 126, 127).
    Unstarted(CliError),
}

impl End {
    /// Exit code of the command.
    ///
    /// # Errors
    ///
    /// Why it was not started.
    pub fn code(self) -> Result<u8, CliError> {
        match self {
            End::Exited(code) | End::Left(code) => Ok(code),
            End::Unstarted(error) => Err(error),
        }
    }
}

/// How a command is connected with a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Pass standard input on.
    pub stdin: bool,
    /// The program has a terminal.
    pub tty: bool,
    /// Show its output.
    pub stdout: bool,
    /// Show its errors.
    pub stderr: bool,
    /// Keys that leave it running; nothing for Docker's.
    pub keys: Option<Vec<u8>>,
    /// Pass signals on, instead of ending with them.
    pub forward_signals: bool,
}

impl Wish {
    /// All streams.
    #[must_use]
    pub fn whole(stdin: bool, tty: bool) -> Self {
        Self { stdin, tty, stdout: true, stderr: true, keys: None, forward_signals: true }
    }
}

/// Connects our streams with the program behind `socket`.
///
/// # Errors
///
/// The connection broke (125), which says nothing about the program.
pub fn attach(socket: OwnedFd, wish: &Wish, what: &str) -> Result<End, CliError> {
    let options = PumpOptions {
        stdin: wish.stdin,
        tty: wish.tty,
        forward_signals: wish.forward_signals,
        detach_keys: wish.keys.clone().map_or_else(crate::wire::detach_keys, Ok)?,
        hidden: (!wish.stdout, !wish.stderr),
    };
    let end = attach::pump(socket, &options).map_err(|error| CliError::chain(&error).with_code(USAGE))?;
    match end {
        // Exit codes of programs are 0 to 255; a larger number would be a fault of the monitor.
        PumpEnd::Exited(code) => Ok(End::Exited(u8::try_from(code).unwrap_or(u8::MAX))),
        PumpEnd::Detached => {
            // Docker's words; when stderr is gone there is nobody left to tell.
            drop(std::io::stderr().lock().write_all(b"read escape sequence\n"));
            Ok(End::Left(0))
        }
        PumpEnd::Failed(failure) => {
            let error = CliError { message: failure.message, hint: failure.hint, code: failure.exit.max(1) };
            Ok(End::Unstarted(error))
        }
        PumpEnd::Lost => {
            let message = format!("the connection to the monitor of {what} ended before {what} did");
            Err(CliError::usage(message).with_hint("'bulkhead ps -a' shows whether it still runs"))
        }
        PumpEnd::Interrupted(signal) => Ok(End::Left(u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX))),
        PumpEnd::OutputClosed => Ok(End::Left(BROKEN_PIPE)),
    }
}
