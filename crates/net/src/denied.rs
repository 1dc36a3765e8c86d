//! What the walls stopped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::error::NetError;
use crate::firewall::Firewall;
use crate::nft::model::Family;
use crate::nft::{policy, read, rules};
use crate::wire::text;

/// Packets that were stopped, counted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Denied {
    /// All for one reason since the firewall was made.
    Reason {
        /// `source`, `frame`, `router`, `dhcp`, `multicast`, `linklocal` of frames; `host`, `refused`, `network`, `internal`,
        /// `egress`, `unpublished`, `invalid`, `forward`, `bypass` of packets; `policy` of packets between members.
        reason: String,
        /// How many.
        packets: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Frames by one container for one reason, within the last hour.
    Frames {
        /// As above.
        reason: String,
        /// The host's end of its link.
        link: String,
        /// How many.
        packets: u64,
    },
    /// Packets of one flow, within the last hour. There is room for some thousands; more are counted by their reason only.
    Flow {
        /// From where.
        from: IpAddr,
        /// To where.
        to: IpAddr,
        /// Protocol above IP, as `/etc/protocols` has it; 0 where it came to no packet, because no neighbour was found.
        protocol: u8,
        /// Destination port; without meaning for a protocol without ports.
        port: u16,
        /// How many.
        packets: u64,
        /// Between members of a network, whose policy does not state it.
        unstated: bool,
    },
}

/// Everything that was stopped.
///
/// # Errors
/// What the kernel says. Without a firewall there is nothing.
pub fn denied() -> Result<Vec<Denied>, NetError> {
    let mut firewall = Firewall::open()?;
    let socket = firewall.socket()?;
    let mut all = Vec::new();
    for family in [Family::Bridge, Family::Inet] {
        let counters = read::counters(socket, family)?;
        all.extend(counters.into_iter().map(|(reason, packets, bytes)| Denied::Reason { reason, packets, bytes }));
    }
    for (reason, set) in rules::frame_reasons() {
        for shown in read::elements(socket, Family::Bridge, set)? {
            let packets = shown.counted.map_or(0, |(packets, _)| packets);
            all.push(Denied::Frames { reason: reason.to_owned(), link: text(&shown.key), packets });
        }
    }
    let unstated = [policy::UNSTATED4, policy::UNSTATED6].map(|set| (Family::Bridge, set));
    for (family, set) in [rules::FLOWS4, rules::FLOWS6].map(|set| (Family::Inet, set)).into_iter().chain(unstated) {
        for shown in read::elements(socket, family, set)? {
            let packets = shown.counted.map_or(0, |(packets, _)| packets);
            all.extend(flow(&shown.key, packets, family == Family::Bridge));
        }
    }
    for set in [policy::SOUGHT4, policy::SOUGHT6] {
        for shown in read::elements(socket, Family::Bridge, set)? {
            let packets = shown.counted.map_or(0, |(packets, _)| packets);
            all.extend(flow(&[&shown.key[..], &[0; 8]].concat(), packets, true));
        }
    }
    Ok(all)
}

fn flow(key: &[u8], packets: u64, unstated: bool) -> Option<Denied> {
    let (addresses, tail) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let (from, to) = addresses.split_at_checked(addresses.len() / 2)?;
    let address = |bytes: &[u8]| {
        let v4 = <[u8; 4]>::try_from(bytes).map(|a| IpAddr::from(Ipv4Addr::from(a)));
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|a| IpAddr::from(Ipv6Addr::from(a)))).ok()
    };
    let port = u16::from_be_bytes(tail.get(4..6)?.try_into().ok()?);
    Some(Denied::Flow { from: address(from)?, to: address(to)?, protocol: *tail.first()?, port, packets, unstated })
}
