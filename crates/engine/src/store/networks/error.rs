//! What can be wrong with networks, addresses and ports, in words for a person.

use crate::store::ErrorKind;

/// A network, an address or a port that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No network has this name, id or id prefix.
    #[error("network {query} not found")]
    NotFound {
        /// What was looked for.
        query: String,
    },
    /// A name outside `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, or one that means something else.
    #[error("invalid network name {name:?}: {needed}")]
    InvalidName {
        /// The name as written.
        name: String,
        /// What would be accepted.
        needed: &'static str,
    },
    /// There is one of this name.
    #[error("network with name {name} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// More than one network has an id that starts this way.
    #[error("Multiple IDs found with provided prefix: {prefix}")]
    Ambiguous {
        /// The prefix as written.
        prefix: String,
    },
    /// Two networks, or a network and the host, would have an address in common.
    #[error("--subnet {subnet} overlaps with {other} of {holder}")]
    Overlap {
        /// What was asked.
        subnet: String,
        /// What is there.
        other: String,
        /// Whose it is.
        holder: String,
    },
    /// Every part of the pools meets something.
    #[error("no subnet is left in {pools}: each part overlaps with a network or a route of the host")]
    NoSubnetLeft {
        /// The pools, as they are written.
        pools: String,
    },
    /// It is there always.
    #[error("{name} is a pre-defined network and cannot be removed")]
    Predefined {
        /// Its name.
        name: String,
    },
    /// Containers are connected.
    #[error("error while removing network: network {name} has active endpoints ({})", endpoints(users))]
    InUse {
        /// Its name.
        name: String,
        /// Id and name of each container.
        users: Vec<(String, String)>,
    },
    /// The container is connected already.
    #[error("endpoint with name {container} already exists in network {network}")]
    Connected {
        /// Name of the container.
        container: String,
        /// Name of the network.
        network: String,
    },
    /// The container is not connected.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// Name of the container.
        container: String,
        /// Name of the network.
        network: String,
    },
    /// An address that no member of the network can have.
    #[error("{flag} {address} cannot be had in network {network}: {reason}")]
    BadAddress {
        /// The flag.
        flag: &'static str,
        /// Its value.
        address: String,
        /// Name of the network.
        network: String,
        /// Why.
        reason: String,
    },
    /// Another container has the address.
    #[error("{flag} {address} is taken in network {network} by container {holder}")]
    AddressTaken {
        /// The flag.
        flag: &'static str,
        /// Its value.
        address: String,
        /// Name of the network.
        network: String,
        /// Name of the container.
        holder: String,
    },
    /// Nothing flows between the members of the network in any case.
    #[error("a policy for network {name} is refused: its members do not reach each other at all")]
    Isolated {
        /// Its name.
        name: String,
    },
    /// A policy that names nobody.
    #[error("no member of network {network} is called {name:?}; {}", known(members))]
    NoMember {
        /// Name of the network.
        network: String,
        /// What the policy says.
        name: String,
        /// Names and aliases of those that are there.
        members: Vec<String>,
    },
    /// A flow that is to be removed from a policy that has it not.
    #[error("the policy of network {network} has no flow {flow:?}; {}", known(flows))]
    NoFlow {
        /// Name of the network.
        network: String,
        /// What was asked.
        flow: String,
        /// What it has.
        flows: Vec<String>,
    },
    /// No address is free.
    #[error("no address is left in network {network} ({subnet})")]
    NoAddressLeft {
        /// Name of the network.
        network: String,
        /// Where they come from.
        subnet: String,
    },
    /// A port that somebody has.
    #[error("{asked} cannot be had: {port} is taken by {holder}")]
    PortTaken {
        /// The flag and its value.
        asked: String,
        /// Address, port and protocol.
        port: String,
        /// Who has it.
        holder: String,
    },
    /// No port of a range, or none at all, is free.
    #[error("{asked} cannot be had: no port is free{among}")]
    NoPortLeft {
        /// The flag and its value.
        asked: String,
        /// ` among 8000-8010`, or nothing.
        among: String,
    },
    /// A port that nothing inside could answer.
    #[error("{asked} cannot be had: {reason}")]
    Unreachable {
        /// The flag and its value.
        asked: String,
        /// Why.
        reason: String,
    },
}

fn known(all: &[String]) -> String {
    if all.is_empty() { "there is none yet".to_owned() } else { format!("known are: {}", all.join(", ")) }
}

fn endpoints(users: &[(String, String)]) -> String {
    let one = |(id, name): &(String, String)| format!("name:{name:?} id:{:?}", id.get(..12).unwrap_or(id));
    users.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl NetworkError {
    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::NoMember { .. } | Self::NoFlow { .. } => ErrorKind::NotFound,
            Self::InvalidName { .. } | Self::BadAddress { .. } | Self::Unreachable { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Conflict,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { query } => {
                format!("'bulkhead network ls' lists what is there; 'bulkhead network create {query}' makes it")
            }
            Self::Exists { name } => {
                format!("choose another name, or remove it with 'bulkhead network rm {name}'")
            }
            Self::Overlap { .. } => {
                "choose another --subnet, or leave it out to get one that is free; 'bulkhead network ls' and 'ip route' show what is taken".to_owned()
            }
            Self::NoSubnetLeft { .. } => {
                "remove networks with 'bulkhead network prune', write --subnet, or add to network.pools in the configuration".to_owned()
            }
            Self::InUse { users, .. } => {
                let names: Vec<&str> = users.iter().map(|(_, name)| name.as_str()).collect();
                format!("remove the containers first: bulkhead rm {}", names.join(" "))
            }
            Self::Isolated { .. } => {
                "make a network of your own with 'bulkhead network create --allow FLOW NAME'".to_owned()
            }
            Self::NoMember { .. } => {
                "connect the container first, or write --later for one that is still to come".to_owned()
            }
            Self::NoFlow { network, .. } => format!("'bulkhead network policy {network}' shows what it has"),
            Self::AddressTaken { flag, holder, .. } => {
                format!("stop it with 'bulkhead stop {holder}', or choose another, or leave {flag} out")
            }
            Self::NoAddressLeft { .. } => {
                "remove or stop containers of it, or make a larger network with 'bulkhead network create --subnet'".to_owned()
            }
            Self::PortTaken { .. } => {
                "choose another port, another address, or leave the port of the host out to get a free one".to_owned()
            }
            Self::NoPortLeft { .. } => "stop a container that has one, or choose other ports".to_owned(),
            _ => return None,
        })
    }
}
