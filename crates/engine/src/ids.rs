//! Which ids a container gets.
//!
//! Root gives every container a slot of 65,536 ids of its own. An ordinary user owns only what `/etc/subuid` lists, and
//! cannot shift the owners of files: his containers share his subordinate range, with his own id as their root.

use std::path::Path;

use bulkhead_sandbox::facts::HostFacts;
use bulkhead_sandbox::spec::{IdMaps, IdRange, MapWriter};

use crate::error::EngineError;
use crate::store::{StoreError, subid};

/// Ids of one container.
pub(crate) const SLOT: u32 = 65_536;

/// The map of a container that has its own slot.
pub(crate) fn own(start: u32) -> IdMaps {
    let range = vec![IdRange { inside: 0, outside: start, count: SLOT }];
    IdMaps { uids: range.clone(), gids: range, writer: MapWriter::Direct }
}

/// The map of an ordinary user's containers.
pub(crate) fn of_user(facts: &HostFacts) -> IdMaps {
    let helpers = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"].iter().all(|p| Path::new(p).exists());
    let name = user_name(facts.uid);
    let uids = subordinate("/etc/subuid", name.as_deref(), facts.uid);
    let gids = subordinate("/etc/subgid", name.as_deref(), facts.uid);
    // The helpers look the caller up by name.
    match (helpers && name.is_some(), uids, gids) {
        (true, Some(uids), Some(gids)) => {
            IdMaps { uids: with_own(facts.uid, uids), gids: with_own(facts.gid, gids), writer: MapWriter::Helpers }
        }
        _ => IdMaps {
            uids: vec![IdRange { inside: 0, outside: facts.uid, count: 1 }],
            gids: vec![IdRange { inside: 0, outside: facts.gid, count: 1 }],
            writer: MapWriter::Single,
        },
    }
}

/// The caller's own id as 0, then his subordinate ids.
fn with_own(id: u32, (start, count): (u32, u32)) -> Vec<IdRange> {
    vec![
        IdRange { inside: 0, outside: id, count: 1 },
        IdRange { inside: 1, outside: start, count: count.min(SLOT - 1) },
    ]
}

fn user_name(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    })
}

/// The first range of the user, who is listed by name or by number (`subuid(5)`).
fn subordinate(file: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(file).ok()?;
    let number = uid.to_string();
    subid::parse(&text)
        .into_iter()
        .find(|(owner, range)| (Some(owner.as_str()) == name || *owner == number) && range.count > 0)
        .map(|(_, range)| (range.start, range.count))
}

/// Ranges of others that a slot must not touch.
pub(crate) fn forbidden() -> Result<Vec<crate::store::IdRange>, EngineError> {
    subid::read_intervals().map_err(|e: StoreError| e.into())
}
