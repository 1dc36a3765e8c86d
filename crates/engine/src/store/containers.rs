//! Containers: their names, records and id ranges.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{
    IdRange, JoinWish, RangePool, Store, StoreError, VolumeRecord, VolumeUse, hex_digest, names, new_id, ranges,
};
use crate::request::ContainerRequest;

/// A container to be recorded.
#[derive(Debug, Clone, Default)]
pub struct NewContainer {
    /// 64 hex digits; `None`: made here.
    pub id: Option<String>,
    /// The wanted name; `None`: made here.
    pub name: Option<String>,
    /// Id of the image, with or without `sha256:`; it must be in the store.
    pub image_id: Option<String>,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// What was asked.
    pub request: ContainerRequest,
    /// Volumes that it uses.
    pub volumes: Vec<VolumeUse>,
    /// Networks that it is connected to.
    pub networks: Vec<JoinWish>,
}

/// Takes the directory of a volume away.
pub type Retire<'a> = dyn FnMut(&str) -> std::io::Result<()> + 'a;

/// Where an id range is to come from.
#[derive(Debug, Clone, Copy)]
pub struct RangeWish<'a> {
    /// The slots to choose from.
    pub pool: RangePool,
    /// Intervals that belong to somebody else; see [`super::subid::read_intervals`].
    pub forbidden: &'a [IdRange],
    /// Not a slot of its own, but that of the container with this id: each holds it as long as it exists.
    pub beside: Option<&'a str>,
}

/// A container as the store knows it. Whether it runs is not here: that is asked of its monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    /// 64 hex digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// Image id, 64 hex digits.
    pub image_id: Option<String>,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// The container's own ids on the host.
    pub range: Option<IdRange>,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// What was asked.
    pub request: ContainerRequest,
    /// The specification as JSON, once [`Store::set_spec`] stored it.
    pub spec: Option<Vec<u8>>,
    /// It is whole, and stays when it never ran.
    pub ready: bool,
}

/// The columns that [`read_row`] expects, in its order.
pub(super) const COLUMNS: &str = "c.id, c.name, c.image_id, c.created, r.start, r.count, c.auto_remove, c.request, c.spec, c.ready \
     FROM containers c LEFT JOIN id_ranges r ON r.owner = c.id";

impl Store {
    /// Records a container and takes its name, and its id range where one is wished, in one transaction.
    ///
    /// # Errors
    ///
    /// A name that is taken or not allowed, a pool without a free slot, an image id that is not in the store.
    pub fn create_container(
        &self,
        new: &NewContainer,
        range: Option<RangeWish<'_>>,
    ) -> Result<ContainerRecord, StoreError> {
        self.create_container_with(new, range, |_| Ok(()))
    }

