//! A container is connected to one more network or disconnected from one, whether it runs or not.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{lan, lease, ready, settle};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::frame::{Decoder, kind};
use crate::layout::Layout;
use crate::monitor::Failure;
use crate::monitor::control::reach;
use crate::request::NetMode;
use crate::store::{ContainerRecord, JoinWish, Joined, NetworkError};

/// How long a monitor may take to change networks: the kernel takes a hundredth of that.
const PATIENCE: Duration = Duration::from_secs(20);

/// The container that a connection is about: one with a stack of its own.
fn with_own_stack(engine: &Engine, query: &str) -> Result<ContainerRecord, EngineError> {
    let record = engine.store()?.find_container(query)?;
    if record.request.net.mode != NetMode::Networks {
        return Err(EngineError::refused(
            format!("a network for container {}", record.name),
            "it was made with --network none, or has another's or the host's; make it anew with --network",
        ));
    }
    Ok(record)
}

/// Only one command at a time changes the networks of a container: what a monitor is told is all of them.
fn turn(layout: &Layout) -> Result<File, EngineError> {
    let path = layout.dir.join("networks.lock");
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(EngineError::io("open", &path))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(EngineError::io("lock", &path))?;
    Ok(file)
}

/// Connects a container to one more network.
///
/// # Errors
/// A network that is not there, or that it is connected to; an address that cannot be had; what the kernel refuses. Then it
/// has the networks that it had.
pub fn connect(engine: &Engine, container: &str, join: &JoinWish) -> Result<(), EngineError> {
    engine.recover()?;
    ready(engine)?;
    let record = with_own_stack(engine, container)?;
    let layout = Layout::new(&engine.paths, &record.id);
    let _turn = turn(&layout)?;
    // It may have had another name before.
    let record = with_own_stack(engine, &record.id)?;
    let mut join = settle::linked(engine, join)?;
    // What it reaches outside is not widened by one more network.
    join.egress.clone_from(&record.request.net.egress);
    let store = engine.store()?;
    let wanted = store.find_network(&join.network)?;
    lan::check(&record.request, &wanted)?;
    lan::check_join(&wanted, &join)?;
    lan::company_of(engine, &record, &wanted)?;
    if let Some(lock) = resting(&layout, &record)? {
        let done = store.connect(&record.id, &join, false);
        layout.clear_run();
        drop(lock);
        done?;
        return Ok(());
    }
    let network = store.connect(&record.id, &join, true)?;
    let joined = store.joined(&record.id)?;
    if let Err(e) = tell(engine, &layout, &record, &joined) {
        store.disconnect(&(record.id.clone(), record.name.clone()), &network.id)?;
        return Err(e);
    }
    files(&layout, &record, &joined)
}

/// Disconnects a container from a network.
///
/// # Errors
/// A network that is not there, or that it is not connected to; published ports that lead there, while it runs.
pub fn disconnect(engine: &Engine, container: &str, network: &str) -> Result<(), EngineError> {
    engine.recover()?;
    let record = with_own_stack(engine, container)?;
    let user = (record.id.clone(), record.name.clone());
    let layout = Layout::new(&engine.paths, &record.id);
    let _turn = turn(&layout)?;
    let store = engine.store()?;
    if let Some(lock) = resting(&layout, &record)? {
        let done = store.disconnect(&user, network);
        layout.clear_run();
        drop(lock);
        done?;
        return Ok(());
    }
    let network = store.find_network(network)?;
    let (gone, joined): (Vec<Joined>, Vec<Joined>) =
        store.joined(&record.id)?.into_iter().partition(|j| j.network.id == network.id);
    let Some(gone) = gone.first() else {
        return Err(refused_by_store(NetworkError::NotConnected { container: record.name, network: network.name }));
    };
    let leads_there = |to| gone.lease.iter().any(|lease| lease.addresses().any(|a| a == to));
    if let Some(port) = store.ports_of(&record.id)?.iter().find(|port| leads_there(port.target)) {
        return Err(EngineError::refused(
            format!("disconnecting {} from {}", record.name, network.name),
            format!("its published port {}/{} leads there; stop the container first", port.port, port.protocol),
        ));
    }
    tell(engine, &layout, &record, &joined)?;
    store.disconnect(&user, &network.id)?;
    files(&layout, &record, &joined)
}

