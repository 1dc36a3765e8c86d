//! Networks of containers: bridges, links, addresses and routes by rtnetlink, and walls by nftables.
//!
//! No program is started and nothing here waits but for the kernel. What is declared comes in, the kernel's state is made
//! to be that; what is remembered, leased or chosen is the engine's. Every function acts on the network namespace of the
//! calling thread as the host's.

mod attach;
mod boxes;
mod bridge;
mod check;
mod denied;
mod drift;
mod error;
mod firewall;
mod flow;
mod forget;
mod holder;
mod inside;
pub mod lan;
mod link;
pub mod names;
mod nft;
mod pin;
pub mod proxy;
mod socket;
mod sysctl;
pub mod user;
mod verify;
mod wire;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_sys::proc::Proc;
use serde::{Deserialize, Serialize};

pub use attach::{Attached, attach, attach_to, detach, unplug};
pub use bridge::{remove_bridge, remove_network};
pub use denied::{Denied, denied};
pub use drift::Drift;
pub use error::NetError;
pub use flow::{End, Flow, Reach, Traffic};
pub use holder::{Holder, holder_of};
pub use inside::route;
pub use lan::{Station, Uplink};
pub use pin::pin;
pub use verify::{mend, refresh, restore, verify};

/// Addresses of a network, and the host's own among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The first address: all bits behind the prefix are zero.
    pub address: IpAddr,
    /// Bits that all addresses share.
    pub prefix: u8,
    /// The host's address, which members send through.
    pub gateway: IpAddr,
}

/// A network of the host: one bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Name of the link, up to 15 bytes.
    pub link: String,
    /// Its IPv4 addresses, if it has any.
    pub v4: Option<Subnet>,
    /// Its IPv6 addresses, if it has any. Without them members have no IPv6 at all, not even link-local.
    pub v6: Option<Subnet>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Members reach nothing but each other.
    pub internal: bool,
    /// Members do not reach each other.
    pub isolated: bool,
    /// What members send out has the host's address.
    pub masquerade: bool,
    /// All that may flow between members, where that is limited; of those that are declared beside it.
    #[serde(default)]
    pub policy: Option<Vec<Flow>>,
}

/// A container's place in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Link of the network's bridge.
    pub bridge: String,
    /// Name of the host's end, up to 15 bytes. A name that was never used before never has to wait for the end of one that
    /// was.
    pub host_link: String,
    /// Name of the link inside.
    pub inner: String,
    /// Link address inside; the only one that it can send from.
    pub mac: [u8; 6],
    /// Address inside; the only one that it can send from.
    pub v4: Option<Ipv4Addr>,
    /// Address inside, besides that of the link.
    pub v6: Option<Ipv6Addr>,
    /// What is not on the network is sent through its gateway. Never of an internal network.
    pub default_route: bool,
    /// Its network has a policy.
    #[serde(default)]
    pub limited: bool,
    /// All that it reaches outside by this network by address, where that is limited.
    #[serde(default)]
    pub egress: Option<Vec<Reach>>,
}

impl Member {
    /// Its addresses inside.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// Protocols with ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The one that is written like this, in letters of either case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|p| p.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port of the host that leads to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Address of the host: one of its own, or 0.0.0.0 or :: for every one of that family but loopback.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The container's address, of the same family.
    pub to: IpAddr,
    /// The container's port.
    pub inner: u16,
}

/// Everything that should be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Every network.
    pub bridges: Vec<Bridge>,
    /// Every running container's place.
    pub members: Vec<Member>,
    /// Every published port.
    pub ports: Vec<Port>,
    /// Every network on a link of the host.
    #[serde(default)]
    pub uplinks: Vec<Uplink>,
    /// Every running container's place in these.
    #[serde(default)]
    pub stations: Vec<Station>,
}

impl Declared {
    /// Nothing is to be there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_unbridged() && self.stations.is_empty()
    }

    /// Nothing of it is a bridge's or the firewall's.
    #[must_use]
    pub fn is_unbridged(&self) -> bool {
        self.members.is_empty() && self.ports.is_empty()
    }

    /// With what is declared elsewhere too; each bridge once, with the flows of all.
    pub fn add(&mut self, other: Self) {
        for bridge in other.bridges {
            let Some(known) = self.bridges.iter_mut().find(|known| known.link == bridge.link) else {
                self.bridges.push(bridge);
                continue;
            };
            // One that is limited for one of them is for all.
            known.policy = match (known.policy.take(), bridge.policy) {
                (None, policy) | (policy, None) => policy,
                (Some(flows), Some(more)) => {
                    let all: BTreeSet<Flow> = flows.into_iter().chain(more).collect();
                    Some(all.into_iter().collect())
                }
            };
        }
        self.members.extend(other.members);
        self.ports.extend(other.ports);
        for uplink in other.uplinks {
            if !self.uplinks.iter().any(|known| known.name == uplink.name) {
                self.uplinks.push(uplink);
            }
        }
        self.stations.extend(other.stations);
    }
}

fn procfs() -> Result<Proc, NetError> {
    Proc::host().map_err(NetError::kernel("open /proc as a procfs"))
}
