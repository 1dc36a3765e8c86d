//! From what a container asks for to networks that are there.

use std::net::IpAddr;

use super::ports::{Exposed, Protocol, WantedPort, expand};
use super::ready;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::ImageRef;
use crate::request::{ContainerRequest, Ipc, NetMode, ProfileName};
use crate::store::{DEFAULT_NETWORK, JoinWish, NetworkRecord, check_join};

/// Decides what was left open, names every network, and refuses what cannot be; changes nothing but that the default
/// network is recorded.
///
/// # Errors
/// A network that is not there, an address that no member can have, a port that nothing could reach.
pub(crate) fn settle(engine: &Engine, request: &mut ContainerRequest, image: &ImageRef) -> Result<(), EngineError> {
    let privileged = engine.facts()?.privileged;
    let apart = if privileged { None } else { apart(engine, request)? };
    let net = &mut request.net;
    for text in &image.config.exposed_ports {
        let exposed = Exposed::parse(text).ok_or_else(|| {
            EngineError::invalid("the image's exposed port", text, "a port like 80, 80/udp or 8000-8010 is needed")
        })?;
        if !net.expose.contains(&exposed) {
            net.expose.push(exposed);
        }
    }
    net.expose.sort_unstable();
    match &net.mode {
        NetMode::Unset if apart.is_some() && net.publish.is_empty() && !net.publish_all && net.joins.is_empty() => {
            net.mode = NetMode::None;
        }
        NetMode::Unset => {
            net.mode = NetMode::Networks;
            // What was asked for the first network belongs to the default one.
            match net.joins.first_mut() {
                Some(first) => DEFAULT_NETWORK.clone_into(&mut first.network),
                None => {
                    net.joins = vec![JoinWish { network: DEFAULT_NETWORK.to_owned(), ..JoinWish::default() }];
                }
            }
        }
        NetMode::None | NetMode::Host | NetMode::Container(_) | NetMode::Networks => {}
    }
    if net.mode != NetMode::Networks {
        return without(request);
    }
    if let Some(other) = apart {
        let reason = format!(
            "the container shares a namespace with {other}, which is on no network, and the networks of an ordinary user are \
             in another user namespace; start {other} with a network, or this one with --network none"
        );
        return Err(EngineError::refused("a network", reason));
    }
    super::listed::check(net.egress.as_deref())?;
    if net.egress.is_none() && request.profile == ProfileName::Strict {
        net.egress = Some(Vec::new());
    }
    for join in &mut net.joins {
        join.egress.clone_from(&net.egress);
    }
    let networks = named(engine, &mut net.joins)?;
    networks.iter().try_for_each(|network| super::lan::check(request, network))?;
    let net = &request.net;
    if let Some(asked) = net.publish.first().map(ToString::to_string).or(net.publish_all.then(|| "-P".to_owned()))
        && !networks.iter().any(NetworkRecord::is_bridge)
    {
        return Err(EngineError::refused(format!("publishing {asked}"), super::UNPUBLISHED));
    }
    let ports = expand(&net.publish, net.publish_all, &net.expose, &engine.config.publish_addresses())?;
    let carried = |port: &&WantedPort| !privileged || port.addresses.iter().any(IpAddr::is_loopback);
    match ports.iter().filter(carried).find(|port| port.protocol == Protocol::Sctp) {
        Some(port) if privileged => Err(EngineError::refused(&port.asked, super::proxy::NO_SCTP)),
        Some(port) => Err(EngineError::refused(&port.asked, super::proxy::NO_SCTP_OF_USERS)),
        None => Ok(()),
    }
}

/// The container that this one shares a user namespace with, when that is not below the one of the user's networks: the
/// kernel puts no link of theirs into it.
fn apart(engine: &Engine, request: &ContainerRequest) -> Result<Option<String>, EngineError> {
    let ipc = match &request.ipc {
        Ipc::Container(name) => Some(name),
        _ => None,
    };
    for name in [ipc, request.pid_of.as_ref(), request.uts_of.as_ref()].into_iter().flatten() {
        let other = engine.store()?.find_container(name)?;
        if matches!(other.request.net.mode, NetMode::None | NetMode::Host) {
            return Ok(Some(other.name));
        }
    }
    Ok(None)
}

