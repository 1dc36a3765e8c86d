//! What is declared beside what the kernel has, and making the one the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_sys::Errno;
use bulkhead_sys::proc::Proc;

use crate::drift::Drift;
use crate::error::NetError;
use crate::firewall::Firewall;
use crate::link::{self, Address, Link};
use crate::nft::elements::{self, Placed};
use crate::nft::model::{Element, Family, Table, Value, length};
use crate::nft::read::Shown;
use crate::nft::{flows, read, rules};
use crate::socket::Socket;
use crate::{Bridge, Declared, Member, attach, bridge, check, firewall, procfs};

/// Times that a change is tried again when somebody else changes the same.
const ATTEMPTS: u32 = 20;

/// What differs from what is declared. Changes nothing.
///
/// # Errors
/// What cannot be read; what is declared and makes no sense.
pub fn verify(declared: &Declared) -> Result<Vec<Drift>, NetError> {
    checked(declared)?;
    let mut firewall = Firewall::open()?;
    let socket = firewall.socket()?;
    let mut drift = firewall::structure(socket)?;
    let (missing, foreign) = differences(socket, declared)?;
    let tables = rules::tables();
    let named = |p: &Placed| (p.set, shown(tables, p));
    drift.extend(missing.iter().map(named).map(|(set, element)| Drift::ElementMissing { set, element }));
    let wrong = wrong(declared);
    drift.extend(foreign.iter().map(|p| match (named(p), wrong(p)) {
        ((set, element), true) => Drift::ElementWrong { set, element },
        ((set, element), false) => Drift::ElementForeign { set, element },
    }));
    let bridges: Vec<&Bridge> = declared.bridges.iter().collect();
    let (v4, v6) = bridge::not_forwarding(&procfs()?, &bridges, &declared.ports)?;
    drift.extend(v4.then_some(Drift::NotForwarding { family: "IPv4" }));
    drift.extend(v6.then_some(Drift::NotForwarding { family: "IPv6" }));
    let mut links = link::socket()?;
    if !firewall::is_guarded(socket)? && bridge::any_guards(&mut links)? {
        drift.push(Drift::ElementMissing { set: rules::GUARDED, element: "IPv4".to_owned() });
    }
    drift.extend(compare_links(&mut links, declared)?.0);
    Ok(drift)
}

/// Makes the kernel's state what is declared, and says what was different. The rules and all that is in them are made in one
/// change, so that no packet finds half of them.
///
/// What cannot be mended is said too: the link of a running container, which only its next start makes, and forwarding of
/// IPv6, which is the administrator's to turn on.
///
/// # Errors
/// What the kernel refuses.
pub fn mend(declared: &Declared) -> Result<Vec<Drift>, NetError> {
    let drift = verify(declared)?;
    if !drift.is_empty() {
        put_right(declared, &drift, true)?;
    }
    Ok(drift)
}

/// As [`mend`], and takes nothing away: what is there and not declared stays, since it may be another store's or what is
/// being started at this moment. It is not said either.
///
/// # Errors
/// As [`mend`].
pub fn restore(declared: &Declared) -> Result<Vec<Drift>, NetError> {
    let mut drift = verify(declared)?;
    drift.retain(|one| !matches!(one, Drift::ElementForeign { .. } | Drift::LinkForeign { .. }));
    if !drift.is_empty() {
        put_right(declared, &drift, false)?;
    }
    Ok(drift)
}

fn put_right(declared: &Declared, drift: &[Drift], alone: bool) -> Result<(), NetError> {
    let mut firewall = Firewall::open()?;
    let socket = firewall.socket()?;
    if alone && drift.iter().any(Drift::is_structure) {
        firewall::make(socket, &elements::all(declared))?;
    } else {
        firewall::ensure(socket)?;
        let (missing, mut foreign) = differences(socket, declared)?;
        // One that leads elsewhere makes room for the right one all the same.
        let makes_room = |p: &Placed| {
            missing.iter().any(|m| m.family == p.family && m.set == p.set && m.element.key == p.element.key)
        };
        let wrong = wrong(declared);
        foreign.retain(|p| alone || wrong(p) || makes_room(p));
        firewall::change(socket, &foreign, &missing)?;
    }
    let proc = procfs()?;
    let bridges: Vec<&Bridge> = declared.bridges.iter().collect();
    match bridge::forward(&proc, socket, &bridges, &declared.ports) {
        // It is said as what was found.
        Err(NetError::Forwarding) => {}
        done => done?,
    }
    let mut links = link::socket()?;
    mend_links(&mut links, &proc, declared, alone)?;
    let all: Vec<Link> = link::ours(&mut links)?.into_iter().filter(|l| l.group == rules::BRIDGES).collect();
    bridge::keep_guard(&mut links, socket, &all)
}

