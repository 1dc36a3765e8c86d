//! What is on disk between two calls: a directory for each container, below one root.
//!
//! ```text
//! /run/bulkhead-runc/ID/          mode 0700, made by mkdir: who makes it has the id
//!                       record.json   what later calls need to know
//!                       config.json   the config as it was read, byte for byte
//! ```
//!
//! Everything is below `/run`: it dies with the boot, as the containers do. So nothing is synced, but every file is
//! written whole under another name and then renamed: a reader sees the old one or the new one.

mod place;
mod record;
mod root;
mod status;

pub use self::place::{CONFIG, Lock, Place, RECORD, Use};
pub use self::record::{Mounted, RECORD_VERSION, Record, ScopeName};
pub use self::root::ids;
pub use self::status::{Status, is_alive};