/// The networks by their names, each once.
fn named(engine: &Engine, joins: &mut [JoinWish]) -> Result<Vec<NetworkRecord>, EngineError> {
    ready(engine)?;
    let mut seen: Vec<NetworkRecord> = Vec::new();
    for join in joins {
        let network = engine.store()?.find_network(&join.network)?;
        check_join(&network, join).map_err(crate::store::StoreError::from)?;
        super::lan::check_join(&network, join)?;
        *join = linked(engine, join)?;
        if seen.iter().any(|one| one.id == network.id) {
            return Err(EngineError::invalid("--network", &network.name, "it is named twice; once is enough"));
        }
        join.network.clone_from(&network.name);
        seen.push(network);
    }
    Ok(seen)
}

/// The containers that it has names of its own for, by their ids: they are on the same network.
///
/// # Errors
/// A container that is not there, or not on this network; the default network, whose members do not see each other.
pub(super) fn linked(engine: &Engine, join: &JoinWish) -> Result<JoinWish, EngineError> {
    let mut join = join.clone();
    let store = engine.store()?;
    for (name, container) in &mut join.links {
        let asked = format!("{container}:{name}");
        let network = store.find_network(&join.network)?;
        let other = store.find_container(container).map_err(|e| {
            EngineError::invalid("--link", &asked, format!("{e}; 'bulkhead ps -a' lists the containers that there are"))
        })?;
        if network.isolated {
            let needed = "members of this network do not reach each other; connect both to a network of 'bulkhead network \
                          create', where they find each other by name";
            return Err(EngineError::invalid("--link", asked, needed));
        }
        if !store.joined(&other.id)?.iter().any(|j| j.network.id == network.id) {
            let needed = format!(
                "{} is not on network {}; connect it first with 'bulkhead network connect {} {}'",
                other.name, network.name, network.name, other.name
            );
            return Err(EngineError::invalid("--link", asked, needed));
        }
        *name = name.to_ascii_lowercase();
        container.clone_from(&other.id);
    }
    Ok(join)
}

/// A container without networks of its own has no addresses and no ports.
fn without(request: &ContainerRequest) -> Result<(), EngineError> {
    let net = &request.net;
    let mode = match &net.mode {
        NetMode::Container(name) => format!("container:{name}"),
        NetMode::Host => "host".to_owned(),
        _ => "none".to_owned(),
    };
    let instead = if mode == "host" { "what it listens on is the host's already; leave" } else { "leave" };
    let refuse = |what: String| {
        let reason =
            format!("with --network {mode} the container is in no network of its own; {instead} one of them out");
        Err(EngineError::refused(what, reason))
    };
    if let Some(port) = net.publish.first() {
        return refuse(format!("--publish {port}"));
    }
    if net.publish_all {
        return refuse("--publish-all".to_owned());
    }
    if let Some(rule) = net.egress.iter().flatten().next() {
        return refuse(format!("--egress {rule}"));
    }
    if net.mode == NetMode::Host && request.profile == ProfileName::Strict {
        let reason = "with --profile strict nothing outside is reached that no list has, and nothing holds that in the host's \
                      network; use another profile, or another network";
        return Err(EngineError::refused("--network host with --profile strict", reason));
    }
    let Some(join) = net.joins.first() else { return Ok(()) };
    if let Some(address) = join.v4 {
        return refuse(format!("--ip {address}"));
    }
    if let Some(address) = join.v6 {
        return refuse(format!("--ip6 {address}"));
    }
    if let Some(mac) = join.mac {
        return refuse(format!("--mac-address {mac}"));
    }
    match (join.aliases.first(), join.links.first()) {
        (Some(alias), _) => refuse(format!("--network-alias {alias}")),
        (None, Some((name, container))) => refuse(format!("--link {container}:{name}")),
        (None, None) => Ok(()),
    }
}
