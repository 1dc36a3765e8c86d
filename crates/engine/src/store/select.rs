//! A few of the containers, without a look at all the others.

use super::containers::{COLUMNS, read_row};
use super::{ContainerRecord, Store, StoreError};

impl Store {
    /// The containers with these full ids, the newest first. Ids that are not in the store are passed over.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn containers_with_ids(&self, ids: &[String]) -> Result<Vec<ContainerRecord>, StoreError> {
        let what = "look for the containers";
        let wrap = self.wrap(what);
        let mut found = self.read(what, |tx| {
            let sql = format!("SELECT {COLUMNS} WHERE c.id = ?1");
            let mut query = tx.prepare_cached(&sql).map_err(&wrap)?;
            let mut found = Vec::new();
            for id in ids {
                for raw in query.query_map([id], read_row).map_err(&wrap)? {
                    found.push(raw.map_err(&wrap)?.parse()?);
                }
            }
            Ok(found)
        })?;
        found.sort_by(|a: &ContainerRecord, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    /// The `count` containers that were made last, the newest first.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn last_containers(&self, count: usize) -> Result<Vec<ContainerRecord>, StoreError> {
        let what = "list the containers";
        let wrap = self.wrap(what);
        let sql = format!(
            "SELECT {COLUMNS} WHERE c.id IN (SELECT id FROM containers ORDER BY created DESC, id LIMIT ?1) \
             ORDER BY c.created DESC, c.id"
        );
        let mut query = self.conn.prepare_cached(&sql).map_err(&wrap)?;
        let rows = query.query_map([i64::try_from(count).unwrap_or(i64::MAX)], read_row).map_err(&wrap)?;
        rows.map(|raw| raw.map_err(&wrap)?.parse()).collect()
    }

    /// Ids of all containers, in rising order.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn container_ids(&self) -> Result<Vec<String>, StoreError> {
        let what = "list the containers";
        let wrap = self.wrap(what);
        let mut query = self.conn.prepare_cached("SELECT id FROM containers ORDER BY id").map_err(&wrap)?;
        let rows = query.query_map([], |row| row.get(0)).map_err(&wrap)?;
        rows.map(|id| id.map_err(&wrap)).collect()
    }

    /// Number of containers and of images.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn counts(&self) -> Result<(u64, u64), StoreError> {
        let what = "count the containers and images";
        let sql = "SELECT (SELECT count(*) FROM containers), (SELECT count(*) FROM images)";
        let counts = self.conn.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let (containers, images) = counts.map_err(self.wrap(what))?;
        Ok((u64::try_from(containers).unwrap_or(0), u64::try_from(images).unwrap_or(0)))
    }
}
