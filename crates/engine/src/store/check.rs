//! Whether the database is whole, for `system fsck`.

use super::{IdRange, Store, StoreError};
use crate::request::ContainerRequest;

/// A row of a container, looked at without trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedContainer {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// It was finished by its command.
    pub ready: bool,
    /// Its id range.
    pub range: Option<IdRange>,
    /// What was asked can be read.
    pub request_readable: bool,
    /// The specification; nothing for one that is being made.
    pub spec: Option<Vec<u8>>,
}

impl Store {
    /// What SQLite says about its own pages and indexes; nothing when all is well.
    ///
    /// # Errors
    ///
    /// A database that cannot even be looked at.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let what = "check the database";
        let wrap = self.wrap(what);
        let mut query = self.conn.prepare("PRAGMA integrity_check(100)").map_err(&wrap)?;
        let rows = query.query_map([], |row| row.get::<_, String>(0)).map_err(&wrap)?;
        let mut lines = Vec::new();
        for row in rows {
            match row.map_err(&wrap) {
                Ok(line) => lines.extend((line != "ok").then_some(line)),
                // A page that cannot be used ends the check that names it.
                Err(StoreError::Corrupt { source, .. }) => {
                    lines.push(source.to_string());
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(lines)
    }

    /// Rows that refer to something that is not there, as `table -> table`.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn dangling_rows(&self) -> Result<Vec<String>, StoreError> {
        let what = "check the database";
        let wrap = self.wrap(what);
        let mut query = self.conn.prepare("PRAGMA foreign_key_check").map_err(&wrap)?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(2)?)));
        let rows = rows.map_err(&wrap)?;
        rows.map(|row| row.map(|(from, to)| format!("{from} -> {to}")).map_err(&wrap)).collect()
    }

    /// Every container, also those whose row cannot be used.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn checked_containers(&self) -> Result<Vec<CheckedContainer>, StoreError> {
        let what = "list the containers";
        let wrap = self.wrap(what);
        let sql = "SELECT c.id, c.name, c.ready, r.start, r.count, c.request, c.spec \
                   FROM containers c LEFT JOIN id_ranges r ON r.owner = c.id ORDER BY c.id";
        let mut query = self.conn.prepare(sql).map_err(&wrap)?;
        let rows = query.query_map([], |row| {
            let start: Option<u32> = row.get(3)?;
            let count: Option<u32> = row.get(4)?;
            let request: String = row.get(5)?;
            Ok(CheckedContainer {
                id: row.get(0)?,
                name: row.get(1)?,
                ready: row.get(2)?,
                range: start.zip(count).map(|(start, count)| IdRange { start, count }),
                request_readable: serde_json::from_str::<ContainerRequest>(&request).is_ok(),
                spec: row.get(6)?,
            })
        });
        rows.map_err(&wrap)?.map(|row| row.map_err(&wrap)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewContainer, Paths, Store};

    fn store(dir: &std::path::Path) -> Store {
        Store::open(&Paths { root: dir.join("root"), run: dir.join("run") }).unwrap()
    }

    #[test]
    fn what_is_asked_often_uses_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        // A scan is what grows with the store. Those of one row by LIMIT along an index do not.
        for sql in [
            "SELECT * FROM containers c LEFT JOIN id_ranges r ON r.owner = c.id WHERE c.id = ?1 OR c.name = ?1",
            "SELECT * FROM containers c LEFT JOIN id_ranges r ON r.owner = c.id WHERE c.id >= ?1 AND c.id < 'g'",
            "SELECT id FROM containers WHERE name = ?1",
            "SELECT 1 FROM images WHERE id = ?1",
            "SELECT image_id FROM image_refs WHERE reference = ?1",
            "SELECT reference FROM image_refs WHERE image_id = ?1 ORDER BY reference",
            "SELECT chain_id FROM image_layers WHERE image_id = ?1 ORDER BY position",
            "SELECT id, name FROM containers WHERE image_id = ?1",
            "SELECT * FROM containers c WHERE c.ready = 0 AND ?1 = ?1",
            "DELETE FROM containers WHERE id = ?1",
        ] {
            let mut query = store.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let plan: Vec<String> = query.query_map(["x"], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            let scan = plan.iter().find(|line| line.starts_with("SCAN") && !line.contains("containers_unready"));
            assert_eq!(scan, None, "{sql}: {plan:?}");
        }
    }

    #[test]
    fn a_sound_store_has_nothing_to_say_and_a_cut_row_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        store.create_container(&NewContainer { name: Some("web".into()), ..NewContainer::default() }, None).unwrap();
        assert_eq!((store.integrity().unwrap(), store.dangling_rows().unwrap()), (vec![], vec![]));
        assert!(store.checked_containers().unwrap()[0].request_readable);
        store
            .conn
            .execute_batch("PRAGMA foreign_keys = OFF; UPDATE containers SET request = '{', image_id = 'x'")
            .unwrap();
        assert!(!store.checked_containers().unwrap()[0].request_readable);
        assert_eq!(store.dangling_rows().unwrap(), ["containers -> images"]);
    }
}
