//! `config show`: every key, its value, its default, and where the value came from.

use bulkhead_trust::{Accept, Rule};

use super::merge::{Config, Source, default_of};
use super::trust::{self, TRUST};
use super::{KEYS, Scope};
use crate::store::Paths;

/// One key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Row {
    /// Section and name.
    pub key: String,
    /// The value in force.
    pub value: String,
    /// The value without any file.
    pub default: String,
    /// `default`, `FILE:LINE`, or `$VARIABLE`.
    pub source: String,
    /// Where it is pinned for ordinary users; empty when it is not.
    pub locked: String,
    /// What it is.
    pub about: &'static str,
}

/// Every key. `paths` are the places in force, `usual` those without files and variables.
#[must_use]
pub fn rows(config: &Config, paths: &Paths, usual: &Paths) -> Vec<Row> {
    let variables = [("storage.root", "BULKHEAD_ROOT"), ("storage.run", "BULKHEAD_RUN")];
    let keys = KEYS.iter().map(|key| {
        let place = match key.name {
            "storage.root" => Some((&paths.root, &usual.root)),
            "storage.run" => Some((&paths.run, &usual.run)),
            _ => None,
        };
        let entry = config.entry(key.name);
        let shown_default = || default_of(key).map_or_else(|| key.default.to_owned(), |value| key.kind.show(&value));
        let (value, default) = match place {
            Some((now, usual)) => (now.display().to_string(), usual.display().to_string()),
            None => (entry.map_or_else(shown_default, |e| key.kind.show(&e.value)), shown_default()),
        };
        let variable = variables.iter().find(|(name, variable)| {
            *name == key.name && std::env::var_os(variable).is_some_and(|value| !value.is_empty())
        });
        let source = match (variable, entry) {
            (Some((_, variable)), _) => Source::Environment(variable),
            (None, Some(entry)) => entry.source.clone(),
            (None, None) => Source::Default,
        };
        let locked = config.locked_by(key.name).filter(|_| key.scope == Scope::Lockable);
        Row {
            key: key.name.to_owned(),
            value,
            default,
            source: source.to_string(),
            locked: locked.map(ToString::to_string).unwrap_or_default(),
            about: key.about,
        }
    });
    keys.chain(config.trust.all().map(trusted)).collect()
}

/// A rule about images.
fn trusted(rule: &Rule) -> Row {
    Row {
        key: format!("{TRUST}.{:?}", rule.images),
        value: trust::shown(rule),
        default: Accept::Any.word().to_owned(),
        source: rule.origin.clone(),
        locked: String::new(),
        about: "which images of these names are trusted",
    }
}