    /// [`Store::create_container`], with `place` called for each volume that is new, inside the transaction: it renames
    /// the volume's directory from staging to [`super::Paths::volume`].
    ///
    /// # Errors
    ///
    /// As [`Store::create_container`], a volume that was removed or replaced meanwhile, and what `place` returns.
    pub fn create_container_with(
        &self,
        new: &NewContainer,
        range: Option<RangeWish<'_>>,
        mut place: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<ContainerRecord, StoreError> {
        if let Some(name) = &new.name {
            names::check(name)?;
        }
        let id = match &new.id {
            Some(id) => hex_digest(id).ok_or_else(|| bad_digest("container id", id))?,
            None => new_id()?,
        };
        let image_id = match &new.image_id {
            Some(image) => Some(hex_digest(image).ok_or_else(|| bad_digest("image id", image))?),
            None => None,
        };
        let request = serde_json::to_string(&new.request).map_err(|source| StoreError::Record {
            what: "store the request",
            id: id.clone(),
            source,
        })?;
        let what = "record the container";
        let wrap = self.wrap(what);
        self.write(what, |tx| {
            let name = match &new.name {
                Some(name) => match holder(tx, name).map_err(&wrap)? {
                    Some(holder) => return Err(StoreError::NameInUse { name: name.clone(), holder }),
                    None => name.clone(),
                },
                None => free_name(tx).map_err(&wrap)??,
            };
            if let Some(image) = &image_id
                && !image_exists(tx, image).map_err(&wrap)?
            {
                return Err(StoreError::NoSuchImage { query: image.clone() });
            }
            tx.execute(
                "INSERT INTO containers (id, name, image_id, created, auto_remove, request, ready) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
                params![id, name, image_id, new.created, new.auto_remove, request],
            )
            .map_err(&wrap)?;
            let range = match range {
                Some(wish) => {
                    let slot = match wish.beside {
                        Some(other) => ranges::held_by(tx, other)
                            .map_err(&wrap)?
                            .ok_or_else(|| StoreError::NoSuchContainer { query: other.to_owned() })?,
                        None => ranges::free(tx, wish.pool, wish.forbidden).map_err(&wrap)??,
                    };
                    tx.execute(
                        "INSERT INTO id_ranges (start, count, owner) VALUES (?1, ?2, ?3)",
                        params![slot.start, slot.count, id],
                    )
                    .map_err(&wrap)?;
                    Some(slot)
                }
                None => None,
            };
            self.record_joins(tx, &id, &new.networks)?;
            // Last: what it renames stays renamed when the transaction fails.
            self.record_uses(tx, &id, &new.volumes, &mut place)?;
            Ok(ContainerRecord {
                id: id.clone(),
                name,
                image_id: image_id.clone(),
                created: new.created,
                range,
                auto_remove: new.auto_remove,
                request: new.request.clone(),
                spec: None,
                ready: false,
            })
        })
    }

    /// Stores the specification (JSON) that was made after the id range was known; `ready`: the container is whole.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchContainer`] when the container was removed meanwhile.
    pub fn set_spec(&self, id: &str, spec: &[u8], ready: bool) -> Result<(), StoreError> {
        self.write("store the specification", |tx| self.set_spec_in(tx, id, spec, ready))
    }

    /// Part of a transaction: stores the specification.
    pub(in crate::store) fn set_spec_in(
        &self,
        tx: &Transaction<'_>,
        id: &str,
        spec: &[u8],
        ready: bool,
    ) -> Result<(), StoreError> {
        let changed = tx.execute("UPDATE containers SET spec = ?2, ready = ?3 WHERE id = ?1", params![id, spec, ready]);
        existing(changed.map_err(self.wrap("store the specification"))?, id)
    }

    /// Stores what is asked of a container, and its specification, after a change of both.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchContainer`] when the container was removed meanwhile.
    pub fn update_container(&self, id: &str, request: &ContainerRequest, spec: &[u8]) -> Result<(), StoreError> {
        let what = "store the change";
        let wrap = self.wrap(what);
        let request = serde_json::to_string(request).map_err(|source| StoreError::Record {
            what: "store the request",
            id: id.to_owned(),
            source,
        })?;
        self.write(what, |tx| {
            let changed =
                tx.execute("UPDATE containers SET request = ?2, spec = ?3 WHERE id = ?1", params![id, request, spec]);
            existing(changed.map_err(&wrap)?, id)
        })
    }

    /// Gives the container with this full id another name.
    ///
    /// # Errors
    ///
    /// A name that is taken or not allowed; [`StoreError::NoSuchContainer`].
    pub fn rename_container(&self, id: &str, name: &str) -> Result<(), StoreError> {
        names::check(name)?;
        let what = "rename the container";
        let wrap = self.wrap(what);
        self.write(what, |tx| {
            if let Some(holder) = holder(tx, name).map_err(&wrap)? {
                return Err(StoreError::NameInUse { name: name.to_owned(), holder });
            }
            let changed = tx.execute("UPDATE containers SET name = ?2 WHERE id = ?1", params![id, name]);
            existing(changed.map_err(&wrap)?, id)
        })
    }

    /// Containers that were being made, or made and started at once.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn unready_containers(&self) -> Result<Vec<ContainerRecord>, StoreError> {
        let what = "list the containers";
        let wrap = self.wrap(what);
        let sql = format!("SELECT {COLUMNS} WHERE c.ready = 0");
        let mut query = self.conn.prepare_cached(&sql).map_err(&wrap)?;
        let rows = query.query_map([], read_row).map_err(&wrap)?;
        rows.map(|raw| raw.map_err(&wrap)?.parse()).collect()
    }

