//! Figures of layers.

use super::{Store, StoreError};

impl Store {
    /// Unpacked bytes of an image's layers, the lowest first.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn layer_sizes(&self, image_id: &str) -> Result<Vec<u64>, StoreError> {
        let what = "read the layers of the image";
        let wrap = self.wrap(what);
        self.read(what, |tx| {
            let sql = "SELECT l.bytes FROM image_layers i JOIN layers l ON l.chain_id = i.chain_id \
                       WHERE i.image_id = ?1 ORDER BY i.position";
            let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
            let rows = query.query_map([image_id], |row| row.get::<_, i64>(0)).map_err(&wrap)?;
            rows.map(|bytes| bytes.map(|b| u64::try_from(b).unwrap_or(0)).map_err(&wrap)).collect()
        })
    }
}
