//! Every kind of damage that `system fsck` has a name for, made by hand: that it is found, with exit code 1, and what a
//! repair leaves of it. Those that are not here are in `system.rs`.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use bulkhead_tests::life::tar;
use bulkhead_tests::{Bench, Said, is_root, skip};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

/// A sound store: an image, a volume, and two containers that were never started.
struct Ground {
    bench: Bench,
    id: String,
    other: String,
    /// Owner and group of the first one's writable layer.
    owner: (u32, u32),
    sound: Vec<u8>,
}

impl Ground {
    fn new() -> Self {
        let bench = Bench::new();
        let tree = bench.path("tree");
        std::fs::create_dir_all(tree.join("bin")).unwrap();
        std::fs::write(tree.join("file"), "content").unwrap();
        let archive = bench.path("tree.tar");
        tar(&tree, &archive, &[]);
        bench.say(&["import", archive.to_str().unwrap(), "web:1"]).done();
        bench.say(&["volume", "create", "kept"]).done();
        let create = |name: &str| bench.say(&["create", "--name", name, "web:1", "/bin/x"]).ok().trim().to_owned();
        let (id, other) = (create("one"), create("two"));
        let upper = std::fs::metadata(bench.path("root/containers").join(&id).join("fs/upper")).unwrap();
        let mut ground = Self { bench, id, other, owner: (upper.uid(), upper.gid()), sound: Vec::new() };
        ground.sql("");
        ground.sound = std::fs::read(ground.root("bulkhead.db")).unwrap();
        assert_eq!(ground.fsck(&[]), (0, vec![]));
        ground
    }

    fn root(&self, name: &str) -> PathBuf {
        self.bench.path("root").join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root("containers").join(&self.id).join(name)
    }

    fn run(&self, id: &str) -> PathBuf {
        self.bench.path("run/containers").join(id)
    }

    /// Changes the database as nobody should: nothing that it refers to is checked. `ID` and `OTHER` are the containers.
    fn sql(&self, text: &str) {
        let db = rusqlite::Connection::open(self.root("bulkhead.db")).unwrap();
        let text = text.replace("OTHER", &format!("'{}'", self.other)).replace("ID", &format!("'{}'", self.id));
        db.execute_batch(&format!("PRAGMA foreign_keys = OFF; {text}")).unwrap();
        // All of it into the one file, which can be kept and changed.
        let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0);
    }

    /// The database as it was.
    fn restore(&self) {
        for name in ["bulkhead.db-wal", "bulkhead.db-shm"] {
            drop(std::fs::remove_file(self.root(name)));
        }
        std::fs::write(self.root("bulkhead.db"), &self.sound).unwrap();
    }

    /// Overwrites the page where an index begins.
    fn damage_index(&self) {
        let db = rusqlite::Connection::open(self.root("bulkhead.db")).unwrap();
        let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'image_refs_by_image'";
        let page = db.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        let size = db.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0)).unwrap();
        drop(db);
        let mut bytes = self.sound.clone();
        let (page, size) = (usize::try_from(page).unwrap(), usize::try_from(size).unwrap());
        bytes[(page - 1) * size..page * size].fill(0xff);
        std::fs::write(self.root("bulkhead.db"), bytes).unwrap();
    }

    fn fsck(&self, words: &[&str]) -> (i32, Vec<(String, bool)>) {
        let mut all = vec!["system", "fsck", "--format", "json"];
        all.extend(words);
        found(self.bench.say(&all))
    }
}

/// Exit code, and each finding's code with whether it was repaired.
fn found(said: Said) -> (i32, Vec<(String, bool)>) {
    let value: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {} {}", said.out, said.err));
    let findings = value["Findings"].as_array().unwrap().iter();
    let mut all: Vec<_> =
        findings.map(|f| (f["Code"].as_str().unwrap().to_owned(), !f["Repaired"].is_null())).collect();
    all.sort();
    // One bad page of the database is seen from as many sides as its content happens to have.
    all.dedup_by(|a, b| a == b && a.0 == "database-damaged");
    (said.code, all)
}

/// One kind of damage.
struct Damage {
    /// What is found.
    codes: &'static [&'static str],
    /// Those of them that a repair puts right.
    repaired: &'static [&'static str],
    /// Makes it; what it returns is held until it is mended.
    make: fn(&Ground) -> Option<File>,
    /// Puts right by hand what no repair does; nothing is wrong then.
    mend: fn(&Ground),
}

