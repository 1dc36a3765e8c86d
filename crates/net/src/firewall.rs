//! Keeping the tables as they should be, and their elements.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_sys::Errno;

use crate::drift::Drift;
use crate::error::NetError;
use crate::nft::batch::{Batch, Refused, socket as nft_socket};
use crate::nft::elements::Placed;
use crate::nft::model::{Element, Family, Leads, Table, Value, length};
use crate::nft::{flows, policy, read, rules};
use crate::socket::Socket;
use crate::wire::{find, text};
use crate::{Member, Port, bridge, link};

/// `ERESTART`: somebody else changed a table meanwhile.
const CHANGED_MEANWHILE: i32 = 85;
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// Times that a change is tried again for that.
const ATTEMPTS: u32 = 50;

thread_local! {
    /// The socket of the last change, with the network namespace that it is of.
    static KEPT: RefCell<Option<((u64, u64), Socket)>> = const { RefCell::new(None) };
}

/// A socket of nftables of the caller's namespace. When one that changed something is closed, the kernel waits until every
/// processor has let go of what was removed, some 10 ms; so it is kept for the next change, or for the end of the thread.
#[derive(Debug)]
pub(crate) struct Firewall {
    namespace: (u64, u64),
    socket: Option<Socket>,
}

impl Firewall {
    /// Opens one, or takes the one that was kept.
    pub(crate) fn open() -> Result<Self, NetError> {
        let own = rustix::fs::stat(c"/proc/thread-self/ns/net")
            .map_err(NetError::kernel("look at the own network namespace"))?;
        let namespace = (own.st_dev, own.st_ino);
        let kept = KEPT.with(|kept| kept.try_borrow_mut().ok().and_then(|mut kept| kept.take()));
        let socket = match kept {
            Some((of, socket)) if of == namespace => socket,
            _ => nft_socket()?,
        };
        Ok(Self { namespace, socket: Some(socket) })
    }

    /// The socket itself.
    pub(crate) fn socket(&mut self) -> Result<&mut Socket, NetError> {
        self.socket.as_mut().ok_or_else(|| NetError::kernel("use the firewall's socket")(Errno::BADF))
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let socket = self.socket.take().map(|socket| (self.namespace, socket));
        // Where thread-locals are gone already, so is the thread in a moment.
        KEPT.try_with(|kept| kept.try_borrow_mut().map(|mut kept| *kept = socket).unwrap_or_default())
            .unwrap_or_default();
    }
}

/// What is wrong with the tables themselves.
pub(crate) fn structure(socket: &mut Socket) -> Result<Vec<Drift>, NetError> {
    let mut drift = Vec::new();
    for table in rules::tables() {
        drift.extend(read::structure(socket, table)?);
    }
    Ok(drift)
}

/// Makes the tables unless they are as they should be. What is in their sets stays. Says what was wrong.
///
/// This is on the way of every start: it looks closer only when something does not look right.
pub(crate) fn ensure(socket: &mut Socket) -> Result<Vec<Drift>, NetError> {
    let mut right = true;
    for family in [Family::Bridge, Family::Inet] {
        right = right && read::looks_right(socket, family)?;
    }
    if right {
        return Ok(Vec::new());
    }
    again(socket, |socket| {
        let generation = read::generation(socket)?;
        let drift = structure(socket)?;
        if drift.is_empty() {
            return Ok(Ok(drift));
        }
        let (kept, guarded) = (kept(socket)?, guards(socket)?);
        Ok(replace(socket, generation, &kept, guarded).map(|()| drift))
    })
}

/// Makes the tables anew with exactly these elements, at once.
pub(crate) fn make(socket: &mut Socket, elements: &[Placed]) -> Result<(), NetError> {
    again(socket, |socket| {
        let generation = read::generation(socket)?;
        let guarded = guards(socket)?;
        Ok(replace(socket, generation, elements, guarded))
    })
}

