//! Names in a list of what a container reaches outside: only these are asked for, and what is found is opened for as long as
//! it holds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bulkhead_net::Traffic;
use bulkhead_net::names::{Found, fits};
use serde::{Deserialize, Serialize};

use super::kernel;
use super::rules::{EgressRule, Place};
use crate::error::EngineError;
use crate::store::{Joined, Lease};

/// An answer is used for at least so long: programs keep what they have looked up.
const SHORTEST: u32 = 60;
/// And for no longer than this, whatever it says.
const LONGEST: u32 = 86_400;
/// Addresses that are open for one container at once.
const MOST: usize = 1024;

/// One name of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// As the resolver knows it.
    pub(super) name: String,
    traffic: Vec<Traffic>,
    /// Addresses of the container on the network that the list is of.
    own: Vec<IpAddr>,
}

/// The list that holds for a container on a network.
pub(super) fn of_join(joined: &Joined) -> Option<&[EgressRule]> {
    joined.wish.egress.as_deref().or(joined.network.egress.as_deref())
}

/// Whether a container has a name in one of its lists.
pub(super) fn any(joined: &[Joined]) -> bool {
    let is_name = |rule: &EgressRule| matches!(rule.to, Place::Name(_));
    joined.iter().filter(|j| j.lease.is_some()).filter_map(of_join).flatten().any(is_name)
}

/// The names in the lists that hold for a container.
pub(super) fn of(joined: &[Joined]) -> Vec<Listed> {
    let mut all = Vec::new();
    for (join, lease) in out(joined) {
        for rule in of_join(join).unwrap_or_default() {
            let Place::Name(name) = &rule.to else { continue };
            all.push(Listed { name: name.clone(), traffic: rule.what.traffic(), own: lease.addresses().collect() });
        }
    }
    all
}

/// Whether a container may ask outside for the names of its lists only: each of its ways out has one. A question is a way out
/// too (CVE-2024-29018).
pub(super) fn is_all(joined: &[Joined]) -> bool {
    out(joined).next().is_some() && out(joined).all(|(join, _)| of_join(join).is_some())
}

/// Networks with a way out.
fn out(joined: &[Joined]) -> impl Iterator<Item = (&Joined, &Lease)> {
    joined.iter().filter(|j| !j.network.internal).filter_map(|j| Some((j, j.lease.as_ref()?)))
}

/// Whether an address is one of the wide world: a name of somebody else must not lead inside (DNS rebinding).
fn is_outside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let [first, second, ..] = a.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            // For measuring, and for protocols (RFC 2544, RFC 6890).
            let special = first == 198 && second & 0xfe == 18 || a.octets().starts_with(&[192, 0, 0]);
            let inside =
                a.is_private() || a.is_loopback() || a.is_link_local() || a.is_unspecified() || a.is_multicast();
            !(inside || shared || special || first == 0 || first >= 240)
        }
        IpAddr::V6(a) => match a.to_ipv4() {
            // Written as one of version 6, or translated.
            Some(_) => false,
            None => {
                let [first, second, ..] = a.segments();
                // Translated, carried in version 4 (6to4, Teredo), and of a site (RFC 3879).
                let carried =
                    first == 0x64 || first == 0x2002 || (first, second) == (0x2001, 0) || first & 0xffc0 == 0xfec0;
                !(carried || a.is_unique_local() || a.is_unicast_link_local() || a.is_multicast())
            }
        },
    }
}

/// Addresses that are open for a container, each until then.
#[derive(Debug, Default)]
pub(super) struct Opened(HashMap<(IpAddr, String), (Instant, Duration)>);

impl Opened {
    /// Whether this was opened, for more than half of its time yet.
    fn holds(&self, key: &(IpAddr, String), now: Instant) -> bool {
        self.0.get(key).is_some_and(|(until, life)| *until > now + *life / 2)
    }
}

