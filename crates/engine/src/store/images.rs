//! Images, their references and their layers.

use std::io;

use rusqlite::{OptionalExtension, Transaction, params};

use super::containers::{bad_digest, prefix_bounds};
use super::{Store, StoreError, Verification, hex_digest, trust};

/// An image to be recorded, as an import or load reports it.
#[derive(Debug, Clone, Default)]
pub struct NewImage {
    /// Digest of the configuration, with or without `sha256:`.
    pub id: String,
    /// The configuration as it is in the archive.
    pub config_json: String,
    /// Nanoseconds since 1970, as the configuration says.
    pub created: i64,
    /// Unpacked size of all layers in bytes.
    pub size: u64,
    /// The layers, the lowest first.
    pub layers: Vec<NewLayer>,
    /// Canonical references that shall point at the image.
    pub references: Vec<String>,
    /// What registries call it: canonical names with the digest of a manifest.
    pub digests: Vec<String>,
    /// Where its layers are known to be in registries.
    pub blobs: Vec<LayerBlob>,
    /// How it was verified.
    pub verified: Vec<Verification>,
}

/// A layer as a registry has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerBlob {
    /// Chain id, with or without `sha256:`.
    pub chain_id: String,
    /// `HOST[:PORT]/PATH` of the repository.
    pub place: String,
    /// Digest of the blob, with `sha256:`.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media: String,
}

/// A layer of a [`NewImage`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewLayer {
    /// Chain id, with or without `sha256:`; it names the directory.
    pub chain_id: String,
    /// Digest of the uncompressed archive, with or without `sha256:`.
    pub diff_id: String,
    /// Unpacked bytes.
    pub bytes: u64,
    /// Files, directories and links in it.
    pub entries: u64,
}

/// What [`Store::add_image`] changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddedImage {
    /// Image id, 64 hex digits.
    pub id: String,
    /// Whether the image was not in the store before.
    pub new: bool,
    /// Chain ids (hex) that were not in the store before, the lowest first.
    pub new_layers: Vec<String>,
    /// References that pointed at another image before, with the id of that image.
    pub moved: Vec<(String, String)>,
}

/// An image as the store knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageRecord {
    /// Digest of the configuration, 64 hex digits.
    pub id: String,
    /// The configuration.
    pub config_json: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Unpacked size in bytes.
    pub size: u64,
    /// Canonical references in alphabetical order.
    pub references: Vec<String>,
    /// Canonical names with digests, in alphabetical order.
    pub digests: Vec<String>,
    /// Chain ids (hex), the lowest layer first.
    pub layers: Vec<String>,
}

/// What [`Store::remove_image`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedImage {
    /// References that are gone.
    pub untagged: Vec<String>,
    /// Id (hex) of the image when it is gone, not only a reference to it.
    pub deleted: Option<String>,
    /// Chain ids (hex) that no image needs any more, the highest first; their directories are the caller's to delete.
    pub free_layers: Vec<String>,
}

impl Store {
    /// Records an image and points `references` at it. To add an image twice is no error.
    ///
    /// # Errors
    ///
    /// A digest that is not one.
    pub fn add_image(&self, new: &NewImage) -> Result<AddedImage, StoreError> {
        self.add_image_with(new, |_| Ok(()))
    }

