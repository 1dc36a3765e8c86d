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
}