    /// Whether there is a container with this full id. Unlike a search it takes nothing for a name.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn has_container(&self, id: &str) -> Result<bool, StoreError> {
        let wrap = self.wrap("look for the container");
        let mut query = self.conn.prepare_cached("SELECT 1 FROM containers WHERE id = ?1").map_err(&wrap)?;
        query.exists([id]).map_err(&wrap)
    }

    /// Marks a container as one that is not whole: what is left of it is removed, by whoever finds it.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn unready(&self, id: &str) -> Result<(), StoreError> {
        let what = "mark the container for removal";
        let wrap = self.wrap(what);
        self.write(what, |tx| {
            tx.execute("UPDATE containers SET ready = 0 WHERE id = ?1", [id]).map(drop).map_err(&wrap)
        })
    }

    /// Forgets the container with this full id; its name and its id range are free again.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchContainer`].
    pub fn remove_container(&self, id: &str) -> Result<(), StoreError> {
        self.remove_container_with(id, None).map(drop)
    }

    /// [`Store::remove_container`]; with `retire` also the anonymous volumes that were made for it and that no other
    /// container uses: it is called for each inside the transaction, and renames the directory to staging. Returns them.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchContainer`], and what `retire` returns; then nothing is removed.
    pub fn remove_container_with(
        &self,
        id: &str,
        retire: Option<&mut Retire<'_>>,
    ) -> Result<Vec<VolumeRecord>, StoreError> {
        let what = "remove the container";
        let wrap = self.wrap(what);
        self.write(what, |tx| {
            let volumes = if retire.is_some() { self.anonymous_of(tx, id)? } else { Vec::new() };
            // The range and the uses of volumes go with their owner (ON DELETE CASCADE).
            let changed = tx.execute("DELETE FROM containers WHERE id = ?1", [id]);
            existing(changed.map_err(&wrap)?, id)?;
            match retire {
                Some(retire) => self.delete_anonymous(tx, &volumes, retire),
                None => Ok(Vec::new()),
            }
        })
    }

    /// The container with this name, full id, or unique start of an id: in this order, as Docker looks.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchContainer`] and [`StoreError::Ambiguous`].
    pub fn find_container(&self, query: &str) -> Result<ContainerRecord, StoreError> {
        let missing = || StoreError::NoSuchContainer { query: query.to_owned() };
        // Docker's own clients write names with a slash in front.
        let name = query.strip_prefix('/').unwrap_or(query);
        if name.is_empty() {
            return Err(missing());
        }
        let what = "look for the container";
        let wrap = self.wrap(what);
        self.read(what, |tx| {
            let exact = format!("SELECT {COLUMNS} WHERE c.id = ?1 OR c.name = ?1 ORDER BY c.id = ?1 DESC LIMIT 1");
            let found = tx.prepare_cached(&exact).and_then(|mut query| query.query_row([name], read_row).optional());
            if let Some(raw) = found.map_err(&wrap)? {
                return raw.parse();
            }
            if !name.bytes().all(|byte| byte.is_ascii_hexdigit()) || name.len() >= 64 {
                return Err(missing());
            }
            let (low, high) = prefix_bounds(name);
            let sql = format!("SELECT {COLUMNS} WHERE c.id >= ?1 AND c.id < ?2 ORDER BY c.id LIMIT 4");
            let mut select = tx.prepare_cached(&sql).map_err(&wrap)?;
            let rows = select.query_map([low, high], read_row).map_err(&wrap)?;
            let mut rows = rows.collect::<Result<Vec<_>, _>>().map_err(&wrap)?;
            if rows.len() > 1 {
                let matches = rows.iter().map(|raw| raw.id.clone()).collect();
                return Err(StoreError::Ambiguous { prefix: query.to_owned(), matches });
            }
            rows.pop().ok_or_else(missing)?.parse()
        })
    }

    /// Every container, the newest first.
    ///
    /// # Errors
    ///
    /// Only those of the database.
    pub fn list_containers(&self) -> Result<Vec<ContainerRecord>, StoreError> {
        let what = "list the containers";
        let wrap = self.wrap(what);
        let sql = format!("SELECT {COLUMNS} ORDER BY c.created DESC, c.id");
        let mut query = self.conn.prepare_cached(&sql).map_err(&wrap)?;
        let rows = query.query_map([], read_row).map_err(&wrap)?;
        rows.map(|raw| raw.map_err(&wrap)?.parse()).collect()
    }
}

