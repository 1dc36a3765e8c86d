//! Volumes, and which container uses which of them where.

use std::collections::BTreeMap;
use std::io;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Store, StoreError};

/// A volume to be recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Docker's rule for names, 255 characters at most.
    pub name: String,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// It has no name that somebody chose.
    pub anonymous: bool,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Id of its project quota.
    pub project: Option<u32>,
}

/// A volume as the store knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Unique name; 64 hex digits when it is anonymous.
    pub name: String,
    /// Always `local`.
    pub driver: String,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// It has no name that somebody chose: it goes with its container when that is asked for.
    pub anonymous: bool,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Id of its project quota, which limits its size.
    pub project: Option<u32>,
}

/// One volume at one place of a container that is to be recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeUse {
    /// Name of the volume.
    pub volume: String,
    /// Absolute path in the container.
    pub target: String,
    /// Asked for without a name: it goes with the container when that is asked for.
    pub anonymous: bool,
    /// No other container may use it.
    pub exclusive: bool,
    /// When the volume that was looked at was made; `None`: there was none, and `new` is made.
    pub seen: Option<i64>,
    /// What is made when there is none.
    pub new: Option<NewVolume>,
}

/// Full id and name of a container.
pub type User = (String, String);

const COLUMNS: &str = "name, driver, options, labels, anonymous, created, project FROM volumes";

impl Store {
    /// Records a volume, with `place` called inside the transaction: it renames the directory from staging to
    /// [`super::Paths::volume`]. A volume that is there already with the same options is no error; returns whether it is
    /// new.
    ///
    /// # Errors
    ///
    /// A name that is not allowed, a volume of this name with other options, and what `place` returns.
    pub fn create_volume(
        &self,
        new: &NewVolume,
        mut place: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<(VolumeRecord, bool), StoreError> {
        check_volume_name(&new.name)?;
        let what = "record the volume";
        self.write(what, |tx| {
            if let Some(found) = self.volume(tx, &new.name)? {
                // What was asked for without options is content with any.
                if !new.options.is_empty() && new.options != found.options {
                    return Err(StoreError::VolumeConflict { name: new.name.clone() });
                }
                return Ok((found, false));
            }
            self.insert_volume(tx, new, &mut place)?;
            Ok((record_of(new), true))
        })
    }

    /// The volume of this name.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchVolume`].
    pub fn find_volume(&self, name: &str) -> Result<VolumeRecord, StoreError> {
        let found = self.read("look for the volume", |tx| self.volume(tx, name))?;
        found.ok_or_else(|| StoreError::NoSuchVolume { name: name.to_owned() })
    }

    /// Every volume with the containers that use it, by name.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn list_volumes(&self) -> Result<Vec<(VolumeRecord, Vec<User>)>, StoreError> {
        let what = "list the volumes";
        self.read(what, |tx| {
            let wrap = self.wrap(what);
            let mut users = self.all_users(tx)?;
            let mut query = tx.prepare_cached(&format!("SELECT {COLUMNS} ORDER BY name")).map_err(&wrap)?;
            let rows = query.query_map([], read_row).map_err(&wrap)?;
            rows.map(|raw| {
                let record = raw.map_err(&wrap)?.parse()?;
                let used = users.remove(&record.name).unwrap_or_default();
                Ok((record, used))
            })
            .collect()
        })
    }

