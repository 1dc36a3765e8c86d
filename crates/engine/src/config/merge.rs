//! Both files together: the effective value of every key, and where it came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_registry::{HostSettings, Limits};
use bulkhead_sandbox::facts::Reserve;
use bulkhead_trust::Policy;

use super::error::ConfigError;
use super::keys::{Key, Scope, find};
use super::read::{self, File, REGISTRIES};
use super::values::{Raw, Value, addresses, detach_keys};
use crate::monitor::log::LogLimits;
use crate::networks::{Pool, parse_pools};
use crate::request::ProfileName;

/// The administrator's file.
const SYSTEM: &str = "/etc/bulkhead/config.toml";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// No file has it.
    Default,
    /// A file and a line, from 1.
    File(PathBuf, usize),
    /// An environment variable, for places only.
    Environment(&'static str),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "${name}"),
        }
    }
}

/// A value that a file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub source: Source,
}

/// The effective configuration of one user.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(super) entries: BTreeMap<&'static str, Entry>,
    /// Pinned keys, and where that is written.
    pub(super) locked: BTreeMap<&'static str, Source>,
    /// Registries by name, and where they are written.
    pub(super) registries: BTreeMap<String, (HostSettings, Source)>,
    /// Which images are trusted.
    pub trust: Policy,
    /// Files that were looked for, and whether they were there.
    pub files: Vec<(PathBuf, bool)>,
    /// The user whom it is for.
    pub uid: u32,
}

impl Config {
    /// The configuration of user `uid`. Two failed look-ups when there are no files.
    ///
    /// # Errors
    /// A file that is there and cannot be used.
    pub fn load(uid: u32) -> Result<Self, ConfigError> {
        Self::load_from(Path::new(SYSTEM), users_file(uid, |name| std::env::var_os(name)).as_deref(), uid)
    }

    /// As [`Config::load`], of these files.
    pub(super) fn load_from(system: &Path, users: Option<&Path>, uid: u32) -> Result<Self, ConfigError> {
        let mut config = Self { uid, ..Self::default() };
        let system_file = read::file(system, 0, true)?;
        config.files.push((system.to_path_buf(), system_file.is_some()));
        if let Some(file) = system_file {
            config.take_system(file);
        }
        if let Some(path) = users {
            let own = read::file(path, uid, false)?;
            config.files.push((path.to_path_buf(), own.is_some()));
            if let Some(file) = own {
                config.take_own(file)?;
            }
        }
        Ok(config)
    }

    pub(super) fn take_system(&mut self, file: File) {
        for found in file.keys {
            // Root's places are no place for an ordinary user's files.
            if found.key.scope == Scope::Own && self.uid != 0 {
                continue;
            }
            let source = Source::File(file.path.clone(), found.line);
            self.entries.insert(found.key.name, Entry { value: found.value, source });
        }
        for (host, settings, line) in file.registries {
            self.registries.insert(host, (settings, Source::File(file.path.clone(), line)));
        }
        self.trust.add(file.trust.into_iter().map(|draft| draft.rule).collect());
        for (name, line) in file.locked {
            self.locked.insert(name, Source::File(file.path.clone(), line));
        }
    }

    pub(super) fn take_own(&mut self, file: File) -> Result<(), ConfigError> {
        for found in file.keys {
            if let Some(by) = self.locked.get(found.key.name) {
                return Err(ConfigError {
                    file: file.path,
                    line: Some(found.line),
                    problem: format!("{} is pinned by {by}", found.key.name),
                    hint: Some("remove the line; an administrator can change what is pinned".to_owned()),
                });
            }
            let source = Source::File(file.path.clone(), found.line);
            self.entries.insert(found.key.name, Entry { value: found.value, source });
        }
        self.trust.add(file.trust.into_iter().map(|draft| draft.rule).collect());
        for (host, settings, line) in file.registries {
            if let Some(by) = self.locked.get(REGISTRIES) {
                return Err(ConfigError {
                    file: file.path,
                    line: Some(line),
                    problem: format!("{REGISTRIES} is pinned by {by}"),
                    hint: Some("remove the section; an administrator can change what is pinned".to_owned()),
                });
            }
            self.registries.insert(host, (settings, Source::File(file.path.clone(), line)));
        }
        Ok(())
    }

