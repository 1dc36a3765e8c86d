//! Where the host sends packets, so that no network takes the addresses of another machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::net::Net;

/// The routes of the host, each with its link; without those to everywhere and those that only refuse.
pub(super) fn of_host() -> Vec<(Net, String)> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
    let mut all = version_4(&read("route"));
    all.extend(version_6(&read("ipv6_route")));
    all
}

/// `/proc/net/route`: link, destination and mask as hexadecimal numbers in the byte order of the machine.
fn version_4(text: &str) -> Vec<(Net, String)> {
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let mask = u32::from_be_bytes(hex(7)?.to_ne_bytes());
        let address = IpAddr::V4(Ipv4Addr::from(hex(1)?.to_ne_bytes()));
        let prefix = u8::try_from(mask.leading_ones()).ok().filter(|p| *p > 0)?;
        Some((Net::around(address, prefix)?, (*fields.first()?).to_owned()))
    };
    text.lines().skip(1).filter_map(one).collect()
}

/// `/proc/net/ipv6_route`: destination, its prefix in hexadecimal, …, link.
fn version_6(text: &str) -> Vec<(Net, String)> {
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = u128::from_str_radix(fields.first()?, 16).ok()?;
        let prefix = u8::from_str_radix(fields.get(1)?, 16).ok().filter(|p| *p > 0)?;
        let link = (*fields.get(9)?).to_owned();
        // What belongs to each link, and to loopback, is in nobody's way.
        let address = Ipv6Addr::from_bits(address);
        let local = address.is_multicast() || address.is_unicast_link_local() || address.is_loopback();
        if local { None } else { Some((Net::around(IpAddr::V6(address), prefix)?, link)) }
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_the_way_out_is_left_out() {
        let numbers = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = |link: &str, to: [u8; 4], mask: [u8; 4]| {
            format!("{link}\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n", numbers(to), numbers(mask))
        };
        let text = format!(
            "Iface\tDestination\tGateway\n{}{}broken\n",
            line("eth0", [0; 4], [0; 4]),
            line("eth0", [192, 168, 1, 0], [255, 255, 255, 0])
        );
        assert_eq!(version_4(&text), [(Net::parse("192.168.1.0/24").unwrap(), "eth0".to_owned())]);
        let rest = "00 00000000000000000000000000000000 00000100 00000001 00000000 00000001";
        let text = format!(
            "fd000001000000000000000000000000 40 00000000000000000000000000000000 {rest} eth0\n\
             fe800000000000000000000000000000 40 00000000000000000000000000000000 {rest} eth0\n\
             00000000000000000000000000000000 00 00000000000000000000000000000000 {rest} eth0\n"
        );
        assert_eq!(version_6(&text), [(Net::parse("fd00:1::/64").unwrap(), "eth0".to_owned())]);
    }
}
