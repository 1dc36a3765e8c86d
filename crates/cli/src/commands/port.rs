//! `bulkhead port`.

use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::flags::{self, Needed};
use crate::line::Flags;
use crate::{output, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "port",
    about: "Show where a container's ports are published",
    footer: "Examples:\n  bulkhead port web\n  bulkhead port web 80/tcp",
    flags: Flags::Anywhere,
    build: PortFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct PortFlags {
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

/// `80`, `80/tcp`, `53/udp`: with the protocol.
fn port(text: &str) -> Result<String, Needed> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = ["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str());
    match number.parse::<u16>() {
        Ok(number) if known && number > 0 => Ok(format!("{number}/{}", protocol.to_ascii_lowercase())),
        _ => Err("a port like 80, 80/tcp or 53/udp is needed".into()),
    }
}

fn execute(words: &PortFlags) -> Result<u8, CliError> {
    let only =
        flags::optional("the port", words.port.as_deref(), port).map_err(|e| e.with_code(crate::error::FAILED))?;
    for one in wire::port(&words.container, only.as_deref())? {
        match only {
            Some(_) => output::line(&one.host)?,
            None => output::line(&format!("{} -> {}", one.inside, one.host))?,
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::port;

    #[test]
    fn ports_have_a_protocol() {
        assert_eq!(port("80").unwrap(), "80/tcp");
        assert_eq!(port("53/UDP").unwrap(), "53/udp");
        for wrong in ["", "0", "65536", "80/http", "x/tcp", "80/"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }
}
