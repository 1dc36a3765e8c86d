//! The tables as the kernel has them, beside what they should be.

use super::model::{Base, Chain, Family, Filled, Leads, Set, Table, Value, length, shown_as};
use super::outline::{self, Outline};
use super::{TABLE, header, kind, rules};
use crate::drift::Drift;
use crate::error::NetError;
use crate::socket::Socket;
use crate::wire::{Writer, attributes, big, find, text};

/// Length of the fixed part of these messages.
const FIXED: usize = 4;

/// An element as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) key: Vec<u8>,
    /// The last key of a range in each field.
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) range_end: bool,
    /// Packets and bytes, where they are counted.
    pub(crate) counted: Option<(u64, u64)>,
}

fn owned(bytes: Option<&[u8]>) -> Vec<u8> {
    bytes.map(<[u8]>::to_vec).unwrap_or_default()
}

fn dump<T>(
    socket: &mut Socket,
    kind: u16,
    family: Family,
    set: Option<&str>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, NetError> {
    let body = |w: &mut Writer| {
        w.text(1, TABLE);
        if let Some(set) = set {
            w.text(2, set);
        }
    };
    socket.dump(kind, &header(family.number(), 0), body, read).map_err(NetError::refused("read the firewall"))
}

/// Only what is in our table: some kernels show every table's.
fn ours(message: &[u8]) -> Option<&[u8]> {
    find(message, FIXED, 1).filter(|name| text(name) == TABLE).map(|_| message)
}

/// Number of the last change of any table.
pub(crate) fn generation(socket: &mut Socket) -> Result<Option<u32>, NetError> {
    socket
        .get(kind::GET_GENERATION, &header(0, 0), |_| {}, |message| find(message, FIXED, 1).and_then(big))
        .map_err(NetError::refused("read the firewall"))
}

/// The elements of a set.
pub(crate) fn elements(socket: &mut Socket, family: Family, set: &str) -> Result<Vec<Shown>, NetError> {
    let lists = dump(socket, kind::GET_ELEMENT, family, Some(set), |message| {
        let list = find(message, FIXED, 3)?;
        Some(attributes(list, 0).map(|(_, _, element)| shown(element)).collect::<Vec<_>>())
    })?;
    Ok(lists.into_iter().flatten().collect())
}

fn shown(element: &[u8]) -> Shown {
    let wide = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    let counted = find(element, 0, 7)
        .or_else(|| find(element, 0, 11).and_then(|list| find(list, 0, 1)))
        .and_then(|expression| find(expression, 0, 2))
        .and_then(|data| Some((wide(find(data, 0, 2)?)?, wide(find(data, 0, 1)?)?)));
    Shown {
        key: owned(find(element, 0, 1).and_then(|key| find(key, 0, 1))),
        end: find(element, 0, 10).and_then(|key| find(key, 0, 1)).map(<[u8]>::to_vec),
        data: find(element, 0, 2).map(<[u8]>::to_vec),
        range_end: find(element, 0, 3).and_then(big).unwrap_or_default() & 1 != 0,
        counted,
    }
}

/// A counter: packets and bytes.
pub(crate) fn counters(socket: &mut Socket, family: Family) -> Result<Vec<(String, u64, u64)>, NetError> {
    let wide = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    dump(socket, kind::GET_OBJECT, family, None, |message| {
        let message = ours(message)?;
        let data = find(message, FIXED, 4)?;
        Some((text(find(message, FIXED, 2)?), wide(find(data, 0, 2)?)?, wide(find(data, 0, 1)?)?))
    })
}

impl Value {
    /// Whether this is what the kernel shows.
    pub(crate) fn is(&self, data: Option<&[u8]>) -> bool {
        match (self, data) {
            (Self::Nothing, None) => true,
            (Self::Bytes(bytes), Some(data)) => find(data, 0, 1) == Some(bytes),
            _ => false,
        }
    }
}

/// Everything about a table that does not depend on containers.
pub(crate) fn structure(socket: &mut Socket, table: &Table) -> Result<Vec<Drift>, NetError> {
    let family = table.family;
    let there = socket
        .get(kind::GET_TABLE, &header(family.number(), 0), |w| w.text(1, TABLE), |_| Some(()))
        .map_err(NetError::refused("read the firewall"))?;
    if there.is_none() {
        return Ok(vec![Drift::TableMissing { family: family.name() }]);
    }
    let mut drift = chains(socket, table)?;
    drift.extend(sets(socket, table)?);
    let counters = counters(socket, family)?;
    for name in table.counters.iter().filter(|name| !counters.iter().any(|(have, ..)| have == *name)) {
        drift.push(Drift::Set { family: family.name(), set: (*name).to_owned() });
    }
    Ok(drift)
}

/// Rules of a table, in order, by chain: their expressions.
type Rules = Vec<(String, Vec<u8>)>;

fn all_rules(socket: &mut Socket, family: Family) -> Result<Rules, NetError> {
    dump(socket, kind::GET_RULE, family, None, |message| {
        let message = ours(message)?;
        Some((text(find(message, FIXED, 2)?), owned(find(message, FIXED, 4))))
    })
}

fn has_its_rules(chain: &Chain, rules: &Rules) -> bool {
    same_rules(chain, rules.iter().filter(|(name, _)| name == chain.name).map(|(_, expressions)| expressions))
}

/// Whether every chain is there, where it should be, and is used as often as it should be: by its rules and by what leads
/// to it. That costs a fifth of reading the rules. It notices what was flushed, removed or put in between, but not a rule in
/// the place of another.
pub(crate) fn looks_right(socket: &mut Socket, family: Family) -> Result<bool, NetError> {
    let have = all_chains(socket, family)?;
    let expected = outline::of(family);
    let right = |chain: &Outline| {
        let shown = have.iter().find(|(name, _)| name == chain.name);
        shown.is_some_and(|(_, m)| hooked(chain.base, m) && find(m, FIXED, 6).and_then(big) == Some(chain.used))
    };
    Ok(have.len() == expected.clone().count() && expected.clone().all(right))
}

/// Chains of a table by name.
fn all_chains(socket: &mut Socket, family: Family) -> Result<Vec<(String, Vec<u8>)>, NetError> {
    dump(socket, kind::GET_CHAIN, family, None, |message| {
        let message = ours(message)?;
        Some((text(find(message, FIXED, 3)?), message.to_vec()))
    })
}

fn chains(socket: &mut Socket, table: &Table) -> Result<Vec<Drift>, NetError> {
    let family = table.family;
    let have = all_chains(socket, family)?;
    let rules = all_rules(socket, family)?;
    let differs = |chain: &Chain| {
        let shown = have.iter().find(|(name, _)| name == chain.name);
        !shown.is_some_and(|(_, message)| hooked(chain.base, message)) || !has_its_rules(chain, &rules)
    };
    let changed = table.chains.iter().filter(|c| differs(c)).map(|c| c.name.to_owned());
    let foreign = have.iter().filter(|(name, _)| !table.chains.iter().any(|c| c.name == name)).map(|(n, _)| n.clone());
    Ok(changed.chain(foreign).map(|chain| Drift::Chain { family: family.name(), chain }).collect())
}

fn hooked(base: Option<Base>, message: &[u8]) -> bool {
    let hook = find(message, FIXED, 4);
    match (base, hook) {
        (None, None) => true,
        (Some(base), Some(hook)) => {
            find(hook, 0, 1).and_then(big) == Some(base.hook)
                && find(hook, 0, 2).and_then(big) == Some(base.priority.cast_unsigned())
                && find(message, FIXED, 5).and_then(big) == Some(1)
                && find(message, FIXED, 7).is_some_and(|kind| text(kind) == base.kind)
        }
        _ => false,
    }
}

/// Whether a table for one link has these chains and rules.
pub(crate) fn is_of_link(socket: &mut Socket, table: &str, chains: &[Chain]) -> Result<bool, NetError> {
    let body = |w: &mut Writer| w.text(1, table);
    let read = |message: &[u8]| {
        find(message, FIXED, 1).filter(|name| text(name) == table)?;
        Some((text(find(message, FIXED, 2)?), owned(find(message, FIXED, 4))))
    };
    let rules: Rules = socket
        .dump(kind::GET_RULE, &header(Family::Netdev.number(), 0), body, read)
        .map_err(NetError::refused("read the walls of a link"))?;
    Ok(chains.iter().all(|chain| has_its_rules(chain, &rules)))
}

fn same_rules<'a>(chain: &Chain, mut have: impl Iterator<Item = &'a Vec<u8>>) -> bool {
    let as_expected = chain.rules.iter().all(|rule| {
        let Some(shown) = have.next() else { return false };
        let mut expressions = attributes(shown, 0);
        let every = rule.expressions.iter().all(|expected| {
            let mut writer = Writer::default();
            expected.write(&mut writer);
            let Some(written) = writer.finish() else { return false };
            let (Some((_, _, want)), Some((_, _, got))) = (attributes(&written, 0).next(), expressions.next()) else {
                return false;
            };
            covers(want, got)
        });
        every && expressions.next().is_none()
    });
    as_expected && have.next().is_none()
}

