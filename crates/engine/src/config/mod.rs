//! Configuration: one TOML file for the system and one for each user, and what of it a command line may change.
//!
//! `/etc/bulkhead/config.toml` is the administrator's and counts for everybody; `$XDG_CONFIG_HOME/bulkhead/config.toml`
//! is an ordinary user's and wins where the administrator has not pinned a key with `locked`. Root has no file of his
//! own. No environment variable changes a value: those that exist move places.
//!
//! A file that is there and cannot be used stops every command: an administrator's limit that was lost to a slip of the
//! pen would be worse than an error.

mod error;
mod keys;
mod merge;
mod read;
mod settle;
mod show;
#[cfg(test)]
mod tests;
mod trust;
mod values;

pub use self::error::ConfigError;
pub use self::keys::{KEYS, Key, Scope};
pub use self::merge::{Config, Entry, Source};
pub(crate) use self::settle::hold;
pub use self::settle::{origin, settle};
pub use self::show::{Row, rows};
pub use self::values::{Value, detach_keys};
