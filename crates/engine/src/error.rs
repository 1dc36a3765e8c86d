//! Errors of the engine: what was attempted, on what, and the way out.

use std::path::{Path, PathBuf};

use bulkhead_sandbox::plan::PlanError;
use bulkhead_sandbox::{Kind, StartError};

use crate::store::StoreError;

/// Anything the engine could not do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A configuration file that cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A request that the planner refuses.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A sandbox that did not start.
    #[error("cannot start the container: {0}")]
    Start(#[from] StartError),
    /// What this host offers could not be read.
    #[error(transparent)]
    Facts(#[from] bulkhead_sandbox::facts::FactsError),
    /// An image that cannot be used.
    #[error("{0}")]
    Image(String),
    /// A registry that was not asked, or whose answer was not taken.
    #[error(transparent)]
    Registry(#[from] bulkhead_registry::RegistryError),
    /// A network that could not be made or changed.
    #[error(transparent)]
    Net(#[from] bulkhead_net::NetError),
    /// A value that is not acceptable.
    #[error("invalid value {value:?} for {field}: {accepted}")]
    Invalid {
        /// Flag as the user wrote it.
        field: String,
        /// Its value.
        value: String,
        /// What would be accepted.
        accepted: String,
    },
    /// Something that is refused although it could be done.
    #[error("{what} is refused: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// Why, and what would be done instead.
        reason: String,
    },
    /// An image that is not trusted.
    #[error("image {image} is not trusted: {reason}")]
    Untrusted {
        /// Its name.
        image: String,
        /// The rule, and what is missing.
        reason: String,
        /// The way out.
        hint: String,
    },
    /// The container is not in the state that this needs.
    #[error("container {name} is {state}")]
    State {
        /// Its name.
        name: String,
        /// Its state in words.
        state: String,
        /// What to do.
        hint: String,
    },
    /// A file operation.
    #[error("cannot {what} {path:?}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The monitor of a container reported this; it was made into a sentence there.
    #[error("{message}")]
    Reported {
        /// The sentence.
        message: String,
        /// What would help.
        hint: Option<String>,
        /// Exit code for the command.
        exit: u8,
    },
}

impl EngineError {
    pub(crate) fn invalid(field: &str, value: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), value: value.into(), accepted: accepted.into() }
    }

    pub(crate) fn refused(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), reason: reason.into() }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io<E: Into<std::io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source: source.into() }
    }

    /// Exit code of a command that starts something.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(e) => match e.kind() {
                Kind::ProgramNotFound => 127,
                Kind::ProgramNotExecutable => 126,
                Kind::Engine => 125,
            },
            Self::Reported { exit, .. } => *exit,
            _ => 125,
        }
    }

    /// What would help, where it is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(e) => e.hint(),
            Self::Config(e) => e.hint.clone(),
            Self::Registry(e) => e.hint(),
            Self::Start(e) => e.hint().map(str::to_owned),
            Self::State { hint, .. } | Self::Untrusted { hint, .. } => Some(hint.clone()),
            Self::Reported { hint, .. } => hint.clone(),
            Self::Io { source, path, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some(format!("free space on the file system of {path:?}"))
            }
            _ => None,
        }
    }

    /// Whether there was no room on a disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            Self::Store(e) => e.is_full(),
            _ => false,
        }
    }

    /// The whole chain as one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        text
    }
}
