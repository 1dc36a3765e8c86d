//! `bulkhead network create`.

use std::net::IpAddr;

use clap::Args;

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::flags::{self, Needed, network, pairs};
use crate::line::Flags;
use crate::output;
use crate::wire::{self, Net, NetworkRequest};

/// The command.
pub const ENTRY_CREATE: Entry = Entry {
    name: "create",
    about: "Make a network",
    footer: "\
Members of a network reach each other; members of two do not.

Options of the driver bridge:
  com.docker.network.driver.mtu=1400                   bytes of a packet
  com.docker.network.bridge.enable_icc=false           members do not reach each other
  com.docker.network.bridge.enable_ip_masquerade=false what goes out keeps its address

With macvlan or ipvlan containers have links of their own on a link of the host, which only root can make. The host's
firewall is not in between: -p, --allow and --egress are refused, and so are containers that may administer their network
or send raw packets. Options of these drivers:
  parent=eth0          link of the host; eth0.50 is made, with that VLAN tag; without one members reach each other alone
  macvlan_mode=bridge  bridge, private, vepa or passthru
  ipvlan_mode=l2       l2, l3 or l3s
  ipvlan_flag=bridge   bridge, private or vepa
  mtu=1400             bytes of a packet [default: those of the parent]

With --allow members reach each other by the stated flows alone; see 'network policy'. With --egress members reach outside
what is listed alone, unless 'run --egress' says otherwise.

Examples:
  bulkhead network create web
  bulkhead network create --allow 'web -> db:5432/tcp' shop
  bulkhead network create --subnet 10.7.0.0/24 --gateway 10.7.0.254 --ipv6 web
  bulkhead network create --internal db
  bulkhead network create -d macvlan -o parent=eth0 --subnet 192.168.1.0/24 --ip-range 192.168.1.192/27 lan",
    flags: Flags::Anywhere,
    build: CreateFlags::augment_args,
    run: |matches| execute(flags_of(matches)?),
};

#[derive(Debug, Args)]
struct CreateFlags {
    /// Driver: bridge, macvlan or ipvlan
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// Addresses of the network, one block for each family [default: some that are free]
    #[arg(long, value_name = "BLOCK")]
    subnet: Vec<String>,
    /// Address of the bridge in a subnet, or of the router there [default: its first]
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Part of a subnet that containers are given addresses of [default: all of it]
    #[arg(long, value_name = "BLOCK")]
    ip_range: Vec<String>,
    /// Addresses of version 4, true or false
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: String,
    /// Addresses of version 6
    #[arg(long)]
    ipv6: bool,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// All that members may send each other: FROM -> TO[:PORT][/tcp|udp|sctp|icmp|any], or none; may be repeated [default: everything]
    #[arg(long, value_name = "FLOW")]
    allow: Vec<String>,
    /// All that members reach outside: ADDRESS[/PREFIX][:PORT][/tcp|udp|sctp|icmp|any], or none; may be repeated [default: everything]
    #[arg(long, value_name = "TO")]
    egress: Vec<String>,
    /// Label, KEY[=VALUE]; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Option of the driver, KEY=VALUE; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Refused: nothing else gives addresses
    #[arg(long, value_name = "DRIVER", hide = true)]
    ipam_driver: Option<String>,
    /// Refused: nothing else gives addresses
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    ipam_opt: Vec<String>,
    /// Refused: write --ip-range
    #[arg(long, value_name = "NAME=ADDRESS", hide = true)]
    aux_address: Vec<String>,
    /// Refused: there is no swarm
    #[arg(long, hide = true)]
    attachable: bool,
    /// Refused: there is no swarm
    #[arg(long, hide = true)]
    ingress: bool,
    /// Refused: there is no swarm
    #[arg(long, value_name = "SCOPE", hide = true)]
    scope: Option<String>,
    /// Refused: there is no swarm
    #[arg(long, hide = true)]
    config_only: bool,
    /// Refused: there is no swarm
    #[arg(long, value_name = "NETWORK", hide = true)]
    config_from: Option<String>,
    /// Name
    #[arg(value_name = "NETWORK")]
    name: String,
}