    /// What a file has for this key.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Where it is written that ordinary users cannot loosen this key.
    #[must_use]
    pub fn locked_by(&self, name: &str) -> Option<&Source> {
        self.locked.get(name)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        match self.entry(name)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match &self.entry(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The profile of a container that is given none.
    #[must_use]
    pub fn profile(&self) -> ProfileName {
        self.text("container.profile").and_then(ProfileName::named).unwrap_or_default()
    }

    /// Bounds of a container's log.
    #[must_use]
    pub fn log(&self) -> LogLimits {
        let default = LogLimits::default();
        let size = self.number("log.max_size").and_then(|n| u64::try_from(n).ok());
        let files = self.number("log.max_file").and_then(|n| u32::try_from(n).ok());
        LogLimits { size: size.unwrap_or(default.size), files: files.unwrap_or(default.files) }
    }

    /// What all containers together leave to the host.
    #[must_use]
    pub fn reserve(&self) -> Reserve {
        let default = Reserve::default();
        let percent = |name, default| self.number(name).and_then(|n| u64::try_from(n).ok()).unwrap_or(default);
        Reserve {
            memory: percent("reserve.memory", default.memory),
            pids: percent("reserve.pids", default.pids),
            cpu: percent("reserve.cpu", default.cpu),
        }
    }

    /// A place that a file chooses: `storage.root` or `storage.run`.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// Where the subnets of networks come from.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        let text = self.text("network.pools").or_else(|| find("network.pools").map(|key| key.default));
        text.and_then(|text| parse_pools(text.split_whitespace())).unwrap_or_default()
    }

    /// Addresses that ports are published on when none is written.
    #[must_use]
    pub fn publish_addresses(&self) -> Vec<IpAddr> {
        let name = "network.publish_address";
        let text = self.text(name).or_else(|| find(name).map(|key| key.default));
        text.and_then(addresses).unwrap_or_default()
    }

    /// What is said of registries, by their names.
    #[must_use]
    pub fn registries(&self) -> BTreeMap<String, HostSettings> {
        self.registries.iter().map(|(host, (settings, _))| (host.clone(), settings.clone())).collect()
    }

    /// How much patience there is with registries.
    #[must_use]
    pub fn registry_limits(&self) -> Limits {
        let default = Limits::default();
        let number = |name| self.number(name).and_then(|n| u64::try_from(n).ok());
        let small = |name| self.number(name).and_then(|n| u32::try_from(n).ok());
        let parallel = self.number("registry.parallel").and_then(|n| usize::try_from(n).ok());
        Limits {
            parallel: parallel.unwrap_or(default.parallel),
            attempts: small("registry.attempts").unwrap_or(default.attempts),
            silence: number("registry.timeout").map_or(default.silence, Duration::from_secs),
            least_speed: number("registry.min_speed").unwrap_or(default.least_speed),
            ..default
        }
    }

    /// Keys that leave an attached container running.
    #[must_use]
    pub fn detach_keys(&self) -> Vec<u8> {
        let text = self.text("client.detach_keys").or_else(|| find("client.detach_keys").map(|key| key.default));
        text.and_then(detach_keys).unwrap_or_default()
    }
}

/// An ordinary user's own file. Root has the system's, and no other: what `sudo` leaves in the environment is somebody
/// else's home.
fn users_file(uid: u32, get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if uid == 0 {
        return None;
    }
    let absolute = |name| get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(base.join("bulkhead/config.toml"))
}

/// The default of a key as a value; `None` for one that is not set without a file.
pub(super) fn default_of(key: &Key) -> Option<Value> {
    let text = key.default.to_owned();
    let raw = [
        Raw::Text(text.clone()),
        Raw::Number(text.parse().unwrap_or(0)),
        Raw::Switch(text == "true"),
        Raw::List(text.split(' ').map(str::to_owned).collect()),
    ];
    raw.iter().find_map(|raw| key.kind.read(raw).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_no_file_of_his_own_and_others_have_one() {
        let get = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/a")),
            _ => None,
        };
        assert_eq!(users_file(0, get), None);
        assert_eq!(users_file(1000, get), Some("/home/a/.config/bulkhead/config.toml".into()));
        let moved = |name: &str| Some(OsString::from(if name == "XDG_CONFIG_HOME" { "/x" } else { "/home/a" }));
        assert_eq!(users_file(1000, moved), Some("/x/bulkhead/config.toml".into()));
        let relative = |name: &str| (name == "XDG_CONFIG_HOME").then(|| OsString::from("x"));
        assert_eq!(users_file(1000, relative), None);
    }
}
