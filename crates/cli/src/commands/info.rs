//! `bulkhead info`.

use clap::Args;
use serde_json::Value;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, template::Format};
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "info",
    about: "Show this bulkhead and what the host offers",
    footer: "Examples:\n  bulkhead info\n  bulkhead info -f '{{json .}}'",
    flags: Flags::Anywhere,
    build: InfoFlags::augment_args,
    run: |matches| {
        let words: InfoFlags = flags_of(matches)?;
        execute(words.format.as_deref().map(Format::parse).transpose()?.as_ref())
    },
};

#[derive(Debug, Args)]
struct InfoFlags {
    /// "json", or a template like '{{.Version}}' [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints the facts.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(format: Option<&Format>) -> Result<u8, CliError> {
    let facts = wire::info()?;
    let text = match format {
        Some(format) => format.render(&[facts], str::to_owned)?,
        None => {
            let mut text = String::new();
            indent(&facts, 0, &mut text);
            text
        }
    };
    output::line(text.trim_end_matches('\n'))?;
    Ok(0)
}

/// `Key: value` lines; what is inside is indented.
fn indent(value: &Value, depth: usize, text: &mut String) {
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        let shown = match value {
            Value::Object(_) => String::new(),
            Value::Array(list) => {
                let item = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                list.iter().map(item).collect::<Vec<_>>().join(", ")
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.push_str(format!("{:depth$}{key}: {shown}", "", depth = depth * 2).trim_end());
        text.push('\n');
        indent(value, depth + 1, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_indented() {
        let mut text = String::new();
        indent(&serde_json::json!({"A": 1, "B": {"C": ["x", "y"]}, "D": ""}), 0, &mut text);
        assert_eq!(text, "A: 1\nB:\n  C: x, y\nD:\n");
    }
}
