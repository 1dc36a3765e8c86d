//! What the kernel has beside what is declared, and what the walls have stopped.

use std::net::IpAddr;

use bulkhead_net::Station;

use super::place::Place;
use super::{declared, kernel, lan, rootless, wire};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;

/// What was found, one line for each difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// What differed.
    pub found: Vec<String>,
    /// What differs still.
    pub left: Vec<String>,
}

/// How the kernel's state differs from what the running containers are to have; with `mend` it is made right, and nothing of
/// anybody else is taken away.
///
/// # Errors
/// What cannot be read, or the kernel refuses.
pub fn verify(engine: &Engine, mend: bool) -> Result<Verified, EngineError> {
    engine.recover()?;
    let all = declared(engine)?;
    if all.is_empty() {
        // No container that runs has a network: there need be none.
        return Ok(Verified::default());
    }
    let running = running(engine)?;
    let look = |place: &Place| -> Result<Vec<String>, EngineError> {
        let mut lines = kernel::verify(place, &all, &running)?;
        if let Some(lost) = rootless::lost(engine)? {
            lines.push(lost);
        }
        Ok(lines)
    };
    let found = look(&rootless::place(engine)?)?;
    if !mend || found.is_empty() {
        return Ok(Verified { left: found.clone(), found });
    }
    let (place, _) = rootless::ensure(engine)?;
    kernel::restore(&place, &all)?;
    for uplink in &all.uplinks {
        // What is the host's own is the administrator's to bring back, and said again.
        lan::prepare(std::slice::from_ref(uplink)).unwrap_or_default();
    }
    Ok(Verified { found, left: look(&place)? })
}

/// The containers that run on links of the host, by their first processes.
fn running(engine: &Engine) -> Result<Vec<(i32, Vec<Station>)>, EngineError> {
    let store = engine.store()?;
    let mut all = Vec::new();
    for id in store.leaseholders()? {
        let stations = wire::wiring(&store.joined(&id)?, &[]).stations;
        let layout = Layout::new(&engine.paths, &id);
        // The number of one that has ended may be somebody else's by now.
        if let Some(state) = layout.read_state()
            && !stations.is_empty()
            && crate::containers::is_running(&layout)
        {
            all.push((state.pid, stations));
        }
    }
    Ok(all)
}

/// Packets that were stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Why: the name of a counter.
    pub reason: String,
    /// The container that sent it, where the kernel remembers.
    pub container: String,
    /// From where, where it remembers.
    pub from: Option<IpAddr>,
    /// To where.
    pub to: Option<IpAddr>,
    /// The container that has that address.
    pub peer: String,
    /// Protocol above IP, and destination port.
    pub port: Option<(u8, u16)>,
    /// How many.
    pub packets: u64,
}

/// Everything that the walls have stopped: counts by reason since the firewall was made, and by container and flow in the
/// last hour.
///
/// # Errors
/// What cannot be read.
pub fn stopped(engine: &Engine) -> Result<Vec<Stopped>, EngineError> {
    engine.recover()?;
    let store = engine.store()?;
    let mut links: Vec<(String, Vec<IpAddr>, String)> = Vec::new();
    for id in store.leaseholders()? {
        let name = store.find_container(&id)?.name;
        for lease in store.joined(&id)?.into_iter().filter_map(|j| j.lease) {
            links.push((lease.link.clone(), lease.addresses().collect(), name.clone()));
        }
    }
    let by_link = |link: &str| links.iter().find(|(l, ..)| l == link).map(|(.., name)| name.clone());
    let by_address =
        |address: IpAddr| links.iter().find(|(_, all, _)| all.contains(&address)).map(|(.., name)| name.clone());
    let nothing = |reason: &str, packets| Stopped {
        reason: reason.to_owned(),
        container: String::new(),
        from: None,
        to: None,
        peer: String::new(),
        port: None,
        packets,
    };
    let all = kernel::denied(&rootless::place(engine)?)?.into_iter().filter_map(|denied| match denied {
        bulkhead_net::Denied::Reason { reason, packets, .. } => (packets > 0).then(|| nothing(&reason, packets)),
        bulkhead_net::Denied::Frames { reason, link, packets } => {
            Some(Stopped { container: by_link(&link).unwrap_or(link), ..nothing(&reason, packets) })
        }
        bulkhead_net::Denied::Flow { from, to, protocol, port, packets, unstated } => Some(Stopped {
            container: by_address(from).unwrap_or_default(),
            from: Some(from),
            to: Some(to),
            peer: by_address(to).unwrap_or_default(),
            port: Some((protocol, port)),
            ..nothing(if unstated { "unstated" } else { "flow" }, packets)
        }),
    });
    Ok(all.collect())
}
