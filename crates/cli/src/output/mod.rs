//! What commands print: columns, templates, JSON, and words for people.

pub mod binary;
pub mod columns;
pub mod escape;
pub mod human;
pub mod progress;
pub mod template;
pub mod transfer;

use std::io::{ErrorKind, IsTerminal, Write};

use crate::error::{BROKEN_PIPE, CliError};

/// Writes `text` to standard output as it is.
///
/// # Errors
///
/// A quiet one when the reader went away; the system's answer otherwise.
pub fn raw(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| failed(&error))
}

/// Writes one piece of text and a line end; on a terminal, control characters in it are made visible.
///
/// # Errors
///
/// As [`raw`].
pub fn line(text: &str) -> Result<(), CliError> {
    let mut text = if std::io::stdout().is_terminal() { escape::lines(text).into_owned() } else { text.to_owned() };
    text.push('\n');
    raw(text.as_bytes())
}

/// Writes one line to standard error, for people; control characters are made visible.
pub fn note(text: &str) {
    let text = escape::cell(text);
    // Nobody may be listening.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Writes text of several lines; on a terminal, control characters but line ends and tabs are made visible.
///
/// # Errors
///
/// As [`raw`].
pub fn text(text: &str) -> Result<(), CliError> {
    if std::io::stdout().is_terminal() { raw(escape::lines(text).as_bytes()) } else { raw(text.as_bytes()) }
}

/// What a failed write to standard output means.
pub(crate) fn failed(error: &std::io::Error) -> CliError {
    match error.kind() {
        ErrorKind::BrokenPipe => CliError::quiet(BROKEN_PIPE),
        _ => CliError::failed(format!("cannot write to standard output: {error}")),
    }
}

/// Columns of the terminal that standard output is, or 110.
pub fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|s| usize::from(s.ws_col)).filter(|columns| *columns > 0).unwrap_or(110)
}
