//! `bulkhead config show`.

use clap::Args;
use serde_json::json;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, columns, template::Format};
use crate::wire::{self, ConfigShown};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "config",
    about: "Show the configuration and where each value came from",
    footer: "\
The administrator's file is /etc/bulkhead/config.toml; a user's is
$XDG_CONFIG_HOME/bulkhead/config.toml, or ~/.config/bulkhead/config.toml.

Examples:
  bulkhead config show
  bulkhead config show --format json
  bulkhead config show --format '{{.Key}} {{.Source}}'",
    flags: Flags::Anywhere,
    build: ConfigFlags::augment_args,
    run: |matches| {
        let words: ConfigFlags = flags_of(matches)?;
        match words.verb.as_str() {
            "show" => execute(words.format.as_deref()),
            other => Err(CliError::usage(format!("unknown command: \"config {other}\""))
                .with_hint("did you mean 'bulkhead config show'?")),
        }
    },
};

#[derive(Debug, Args)]
struct ConfigFlags {
    /// show
    #[arg(value_name = "show")]
    verb: String,
    /// "json", or a template like '{{.Key}} {{.Value}}' [default: a table]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints every key.
///
/// # Errors
///
/// A file that cannot be used; a template field that does not exist.
pub fn execute(format: Option<&str>) -> Result<u8, CliError> {
    let shown = wire::config()?;
    let values: Vec<serde_json::Value> = shown
        .rows
        .iter()
        .map(|row| {
            json!({
                "Key": row.key,
                "Value": row.value,
                "Default": row.default,
                "Source": row.source,
                "Locked": row.locked,
                "About": row.about,
            })
        })
        .collect();
    let text = match format {
        // One document, not one a line: it is one configuration.
        Some("json") => serde_json::to_string_pretty(&values).map_err(|e| CliError::chain(&e))?,
        Some(template) => Format::parse(template)?.render(&values, str::to_owned)?,
        None => table(&shown),
    };
    output::line(text.trim_end_matches('\n'))?;
    Ok(0)
}

fn table(shown: &ConfigShown) -> String {
    let mut rows = vec![["KEY", "VALUE", "DEFAULT", "SOURCE"].map(str::to_owned).to_vec()];
    for row in &shown.rows {
        let pinned = if row.locked.is_empty() { String::new() } else { format!(" (pinned by {})", row.locked) };
        rows.push(vec![row.key.clone(), row.value.clone(), row.default.clone(), format!("{}{pinned}", row.source)]);
    }
    let mut text = columns::layout(&rows);
    text.push('\n');
    for (path, there) in &shown.files {
        text.push_str(&format!("{}: {}\n", path.display(), if *there { "read" } else { "not there" }));
    }
    text
}
