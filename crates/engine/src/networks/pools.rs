//! Where the subnets of networks come from.

use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest, Sha256};

use super::net::{Family, Net};

/// A block that subnets are cut from, and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// All of it.
    pub base: Net,
    /// Prefix of each part.
    pub size: u8,
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.base, self.size)
    }
}

impl Pool {
    /// `10.88.0.0/13:22`: blocks of /22 out of 10.88.0.0/13. Version 4 only: those of version 6 are made by
    /// [`unique_local`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (base, size) = text.split_once(':')?;
        let (base, size) = (Net::parse(base)?, size.parse().ok()?);
        // Four addresses at least: the network's, the gateway's, a member's, and that of all.
        let fits = base.family() == Family::V4 && (base.prefix()..=30).contains(&size);
        fits.then_some(Self { base, size })
    }
}

/// A list of pools.
pub(crate) fn parse_all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Vec<Pool>> {
    let pools: Vec<Pool> = texts.into_iter().map(Pool::parse).collect::<Option<_>>()?;
    (!pools.is_empty()).then_some(pools)
}

/// The first part of the pools that meets none of `others`.
pub(crate) fn choose(pools: &[Pool], others: &[Net]) -> Option<Net> {
    for pool in pools {
        // Only those that lie in this pool can be in the way: with thousands of parts it makes a difference.
        let near: Vec<&Net> = others.iter().filter(|n| n.overlaps(&pool.base)).collect();
        if near.iter().any(|n| n.holds(&pool.base)) {
            continue;
        }
        if let Some(free) = pool.base.parts(pool.size).find(|part| !near.iter().any(|n| n.overlaps(part))) {
            return Some(free);
        }
    }
    None
}

/// A subnet of version 6 that nobody else is likely to have: `fd`, 40 bits that depend on the network's random id, and a
/// subnet number (RFC 4193, 3.2.2). The first that meets none of `others`.
pub(crate) fn unique_local(id: &str, others: &[Net]) -> Option<Net> {
    let digest = Sha256::digest(id.as_bytes());
    let mut global = [0_u8; 16];
    for (to, from) in global.iter_mut().zip(std::iter::once(&0xfd).chain(digest.iter().take(5))) {
        *to = *from;
    }
    let base = Net::around(IpAddr::V6(Ipv6Addr::from(global)), 48)?;
    base.parts(64).find(|part| !others.iter().any(|n| n.overlaps(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<Net> {
        texts.iter().map(|t| Net::parse(t).unwrap()).collect()
    }

    #[test]
    fn pools_are_read_and_shown() {
        let pool = Pool::parse("10.88.0.0/13:22").unwrap();
        assert_eq!(pool.to_string(), "10.88.0.0/13:22");
        for wrong in ["", "10.88.0.0/13", "10.88.0.0/13:12", "10.88.0.0/13:31", "fd00::/48:64", "10.0.0.0/8:x"] {
            assert_eq!(Pool::parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse_all([]), None);
    }

    #[test]
    fn the_first_part_that_is_free_is_chosen() {
        let pools = parse_all(["10.88.0.0/23:24", "10.90.0.0/24:25"]).unwrap();
        let chosen = |others: &[&str]| choose(&pools, &nets(others)).map(|n| n.to_string());
        assert_eq!(chosen(&[]).as_deref(), Some("10.88.0.0/24"));
        assert_eq!(chosen(&["10.88.0.128/25"]).as_deref(), Some("10.88.1.0/24"));
        assert_eq!(chosen(&["10.88.0.0/16"]).as_deref(), Some("10.90.0.0/25"));
        assert_eq!(chosen(&["10.88.0.0/16", "10.90.0.5/32"]).as_deref(), Some("10.90.0.128/25"));
        assert_eq!(chosen(&["10.0.0.0/8"]), None);
        assert_eq!(chosen(&["fd00::/8"]).as_deref(), Some("10.88.0.0/24"));
    }

    #[test]
    fn subnets_of_version_6_are_private_and_their_own() {
        let one = unique_local("aa", &[]).unwrap();
        assert!(Net::parse("fd00::/8").unwrap().holds(&one) && one.prefix() == 64, "{one}");
        assert_eq!(unique_local("aa", &[]), Some(one));
        let other = unique_local("aa", &[one]).unwrap();
        assert!(!other.overlaps(&one));
        assert!(!unique_local("ab", &[]).unwrap().overlaps(&one));
    }
}
