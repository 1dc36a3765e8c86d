//! Published ports: what is asked, and what of it can be had at the same time.

use std::net::IpAddr;

pub use bulkhead_net::Protocol;
use serde::{Deserialize, Serialize};

use super::net::Family;
use crate::error::EngineError;

/// Ports from the first to the last, none of them 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// `80` or `8000-8010`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|n| plain && *n > 0)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then_some(Self { first, last })
    }

    /// One port.
    #[must_use]
    pub fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    fn count(self) -> u16 {
        self.last - self.first
    }

    fn all(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// `-p`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequest {
    /// Address of the host; `None`: what the configuration says.
    pub address: Option<IpAddr>,
    /// Ports of the host; `None`: one that is free.
    pub host: Option<PortRange>,
    /// Ports of the container.
    pub inner: PortRange,
    /// Protocol.
    pub protocol: Protocol,
}

impl std::fmt::Display for PublishRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        match (self.host, self.address) {
            (Some(host), _) => write!(f, "{host}:")?,
            (None, Some(_)) => f.write_str(":")?,
            (None, None) => {}
        }
        write!(f, "{}", self.inner)?;
        if self.protocol == Protocol::Tcp { Ok(()) } else { write!(f, "/{}", self.protocol) }
    }
}

/// `--expose`, and the image's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exposed {
    /// Ports of the container.
    pub ports: PortRange,
    /// Protocol.
    pub protocol: Protocol,
}

impl Exposed {
    /// `80`, `80/udp`, `8000-8010/tcp`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some(Self { ports: PortRange::parse(ports)?, protocol: Protocol::named(protocol)? })
    }
}

impl std::fmt::Display for Exposed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ports, self.protocol)
    }
}

/// Which port of the host is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPort {
    /// This one.
    One(u16),
    /// The first of these that is free.
    Of(PortRange),
    /// Any.
    Any,
}

/// One port of a container that is to be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPort {
    /// The flag as it was written, for messages.
    pub asked: String,
    /// On each of these addresses of the host, with one number for all.
    pub addresses: Vec<IpAddr>,
    /// They were written, and not the configuration's.
    pub written: bool,
    /// Port of the host.
    pub host: HostPort,
    /// Port of the container.
    pub inner: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// Every single port that `-p` and `-P` ask for. `usual`: addresses where none is written.
///
/// # Errors
/// Ranges that do not fit one another.
pub(crate) fn expand(
    publish: &[PublishRequest],
    publish_all: bool,
    exposed: &[Exposed],
    usual: &[IpAddr],
) -> Result<Vec<WantedPort>, EngineError> {
    let mut wanted = Vec::new();
    for one in publish {
        let asked = format!("--publish {one}");
        let mut add = |host, inner| {
            wanted.push(WantedPort {
                asked: asked.clone(),
                addresses: one.address.map_or_else(|| usual.to_vec(), |a| vec![a]),
                written: one.address.is_some(),
                host,
                inner,
                protocol: one.protocol,
            });
        };
        match one.host {
            None => one.inner.all().for_each(|inner| add(HostPort::Any, inner)),
            Some(host) if host.count() == one.inner.count() => {
                host.all().zip(one.inner.all()).for_each(|(port, inner)| add(HostPort::One(port), inner));
            }
            Some(host) if one.inner.count() == 0 => add(HostPort::Of(host), one.inner.first),
            Some(_) => {
                let needed = "as many ports of the host as of the container are needed, like 8000-8010:80-90";
                return Err(EngineError::invalid("--publish", one.to_string(), needed));
            }
        }
    }
    if publish_all {
        let published: Vec<(u16, Protocol)> = wanted.iter().map(|w| (w.inner, w.protocol)).collect();
        let mut all: Vec<(u16, Protocol)> =
            exposed.iter().flat_map(|e| e.ports.all().map(|port| (port, e.protocol))).collect();
        all.sort_unstable();
        all.dedup();
        for (inner, protocol) in all.into_iter().filter(|one| !published.contains(one)) {
            wanted.push(WantedPort {
                asked: format!("--publish-all ({inner}/{protocol})"),
                addresses: usual.to_vec(),
                written: false,
                host: HostPort::Any,
                inner,
                protocol,
            });
        }
    }
    Ok(wanted)
}

