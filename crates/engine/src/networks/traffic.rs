//! What is sent, as policies and egress lists write it: `:5432/tcp`, `:8000-8010/udp`, `/icmp`, or nothing for everything.

use std::fmt;

use bulkhead_net::Traffic;

use super::ports::{PortRange, Protocol};

/// A part of what IP carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carried {
    /// All of it.
    Any,
    /// ICMP, an echo most of all.
    Icmp,
    /// A protocol with ports; without one each of them, without a range every port.
    Ports(Option<Protocol>, Option<(u16, u16)>),
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ports(protocol, range) = self else {
            return f.write_str(if *self == Self::Any { "" } else { "/icmp" });
        };
        if let Some((first, last)) = range {
            write!(f, ":{}", PortRange { first: *first, last: *last })?;
        }
        write!(f, "/{}", protocol.map_or("any", Protocol::as_str))
    }
}

impl Carried {
    /// Takes the words at the end of a text: what is before them, and what they say. `[…]` is an address with colons.
    pub(super) fn split(text: &str) -> Option<(&str, Self)> {
        let (before, protocol) = match text.rsplit_once('/') {
            Some((before, word)) if word.bytes().next().is_some_and(|b| b.is_ascii_alphabetic()) => {
                (before, Some(word))
            }
            _ => (text, None),
        };
        let bracket = before.rfind(']').map_or(0, |at| at + 1);
        let (head, ports) = match before.get(bracket..)?.split_once(':') {
            Some((middle, ports)) => (before.get(..bracket + middle.len())?, Some(PortRange::parse(ports)?)),
            None => (before, None),
        };
        let range = ports.map(|r| (r.first, r.last));
        let word = protocol.map(str::to_ascii_lowercase);
        let carried = match (word.as_deref(), range) {
            (None | Some("any"), None) => Self::Any,
            // As with -p, a port alone is one of TCP.
            (None, Some(_)) => Self::Ports(Some(Protocol::Tcp), range),
            (Some("any"), Some(_)) => Self::Ports(None, range),
            (Some("icmp"), None) => Self::Icmp,
            (Some(word), range) => Self::Ports(Some(Protocol::named(word)?), range),
        };
        Some((head, carried))
    }

    /// As the kernel's side knows it.
    pub(super) fn traffic(self) -> Vec<Traffic> {
        let Self::Ports(protocol, range) = self else {
            return vec![if self == Self::Any { Traffic::Any } else { Traffic::Icmp }];
        };
        let (first, last) = range.unwrap_or((0, u16::MAX));
        let every = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let wanted = every.into_iter().filter(|one| protocol.is_none_or(|p| p == *one));
        wanted.map(|protocol| Traffic::Ports { protocol, first, last }).collect()
    }
}
