//! Tables and their migrations.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::StoreError;

/// Step `n` brings the database from version `n` to `n + 1`. A step that was released is never changed.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE images (
    id          TEXT PRIMARY KEY NOT NULL,
    config_json TEXT NOT NULL,
    created     INTEGER NOT NULL,
    size        INTEGER NOT NULL
) STRICT;
CREATE TABLE image_refs (
    reference TEXT PRIMARY KEY NOT NULL,
    image_id  TEXT NOT NULL REFERENCES images(id)
) STRICT;
CREATE INDEX image_refs_by_image ON image_refs(image_id);
CREATE TABLE layers (
    chain_id TEXT PRIMARY KEY NOT NULL,
    diff_id  TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    entries  INTEGER NOT NULL
) STRICT;
CREATE TABLE image_layers (
    image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    chain_id TEXT NOT NULL REFERENCES layers(chain_id),
    PRIMARY KEY (image_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layers_by_chain ON image_layers(chain_id);
CREATE TABLE containers (
    id          TEXT PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL UNIQUE,
    image_id    TEXT REFERENCES images(id),
    created     INTEGER NOT NULL,
    auto_remove INTEGER NOT NULL,
    request     TEXT NOT NULL,
    spec        BLOB
) STRICT;
CREATE INDEX containers_by_image ON containers(image_id);
CREATE TABLE id_ranges (
    start INTEGER PRIMARY KEY NOT NULL,
    count INTEGER NOT NULL,
    owner TEXT NOT NULL UNIQUE REFERENCES containers(id) ON DELETE CASCADE
) STRICT;
",
    "
ALTER TABLE containers ADD COLUMN ready INTEGER NOT NULL DEFAULT 1;
CREATE INDEX containers_unready ON containers(id) WHERE ready = 0;
",
    "
CREATE TABLE held_ranges (
    owner TEXT PRIMARY KEY NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    start INTEGER NOT NULL,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO held_ranges (owner, start, count) SELECT owner, start, count FROM id_ranges;
DROP TABLE id_ranges;
ALTER TABLE held_ranges RENAME TO id_ranges;
CREATE INDEX id_ranges_by_start ON id_ranges(start);
",
    "
CREATE TABLE volumes (
    name      TEXT PRIMARY KEY NOT NULL,
    driver    TEXT NOT NULL,
    options   TEXT NOT NULL,
    labels    TEXT NOT NULL,
    anonymous INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    project   INTEGER UNIQUE
) STRICT;
CREATE TABLE volume_uses (
    container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    target    TEXT NOT NULL,
    volume    TEXT NOT NULL REFERENCES volumes(name),
    anonymous INTEGER NOT NULL,
    PRIMARY KEY (container, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX volume_uses_by_volume ON volume_uses(volume);
",
    "
CREATE TABLE networks (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    driver     TEXT NOT NULL,
    subnet4    TEXT,
    gateway4   BLOB,
    range4     TEXT,
    last4      BLOB,
    subnet6    TEXT,
    gateway6   BLOB,
    range6     TEXT,
    last6      BLOB,
    mtu        INTEGER NOT NULL,
    internal   INTEGER NOT NULL,
    isolated   INTEGER NOT NULL,
    masquerade INTEGER NOT NULL,
    options    TEXT NOT NULL,
    labels     TEXT NOT NULL,
    created    INTEGER NOT NULL
) STRICT;
CREATE TABLE leases (
    container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    network   TEXT NOT NULL REFERENCES networks(id),
    position  INTEGER NOT NULL,
    want4     BLOB,
    want6     BLOB,
    want_mac  TEXT,
    aliases   TEXT NOT NULL,
    v4        BLOB,
    v6        BLOB,
    mac       TEXT,
    link      TEXT UNIQUE,
    PRIMARY KEY (container, network)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX leases_by_v4 ON leases(network, v4);
CREATE UNIQUE INDEX leases_by_v6 ON leases(network, v6);
CREATE UNIQUE INDEX leases_by_mac ON leases(network, mac);
CREATE TABLE ports (
    protocol  TEXT NOT NULL,
    port      INTEGER NOT NULL,
    address   BLOB NOT NULL,
    container TEXT NOT NULL REFERENCES containers(id) ON DELETE CASCADE,
    target    BLOB NOT NULL,
    inner     INTEGER NOT NULL,
    PRIMARY KEY (protocol, port, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX ports_by_container ON ports(container);
",
    "
ALTER TABLE leases ADD COLUMN links TEXT NOT NULL DEFAULT '';
",
    "
ALTER TABLE networks ADD COLUMN policy TEXT;
ALTER TABLE networks ADD COLUMN egress TEXT;
ALTER TABLE leases ADD COLUMN egress TEXT;
",
    "
CREATE TABLE image_digests (
    reference TEXT PRIMARY KEY NOT NULL,
    image_id  TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE
) STRICT;
CREATE INDEX image_digests_by_image ON image_digests(image_id);
CREATE TABLE layer_blobs (
    chain_id TEXT NOT NULL REFERENCES layers(chain_id) ON DELETE CASCADE,
    place    TEXT NOT NULL,
    digest   TEXT NOT NULL,
    size     INTEGER NOT NULL,
    media    TEXT NOT NULL,
    PRIMARY KEY (chain_id, place)
) STRICT, WITHOUT ROWID;
",
    "
CREATE TABLE image_trust (
    image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    manifest TEXT NOT NULL,
    key      TEXT NOT NULL,
    form     TEXT NOT NULL,
    rule     TEXT NOT NULL,
    time     INTEGER NOT NULL,
    PRIMARY KEY (image_id, name, digest, manifest, key)
) STRICT, WITHOUT ROWID;
",
];

/// Settings of the connection, then the migrations that are missing.
pub(super) fn prepare(conn: &Connection, db: &Path) -> Result<(), StoreError> {
    let wrap = |source| StoreError::from_sqlite("open the database", db, source);
    conn.pragma_update(None, "synchronous", "NORMAL").map_err(wrap)?;
    conn.pragma_update(None, "foreign_keys", true).map_err(wrap)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = version(conn).map_err(wrap)?;
    // The journal mode is kept in the file and is set before the first migration, so an up to date file has it.
    if found == known {
        return Ok(());
    }
    if found < known {
        set_wal(conn).map_err(wrap)?;
        migrate(conn).map_err(wrap)?;
    }
    let found = version(conn).map_err(wrap)?;
    if found > known {
        return Err(StoreError::TooNew { path: db.to_owned(), found, known });
    }
    Ok(())
}

fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// The change to WAL needs the file for itself, and SQLite may answer "busy" at once instead of waiting when two
/// processes try it together.
fn set_wal(conn: &Connection) -> rusqlite::Result<()> {
    let mut left = 200;
    loop {
        match conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Ok(_) => return Ok(()),
            Err(error) if left > 0 && error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                left -= 1;
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Err(error) => return Err(error),
        }
    }
}

fn migrate(conn: &Connection) -> rusqlite::Result<()> {
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    // Read again: another process may have been faster.
    let found = version(&tx)?;
    for (index, step) in MIGRATIONS.iter().enumerate() {
        let from = i64::try_from(index).unwrap_or(i64::MAX);
        if from >= found {
            tx.execute_batch(step)?;
            tx.pragma_update(None, "user_version", from + 1)?;
        }
    }
    tx.commit()
}
