//! `WWW-Authenticate` (RFC 9110, section 11): schemes and their parameters.

use std::collections::BTreeMap;

/// Longest header that is looked at, in bytes.
const LONGEST: usize = 8 << 10;

/// A way to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// With a token of a place that it names.
    Bearer,
    /// With user and password.
    Basic,
    /// Another one, by its name.
    Other(String),
}

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// How.
    pub scheme: Scheme,
    /// Its parameters; names in lower case, the first of each counts.
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// The challenges of one header. What is malformed ends the list.
    #[must_use]
    pub fn parse(header: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let mut rest = header.get(..LONGEST.min(header.len())).unwrap_or_default();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let Some((word, after)) = token(rest) else { return found };
            let after = after.trim_start_matches([' ', '\t']);
            match after.strip_prefix('=').filter(|_| !found.is_empty()) {
                Some(value) => {
                    let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else { return found };
                    if let Some(last) = found.last_mut() {
                        last.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
                    }
                    rest = after;
                }
                None => {
                    let scheme = match word.to_ascii_lowercase().as_str() {
                        "bearer" => Scheme::Bearer,
                        "basic" => Scheme::Basic,
                        _ => Scheme::Other(word.to_owned()),
                    };
                    found.push(Self { scheme, parameters: BTreeMap::new() });
                    rest = after;
                }
            }
        }
    }

    /// A parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let of = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let end = text.bytes().position(|b| !of(b)).unwrap_or(text.len());
    if end == 0 { None } else { text.split_at_checked(end) }
}

/// A token or a quoted string, and what comes behind it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(word, rest)| (word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_of_registries() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let all = Challenge::parse(hub);
        assert_eq!((all.len(), &all[0].scheme), (1, &Scheme::Bearer));
        assert_eq!(all[0].get("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(all[0].get("realm"), Some("https://auth.docker.io/token"));
        let two = Challenge::parse(r#"bearer Realm = "x\"y" , error=invalid_token, Basic realm="z", Negotiate"#);
        let kinds: Vec<_> = two.iter().map(|c| c.scheme.clone()).collect();
        assert_eq!(kinds, [Scheme::Bearer, Scheme::Basic, Scheme::Other("Negotiate".into())]);
        assert_eq!((two[0].get("realm"), two[0].get("error")), (Some("x\"y"), Some("invalid_token")));
        assert_eq!(two[1].get("realm"), Some("z"));
    }

    #[test]
    fn what_is_malformed_ends_the_list() {
        for bad in ["", "=", "\"", "Bearer realm=\"x", "Bearer realm=", "Bearer realm=\"x\\"] {
            assert!(Challenge::parse(bad).iter().all(|c| c.parameters.is_empty()), "{bad}");
        }
        // The first of two counts.
        assert_eq!(Challenge::parse("Bearer realm=a, realm=b")[0].get("realm"), Some("a"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_fault(text in "\\PC{0,200}") {
            prop_assert!(Challenge::parse(&text).len() <= text.len());
        }

        #[test]
        fn what_is_written_is_read(realm in "[ -~]{0,60}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let all = Challenge::parse(&format!("Bearer realm=\"{quoted}\",service=x"));
            prop_assert_eq!(all.len(), 1);
            prop_assert_eq!(all[0].get("realm"), Some(realm.as_str()));
            prop_assert_eq!(all[0].get("service"), Some("x"));
        }
    }
}