fn refused_by_store(error: NetworkError) -> EngineError {
    crate::store::StoreError::from(error).into()
}

/// The lock of a container that does not run, and does not start as long as it is held; nothing for one that runs.
fn resting(layout: &Layout, record: &ContainerRecord) -> Result<Option<OwnedFd>, EngineError> {
    if layout.read_state().is_some() && layout.is_held() {
        return Ok(None);
    }
    match layout.claim()? {
        Some(lock) => Ok(Some(lock)),
        None if layout.read_state().is_some() => Ok(None),
        None => Err(crate::containers::busy(record)),
    }
}

/// Tells the monitor of a container which networks it has now. One that has ended meanwhile has none to tell.
fn tell(engine: &Engine, layout: &Layout, record: &ContainerRecord, joined: &[Joined]) -> Result<(), EngineError> {
    // The monitor looks which policies are the last: these were read some time ago.
    let order = lease::order(engine, record, joined, &[], "unknown".to_owned());
    let order = serde_json::to_vec(&order).map_err(|e| EngineError::refused("the networks", e.to_string()))?;
    match reach(layout, kind::NETWORKS, &order).map(|socket| answer(&socket)) {
        Some(Some((kind::DONE, _))) => return Ok(()),
        Some(Some((_, payload))) => {
            let failure: Failure = serde_json::from_slice(&payload)
                .map_err(|e| EngineError::refused("the answer of the container's monitor", e.to_string()))?;
            let Failure { message, hint, exit } = failure;
            return Err(EngineError::Reported { message, hint, exit });
        }
        Some(None) | None => {}
    }
    // Nobody answers: it has ended, or does so now.
    match layout.claim()? {
        Some(lock) => {
            lease::forget(engine, &record.id)?;
            layout.clear_run();
            drop(lock);
            Ok(())
        }
        None => Err(crate::containers::busy(record)),
    }
}

/// The first frame that the monitor sends.
fn answer(socket: &OwnedFd) -> Option<(u8, Vec<u8>)> {
    set_socket_timeout(socket, Timeout::Recv, Some(PATIENCE)).ok()?;
    let mut decoder = Decoder::default();
    let mut chunk = [0_u8; 4096];
    loop {
        match rustix::io::read(socket, &mut chunk) {
            Ok(n) if n > 0 => decoder.push(chunk.get(..n)?),
            Err(rustix::io::Errno::INTR) => continue,
            Ok(_) | Err(_) => return None,
        }
        if let Some(frame) = decoder.next_frame().ok()? {
            return Some(frame);
        }
    }
}

/// The generated files of a container that runs say what it has now.
fn files(layout: &Layout, record: &ContainerRecord, joined: &[Joined]) -> Result<(), EngineError> {
    let path = layout.etc().join("hostname");
    let hostname = std::fs::read_to_string(&path).map_err(EngineError::io("read", &path))?;
    super::write_etc(&layout.etc(), hostname.trim_end(), &record.request, joined)
}

/// A container that runs has another name: its networks know it by that.
///
/// # Errors
/// What the monitor says.
pub(crate) fn known_as(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let record = engine.store()?.find_container(id)?;
    let layout = Layout::new(&engine.paths, id);
    if record.request.net.mode != NetMode::Networks || layout.read_state().is_none() || !layout.is_held() {
        return Ok(());
    }
    let _turn = turn(&layout)?;
    // Somebody else may have renamed it meanwhile.
    let record = engine.store()?.find_container(id)?;
    tell(engine, &layout, &record, &engine.store()?.joined(id)?)
}