fn again<T>(
    socket: &mut Socket,
    mut attempt: impl FnMut(&mut Socket) -> Result<Result<T, Refused>, NetError>,
) -> Result<T, NetError> {
    for _ in 0..ATTEMPTS {
        match attempt(socket)? {
            Err(refused) if refused.no.errno.raw_os_error() == CHANGED_MEANWHILE => {}
            done => return done.map_err(Refused::error),
        }
    }
    Err(NetError::kernel("change the firewall, which somebody else changes all the time")(Errno::AGAIN))
}

fn replace(socket: &mut Socket, generation: Option<u32>, elements: &[Placed], guarded: bool) -> Result<(), Refused> {
    let mut batch = Batch::new(socket, generation);
    for table in rules::tables() {
        batch.replace(table);
    }
    if guarded {
        batch.guard(IPV4);
    }
    batch.many(elements, true);
    batch.commit()
}

/// Whether the host forwards IPv4 for containers only, as the tables say it, or our bridges, if the tables are gone.
fn guards(socket: &mut Socket) -> Result<bool, NetError> {
    Ok(is_guarded(socket)? || bridge::any_guards(&mut link::socket()?)?)
}

/// Whether the tables say that the host forwards IPv4 for containers only.
pub(crate) fn is_guarded(socket: &mut Socket) -> Result<bool, NetError> {
    let families = read::elements(socket, Family::Inet, rules::GUARDED)?;
    Ok(families.iter().any(|shown| shown.key == [IPV4]))
}

/// Elements of the kernel's tables that fit into ours.
fn kept(socket: &mut Socket) -> Result<Vec<Placed>, NetError> {
    kept_of(socket, |_| true)
}

/// The same of the sets that are wanted.
fn kept_of(socket: &mut Socket, wanted: impl Fn(&str) -> bool) -> Result<Vec<Placed>, NetError> {
    let mut kept = Vec::new();
    let tables = rules::tables();
    for (family, name, shown) in read::declared(socket, wanted)? {
        let Some(set) = set_of(tables, name) else { continue };
        for element in shown.into_iter().filter(|s| s.key.len() == length(set.key)) {
            let data = element.data.as_deref().and_then(|data| find(data, 0, 1));
            let value = match (set.leads, data) {
                (Leads::Nowhere, None) => Value::Nothing,
                (Leads::Values(fields), Some(data)) if data.len() == length(fields) => Value::Bytes(data.to_vec()),
                _ => continue,
            };
            if element.end.as_ref().is_some_and(|end| end.len() != element.key.len()) {
                continue;
            }
            kept.push(Placed { family, set: name, element: Element { key: element.key, end: element.end, value } });
        }
    }
    Ok(kept)
}

fn set_of<'a>(tables: &'a [Table], name: &str) -> Option<&'a crate::nft::model::Set> {
    tables.iter().flat_map(|t| &t.sets).find(|s| s.name == name)
}

/// Adds elements at once. `ports` are those that the last of them are for.
pub(crate) fn add(socket: &mut Socket, elements: &[Placed], ports: &[Port]) -> Result<(), NetError> {
    let mut batch = Batch::new(socket, None);
    for (index, placed) in elements.iter().enumerate() {
        batch.add(index, placed);
    }
    batch.commit().map_err(|refused| {
        let port = refused
            .at
            .and_then(|at| at.checked_sub(elements.len().saturating_sub(ports.len())))
            .and_then(|at| ports.get(at));
        match (refused.no.errno, port) {
            (Errno::EXIST, Some(port)) => {
                NetError::PortTaken { address: port.address, port: port.port, protocol: port.protocol }
            }
            _ => refused.error(),
        }
    })
}

