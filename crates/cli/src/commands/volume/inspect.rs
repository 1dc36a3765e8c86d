//! `bulkhead volume inspect`.

use clap::Args;

use crate::commands::inspect::{InspectRequest, Kind, execute};
use crate::commands::{Entry, flags_of};
use crate::line::Flags;
use crate::output::template::Format;

/// The command.
pub const ENTRY_INSPECT: Entry = Entry {
    name: "inspect",
    about: "Show everything about volumes, as JSON",
    footer: "Examples:\n  bulkhead volume inspect data\n  bulkhead volume inspect -f '{{.Mountpoint}}' data",
    flags: Flags::Anywhere,
    build: InspectFlags::augment_args,
    run: |matches| {
        let words: InspectFlags = flags_of(matches)?;
        let format = words.format.as_deref().map(Format::parse).transpose()?;
        execute(&InspectRequest { names: words.names, kind: Kind::Volume, format, size: false, remote: None })
    },
};

#[derive(Debug, Args)]
struct InspectFlags {
    /// "json", or a template like '{{.Mountpoint}}' [default: indented JSON]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}
