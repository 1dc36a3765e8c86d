//! The kernel's side: every call that changes or asks the host's network.

use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use bulkhead_net::names::Doors;
use bulkhead_net::{Bridge, Declared, Denied, Drift, Member, NetError, Port, Protocol, Station, Traffic, Uplink};
use bulkhead_sys::{Errno, fd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::place::Place;
use crate::error::EngineError;

/// What the kernel forwards: ports of loopback addresses are carried by a process, see [`super::proxy`], and so are all
/// ports of an ordinary user, who has no right over the host's packets.
fn forwarded(place: &Place, wiring: &Declared) -> Vec<Port> {
    match place {
        Place::Host => wiring.ports.iter().filter(|p| !p.address.is_loopback()).copied().collect(),
        Place::User(_) | Place::Nowhere => Vec::new(),
    }
}

/// A port of an address that the host has not would lead nowhere, without a word.
fn of_this_host(address: IpAddr) -> Result<(), EngineError> {
    if address.is_unspecified() {
        return Ok(());
    }
    match std::net::UdpSocket::bind((address, 0)) {
        Err(e) if e.kind() == std::io::ErrorKind::AddrNotAvailable => Err(not_of_this_host(address)),
        _ => Ok(()),
    }
}

/// An address that the host has not.
pub(super) fn not_of_this_host(address: IpAddr) -> EngineError {
    let accepted = "an address of this host is needed; 'ip addr' lists them";
    EngineError::invalid("--publish", address.to_string(), accepted)
}

/// Gives a container that is about to start its links, addresses, routes and ports: all of them, or nothing. Returns
/// whether the firewall had to be made or mended: other containers may lack something in it then.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn attach(place: &Place, pid: i32, wiring: &Declared) -> Result<bool, EngineError> {
    if wiring.is_unbridged() {
        return on_links(pid, wiring).map(|()| false);
    }
    let ports = forwarded(place, wiring);
    ports.iter().try_for_each(|port| of_this_host(port.address))?;
    let bridges: Vec<&Bridge> = wiring.bridges.iter().collect();
    let mended = place.act(|| {
        let attached = inside(bulkhead_net::attach(pid, &bridges, &wiring.members, &ports))?;
        Ok(!attached.mended.is_empty())
    })?;
    on_links(pid, wiring).map(|()| mended).inspect_err(|_| {
        place.act(|| Ok(bulkhead_net::unplug(&wiring.members, &ports)?)).unwrap_or_default();
    })
}

/// The part of [`attach`] that is on links of the host. Only root has such networks.
fn on_links(pid: i32, wiring: &Declared) -> Result<(), EngineError> {
    if wiring.stations.is_empty() {
        return Ok(());
    }
    inside(bulkhead_net::lan::attach(pid, &wiring.uplinks, &wiring.stations))
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
fn all(place: &Place, wiring: &Declared) -> Declared {
    Declared { ports: forwarded(place, wiring), ..wiring.clone() }
}

/// How the kernel's state differs from this, in words.
///
/// # Errors
/// What cannot be read.
pub(crate) fn verify(
    place: &Place,
    wiring: &Declared,
    running: &[(i32, Vec<Station>)],
) -> Result<Vec<String>, EngineError> {
    let mut lines = Vec::new();
    if !wiring.uplinks.is_empty() {
        lines = inside(bulkhead_net::lan::verify(&wiring.uplinks, running))?;
    }
    if wiring.is_unbridged() {
        return Ok(lines);
    }
    lines.extend(place.act(|| {
        let mut drift = bulkhead_net::verify(&all(place, wiring))?;
        // Another store of this host may have containers too.
        drift.retain(|one| !matches!(one, Drift::ElementForeign { .. } | Drift::LinkForeign { .. }));
        Ok(drift.iter().map(ToString::to_string).collect::<Vec<String>>())
    })?);
    for port in wiring.ports.iter().filter_map(|port| super::proxy::carried(place, port)) {
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
pub(crate) fn restore(place: &Place, wiring: &Declared) -> Result<Vec<String>, EngineError> {
    if wiring.is_unbridged() {
        return Ok(Vec::new());
    }
    place.act(|| Ok(bulkhead_net::restore(&all(place, wiring))?.iter().map(ToString::to_string).collect()))
}

/// Makes what the members of these networks may send each other right. Returns whether the firewall itself was gone.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn refresh(place: &Place, wiring: &Declared) -> Result<bool, EngineError> {
    place.act(|| Ok(bulkhead_net::refresh(wiring)?))
}

/// Takes away what a container had that has ended. What is gone already is no error.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn detach(place: &Place, wiring: &Declared) -> Result<(), EngineError> {
    // Links on those of the host go with the container's namespace.
    if wiring.is_unbridged() {
        return Ok(());
    }
    place.act(|| Ok(bulkhead_net::detach(&wiring.members, &forwarded(place, wiring))?))
}

/// Takes a container that goes on off networks, its links too.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn unplug(place: &Place, pid: i32, wiring: &Declared) -> Result<(), EngineError> {
    if !wiring.stations.is_empty() {
        inside(bulkhead_net::lan::unplug(pid, &wiring.stations))?;
    }
    if wiring.is_unbridged() {
        return Ok(());
    }
    place.act(|| Ok(bulkhead_net::unplug(&wiring.members, &forwarded(place, wiring))?))
}