/// The lowest and the first too high text of those that start with `prefix` (hex digits, so `g` is above all of them).
pub(super) fn prefix_bounds(prefix: &str) -> (String, String) {
    let low = prefix.to_ascii_lowercase();
    let high = format!("{low}g");
    (low, high)
}

pub(super) fn bad_digest(what: &'static str, value: &str) -> StoreError {
    StoreError::InvalidDigest { what, value: value.to_owned() }
}

fn existing(changed: usize, id: &str) -> Result<(), StoreError> {
    if changed == 0 { Err(StoreError::NoSuchContainer { query: id.to_owned() }) } else { Ok(()) }
}

fn holder(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<String>> {
    tx.prepare_cached("SELECT id FROM containers WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

fn image_exists(tx: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM images WHERE id = ?1")?.exists([id])
}

fn free_name(tx: &Transaction<'_>) -> rusqlite::Result<Result<String, StoreError>> {
    let candidates = match names::candidates() {
        Ok(candidates) => candidates,
        Err(error) => return Ok(Err(error)),
    };
    let mut last = String::new();
    for name in candidates {
        if holder(tx, &name)?.is_none() {
            return Ok(Ok(name));
        }
        last = name;
    }
    // Not reached before 2^32 numbers are used up.
    Ok(Err(StoreError::InvalidName { name: last }))
}

/// A row as it is in the table, before its JSON is read.
pub(super) struct RawContainer {
    id: String,
    name: String,
    image_id: Option<String>,
    created: i64,
    range: Option<IdRange>,
    auto_remove: bool,
    request: String,
    spec: Option<Vec<u8>>,
    ready: bool,
}

pub(super) fn read_row(row: &Row<'_>) -> rusqlite::Result<RawContainer> {
    let start: Option<u32> = row.get(4)?;
    let count: Option<u32> = row.get(5)?;
    Ok(RawContainer {
        id: row.get(0)?,
        name: row.get(1)?,
        image_id: row.get(2)?,
        created: row.get(3)?,
        range: start.zip(count).map(|(start, count)| IdRange { start, count }),
        auto_remove: row.get(6)?,
        request: row.get(7)?,
        spec: row.get(8)?,
        ready: row.get(9)?,
    })
}

impl RawContainer {
    pub(super) fn parse(self) -> Result<ContainerRecord, StoreError> {
        let request = serde_json::from_str(&self.request).map_err(|source| StoreError::Record {
            what: "read the request",
            id: self.id.clone(),
            source,
        })?;
        Ok(ContainerRecord {
            id: self.id,
            name: self.name,
            image_id: self.image_id,
            created: self.created,
            range: self.range,
            auto_remove: self.auto_remove,
            request,
            spec: self.spec,
            ready: self.ready,
        })
    }
}
