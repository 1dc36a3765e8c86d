//! Options of the driver `bridge`, as Docker's clients write them.

use std::collections::BTreeMap;

use crate::error::EngineError;

/// Bytes of a packet where nothing was asked: those of Ethernet.
pub(super) const MTU: u32 = 1500;

/// What options say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) mtu: u32,
    pub(super) isolated: bool,
    pub(super) masquerade: bool,
}

/// Options that are known and mean something else here.
const REFUSED: [(&str, &str); 6] = [
    ("com.docker.network.bridge.name", "a bridge is named after the id of its network; leave it out"),
    ("com.docker.network.bridge.host_binding_ipv4", "write the address with -p, or set network.publish_address"),
    ("com.docker.network.container_iface_prefix", "links inside are named eth0, eth1 and so on; leave it out"),
    ("com.docker.network.bridge.inhibit_ipv4", "the bridge always has the gateway's address; leave it out"),
    ("com.docker.network.bridge.default_bridge", "the network bridge is the default; leave it out"),
    ("com.docker.network.bridge.trusted_host_interfaces", "no link of the host is trusted; leave it out"),
];

/// Bytes of a packet, as the option `name` has them.
///
/// # Errors
/// What is no such number.
pub(super) fn mtu(name: &str, value: &str, v6: bool) -> Result<u32, EngineError> {
    // Version 6 needs links of 1280 bytes (RFC 8200, 5), version 4 of 68 (RFC 791).
    let least = if v6 { 1280 } else { 68 };
    let mtu = value.parse().ok().filter(|n| (least..=65_535).contains(n));
    mtu.ok_or_else(|| {
        let needed = format!("a number from {least} to 65535 is needed");
        EngineError::invalid("--opt", format!("{name}={value}"), needed)
    })
}

/// Understands the options of `network create`; `mtu` is for one that says nothing of it.
///
/// # Errors
/// An option that is not known, that is not there, or whose value is none.
pub(super) fn parse(options: &BTreeMap<String, String>, v6: bool, mtu: u32) -> Result<Options, EngineError> {
    let mut parsed = Options { mtu, isolated: false, masquerade: true };
    for (name, value) in options {
        let invalid = |needed: &str| EngineError::invalid("--opt", format!("{name}={value}"), needed);
        let switch = || match value.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(invalid("true or false is needed")),
        };
        match name.as_str() {
            "com.docker.network.driver.mtu" | "mtu" => parsed.mtu = self::mtu(name, value, v6)?,
            "com.docker.network.bridge.enable_icc" => parsed.isolated = !switch()?,
            "com.docker.network.bridge.enable_ip_masquerade" => parsed.masquerade = switch()?,
            "com.docker.network.bridge.gateway_mode_ipv4" | "com.docker.network.bridge.gateway_mode_ipv6" => {
                if value != "nat" {
                    return Err(invalid("nat is the only mode there is"));
                }
            }
            other => {
                let reason = REFUSED.iter().find(|(known, _)| *known == other).map_or(
                    "known are com.docker.network.driver.mtu, com.docker.network.bridge.enable_icc and \
                     com.docker.network.bridge.enable_ip_masquerade",
                    |(_, reason)| *reason,
                );
                return Err(EngineError::refused(format!("--opt {other}"), reason));
            }
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], v6: bool) -> Result<Options, String> {
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        parse(&map, v6, MTU).map_err(|e| e.to_string())
    }

    #[test]
    fn options_with_a_meaning_are_taken_and_others_named() {
        let usual = Options { mtu: 1500, isolated: false, masquerade: true };
        assert_eq!(read(&[], false), Ok(usual));
        let docker = "com.docker.network.";
        let name = |rest: &str| format!("{docker}{rest}");
        assert_eq!(read(&[(&name("driver.mtu"), "9000")], true), Ok(Options { mtu: 9000, ..usual }));
        assert_eq!(read(&[(&name("bridge.enable_icc"), "false")], false), Ok(Options { isolated: true, ..usual }));
        let off = read(&[(&name("bridge.enable_ip_masquerade"), "0")], false);
        assert_eq!(off, Ok(Options { masquerade: false, ..usual }));
        for (option, value, v6) in [
            ("driver.mtu", "67", false),
            ("driver.mtu", "1279", true),
            ("driver.mtu", "65536", false),
            ("bridge.enable_icc", "maybe", false),
            ("bridge.gateway_mode_ipv4", "routed", false),
        ] {
            let error = read(&[(&name(option), value)], v6).unwrap_err();
            assert!(error.contains(&format!("{docker}{option}={value}")) && error.contains("--opt"), "{error}");
        }
        for option in ["x", "com.docker.network.bridge.name"] {
            let error = read(&[(option, "y")], false).unwrap_err();
            assert!(error.contains(&format!("--opt {option} is refused")), "{error}");
        }
    }
}