/// Gives a container that runs a way out through this network.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn route(place: &Place, pid: i32, member: &Member, bridge: &Bridge) -> Result<(), EngineError> {
    place.act(|| inside(bulkhead_net::route(pid, member, bridge)))
}

/// As [`route`], through a network on a link of the host.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn route_by_link(pid: i32, station: &Station, uplink: &Uplink) -> Result<(), EngineError> {
    inside(bulkhead_net::lan::route(pid, station, uplink))
}

/// Lets a container reach an address outside for so long.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn pin(
    place: &Place,
    own: &[IpAddr],
    to: IpAddr,
    traffic: &[Traffic],
    life: Duration,
) -> Result<(), EngineError> {
    place.act(|| Ok(bulkhead_net::pin(own, to, traffic, life)?))
}

/// Opens the sockets of a container's resolver.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn open_names(place: &Place, pid: i32) -> Result<Doors, EngineError> {
    let Some(user) = place.user() else { return inside(bulkhead_net::names::open(pid)) };
    let failed = super::place::failed("pass on the sockets of the container's resolver");
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(&failed)?;
    user.act(|| {
        // What leads to them is closed by the end of the process, which nobody waits for.
        let doors = std::mem::ManuallyDrop::new(inside(bulkhead_net::names::open(pid))?);
        fd::send(theirs.as_fd(), b"d", &[doors.datagrams.as_fd(), doors.streams.as_fd()]).map_err(&failed)
    })?;
    let mut opened = Vec::with_capacity(2);
    fd::recv(ours.as_fd(), &mut [0; 1], &mut opened).map_err(&failed)?;
    let (streams, datagrams) = (opened.pop(), opened.pop());
    let (Some(streams), Some(datagrams)) = (streams, datagrams) else { return Err(failed(Errno::BADF)) };
    Ok(Doors { datagrams: datagrams.into(), streams: streams.into(), redirect: None })
}

/// Takes away the bridge of a network that is no more, with what others hold of containers that were on it.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn remove_network(place: &Place, bridge: &Bridge) -> Result<(), EngineError> {
    place.act(|| Ok(bulkhead_net::remove_network(&bridge.link)?))
}

/// What the walls have stopped.
///
/// # Errors
/// What cannot be read.
pub(crate) fn denied(place: &Place) -> Result<Vec<Denied>, EngineError> {
    place.act(|| Ok(bulkhead_net::denied()?))
}

/// Who listens on a port of the host, in words: `process 17 (nginx)`.
pub(crate) fn listener(address: IpAddr, port: u16, of: Protocol) -> Option<String> {
    bulkhead_net::holder_of(address, port, of).map(|holder| holder.to_string())
}
