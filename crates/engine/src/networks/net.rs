//! Blocks of addresses, as `10.88.0.0/22`: what is in them, what they share with others, which address is next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Version of the Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// 32 bits.
    V4,
    /// 128 bits.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    fn address(self, number: u128) -> Option<IpAddr> {
        match self {
            Self::V4 => u32::try_from(number).ok().map(|n| IpAddr::V4(Ipv4Addr::from_bits(n))),
            Self::V6 => Some(IpAddr::V6(Ipv6Addr::from_bits(number))),
        }
    }
}

/// An address as a number.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// A block of addresses: the first of them, and how many bits all have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Net {
    address: IpAddr,
    prefix: u8,
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Net> for String {
    fn from(net: Net) -> Self {
        net.to_string()
    }
}

impl TryFrom<String> for Net {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no block of addresses"))
    }
}

impl Net {
    /// The block that `address` is in; nothing when the family has not so many bits.
    #[must_use]
    pub fn around(address: IpAddr, prefix: u8) -> Option<Self> {
        let family = Family::of(address);
        let host = family.bits().checked_sub(prefix)?;
        let mask = u128::MAX.checked_shl(u32::from(host)).unwrap_or(0);
        Some(Self { address: family.address(number(address) & mask)?, prefix })
    }

    /// `10.88.0.0/22`, `fd00:1::/64`; also with an address inside it, as Docker accepts it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Self::around(address.parse().ok()?, prefix.parse().ok()?)
    }

    /// The first address, which names the block.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that all have in common.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    fn low(&self) -> u128 {
        number(self.address)
    }

    fn high(&self) -> u128 {
        let host = self.family().bits() - self.prefix;
        let ones = u128::MAX.checked_shl(u32::from(host)).map_or(u128::MAX, |mask| !mask);
        self.low() | ones
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && (self.low()..=self.high()).contains(&number(address))
    }

    /// Whether the whole of another block is in it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        self.family() == other.family() && self.low() <= other.low() && other.high() <= self.high()
    }

    /// Whether they have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family() && self.low() <= other.high() && other.low() <= self.high()
    }

    /// The first and the last address that a machine can have: not the network's own and, in version 4, not the one that
    /// speaks to all. Version 6 has its anycast address of routers there (RFC 4291, 2.6.1). Nothing for a block with no
    /// room for a gateway and a member.
    #[must_use]
    pub fn hosts(&self) -> Option<(IpAddr, IpAddr)> {
        if self.family().bits() - self.prefix < 2 {
            return None;
        }
        let last = if self.family() == Family::V4 { self.high() - 1 } else { self.high() };
        Some((self.family().address(self.low() + 1)?, self.family().address(last)?))
    }

    /// Whether a machine can have this address.
    #[must_use]
    pub fn is_host(&self, address: IpAddr) -> bool {
        let within = |(low, high): (IpAddr, IpAddr)| (number(low)..=number(high)).contains(&number(address));
        self.contains(address) && self.hosts().is_some_and(within)
    }

    /// The parts of it with this prefix, from the lowest.
    pub fn parts(self, prefix: u8) -> impl Iterator<Item = Net> {
        let width = self.family().bits().checked_sub(prefix).filter(|_| prefix >= self.prefix);
        let step = width.and_then(|w| 1_u128.checked_shl(u32::from(w)));
        let mut next = step.map(|_| self.low());
        std::iter::from_fn(move || {
            let at = next?;
            next = step.and_then(|s| at.checked_add(s)).filter(|n| *n <= self.high());
            Some(Net { address: self.family().address(at)?, prefix })
        })
    }
}