    /// [`Store::add_image`], with `place` called for each layer that is new, inside the transaction: it renames the
    /// unpacked directory from staging to [`super::Paths::layer`], and no process removes or adds that layer meanwhile.
    /// A directory that is there already is a left-over of a command that was killed, and may be replaced.
    ///
    /// # Errors
    ///
    /// As [`Store::add_image`], and what `place` returns; then nothing is recorded.
    pub fn add_image_with(
        &self,
        new: &NewImage,
        mut place: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<AddedImage, StoreError> {
        let id = hex_digest(&new.id).ok_or_else(|| bad_digest("image id", &new.id))?;
        let mut layers = Vec::with_capacity(new.layers.len());
        for layer in &new.layers {
            let chain = hex_digest(&layer.chain_id).ok_or_else(|| bad_digest("chain id", &layer.chain_id))?;
            let diff = hex_digest(&layer.diff_id).ok_or_else(|| bad_digest("diff id", &layer.diff_id))?;
            layers.push((chain, diff, clamp(layer.bytes), clamp(layer.entries)));
        }
        let what = "record the image";
        let wrap = self.wrap(what);
        self.write(what, |tx| {
            let mut added = AddedImage { id: id.clone(), ..AddedImage::default() };
            for (chain, diff, bytes, entries) in &layers {
                let sql = "INSERT INTO layers (chain_id, diff_id, bytes, entries) VALUES (?1, ?2, ?3, ?4) \
                           ON CONFLICT (chain_id) DO NOTHING";
                if tx.execute(sql, params![chain, diff, bytes, entries]).map_err(&wrap)? > 0 {
                    place(chain).map_err(|source| StoreError::Io {
                        what: "put the layer in place at",
                        path: self.paths().layer(chain),
                        source,
                    })?;
                    added.new_layers.push(chain.clone());
                }
            }
            let sql = "INSERT INTO images (id, config_json, created, size) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT (id) DO NOTHING";
            let values = params![id, new.config_json, new.created, clamp(new.size)];
            added.new = tx.execute(sql, values).map_err(&wrap)? > 0;
            if added.new {
                for (position, (chain, ..)) in (0i64..).zip(&layers) {
                    let sql = "INSERT INTO image_layers (image_id, position, chain_id) VALUES (?1, ?2, ?3)";
                    tx.execute(sql, params![id, position, chain]).map_err(&wrap)?;
                }
            }
            for digest in &new.digests {
                remember(tx, digest, &id).map_err(&wrap)?;
            }
            for blob in &new.blobs {
                let chain = hex_digest(&blob.chain_id).ok_or_else(|| bad_digest("chain id", &blob.chain_id))?;
                place_blob(tx, &chain, blob).map_err(&wrap)?;
            }
            trust::insert(tx, &id, &new.verified).map_err(&wrap)?;
            for reference in &new.references {
                if let Some(before) = point(tx, reference, &id).map_err(&wrap)? {
                    added.moved.push((reference.clone(), before));
                }
            }
            Ok(added)
        })
    }

    /// Points the canonical `reference` at the image with this full id; returns the id it pointed at before, when that
    /// was another image.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchImage`].
    pub fn tag(&self, image_id: &str, reference: &str) -> Result<Option<String>, StoreError> {
        let missing = || StoreError::NoSuchImage { query: image_id.to_owned() };
        let id = hex_digest(image_id).ok_or_else(missing)?;
        let what = "tag the image";
        let wrap = self.wrap(what);
        self.write(what, |tx| {
            if !known(tx, &id).map_err(&wrap)? {
                return Err(missing());
            }
            point(tx, reference, &id).map_err(&wrap)
        })
    }

    /// Remembers that a registry has the image under this name and digest, and where it has the layers.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn remember_pushed(&self, image_id: &str, reference: &str, blobs: &[LayerBlob]) -> Result<(), StoreError> {
        let what = "record what a registry has";
        let wrap = self.wrap(what);
        let id = hex_digest(image_id).ok_or_else(|| bad_digest("image id", image_id))?;
        self.write(what, |tx| {
            // It may have been removed meanwhile.
            if !known(tx, &id).map_err(&wrap)? {
                return Ok(());
            }
            remember(tx, reference, &id).map_err(&wrap)?;
            for blob in blobs {
                let chain = hex_digest(&blob.chain_id).ok_or_else(|| bad_digest("chain id", &blob.chain_id))?;
                place_blob(tx, &chain, blob).map_err(&wrap)?;
            }
            Ok(())
        })
    }

    /// Where registries are known to have a layer (chain id in hex).
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn blobs_of(&self, chain: &str) -> Result<Vec<LayerBlob>, StoreError> {
        let what = "read where a layer is";
        let wrap = self.wrap(what);
        self.read(what, |tx| {
            let sql = "SELECT chain_id, place, digest, size, media FROM layer_blobs WHERE chain_id = ?1 ORDER BY place";
            let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
            let rows = query.query_map([chain], |row| {
                Ok(LayerBlob {
                    chain_id: row.get(0)?,
                    place: row.get(1)?,
                    digest: row.get(2)?,
                    size: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
                    media: row.get(4)?,
                })
            });
            rows.map_err(&wrap)?.map(|row| row.map_err(&wrap)).collect()
        })
    }

    /// The image that a user means by `written`: a full id, the reference `canonical` that the caller made of it (`None`
    /// when it is no valid reference), or the unique start of an id: in this order, as Docker looks.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchImage`] and [`StoreError::Ambiguous`].
    pub fn resolve_image(&self, written: &str, canonical: Option<&str>) -> Result<ImageRecord, StoreError> {
        let what = "look for the image";
        let wrap = self.wrap(what);
        self.read(what, |tx| {
            let found = locate(tx, written, canonical).map_err(&wrap)??;
            load(tx, &found.id).map_err(&wrap)
        })
    }

