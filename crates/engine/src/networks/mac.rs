//! Hardware addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A hardware address of one machine: neither the one of all nor one of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no hardware address"))
    }
}

impl Mac {
    /// `02:42:0a:58:00:02`, also with dashes. Nothing for an address of a group, of all, or of nobody (IEEE 802, the
    /// lowest bit of the first byte).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0_u8; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        let [first, ..] = bytes;
        (parts.next().is_none() && first & 1 == 0 && bytes != [0; 6]).then_some(Self(bytes))
    }

    /// The address that belongs to an address on a network: the same after a restart, so that neighbours who remember it
    /// are right. Locally administered. `again` makes another when it is taken.
    pub(crate) fn derived(network: &str, address: IpAddr, again: u32) -> Self {
        let mut hash = Sha256::new();
        hash.update(network.as_bytes());
        hash.update(address.to_string().as_bytes());
        hash.update(again.to_le_bytes());
        let digest = hash.finalize();
        let mut bytes = [0_u8; 6];
        for (to, from) in bytes.iter_mut().zip(digest.iter()) {
            *to = *from;
        }
        let [first, rest @ ..] = &mut bytes;
        *first = 0x02;
        if let (IpAddr::V4(v4), 0, [_, last @ ..]) = (address, again, rest) {
            // People read it out of captures.
            *last = v4.octets();
        }
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_machine_are_read() {
        assert_eq!(Mac::parse("02:42:0A:58:00:02").unwrap().to_string(), "02:42:0a:58:00:02");
        assert_eq!(Mac::parse("92-d0-c6-0a-29-33").unwrap().to_string(), "92:d0:c6:0a:29:33");
        for wrong in [
            "",
            "02:42:0a:58:00",
            "02:42:0a:58:00:02:03",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "2:42:a:58:0:2",
            "02:42:0a:58:00:0g",
            "02-42:0a:58:00:02",
        ] {
            assert_eq!(Mac::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_address_has_one_and_keeps_it() {
        let of = |network: &str, address: &str, again| Mac::derived(network, address.parse().unwrap(), again);
        let one = of("ab", "10.88.0.2", 0);
        assert_eq!(one, of("ab", "10.88.0.2", 0));
        assert!(one.to_string().starts_with("02:") && one.to_string().ends_with(":0a:58:00:02"), "{one}");
        for other in
            [of("ab", "10.88.0.3", 0), of("cd", "10.88.0.2", 0), of("ab", "10.88.0.2", 1), of("ab", "fd00::2", 0)]
        {
            assert!(other != one && other.0[0] == 2, "{other}");
        }
        assert_eq!(Mac::parse(&one.to_string()), Some(one));
    }
}
