//! What is asked for, before anything is done.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::NetError;
use crate::{Bridge, Flow, Member, Port, Reach, Subnet, Traffic};

/// Longest name of a link.
const NAME: usize = 15;
const SMALLEST_MTU: u32 = 68;
/// RFC 8200, section 5.
const SMALLEST_MTU_IPV6: u32 = 1280;
const LARGEST_MTU: u32 = 65_535;

/// The first thing that is wrong.
pub(crate) fn all(bridges: &[&Bridge], members: &[Member], ports: &[Port]) -> Result<(), NetError> {
    bridges.iter().try_for_each(|b| bridge(b))?;
    for m in members {
        let Some(network) = bridges.iter().find(|b| b.link == m.bridge) else {
            let known: Vec<&str> = bridges.iter().map(|b| b.link.as_str()).collect();
            return Err(NetError::invalid("bridge of a member", &m.bridge, format!("one of {}", known.join(", "))));
        };
        member(m, network)?;
    }
    ports.iter().try_for_each(port)
}

/// A name that the kernel takes and that is no path below `/proc/sys/net`.
pub(crate) fn name(field: &'static str, value: &str) -> Result<(), NetError> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = (1..=NAME).contains(&value.len()) && value.bytes().all(known);
    if good && !matches!(value, "." | ".." | "all" | "default") {
        return Ok(());
    }
    Err(NetError::invalid(field, value, format!("1 to {NAME} letters, digits, '-', '_', '.'; not all or default")))
}

/// What a network has: its subnets, and the largest packet where one is asked for.
pub(crate) fn network(v4: Option<&Subnet>, v6: Option<&Subnet>, mtu: Option<u32>) -> Result<(), NetError> {
    let least = if v6.is_some() { SMALLEST_MTU_IPV6 } else { SMALLEST_MTU };
    if let Some(mtu) = mtu.filter(|mtu| !(least..=LARGEST_MTU).contains(mtu)) {
        return Err(NetError::invalid("mtu", mtu, format!("{least} to {LARGEST_MTU}")));
    }
    for (given, is_v4) in [(v4, true), (v6, false)] {
        if let Some(given) = given {
            subnet(given, is_v4)?;
        }
    }
    Ok(())
}

fn bridge(bridge: &Bridge) -> Result<(), NetError> {
    name("link of a network", &bridge.link)?;
    network(bridge.v4.as_ref(), bridge.v6.as_ref(), Some(bridge.mtu))?;
    bridge.policy.iter().flatten().try_for_each(|flow| flows(flow, bridge))
}

/// A flow of a network with a policy.
fn flows(flow: &Flow, bridge: &Bridge) -> Result<(), NetError> {
    for end in [&flow.from, &flow.to] {
        name("link of a flow", &end.link)?;
    }
    if flow.from.link == flow.to.link {
        return Err(NetError::invalid("flow of a policy", &flow.from.link, "one to another member"));
    }
    if bridge.isolated {
        return Err(NetError::invalid("policy of", &bridge.link, "none: its members do not reach each other at all"));
    }
    traffic(flow.traffic)
}

fn traffic(traffic: Traffic) -> Result<(), NetError> {
    match traffic {
        Traffic::Ports { first, last, .. } if first > last => {
            Err(NetError::invalid("ports", format!("{first}-{last}"), "the lower one first"))
        }
        _ => Ok(()),
    }
}

/// What a member reaches outside.
fn reach(reach: &Reach) -> Result<(), NetError> {
    let longest = if reach.address.is_ipv4() { 32 } else { 128 };
    if reach.prefix > longest {
        return Err(NetError::invalid("prefix", reach.prefix, format!("0 to {longest}")));
    }
    if first(reach.address, reach.prefix) != reach.address {
        let right = format!("{}/{}", first(reach.address, reach.prefix), reach.prefix);
        return Err(NetError::invalid("egress", format!("{}/{}", reach.address, reach.prefix), right));
    }
    traffic(reach.traffic)
}

fn subnet(subnet: &Subnet, is_v4: bool) -> Result<(), NetError> {
    let family = if is_v4 { "an IPv4 address" } else { "an IPv6 address" };
    for (field, address) in [("subnet", subnet.address), ("gateway", subnet.gateway)] {
        if address.is_ipv4() != is_v4 {
            return Err(NetError::invalid(field, address, family));
        }
    }
    let longest = if is_v4 { 32 } else { 128 };
    if subnet.prefix > longest {
        return Err(NetError::invalid("prefix", subnet.prefix, format!("0 to {longest}")));
    }
    if first(subnet.address, subnet.prefix) != subnet.address {
        let right = format!("{}/{}", first(subnet.address, subnet.prefix), subnet.prefix);
        return Err(NetError::invalid("subnet", format!("{}/{}", subnet.address, subnet.prefix), right));
    }
    inside("gateway", subnet.gateway, subnet)
}

