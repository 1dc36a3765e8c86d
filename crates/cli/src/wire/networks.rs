//! Calls about networks.

use bulkhead_engine::networks as engine_networks;

pub use bulkhead_engine::networks::{
    Between, CreateRequest as NetworkRequest, FlowRule, Graph, GraphFlow, GraphMember, GraphNetwork, Net, Out, Policy,
    PolicyChange, Stopped, Verified,
};
pub use bulkhead_engine::store::JoinWish;

use super::{PruneFilter, engine, failed};
use crate::error::CliError;

/// One network of `network ls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSummary {
    /// 64 hex digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// Always `bridge`.
    pub driver: String,
    /// It is there always.
    pub builtin: bool,
    /// It has addresses of version 4.
    pub v4: bool,
    /// It has addresses of version 6.
    pub v6: bool,
    /// It has no way out.
    pub internal: bool,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Full id and name of each container that is connected.
    pub users: Vec<(String, String)>,
}

/// Makes a network; returns its id.
///
/// # Errors
///
/// What the engine says.
pub fn create_network(request: &NetworkRequest) -> Result<String, CliError> {
    engine_networks::create(engine()?, request).map_err(failed)
}

/// Every network, the oldest first.
///
/// # Errors
///
/// What the engine says.
pub fn networks() -> Result<Vec<NetworkSummary>, CliError> {
    let all = engine_networks::list(engine()?).map_err(failed)?;
    Ok(all
        .into_iter()
        .map(|engine_networks::Network { record, users }| NetworkSummary {
            builtin: record.is_default(),
            v4: record.v4.is_some(),
            v6: record.v6.is_some(),
            internal: record.internal,
            created: record.created,
            labels: record.labels.into_iter().collect(),
            id: record.id,
            name: record.name,
            driver: record.driver,
            users,
        })
        .collect())
}

/// A network in the form of Docker's `network inspect`; `None` when there is none of that name.
///
/// # Errors
///
/// What the engine says.
pub fn inspect_network(name: &str) -> Result<Option<serde_json::Value>, CliError> {
    engine_networks::inspect(engine()?, name).map_err(failed)
}

/// Removes a network; with `force` one that is not there is no error. Returns its name.
///
/// # Errors
///
/// What the engine says.
pub fn remove_network(name: &str, force: bool) -> Result<String, CliError> {
    use bulkhead_engine::EngineError;
    use bulkhead_engine::store::{NetworkError, StoreError};
    match engine_networks::remove(engine()?, name) {
        Err(EngineError::Store(StoreError::Network(NetworkError::NotFound { .. }))) if force => Ok(name.to_owned()),
        other => other.map_err(failed),
    }
}

/// Removes networks that no container is connected to; returns their names.
///
/// # Errors
///
/// What the engine says.
pub fn prune_networks(filter: &PruneFilter) -> Result<Vec<String>, CliError> {
    let wanted = |created: i64, labels: &std::collections::BTreeMap<String, String>| {
        let labels: Vec<(String, String)> = labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        filter.fits(created, &labels)
    };
    engine_networks::prune(engine()?, wanted).map_err(failed)
}

/// How the kernel's state differs from what running containers are to have; with `mend` it is made right.
///
/// # Errors
///
/// What the engine says.
pub fn verify_networks(mend: bool) -> Result<Verified, CliError> {
    engine_networks::verify(engine()?, mend).map_err(failed)
}

/// What the members of a network may send each other.
///
/// # Errors
///
/// What the engine says.
pub fn policy(network: &str) -> Result<Policy, CliError> {
    engine_networks::policy(engine()?, network).map_err(failed)
}

/// Changes that, for containers that run too.
///
/// # Errors
///
/// What the engine says.
pub fn change_policy(network: &str, change: &PolicyChange) -> Result<Policy, CliError> {
    engine_networks::change_policy(engine()?, network, change).map_err(failed)
}

/// Networks, who is on them, and what may flow.
///
/// # Errors
///
/// What the engine says.
pub fn graph() -> Result<Graph, CliError> {
    engine_networks::graph(engine()?).map_err(failed)
}

/// What the walls have stopped.
///
/// # Errors
///
/// What the engine says.
pub fn stopped() -> Result<Vec<Stopped>, CliError> {
    engine_networks::stopped(engine()?).map_err(failed)
}

/// Connects a container that does not run to one more network.
///
/// # Errors
///
/// What the engine says.
pub fn connect(container: &str, join: &JoinWish) -> Result<(), CliError> {
    engine_networks::connect(engine()?, container, join).map_err(failed)
}

/// Disconnects a container that does not run from a network.
///
/// # Errors
///
/// What the engine says.
pub fn disconnect(container: &str, network: &str) -> Result<(), CliError> {
    engine_networks::disconnect(engine()?, container, network).map_err(failed)
}
