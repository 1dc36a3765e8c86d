//! `network policy`: what the members of a network may send each other.

use std::collections::BTreeSet;

use bulkhead_net::Declared;

use super::wire::wiring;
use super::{FlowRule, calm, declared, emit, kernel, ready, rootless};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::store::{NetworkError, NetworkRecord, Peer, new_id};

/// What is to be done with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChange {
    /// These flows may be besides; with none there is a policy from then on that lets nothing pass that it has not.
    Allow {
        /// The flows.
        flows: Vec<FlowRule>,
        /// Names that nobody has are no mistake.
        later: bool,
    },
    /// These may not be any more; each must be there.
    Remove(Vec<FlowRule>),
    /// There is no policy any more: members reach each other.
    Clear,
}

/// The policy of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Name of the network.
    pub network: String,
    /// Its flows; `None`: there is no policy.
    pub flows: Option<Vec<FlowRule>>,
    /// Names in it that no member has now.
    pub unknown: BTreeSet<String>,
    /// Members do not reach each other in any case.
    pub isolated: bool,
}

impl Policy {
    fn new(network: NetworkRecord, peers: &[Peer]) -> Self {
        let known = |name: &str| peers.iter().any(|peer| peer.names.iter().any(|n| n == name));
        let names = network.policy.iter().flatten().flat_map(FlowRule::names);
        let unknown = names.filter(|name| !known(name)).map(str::to_owned).collect();
        Self { unknown, isolated: network.isolated, network: network.name, flows: network.policy }
    }
}

/// The policy of a network.
///
/// # Errors
/// A network that is not there.
pub fn policy(engine: &Engine, query: &str) -> Result<Policy, EngineError> {
    engine.recover()?;
    ready(engine)?;
    let store = engine.store()?;
    let network = store.find_network(query)?;
    let peers = store.peers_of(&network.id)?;
    Ok(Policy::new(network, &peers))
}

/// Changes the policy of a network, for the containers that run too; returns the new one.
///
/// # Errors
/// A network that is not there or whose members do not reach each other at all; a name that nobody has; a flow that is not
/// there; what the kernel refuses.
pub fn change_policy(engine: &Engine, query: &str, change: &PolicyChange) -> Result<Policy, EngineError> {
    engine.recover()?;
    ready(engine)?;
    let store = engine.store()?;
    let network = store.find_network(query)?;
    if !network.is_bridge() && *change != PolicyChange::Clear {
        let why = format!(
            "it is of the driver {}: what members send each other by a link of the host does not pass the host's firewall; \
             make a network of the driver bridge",
            network.driver
        );
        return Err(EngineError::refused(format!("a policy for network {}", network.name), why));
    }
    let mut calm = calm::alone(&engine.paths.run)?;
    // Who was given the old ones and does not have them yet reads again, even if the rest fails.
    calm.change(&new_id()?, &engine.paths.run)?;
    let network = store.change_policy(query, |network, peers| changed(network, peers, change))?;
    tell(engine, &network)?;
    drop(calm);
    emit(engine, "update", &network, &[]);
    let peers = store.peers_of(&network.id)?;
    Ok(Policy::new(network, &peers))
}

/// The new policy. Pure.
fn changed(
    network: &NetworkRecord,
    peers: &[Peer],
    change: &PolicyChange,
) -> Result<Option<Vec<FlowRule>>, NetworkError> {
    let mut all: BTreeSet<FlowRule> = network.policy.iter().flatten().cloned().collect();
    match change {
        PolicyChange::Allow { flows, later } => {
            let members: BTreeSet<&String> = peers.iter().flat_map(|peer| &peer.names).collect();
            let stranger = flows.iter().flat_map(FlowRule::names).find(|name| !members.iter().any(|m| m == name));
            if let Some(name) = stranger.filter(|_| !later) {
                return Err(NetworkError::NoMember {
                    network: network.name.clone(),
                    name: name.to_owned(),
                    members: members.into_iter().cloned().collect(),
                });
            }
            all.extend(flows.iter().cloned());
        }
        PolicyChange::Remove(flows) => {
            for flow in flows {
                if !all.remove(flow) {
                    return Err(NetworkError::NoFlow {
                        network: network.name.clone(),
                        flow: flow.to_string(),
                        flows: all.iter().map(ToString::to_string).collect(),
                    });
                }
            }
        }
        PolicyChange::Clear => return Ok(None),
    }
    Ok(Some(all.into_iter().collect()))
}