    /// Every image, the newest first.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn list_images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        let what = "list the images";
        let wrap = self.wrap(what);
        self.read(what, |tx| {
            let ids = texts(tx, "SELECT id FROM images ORDER BY created DESC, id", None).map_err(&wrap)?;
            ids.iter().map(|id| load(tx, id).map_err(&wrap)).collect()
        })
    }

    /// Every chain id (hex) that an image needs: a directory of another name in `layers/` is a left-over.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn known_layers(&self) -> Result<Vec<String>, StoreError> {
        let what = "list the layers";
        self.read(what, |tx| texts(tx, "SELECT chain_id FROM layers ORDER BY chain_id", None).map_err(self.wrap(what)))
    }

    /// Calls `settle` with every chain id (hex) that an image needs, while no layer can be added or removed.
    ///
    /// # Errors
    ///
    /// Those of the database, and what `settle` returns.
    pub fn with_known_layers(&self, settle: impl FnOnce(&[String]) -> io::Result<()>) -> Result<(), StoreError> {
        let what = "list the layers";
        self.write(what, |tx| {
            let known = texts(tx, "SELECT chain_id FROM layers ORDER BY chain_id", None).map_err(self.wrap(what))?;
            settle(&known).map_err(|source| StoreError::Io {
                what: "put in order the layers at",
                path: self.paths().layers(),
                source,
            })
        })
    }

    /// What `rmi` does: takes away the reference that was named, and the image with the last one. An id takes away the
    /// image and its reference; with `force` also when there are several.
    ///
    /// # Errors
    ///
    /// The image is missing, used by a container (which the error names), or named by id and has several references.
    pub fn remove_image(
        &self,
        written: &str,
        canonical: Option<&str>,
        force: bool,
    ) -> Result<RemovedImage, StoreError> {
        self.remove_image_with(written, canonical, force, |_| Ok(()))
    }

    /// [`Store::remove_image`], with `retire` called for each layer that nobody needs any more, inside the transaction:
    /// it renames the directory to staging, where it can be deleted after the return while others add the same layer.
    ///
    /// # Errors
    ///
    /// As [`Store::remove_image`], and what `retire` returns; then nothing is removed.
    pub fn remove_image_with(
        &self,
        written: &str,
        canonical: Option<&str>,
        force: bool,
        mut retire: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<RemovedImage, StoreError> {
        let what = "remove the image";
        let wrap = self.wrap(what);
        self.write(what, |tx| {
            let found = locate(tx, written, canonical).map_err(&wrap)??;
            let id = &found.id;
            let references = references(tx, id).map_err(&wrap)?;
            let digests = digests(tx, id).map_err(&wrap)?;
            let mut removed = RemovedImage::default();
            let user = container_using(tx, id).map_err(&wrap)?;
            if let Some(reference) = &found.reference {
                let others = if digests.contains(reference) {
                    !references.is_empty() || digests.len() > 1
                } else {
                    references.len() > 1
                };
                if others || (force && user.is_some()) {
                    tx.execute("DELETE FROM image_refs WHERE reference = ?1", [reference]).map_err(&wrap)?;
                    tx.execute("DELETE FROM image_digests WHERE reference = ?1", [reference]).map_err(&wrap)?;
                    removed.untagged.push(reference.clone());
                    return Ok(removed);
                }
            } else if references.len() > 1 && !force {
                let references = references.join(", ");
                return Err(StoreError::ImageHasReferences { image: written.to_owned(), references });
            }
            if let Some((container_id, container_name)) = user {
                return Err(StoreError::ImageInUse { image: written.to_owned(), container_name, container_id });
            }
            let chains = chains(tx, id).map_err(&wrap)?;
            tx.execute("DELETE FROM image_refs WHERE image_id = ?1", [id]).map_err(&wrap)?;
            tx.execute("DELETE FROM images WHERE id = ?1", [id]).map_err(&wrap)?;
            for chain in chains.into_iter().rev() {
                let sql = "DELETE FROM layers WHERE chain_id = ?1 \
                           AND NOT EXISTS (SELECT 1 FROM image_layers WHERE chain_id = ?1)";
                if tx.execute(sql, [&chain]).map_err(&wrap)? > 0 {
                    retire(&chain).map_err(|source| StoreError::Io {
                        what: "take away the layer at",
                        path: self.paths().layer(&chain),
                        source,
                    })?;
                    removed.free_layers.push(chain);
                }
            }
            removed.untagged = references.into_iter().chain(digests).collect();
            removed.deleted = Some(id.clone());
            Ok(removed)
        })
    }
}

/// SQLite's integers are signed; no layer comes near the limit.
fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An image, and the reference that led to it.
struct Located {
    id: String,
    reference: Option<String>,
}