/// The address with all bits behind the prefix zero.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    let behind = |bits: u32| bits.saturating_sub(prefix.into());
    match address {
        IpAddr::V4(a) => {
            let kept = u32::MAX.checked_shl(behind(32)).unwrap_or_default();
            IpAddr::from((u32::from(a) & kept).to_be_bytes())
        }
        IpAddr::V6(a) => {
            let kept = u128::MAX.checked_shl(behind(128)).unwrap_or_default();
            IpAddr::from((u128::from(a) & kept).to_be_bytes())
        }
    }
}

/// Whether the two have an address in common.
pub(crate) fn overlap(a: (IpAddr, u8), b: (IpAddr, u8)) -> bool {
    let shorter = a.1.min(b.1);
    a.0.is_ipv4() == b.0.is_ipv4() && first(a.0, shorter) == first(b.0, shorter)
}

fn inside(field: &'static str, address: IpAddr, subnet: &Subnet) -> Result<(), NetError> {
    let range = format!("an address of {}/{}", subnet.address, subnet.prefix);
    let special = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    if special || first(address, subnet.prefix) != subnet.address {
        return Err(NetError::invalid(field, address, range));
    }
    Ok(())
}

fn member(member: &Member, bridge: &Bridge) -> Result<(), NetError> {
    name("link of a member", &member.host_link)?;
    name("link inside", &member.inner)?;
    mac(member.mac)?;
    if member.limited != bridge.policy.is_some() {
        return Err(NetError::invalid("limited", member.limited, "what the member's network is"));
    }
    member.egress.iter().flatten().try_for_each(reach)?;
    addresses(&bridge.link, (member.v4, member.v6), (bridge.v4.as_ref(), bridge.v6.as_ref()))
}

/// A hardware address of one machine.
pub(crate) fn mac(mac: [u8; 6]) -> Result<(), NetError> {
    let [head, ..] = mac;
    if head & 1 != 0 || mac == [0; 6] {
        let shown = mac.map(|b| format!("{b:02x}")).join(":");
        return Err(NetError::invalid("link address", shown, "an address of one link, as 02:00:00:00:00:01"));
    }
    Ok(())
}

/// Addresses of a member of a network with these subnets.
pub(crate) fn addresses(
    network: &str,
    (v4, v6): (Option<Ipv4Addr>, Option<Ipv6Addr>),
    (subnet4, subnet6): (Option<&Subnet>, Option<&Subnet>),
) -> Result<(), NetError> {
    for (address, subnet) in [(v4.map(IpAddr::V4), subnet4), (v6.map(IpAddr::V6), subnet6)] {
        match (address, subnet) {
            (None, _) => {}
            (Some(address), None) => {
                let accepted = format!("none of this family: the network {network} has no such subnet");
                return Err(NetError::invalid("address", address, accepted));
            }
            (Some(address), Some(subnet)) => {
                inside("address", address, subnet)?;
                if address == subnet.gateway {
                    return Err(NetError::invalid("address", address, "another: this is the gateway's"));
                }
            }
        }
    }
    Ok(())
}

