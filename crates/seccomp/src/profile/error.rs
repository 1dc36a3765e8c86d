//! What can be wrong with a profile text.

use super::{MAX_ARGS_PER_RULE, MAX_PROFILE_BYTES, MAX_RULES};
use crate::action::MAX_ERRNO;
use thiserror::Error;

/// Why a profile was refused. Rules are counted from 1.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// The text is too long.
    #[error("profile has {0} bytes, the limit is {MAX_PROFILE_BYTES}")]
    TooLarge(usize),
    /// There are too many rules.
    #[error("profile has {0} rules, the limit is {MAX_RULES}")]
    TooManyRules(usize),
    /// Not JSON, or a field is unknown, missing, duplicate or of another type.
    #[error("not a seccomp profile")]
    Json(#[from] serde_json::Error),
    /// An unknown word where only some are accepted.
    #[error("{place}: unknown {field} \"{value}\"; accepted: {accepted}")]
    Unknown {
        /// Where, for example `rule 3`.
        place: String,
        /// The field.
        field: &'static str,
        /// What was written.
        value: String,
        /// What would have been accepted.
        accepted: String,
    },
    /// The notify action where nobody listens, see [`super::Profile::from_json`].
    #[error(
        "{place}: action \"SCMP_ACT_NOTIFY\" is not supported here, because no supervisor \
         would answer; use SCMP_ACT_ERRNO or SCMP_ACT_ALLOW"
    )]
    Notify {
        /// Where.
        place: String,
    },
    /// A number out of its range.
    #[error("{place}: {field} is {value}, accepted: 0 to {limit}")]
    Range {
        /// Where.
        place: String,
        /// The field.
        field: &'static str,
        /// What was written.
        value: u64,
        /// The largest accepted value.
        limit: u64,
    },
    /// `minKernel` is not of the form `4.8`.
    #[error("{place}: minKernel \"{value}\" is not of the form MAJOR.MINOR")]
    Kernel {
        /// Where.
        place: String,
        /// What was written.
        value: String,
    },
    /// A rule without a name, or with both `name` and `names`.
    #[error("{place}: exactly one of \"name\" and \"names\" is needed, and it must not be empty")]
    Names {
        /// Where.
        place: String,
    },
    /// A rule with too many conditions.
    #[error("{place}: {count} conditions, the limit is {MAX_ARGS_PER_RULE}")]
    TooManyArgs {
        /// Where.
        place: String,
        /// How many there are.
        count: usize,
    },
    /// Both forms of the list of ABIs.
    #[error("\"architectures\" and \"archMap\" exclude each other")]
    ArchitecturesTwice,
}

impl ProfileError {
    pub(super) fn errno(place: &str, field: &'static str, value: u64) -> Self {
        Self::Range { place: place.to_owned(), field, value, limit: u64::from(MAX_ERRNO) }
    }
}
