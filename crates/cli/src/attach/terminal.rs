//! Our own terminal: raw while a program in the container uses it, and its size.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::AttachError;

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The size of the terminal behind `fd`; `None` when it is no terminal or does not know.
pub fn window_size(fd: BorrowedFd<'_>) -> Option<Size> {
    let size = tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Keeps a terminal raw; the drop restores what was before.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
    raw: Termios,
}

impl RawMode {
    /// Sets the terminal behind `fd` raw; `None` when it is no terminal.
    ///
    /// # Errors
    ///
    /// The terminal refuses.
    pub fn enter(fd: BorrowedFd<'_>) -> Result<Option<RawMode>, AttachError> {
        if !isatty(fd) {
            return Ok(None);
        }
        // A copy, so that the drop still reaches the terminal when the original was closed.
        let terminal = fd.try_clone_to_owned().map_err(AttachError::Terminal)?;
        let before = tcgetattr(&terminal).map_err(|errno| AttachError::Terminal(errno.into()))?;
        let mut raw = before.clone();
        raw.make_raw();
        let mode = RawMode { terminal, before, raw };
        mode.again()?;
        Ok(Some(mode))
    }

    /// Sets it raw again, after the shell had it: we were stopped and continued.
    ///
    /// # Errors
    ///
    /// The terminal refuses.
    pub fn again(&self) -> Result<(), AttachError> {
        let set = tcsetattr(&self.terminal, OptionalActions::Now, &self.raw);
        set.map_err(|errno| AttachError::Terminal(errno.into()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        tcsetattr(&self.terminal, OptionalActions::Now, &self.before).unwrap_or_default();
    }
}
