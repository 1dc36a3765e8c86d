//! From the words of a command line to the typed fields of a request.
//!
//! Every parser is pure and answers with what would be accepted (`a size like 512m or 2g is needed`); the caller adds
//! the flag and the value with [`value`], so that each wrong word gives exactly one sentence.

pub mod device;
pub mod env;
pub mod filter;
pub mod hosts;
pub mod keys;
pub mod limits;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod pairs;
pub mod path;
pub mod security;
pub mod signal;
pub mod size;
pub mod time;
pub mod ulimit;
pub mod volume;

use std::borrow::Cow;

use crate::error::{CliError, FAILED};

/// What would be accepted instead, as the end of a sentence.
pub type Needed = Cow<'static, str>;

/// Parses one value of `flag`.
///
/// # Errors
///
/// `invalid value "…" for --flag: …`, exit code 125.
pub fn value<T>(flag: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, Needed>) -> Result<T, CliError> {
    parse(text).map_err(|needed| CliError::invalid(flag, text, needed))
}

/// Parses the value of `flag` when it was written.
///
/// # Errors
///
/// As [`value`].
pub fn optional<T>(
    flag: &str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, Needed>,
) -> Result<Option<T>, CliError> {
    text.map(|text| value(flag, text, parse)).transpose()
}

/// As [`value`], for what Docker's daemon looks at and not its client: exit code 1.
///
/// # Errors
///
/// `invalid value "…" for --flag: …`, exit code 1.
pub fn meant<T>(flag: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, Needed>) -> Result<T, CliError> {
    value(flag, text, parse).map_err(|error| error.with_code(FAILED))
}

/// As [`optional`], exit code 1 as of [`meant`].
///
/// # Errors
///
/// As [`meant`].
pub fn optionally_meant<T>(
    flag: &str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, Needed>,
) -> Result<Option<T>, CliError> {
    text.map(|text| meant(flag, text, parse)).transpose()
}

/// Parses every value of a flag that may be repeated.
///
/// # Errors
///
/// As [`value`], for the first value that is wrong.
pub fn each<T>(
    flag: &str,
    texts: &[String],
    mut parse: impl FnMut(&str) -> Result<T, Needed>,
) -> Result<Vec<T>, CliError> {
    texts.iter().map(|text| value(flag, text, &mut parse)).collect()
}

/// The words that Docker takes for yes and no.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
