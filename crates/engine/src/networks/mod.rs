//! Networks: made, listed, removed, and given to containers.
//!
//! What is declared is in the store; [`wire::wiring`] makes of it what the kernel is to have, and [`kernel`] is the only
//! file that asks the kernel for anything.

mod calm;
mod connect;
mod create;
mod etc;
mod graph;
mod kernel;
mod lan;
mod lease;
mod listed;
mod live;
mod mac;
mod names;
mod net;
mod options;
pub(crate) mod place;
mod policy;
mod pools;
mod ports;
mod proxy;
mod rootless;
mod routes;
mod rules;
mod settle;
mod show;
mod traffic;
mod watch;
pub mod wire;

use std::collections::BTreeMap;

pub(crate) use self::connect::known_as;
pub use self::connect::{connect, disconnect};
pub use self::create::{CreateRequest, create};
pub(crate) use self::etc::{make as make_etc, write as write_etc};
pub use self::graph::{Between, Graph, GraphFlow, GraphMember, GraphNetwork, Out, graph};
pub(crate) use self::lan::{UNPUBLISHED, company};
pub use self::lease::declared;
pub(crate) use self::lease::{NetworkOrder, Taken, collect, forget, forget_all, stray, take, tell_of_hosts, unwire};
pub(crate) use self::live::Live;
pub use self::mac::Mac;
pub(crate) use self::net::next_free;
pub use self::net::{Family, Net};
pub(crate) use self::policy::renamed as renamed_in_policies;
pub use self::policy::{Policy, PolicyChange, change_policy, policy};
pub use self::pools::Pool;
pub(crate) use self::pools::{choose, parse_all as parse_pools, unique_local};
pub use self::ports::{Exposed, HostPort, PortRange, Protocol, PublishRequest, WantedPort};
pub(crate) use self::ports::{free_numbers, meet, shown};
pub use self::proxy::main as port_proxy;
pub(crate) use self::rootless::closed;
pub use self::rootless::keeper;
pub use self::rules::{EgressRule, FlowRule, Place, egress_list, flow_list};
pub(crate) use self::settle::settle;
pub(crate) use self::show::{describe, host_config, lines, names, settings};
pub use self::traffic::Carried;
pub use self::watch::{Stopped, Verified, stopped, verify};
pub(crate) use self::wire::{bridge_link, host_link};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::store::{NetworkError, NetworkRecord, StoreError, User};

/// A network and the containers that are connected to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// What the store has.
    pub record: NetworkRecord,
    /// Full id and name of each container.
    pub users: Vec<User>,
}

fn emit(engine: &Engine, action: &str, record: &NetworkRecord, attributes: &[(&str, &str)]) {
    let event = Event::new(Kind::Network, action, &record.id).with("name", &record.name).with("type", &record.driver);
    engine.events().emit(&attributes.iter().fold(event, |event, (key, value)| event.with(key, *value)));
}

/// Makes sure of the default network, which is always there.
fn ready(engine: &Engine) -> Result<(), EngineError> {
    create::default_network(engine).map(drop)
}

/// Every network, the oldest first.
///
/// # Errors
/// What the store says.
pub fn list(engine: &Engine) -> Result<Vec<Network>, EngineError> {
    engine.recover()?;
    ready(engine)?;
    let store = engine.store()?;
    let with_users = |record: NetworkRecord| {
        let users = store.members(&record.id)?.into_iter().map(|(user, _)| user).collect();
        Ok(Network { record, users })
    };
    store.list_networks()?.into_iter().map(with_users).collect()
}

/// A network in the form of Docker's `network inspect`; `None` when there is none of that name.
///
/// # Errors
/// A prefix that fits several; what the store says.
pub fn inspect(engine: &Engine, query: &str) -> Result<Option<serde_json::Value>, EngineError> {
    ready(engine)?;
    match engine.store()?.find_network(query) {
        Ok(record) => Ok(Some(show::network(&record, &engine.store()?.members(&record.id)?))),
        Err(StoreError::Network(NetworkError::NotFound { .. })) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Removes a network; returns its name.
///
/// # Errors
/// The default network; one that is not there; containers that are connected, which the error names.
pub fn remove(engine: &Engine, query: &str) -> Result<String, EngineError> {
    engine.recover()?;
    ready(engine)?;
    let record = engine.store()?.remove_network(query)?;
    gone(engine, &record)?;
    Ok(record.name)
}

/// A network that is no more.
fn gone(engine: &Engine, record: &NetworkRecord) -> Result<(), EngineError> {
    match lan::Lan::of(record) {
        Some(on) => lan::remove(engine.store()?, record, &on)?,
        None => kernel::remove_network(&rootless::place(engine)?, &wire::bridge(record))?,
    }
    names::remove(&engine.paths.run, &record.id);
    emit(engine, "destroy", record, &[]);
    Ok(())
}

/// Removes the networks that no container is connected to and that `wanted` wants, by when they were made and their
/// labels; returns their names. The default network stays.
///
/// # Errors
/// What the store says; then nothing is removed.
pub fn prune(
    engine: &Engine,
    wanted: impl Fn(i64, &BTreeMap<String, String>) -> bool,
) -> Result<Vec<String>, EngineError> {
    engine.recover()?;
    let all = engine.store()?.prune_networks(|record| wanted(record.created, &record.labels))?;
    let failed = all.iter().map(|record| gone(engine, record)).fold(Ok(()), Result::and);
    if !all.is_empty() {
        engine.events().emit(&Event::new(Kind::Network, "prune", "").with("reclaimed", "0"));
    }
    failed?;
    Ok(all.into_iter().map(|record| record.name).collect())
}

#[cfg(test)]
mod tests;