impl CreateFlags {
    /// Flags of Docker that nothing here could keep to.
    fn check(&self) -> Result<(), CliError> {
        const SWARM: &str = "it belongs to a swarm, which there is not";
        const ADDRESSES: &str = "addresses are given by this program itself";
        let shown = |flag: &str, value: Option<&String>| value.map(|value| format!("{flag} {value}"));
        let switch = |flag: &str, on: bool| on.then(|| flag.to_owned());
        let written = [
            (shown("--ipam-driver", self.ipam_driver.as_ref().filter(|d| *d != "default")), ADDRESSES),
            (shown("--ipam-opt", self.ipam_opt.first()), ADDRESSES),
            (
                shown("--aux-address", self.aux_address.first()),
                "single addresses are not kept back yet; use --ip-range",
            ),
            (switch("--attachable", self.attachable), SWARM),
            (switch("--ingress", self.ingress), SWARM),
            (shown("--scope", self.scope.as_ref().filter(|s| *s != "local")), SWARM),
            (switch("--config-only", self.config_only), SWARM),
            (shown("--config-from", self.config_from.as_ref()), SWARM),
        ];
        match written.into_iter().find_map(|(flag, why)| Some((flag?, why))) {
            Some((flag, why)) => Err(CliError::usage(format!("{flag} is refused: {why}")).with_hint("leave it out")),
            None => Ok(()),
        }
    }
}

/// A block that begins where it says.
fn block(text: &str) -> Result<Net, Needed> {
    let net = Net::parse(text).ok_or("a block of addresses like 10.7.0.0/24 or fd00:7::/64 is needed")?;
    let written: Option<IpAddr> = text.split('/').next().and_then(|a| a.parse().ok());
    match written {
        Some(address) if address == net.address() => Ok(net),
        _ => Err(format!("it should be {net}").into()),
    }
}

fn option(text: &str) -> Result<(String, String), Needed> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE is needed, like com.docker.network.driver.mtu=1400".into()),
    }
}

fn execute(words: CreateFlags) -> Result<u8, CliError> {
    words.check()?;
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| "an address like 10.7.0.1 is needed".into());
    let v4 = |text: &str| flags::boolean(text).ok_or_else(|| "true or false is needed".into());
    let request = NetworkRequest {
        name: flags::meant("NETWORK", &words.name, network::network)?,
        driver: words.driver,
        subnets: flags::each("--subnet", &words.subnet, block)?,
        gateways: flags::each("--gateway", &words.gateway, address)?,
        ranges: flags::each("--ip-range", &words.ip_range, block)?,
        without_v4: !flags::value("--ipv4", &words.ipv4, v4)?,
        v6: words.ipv6,
        internal: words.internal,
        labels: flags::each("--label", &words.label, pairs::label)?.into_iter().collect(),
        options: flags::each("--opt", &words.opt, option)?.into_iter().collect(),
        policy: flags::network::flows("--allow", &words.allow)?,
        egress: flags::network::egress(&words.egress)?,
    };
    let id = wire::create_network(&request)?;
    if !matches!(request.driver.as_str(), "" | "bridge") {
        output::note(
            "the host's firewall does not stand between this network and its containers; 'network inspect' says what holds",
        );
    }
    output::line(&id).map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_begin_where_they_say() {
        assert_eq!(block("10.7.0.0/24").unwrap().to_string(), "10.7.0.0/24");
        assert_eq!(block("10.7.0.5/24").unwrap_err(), "it should be 10.7.0.0/24");
        assert_eq!(block("fd00:7::1/64").unwrap_err(), "it should be fd00:7::/64");
        for wrong in ["", "10.7.0.0", "10.7.0.0/33", "web"] {
            assert!(block(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_belongs_to_a_swarm_is_refused_by_name() {
        for words in [
            &["--attachable", "web"][..],
            &["--ingress", "web"],
            &["--scope", "swarm", "web"],
            &["--config-only", "web"],
            &["--config-from", "x", "web"],
            &["--ipam-driver", "dhcp", "web"],
            &["--ipam-opt", "a=b", "web"],
            &["--aux-address", "a=10.0.0.1", "web"],
        ] {
            let matches = crate::commands::parsed(&ENTRY_CREATE, words).unwrap();
            let error = flags_of::<CreateFlags>(&matches).unwrap().check().unwrap_err();
            assert!(error.message.starts_with(words[0]) && error.message.contains(" is refused: "), "{error}");
        }
        let matches =
            crate::commands::parsed(&ENTRY_CREATE, &["--scope=local", "--ipam-driver=default", "web"]).unwrap();
        flags_of::<CreateFlags>(&matches).unwrap().check().unwrap();
    }
}
