//! Flags of the heading "Network".

use bulkhead_engine::request::{NetMode, NetRequest};
use bulkhead_engine::store::JoinWish;
use clap::Args;

use crate::error::CliError;
use crate::flags::{self, network as form};

/// How the container is reached, and what it finds.
#[derive(Debug, Args)]
pub(in super::super) struct NetworkWords {
    /// none (loopback only), bridge, host (no network of its own), container:NAME, or a network, also name=NETWORK,ip=…,alias=…; may be repeated [default: bridge for root, else none]
    #[arg(long, visible_alias = "net", value_name = "NETWORK", help_heading = "Network")]
    pub(in super::super) network: Vec<String>,
    /// Address of version 4 on the first network [default: one that is free]
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(in super::super) ip: Option<String>,
    /// Address of version 6 on the first network [default: one that is free]
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(in super::super) ip6: Option<String>,
    /// Hardware address on the first network [default: made of its address]
    #[arg(long, value_name = "MAC", help_heading = "Network")]
    pub(in super::super) mac_address: Option<String>,
    /// A further name on the first network; may be repeated
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", help_heading = "Network")]
    pub(in super::super) network_alias: Vec<String>,
    /// A name of its own for another container on the first network: CONTAINER[:NAME]; may be repeated
    #[arg(long, value_name = "CONTAINER[:NAME]", help_heading = "Network")]
    pub(in super::super) link: Vec<String>,
    /// Publish a port: [ADDRESS:][HOST:]CONTAINER[/udp|/sctp]; without an address on loopback only
    #[arg(short, long, value_name = "PORT", help_heading = "Network")]
    pub(in super::super) publish: Vec<String>,
    /// Publish every exposed port on a port of the host that is free
    #[arg(short = 'P', long, help_heading = "Network")]
    pub(in super::super) publish_all: bool,
    /// A port that the container serves, for -P: 80, 80/udp or 8000-8010; may be repeated
    #[arg(long, value_name = "PORT", help_heading = "Network")]
    pub(in super::super) expose: Vec<String>,
    /// All that is reached outside: ADDRESS[/PREFIX][:PORT[-PORT]][/tcp|udp|sctp|icmp|any], or none; may be repeated [default: everything]
    #[arg(long, value_name = "TO", help_heading = "Network")]
    pub(in super::super) egress: Vec<String>,
    /// Line for /etc/hosts, NAME:ADDRESS; may be repeated
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = "Network")]
    pub(in super::super) add_host: Vec<String>,
    /// Name server for /etc/resolv.conf; may be repeated [default: the host's]
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(in super::super) dns: Vec<String>,
    /// Search domain for /etc/resolv.conf; may be repeated [default: the host's]
    #[arg(long, value_name = "DOMAIN", help_heading = "Network")]
    pub(in super::super) dns_search: Vec<String>,
    /// Option for /etc/resolv.conf; may be repeated [default: the host's]
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", help_heading = "Network")]
    pub(in super::super) dns_option: Vec<String>,
}

impl NetworkWords {
    /// What is asked of networks.
    ///
    /// # Errors
    /// A value that is none, and networks that do not go together.
    pub(in super::super) fn request(&self) -> Result<NetRequest, CliError> {
        let choices = flags::each("--network", &self.network, form::choice)?;
        let mut mode = NetMode::Unset;
        let mut joins: Vec<JoinWish> = Vec::new();
        let several = choices.len() > 1;
        for (choice, text) in choices.into_iter().zip(&self.network) {
            match choice {
                form::Choice::Join(join) => {
                    mode = NetMode::Networks;
                    joins.push(join);
                }
                form::Choice::Mode(_) if several => {
                    let needed = "it does not go together with another --network; name networks only";
                    return Err(CliError::invalid("--network", text, needed));
                }
                form::Choice::Mode(one) => mode = one,
            }
        }
        self.of_first(&mut joins)?;
        Ok(NetRequest {
            mode,
            joins,
            publish: flags::each("--publish", &self.publish, form::publish)?,
            publish_all: self.publish_all,
            expose: flags::each("--expose", &self.expose, form::expose)?,
            egress: form::egress(&self.egress)?,
        })
    }

    /// The flags that belong to the first network, whichever it will be.
    fn of_first(&self, joins: &mut Vec<JoinWish>) -> Result<(), CliError> {
        let v4 = flags::optional("--ip", self.ip.as_deref(), form::ip)?;
        let v6 = flags::optional("--ip6", self.ip6.as_deref(), form::ip6)?;
        let mac = flags::optional("--mac-address", self.mac_address.as_deref(), form::mac)?;
        let aliases = flags::each("--network-alias", &self.network_alias, form::alias)?;
        let links = flags::each("--link", &self.link, form::link)?;
        if (v4, v6, mac) == (None, None, None) && aliases.is_empty() && links.is_empty() {
            return Ok(());
        }
        if joins.is_empty() {
            joins.push(JoinWish::default());
        }
        let Some(first) = joins.first_mut() else { return Ok(()) };
        let twice = |flag: &str, value: Option<String>, known: bool| match value {
            Some(value) if known => {
                Err(CliError::invalid(flag, &value, "--network says it already; write it at one of the two places"))
            }
            _ => Ok(()),
        };
        twice("--ip", v4.map(|a| a.to_string()), first.v4.is_some())?;
        twice("--ip6", v6.map(|a| a.to_string()), first.v6.is_some())?;
        twice("--mac-address", mac.map(|m| m.to_string()), first.mac.is_some())?;
        first.v4 = first.v4.or(v4);
        first.v6 = first.v6.or(v6);
        first.mac = first.mac.or(mac);
        first.aliases.extend(aliases);
        first.links.extend(links);
        Ok(())
    }
}
