//! Commands that look and change nothing.

pub mod events;
pub mod features;
pub mod list;
pub mod ps;
pub mod spec;
pub mod state;
mod users;

use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use super::error::{During, RuncError};
use crate::output;

/// Prints a value as JSON, indented by `indent`, and a line end.
fn pretty(value: &impl Serialize, indent: &str) -> Result<(), RuncError> {
    let mut bytes = indented(value, indent)?;
    bytes.push(b'\n');
    Ok(output::raw(&bytes)?)
}

fn indented(value: &impl Serialize, indent: &str) -> Result<Vec<u8>, RuncError> {
    let mut bytes = Vec::new();
    let mut writer =
        serde_json::Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(indent.as_bytes()));
    value.serialize(&mut writer).during("write JSON")?;
    Ok(bytes)
}

/// Prints a value as JSON on one line.
fn compact(value: &impl Serialize) -> Result<(), RuncError> {
    let mut bytes = serde_json::to_vec(value).during("write JSON")?;
    bytes.push(b'\n');
    Ok(output::raw(&bytes)?)
}
