//! What the kernel is to have for a container: [`wiring`] is a pure function of what the store has.

use bulkhead_net::{Bridge, Declared, End, Flow, Member, Port, Reach, Station, Subnet, Uplink};
use sha2::{Digest, Sha256};

use super::EgressRule;
use super::lan::Lan;
use crate::store::{Block, Joined, Lease, NetworkRecord, PortRecord};

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
        policy: network.policy.as_ref().map(|_| Vec::new()),
    }
}

/// What a network of a driver other than `bridge` is on.
#[must_use]
pub fn uplink(network: &NetworkRecord) -> Option<Uplink> {
    let lan = Lan::of(network)?;
    Some(Uplink {
        name: bridge_link(&network.id),
        parent: lan.parent,
        kind: lan.kind,
        v4: network.v4.as_ref().map(subnet),
        v6: network.v6.as_ref().map(subnet),
        mtu: (network.mtu > 0).then_some(network.mtu),
        internal: network.internal,
    })
}

/// The flows that a container has a part in, with those of its neighbours that run.
fn flows(joined: &Joined, own: &Lease) -> Option<Vec<Flow>> {
    let rules = joined.network.policy.as_ref()?;
    let end = |lease: &Lease| End { link: lease.link.clone(), v4: lease.v4, v6: lease.v6 };
    let Some((me, others)) = joined.peers.split_first() else { return Some(Vec::new()) };
    let mut all = Vec::new();
    for (other, lease) in others.iter().filter_map(|peer| Some((peer, peer.lease.as_ref()?))) {
        for rule in rules {
            for traffic in rule.what.traffic() {
                if rule.fits(&me.names, &other.names) {
                    all.push(Flow { from: end(own), to: end(lease), traffic });
                }
                if rule.fits(&other.names, &me.names) {
                    all.push(Flow { from: end(lease), to: end(own), traffic });
                }
            }
        }
    }
    all.sort();
    all.dedup();
    Some(all)
}

/// What a container reaches outside by a network: what it says itself, or what the network says.
fn egress(joined: &Joined) -> Option<Vec<Reach>> {
    let list = joined.wish.egress.as_ref().or(joined.network.egress.as_ref())?;
    Some(list.iter().flat_map(EgressRule::reach).collect())
}

/// What the kernel is to have for a container with these networks and ports. The first network that is not internal is
/// the way out.
#[must_use]
pub fn wiring(joined: &[Joined], ports: &[PortRecord]) -> Declared {
    let mut wiring = Declared::default();
    let way_out = joined.iter().position(|j| !j.network.internal && j.lease.is_some());
    for (position, one) in joined.iter().enumerate() {
        let Some(lease) = &one.lease else { continue };
        let inner = format!("eth{}", wiring.members.len() + wiring.stations.len());
        if let Some(uplink) = uplink(&one.network) {
            wiring.stations.push(Station {
                uplink: uplink.name.clone(),
                key: lease.link.clone(),
                inner,
                mac: lease.mac.0,
                v4: lease.v4,
                v6: lease.v6,
                default_route: way_out == Some(position),
            });
            wiring.uplinks.push(uplink);
            continue;
        }
        wiring.bridges.push(Bridge { policy: flows(one, lease), ..bridge(&one.network) });
        wiring.members.push(Member {
            bridge: bridge_link(&one.network.id),
            host_link: lease.link.clone(),
            inner,
            mac: lease.mac.0,
            v4: lease.v4,
            v6: lease.v6,
            default_route: way_out == Some(position),
            limited: one.network.policy.is_some(),
            egress: egress(one),
        });
    }
    wiring.ports = ports
        .iter()
        .map(|p| Port { address: p.address, port: p.port, protocol: p.protocol, to: p.target, inner: p.inner })
        .collect();
    wiring
}
