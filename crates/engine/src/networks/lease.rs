//! Addresses and ports of a container, from its start to its end.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use bulkhead_net::Declared;
use bulkhead_sandbox::spec::IdMaps;
use serde::{Deserialize, Serialize};

use super::kernel;
use super::place::Place;
use super::ports::expand;
use super::proxy::Proxy;
use super::wire::wiring;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::Layout;
use crate::monitor::History;
use crate::request::NetMode;
use crate::store::{ContainerRecord, Joined, LeaseWish, Paths, Store, StoreError, new_id};

/// What a monitor is told about networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkOrder {
    /// What the kernel is to have.
    wiring: Declared,
    /// Id and name of each network, for events.
    networks: Vec<(String, String)>,
    /// Where the store is: a monitor opens it to give back at the end, and to know of the other containers when the
    /// firewall had to be made.
    root: PathBuf,
    run: PathBuf,
    /// Ids of the user namespace that an ordinary user's networks are in: that of the container is made there.
    pub(crate) ids: Option<IdMaps>,
    /// The record goes with the container, and the addresses with the record.
    removed: bool,
    /// The kernel may still have something that leads to the addresses: they are nobody else's until it has not.
    #[serde(skip)]
    stuck: Cell<bool>,
}

/// What a container has until its end.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) order: NetworkOrder,
    pub(crate) joined: Vec<Joined>,
    pub(crate) place: Place,
}

/// Takes the addresses and ports of a container that is about to start. The caller holds its lock.
///
/// # Errors
/// What cannot be had, and who has it; then nothing is taken.
pub(crate) fn take(engine: &Engine, record: &ContainerRecord) -> Result<Option<Taken>, EngineError> {
    let net = &record.request.net;
    if net.mode != NetMode::Networks {
        return Ok(None);
    }
    let (place, ids) = super::rootless::ensure(engine)?;
    let ports = expand(&net.publish, net.publish_all, &net.expose, &engine.config.publish_addresses())?;
    let start = new_id()?.get(..4).and_then(|hex| u16::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let wish = LeaseWish { container: &record.id, ports: &ports, start };
    let store = engine.store()?;
    let (joined, ports) = match store.take(&wish, &kernel::listener) {
        // It may be held by one whose monitor could not give it back.
        Err(StoreError::Network(_)) if forget_all(engine)? => store.take(&wish, &kernel::listener)?,
        other => other?,
    };
    if joined.is_empty() {
        return Ok(None);
    }
    let order = NetworkOrder {
        wiring: wiring(&joined, &ports),
        networks: joined.iter().map(|j| (j.network.id.clone(), j.network.name.clone())).collect(),
        root: engine.paths.root.clone(),
        run: engine.paths.run.clone(),
        ids,
        removed: record.auto_remove,
        stuck: Cell::new(false),
    };
    Ok(Some(Taken { order, joined, place }))
}

impl NetworkOrder {
    /// Connects the program with this process id, which does not run yet. What is returned carries ports of loopback
    /// addresses, and all of an ordinary user, until it is dropped, with the rights of `user`, from the protected copy of
    /// this program.
    ///
    /// # Errors
    /// What the kernel refused; then nothing of it is left.
    pub(crate) fn attach(
        &self,
        place: &Place,
        pid: i32,
        binary: BorrowedFd<'_>,
        user: u32,
        history: &History,
    ) -> Result<Option<Proxy>, EngineError> {
        drop(std::fs::remove_file(unwired(&self.run, &history.id)));
        // What is taken by somebody else is found before anything is made.
        let proxy = Proxy::start(place, &self.wiring, binary, user)?;
        if kernel::attach(place, pid, &self.wiring)? {
            // It was gone, or somebody else has changed it: those that run get back what they lack.
            let paths = Paths { root: self.root.clone(), run: self.run.clone() };
            let all = Store::open(&paths).map_err(EngineError::from).and_then(|store| declared_in(&store));
            if let Err(e) = all.and_then(|all| kernel::restore(place, &all)) {
                kernel::detach(place, &self.wiring)?;
                return Err(e);
            }
        }
        self.tell(history, "connect");
        Ok(proxy)
    }

    /// Takes away what [`NetworkOrder::attach`] gave; the addresses stay the container's.
    pub(crate) fn detach(&self, place: &Place, history: &History) {
        // What stays is taken away by the next command that needs it: the addresses are not given back before.
        match kernel::detach(place, &self.wiring) {
            Ok(()) => {
                if self.removed {
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

    fn tell(&self, history: &History, action: &str) {
        for (id, name) in &self.networks {
            let event = Event::new(Kind::Network, action, id).with("name", name).with("type", "bridge");
            history.log.emit(&event.with("container", &history.id));
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

fn declared_in(store: &Store) -> Result<Declared, EngineError> {
    let mut all = Declared::default();
    for id in store.leaseholders()? {
        all.add(wiring(&store.joined(&id)?, &store.ports_of(&id)?));
    }
    Ok(all)
}
