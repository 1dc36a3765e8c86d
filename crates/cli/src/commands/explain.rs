//! `bulkhead explain`.

use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::{flags, output, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "explain",
    about: "Show what holds a container in, and which defaults were loosened",
    footer: "Examples:\n  bulkhead explain web\n  bulkhead explain --format json web",
    flags: Flags::Anywhere,
    build: ExplainFlags::augment_args,
    run: |matches| {
        let words: ExplainFlags = flags_of(matches)?;
        let json = flags::value("--format", &words.format, |text| match text {
            "text" => Ok(false),
            "json" => Ok(true),
            _ => Err("text or json is needed".into()),
        })?;
        if words.compare {
            return output::line(wire::compare(&words.container)?.trim_end_matches('\n')).map(|()| 0);
        }
        execute(&words.container, json)
    },
};

#[derive(Debug, Args)]
struct ExplainFlags {
    /// How to print: text or json
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    format: String,
    /// Show a table beside what Docker gives without a flag
    #[arg(long, conflicts_with = "format")]
    compare: bool,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Prints the explanation.
///
/// # Errors
///
/// What the engine says.
pub fn execute(container: &str, json: bool) -> Result<u8, CliError> {
    let text = wire::explain(container, json)?;
    output::line(text.trim_end_matches('\n'))?;
    Ok(0)
}
