//! What must stay consistent between processes: names, images, references, layers and private id ranges.
//!
//! There is no daemon, so every command and every monitor opens the same SQLite file. Each public operation is one
//! `BEGIN IMMEDIATE` transaction: two commands that race for a name or an id range are put in order by the database, and
//! a command that is killed half-way leaves nothing behind. Files (layers, container directories) are the caller's; the
//! functions that add and remove layers take a callback that runs inside the transaction, so that a directory and its
//! row appear and disappear together.

mod check;
mod containers;
mod error;
mod images;
mod layers;
mod names;
mod networks;
mod paths;
mod prune;
mod ranges;
mod schema;
mod select;
pub mod subid;
mod trust;
mod volumes;

#[cfg(test)]
mod tests;

use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub use check::CheckedContainer;
pub use containers::{ContainerRecord, NewContainer, RangeWish, Retire};
pub use error::{ErrorKind, StoreError};
pub use images::{AddedImage, ImageRecord, LayerBlob, NewImage, NewLayer, RemovedImage};
pub use networks::{
    Block, BlockWish, Busy, DEFAULT_NETWORK, Ground, JoinWish, Joined, Lease, LeaseWish, NetworkError, NetworkRecord,
    NewNetwork, Peer, PortRecord,
};
pub(crate) use networks::{check_join, check_network_name};
pub use paths::{LAYER_RECIPE, LAYER_ROOT, Paths, VOLUME_DATA};
pub use prune::LayerUse;
pub use ranges::{IdRange, RangePool, SLOT};
pub use trust::Verification;
pub(crate) use volumes::check_volume_name;
pub use volumes::{NewVolume, User, VolumeRecord, VolumeUse};

/// How long an operation waits for another process that is writing.
const BUSY: Duration = Duration::from_secs(10);

/// The open database of one bulkhead root, with the paths beside it.
///
/// Dropping it closes the database. A store is used from one thread at a time; another thread or process opens its own.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    paths: Paths,
}

impl Store {
    /// Opens the database below `paths.root`, after making the directories and the tables that are missing.
    ///
    /// # Errors
    ///
    /// A directory that cannot be made or belongs to another user, a damaged database, one written by a newer version,
    /// or a lock that stayed taken for ten seconds.
    pub fn open(paths: &Paths) -> Result<Store, StoreError> {
        paths.prepare()?;
        let db = paths.db();
        // SQLite gives the -wal and -shm files the mode of the database, so making this one private is enough.
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&db) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(StoreError::Io { what: "make the database file", path: db, source }),
        }
        let wrap = |source| StoreError::from_sqlite("open the database", &db, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&db, flags).map_err(wrap)?;
        conn.busy_timeout(BUSY).map_err(wrap)?;
        // A checkpoint at every exit would cost each short command two fsyncs; SQLite still checkpoints as the log grows.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(wrap)?;
        schema::prepare(&conn, &db)?;
        Ok(Store { conn, paths: paths.clone() })
    }

    /// The directories this store belongs to.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Wraps an SQLite error with what was attempted.
    fn wrap(&self, what: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        let path = self.paths.db();
        move |source| StoreError::from_sqlite(what, &path, source)
    }

    /// Runs `body` in one write transaction; an error or a panic rolls everything back.
    fn write<T>(
        &self,
        what: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let wrap = self.wrap(what);
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(&wrap)?;
        let value = body(&tx)?;
        tx.commit().map_err(&wrap)?;
        Ok(value)
    }

    /// Runs `body` in one read transaction, so that several queries see the same moment.
    fn read<T>(
        &self,
        what: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let wrap = self.wrap(what);
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Deferred).map_err(&wrap)?;
        let value = body(&tx)?;
        tx.commit().map_err(&wrap)?;
        Ok(value)
    }
}

/// A new container id: 32 random bytes in lower-case hex.
///
/// # Errors
///
/// The kernel gave no random bytes.
pub fn new_id() -> Result<String, StoreError> {
    let mut bytes = [0u8; 32];
    names::fill_random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The hex digits of an image or layer id, with or without `sha256:` before them; `None` for anything else.
fn hex_digest(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let good = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    good.then(|| hex.to_owned())
}
