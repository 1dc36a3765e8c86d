//! Addresses and ports of a container, from its start to its end.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;

use bulkhead_net::Declared;
use bulkhead_net::names::Entry;
use bulkhead_sandbox::spec::IdMaps;
use serde::{Deserialize, Serialize};

use super::calm::{self, Calm};
use super::names::Names;
use super::place::Place;
use super::ports::expand;
use super::wire::wiring;
use super::{kernel, names};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::Layout;
use crate::monitor::History;
use crate::request::NetMode;
use crate::store::{ContainerRecord, Joined, LeaseWish, NetworkRecord, Paths, PortRecord, Store, StoreError, new_id};

/// What a monitor is told about networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkOrder {
    /// What the kernel is to have.
    pub(super) wiring: Declared,
    /// What others are told of it and it of them, where its members know each other.
    pub(super) names: Option<Names>,
    /// Its networks, for events.
    networks: Vec<Told>,
    /// Where the store is: a monitor opens it to give back at the end, and to know of the other containers when the
    /// firewall had to be made.
    root: PathBuf,
    pub(super) run: PathBuf,
    /// Ids of the user namespace that an ordinary user's networks are in: that of the container is made there.
    pub(crate) ids: Option<IdMaps>,
    /// The container's id, and which policies were the last when this was made; nothing where none of the networks can have
    /// one.
    #[serde(default)]
    policies: Option<(String, String)>,
    /// The record goes with the container, and the addresses with the record.
    removed: bool,
    /// The kernel may still have something that leads to the addresses: they are nobody else's until it has not.
    #[serde(skip)]
    stuck: Rc<Cell<bool>>,
}

/// What a container has on each of its networks: the key of its place there, and the name of the link inside.
pub(super) fn ends(wiring: &Declared) -> impl Iterator<Item = (&String, &String)> {
    let members = wiring.members.iter().map(|m| (&m.host_link, &m.inner));
    members.chain(wiring.stations.iter().map(|s| (&s.key, &s.inner)))
}

/// What events tell of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    id: String,
    name: String,
    driver: String,
}

/// What a container has until its end.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) order: NetworkOrder,
    pub(crate) joined: Vec<Joined>,
    pub(crate) place: Place,
}

