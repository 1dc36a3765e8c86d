//! `config show`: every key, its value, its default, and where the value came from.

use bulkhead_registry::HostSettings;
use bulkhead_trust::{Accept, Rule};

use super::merge::{Config, Source, default_of};
use super::read::REGISTRIES;
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
    let registries =
        config.registries.iter().map(|(host, (settings, source))| registry(config, host, settings, source));
    keys.chain(registries).chain(config.trust.all().map(trusted)).collect()
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

/// What the files say of one registry.
fn registry(config: &Config, host: &str, settings: &HostSettings, source: &Source) -> Row {
    let mirrors = settings.mirrors.iter().map(|mirror| format!("mirror={mirror}"));
    let insecure = settings.insecure.then(|| "insecure".to_owned());
    let location = settings.location.iter().map(|place| format!("location={place}"));
    Row {
        key: format!("{REGISTRIES}.{host}"),
        value: mirrors.chain(insecure).chain(location).collect::<Vec<_>>().join(" "),
        default: String::new(),
        source: source.to_string(),
        locked: config.locked_by(REGISTRIES).map(ToString::to_string).unwrap_or_default(),
        about: "where a registry is, and how it is spoken to",
    }
}