/// Makes the sets right that say what members of these networks may send to each other: what is missing is
/// added and what is too much is taken away, at once. Says whether the tables had to be made for it: others that run may
/// lack something then, and [`restore`] has to tell of all of them.
///
/// # Errors
/// What the kernel refuses; what is declared and makes no sense.
pub fn refresh(declared: &Declared) -> Result<bool, NetError> {
    checked(declared)?;
    let mut firewall = Firewall::open()?;
    let socket = firewall.socket()?;
    let made = !firewall::ensure(socket)?.is_empty();
    let mut done = Ok(());
    // Somebody who ends meanwhile takes his own away.
    for _ in 0..ATTEMPTS {
        let (mut missing, mut foreign) = differences(socket, declared)?;
        let wrong = wrong(declared);
        missing.retain(flows::is_of_policy);
        foreign.retain(|p| flows::is_of_policy(p) && wrong(p));
        done = firewall::change(socket, &foreign, &missing);
        match &done {
            Err(NetError::Kernel { source: Errno::NOENT | Errno::EXIST, .. }) => {}
            _ => break,
        }
    }
    done.map(|()| made)
}

/// What is about members and networks that are declared, and is not declared itself.
fn wrong(declared: &Declared) -> impl Fn(&Placed) -> bool {
    let links: Vec<&str> = declared.members.iter().map(|m| m.host_link.as_str()).collect();
    let bridges: Vec<&str> = declared.bridges.iter().map(|b| b.link.as_str()).collect();
    let addresses: Vec<IpAddr> = declared.members.iter().flat_map(Member::addresses).collect();
    move |placed| flows::concerns(placed, &links, &bridges, &addresses)
}

fn checked(declared: &Declared) -> Result<(), NetError> {
    let bridges: Vec<&Bridge> = declared.bridges.iter().collect();
    check::all(&bridges, &declared.members, &declared.ports)
}

/// Table, set, first and last key of an element.
type Place<'a> = (Family, &'static str, &'a [u8], Option<&'a [u8]>);

/// What is missing in the sets, and what is too much.
fn differences(socket: &mut Socket, declared: &Declared) -> Result<(Vec<Placed>, Vec<Placed>), NetError> {
    let have = read::declared(socket, |_| true)?;
    let want = elements::all(declared);
    let mut shown: BTreeMap<Place<'_>, &Shown> = BTreeMap::new();
    for (family, name, all) in &have {
        shown.extend(all.iter().map(|s| ((*family, *name, s.key.as_slice(), s.end.as_deref()), s)));
    }
    let mut missing = Vec::new();
    for placed in &want {
        let key = (placed.family, placed.set, placed.element.key.as_slice(), placed.element.end.as_deref());
        match shown.get(&key) {
            Some(found) if placed.element.value.is(found.data.as_deref()) => drop(shown.remove(&key)),
            // One that leads elsewhere is both: too much, and missing.
            _ => missing.push(placed.clone()),
        }
    }
    let foreign = shown.into_keys().map(|(family, set, key, end)| Placed {
        family,
        set,
        element: Element { key: key.to_vec(), end: end.map(<[u8]>::to_vec), value: Value::Nothing },
    });
    Ok((missing, foreign.collect()))
}

/// A key for people: its fields by their kinds, and where it is a range, from and to where.
fn shown(tables: &[Table], placed: &Placed) -> String {
    let first = fields(tables, placed, &placed.element.key);
    match placed.element.end.as_ref().map(|end| fields(tables, placed, end)) {
        Some(last) if last != first => format!("{first} to {last}"),
        _ => first,
    }
}

fn fields(tables: &[Table], placed: &Placed, key: &[u8]) -> String {
    let (family, set) = (placed.family, placed.set);
    let fields = tables.iter().filter(|t| t.family == family).flat_map(|t| &t.sets).find(|s| s.name == set);
    let Some(set) = fields.filter(|s| length(s.key) == key.len()) else { return format!("{key:02x?}") };
    let mut at = 0;
    let mut parts = Vec::new();
    for field in set.key {
        let bytes = key.get(at..at + field.len()).unwrap_or_default();
        parts.push(field.show(bytes));
        at += field.len().next_multiple_of(4);
    }
    parts.join(" ")
}

