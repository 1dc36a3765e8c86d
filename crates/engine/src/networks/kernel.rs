//! The kernel's side: every call that changes or asks the host's network.

use std::net::IpAddr;
use std::time::Duration;

use bulkhead_net::names::Doors;
use bulkhead_net::{Bridge, Declared, Drift, Member, NetError, Port, Protocol, Traffic};

use crate::error::EngineError;

/// What the kernel forwards: ports of loopback addresses are carried by a process, see [`super::proxy`].
fn forwarded(wiring: &Declared) -> Vec<Port> {
    wiring.ports.iter().filter(|p| !p.address.is_loopback()).copied().collect()
}

/// A port of an address that the host has not would lead nowhere, without a word.
fn of_this_host(address: IpAddr) -> Result<(), EngineError> {
    if address.is_unspecified() {
        return Ok(());
    }
    match std::net::UdpSocket::bind((address, 0)) {
        Err(e) if e.kind() == std::io::ErrorKind::AddrNotAvailable => {
            let accepted = "an address of this host is needed; 'ip addr' lists them";
            Err(EngineError::invalid("--publish", address.to_string(), accepted))
        }
        _ => Ok(()),
    }
}

/// Gives a container that is about to start its links, addresses, routes and ports: all of them, or nothing. Returns
/// whether the firewall had to be made or mended: other containers may lack something in it then.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn attach(pid: i32, wiring: &Declared) -> Result<bool, EngineError> {
    if wiring.is_empty() {
        return Ok(false);
    }
    wiring.ports.iter().try_for_each(|port| of_this_host(port.address))?;
    let bridges: Vec<&Bridge> = wiring.bridges.iter().collect();
    let attached = inside(bulkhead_net::attach(pid, &bridges, &wiring.members, &forwarded(wiring)))?;
    Ok(!attached.mended.is_empty())
}

/// What was done inside a container's namespace. Whoever cannot leave it must end.
fn inside<T>(done: Result<T, NetError>) -> Result<T, EngineError> {
    match done {
        Err(e @ NetError::NoWayBack(_)) => {
            // In the container's namespace nothing that this process does is the host's any more.
            let own = i32::try_from(std::process::id()).unwrap_or(0);
            bulkhead_sys::signal::kill(own, 9).unwrap_or_default();
            Err(e.into())
        }
        other => Ok(other?),
    }
}

/// All but what a process carries.
fn all(wiring: &Declared) -> Declared {
    Declared { ports: forwarded(wiring), ..wiring.clone() }
}

/// How the kernel's state differs from this, in words.
///
/// # Errors
/// What cannot be read.
pub(crate) fn verify(wiring: &Declared) -> Result<Vec<String>, EngineError> {
    let mut drift = bulkhead_net::verify(&all(wiring))?;
    // Another store of this host may have containers too.
    drift.retain(|one| !matches!(one, Drift::ElementForeign { .. } | Drift::LinkForeign { .. }));
    let mut lines: Vec<String> = drift.iter().map(ToString::to_string).collect();
    for port in wiring.ports.iter().filter_map(super::proxy::carried) {
        if listener(port.address, port.port, port.protocol).is_none() {
            let at = std::net::SocketAddr::new(port.address, port.port);
            lines.push(format!("nobody carries port {at}/{} any more; restart the container", port.protocol));
        }
    }
    Ok(lines)
}

/// Makes the kernel's state this again; what was different, in words.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn restore(wiring: &Declared) -> Result<Vec<String>, EngineError> {
    Ok(bulkhead_net::restore(&all(wiring))?.iter().map(ToString::to_string).collect())
}

/// Makes what the members of these networks may send each other right. Returns whether the firewall itself was gone.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn refresh(wiring: &Declared) -> Result<bool, EngineError> {
    Ok(bulkhead_net::refresh(wiring)?)
}

/// Takes away what a container had that has ended. What is gone already is no error.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn detach(wiring: &Declared) -> Result<(), EngineError> {
    if wiring.is_empty() {
        return Ok(());
    }
    Ok(bulkhead_net::detach(&wiring.members, &forwarded(wiring))?)
}

/// Takes a container that goes on off networks, its links too.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn unplug(wiring: &Declared) -> Result<(), EngineError> {
    if wiring.is_empty() {
        return Ok(());
    }
    Ok(bulkhead_net::unplug(&wiring.members, &forwarded(wiring))?)
}

/// Gives a container that runs a way out through this network.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn route(pid: i32, member: &Member, bridge: &Bridge) -> Result<(), EngineError> {
    inside(bulkhead_net::route(pid, member, bridge))
}

/// Lets a container reach an address outside for so long.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn pin(own: &[IpAddr], to: IpAddr, traffic: &[Traffic], life: Duration) -> Result<(), EngineError> {
    Ok(bulkhead_net::pin(own, to, traffic, life)?)
}

/// Opens the sockets of a container's resolver.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn open_names(pid: i32) -> Result<Doors, EngineError> {
    inside(bulkhead_net::names::open(pid))
}

/// Takes away the bridge of a network that is no more, with what others hold of containers that were on it.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn remove_network(bridge: &Bridge) -> Result<(), EngineError> {
    Ok(bulkhead_net::remove_network(&bridge.link)?)
}

/// Who listens on a port of the host, in words: `process 17 (nginx)`.
pub(crate) fn listener(address: IpAddr, port: u16, of: Protocol) -> Option<String> {
    bulkhead_net::holder_of(address, port, of).map(|holder| holder.to_string())
}