/// Takes the addresses and ports of a container that is about to start. The caller holds its lock. `spec` is what has to be
/// stored of one that is new.
///
/// # Errors
/// What cannot be had, and who has it; then nothing is taken.
pub(crate) fn take(
    engine: &Engine,
    record: &ContainerRecord,
    spec: Option<&[u8]>,
) -> Result<Option<Taken>, EngineError> {
    let net = &record.request.net;
    if net.mode != NetMode::Networks {
        return Ok(None);
    }
    let (place, ids) = super::rootless::ensure(engine)?;
    let ports = expand(&net.publish, net.publish_all, &net.expose, &engine.config.publish_addresses())?;
    let start = new_id()?.get(..4).and_then(|hex| u16::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let wish = LeaseWish { container: &record.id, ports: &ports, start, spec };
    // Before the store is read: one that changes meanwhile is read again.
    let policies = calm::stamp(&engine.paths.run);
    let store = engine.store()?;
    let (joined, ports) = match store.take(&wish, &kernel::listener) {
        // It may be held by one whose monitor could not give it back.
        Err(StoreError::Network(_)) if forget_all(engine)? => store.take(&wish, &kernel::listener)?,
        other => other?,
    };
    let order = NetworkOrder { ids, ..order(engine, record, &joined, &ports, policies) };
    Ok(Some(Taken { order, joined, place }))
}

/// What a monitor is told of a container with these networks and ports. `policies` says which were the last before they were
/// read.
pub(super) fn order(
    engine: &Engine,
    record: &ContainerRecord,
    joined: &[Joined],
    ports: &[PortRecord],
    policies: String,
) -> NetworkOrder {
    NetworkOrder {
        wiring: wiring(joined, ports),
        names: names::of(record, joined),
        networks: joined.iter().map(|j| Told::of(&j.network)).collect(),
        root: engine.paths.root.clone(),
        run: engine.paths.run.clone(),
        ids: None,
        policies: joined.iter().any(|j| !j.network.is_default()).then(|| (record.id.clone(), policies)),
        removed: record.auto_remove,
        stuck: Rc::default(),
    }
}

impl NetworkOrder {
    /// A run begins: what was said of the one before does not hold.
    pub(super) fn begin(&self, history: &History) {
        drop(std::fs::remove_file(unwired(&self.run, &history.id)));
    }

    /// Keeps policies as they are for as long as what is returned is held, and says what of this the kernel is to have: as
    /// they are now, and not as they were when this was made.
    pub(super) fn with_policies(&self, wiring: &Declared) -> Result<(Option<Calm>, Declared), EngineError> {
        let mut wiring = wiring.clone();
        let Some((id, known)) = &self.policies else { return Ok((None, wiring)) };
        let mut calm = calm::shared(&self.run)?;
        if calm.read() != *known {
            let store = Store::open(&Paths { root: self.root.clone(), run: self.run.clone() })?;
            renew(&mut wiring, &super::wire::wiring(&store.joined(id)?, &[]));
        }
        Ok((Some(calm), wiring))
    }

    /// Everything that containers of this store are to have.
    pub(super) fn everything(&self) -> Result<Declared, EngineError> {
        let paths = Paths { root: self.root.clone(), run: self.run.clone() };
        declared_in(&Store::open(&paths)?)
    }

    /// Who is on a network, as the store has it.
    pub(super) fn entries(&self, network: &str) -> Vec<Entry> {
        let paths = Paths { root: self.root.clone(), run: self.run.clone() };
        // Without the store there are the names of those that come from now on.
        Store::open(&paths).map_err(EngineError::from).and_then(|store| entries(&store, network)).unwrap_or_default()
    }

    /// A start that failed: nobody is told of the container, and the kernel has nothing of it.
    pub(super) fn undo(&self, place: &Place) {
        self.forget_names();
        self.stuck.set(kernel::detach(place, &self.wiring).is_err());
    }

    fn forget_names(&self) {
        if let Some(names) = &self.names
            && names.withdraw(&self.run, &|network| self.entries(network)).is_err()
        {
            self.stuck.set(true);
        }
    }

    /// Takes the container's names off the networks that the other order has not.
    pub(super) fn withdraw_beyond(&self, other: &Self) {
        let kept: Vec<&str> = other.names.iter().flat_map(Names::networks).collect();
        if let Some(names) = &self.names
            && names.without(&kept).withdraw(&self.run, &|network| self.entries(network)).is_err()
        {
            self.stuck.set(true);
        }
    }

    /// The addresses are nobody else's: the kernel may still have what leads to them.
    pub(super) fn keep(&self) {
        self.stuck.set(true);
    }

    /// Links that are there keep the names that they have inside, the others get names that are free. Ports stay, and so
    /// does where it is.
    pub(crate) fn keep_links_of(&mut self, other: &Self) {
        self.ids.clone_from(&other.ids);
        self.stuck = Rc::clone(&other.stuck);
        let had: Vec<(String, String)> = ends(&other.wiring).map(|(key, inner)| (key.clone(), inner.clone())).collect();
        // One that goes meanwhile has its name until then.
        let taken = |name: &String| had.iter().any(|(_, inner)| inner == name);
        let mut free = (0_u32..).map(|n| format!("eth{n}")).filter(|name| !taken(name));
        self.wiring.ports.clone_from(&other.wiring.ports);
        let members = self.wiring.members.iter_mut().map(|m| (&m.host_link, &mut m.inner));
        let stations = self.wiring.stations.iter_mut().map(|s| (&s.key, &mut s.inner));
        for (key, inner) in members.chain(stations) {
            match had.iter().find(|(known, _)| known == key) {
                Some((_, name)) => inner.clone_from(name),
                None => free.next().into_iter().for_each(|name| *inner = name),
            }
        }
    }

    /// Takes away what the container got; its addresses stay its own.
    pub(super) fn detach(&self, place: &Place, history: &History) {
        self.forget_names();
        // What stays is taken away by the next command that needs it: the addresses are not given back before.
        match kernel::detach(place, &self.wiring) {
            Ok(()) => {
                if self.removed && !self.stuck.get() {
                    // Whoever removes it need not look again, which costs the kernel tens of milliseconds.
                    drop(std::fs::write(unwired(&self.run, &history.id), ""));
                }
                self.tell(history, "disconnect");
            }
            Err(_) => self.stuck.set(true),
        }
    }

    /// Gives the addresses back: the container has ended for good.
    pub(crate) fn give_back(&self, id: &str) {
        if self.removed || self.stuck.get() {
            return;
        }
        let paths = Paths { root: self.root.clone(), run: self.run.clone() };
        if Store::open(&paths).and_then(|store| store.give_back(id)).is_err() {
            // A full disk, mostly. The next command sees this, and does it.
            drop(std::fs::write(self.run.join(LEFT), ""));
        }
    }

    pub(super) fn tell(&self, history: &History, action: &str) {
        self.networks.iter().for_each(|network| tell(history, action, network));
    }

    /// Tells of the networks that only one of both orders has.
    pub(super) fn tell_changes(&self, before: &Self, history: &History) {
        let only = |these: &'_ Self, those: &Self| {
            these.networks.iter().filter(|n| !those.networks.contains(n)).cloned().collect::<Vec<_>>()
        };
        only(before, self).iter().for_each(|network| tell(history, "disconnect", network));
        only(self, before).iter().for_each(|network| tell(history, "connect", network));
    }
}

impl Told {
    fn of(network: &NetworkRecord) -> Self {
        Self { id: network.id.clone(), name: network.name.clone(), driver: network.driver.clone() }
    }
}

fn tell(history: &History, action: &str, Told { id, name, driver }: &Told) {
    let event = Event::new(Kind::Network, action, id).with("name", name).with("type", driver);
    history.log.emit(&event.with("container", &history.id));
}

