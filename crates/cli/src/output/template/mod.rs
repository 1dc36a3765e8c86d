//! `--format`: Go's templates as far as one template needs them, with the functions that Docker adds; and the words
//! `json` and `table …`.
//!
//! `lex` makes words of a text, `parse` a tree of the words, `eval` a text of the tree and an object.

mod ast;
mod eval;
mod funcs;
mod lex;
mod parse;
mod printf;
mod value;

use std::borrow::Cow;

use serde_json::Value;

use super::columns;
use crate::error::{CliError, FAILED};

/// Exit code of a template of `inspect` and its like that is not understood, as Docker's.
const BAD_TEMPLATE: u8 = 64;

/// Holds the labels of a row, for `{{.Label "key"}}`; never printed.
const LABELS: &str = "(labels)";

/// A `--format` that was understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// `json`: one object for each line.
    Json,
    /// `table TEMPLATE`, with a header.
    Table(Template),
    /// A template for each object.
    Plain(Template),
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<ast::Node>);

impl Format {
    /// Understands the value of `--format` of a command that shows objects, like `inspect`.
    ///
    /// # Errors
    ///
    /// What is no template: exit code 64, as Docker's.
    pub fn parse(text: &str) -> Result<Format, CliError> {
        Format::understand(text, false).map_err(|error| error.with_code(BAD_TEMPLATE))
    }

    /// Understands the value of `--format` of a list, where `\t` and `\n` are tab and line end, and the word `table`
    /// alone asks for the usual table: `None`.
    ///
    /// # Errors
    ///
    /// What is no template: exit code 1, as Docker's.
    pub fn listing(text: Option<&str>) -> Result<Option<Format>, CliError> {
        let own = text.filter(|text| !matches!(text.trim_matches(' '), "table" | ""));
        own.map(|text| Format::understand(text, true).map_err(|error| error.with_code(FAILED))).transpose()
    }

    fn understand(text: &str, escapes: bool) -> Result<Format, CliError> {
        let parse = |template: &str, escapes: bool| {
            parse::parse(template, escapes).map(Template).map_err(|what| CliError::invalid("--format", text, what))
        };
        match text.strip_prefix("table") {
            _ if text == "json" => Ok(Format::Json),
            Some(rest) if rest.starts_with([' ', '\t']) || rest.starts_with("\\t") => {
                let rest = rest.strip_prefix("\\t").unwrap_or(rest);
                Ok(Format::Table(parse(rest.trim_start(), true)?))
            }
            _ => Ok(Format::Plain(parse(text, escapes)?)),
        }
    }

    /// The text for these objects; `header` gives a column's title.
    ///
    /// # Errors
    ///
    /// A field that the objects do not have, and what a function cannot take.
    pub fn render(&self, rows: &[Value], header: impl Fn(&str) -> String) -> Result<String, CliError> {
        self.render_for(rows, header, false)
    }

    /// [`Format::render`], but with `whole` nothing is cut to the width of a terminal (`--no-trunc`).
    ///
    /// # Errors
    ///
    /// As [`Format::render`].
    pub fn render_for(&self, rows: &[Value], header: impl Fn(&str) -> String, whole: bool) -> Result<String, CliError> {
        let mut text = String::new();
        match self {
            Format::Json => {
                for row in rows {
                    text.push_str(&visible(row).to_string());
                    text.push('\n');
                }
            }
            Format::Plain(template) => {
                for row in rows {
                    text.push_str(&template.render(row)?);
                    text.push('\n');
                }
            }
            Format::Table(template) => {
                let split = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
                let mut cells = vec![split(&eval::titles(&template.0, &header)?)];
                for row in rows {
                    cells.push(split(&template.render(row)?));
                }
                text = columns::layout_for(&cells, if whole { None } else { columns::room() });
            }
        }
        Ok(text)
    }
}

impl Template {
    /// The text for one object.
    ///
    /// # Errors
    ///
    /// A field that the object does not have, and what a function cannot take.
    pub fn render(&self, object: &Value) -> Result<String, CliError> {
        eval::render(&self.0, object)
    }
}

/// The row with its labels, for `{{.Label "key"}}`; nothing else shows them.
#[must_use]
pub fn with_labels(mut row: Value, labels: &[(String, String)]) -> Value {
    if let Value::Object(map) = &mut row {
        let labels = labels.iter().map(|(key, value)| (key.clone(), Value::String(value.clone())));
        map.insert(LABELS.to_owned(), Value::Object(labels.collect()));
    }
    row
}

fn is_hidden(key: &str) -> bool {
    key == LABELS
}

/// The value without what [`with_labels`] added.
fn visible(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::Object(map) if map.contains_key(LABELS) => {
            let mut map = map.clone();
            map.remove(LABELS);
            Cow::Owned(Value::Object(map))
        }
        other => Cow::Borrowed(other),
    }
}

#[cfg(test)]
mod tests;
