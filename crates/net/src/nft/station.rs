//! Walls of a link that no port of a bridge is behind: they are in the container's own network namespace, at the link
//! itself, below every socket of the container's (`netdev` tables, egress since Linux 5.16).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::expr::*;
use super::model::{Chain, Rule};
use super::rules::{ETHER_ARP, ETHER_IP4, ETHER_IP6, ICMP4, ICMP6, UDP, base, compare, icmp, is, masked, rule, then};
use crate::Subnet;

/// Hooks of a link (`linux/netfilter.h`), and where in their order.
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;

/// Whose link it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    /// Its hardware address, where frames have one of its own.
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
    /// Where the last address of a subnet speaks to all.
    pub(crate) subnet: Option<Subnet>,
}

/// Both chains.
pub(crate) fn chains(holder: &Holder) -> Vec<Chain> {
    let out = [frames(holder), ip4(holder), arp(holder), ip6(holder)].concat();
    vec![base("out", "filter", EGRESS, 0, out), base("in", "filter", INGRESS, 0, incoming())]
}

fn drop() -> Vec<Expr> {
    then(Verdict::Drop)
}

fn frames(holder: &Holder) -> Vec<Rule> {
    let kinds = [ETHER_IP4, ETHER_ARP, ETHER_IP6];
    let none: Vec<Expr> = kinds.iter().flat_map(|kind| compare(ETHER_PROTOCOL, false, kind)).collect();
    let mut all = vec![rule("VLAN tags and all other frames", &[&none, &drop()])];
    if let Some(mac) = holder.mac {
        all.push(rule("foreign hardware addresses", &[&compare(ETHER_SOURCE, false, &mac), &drop()]));
    }
    all
}

/// The last address of a subnet.
fn last(subnet: &Subnet) -> Option<[u8; 4]> {
    let IpAddr::V4(first) = subnet.address else { return None };
    let hosts = u32::MAX.checked_shr(subnet.prefix.into()).unwrap_or_default();
    (subnet.prefix < 31).then(|| (u32::from(first) | hosts).to_be_bytes())
}

fn ip4(holder: &Holder) -> Vec<Rule> {
    let protocol = is(ETHER_PROTOCOL, &ETHER_IP4);
    let to = |mask: [u8; 4], prefix: [u8; 4]| masked(IP4_DESTINATION, &mask, true, &prefix);
    let Some(own) = holder.v4 else { return vec![rule("no IPv4", &[&protocol, &drop()])] };
    let mut all = vec![
        rule("foreign addresses", &[&protocol, &compare(IP4_SOURCE, false, &own.octets()), &drop()]),
        rule("multicast", &[&protocol, &to([0xf0, 0, 0, 0], [0xe0, 0, 0, 0]), &drop()]),
        rule("broadcast", &[&protocol, &is(IP4_DESTINATION, &[255; 4]), &drop()]),
        rule("link-local and metadata addresses", &[&protocol, &to([255, 255, 0, 0], [169, 254, 0, 0]), &drop()]),
        rule("answers of a DHCP server", &[&protocol, &from(67), &drop()]),
        rule("ICMP redirects", &[&protocol, &icmp(ICMP4, 5), &drop()]),
    ];
    if let Some(last) = holder.subnet.as_ref().and_then(last) {
        all.push(rule("broadcast", &[&protocol, &is(IP4_DESTINATION, &last), &drop()]));
    }
    all
}

fn arp(holder: &Holder) -> Vec<Rule> {
    let protocol = is(ETHER_PROTOCOL, &ETHER_ARP);
    let Some(own) = holder.v4 else { return vec![rule("no ARP", &[&protocol, &drop()])] };
    let mut all = vec![
        rule("ARP of other kinds", &[&protocol, &compare(ARP_HEADER, false, &[0, 1, 8, 0, 6, 4]), &drop()]),
        rule("answers for others", &[&protocol, &compare(ARP_IP, false, &own.octets()), &drop()]),
    ];
    if let Some(mac) = holder.mac {
        all.push(rule("answers for others", &[&protocol, &compare(ARP_MAC, false, &mac), &drop()]));
    }
    all
}

