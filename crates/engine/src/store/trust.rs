//! How images were verified when they came.

use std::collections::BTreeMap;

use rusqlite::{Row, Transaction, params};

use super::{Store, StoreError, hex_digest};

/// What was found out about an image under one name, at one pull: one for each key that has signed it, or one without a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// `REGISTRY/PATH`, as rules see it.
    pub name: String,
    /// Digest of what the reference named, with `sha256:`.
    pub digest: String,
    /// Digest of the manifest of this platform.
    pub manifest: String,
    /// Fingerprint of the key, with `sha256:`; empty when no signature was asked for.
    pub key: String,
    /// How the signature was stored: `tag` or `bundle`; empty without one.
    pub form: String,
    /// The rule that it was for: what it is about, file and line; empty without one.
    pub rule: String,
    /// Nanoseconds since 1970.
    pub time: i64,
}

impl Store {
    /// Records how an image was verified. One that is gone meanwhile needs none.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn remember_verified(&self, image_id: &str, all: &[Verification]) -> Result<(), StoreError> {
        let what = "record how the image was verified";
        let wrap = self.wrap(what);
        let Some(id) = hex_digest(image_id) else { return Ok(()) };
        self.write(what, |tx| {
            let known = tx.prepare_cached("SELECT 1 FROM images WHERE id = ?1").and_then(|mut q| q.exists([&id]));
            if known.map_err(&wrap)? { insert(tx, &id, all).map_err(&wrap) } else { Ok(()) }
        })
    }

    /// How an image (id in hex) was verified, by name and key.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn verifications(&self, image_id: &str) -> Result<Vec<Verification>, StoreError> {
        let what = "read how the image was verified";
        let wrap = self.wrap(what);
        self.read(what, |tx| {
            let sql = format!("SELECT {COLUMNS} FROM image_trust WHERE image_id = ?1 ORDER BY name, digest, key");
            let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
            let rows = query.query_map([image_id], |row| read(row, 0)).map_err(&wrap)?;
            rows.map(|row| row.map_err(&wrap)).collect()
        })
    }

    /// The same of every image that has some, by id.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn all_verifications(&self) -> Result<BTreeMap<String, Vec<Verification>>, StoreError> {
        let what = "read how images were verified";
        let wrap = self.wrap(what);
        self.read(what, |tx| {
            let sql = format!("SELECT image_id, {COLUMNS} FROM image_trust ORDER BY image_id, name, digest, key");
            let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
            let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, read(row, 1)?))).map_err(&wrap)?;
            let mut all: BTreeMap<String, Vec<Verification>> = BTreeMap::new();
            for row in rows {
                let (id, one) = row.map_err(&wrap)?;
                all.entry(id).or_default().push(one);
            }
            Ok(all)
        })
    }
}

const COLUMNS: &str = "name, digest, manifest, key, form, rule, time";

fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Verification> {
    Ok(Verification {
        name: row.get(from)?,
        digest: row.get(from + 1)?,
        manifest: row.get(from + 2)?,
        key: row.get(from + 3)?,
        form: row.get(from + 4)?,
        rule: row.get(from + 5)?,
        time: row.get(from + 6)?,
    })
}

pub(super) fn insert(tx: &Transaction<'_>, id: &str, all: &[Verification]) -> rusqlite::Result<()> {
    for one in all {
        let sql = "INSERT INTO image_trust (image_id, name, digest, manifest, key, form, rule, time) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (image_id, name, digest, manifest, key) \
                   DO UPDATE SET form = excluded.form, rule = excluded.rule, time = excluded.time";
        tx.execute(sql, params![id, one.name, one.digest, one.manifest, one.key, one.form, one.rule, one.time])?;
    }
    Ok(())
}