impl Damage {
    fn try_it(&self) {
        let ground = Ground::new();
        let codes = self.codes;
        let held = (self.make)(&ground);
        let mut seen: Vec<_> = codes.iter().map(|code| ((*code).to_owned(), false)).collect();
        seen.sort();
        assert_eq!(ground.fsck(&[]), (1, seen.clone()), "{codes:?}");
        let text = ground.bench.say(&["system", "fsck"]);
        assert_eq!(text.code, 1, "{codes:?}: {}", text.out);
        for code in codes {
            assert!(text.out.lines().any(|line| line.starts_with(&format!("{code}: "))), "{code}: {}", text.out);
        }
        for (code, repaired) in &mut seen {
            *repaired = self.repaired.contains(&code.as_str());
        }
        seen.sort();
        let left: Vec<_> = seen.iter().filter(|(_, repaired)| !repaired).cloned().collect();
        let code = i32::from(!left.is_empty());
        assert_eq!(ground.fsck(&["--repair"]), (code, seen), "{codes:?}");
        assert_eq!(ground.fsck(&[]), (code, left), "{codes:?}");
        drop(held);
        (self.mend)(&ground);
        assert_eq!(ground.fsck(&[]), (0, vec![]), "{codes:?} mended");
    }
}

/// All at once: each waits most of its time.
fn try_all(table: &[Damage]) {
    std::thread::scope(|scope| {
        for damage in table {
            scope.spawn(|| damage.try_it());
        }
    });
}

fn nothing(_: &Ground) {}

