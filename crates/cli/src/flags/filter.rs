//! `--filter KEY=VALUE`, for every list.

use regex_lite::Regex;

use crate::error::{CliError, FAILED};

/// Key and value of one filter.
///
/// # Errors
///
/// No `=`: exit code 125.
pub fn pair(text: &str) -> Result<(&str, &str), CliError> {
    let parts = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    parts.ok_or_else(|| CliError::invalid("--filter", text, "KEY=VALUE is needed, like name=web"))
}

/// What is wrong with the filter `text`; exit code 1, as Docker's.
pub fn wrong(text: &str, needed: impl std::fmt::Display) -> CliError {
    CliError::invalid("--filter", text, needed).with_code(FAILED)
}

/// A key that there is not: the error names those that there are.
pub fn unknown_key(text: &str, keys: &[&str]) -> CliError {
    let (last, before) = keys.split_last().map_or(("", &[][..]), |(last, before)| (*last, before));
    let error = wrong(text, format!("the key must be {} or {last}", before.join(", ")));
    let key = text.split_once('=').map_or(text, |(key, _)| key);
    match crate::line::nearest(key, keys.iter().copied()) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error,
    }
}

/// A regular expression, as Docker has them for names and ids: `^web`, `db[0-9]+`. One that is plain text is compared as
/// such, and costs nothing.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Part of the text.
    Plain(String),
    /// A regular expression.
    Regex(Regex),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        match (self, other) {
            (Pattern::Plain(one), Pattern::Plain(other)) => one == other,
            (Pattern::Regex(one), Pattern::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Pattern {
    /// Understands a pattern; `filter` is the whole filter, for the message.
    ///
    /// # Errors
    ///
    /// No regular expression.
    pub fn parse(filter: &str, text: &str) -> Result<Pattern, CliError> {
        if text.chars().all(|c| c.is_alphanumeric() || "_-/:".contains(c)) {
            return Ok(Pattern::Plain(text.to_owned()));
        }
        match Regex::new(text) {
            Ok(regex) => Ok(Pattern::Regex(regex)),
            Err(error) => Err(wrong(filter, format!("a regular expression like ^web or db.* is needed ({error})"))),
        }
    }

    /// Whether it is in `text`.
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Pattern::Plain(part) => text.contains(part.as_str()),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

/// A label, and its value if one is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    key: String,
    value: Option<String>,
}

impl Label {
    /// `key` or `key=value`.
    pub fn parse(text: &str) -> Label {
        match text.split_once('=') {
            Some((key, value)) => Label { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Label { key: text.to_owned(), value: None },
        }
    }

    /// Whether these labels have it.
    pub fn fits(&self, labels: &[(String, String)]) -> bool {
        labels.iter().any(|(key, has)| *key == self.key && self.value.as_ref().is_none_or(|want| want == has))
    }
}

/// Whether something is to be shown: of filters of one kind one must fit, but of labels each; different kinds must all.
///
/// # Errors
///
/// What `fits` says.
pub fn all_fit<F>(
    filters: &[F],
    is_label: impl Fn(&F) -> bool,
    fits: impl Fn(&F) -> Result<bool, CliError>,
) -> Result<bool, CliError> {
    for filter in filters {
        let mut fit = fits(filter)?;
        if !is_label(filter) {
            let kind = std::mem::discriminant(filter);
            for other in filters.iter().filter(|other| std::mem::discriminant(*other) == kind) {
                fit = fits(other)? || fit;
            }
        }
        if !fit {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether `text` fits a pattern of shells: `*` and `?` (but not for `/`), `[a-z]`, `[^a]`, `\` before a character that
/// stands for itself.
pub fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // The last star and what it has taken: the only place to come back to within a part of a path.
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            star = Some((at + 1, seen));
            at += 1;
            continue;
        }
        if at == pattern.len() && seen == text.len() {
            return true;
        }
        if let Some(c) = text.get(seen)
            && let Some(next) = one(&pattern, at, *c)
        {
            (at, seen) = (next, seen + 1);
            continue;
        }
        match star {
            Some((after, taken)) if text.get(taken).is_some_and(|c| *c != '/') => {
                star = Some((after, taken + 1));
                (at, seen) = (after, taken + 1);
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on when its part at `at` fits `c`.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => (c != '/').then_some(at + 1),
        '[' => {
            let negated = matches!(pattern.get(at + 1), Some('^' | '!'));
            let mut here = at + 1 + usize::from(negated);
            let first = here;
            let mut found = false;
            loop {
                let low = *pattern.get(here)?;
                if low == ']' && here > first {
                    return (found != negated && c != '/').then_some(here + 1);
                }
                let high = match (pattern.get(here + 1), pattern.get(here + 2)) {
                    (Some('-'), Some(high)) if *high != ']' => {
                        here += 2;
                        *high
                    }
                    _ => low,
                };
                found = found || (low..=high).contains(&c);
                here += 1;
            }
        }
        '\\' => (*pattern.get(at + 1)? == c).then_some(at + 2),
        same => (*same == c).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_regular_expressions() {
        let fits = |pattern: &str, text: &str| Pattern::parse("name=…", pattern).unwrap().fits(text);
        for (pattern, text) in [
            ("web", "old-web"),
            ("^web", "web2"),
            ("web$", "old-web"),
            ("^w.b[0-9]*$", "wxb17"),
            ("^(web|db)$", "db"),
            ("a.c", "abc"),
            ("", "anything"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("^web", "old-web"), ("^w.b$", "web2"), ("web.+", "web"), ("WEB", "web")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        let error = Pattern::parse("name=web[", "web[").unwrap_err();
        assert!(error.message.contains("\"name=web[\"") && error.code == 1, "{error}");
    }

    #[test]
    fn globs_stop_at_slashes() {
        for (pattern, text) in [
            ("alpine", "alpine"),
            ("al*", "alpine"),
            ("*:3.*", "alpine:3.20"),
            ("*/*", "a/b"),
            ("a?p[h-j]ne", "alpine"),
            ("[^b]lpine", "alpine"),
            ("a\\*", "a*"),
            ("*", ""),
            ("a*b*c", "axxbyybc"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("al*", "al/pine"),
            ("*", "a/b"),
            ("a?b", "a/b"),
            ("alpine", "alpin"),
            ("[a", "a"),
            ("[^a]", "a"),
            ("a\\*", "ab"),
        ] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_wrong_filter_names_what_is_accepted() {
        assert_eq!(pair("x").unwrap_err().code, 125);
        assert_eq!(pair("a=b=c").unwrap(), ("a", "b=c"));
        let error = unknown_key("stats=x", &["name", "status"]);
        assert_eq!(error.message, "invalid value \"stats=x\" for --filter: the key must be name or status");
        assert_eq!((error.hint.as_deref(), error.code), (Some("did you mean status?"), 1));
    }
}
