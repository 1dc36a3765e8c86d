//! What may flow: between members of a network with a policy, and to the outside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::{Member, Protocol};

/// What is sent, by protocol and destination port. What answers it may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Everything that IP carries.
    Any,
    /// ICMP of the family, an echo most of all.
    Icmp,
    /// A protocol with ports, from the first port to the last, both included.
    Ports {
        /// The protocol.
        protocol: Protocol,
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Icmp => f.write_str("icmp"),
            Self::Ports { protocol, first: 0 | 1, last: u16::MAX } => protocol.fmt(f),
            Self::Ports { protocol, first, last } if first == last => write!(f, "{first}/{protocol}"),
            Self::Ports { protocol, first, last } => write!(f, "{first}-{last}/{protocol}"),
        }
    }
}

/// One end of a flow: a member of the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct End {
    /// The host's end of its link.
    pub link: String,
    /// Its address.
    pub v4: Option<Ipv4Addr>,
    /// Its address.
    pub v6: Option<Ipv6Addr>,
}

impl From<&Member> for End {
    fn from(member: &Member) -> Self {
        Self { link: member.host_link.clone(), v4: member.v4, v6: member.v6 }
    }
}

/// What one member of a network may send to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flow {
    /// Who begins.
    pub from: End,
    /// Who answers.
    pub to: End,
    /// What is sent.
    pub traffic: Traffic,
}

/// What a container may send to the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reach {
    /// The first address: all bits behind the prefix are zero.
    pub address: IpAddr,
    /// Bits that all addresses share.
    pub prefix: u8,
    /// What is sent.
    pub traffic: Traffic,
}
