//! `bulkhead network denied`.

use clap::Args;
use serde_json::{Value, json};

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, template::Format};
use crate::wire::{self, Stopped};

/// The command.
pub const ENTRY_DENIED: Entry = Entry {
    name: "denied",
    about: "Show what the walls between containers, host and outside have stopped",
    footer: "Counts by reason are since the firewall was made; containers and flows are of the last hour.\n\n\
             Examples:\n  bulkhead network denied\n  bulkhead network denied --format '{{.Container}} {{.To}}'",
    flags: Flags::Anywhere,
    build: DeniedFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct DeniedFlags {
    /// "json", or a template like '{{.Reason}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// What each counter means, for people.
fn meaning(reason: &str) -> &str {
    match reason {
        "source" => "foreign source address",
        "frame" => "VLAN tag or foreign frame",
        "router" => "router advertisement or redirect",
        "dhcp" => "answer of a DHCP server",
        "multicast" => "multicast or broadcast",
        "linklocal" => "IPv6 link-local address",
        "bypass" => "frame past the bridge",
        "host" => "service of the host",
        "refused" => "metadata or link-local address",
        "network" => "other network or isolated neighbour",
        "internal" => "way out of an internal network",
        "unpublished" => "port that is not published",
        "invalid" => "out of no connection",
        "egress" => "not on the egress list",
        "policy" => "flow that no policy states",
        "unstated" => "unstated flow",
        "forward" => "forwarding for others than containers",
        "flow" => "refused flow",
        other => other,
    }
}

/// As `/etc/protocols` has them, where they have ports or are usual.
fn service((protocol, port): (u8, u16)) -> String {
    match protocol {
        6 => format!("{port}/tcp"),
        17 => format!("{port}/udp"),
        132 => format!("{port}/sctp"),
        0 => "neighbour".to_owned(),
        1 => "icmp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => format!("protocol {other}"),
    }
}

fn row(one: &Stopped) -> Value {
    let address = |address: Option<std::net::IpAddr>| address.map(|a| a.to_string()).unwrap_or_default();
    json!({
        "Reason": meaning(&one.reason),
        "Container": one.container,
        "From": address(one.from),
        "To": address(one.to),
        "Peer": one.peer,
        "Port": one.port.map(service).unwrap_or_default(),
        "Packets": one.packets.to_string(),
    })
}

fn execute(words: &DeniedFlags) -> Result<u8, CliError> {
    let format = Format::listing(words.format.as_deref())?;
    let rows: Vec<Value> = wire::stopped()?.iter().map(row).collect();
    let format = match format {
        Some(format) => format,
        None => {
            Format::parse("table {{.Reason}}\t{{.Container}}\t{{.From}}\t{{.To}}\t{{.Peer}}\t{{.Port}}\t{{.Packets}}")?
        }
    };
    output::text(&format.render(&rows, str::to_uppercase)?)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::{row, service};
    use crate::wire::Stopped;

    #[test]
    fn a_row_is_readable() {
        let one = Stopped {
            reason: "flow".to_owned(),
            container: "web".to_owned(),
            from: "10.88.0.2".parse().ok(),
            to: "169.254.169.254".parse().ok(),
            peer: String::new(),
            port: Some((6, 80)),
            packets: 3,
        };
        let row = row(&one);
        assert_eq!((&row["To"], &row["Port"]), (&"169.254.169.254".into(), &"80/tcp".into()));
        assert_eq!(
            (service((17, 53)), service((1, 0)), service((47, 0))),
            ("53/udp".into(), "icmp".into(), "protocol 47".into())
        );
    }
}
