//! `[[trust]]`: which images are trusted. Every file has its own rules, and an image has to satisfy each file, so that a
//! user's file adds to the administrator's and takes nothing from it.

use std::path::Path;

use bulkhead_image::Digest;
use bulkhead_trust::{Accept, PublicKey, Rule, Scope};
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::read::{line, raw, trusted_bytes, wrong};
use super::values::Raw;

/// The name of the list.
pub(super) const TRUST: &str = "trust";
/// What rules have.
const FIELDS: &str = "the fields are images, accept, keys, digests and pinned";

/// A rule whose keys are not read yet.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) rule: Rule,
    keys: Vec<String>,
    line: usize,
}

/// The rules of a file.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub(super) fn rules(path: &Path, text: &str, list: &[toml::Spanned<DeValue<'_>>]) -> Result<Vec<Draft>, ConfigError> {
    let mut all: Vec<Draft> = Vec::new();
    for item in list {
        let at = line(text, item.span().start);
        let DeValue::Table(table) = item.get_ref() else {
            return Err(wrong(path, Some(at), "trust: rules are written as sections [[trust]]"));
        };
        let draft = rule(path, text, at, table)?;
        if let Some(same) = all.iter().find(|one| one.rule.scope == draft.rule.scope) {
            let problem = format!(
                "trust.images: {:?} has a rule in line {} already, one is needed",
                draft.rule.images, same.line
            );
            return Err(wrong(path, Some(draft.line), problem));
        }
        all.push(draft);
    }
    Ok(all)
}

/// One rule.
fn rule(path: &Path, text: &str, at: usize, table: &DeTable<'_>) -> Result<Draft, ConfigError> {
    let (mut images, mut accept, mut keys, mut digests, mut pinned) = (None, None, None, None, false);
    let mut first = usize::MAX;
    for (key, value) in table.iter() {
        let at = line(text, key.span().start);
        first = first.min(at);
        let field = key.get_ref().as_ref();
        let value = raw(value.get_ref());
        let bad =
            |needed: &str| wrong(path, Some(at), format!("trust.{field}: {} cannot be used: {needed}", value.show()));
        match (field, &value) {
            ("images", Raw::Text(text)) => images = Some((Scope::parse(text).map_err(|e| bad(&e))?, text.clone())),
            ("images", _) => return Err(bad("text like \"docker.io/library\" is needed")),
            ("accept", Raw::Text(word)) if Accept::named(word).is_some() => accept = Accept::named(word),
            ("accept", _) => return Err(bad("one of \"signed\", \"listed\", \"any\", \"none\" is needed")),
            ("keys", Raw::List(all)) if all.iter().all(|file| file.starts_with('/')) => keys = Some(all.clone()),
            ("keys", _) => {
                return Err(bad("a list of absolute paths like [\"/etc/bulkhead/keys/release.pub\"] is needed"));
            }
            ("digests", Raw::List(all)) => {
                let read: Result<Vec<Digest>, _> = all.iter().map(|digest| digest.parse::<Digest>()).collect();
                digests =
                    Some(read.map_err(|_| bad("a list of \"sha256:\" and 64 hex digits in lower case is needed"))?);
            }
            ("digests", _) => return Err(bad("a list like [\"sha256:…\"] is needed")),
            ("pinned", Raw::Switch(on)) => pinned = *on,
            ("pinned", _) => return Err(bad("true or false is needed")),
            (other, _) => {
                let mut error = wrong(path, Some(at), format!("unknown field {other:?} of [[trust]]"));
                error.hint = Some(FIELDS.to_owned());
                return Err(error);
            }
        }
    }
    let at = if first == usize::MAX { at } else { first };
    let missing = |field: &str, why: &str| wrong(path, Some(at), format!("trust.{field} is missing: {why}"));
    let (scope, images) = images.ok_or_else(|| missing("images", "a rule says which images it is about"))?;
    let accept =
        accept.ok_or_else(|| missing("accept", "one of \"signed\", \"listed\", \"any\", \"none\" is needed"))?;
    let (keys, digests) = (keys.unwrap_or_default(), digests.unwrap_or_default());
    let useless = |field: &str| {
        wrong(path, Some(at), format!("trust.{field}: it has no effect with accept = {:?}", accept.word()))
    };
    match accept {
        Accept::Signed if keys.is_empty() => return Err(missing("keys", "accept = \"signed\" needs one at least")),
        Accept::Listed if digests.is_empty() => {
            return Err(missing("digests", "accept = \"listed\" needs one at least"));
        }
        Accept::Any | Accept::Nothing | Accept::Listed if !keys.is_empty() => return Err(useless("keys")),
        Accept::Any | Accept::Nothing if !digests.is_empty() => return Err(useless("digests")),
        _ => {}
    }
    let origin = format!("{}:{at}", path.display());
    let rule = Rule { scope, images, accept, keys: Vec::new(), digests, pinned, origin };
    Ok(Draft { rule, keys, line: at })
}

/// Reads the keys of the rules of a file. They are as well kept as the file itself, or worth nothing.
///
/// # Errors
/// A key that is not there, that others could have written, or that is none.
pub(super) fn read_keys(path: &Path, owner: u32, drafts: &mut [Draft]) -> Result<(), ConfigError> {
    for draft in drafts {
        for file in &draft.keys {
            let bad = |problem: &str| {
                wrong(path, Some(draft.line), format!("trust.keys: {file:?} cannot be used: {problem}"))
            };
            let bytes = match trusted_bytes(Path::new(file), owner) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Err(bad("there is no such file")),
                Err(e) => return Err(ConfigError { hint: e.hint.clone(), ..bad(&e.problem) }),
            };
            draft.rule.keys.push(PublicKey::parse(file, &bytes).map_err(|problem| bad(&problem))?);
        }
    }
    Ok(())
}

/// A rule on one line.
pub(super) fn shown(rule: &Rule) -> String {
    let mut words = vec![rule.accept.word().to_owned()];
    if !rule.keys.is_empty() {
        words.push(format!("keys={}", rule.keys.iter().map(|key| key.file.as_str()).collect::<Vec<_>>().join(",")));
    }
    if !rule.digests.is_empty() {
        words.push(format!("digests={}", rule.digests.len()));
    }
    if rule.pinned {
        words.push("pinned".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests;
