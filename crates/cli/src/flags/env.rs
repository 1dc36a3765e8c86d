//! `-e` and `--env-file`.

use super::Needed;
use crate::error::CliError;

/// More is no list of variables.
const FILE_LIMIT: u64 = 1 << 20;

/// One `-e`: `NAME=VALUE` as it is; a bare `NAME` takes the caller's value, and is dropped (`None`) when unset.
///
/// # Errors
///
/// An empty name.
pub fn parse(text: &str, caller: impl Fn(&str) -> Option<String>) -> Result<Option<String>, Needed> {
    if text.is_empty() || text.starts_with('=') || text.contains('\0') {
        return Err("NAME=VALUE, or NAME to pass on your own value, is needed".into());
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    Ok(caller(text).map(|value| format!("{text}={value}")))
}

/// The caller's own variables; one that is no UTF-8 counts as unset.
pub fn caller(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The lines of an env file: `NAME=VALUE` (the value as it is, quotes included, as Docker reads it), `NAME`, `# comment`.
///
/// # Errors
///
/// What is wrong in which line: `line 3: …`.
pub fn parse_file(text: &str, caller: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, Needed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.contains(char::is_whitespace) {
            return Err(format!("line {number}: the name {name:?} contains white space").into());
        }
        found.extend(parse(line, &caller).map_err(|needed| Needed::from(format!("line {number}: {needed}")))?);
    }
    Ok(found)
}

/// Reads `--env-file` files, then `-e` values; a later one wins where the container sees it.
///
/// # Errors
///
/// A file that cannot be read, with its name; a wrong line or value.
pub fn collect(files: &[String], values: &[String]) -> Result<Vec<String>, CliError> {
    let mut found = Vec::new();
    for file in files {
        let text = read_text("--env-file", file, FILE_LIMIT)?;
        found.extend(super::value("--env-file", file, |_| parse_file(&text, caller))?);
    }
    for value in values {
        found.extend(super::value("--env", value, |text| parse(text, caller))?);
    }
    Ok(found)
}

/// Reads `--label-file` files, then `--label` values. A line is read as in an env file, and a bare name is a label
/// without a value.
///
/// # Errors
///
/// A file that cannot be read, with its name; a wrong line or value.
pub fn labels(files: &[String], values: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let mut found = Vec::new();
    for file in files {
        let text = read_text("--label-file", file, FILE_LIMIT)?;
        let lines = super::value("--label-file", file, |_| parse_file(&text, |_| Some(String::new())))?;
        found.extend(super::each("--label-file", &lines, super::pairs::label)?);
    }
    found.extend(super::each("--label", values, super::pairs::label)?);
    Ok(found)
}

/// Reads a file that a flag names, up to `limit` bytes.
///
/// # Errors
///
/// It cannot be read, is longer, or is no UTF-8; the error names flag and file.
pub(super) fn read_text(flag: &str, file: &str, limit: u64) -> Result<String, CliError> {
    use std::io::Read;
    let failed = |error: std::io::Error| CliError::invalid(flag, file, format!("the file cannot be read: {error}"));
    let opened = std::fs::File::open(file).map_err(failed)?;
    let mut bytes = Vec::new();
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(CliError::invalid(flag, file, format!("the file is larger than {} KiB", limit >> 10)));
    }
    String::from_utf8(bytes).map_err(|_| CliError::invalid(flag, file, "the file is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(name: &str) -> Option<String> {
        (name == "SET").then(|| "yes".to_owned())
    }

    #[test]
    fn names_take_the_callers_value() {
        assert_eq!(parse("A=1=2", fake), Ok(Some("A=1=2".to_owned())));
        assert_eq!(parse("A=", fake), Ok(Some("A=".to_owned())));
        assert_eq!(parse("SET", fake), Ok(Some("SET=yes".to_owned())));
        assert_eq!(parse("UNSET", fake), Ok(None));
        assert!(parse("", fake).is_err() && parse("=1", fake).is_err() && parse("A=\0", fake).is_err());
    }

    #[test]
    fn files_have_comments_and_bare_names() {
        let text = "\u{feff}# comment\n\n  A=1\nB=\"q # x\"  \nSET\nUNSET\n";
        assert_eq!(parse_file(text, fake), Ok(vec!["A=1".into(), "B=\"q # x\"  ".into(), "SET=yes".into()]));
        assert!(parse_file("A=1\nB C=2\n", fake).unwrap_err().starts_with("line 2: "));
        assert!(parse_file("=2", fake).unwrap_err().starts_with("line 1: "));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = collect(&["/nonexistent/env".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().starts_with("invalid value \"/nonexistent/env\" for --env-file: "), "{error}");
    }
}