fn locate(
    tx: &Transaction<'_>,
    written: &str,
    canonical: Option<&str>,
) -> rusqlite::Result<Result<Located, StoreError>> {
    if let Some(id) = hex_digest(written)
        && known(tx, &id)?
    {
        return Ok(Ok(Located { id, reference: None }));
    }
    if let Some(reference) = canonical {
        let sql = "SELECT image_id FROM image_refs WHERE reference = ?1";
        let found = tx.prepare_cached(sql)?.query_row([reference], |row| row.get(0)).optional()?;
        let sql = "SELECT image_id FROM image_digests WHERE reference = ?1";
        let found = match found {
            None if reference.contains('@') => {
                tx.prepare_cached(sql)?.query_row([reference], |row| row.get(0)).optional()?
            }
            found => found,
        };
        if let Some(id) = found {
            return Ok(Ok(Located { id, reference: Some(reference.to_owned()) }));
        }
    }
    let missing = || StoreError::NoSuchImage { query: written.to_owned() };
    let prefix = written.strip_prefix("sha256:").unwrap_or(written);
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Err(missing()));
    }
    let (low, high) = prefix_bounds(prefix);
    let sql = "SELECT id FROM images WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 4";
    let mut query = tx.prepare_cached(sql)?;
    let mut matches = query.query_map([low, high], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    if matches.len() > 1 {
        return Ok(Err(StoreError::Ambiguous { prefix: written.to_owned(), matches }));
    }
    Ok(matches.pop().map(|id| Located { id, reference: None }).ok_or_else(missing))
}

fn known(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM images WHERE id = ?1")?.exists([id])
}

/// Names an image by the digest of a manifest; nothing else can have that digest.
fn remember(tx: &Transaction<'_>, reference: &str, id: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO image_digests (reference, image_id) VALUES (?1, ?2) \
               ON CONFLICT (reference) DO UPDATE SET image_id = excluded.image_id";
    tx.execute(sql, [reference, id]).map(drop)
}

fn place_blob(tx: &Transaction<'_>, chain: &str, blob: &LayerBlob) -> rusqlite::Result<()> {
    let sql = "INSERT INTO layer_blobs (chain_id, place, digest, size, media) VALUES (?1, ?2, ?3, ?4, ?5) \
               ON CONFLICT (chain_id, place) DO UPDATE SET digest = excluded.digest, size = excluded.size, \
               media = excluded.media";
    tx.execute(sql, params![chain, blob.place, blob.digest, clamp(blob.size), blob.media]).map(drop)
}

/// Points `reference` at `id`; the id it pointed at before, when that was another one.
fn point(tx: &Transaction<'_>, reference: &str, id: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT image_id FROM image_refs WHERE reference = ?1";
    let before: Option<String> = tx.prepare_cached(sql)?.query_row([reference], |row| row.get(0)).optional()?;
    let sql = "INSERT INTO image_refs (reference, image_id) VALUES (?1, ?2) \
               ON CONFLICT (reference) DO UPDATE SET image_id = excluded.image_id";
    tx.execute(sql, [reference, id])?;
    Ok(before.filter(|old| old != id))
}

pub(super) fn container_using(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<(String, String)>> {
    let sql = "SELECT id, name FROM containers WHERE image_id = ?1 ORDER BY created LIMIT 1";
    tx.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

pub(super) fn texts(tx: &Transaction<'_>, sql: &str, argument: Option<&str>) -> rusqlite::Result<Vec<String>> {
    let mut query = tx.prepare_cached(sql)?;
    query.query_map(rusqlite::params_from_iter(argument), |row| row.get(0))?.collect()
}

pub(super) fn references(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<Vec<String>> {
    texts(tx, "SELECT reference FROM image_refs WHERE image_id = ?1 ORDER BY reference", Some(id))
}

pub(super) fn digests(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<Vec<String>> {
    texts(tx, "SELECT reference FROM image_digests WHERE image_id = ?1 ORDER BY reference", Some(id))
}

pub(super) fn chains(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<Vec<String>> {
    texts(tx, "SELECT chain_id FROM image_layers WHERE image_id = ?1 ORDER BY position", Some(id))
}

fn load(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<ImageRecord> {
    let sql = "SELECT config_json, created, size FROM images WHERE id = ?1";
    let mut record = tx.prepare_cached(sql)?.query_row([id], |row| {
        let size: i64 = row.get(2)?;
        Ok(ImageRecord {
            id: id.to_owned(),
            config_json: row.get(0)?,
            created: row.get(1)?,
            size: u64::try_from(size).unwrap_or(0),
            ..ImageRecord::default()
        })
    })?;
    record.references = references(tx, id)?;
    record.digests = digests(tx, id)?;
    record.layers = chains(tx, id)?;
    Ok(record)
}
