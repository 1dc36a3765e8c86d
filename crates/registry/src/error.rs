//! The one error type of the crate.

use std::io;
use std::path::PathBuf;

use bulkhead_image::ImageError;

/// Result with [`RegistryError`].
pub type Result<T> = std::result::Result<T, RegistryError>;

/// Why a registry was not asked, or its answer not taken.
///
/// Texts of a registry are escaped and shortened; no variant holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No answer.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the system or the other side said.
        reason: String,
    },
    /// An answer that did not come, or not all of it.
    #[error("the connection to {host} broke: {reason}")]
    Cut {
        /// Host and port.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// An encrypted connection that was not made.
    #[error("no trusted connection to {host}: {reason}")]
    Untrusted {
        /// Host and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// The registry does not let us.
    #[error("{host} denies access to {what}: {reason}")]
    Denied {
        /// Host and port.
        host: String,
        /// To what.
        what: String,
        /// Its words.
        reason: String,
        /// Whether credentials were sent.
        known: bool,
    },
    /// There is no such thing.
    #[error("{host} does not have {what}")]
    Missing {
        /// Host and port.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// Too many requests.
    #[error("{host} has had too many requests: {reason}")]
    Limited {
        /// Host and port.
        host: String,
        /// Its words, and when to come back.
        reason: String,
    },
    /// Another answer than the protocol has.
    #[error("{host} answered {status} to {what}{reason}")]
    Status {
        /// Host and port.
        host: String,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// Its words, with a colon before them.
        reason: String,
    },
    /// An answer that is not what it says it is, or breaks a limit.
    #[error("what {host} sent for {what} is refused: {reason}")]
    Lie {
        /// Host and port.
        host: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A place that is not gone to.
    #[error("{host} is not followed to {target}: {reason}")]
    Astray {
        /// Host and port that sent us.
        host: String,
        /// Where to.
        target: String,
        /// Why not.
        reason: String,
    },
    /// A document that is refused.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// A file of ours.
    #[error("cannot {what} {path:?}: {source}")]
    File {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Settings, variables or credential files that cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Settings {
        /// Which.
        what: String,
        /// Why, and what would be accepted.
        reason: String,
    },
    /// Another transfer failed first.
    #[error("the transfer was given up")]
    GivenUp,
}

impl RegistryError {
    pub(crate) fn lie(host: &str, what: &str, reason: impl Into<String>) -> Self {
        Self::Lie { host: host.to_owned(), what: what.to_owned(), reason: reason.into() }
    }

    pub(crate) fn settings(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Settings { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn file<E: Into<io::Error>>(what: &'static str, path: &std::path::Path) -> impl FnOnce(E) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { what, path, source: source.into() }
    }

    /// Whether the same may go well a moment later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Cut { .. } | Self::Limited { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500..=599),
            _ => false,
        }
    }

    /// Whether another place that has the same may be asked. What is wrong on our side is wrong there too.
    pub(crate) fn elsewhere(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Settings { .. } | Self::GivenUp)
    }

    /// What would help, where it is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { host, known: false, .. } => Some(format!("'bulkhead login {host}' tells who you are")),
            Self::Denied { host, .. } => {
                Some(format!("the credentials of {host} may be old: 'bulkhead login {host}'; or it does not exist"))
            }
            Self::Untrusted { host, .. } => Some(format!(
                "the certificate of its authority goes into /etc/bulkhead/certs.d/{host}/ca.crt; 'insecure' in the \
                 configuration takes plain HTTP"
            )),
            Self::Limited { host, .. } => Some(format!("those who log in may have more: 'bulkhead login {host}'")),
            Self::Missing { host, .. } => {
                Some(format!("is the name right? a private one needs 'bulkhead login {host}'"))
            }
            _ => None,
        }
    }
}

/// Longest text of a registry in an error, in characters.
const SHOWN: usize = 240;

/// Text from the other side, fit for an error.
pub(crate) fn show(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_cannot_drive_a_terminal_and_ends() {
        assert_eq!(show("a\x1b[2J\n"), "a\\u{1b}[2J\\n");
        assert!(show(&"x".repeat(10_000)).chars().count() < 250);
    }

    #[test]
    fn what_passes_is_tried_again_and_what_lies_is_not() {
        let status = |status| RegistryError::Status { host: "h".into(), what: "w".into(), status, reason: "".into() };
        assert!(status(503).passes() && status(500).passes() && !status(400).passes() && !status(404).passes());
        assert!(!RegistryError::lie("h", "w", "x").passes());
    }
}