/// Whether who listens on one address has what comes to the other.
pub(crate) fn meet(one: IpAddr, other: IpAddr) -> bool {
    Family::of(one) == Family::of(other) && (one == other || one.is_unspecified() || other.is_unspecified())
}

/// Numbers for ports that nobody chose: above those that the kernel gives to connections that go out
/// (`ip_local_port_range`, 32768 to 60999), and then the upper ones of these. `start` says where the search begins, so that
/// a port that was given back is not at once somebody else's.
pub(crate) fn free_numbers(start: u16) -> impl Iterator<Item = u16> {
    const ABOVE: PortRange = PortRange { first: 61_000, last: 65_535 };
    const SHARED: PortRange = PortRange { first: 49_152, last: 60_999 };
    let from = ABOVE.first + start % (ABOVE.count() + 1);
    (from..=ABOVE.last).chain(ABOVE.first..from).chain(SHARED.all())
}

/// An address and a port as they are written together.
pub(crate) fn shown(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn request(host: Option<&str>, inner: &str) -> PublishRequest {
        let range = |text: &str| PortRange::parse(text).unwrap();
        PublishRequest { address: None, host: host.map(range), inner: range(inner), protocol: Protocol::Tcp }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn expanded(one: PublishRequest) -> Vec<(HostPort, u16)> {
        expand(&[one], false, &[], &[ip("127.0.0.1")]).unwrap().into_iter().map(|w| (w.host, w.inner)).collect()
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(PortRange::parse("80"), Some(PortRange::one(80)));
        assert_eq!(PortRange::parse("80-90").unwrap().to_string(), "80-90");
        for wrong in ["", "0", "65536", "90-80", "-", "80-", "+80", "80-90-100", "x"] {
            assert_eq!(PortRange::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Exposed::parse("53/UDP").unwrap().to_string(), "53/udp");
        assert_eq!(Exposed::parse("53/icmp"), None);
    }

    #[test]
    fn ranges_go_together_port_by_port() {
        assert_eq!(expanded(request(None, "80-81")), [(HostPort::Any, 80), (HostPort::Any, 81)]);
        assert_eq!(
            expanded(request(Some("8000-8001"), "80-81")),
            [(HostPort::One(8000), 80), (HostPort::One(8001), 81)]
        );
        assert_eq!(
            expanded(request(Some("8000-8001"), "80")),
            [(HostPort::Of(PortRange { first: 8000, last: 8001 }), 80)]
        );
        let error = expand(&[request(Some("8000-8001"), "80-82")], false, &[], &[]).unwrap_err();
        assert!(error.to_string().contains("8000-8001:80-82"), "{error}");
        assert_eq!(expanded(request(Some("1-65535"), "1-65535")).len(), 65_535);
    }

    #[test]
    fn all_that_is_exposed_is_published_once() {
        let exposed: Vec<Exposed> = ["80", "81/udp", "80-82"].iter().map(|t| Exposed::parse(t).unwrap()).collect();
        let wanted = expand(&[request(Some("9"), "80")], true, &exposed, &[ip("::1")]).unwrap();
        let shown: Vec<String> = wanted.iter().map(|w| format!("{}/{}", w.inner, w.protocol)).collect();
        assert_eq!(shown, ["80/tcp", "81/tcp", "81/udp", "82/tcp"]);
        assert!(wanted.iter().all(|w| w.addresses == [ip("::1")] && !w.written));
    }

    #[test]
    fn the_address_of_all_meets_each_of_its_family() {
        for (one, other, met) in [
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("::", "::1", true),
            ("::", "127.0.0.1", false),
        ] {
            assert_eq!((meet(ip(one), ip(other)), meet(ip(other), ip(one))), (met, met), "{one} {other}");
        }
    }

    #[test]
    fn requests_are_shown_as_they_are_written() {
        let shown = |address: Option<&str>, host| {
            PublishRequest { address: address.map(ip), ..request(host, "80") }.to_string()
        };
        assert_eq!(shown(None, None), "80");
        assert_eq!(shown(Some("::1"), Some("8080")), "[::1]:8080:80");
        assert_eq!(shown(Some("10.0.0.1"), None), "10.0.0.1::80");
    }

    #[test]
    fn free_numbers_are_all_of_them_once() {
        for start in [0, 1, 4535, 4536, u16::MAX] {
            let all: Vec<u16> = free_numbers(start).collect();
            assert_eq!(all.len(), 65_536 - 49_152);
            assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        }
    }
}
