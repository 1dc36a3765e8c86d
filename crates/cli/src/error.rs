//! Errors of the command line: one sentence, maybe a hint, and an exit code.

use std::io::Write;

use crate::output::escape;

/// Exit code of an engine error for all commands but `run`.
pub const FAILED: u8 = 1;
/// Exit code of a wrong flag, and of `run` when the engine failed.
pub const USAGE: u8 = 125;
/// Exit code when the reader of our output went away: 128 + SIGPIPE, as a shell reports it.
pub const BROKEN_PIPE: u8 = 141;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// One sentence without a final period; empty to print nothing.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Exit code of the process.
    pub code: u8,
}

impl CliError {
    /// A mistake on the command line; exit code 125.
    pub fn usage(message: impl Into<String>) -> CliError {
        CliError { message: message.into(), hint: None, code: USAGE }
    }

    /// A failure of the engine; exit code 1.
    pub fn failed(message: impl Into<String>) -> CliError {
        CliError { message: message.into(), hint: None, code: FAILED }
    }

    /// A flag's value that cannot be used: which, what, and what would be accepted.
    pub fn invalid(flag: &str, value: &str, needed: impl std::fmt::Display) -> CliError {
        CliError::usage(format!("invalid value {value:?} for {flag}: {needed}"))
    }

    /// An exit without a word, because the user knows already.
    pub fn quiet(code: u8) -> CliError {
        CliError { message: String::new(), hint: None, code }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> CliError {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with another exit code.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> CliError {
        self.code = code;
        self
    }

    /// An error of a lower layer with everything it was caused by: `a: b: c`; exit code 1.
    pub fn chain(error: &dyn std::error::Error) -> CliError {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        CliError::failed(message)
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

/// Prints the error on stderr: the one place that does.
pub fn print(error: &CliError) {
    if error.message.is_empty() {
        return;
    }
    // Names in messages come from images and users; they must not drive the terminal.
    let mut text = format!("bulkhead: {}\n", escape::lines(&error.message));
    if let Some(hint) = &error.hint {
        text.push_str(&format!("hint: {}\n", escape::lines(hint)));
    }
    // When stderr is gone there is nobody left to tell.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_value_names_flag_value_and_what_is_needed() {
        let error = CliError::invalid("--memory", "12q", "a size like 512m or 2g is needed");
        assert_eq!(error.to_string(), "invalid value \"12q\" for --memory: a size like 512m or 2g is needed");
        assert_eq!(error.code, 125);
    }

    #[test]
    fn a_chain_says_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read")]
        struct Outer(#[source] std::io::Error);
        let error = CliError::chain(&Outer(std::io::Error::other("disk on fire")));
        assert_eq!(error.to_string(), "cannot read: disk on fire");
    }
}
