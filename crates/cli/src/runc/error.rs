//! Why a command of the OCI command line failed: one chain of causes, and an exit code.

use std::fmt::Display;

use crate::error::{CliError, FAILED};

/// Exit code of `exec` where it failed itself: the program's own codes are below.
pub const EXEC_FAILED: u8 = 255;

/// A failure, as `a: b: c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuncError {
    /// The chain without a final period; empty to print nothing.
    pub message: String,
    /// Exit code of the process.
    pub code: u8,
    /// The program's own failure to begin: where no log is kept it is a line by itself, as programs write one.
    pub plain: bool,
}

impl RuncError {
    /// A failure with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: FAILED, plain: false }
    }

    /// There is no such container, in the words by which callers know it.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new("container does not exist")
    }

    /// Whether it is [`RuncError::unknown`].
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::unknown()
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same below what was tried: `what: message`.
    #[must_use]
    pub fn during(mut self, what: impl Display) -> Self {
        if !self.message.is_empty() {
            self.message = format!("{what}: {}", self.message);
        }
        self
    }

    /// An error of a lower layer with everything it was caused by.
    pub fn chain(error: &dyn std::error::Error) -> Self {
        let mut message = words(&error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {}", words(&cause.to_string()));
            source = cause.source();
        }
        Self::new(message)
    }
}

/// What the kernel says, as callers look for it: without its number, and not as the beginning of a sentence.
fn words(cause: &str) -> String {
    let Some((said, _)) = cause.rsplit_once(" (os error ") else { return cause.to_owned() };
    let (before, last) = said.rsplit_once(": ").map_or(("", said), |(before, last)| (before, last));
    let mut letters = last.chars();
    let first = letters.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
    let between = if before.is_empty() { "" } else { ": " };
    format!("{before}{between}{first}{}", letters.as_str())
}

impl Display for RuncError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for RuncError {}

impl From<CliError> for RuncError {
    fn from(error: CliError) -> Self {
        let message = match error.hint {
            Some(hint) => format!("{} ({hint})", error.message),
            None => error.message,
        };
        Self { message, code: error.code, plain: false }
    }
}

/// What was tried, put before an error of a lower layer.
pub trait During<T> {
    /// `what: error: its causes`.
    ///
    /// # Errors
    ///
    /// The error, where there is one.
    fn during(self, what: impl Display) -> Result<T, RuncError>;

    /// As [`During::during`]; `what` is asked only when there is one.
    ///
    /// # Errors
    ///
    /// The error, where there is one.
    fn during_with<D: Display>(self, what: impl FnOnce() -> D) -> Result<T, RuncError>;
}

impl<T, E: std::error::Error + 'static> During<T> for Result<T, E> {
    fn during(self, what: impl Display) -> Result<T, RuncError> {
        self.map_err(|error| RuncError::chain(&error).during(what))
    }

    fn during_with<D: Display>(self, what: impl FnOnce() -> D) -> Result<T, RuncError> {
        self.map_err(|error| RuncError::chain(&error).during(what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_make_one_chain() {
        let failed: Result<(), _> = Err(std::io::Error::other("disk on fire"));
        let error = failed.during("read the config").during("create").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code), ("create: read the config: disk on fire", 1));
        assert_eq!(RuncError::new("").during("quiet"), RuncError::new(""));
        let gone = std::io::Error::from_raw_os_error(2);
        assert_eq!(RuncError::chain(&gone).message, "no such file or directory");
        assert_eq!(words("open \"/A\": Is a directory (os error 21)"), "open \"/A\": is a directory");
        assert_eq!(words("No such luck"), "No such luck");
        assert_eq!(RuncError::from(CliError::quiet(141)), RuncError::new("").with_code(141));
    }
}