fn port(port: &Port) -> Result<(), NetError> {
    if port.port == 0 || port.inner == 0 {
        return Err(NetError::invalid("port", 0, "1 to 65535"));
    }
    if port.address.is_ipv4() != port.to.is_ipv4() {
        return Err(NetError::invalid("address of a published port", port.address, "one of the container's family"));
    }
    if port.address.is_loopback() {
        let accepted = "an address that is not loopback: packets cannot be forwarded from there";
        return Err(NetError::invalid("address of a published port", port.address, accepted));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn network() -> Bridge {
        let subnet = |address: &str, prefix, gateway: &str| Subnet {
            address: address.parse().expect("an address"),
            prefix,
            gateway: gateway.parse().expect("an address"),
        };
        Bridge {
            link: "bh-0123456789ab".to_owned(),
            v4: Some(subnet("10.1.2.0", 24, "10.1.2.1")),
            v6: Some(subnet("fd00:1::", 64, "fd00:1::1")),
            mtu: 1500,
            internal: false,
            isolated: false,
            masquerade: true,
            policy: None,
        }
    }

    fn container() -> Member {
        Member {
            bridge: "bh-0123456789ab".to_owned(),
            host_link: "bv0123456789ab".to_owned(),
            inner: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            v4: "10.1.2.3".parse().ok(),
            v6: "fd00:1::3".parse().ok(),
            default_route: true,
            limited: false,
            egress: None,
        }
    }

    fn says(bridge: &Bridge, member: &Member, ports: &[Port]) -> String {
        let checked = all(&[bridge], std::slice::from_ref(member), ports);
        checked.expect_err("it should be refused").to_string()
    }

    #[test]
    fn what_is_right_passes() {
        let port = Port {
            address: "0.0.0.0".parse().expect("an address"),
            port: 80,
            protocol: Protocol::Tcp,
            to: "10.1.2.3".parse().expect("an address"),
            inner: 8080,
        };
        assert!(all(&[&network()], &[container()], &[port]).is_ok());
        let refused = says(&network(), &container(), &[Port { address: "127.0.0.1".parse().expect("one"), ..port }]);
        assert!(refused.contains("127.0.0.1") && refused.contains("not loopback"), "{refused}");
        let refused = says(&network(), &container(), &[Port { address: "::".parse().expect("one"), ..port }]);
        assert!(refused.contains("family"), "{refused}");
        assert!(says(&network(), &container(), &[Port { inner: 0, ..port }]).contains("1 to 65535"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (n, c) = (network(), container());
        for bad in ["", "0123456789abcdef", "a/b", "..", "all", "a b", "é"] {
            assert!(
                says(&Bridge { link: bad.to_owned(), ..n.clone() }, &c, &[]).starts_with("link of a network"),
                "{bad}"
            );
            assert!(says(&n, &Member { inner: bad.to_owned(), ..c.clone() }, &[]).starts_with("link inside"), "{bad}");
        }
        assert!(says(&Bridge { mtu: 1279, ..n.clone() }, &c, &[]).contains("1280 to 65535"));
        assert!(says(&Bridge { mtu: 65_536, ..n.clone() }, &c, &[]).contains("mtu"));
        let odd = Subnet { address: "10.1.2.9".parse().expect("one"), ..n.v4.expect("a subnet") };
        assert!(says(&Bridge { v4: Some(odd), ..n.clone() }, &c, &[]).contains("10.1.2.0/24"));
        let far = Subnet { gateway: "10.1.3.1".parse().expect("one"), ..n.v4.expect("a subnet") };
        assert!(says(&Bridge { v4: Some(far), ..n.clone() }, &c, &[]).contains("an address of 10.1.2.0/24"));
        let long = Subnet { prefix: 33, ..n.v4.expect("a subnet") };
        assert!(says(&Bridge { v4: Some(long), ..n.clone() }, &c, &[]).contains("0 to 32"));
        assert!(says(&n, &Member { v4: "10.1.2.1".parse().ok(), ..c.clone() }, &[]).contains("the gateway's"));
        assert!(says(&n, &Member { v4: "10.1.3.1".parse().ok(), ..c.clone() }, &[]).contains("10.1.2.0/24"));
        assert!(says(&n, &Member { v6: "fd00:2::1".parse().ok(), ..c.clone() }, &[]).contains("fd00:1::/64"));
        assert!(says(&Bridge { v6: None, ..n.clone() }, &c, &[]).contains("no such subnet"));
        assert!(says(&n, &Member { mac: [1, 0, 0, 0, 0, 0], ..c.clone() }, &[]).contains("01:00:00:00:00:00"));
        assert!(says(&n, &Member { bridge: "other".to_owned(), ..c }, &[]).contains("one of bh-0123456789ab"));
    }

    #[test]
    fn subnets_overlap_when_one_is_in_the_other() {
        let of = |a: &str, b: &str| {
            let pair = |text: &str| {
                let (address, prefix) = text.split_once('/').expect("a prefix");
                (address.parse().expect("an address"), prefix.parse().expect("a number"))
            };
            assert_eq!(overlap(pair(a), pair(b)), overlap(pair(b), pair(a)));
            overlap(pair(a), pair(b))
        };
        assert!(
            of("10.1.0.0/16", "10.1.7.9/24") && of("10.1.0.0/16", "10.1.255.255/32") && of("10.1.0.0/24", "10.9.9.9/8")
        );
        assert!(!of("10.1.0.0/16", "10.2.0.0/16") && !of("10.1.0.0/24", "10.1.1.1/24") && !of("::/64", "0.0.0.0/24"));
        assert!(of("fd00:1::/64", "fd00:1::9/48") && !of("fd00:1::/64", "fd00:1:0:1::9/64"));
    }

    #[test]
    fn prefixes_of_all_lengths() {
        let of = |address: &str, prefix| first(address.parse().expect("one"), prefix).to_string();
        assert_eq!(of("255.255.255.255", 0), "0.0.0.0");
        assert_eq!(of("255.255.255.255", 32), "255.255.255.255");
        assert_eq!(of("10.1.2.3", 9), "10.0.0.0");
        assert_eq!(of("fd00:1:2:3::4", 0), "::");
        assert_eq!(of("fd00:1:2:3::4", 48), "fd00:1:2::");
        assert_eq!(of("fd00::4", 128), "fd00::4");
    }
}
