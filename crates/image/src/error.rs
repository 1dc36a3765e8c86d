//! The one error type of the crate.

use std::io;

use rustix::io::Errno;

/// Result with [`ImageError`].
pub type Result<T> = std::result::Result<T, ImageError>;

/// Why an image, an archive, a name or a configuration was not accepted.
///
/// Texts that come from the input are escaped and shortened, so that printing an error can not drive a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A limit of the [`Budget`](crate::Budget) was reached.
    #[error(
        "limit `{limit}` reached: at most {allowed} {unit} allowed; raise `{limit}` in the image budget if the source is trusted"
    )]
    Limit {
        /// Field of the budget.
        limit: &'static str,
        /// Its value, in `unit`.
        allowed: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// The archive is damaged, truncated, or in a form that is not accepted.
    #[error("archive refused at byte {offset}, entry {entry}: {reason}")]
    Archive {
        /// Offset in the uncompressed archive, in bytes.
        offset: u64,
        /// Name of the entry being read, or of the one before it.
        entry: String,
        /// What is wrong.
        reason: String,
    },
    /// The whole input is in a form that is not accepted.
    #[error("input refused: {0}")]
    Input(String),
    /// An entry is well formed but would not be safe, or can not be represented.
    #[error("entry {entry} refused: {reason}")]
    Entry {
        /// Name of the entry.
        entry: String,
        /// What is wrong.
        reason: String,
    },
    /// A system call failed while an entry was being applied.
    #[error("entry {entry}: {step}: {source}")]
    Apply {
        /// Name of the entry.
        entry: String,
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// A system call failed outside of any entry.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Content does not have the digest or the size it was announced with.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// Which content.
        what: String,
        /// Announced digest or size.
        expected: String,
        /// Actual digest or size.
        found: String,
    },
    /// A JSON document of an image is malformed or ambiguous.
    #[error("document {document} refused: {reason}")]
    Document {
        /// Name or digest of the document.
        document: String,
        /// What is wrong.
        reason: String,
    },
    /// A value typed by a person, or found in a document, is not acceptable.
    #[error("invalid {field} {value}: {reason}")]
    Invalid {
        /// What kind of value.
        field: &'static str,
        /// The value, escaped.
        value: String,
        /// What would be accepted.
        reason: String,
    },
    /// No image for the wanted platform.
    #[error("no image for platform {wanted}; there is: {available}")]
    Platform {
        /// Platform looked for.
        wanted: String,
        /// Platforms found, comma separated.
        available: String,
    },
    /// A `--change` instruction is not understood.
    #[error("change {instruction}: {reason}")]
    Change {
        /// The instruction as given, escaped.
        instruction: String,
        /// What would be accepted.
        reason: String,
    },
}

impl ImageError {
    /// A system call that failed outside of any entry.
    pub fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let what = what.into();
        // Limits met below a decoder travel as io::Error; unwrap them so that the caller sees the limit, not the layer.
        match source.into().downcast::<Self>() {
            Ok(inner) => inner,
            Err(source) => Self::Io { what, source },
        }
    }

    pub(crate) fn entry(entry: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry { entry: show(entry), reason: reason.into() }
    }

    pub(crate) fn apply(entry: &[u8], step: &'static str, source: Errno) -> Self {
        Self::Apply { entry: show(entry), step, source }
    }

    pub(crate) fn document(document: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Document { document: document.into(), reason: reason.into() }
    }

    pub(crate) fn invalid(field: &'static str, value: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, value: show(value.as_bytes()), reason: reason.into() }
    }
}

/// Longest part of a hostile text that an error repeats, in bytes.
const SHOWN: usize = 160;

/// `bytes` quoted, with everything but printable ASCII escaped, and cut.
pub(crate) fn show(bytes: &[u8]) -> String {
    let (head, cut) = match bytes.get(..SHOWN) {
        Some(head) if bytes.len() > SHOWN => (head, true),
        _ => (bytes, false),
    };
    let text = head.escape_ascii();
    if cut { format!("\"{text}…\" ({} bytes)", bytes.len()) } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_can_not_drive_a_terminal() {
        assert_eq!(show(b"a\x1b]52;c\x07\nb"), "\"a\\x1b]52;c\\x07\\nb\"");
        assert!(show(&[b'x'; 5000]).len() < 220);
    }

    #[test]
    fn limits_survive_the_way_through_io_errors() {
        let limit = ImageError::Limit { limit: "bytes", allowed: 1, unit: "bytes" };
        let back = ImageError::io("reading", io::Error::other(limit));
        assert!(matches!(back, ImageError::Limit { limit: "bytes", .. }));
    }
}