/// What is different about links, and the foreign ones.
fn compare_links(socket: &mut Socket, declared: &Declared) -> Result<(Vec<Drift>, Vec<u32>), NetError> {
    let (all, addresses) = (link::ours(socket)?, link::all_addresses(socket)?);
    let find = |name: &str, group| all.iter().find(|l| l.name == name && l.group == group);
    let mut drift = Vec::new();
    for wanted in &declared.bridges {
        match find(&wanted.link, rules::BRIDGES) {
            None => drift.push(Drift::BridgeMissing { link: wanted.link.clone() }),
            Some(link) => drift.extend(bridge_changes(wanted, link, &addresses)),
        }
    }
    let pinned = if declared.members.is_empty() { BTreeSet::new() } else { link::pinned(socket)? };
    for member in &declared.members {
        match find(&member.host_link, rules::PORTS) {
            None => drift.push(Drift::MemberMissing { link: member.host_link.clone() }),
            Some(link) => {
                let network = declared.bridges.iter().find(|b| b.link == member.bridge);
                let master = find(&member.bridge, rules::BRIDGES).map(|l| l.index);
                drift.extend(network.into_iter().flat_map(|n| member_changes(member, n, link, master)));
                if !pinned.contains(&(link.index, member.mac)) {
                    drift.push(changed(link, "the bridge does not know the container's link address there"));
                }
            }
        }
    }
    let known = |l: &&Link| {
        declared.bridges.iter().any(|b| b.link == l.name) || declared.members.iter().any(|m| m.host_link == l.name)
    };
    let foreign: Vec<&Link> = all.iter().filter(|l| !known(l)).collect();
    drift.extend(foreign.iter().map(|l| Drift::LinkForeign { link: l.name.clone() }));
    Ok((drift, foreign.iter().map(|l| l.index).collect()))
}

fn changed(link: &Link, what: impl Into<String>) -> Drift {
    Drift::Changed { link: link.name.clone(), what: what.into() }
}

fn bridge_changes(wanted: &Bridge, link: &Link, addresses: &[Address]) -> Vec<Drift> {
    let mut drift = Vec::new();
    if !link.up {
        drift.push(changed(link, "it is down"));
    }
    if link.mtu != wanted.mtu {
        drift.push(changed(link, format!("its MTU is {} instead of {}", link.mtu, wanted.mtu)));
    }
    for subnet in bridge::subnets(wanted) {
        let own = |a: &Address| (a.link, a.address, a.prefix) == (link.index, subnet.gateway, subnet.prefix);
        if !addresses.iter().any(own) {
            drift.push(changed(link, format!("it has not the address {}/{}", subnet.gateway, subnet.prefix)));
        }
    }
    drift
}

fn member_changes(member: &Member, network: &Bridge, link: &Link, master: Option<u32>) -> Vec<Drift> {
    let mut drift = Vec::new();
    if link.master.is_none() || link.master != master {
        drift.push(changed(link, format!("it is no port of {}", member.bridge)));
    }
    if link.isolated != network.isolated {
        drift.push(changed(link, if network.isolated { "it is not isolated" } else { "it is isolated" }));
    }
    if !link.locked {
        drift.push(changed(link, "it takes frames from any address"));
    }
    if !link.silent {
        drift.push(changed(link, "the host answers ARP there"));
    }
    if !link.up {
        drift.push(changed(link, "it is down"));
    }
    drift
}

fn mend_links(socket: &mut Socket, proc: &Proc, declared: &Declared, alone: bool) -> Result<(), NetError> {
    if alone {
        let (_, foreign) = compare_links(socket, declared)?;
        attach::remove_links(socket, &foreign)?;
    }
    let (all, pinned, addresses) = (link::ours(socket)?, link::pinned(socket)?, link::all_addresses(socket)?);
    for wanted in &declared.bridges {
        let (link, made) = bridge::ensure(socket, proc, wanted)?;
        if !made && !bridge_changes(wanted, &link, &addresses).is_empty() {
            bridge::set_up(socket, proc, wanted, &link)?;
        }
        for member in declared.members.iter().filter(|m| m.bridge == wanted.link) {
            let found = all.iter().find(|l| l.name == member.host_link && l.group == rules::PORTS);
            let Some(port) = found else { continue };
            let known = pinned.contains(&(port.index, member.mac));
            if !known || !member_changes(member, wanted, port, Some(link.index)).is_empty() {
                let failed = || NetError::refused(format!("put the link {:?} right", member.host_link));
                link::set_master(socket, port.index, link.index).map_err(failed())?;
                link::pin(socket, port.index, member.mac).map_err(failed())?;
                link::open_port(socket, port.index, wanted.isolated).map_err(failed())?;
            }
        }
    }
    Ok(())
}
