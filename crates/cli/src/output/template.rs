//! The part of Go's templates that people use with `--format`: `{{.Field.Sub}}`, `{{json .}}`, `{{index .Labels "a"}}`,
//! `{{len .Mounts}}`, `{{upper .Name}}`, `\t` and `\n`; and the words `json` and `table …`.

use serde_json::Value;

use super::columns;
use crate::error::CliError;

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
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field { how: How, path: Vec<String> },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Plain,
    Json,
    Len,
    Upper,
    Lower,
}

const NEEDED: &str = "\"json\", \"table …\" or a template like '{{.ID}} {{json .Labels}}' is needed";

impl Format {
    /// Understands the value of `--format`.
    ///
    /// # Errors
    ///
    /// A template of another kind: exit code 125.
    pub fn parse(text: &str) -> Result<Format, CliError> {
        let wrong = |what: String| CliError::invalid("--format", text, what);
        match text.strip_prefix("table") {
            _ if text == "json" => Ok(Format::Json),
            Some(rest) if rest.starts_with([' ', '\t']) || rest.starts_with("\\t") => {
                let rest = rest.strip_prefix("\\t").unwrap_or(rest);
                Ok(Format::Table(Template::parse(rest.trim_start()).map_err(wrong)?))
            }
            _ => Ok(Format::Plain(Template::parse(text).map_err(wrong)?)),
        }
    }

    /// [`Format::parse`] for a list, where the word `table` alone asks for the usual table.
    ///
    /// # Errors
    ///
    /// As [`Format::parse`].
    pub fn listing(text: Option<&str>) -> Result<Option<Format>, CliError> {
        text.filter(|text| *text != "table").map(Format::parse).transpose()
    }

    /// The text for these objects; `header` gives a column's title.
    ///
    /// # Errors
    ///
    /// A field that the objects do not have.
    pub fn render(&self, rows: &[Value], header: impl Fn(&str) -> String) -> Result<String, CliError> {
        let mut text = String::new();
        match self {
            Format::Json => {
                for row in rows {
                    text.push_str(&row.to_string());
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
                let mut cells = vec![split(&template.titles(header))];
                for row in rows {
                    cells.push(split(&template.render(row)?));
                }
                text = columns::layout(&cells);
            }
        }
        Ok(text)
    }
}

impl Template {
    fn parse(text: &str) -> Result<Template, String> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after.split_once("}}").ok_or("a \"{{\" is not closed")?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(action_part(action)?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Template(parts))
    }

    /// The text for one object.
    ///
    /// # Errors
    ///
    /// A field that the object does not have; the error lists those it has.
    pub fn render(&self, object: &Value) -> Result<String, CliError> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field { how, path } => text.push_str(&show(*how, lookup(object, path)?)),
            }
        }
        Ok(text)
    }

    fn titles(&self, header: impl Fn(&str) -> String) -> String {
        let title = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field { path, .. } => path.last().map(|name| header(name)).unwrap_or_default(),
        };
        self.0.iter().map(title).collect()
    }
}

fn action_part(action: &str) -> Result<Part, String> {
    let unknown = || format!("the action {{{{{action}}}}} is not supported; {NEEDED}");
    let words = words(action).ok_or_else(unknown)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (how, path) = match words.as_slice() {
        ["json", field] => (How::Json, field_path(field)),
        ["len", field] => (How::Len, field_path(field)),
        ["upper", field] => (How::Upper, field_path(field)),
        ["lower", field] => (How::Lower, field_path(field)),
        ["index", field, keys @ ..] if !keys.is_empty() => {
            let path = field_path(field).map(|mut path| {
                path.extend(keys.iter().map(|key| key.trim_matches('"').to_owned()));
                path
            });
            (How::Plain, path)
        }
        [field] => (How::Plain, field_path(field)),
        _ => return Err(unknown()),
    };
    Ok(Part::Field { how, path: path.ok_or_else(unknown)? })
}

