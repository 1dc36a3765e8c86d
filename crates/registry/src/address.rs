//! Where a registry may send us: not from the world into a network that trusts us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of network an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// The world.
    Public,
    /// A site's own: RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// This machine.
    Loopback,
    /// Nothing that a registry has: link-local (where clouds have their credentials), multicast, reserved.
    Never,
}

impl Reach {
    /// Of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4_reach(v4),
            IpAddr::V6(v6) => v6_reach(v6),
        }
    }

    /// Whether something here may send us to an address of the other kind. Inside a private network, and on this
    /// machine, registries and their storage stand side by side.
    #[must_use]
    pub fn may_lead_to(self, other: Self) -> bool {
        match other {
            Self::Public => true,
            Self::Private | Self::Loopback => self == other,
            Self::Never => false,
        }
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Private => "an address of a private network",
            Self::Loopback => "an address of this machine",
            Self::Never => "a link-local or reserved address",
        }
    }
}

fn v4_reach(v4: Ipv4Addr) -> Reach {
    let [a, b, c, _] = v4.octets();
    if v4.is_loopback() {
        return Reach::Loopback;
    }
    if v4.is_private() || (a == 100 && (64..128).contains(&b)) {
        return Reach::Private;
    }
    let reserved = a == 0
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || v4.is_documentation()
        || a >= 240
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b));
    if reserved { Reach::Never } else { Reach::Public }
}

fn v6_reach(v6: Ipv6Addr) -> Reach {
    let [first, second, third, fourth, fifth, sixth, seventh, eighth] = v6.segments();
    let low = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        v4_reach(Ipv4Addr::new(a, b, c, d))
    };
    if v6.is_loopback() {
        return Reach::Loopback;
    }
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4_reach(v4);
    }
    // Ways to write an address of version 4 inside one of version 6: NAT64 (RFC 6052), 6to4 (RFC 3056).
    if [first, second, third, fourth, fifth, sixth] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return low(seventh, eighth);
    }
    if first == 0x2002 {
        return low(second, third);
    }
    if first & 0xfe00 == 0xfc00 {
        return Reach::Private;
    }
    // Global unicast is 2000::/3; documentation is cut out of it.
    if first & 0xe000 == 0x2000 && !(first == 0x2001 && second == 0xdb8) { Reach::Public } else { Reach::Never }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (address, kind) in [
            ("1.1.1.1", Reach::Public),
            ("127.9.9.9", Reach::Loopback),
            ("10.0.0.1", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("172.32.0.1", Reach::Public),
            ("100.64.0.1", Reach::Private),
            ("100.128.0.1", Reach::Public),
            ("169.254.169.254", Reach::Never),
            ("0.0.0.0", Reach::Never),
            ("224.0.0.1", Reach::Never),
            ("255.255.255.255", Reach::Never),
            ("198.18.0.1", Reach::Never),
            ("2606:4700::1", Reach::Public),
            ("::1", Reach::Loopback),
            ("::", Reach::Never),
            ("::ffff:127.0.0.1", Reach::Loopback),
            ("::ffff:169.254.169.254", Reach::Never),
            ("64:ff9b::10.0.0.1", Reach::Private),
            ("2002:7f00:1::", Reach::Loopback),
            ("fd00::1", Reach::Private),
            ("fe80::1", Reach::Never),
            ("ff02::1", Reach::Never),
            ("2001:db8::1", Reach::Never),
        ] {
            assert_eq!(Reach::of(address.parse().unwrap()), kind, "{address}");
        }
    }

    #[test]
    fn nobody_is_led_inwards() {
        use Reach::{Loopback, Never, Private, Public};
        for (from, to, may) in [
            (Public, Public, true),
            (Public, Private, false),
            (Public, Loopback, false),
            (Private, Private, true),
            (Private, Loopback, false),
            (Loopback, Loopback, true),
            (Loopback, Private, false),
            (Loopback, Public, true),
            (Loopback, Never, false),
            (Never, Never, false),
        ] {
            assert_eq!(from.may_lead_to(to), may, "{from:?} {to:?}");
        }
    }
}