/// Address of a link, made of its hardware address (RFC 4291, appendix A).
fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn ip6(holder: &Holder) -> Vec<Rule> {
    let protocol = is(ETHER_PROTOCOL, &ETHER_IP6);
    let Some(own) = holder.v6 else { return vec![rule("no IPv6", &[&protocol, &drop()])] };
    let wide = |first: [u8; 2]| [first.as_slice(), &[0; 14]].concat();
    let (mask, prefix) = (wide([0xff, 0xc0]), wide([0xfe, 0x80]));
    // Where links share a hardware address, the kernel makes that of the link in another way.
    let not_of_link = |what: Load| match holder.mac {
        Some(mac) => compare(what, false, &link_local(mac).octets()),
        None => masked(what, &mask, false, &prefix),
    };
    let foreign = [
        compare(IP6_SOURCE, false, &own.octets()),
        not_of_link(IP6_SOURCE),
        compare(IP6_SOURCE, false, &Ipv6Addr::UNSPECIFIED.octets()),
    ]
    .concat();
    let others = [compare(ND_TARGET, false, &own.octets()), not_of_link(ND_TARGET)].concat();
    let metadata = [&[0xff; 4][..], &[0; 12]].concat();
    let ec2 = [&[0xfd, 0, 0x0e, 0xc2][..], &[0; 12]].concat();
    vec![
        rule("foreign addresses", &[&protocol, &foreign, &drop()]),
        rule("router advertisements", &[&protocol, &icmp(ICMP6, 134), &drop()]),
        rule("ICMP redirects", &[&protocol, &icmp(ICMP6, 137), &drop()]),
        rule("neighbour solicitations", &[&protocol, &icmp(ICMP6, 135), &then(Verdict::Accept)]),
        rule("answers for others", &[&protocol, &icmp(ICMP6, 136), &others, &drop()]),
        rule("neighbour advertisements", &[&protocol, &icmp(ICMP6, 136), &then(Verdict::Accept)]),
        rule("multicast", &[&protocol, &masked(IP6_DESTINATION, &wide([0xff, 0]), true, &wide([0xff, 0])), &drop()]),
        rule("link-local sources", &[&protocol, &masked(IP6_SOURCE, &mask, true, &prefix), &drop()]),
        rule("link-local destinations", &[&protocol, &masked(IP6_DESTINATION, &mask, true, &prefix), &drop()]),
        rule("metadata addresses", &[&protocol, &masked(IP6_DESTINATION, &metadata, true, &ec2), &drop()]),
        rule("answers of a DHCP server", &[&protocol, &from(547), &drop()]),
    ]
}

fn from(port: u16) -> Vec<Expr> {
    [is(L4, &[UDP]), is(SOURCE_PORT, &port.to_be_bytes())].concat()
}

/// Whoever else is on the parent's network tells a container neither its routes nor its addresses.
fn incoming() -> Vec<Rule> {
    let (v4, v6) = (is(ETHER_PROTOCOL, &ETHER_IP4), is(ETHER_PROTOCOL, &ETHER_IP6));
    vec![
        rule("ICMP redirects", &[&v4, &icmp(ICMP4, 5), &drop()]),
        rule("answers of a DHCP server", &[&v4, &from(67), &drop()]),
        rule("router advertisements", &[&v6, &icmp(ICMP6, 134), &drop()]),
        rule("ICMP redirects", &[&v6, &icmp(ICMP6, 137), &drop()]),
        rule("answers of a DHCP server", &[&v6, &from(547), &drop()]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_links_and_of_all() {
        assert_eq!(link_local([0x02, 0x42, 0x0a, 0x01, 0x00, 0x02]).to_string(), "fe80::42:aff:fe01:2");
        let subnet =
            |prefix| Subnet { address: "192.0.2.0".parse().unwrap(), prefix, gateway: "192.0.2.1".parse().unwrap() };
        assert_eq!(last(&subnet(24)), Some([192, 0, 2, 255]));
        assert_eq!(last(&subnet(31)), None);
    }

    #[test]
    fn a_family_without_an_address_is_closed() {
        let holder = Holder { mac: Some([2, 0, 0, 0, 0, 1]), v4: None, v6: None, subnet: None };
        let out = chains(&holder).swap_remove(0);
        let said: Vec<&str> = out.rules.iter().map(|r| r.says).collect();
        assert_eq!(
            said,
            ["VLAN tags and all other frames", "foreign hardware addresses", "no IPv4", "no ARP", "no IPv6"]
        );
        assert!(out.rules.iter().all(|r| r.expressions.last() == Some(&Expr::Then(Verdict::Drop))));
    }

    #[test]
    fn links_that_share_a_hardware_address_are_not_held_to_it() {
        let of = |mac| Holder { mac, v4: "192.0.2.7".parse().ok(), v6: "fd00::7".parse().ok(), subnet: None };
        let all = chains(&of(None));
        let loads = |chain: &Chain, what: Load| {
            chain
                .rules
                .iter()
                .flat_map(|r| &r.expressions)
                .any(|e| matches!(e, Expr::Load { what: w, .. } if *w == what))
        };
        assert!(!loads(&all[0], ETHER_SOURCE) && !loads(&all[0], ARP_MAC) && loads(&all[0], IP4_SOURCE));
        let all = chains(&of(Some([2, 0, 0, 0, 0, 1])));
        assert!(loads(&all[0], ETHER_SOURCE) && loads(&all[0], ARP_MAC));
    }
}