/// Words of an action; a string in double quotes is one word and keeps its quotes.
fn words(action: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = action.trim();
    while !rest.is_empty() {
        let end = match rest.strip_prefix('"') {
            Some(inner) => inner.find('"')? + 2,
            None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        found.push(rest.get(..end)?.to_owned());
        rest = rest.get(end..)?.trim_start();
    }
    Some(found)
}

/// `.A.B` as a list of names; `.` is the object itself.
fn field_path(field: &str) -> Option<Vec<String>> {
    let rest = field.strip_prefix('.')?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let parts: Vec<String> = rest.split('.').map(str::to_owned).collect();
    let good = |part: &String| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    parts.iter().all(good).then_some(parts)
}

fn lookup<'a>(object: &'a Value, path: &[String]) -> Result<&'a Value, CliError> {
    let mut at = object;
    for name in path {
        let next = match at {
            Value::Object(map) => map.get(name),
            Value::Array(list) => name.parse::<usize>().ok().and_then(|index| list.get(index)),
            // What is not set has no parts either; Go prints the same for both.
            Value::Null => Some(&Value::Null),
            _ => None,
        };
        at = next.ok_or_else(|| {
            let error = CliError::failed(format!("template: there is no field {:?} in {:?}", name, path.join(".")));
            match at {
                Value::Object(map) => {
                    error.with_hint(format!("there are {}", map.keys().cloned().collect::<Vec<_>>().join(", ")))
                }
                _ => error,
            }
        })?;
    }
    Ok(at)
}

fn show(how: How, value: &Value) -> String {
    match how {
        How::Plain => go(value, true),
        How::Json => value.to_string(),
        How::Len => match value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            Value::String(text) => text.len(),
            _ => 0,
        }
        .to_string(),
        How::Upper => go(value, true).to_uppercase(),
        How::Lower => go(value, true).to_lowercase(),
    }
}

/// A value as Go's templates print it.
fn go(value: &Value, top: bool) -> String {
    match value {
        Value::Null if top => "<no value>".to_owned(),
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(|item| go(item, false)).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, item)| format!("{key}:{}", go(item, false))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(format: &str, object: Value) -> String {
        Format::parse(format).unwrap().render(&[object], str::to_uppercase).unwrap()
    }

    #[test]
    fn fields_functions_and_escapes() {
        let object = || json!({"ID": "ab", "State": {"Running": true}, "L": {"a.b": "x"}, "M": [1, "y"], "N": null});
        assert_eq!(render("{{.ID}}: {{ .State.Running }}", object()), "ab: true\n");
        assert_eq!(render("{{json .M}}\\t{{len .M}}", object()), "[1,\"y\"]\t2\n");
        assert_eq!(render("{{index .L \"a.b\"}}{{index .M 1}}", object()), "xy\n");
        assert_eq!(render("{{.M}} {{.L}} {{.N}} {{.N.X}}", object()), "[1 y] map[a.b:x] <no value> <no value>\n");
        assert_eq!(render("{{upper .ID}}{{lower .ID}}", object()), "ABab\n");
        assert_eq!(render("json", json!({"a": 1})), "{\"a\":1}\n");
        assert_eq!(render("{{json .}}", json!({"a": 1})), "{\"a\":1}\n");
        assert_eq!(render("table {{.ID}}\\t{{.N}}", object()), "ID        N\nab        <no value>\n");
        assert_eq!(render("plain", object()), "plain\n");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in
            ["{{.A", "{{range .M}}", "{{.A}", "{{if .A}}x{{end}}", "{{}}", "{{A}}", "{{.A | json}}", "{{index .A}}"]
        {
            assert_eq!(Format::parse(text).unwrap_err().code, 125, "{text}");
        }
        let format = Format::parse("{{.Nope}}").unwrap();
        let error = format.render(&[json!({"ID": 1})], str::to_owned).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("there are ID"));
    }
}