/// Tells that a container comes into the host's network, or that it is gone from there.
pub(crate) fn tell_of_hosts(history: &History, action: &str) {
    let host = || "host".to_owned();
    tell(history, action, &Told { id: host(), name: host(), driver: host() });
}

/// Brings what policies say up to date.
fn renew(wiring: &mut Declared, now: &Declared) {
    for bridge in &mut wiring.bridges {
        if let Some(new) = now.bridges.iter().find(|b| b.link == bridge.link) {
            bridge.policy.clone_from(&new.policy);
        }
    }
    for member in &mut wiring.members {
        if let Some(new) = now.members.iter().find(|m| m.host_link == member.host_link) {
            member.limited = new.limited;
        }
    }
}

/// A file that says that the kernel has nothing of the container any more. One that is removed at its end starts once.
fn unwired(run: &std::path::Path, id: &str) -> PathBuf {
    run.join("containers").join(id).join("unwired")
}

/// Name of a file in the run directory: a container has ended and its addresses could not be given back.
const LEFT: &str = "addresses-left";

/// Gives back what monitors could not.
///
/// # Errors
/// What the store says.
pub(crate) fn collect(engine: &Engine) -> Result<(), EngineError> {
    let left = engine.paths.run.join(LEFT);
    if !left.exists() {
        return Ok(());
    }
    match forget_all(engine) {
        // It stays for a command that finds room.
        Err(e) if e.is_full() => Ok(()),
        other => {
            other?;
            drop(std::fs::remove_file(&left));
            Ok(())
        }
    }
}

/// Takes away what the kernel has for a container that is being removed: its addresses go with its record. The caller
/// holds its lock.
///
/// # Errors
/// What the kernel or the store says.
pub(crate) fn unwire(engine: &Engine, id: &str) -> Result<(), EngineError> {
    if unwired(&engine.paths.run, id).exists() {
        return Ok(());
    }
    take_away(engine, id).map(drop)
}

/// Whether the container had an address.
fn take_away(engine: &Engine, id: &str) -> Result<bool, EngineError> {
    let store = engine.store()?;
    let joined = store.joined(id)?;
    let had = joined.iter().any(|j| j.lease.is_some());
    if had {
        for one in &joined {
            let all = || entries(store, &one.network.id).unwrap_or_default();
            names::withdraw(&engine.paths.run, &one.network.id, id, &all)?;
        }
        kernel::detach(&super::rootless::place(engine)?, &wiring(&joined, &store.ports_of(id)?))?;
    }
    Ok(had)
}

/// Takes away and gives back what a container has that has no monitor any more. The caller holds its lock.
///
/// # Errors
/// What the kernel or the store says.
pub(crate) fn forget(engine: &Engine, id: &str) -> Result<(), EngineError> {
    if take_away(engine, id)? {
        engine.store()?.give_back(id)?;
    }
    Ok(())
}

/// Does [`forget`] for every container that has addresses and nobody who looks after it: after a boot, and when something
/// cannot be had because of it. Returns whether there was one.
///
/// # Errors
/// What the store says.
pub(crate) fn forget_all(engine: &Engine) -> Result<bool, EngineError> {
    let mut any = false;
    for id in engine.store()?.leaseholders()? {
        let layout = Layout::new(&engine.paths, &id);
        if layout.is_held() {
            continue;
        }
        let free = !layout.run.exists();
        // One that has a run directory and no lock is somebody's to settle, and locked meanwhile.
        let lock = if free { layout.claim_within(std::time::Duration::from_millis(20))? } else { layout.try_lock()? };
        if lock.is_some() {
            forget(engine, &id)?;
            any = true;
            if free {
                layout.clear_run();
            }
        }
    }
    Ok(any)
}

/// Containers that have addresses and nobody who looks after them, for a check of the whole store.
///
/// # Errors
/// What the store says.
pub(crate) fn stray(engine: &Engine) -> Result<Vec<String>, EngineError> {
    let held = |id: &String| Layout::new(&engine.paths, id).is_held();
    Ok(engine.store()?.leaseholders()?.into_iter().filter(|id| !held(id)).collect())
}

/// All that the kernel is to have at this moment: the bridges, ends and ports of every container that has addresses. What
/// a check of the kernel compares with.
///
/// # Errors
/// What the store says.
pub fn declared(engine: &Engine) -> Result<Declared, EngineError> {
    declared_in(engine.store()?)
}

/// The members of a network that run, by their names.
fn entries(store: &Store, network: &str) -> Result<Vec<Entry>, EngineError> {
    let mut all = Vec::new();
    for (user, lease) in store.members(network)? {
        let Some(lease) = lease else { continue };
        let record = store.find_container(&user.0)?;
        let joined = store.joined(&user.0)?;
        let aliases = joined.iter().find(|j| j.network.id == network).map(|j| j.wish.aliases.as_slice());
        all.push(names::entry(&record, aliases.unwrap_or_default(), &lease));
    }
    Ok(all)
}

fn declared_in(store: &Store) -> Result<Declared, EngineError> {
    let mut all = Declared::default();
    for id in store.leaseholders()? {
        all.add(wiring(&store.joined(&id)?, &store.ports_of(&id)?));
    }
    Ok(all)
}
