//! `bulkhead network connect` and `disconnect`.

use clap::Args;

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::flags::{self, network};
use crate::line::Flags;
use crate::wire::{self, JoinWish};

/// `network connect`.
pub const ENTRY_CONNECT: Entry = Entry {
    name: "connect",
    about: "Connect a container to one more network, also while it runs",
    footer: "Examples:\n  bulkhead network connect web shop\n  bulkhead network connect --ip 10.7.0.5 --alias db web shop",
    flags: Flags::Anywhere,
    build: ConnectFlags::augment_args,
    run: |matches| connect(flags_of(matches)?),
};

/// `network disconnect`.
pub const ENTRY_DISCONNECT: Entry = Entry {
    name: "disconnect",
    about: "Disconnect a container from a network, also while it runs",
    footer: "Examples:\n  bulkhead network disconnect web shop",
    flags: Flags::Anywhere,
    build: DisconnectFlags::augment_args,
    run: |matches| disconnect(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct ConnectFlags {
    /// Address of version 4 [default: one that is free]
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Address of version 6 [default: one that is free]
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// A further name on the network; may be repeated
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// A name of its own for another container on the network: CONTAINER[:NAME]; may be repeated
    #[arg(long, value_name = "CONTAINER[:NAME]")]
    link: Vec<String>,
    /// Refused: link-local addresses are refused on every network
    #[arg(long, value_name = "ADDRESS", hide = true)]
    link_local_ip: Vec<String>,
    /// Refused: an end of a bridge has no options
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    driver_opt: Vec<String>,
    /// Refused: the first network with a way out has the default route
    #[arg(long, value_name = "NUMBER", hide = true)]
    gw_priority: Option<String>,
    /// Name, id or the start of an id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

#[derive(Debug, Args)]
struct DisconnectFlags {
    /// Does nothing: a container is disconnected at once
    #[arg(short, long)]
    force: bool,
    /// Name, id or the start of an id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

fn connect(words: ConnectFlags) -> Result<u8, CliError> {
    let refused = [
        ("--link-local-ip", words.link_local_ip.first(), "link-local addresses are refused on every network"),
        ("--driver-opt", words.driver_opt.first(), "an end of a bridge has no options"),
        ("--gw-priority", words.gw_priority.as_ref(), "the first network with a way out has the default route"),
    ];
    if let Some((flag, value, why)) = refused.into_iter().find_map(|(flag, value, why)| Some((flag, value?, why))) {
        return Err(CliError::usage(format!("{flag} {value} is refused: {why}")).with_hint("leave it out"));
    }
    let join = JoinWish {
        network: words.network,
        v4: flags::optional("--ip", words.ip.as_deref(), network::ip)?,
        v6: flags::optional("--ip6", words.ip6.as_deref(), network::ip6)?,
        mac: None,
        aliases: flags::each("--alias", &words.alias, network::alias)?,
        links: flags::each("--link", &words.link, network::link)?,
        egress: None,
    };
    wire::connect(&words.container, &join).map(|()| 0)
}

fn disconnect(words: &DisconnectFlags) -> Result<u8, CliError> {
    wire::disconnect(&words.container, &words.network).map(|()| 0)
}
