//! A store with thousands of containers and images that do not run: rows and files as commands leave them, made at once.

use std::path::PathBuf;

use rusqlite::Connection;

use crate::{Bench, is_root};

/// What was put into a store; taken out again when it is dropped.
#[derive(Debug)]
pub struct Filled<'a> {
    bench: &'a Bench,
    ids: Vec<String>,
    layers: Vec<String>,
}

fn open(bench: &Bench) -> Connection {
    let connection = Connection::open(bench.path("root/bulkhead.db")).expect("a store");
    connection.busy_timeout(std::time::Duration::from_secs(10)).expect("a timeout");
    connection.pragma_update(None, "foreign_keys", true).expect("a setting");
    connection
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut query = connection.prepare(sql).expect("SQL");
    query.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a text")).collect()
}

impl Bench {
    /// Adds stopped containers of the image `host`, and images with a reference and a layer each.
    ///
    /// # Panics
    /// When the store is not as expected.
    #[must_use]
    pub fn fill(&self, containers: usize, images: usize) -> Filled<'_> {
        self.say(&["create", "--name", "template", "host", "true"]).done();
        let db = open(self);
        let number = |n: usize| i64::try_from(n).expect("a small number");
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
        db.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
        let sql = "INSERT INTO containers (id, name, image_id, created, auto_remove, request, spec, ready) \
                   SELECT lower(hex(randomblob(32))), 'filled' || i, NULL, created - i, 0, request, spec, 1 \
                   FROM n, containers WHERE name = 'template'";
        db.execute(&format!("{rows} {sql}"), [number(containers)]).expect("containers");
        if is_root() {
            // Above the template's own.
            let sql = "INSERT INTO id_ranges (start, count, owner) \
                       SELECT (SELECT max(start) FROM id_ranges) + 65536 * CAST(substr(name, 7) AS INTEGER), 65536, id \
                       FROM containers WHERE name LIKE 'filled%'";
            db.execute(sql, []).expect("ranges");
        }
        for sql in [
            "INSERT INTO images (id, config_json, created, size) SELECT lower(hex(randomblob(32))), '{}', i, 1 FROM n",
            "INSERT INTO layers (chain_id, diff_id, bytes, entries) \
             SELECT lower(hex(randomblob(32))), lower(hex(randomblob(32))), 1, 1 FROM n",
        ] {
            db.execute(&format!("{rows} {sql}"), [number(images)]).expect("images");
        }
        db.execute_batch(
            "INSERT INTO image_layers (image_id, position, chain_id) SELECT i.id, 0, l.chain_id \
             FROM (SELECT id, row_number() OVER () AS n FROM images) i \
             JOIN (SELECT chain_id, row_number() OVER () AS n FROM layers) l ON l.n = i.n; \
             INSERT INTO image_refs (reference, image_id) \
             SELECT 'docker.io/library/filled' || created || ':latest', id FROM images; COMMIT",
        )
        .expect("references");
        // What a command finds at its start is the same with little and with much in the store.
        db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
        let ids = texts(&db, "SELECT id FROM containers WHERE name LIKE 'filled%'");
        for id in &ids {
            let dir = self.path("root/containers").join(id);
            std::fs::create_dir(&dir).expect("a directory");
            std::fs::write(dir.join("wanted.json"), "\"stopped\"").expect("a file");
            let exit = r#"{"code":0,"since":1,"at":2,"out_of_memory":false,"pids_refused":0,"error":null}"#;
            std::fs::write(dir.join("exit.json"), exit).expect("a file");
        }
        let layers = texts(&db, "SELECT chain_id FROM layers");
        layers
            .iter()
            .for_each(|l| std::fs::create_dir_all(self.path("root/layers").join(l).join("fs")).expect("a layer"));
        Filled { bench: self, ids, layers }
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        let db = open(self.bench);
        let gone = db.execute_batch(
            "DELETE FROM containers WHERE name LIKE 'filled%'; DELETE FROM image_refs WHERE reference LIKE '%/filled%'; \
             DELETE FROM images; DELETE FROM layers; PRAGMA wal_checkpoint(TRUNCATE)",
        );
        let containers = self.ids.iter().map(|id| self.bench.path("root/containers").join(id));
        let places: Vec<PathBuf> =
            containers.chain(self.layers.iter().map(|l| self.bench.path("root/layers").join(l))).collect();
        places.iter().for_each(|place| drop(std::fs::remove_dir_all(place)));
        drop(self.bench.say(&["rm", "-f", "template"]));
        assert!(gone.is_ok() || std::thread::panicking(), "{gone:?}");
    }
}
