//! What the kernel is to have for a container, and the two calls that give it and take it away.
//!
//! [`wiring`] is a pure function of what the store has. The types have the shape of those that the kernel's side takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ports::Protocol;
use crate::store::{Block, Joined, NetworkRecord, PortRecord};

/// Addresses of a network in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The network's own address.
    pub address: IpAddr,
    /// Bits that all its addresses have in common.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: IpAddr,
}

/// A network's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Name of its link.
    pub link: String,
    /// Addresses of version 4.
    pub v4: Option<Subnet>,
    /// Addresses of version 6.
    pub v6: Option<Subnet>,
    /// Bytes of a packet.
    pub mtu: u32,
    /// No way out.
    pub internal: bool,
    /// Members do not reach each other.
    pub isolated: bool,
    /// What goes out has the host's address.
    pub masquerade: bool,
}

/// A container on a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Link of the bridge.
    pub bridge: String,
    /// The host's end of its link.
    pub host_link: String,
    /// The container's end: `eth0`, `eth1`.
    pub inner: String,
    /// Hardware address of the container's end.
    pub mac: [u8; 6],
    /// Address of version 4.
    pub v4: Option<Ipv4Addr>,
    /// Address of version 6.
    pub v6: Option<Ipv6Addr>,
    /// It is the way out.
    pub default_route: bool,
}

/// A port of the host that leads to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Address of the host: `0.0.0.0`, `::`, or one.
    pub address: IpAddr,
    /// Port of the host.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Address of the container.
    pub to: IpAddr,
    /// Port of the container.
    pub inner: u16,
}

/// All that the kernel is to have for one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wiring {
    /// Bridges that it is on.
    pub bridges: Vec<Bridge>,
    /// Its ends, in the order of their names.
    pub members: Vec<Member>,
    /// Its ports.
    pub ports: Vec<Port>,
}

impl Wiring {
    /// Nothing is to be had.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.ports.is_empty()
    }

    /// With that of another container too; each bridge once.
    pub(super) fn add(&mut self, other: Self) {
        for bridge in other.bridges {
            if !self.bridges.iter().any(|known| known.link == bridge.link) {
                self.bridges.push(bridge);
            }
        }
        self.members.extend(other.members);
        self.ports.extend(other.ports);
    }
}

/// Name of a network's bridge; a link's name has 15 bytes (`IFNAMSIZ`).
#[must_use]
pub fn bridge_link(network: &str) -> String {
    format!("bh-{}", network.get(..12).unwrap_or(network))
}

/// Name of the host's end of a container's link: always the same, so that one that was left behind is found.
#[must_use]
pub fn host_link(container: &str, network: &str) -> String {
    let digest = Sha256::new().chain_update(container).chain_update(network).finalize();
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("bv{hex}")
}

fn subnet(block: &Block) -> Subnet {
    Subnet { address: block.subnet.address(), prefix: block.subnet.prefix(), gateway: block.gateway }
}

/// The bridge of a network.
#[must_use]
pub fn bridge(network: &NetworkRecord) -> Bridge {
    Bridge {
        link: bridge_link(&network.id),
        v4: network.v4.as_ref().map(subnet),
        v6: network.v6.as_ref().map(subnet),
        mtu: network.mtu,
        internal: network.internal,
        isolated: network.isolated,
        masquerade: network.masquerade && !network.internal,
    }
}

/// What the kernel is to have for a container with these networks and ports. The first network that is not internal is
/// the way out.
#[must_use]
pub fn wiring(joined: &[Joined], ports: &[PortRecord]) -> Wiring {
    let mut wiring = Wiring::default();
    let way_out = joined.iter().position(|j| !j.network.internal && j.lease.is_some());
    for (position, one) in joined.iter().enumerate() {
        let Some(lease) = &one.lease else { continue };
        wiring.bridges.push(bridge(&one.network));
        wiring.members.push(Member {
            bridge: bridge_link(&one.network.id),
            host_link: lease.link.clone(),
            inner: format!("eth{}", wiring.members.len()),
            mac: lease.mac.0,
            v4: lease.v4,
            v6: lease.v6,
            default_route: way_out == Some(position),
        });
    }
    wiring.ports = ports
        .iter()
        .map(|p| Port { address: p.address, port: p.port, protocol: p.protocol, to: p.target, inner: p.inner })
        .collect();
    wiring
}
