//! Private id ranges: the lowest slot of a pool that nobody has.

use rusqlite::{OptionalExtension, Transaction};

use super::StoreError;

/// Ids in one slot: what one container's user namespace gets.
pub const SLOT: u32 = 65_536;

/// A run of user and group ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IdRange {
    /// First id.
    pub start: u32,
    /// Number of ids.
    pub count: u32,
}

impl IdRange {
    /// First id after the range; 64 bits, because the last range may end at 2^32.
    pub fn end(&self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }

    /// Whether the two ranges have an id in common.
    pub fn overlaps(&self, other: &IdRange) -> bool {
        u64::from(self.start) < other.end() && u64::from(other.start) < self.end()
    }
}

/// Where slots are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangePool {
    /// First id of the pool.
    pub start: u32,
    /// Number of slots of [`SLOT`] ids each.
    pub count: u32,
}

impl Default for RangePool {
    /// For root: 32768 slots from 0x70000000 (1,879,048,192), far from the ids that distributions, directory services
    /// (sssd, winbind) and systemd-nspawn hand out. The first 4096 are below 2^31, and the low ones are taken first.
    fn default() -> Self {
        RangePool { start: 0x7000_0000, count: 32_768 }
    }
}

impl RangePool {
    /// The slots from the lowest; a pool that would pass the last usable id (2^32 - 2) ends before it.
    fn slots(self) -> impl Iterator<Item = IdRange> {
        self.slots_from(0)
    }

    /// [`RangePool::slots`] without the first ones.
    fn slots_from(self, first: u32) -> impl Iterator<Item = IdRange> {
        (first..self.count).map_while(move |index| {
            let offset = index.checked_mul(SLOT)?;
            let start = self.start.checked_add(offset)?;
            let last = start.checked_add(SLOT - 1)?;
            (last < u32::MAX).then_some(IdRange { start, count: SLOT })
        })
    }
}

/// A slot of `pool` that nobody has: the first one above all that are held, so that the number of containers costs
/// nothing; when the pool ends there, the lowest hole.
pub(super) fn free(
    tx: &Transaction<'_>,
    pool: RangePool,
    forbidden: &[IdRange],
) -> rusqlite::Result<Result<IdRange, StoreError>> {
    let sql = "SELECT start, count FROM id_ranges ORDER BY start DESC LIMIT 1";
    let top = tx.prepare_cached(sql)?.query_row([], |row| Ok(IdRange { start: row.get(0)?, count: row.get(1)? }));
    let above = match top.optional()? {
        None => 0,
        Some(top) => top.end().saturating_sub(u64::from(pool.start)).div_ceil(u64::from(SLOT)),
    };
    let closed = |slot: &IdRange| forbidden.iter().any(|range| range.overlaps(slot));
    if let Some(slot) = pool.slots_from(u32::try_from(above).unwrap_or(u32::MAX)).find(|slot| !closed(slot)) {
        return Ok(Ok(slot));
    }
    Ok(lowest_free(pool, &taken(tx)?, forbidden))
}

/// The lowest slot of `pool` that overlaps neither `taken` nor `forbidden`.
fn lowest_free(pool: RangePool, taken: &[IdRange], forbidden: &[IdRange]) -> Result<IdRange, StoreError> {
    let mut held = 0u64;
    let mut closed = 0u64;
    // `taken` is sorted and made of disjoint ranges, so one walk along it is enough; `forbidden` is a short list.
    let mut next = taken.iter().peekable();
    for slot in pool.slots() {
        while next.next_if(|range| range.end() <= u64::from(slot.start)).is_some() {}
        if next.peek().is_some_and(|range| range.overlaps(&slot)) {
            held += 1;
        } else if forbidden.iter().any(|range| range.overlaps(&slot)) {
            closed += 1;
        } else {
            return Ok(slot);
        }
    }
    Err(StoreError::NoRangeLeft {
        slot: SLOT,
        start: u64::from(pool.start),
        end: u64::from(pool.start) + u64::from(pool.count) * u64::from(SLOT),
        taken: held,
        forbidden: closed,
    })
}

/// Every range that a container holds, lowest first.
fn taken(tx: &Transaction<'_>) -> rusqlite::Result<Vec<IdRange>> {
    let mut query = tx.prepare_cached("SELECT DISTINCT start, count FROM id_ranges ORDER BY start")?;
    let rows = query.query_map([], |row| Ok(IdRange { start: row.get(0)?, count: row.get(1)? }))?;
    rows.collect()
}

/// The range that a container holds, by its id.
pub(super) fn held_by(tx: &Transaction<'_>, owner: &str) -> rusqlite::Result<Option<IdRange>> {
    let mut query = tx.prepare_cached("SELECT start, count FROM id_ranges WHERE owner = ?1")?;
    let mut rows = query.query_map([owner], |row| Ok(IdRange { start: row.get(0)?, count: row.get(1)? }))?;
    rows.next().transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u32, count: u32) -> IdRange {
        IdRange { start, count }
    }

    #[test]
    fn the_lowest_hole_is_taken() {
        let pool = RangePool { start: 100_000, count: 4 };
        assert_eq!(lowest_free(pool, &[], &[]).unwrap(), range(100_000, SLOT));
        let taken = [range(100_000, SLOT), range(100_000 + 2 * SLOT, SLOT)];
        assert_eq!(lowest_free(pool, &taken, &[]).unwrap(), range(100_000 + SLOT, SLOT));
        let forbidden = [range(100_000 + SLOT + 5, 1)];
        assert_eq!(lowest_free(pool, &taken, &forbidden).unwrap(), range(100_000 + 3 * SLOT, SLOT));
    }

    #[test]
    fn ranges_that_are_not_on_our_grid_count_too() {
        let pool = RangePool { start: 200_000, count: 3 };
        let taken = [range(0, 200_001), range(200_000 + SLOT + 7, 1)];
        assert_eq!(lowest_free(pool, &taken, &[]).unwrap().start, 200_000 + 2 * SLOT);
    }

    #[test]
    fn a_full_pool_says_why() {
        let pool = RangePool { start: 0, count: 2 };
        let error = lowest_free(pool, &[range(0, SLOT)], &[range(SLOT, 1)]).unwrap_err();
        assert!(matches!(error, StoreError::NoRangeLeft { taken: 1, forbidden: 1, end: 131_072, .. }), "{error}");
        assert!(error.hint().unwrap().contains("bulkhead rm"));
    }

    #[test]
    fn the_last_ids_are_never_given_out() {
        let pool = RangePool { start: u32::MAX - SLOT + 1, count: 3 };
        assert!(lowest_free(pool, &[], &[]).is_err());
        let default = RangePool::default();
        let last = default.slots().last().unwrap();
        assert_eq!(default.slots().count(), 32_768);
        assert!(last.end() < u64::from(u32::MAX));
    }
}