/// Lets the container reach what was found. More than [`MOST`] addresses are not open at once: whoever says what a name means
/// could fill the kernel's sets otherwise, which all containers share.
///
/// # Errors
/// What the kernel refuses, when nothing could be opened; too many that are open.
pub(super) fn open(
    place: &super::place::Place,
    all: &[Listed],
    found: &Found,
    opened: &mut Opened,
) -> Result<(), EngineError> {
    let now = Instant::now();
    opened.0.retain(|_, (until, _)| *until > now);
    let (mut failed, mut done) = (None, false);
    for (address, life) in found.addresses.iter().filter(|(address, _)| is_outside(*address)) {
        let life = Duration::from_secs((*life).clamp(SHORTEST, LONGEST).into());
        for listed in all.iter().filter(|listed| fits(&listed.name, &found.name)) {
            let key = (*address, format!("{} {:?}", listed.name, listed.traffic));
            if opened.holds(&key, now) {
                done = true;
                continue;
            }
            if opened.0.len() >= MOST && !opened.0.contains_key(&key) {
                let reason = format!("{MOST} addresses are open for the container by names");
                failed = Some(EngineError::refused(format!("opening {address} for {}", found.name), reason));
                continue;
            }
            let same = |own: &&IpAddr| own.is_ipv4() == address.is_ipv4();
            let own: Vec<IpAddr> = listed.own.iter().filter(same).copied().collect();
            match kernel::pin(place, &own, *address, &listed.traffic, life) {
                Ok(()) => {
                    opened.0.insert(key, (now + life, life));
                    done = true;
                }
                Err(e) => failed = Some(e),
            }
        }
    }
    match failed {
        Some(e) if !done => Err(e),
        _ => Ok(()),
    }
}

/// Two names of a list lead to one address sometimes: what they allow there is the same, or has no port in common. Anything
/// else the kernel cannot keep, so it is refused here.
///
/// # Errors
/// The first that does not go together with another.
pub(super) fn check(list: Option<&[EgressRule]>) -> Result<(), EngineError> {
    let rules: Vec<&EgressRule> = list.into_iter().flatten().filter(|r| matches!(r.to, Place::Name(_))).collect();
    for (at, one) in rules.iter().enumerate() {
        for other in rules.iter().take(at) {
            let others = other.what.traffic();
            let clash = |a: &Traffic| others.iter().any(|b| a != b && meets(*a, *b));
            if one.what.traffic().iter().any(clash) {
                let needed = format!("it has ports in common with {other}; write the same ports for both, or others");
                return Err(EngineError::invalid("--egress", one.to_string(), needed));
            }
        }
    }
    Ok(())
}

fn meets(a: Traffic, b: Traffic) -> bool {
    match (a, b) {
        (Traffic::Ports { protocol, first, last }, Traffic::Ports { protocol: other, first: from, last: to }) => {
            protocol == other && first <= to && from <= last
        }
        (Traffic::Any, _) | (_, Traffic::Any) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wide_world_is_outside() {
        for inside in [
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2001::1",
            "fec0::1",
            "198.18.0.1",
            "192.0.0.192",
            "::",
        ] {
            assert!(!is_outside(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.0.2.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(is_outside(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn names_of_a_list_have_the_same_ports_or_others() {
        let list = |all: &[&str]| all.iter().map(|t| EgressRule::parse(t).unwrap()).collect::<Vec<_>>();
        for good in [
            &["a.example.org:443", "b.example.org:443"][..],
            &["a.example.org:443", "b.example.org:80"],
            &["a.example.org:443", "10.0.0.0/8"],
            &["a.example.org:443", "b.example.org:443/udp"],
            &["a.example.org", "b.example.org"],
        ] {
            assert!(check(Some(&list(good))).is_ok(), "{good:?}");
        }
        for bad in [
            &["a.example.org:443", "b.example.org:400-500"][..],
            &["a.example.org:443", "b.example.org"],
            &["a.example.org:53/any", "b.example.org:50-60/udp"],
        ] {
            let error = check(Some(&list(bad))).unwrap_err().to_string();
            assert!(error.contains("--egress") && error.contains(bad[1]), "{error}");
        }
        assert!(check(None).is_ok());
    }
}