    /// Containers that use a volume.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn volume_users(&self, name: &str) -> Result<Vec<User>, StoreError> {
        self.read("look for the users of the volume", |tx| self.users(tx, name))
    }

    /// Forgets a volume that no container uses, with `retire` called inside the transaction: it renames the directory
    /// to staging.
    ///
    /// # Errors
    ///
    /// The volume is missing or used, and what `retire` returns; then nothing is removed.
    pub fn remove_volume(
        &self,
        name: &str,
        mut retire: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<VolumeRecord, StoreError> {
        self.write("remove the volume", |tx| {
            let found = self.volume(tx, name)?.ok_or_else(|| StoreError::NoSuchVolume { name: name.to_owned() })?;
            let users = self.users(tx, name)?;
            if !users.is_empty() {
                return Err(StoreError::VolumeInUse { name: name.to_owned(), users });
            }
            self.delete_volume(tx, name, &mut retire)?;
            Ok(found)
        })
    }

    /// Forgets every volume that no container uses and that `wanted` names, all at once; `retire` as in
    /// [`Store::remove_volume`].
    ///
    /// # Errors
    ///
    /// What `retire` returns; then nothing is removed.
    pub fn prune_volumes(
        &self,
        wanted: impl Fn(&VolumeRecord) -> bool,
        mut retire: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<Vec<VolumeRecord>, StoreError> {
        let what = "remove unused volumes";
        self.write(what, |tx| {
            let wrap = self.wrap(what);
            let sql = format!(
                "SELECT {COLUMNS} WHERE NOT EXISTS (SELECT 1 FROM volume_uses u WHERE u.volume = volumes.name) ORDER BY name"
            );
            let mut query = tx.prepare(&sql).map_err(&wrap)?;
            let rows = query.query_map([], read_row).map_err(&wrap)?;
            let mut gone = Vec::new();
            for raw in rows {
                let record = raw.map_err(&wrap)?.parse()?;
                if wanted(&record) {
                    gone.push(record);
                }
            }
            for record in &gone {
                self.delete_volume(tx, &record.name, &mut retire)?;
            }
            Ok(gone)
        })
    }

    /// Names of all volumes, for `settle`, which puts their directories in order while nobody adds or removes one.
    ///
    /// # Errors
    ///
    /// What `settle` returns.
    pub fn with_known_volumes(&self, settle: impl FnOnce(&[String]) -> io::Result<()>) -> Result<(), StoreError> {
        let what = "list the volumes";
        self.write(what, |tx| {
            let wrap = self.wrap(what);
            let mut query = tx.prepare("SELECT name FROM volumes ORDER BY name").map_err(&wrap)?;
            let rows = query.query_map([], |row| row.get::<_, String>(0)).map_err(&wrap)?;
            let known = rows.collect::<Result<Vec<_>, _>>().map_err(&wrap)?;
            settle(&known).map_err(|source| StoreError::Io {
                what: "put in order the volumes at",
                path: self.paths().volumes(),
                source,
            })
        })
    }

    /// Part of the transaction that records a container.
    pub(super) fn record_uses(
        &self,
        tx: &Transaction<'_>,
        container: &str,
        uses: &[VolumeUse],
        place: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let wrap = self.wrap("record the volumes of the container");
        for one in uses {
            let name = &one.volume;
            match (self.volume(tx, name)?, &one.new) {
                (Some(found), new) => {
                    let same = match (one.seen, new) {
                        (Some(seen), _) => seen == found.created,
                        (None, Some(new)) => new.options.is_empty() || new.options == found.options,
                        (None, None) => true,
                    };
                    // The mount that was checked would not be the one that is made.
                    if !same {
                        return Err(StoreError::VolumeConflict { name: name.clone() });
                    }
                }
                (None, Some(new)) => self.insert_volume(tx, new, place)?,
                (None, None) => return Err(StoreError::NoSuchVolume { name: name.clone() }),
            }
            let other = self.users(tx, name)?.into_iter().find(|(id, _)| id != container);
            if let Some((_, holder)) = other.filter(|_| one.exclusive) {
                return Err(StoreError::VolumeHeld { name: name.clone(), holder });
            }
            tx.execute(
                "INSERT OR REPLACE INTO volume_uses (container, target, volume, anonymous) VALUES (?1, ?2, ?3, ?4)",
                params![container, one.target, name, one.anonymous],
            )
            .map_err(&wrap)?;
        }
        Ok(())
    }

    /// Part of the transaction that removes a container: the anonymous volumes that were made for it and that no other
    /// container uses. Its own uses are gone already.
    pub(super) fn delete_anonymous(
        &self,
        tx: &Transaction<'_>,
        names: &[String],
        retire: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> Result<Vec<VolumeRecord>, StoreError> {
        let mut gone = Vec::new();
        for name in names {
            let Some(record) = self.volume(tx, name)?.filter(|v| v.anonymous) else { continue };
            if self.users(tx, name)?.is_empty() {
                self.delete_volume(tx, name, retire)?;
                gone.push(record);
            }
        }
        Ok(gone)
    }

    /// Volumes that a container asked for without a name.
    pub(super) fn anonymous_of(&self, tx: &Transaction<'_>, container: &str) -> Result<Vec<String>, StoreError> {
        let wrap = self.wrap("look for the volumes of the container");
        let sql = "SELECT DISTINCT volume FROM volume_uses WHERE container = ?1 AND anonymous ORDER BY volume";
        let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
        let rows = query.query_map([container], |row| row.get(0)).map_err(&wrap)?;
        rows.collect::<Result<_, _>>().map_err(&wrap)
    }

    /// Volumes that a container asked for without a name.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn anonymous_volumes(&self, container: &str) -> Result<Vec<String>, StoreError> {
        self.read("look for the volumes of the container", |tx| self.anonymous_of(tx, container))
    }

    fn volume(&self, tx: &Transaction<'_>, name: &str) -> Result<Option<VolumeRecord>, StoreError> {
        let wrap = self.wrap("look for the volume");
        let mut query = tx.prepare_cached(&format!("SELECT {COLUMNS} WHERE name = ?1")).map_err(&wrap)?;
        query.query_row([name], read_row).optional().map_err(&wrap)?.map(RawVolume::parse).transpose()
    }

    fn insert_volume(
        &self,
        tx: &Transaction<'_>,
        new: &NewVolume,
        place: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        check_volume_name(&new.name)?;
        let text = |map: &BTreeMap<String, String>| {
            serde_json::to_string(map).map_err(|source| StoreError::Record {
                what: "store the options of volume",
                id: new.name.clone(),
                source,
            })
        };
        tx.execute(
            "INSERT INTO volumes (name, driver, options, labels, anonymous, created, project) VALUES (?1, 'local', ?2, ?3, ?4, ?5, ?6)",
            params![new.name, text(&new.options)?, text(&new.labels)?, new.anonymous, new.created, new.project],
        )
        .map_err(self.wrap("record the volume"))?;
        place(&new.name).map_err(|source| StoreError::Io {
            what: "put in place the volume at",
            path: self.paths().volume(&new.name),
            source,
        })
    }

    fn delete_volume(
        &self,
        tx: &Transaction<'_>,
        name: &str,
        retire: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        tx.execute("DELETE FROM volumes WHERE name = ?1", [name]).map_err(self.wrap("remove the volume"))?;
        retire(name).map_err(|source| StoreError::Io {
            what: "take away the volume at",
            path: self.paths().volume(name),
            source,
        })
    }

    fn users(&self, tx: &Transaction<'_>, name: &str) -> Result<Vec<User>, StoreError> {
        let wrap = self.wrap("look for the users of the volume");
        let sql = "SELECT DISTINCT c.id, c.name FROM volume_uses u JOIN containers c ON c.id = u.container \
                   WHERE u.volume = ?1 ORDER BY c.name";
        let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
        let rows = query.query_map([name], |row| Ok((row.get(0)?, row.get(1)?))).map_err(&wrap)?;
        rows.collect::<Result<_, _>>().map_err(&wrap)
    }

    fn all_users(&self, tx: &Transaction<'_>) -> Result<BTreeMap<String, Vec<User>>, StoreError> {
        let wrap = self.wrap("look for the users of the volumes");
        let sql = "SELECT DISTINCT u.volume, c.id, c.name FROM volume_uses u JOIN containers c ON c.id = u.container \
                   ORDER BY u.volume, c.name";
        let mut query = tx.prepare_cached(sql).map_err(&wrap)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(&wrap)?;
        let mut all: BTreeMap<String, Vec<User>> = BTreeMap::new();
        for row in rows {
            let (volume, id, name): (String, String, String) = row.map_err(&wrap)?;
            all.entry(volume).or_default().push((id, name));
        }
        Ok(all)
    }
}

fn record_of(new: &NewVolume) -> VolumeRecord {
    VolumeRecord {
        name: new.name.clone(),
        driver: "local".to_owned(),
        options: new.options.clone(),
        labels: new.labels.clone(),
        anonymous: new.anonymous,
        created: new.created,
        project: new.project,
    }
}

/// Docker's rule for volumes, `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, and the limit of a file name: it names a directory.
pub(crate) fn check_volume_name(name: &str) -> Result<(), StoreError> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && name.len() <= 255 {
        return Ok(());
    }
    Err(StoreError::InvalidVolumeName { name: name.to_owned() })
}

/// A row as it is in the table, before its JSON is read.
struct RawVolume {
    name: String,
    driver: String,
    options: String,
    labels: String,
    anonymous: bool,
    created: i64,
    project: Option<u32>,
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<RawVolume> {
    Ok(RawVolume {
        name: row.get(0)?,
        driver: row.get(1)?,
        options: row.get(2)?,
        labels: row.get(3)?,
        anonymous: row.get(4)?,
        created: row.get(5)?,
        project: row.get(6)?,
    })
}

impl RawVolume {
    fn parse(self) -> Result<VolumeRecord, StoreError> {
        let map = |text: &str| {
            serde_json::from_str(text).map_err(|source| StoreError::Record {
                what: "read the options of volume",
                id: self.name.clone(),
                source,
            })
        };
        let (options, labels) = (map(&self.options)?, map(&self.labels)?);
        Ok(VolumeRecord {
            name: self.name,
            driver: self.driver,
            options,
            labels,
            anonymous: self.anonymous,
            created: self.created,
            project: self.project,
        })
    }
}