/// Tells the kernel what the members of a network that run may send each other.
fn tell(engine: &Engine, network: &NetworkRecord) -> Result<(), EngineError> {
    let store = engine.store()?;
    let mut all = Declared::default();
    for (user, lease) in store.members(&network.id)? {
        if lease.is_none() {
            continue;
        }
        let mut joined = store.joined(&user.0)?;
        joined.retain(|one| one.network.id == network.id);
        all.add(wiring(&joined, &[]));
    }
    if all.members.is_empty() {
        return Ok(());
    }
    let place = rootless::place(engine)?;
    if matches!(place, super::place::Place::Nowhere) {
        // They may run where nobody finds them.
        return Err(EngineError::State {
            name: network.name.clone(),
            state: "recorded with members that run, and the network that they are in is not found".to_owned(),
            hint: "restart them; the policy is recorded and holds from then on".to_owned(),
        });
    }
    if kernel::refresh(&place, &all)? {
        // The tables themselves were gone: others lack something too.
        kernel::restore(&place, &declared(engine)?)?;
    }
    Ok(())
}

/// Tells the kernel again after a container was given another name, which flows may be about.
///
/// # Errors
/// What the store or the kernel says.
pub(crate) fn renamed(engine: &Engine, container: &str) -> Result<(), EngineError> {
    let limited: Vec<NetworkRecord> = {
        let joined = engine.store()?.joined(container)?;
        joined.into_iter().map(|j| j.network).filter(|network| network.policy.is_some()).collect()
    };
    if limited.is_empty() {
        return Ok(());
    }
    let mut calm = calm::alone(&engine.paths.run)?;
    calm.change(&new_id()?, &engine.paths.run)?;
    limited.iter().try_for_each(|network| tell(engine, network))
}

#[cfg(test)]
mod tests {
    use super::super::tests::network;
    use super::*;

    fn flows(all: &[&str]) -> Vec<FlowRule> {
        all.iter().map(|text| FlowRule::parse(text).unwrap()).collect()
    }

    fn peer(names: &[&str]) -> Peer {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        Peer { container: names.concat(), names, lease: None }
    }

    fn shown(result: Result<Option<Vec<FlowRule>>, NetworkError>) -> Option<Vec<String>> {
        result.unwrap().map(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn flows_are_added_and_removed_by_names_that_are_known() {
        let peers = [peer(&["web"]), peer(&["db", "store"])];
        let mut net = network("shop", "10.1.0.0/24");
        let allow = |all: &[&str], later| PolicyChange::Allow { flows: flows(all), later };
        assert_eq!(shown(changed(&net, &peers, &allow(&[], false))), Some(vec![]));
        net.policy = changed(&net, &peers, &allow(&["web -> store:5432", "* -> db/icmp"], false)).unwrap();
        let again = changed(&net, &peers, &allow(&["web -> store:5432/tcp"], false));
        assert_eq!(shown(again), Some(vec!["* -> db/icmp".to_owned(), "web -> store:5432/tcp".to_owned()]));
        let error = changed(&net, &peers, &allow(&["wbe -> db"], false)).unwrap_err();
        assert_eq!(error.to_string(), "no member of network shop is called \"wbe\"; known are: db, store, web");
        assert!(error.hint().unwrap().contains("--later"));
        assert!(changed(&net, &peers, &allow(&["wbe -> db"], true)).unwrap().is_some());
        let gone = changed(&net, &peers, &PolicyChange::Remove(flows(&["web -> store:5432"])));
        assert_eq!(shown(gone), Some(vec!["* -> db/icmp".to_owned()]));
        let error = changed(&net, &peers, &PolicyChange::Remove(flows(&["web -> db"]))).unwrap_err().to_string();
        assert!(error.contains("has no flow \"web -> db\"; known are: * -> db/icmp, web -> store:5432/tcp"), "{error}");
        assert_eq!(shown(changed(&net, &peers, &PolicyChange::Clear)), None);
        net.policy = Some(flows(&["web -> later:1"]));
        assert_eq!(Policy::new(net, &peers).unknown.into_iter().collect::<Vec<_>>(), ["later"]);
    }
}
