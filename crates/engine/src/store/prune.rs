//! Images that nobody uses, and what images take on disk.

use std::collections::BTreeMap;
use std::io;

use super::images::{chains, container_using, digests, references, texts};
use super::{RemovedImage, Store, StoreError};

/// A layer as it takes room on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerUse {
    /// Unpacked bytes.
    pub bytes: u64,
    /// Images that have it.
    pub images: u64,
    /// Images with it that a container was made of.
    pub active_images: u64,
}

impl Store {
    /// Removes an image that no container was made of, in one transaction; with `dangling` only when no reference points
    /// at it. `None`: it is gone, or in use by now, and nothing was changed. `retire` as in
    /// [`Store::remove_image_with`]. Returned with the unpacked bytes of the layers that nobody needs any more.
    ///
    /// # Errors
    ///
    /// Those of the database, and what `retire` returns.
    pub fn prune_image_with(
        &self,
        id: &str,
        dangling: bool,
        mut retire: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<Option<(RemovedImage, u64)>, StoreError> {
        let what = "remove the image";
        let wrap = self.wrap(what);
        self.write(what, |tx| {
            let references = references(tx, id).map_err(&wrap)?;
            let kept = container_using(tx, id).map_err(&wrap)?.is_some() || (dangling && !references.is_empty());
            if kept {
                return Ok(None);
            }
            let digests = digests(tx, id).map_err(&wrap)?;
            let chains = chains(tx, id).map_err(&wrap)?;
            tx.execute("DELETE FROM image_refs WHERE image_id = ?1", [id]).map_err(&wrap)?;
            if tx.execute("DELETE FROM images WHERE id = ?1", [id]).map_err(&wrap)? == 0 {
                return Ok(None);
            }
            let mut removed = RemovedImage {
                untagged: references.into_iter().chain(digests).collect(),
                deleted: Some(id.to_owned()),
                free_layers: Vec::new(),
            };
            let mut bytes = 0_u64;
            for chain in chains.into_iter().rev() {
                let sql = "DELETE FROM layers WHERE chain_id = ?1 \
                           AND NOT EXISTS (SELECT 1 FROM image_layers WHERE chain_id = ?1) RETURNING bytes";
                let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
                let freed = query.query_map([&chain], |row| row.get::<_, i64>(0)).map_err(&wrap)?;
                let freed: Vec<i64> = freed.collect::<Result<_, _>>().map_err(&wrap)?;
                let Some(freed) = freed.first() else { continue };
                bytes = bytes.saturating_add(u64::try_from(*freed).unwrap_or(0));
                retire(&chain).map_err(|source| StoreError::Io {
                    what: "take away the layer at",
                    path: self.paths().layer(&chain),
                    source,
                })?;
                removed.free_layers.push(chain);
            }
            Ok(Some((removed, bytes)))
        })
    }

    /// Every layer by chain id (hex), with who needs it.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn layer_uses(&self) -> Result<BTreeMap<String, LayerUse>, StoreError> {
        let what = "list the layers";
        let wrap = self.wrap(what);
        let sql = "SELECT l.chain_id, l.bytes, count(i.image_id), \
                   count(CASE WHEN EXISTS (SELECT 1 FROM containers WHERE image_id = i.image_id) THEN 1 END) \
                   FROM layers l LEFT JOIN image_layers i ON i.chain_id = l.chain_id GROUP BY l.chain_id";
        let mut query = self.conn.prepare_cached(sql).map_err(&wrap)?;
        let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0));
        let rows = query.query_map([], |row| {
            let layer = LayerUse { bytes: number(row, 1)?, images: number(row, 2)?, active_images: number(row, 3)? };
            Ok((row.get::<_, String>(0)?, layer))
        });
        rows.map_err(&wrap)?.map(|row| row.map_err(&wrap)).collect()
    }

    /// How many containers were made of each image (id in hex) that has some.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn image_users(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let what = "count the containers of the images";
        let wrap = self.wrap(what);
        let sql = "SELECT image_id, count(*) FROM containers WHERE image_id IS NOT NULL GROUP BY image_id";
        let mut query = self.conn.prepare_cached(sql).map_err(&wrap)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0))));
        rows.map_err(&wrap)?.map(|row| row.map_err(&wrap)).collect()
    }

    /// Every image id with the layers' (chain id, diff id) in order, for a check.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn image_layers(&self) -> Result<BTreeMap<String, Vec<(String, String)>>, StoreError> {
        let what = "list the layers of the images";
        let wrap = self.wrap(what);
        self.read(what, |tx| {
            let mut all: BTreeMap<String, Vec<(String, String)>> =
                texts(tx, "SELECT id FROM images", None).map_err(&wrap)?.into_iter().map(|id| (id, vec![])).collect();
            let sql = "SELECT i.image_id, i.chain_id, coalesce(l.diff_id, '') FROM image_layers i \
                       LEFT JOIN layers l ON l.chain_id = i.chain_id ORDER BY i.image_id, i.position";
            let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
            let rows = query.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            });
            for row in rows.map_err(&wrap)? {
                let (image, chain, diff) = row.map_err(&wrap)?;
                all.entry(image).or_default().push((chain, diff));
            }
            Ok(all)
        })
    }
}