#[test]
fn damage_of_containers() {
    try_all(&[
        Damage {
            codes: &["container-spec"],
            repaired: &[],
            make: |g| {
                g.sql("UPDATE containers SET spec = x'7b' WHERE id = ID");
                None
            },
            mend: Ground::restore,
        },
        Damage {
            codes: &["container-unfinished"],
            repaired: &["container-unfinished"],
            make: |g| {
                g.sql("UPDATE containers SET ready = 0 WHERE id = ID");
                None
            },
            mend: |g| {
                assert_eq!(g.bench.say(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "two\n");
                assert!(!g.file("").exists());
            },
        },
        Damage {
            codes: &["container-files-incomplete"; 3],
            repaired: &[],
            make: |g| {
                for part in ["etc", "fs/upper", "fs/work"] {
                    std::fs::rename(g.file(part), g.file(&format!("{part}.aside"))).unwrap();
                }
                None
            },
            mend: |g| {
                for part in ["etc", "fs/upper", "fs/work"] {
                    std::fs::rename(g.file(&format!("{part}.aside")), g.file(part)).unwrap();
                }
            },
        },
        Damage {
            codes: &["container-wanted"],
            repaired: &["container-wanted"],
            make: |g| {
                std::fs::write(g.file("wanted.json"), "\"perhaps\"").unwrap();
                None
            },
            mend: |g| assert_eq!(std::fs::read_to_string(g.file("wanted.damaged")).unwrap(), "\"perhaps\""),
        },
    ]);
}

/// Ids are handed out by root only; an ordinary user's containers have his own.
#[test]
fn damage_of_ids() {
    if !is_root() {
        return skip("damage_of_ids", "root's id ranges");
    }
    try_all(&[
        Damage {
            codes: &["container-range"],
            repaired: &[],
            make: |g| {
                g.sql("UPDATE id_ranges SET start = start + 6553600 WHERE owner = ID");
                None
            },
            mend: Ground::restore,
        },
        Damage {
            codes: &["container-owner"],
            repaired: &[],
            make: |g| {
                chown(g.file("fs/upper"), Some(0), Some(0)).unwrap();
                None
            },
            mend: |g| chown(g.file("fs/upper"), Some(g.owner.0), Some(g.owner.1)).unwrap(),
        },
        Damage {
            // The specification still says what it had before.
            codes: &["container-range", "range-overlap"],
            repaired: &[],
            make: |g| {
                g.sql(
                    "UPDATE id_ranges SET start = (SELECT start + 1 FROM id_ranges WHERE owner = OTHER) WHERE owner = ID",
                );
                None
            },
            mend: Ground::restore,
        },
    ]);
}

#[test]
fn damage_of_runs() {
    try_all(&[
        Damage {
            // No command settles what it cannot read the record of.
            codes: &["container-request", "run-stray"],
            repaired: &["run-stray"],
            make: |g| {
                std::fs::create_dir(g.run(&g.id)).unwrap();
                g.sql("UPDATE containers SET request = '{' WHERE id = ID");
                None
            },
            mend: |g| {
                assert!(!g.run(&g.id).exists());
                g.restore();
            },
        },
        Damage {
            // The end of a run, of which the disk took nothing: no repair throws it away.
            codes: &["run-stray"],
            repaired: &[],
            make: |g| {
                std::fs::create_dir(g.run(&g.id)).unwrap();
                let end = "{\"code\":7,\"since\":1,\"at\":2,\"out_of_memory\":false,\"pids_refused\":0,\"error\":null}";
                std::fs::write(g.run(&g.id).join("exit.json"), end).unwrap();
                std::fs::create_dir(g.file("exit.tmp")).unwrap();
                None
            },
            mend: |g| {
                std::fs::remove_dir(g.file("exit.tmp")).unwrap();
                assert_eq!(g.bench.state("one"), ("exited".to_owned(), 7));
                assert!(!g.run(&g.id).exists());
            },
        },
        Damage {
            codes: &["run-stray"],
            repaired: &[],
            make: |g| {
                std::fs::write(g.run(&"a".repeat(64)), "no directory").unwrap();
                None
            },
            mend: |g| std::fs::remove_file(g.run(&"a".repeat(64))).unwrap(),
        },
        Damage {
            codes: &["run-unknown"],
            repaired: &[],
            make: |g| {
                let directory = g.run(&"a".repeat(64));
                std::fs::create_dir(&directory).unwrap();
                let lock = File::create(directory.join("lock")).unwrap();
                flock(&lock, FlockOperation::LockExclusive).unwrap();
                Some(lock)
            },
            // The next command removes what nobody holds.
            mend: nothing,
        },
    ]);
}

#[test]
fn damage_of_images() {
    try_all(&[
        Damage {
            codes: &["image-config"],
            repaired: &[],
            make: |g| {
                // The digest of "{}".
                let id = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
                g.sql(&format!("INSERT INTO images (id, config_json, created, size) VALUES ('{id}', '{{}}', 0, 0)"));
                None
            },
            mend: Ground::restore,
        },
        Damage {
            codes: &["layer-unused"],
            repaired: &[],
            make: |g| {
                let chain = "b".repeat(64);
                std::fs::create_dir_all(g.root("layers").join(&chain).join("fs")).unwrap();
                g.sql(&format!(
                    "INSERT INTO layers (chain_id, diff_id, bytes, entries) VALUES ('{chain}', '{chain}', 0, 0)"
                ));
                None
            },
            mend: |g| {
                g.restore();
                std::fs::remove_dir_all(g.root("layers").join("b".repeat(64))).unwrap();
            },
        },
    ]);
}

#[test]
fn damage_of_the_database() {
    try_all(&[
        Damage {
            codes: &["database-damaged"],
            repaired: &[],
            make: |g| {
                g.damage_index();
                None
            },
            mend: Ground::restore,
        },
        Damage {
            codes: &["database-reference"],
            repaired: &[],
            make: |g| {
                g.sql("INSERT INTO image_refs (reference, image_id) VALUES ('registry.example/ghost:1', 'nobody')");
                None
            },
            mend: Ground::restore,
        },
    ]);
}

#[test]
fn damage_of_places() {
    try_all(&[
        Damage {
            codes: &["owner"],
            repaired: &[],
            make: |g| {
                let log = g.root("events.log.1");
                if is_root() {
                    std::fs::write(&log, "").unwrap();
                    chown(&log, Some(1), None).unwrap();
                } else {
                    // What a link leads to counts, and this is root's.
                    symlink("/etc/passwd", &log).unwrap();
                }
                None
            },
            mend: |g| std::fs::remove_file(g.root("events.log.1")).unwrap(),
        },
        Damage {
            codes: &["directory-mode"],
            repaired: &["directory-mode"],
            make: |g| {
                std::fs::set_permissions(g.root("volumes"), std::fs::Permissions::from_mode(0o755)).unwrap();
                None
            },
            mend: |g| assert_eq!(std::fs::metadata(g.root("volumes")).unwrap().mode() & 0o777, 0o700),
        },
        Damage {
            codes: &["volume"],
            repaired: &[],
            make: |g| {
                std::fs::rename(g.root("volumes/kept"), g.bench.path("aside")).unwrap();
                None
            },
            mend: |g| std::fs::rename(g.bench.path("aside"), g.root("volumes/kept")).unwrap(),
        },
        Damage {
            codes: &["volume"],
            repaired: &[],
            make: |g| {
                std::fs::create_dir(g.root("volumes/nobodys")).unwrap();
                None
            },
            mend: |g| std::fs::remove_dir(g.root("volumes/nobodys")).unwrap(),
        },
    ]);
}

/// A directory that its owner may not read: root may, unless it has given that right up.
#[test]
fn what_was_left_behind_cannot_be_looked_at() {
    let ground = Ground::new();
    let place = ground.bench.path("run/containers");
    let fsck = |words: &[&str]| {
        let mut all = vec!["system", "fsck", "--format", "json"];
        all.extend(words);
        if !is_root() {
            return found(ground.bench.say(&all));
        }
        let mut command = std::process::Command::new("setpriv");
        command.arg("--bounding-set=-dac_override,-dac_read_search").arg(bulkhead_tests::binary()).args(&all);
        found(command.envs(ground.bench.env()).output().unwrap().into())
    };
    let all = |repaired| vec![("directory-mode".to_owned(), repaired), ("recovery".to_owned(), false)];
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(fsck(&[]), (1, all(false)));
    assert_eq!(fsck(&["--repair"]), (1, all(true)));
    assert_eq!(fsck(&[]), (0, vec![]));
}