/// Whether everything of `want` is in `got`. The kernel adds what it knows besides, like numbers of packets.
fn covers(want: &[u8], got: &[u8]) -> bool {
    attributes(want, 0).all(|(kind, nested, value)| {
        find(got, 0, kind).is_some_and(|have| if nested { covers(value, have) } else { have == value })
    })
}

fn sets(socket: &mut Socket, table: &Table) -> Result<Vec<Drift>, NetError> {
    let family = table.family;
    let have = dump(socket, kind::GET_SET, family, None, |message| {
        let message = ours(message)?;
        Some((text(find(message, FIXED, 2)?), message.to_vec()))
    })?;
    let mut drift = Vec::new();
    for set in &table.sets {
        let shown = have.iter().find(|(name, _)| name == set.name);
        let fixed = !matches!(set.filled, Filled::Ranges(_));
        let same = shown.is_some_and(|(_, message)| same_set(set, message));
        if !same || !(fixed || same_elements(set, &elements(socket, family, set.name)?)) {
            drift.push(Drift::Set { family: family.name(), set: set.name.to_owned() });
        }
    }
    Ok(drift)
}

fn same_set(set: &Set, message: &[u8]) -> bool {
    let number = |kind| find(message, FIXED, kind).and_then(big);
    let size = |fields| u32::try_from(length(fields)).ok();
    let leads = match set.leads {
        Leads::Nowhere => number(6).is_none(),
        Leads::Values(fields) => number(6) == Some(shown_as(fields)) && number(7) == size(fields),
    };
    leads
        && number(3).unwrap_or_default() == set.flags()
        && number(4) == Some(shown_as(set.key))
        && number(5) == size(set.key)
}

fn same_elements(set: &Set, have: &[Shown]) -> bool {
    let expected: Vec<(Vec<u8>, bool, &Value)> = match &set.filled {
        Filled::Ranges(ranges) => ranges
            .iter()
            .flat_map(|(from, behind)| {
                let end = behind.clone().map(|key| (key, true, &Value::Nothing));
                [Some((from.clone(), false, &Value::Nothing)), end]
            })
            .flatten()
            .collect(),
        _ => return true,
    };
    expected.len() == have.len()
        && expected.iter().all(|(key, end, value)| {
            have.iter().any(|s| s.key == *key && s.range_end == *end && value.is(s.data.as_deref()))
        })
}

/// A set and what is in it.
pub(crate) type Content = (Family, &'static str, Vec<Shown>);

/// The declared sets of both tables that are wanted, with what is in them.
pub(crate) fn declared(socket: &mut Socket, wanted: impl Fn(&str) -> bool) -> Result<Vec<Content>, NetError> {
    let mut all = Vec::new();
    for table in rules::tables() {
        for set in table.sets.iter().filter(|s| s.filled.is_declared() && wanted(s.name)) {
            all.push((table.family, set.name, elements(socket, table.family, set.name)?));
        }
    }
    Ok(all)
}