/// Removes elements; those that are gone already are no error.
///
/// All of them are one change. A refused one costs the kernel 10 ms, and it says only which list something is missing in:
/// so then the sets are read, and what is there is removed.
pub(crate) fn remove(socket: &mut Socket, elements: &[Placed]) -> Result<(), NetError> {
    let mut rest = elements.to_vec();
    rest.sort();
    rest.dedup();
    for _ in 0..ATTEMPTS {
        let mut batch = Batch::new(socket, None);
        batch.many(&rest, false);
        match batch.commit() {
            Err(Refused { no, .. }) if no.errno == Errno::NOENT => rest = still_there(socket, &rest)?,
            done => return done.map_err(Refused::error),
        }
    }
    Err(NetError::kernel("change the firewall, which somebody else changes all the time")(Errno::AGAIN))
}

/// Those of these, which are in order, that the kernel has.
fn still_there(socket: &mut Socket, elements: &[Placed]) -> Result<Vec<Placed>, NetError> {
    let mut there = Vec::new();
    for alike in elements.chunk_by(|a, b| (a.family, a.set) == (b.family, b.set)) {
        let Some(Placed { family, set, .. }) = alike.first() else { continue };
        let have: BTreeSet<_> = read::elements(socket, *family, set)?.into_iter().map(|s| (s.key, s.end)).collect();
        let known = |placed: &&Placed| have.contains(&(placed.element.key.clone(), placed.element.end.clone()));
        there.extend(alike.iter().filter(known).cloned());
    }
    Ok(there)
}

/// Removes and adds elements at once. What is removed must be there.
pub(crate) fn change(socket: &mut Socket, gone: &[Placed], new: &[Placed]) -> Result<(), NetError> {
    let mut batch = Batch::new(socket, None);
    batch.many(gone, false);
    batch.many(new, true);
    batch.commit().map_err(Refused::error)
}

/// Lets the host forward IPv4 for containers only.
pub(crate) fn guard(socket: &mut Socket) -> Result<(), NetError> {
    let mut batch = Batch::new(socket, None);
    batch.guard(IPV4);
    batch.commit().map_err(Refused::error)
}

/// Removes every declared element that begins with the name of one of these links, and the flows of those.
pub(crate) fn forget_links(socket: &mut Socket, links: &[&str]) -> Result<(), NetError> {
    let of_link = |placed: &Placed| {
        let name = placed.element.key.get(..16).map(text);
        name.is_some_and(|name| links.contains(&name.as_str()))
    };
    let all = kept(socket)?;
    let theirs: Vec<IpAddr> = all.iter().filter(|p| of_link(p)).filter_map(flows::neighbour).collect();
    let gone = |p: &Placed| of_link(p) || flows::concerns(p, links, &[], &theirs);
    remove(socket, &all.into_iter().filter(gone).collect::<Vec<_>>())
}

/// Removes the flows that members have a part in, which their neighbours may have been given since, and whatever says that
/// they need none.
pub(crate) fn forget_flows(socket: &mut Socket, members: &[Member]) -> Result<(), NetError> {
    let links: Vec<&str> = members.iter().map(|m| m.host_link.as_str()).collect();
    let limited = members.iter().any(|m| m.limited);
    // Who has a flow has a partner: most hosts have no policy, and this is all they are asked.
    let named = |key: &[u8], at: usize| {
        let name = key.get(at..at + 16).map(text);
        name.is_some_and(|name| links.contains(&name.as_str()))
    };
    let mut pairs = || read::elements(socket, Family::Bridge, policy::PAIRS);
    if !limited && !pairs()?.iter().any(|p| named(&p.key, 0) || named(&p.key, 16)) {
        return Ok(());
    }
    let addresses: Vec<IpAddr> = members.iter().flat_map(Member::addresses).collect();
    let all = kept_of(socket, |set| policy::FLOWS.contains(&set) || set == policy::UNLIMITED)?;
    let gone = all.into_iter().filter(|p| flows::concerns(p, &links, &[], &addresses));
    remove(socket, &gone.collect::<Vec<_>>())
}
