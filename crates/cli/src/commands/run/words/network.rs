//! Flags of the heading "Network".

use clap::Args;

/// How the container is reached, and what it finds.
#[derive(Debug, Args)]
pub(in super::super) struct NetworkWords {
    /// Network: none, host or a name [default: an own stack with loopback only]
    #[arg(long, visible_alias = "net", value_name = "NETWORK", help_heading = "Network")]
    pub(in super::super) network: Option<String>,
    /// Publish a port: [ADDRESS:][HOST:]CONTAINER[/udp]; without an address on loopback only
    #[arg(short, long, value_name = "PORT", help_heading = "Network")]
    pub(in super::super) publish: Vec<String>,
    /// Line for /etc/hosts, NAME:ADDRESS; may be repeated
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = "Network")]
    pub(in super::super) add_host: Vec<String>,
    /// Name server for /etc/resolv.conf; may be repeated
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(in super::super) dns: Vec<String>,
    /// Search domain for /etc/resolv.conf; may be repeated
    #[arg(long, value_name = "DOMAIN", help_heading = "Network")]
    pub(in super::super) dns_search: Vec<String>,
    /// Option for /etc/resolv.conf; may be repeated
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", help_heading = "Network")]
    pub(in super::super) dns_option: Vec<String>,
}