/// The address that a new member gets: the lowest that is free after `after`, the one that was given last, and then from
/// the beginning. An address that was given back stays unused for as long as others can be had, so that what still speaks
/// to its last holder does not reach another.
///
/// `range` is what may be given, `net` what it lies in; `reserved` is never given. `taken` calls its second argument for
/// each taken address not below its first, in order, until that says no.
pub(crate) fn next_free<E>(
    net: &Net,
    range: &Net,
    after: Option<IpAddr>,
    reserved: &[IpAddr],
    mut taken: impl FnMut(IpAddr, &mut dyn FnMut(IpAddr) -> bool) -> Result<(), E>,
) -> Result<Option<IpAddr>, E> {
    let Some((first, last)) = net.hosts() else { return Ok(None) };
    let first = number(first).max(range.low());
    let last = number(last).min(range.high());
    let from = after.map(|a| number(a).saturating_add(1)).filter(|n| (first..=last).contains(n)).unwrap_or(first);
    for (low, high) in [(from, last), (first, from.saturating_sub(1))] {
        if low > high {
            continue;
        }
        let Some(start) = net.family().address(low) else { continue };
        let mut candidate = low;
        let skip = |mut n: u128| {
            while reserved.iter().any(|r| number(*r) == n) {
                n = n.saturating_add(1);
            }
            n
        };
        candidate = skip(candidate);
        taken(start, &mut |address| {
            let found = number(address);
            if found == candidate {
                candidate = skip(candidate.saturating_add(1));
            }
            // One below was a reserved one.
            found <= candidate && candidate <= high
        })?;
        if candidate <= high {
            return Ok(net.family().address(candidate));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Net {
        Net::parse(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_are_read_and_shown() {
        for (text, shown) in
            [("10.88.0.0/22", "10.88.0.0/22"), ("10.88.1.7/22", "10.88.0.0/22"), ("FD00:1::5/64", "fd00:1::/64")]
        {
            assert_eq!(net(text).to_string(), shown);
        }
        for wrong in ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "x/8", "fd00::/129", "10.0.0.0/+8", "/8"]
        {
            assert_eq!(Net::parse(wrong), None, "{wrong}");
        }
        assert_eq!(net("0.0.0.0/0").high(), u128::from(u32::MAX));
        assert_eq!(net("::/0").high(), u128::MAX);
    }

    #[test]
    fn some_addresses_are_nobodys() {
        let small = net("10.0.0.0/30");
        assert_eq!(small.hosts(), Some((ip("10.0.0.1"), ip("10.0.0.2"))));
        assert!(!small.is_host(ip("10.0.0.0")) && !small.is_host(ip("10.0.0.3")) && small.is_host(ip("10.0.0.2")));
        assert_eq!(net("10.0.0.0/31").hosts(), None);
        assert_eq!(net("fd00::/126").hosts(), Some((ip("fd00::1"), ip("fd00::3"))));
        assert!(!net("fd00::/64").is_host(ip("fd00::")));
    }

    #[test]
    fn parts_fill_the_whole() {
        let parts: Vec<String> = net("10.0.0.0/22").parts(24).map(|n| n.to_string()).collect();
        assert_eq!(parts, ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"]);
        assert_eq!(net("255.255.255.0/24").parts(25).count(), 2);
        assert_eq!(net("10.0.0.0/24").parts(8).count(), 0);
        assert_eq!(net("::/0").parts(1).count(), 2);
    }

    fn give(
        net: &Net,
        range: &Net,
        after: Option<IpAddr>,
        reserved: &[IpAddr],
        held: &BTreeSet<u128>,
    ) -> Option<IpAddr> {
        next_free(net, range, after, reserved, |from, see| {
            for n in held.range(number(from)..) {
                if !see(net.family().address(*n).unwrap()) {
                    break;
                }
            }
            Ok::<(), Infallible>(())
        })
        .unwrap()
    }

    #[test]
    fn addresses_go_round() {
        let block = net("10.0.0.0/29");
        let gateway = [ip("10.0.0.1")];
        let mut held = BTreeSet::new();
        let mut after = None;
        let mut given = Vec::new();
        while let Some(next) = give(&block, &block, after, &gateway, &held) {
            held.insert(number(next));
            given.push(next.to_string());
            after = Some(next);
        }
        assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        held.remove(&number(ip("10.0.0.3")));
        assert_eq!(give(&block, &block, after, &gateway, &held), Some(ip("10.0.0.3")));
        // Only what is in the range.
        let range = net("10.0.0.4/30");
        assert_eq!(give(&block, &range, None, &gateway, &BTreeSet::new()), Some(ip("10.0.0.4")));
        // One given last that lies outside of the range now.
        assert_eq!(give(&block, &range, Some(ip("10.0.0.2")), &gateway, &BTreeSet::new()), Some(ip("10.0.0.4")));
    }

    proptest! {
        #[test]
        fn what_is_given_was_free_and_nothing_free_is_overlooked(
            prefix in 25_u8..31, taken in proptest::collection::btree_set(0_u128..128, 0..100),
            after in proptest::option::of(0_u32..128), gateway in 1_u32..8,
        ) {
            let block = Net::around(ip("10.1.2.0"), prefix).unwrap();
            let at = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 2, 0).to_bits() + n));
            let base = number(ip("10.1.2.0"));
            let held: BTreeSet<u128> = taken.iter().map(|n| base + n).collect();
            let reserved = [at(gateway)];
            let free = |a: IpAddr| block.is_host(a) && a != at(gateway) && !held.contains(&number(a));
            let given = give(&block, &block, after.map(at), &reserved, &held);
            match given {
                Some(address) => {
                    prop_assert!(free(address));
                    // Nothing that is free lies between the last one and this.
                    if let Some(after) = after.map(at).filter(|a| block.is_host(*a) && number(*a) < number(address)) {
                        for n in number(after) + 1..number(address) {
                            prop_assert!(!free(Family::V4.address(n).unwrap()));
                        }
                    }
                }
                None => prop_assert!((0..128).all(|n| !free(at(n)))),
            }
        }

        #[test]
        fn blocks_that_share_an_address_overlap(a in any::<u32>(), b in any::<u32>(), p in 0_u8..=32, q in 0_u8..=32) {
            let one = Net::around(IpAddr::V4(Ipv4Addr::from_bits(a)), p).unwrap();
            let other = Net::around(IpAddr::V4(Ipv4Addr::from_bits(b)), q).unwrap();
            // Blocks with a common address lie one in the other.
            let nested = one.contains(other.address()) || other.contains(one.address());
            prop_assert_eq!(one.overlaps(&other), nested);
            prop_assert_eq!(one.overlaps(&other), one.holds(&other) || other.holds(&one));
            prop_assert!(one.contains(IpAddr::V4(Ipv4Addr::from_bits(a))));
            prop_assert_eq!(Net::parse(&one.to_string()), Some(one));
        }
    }
}
