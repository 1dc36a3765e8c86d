//! One file: opened with care, read, and every key looked up.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bulkhead_registry::{HostSettings, Settings};
use rustix::fs::{Mode, OFlags};
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::keys::{Key, find, nearest};
use super::trust::{self, Draft, TRUST};
use super::values::{Raw, Value};
use super::{KEYS, Scope};

/// The section that has a section for each registry.
pub(super) const REGISTRIES: &str = "registries";
/// More is no configuration.
const LIMIT: u64 = 1 << 20;

/// One key of one file.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) line: usize,
}

/// What a file says.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) keys: Vec<Found>,
    /// Names of pinned keys, with their lines.
    pub(super) locked: Vec<(&'static str, usize)>,
    /// Registries by name, with their lines.
    pub(super) registries: Vec<(String, HostSettings, usize)>,
    /// Rules about images.
    pub(super) trust: Vec<Draft>,
}

pub(super) fn wrong(file: &Path, line: Option<usize>, problem: impl Into<String>) -> ConfigError {
    ConfigError { file: file.to_path_buf(), line, problem: problem.into(), hint: None }
}

/// Reads a file that `owner` or root must own; `None` when there is none.
///
/// # Errors
/// A file that others could have written, that cannot be read, or that says what cannot be.
pub(super) fn file(path: &Path, owner: u32, system: bool) -> Result<Option<File>, ConfigError> {
    let Some(bytes) = trusted_bytes(path, owner)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| wrong(path, None, "it is not UTF-8 text"))?;
    let mut file = parse(path, &text, system)?;
    trust::read_keys(path, owner, &mut file.trust)?;
    Ok(Some(file))
}

/// The bytes of a file that `owner` or root must own; `None` when there is none.
///
/// # Errors
/// A file that others could have written, or that cannot be read.
pub(super) fn trusted_bytes(path: &Path, owner: u32) -> Result<Option<Vec<u8>>, ConfigError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => std::fs::File::from(fd),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(wrong(path, None, format!("cannot be read: {}", std::io::Error::from(e)))),
    };
    let meta = opened.metadata().map_err(|e| wrong(path, None, format!("cannot be looked at: {e}")))?;
    trusted(path, &meta, owner)?;
    if !meta.is_file() {
        return Err(wrong(path, None, "it is not a file"));
    }
    if let Some(parent) = path.parent() {
        let above = std::fs::metadata(parent).map_err(|e| wrong(parent, None, format!("cannot be looked at: {e}")))?;
        trusted(parent, &above, owner)?;
    }
    let mut bytes = Vec::new();
    opened.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|e| wrong(path, None, format!("cannot be read: {e}")))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIMIT {
        return Err(wrong(path, None, "it is larger than 1 MiB"));
    }
    Ok(Some(bytes))
}

/// Whoever can write a configuration file chooses the limits.
fn trusted(path: &Path, meta: &std::fs::Metadata, owner: u32) -> Result<(), ConfigError> {
    let mut error = if meta.uid() != owner && meta.uid() != 0 {
        wrong(path, None, format!("it belongs to user {}, and must belong to user {owner} or root", meta.uid()))
    } else if meta.mode() & 0o022 != 0 {
        wrong(path, None, format!("others than its owner may write it (mode {:04o})", meta.mode() & 0o7777))
    } else {
        return Ok(());
    };
    let how = if meta.mode() & 0o022 != 0 { "chmod go-w" } else { "chown" };
    error.hint = Some(format!("look at what it says, then '{how} {}'", path.display()));
    Err(error)
}

/// Line of a byte, from 1.
pub(super) fn line(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
}

pub(super) fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Number(number),
            Err(_) => Raw::Other("number that does not fit 64 bits"),
        },
        DeValue::Boolean(on) => Raw::Switch(*on),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            texts.collect::<Option<Vec<_>>>().map_or(Raw::Other("list of other things than text"), Raw::List)
        }
        DeValue::Float(_) => Raw::Other("number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("date"),
        DeValue::Table(_) => Raw::Other("section"),
    }
}

/// What the text says.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub(super) fn parse(path: &Path, text: &str, system: bool) -> Result<File, ConfigError> {
    let table = DeTable::parse(text).map_err(|e| {
        let at = e.span().map(|span| line(text, span.start));
        wrong(path, at, format!("it is not TOML: {}", e.message().lines().next().unwrap_or("unknown error")))
    })?;
    let mut file = File { path: path.to_path_buf(), ..File::default() };
    let mut entries = Vec::new();
    for (name, value) in table.get_ref().iter() {
        match value.get_ref() {
            DeValue::Table(section) if name.get_ref() == REGISTRIES => {
                for (host, value) in section.iter() {
                    let at = line(text, host.span().start);
                    file.registries.push((
                        host.get_ref().to_string(),
                        registry(path, text, host.get_ref(), at, value)?,
                        at,
                    ));
                }
            }
            DeValue::Array(list) if name.get_ref() == TRUST => file.trust = trust::rules(path, text, list)?,
            _ if name.get_ref() == TRUST => {
                let at = line(text, name.span().start);
                return Err(wrong(path, Some(at), "trust: rules are written as sections [[trust]], with two brackets"));
            }
            DeValue::Table(section) => {
                if !is_section(name.get_ref()) {
                    return Err(unknown(path, name.get_ref(), line(text, name.span().start), true));
                }
                for (key, value) in section.iter() {
                    let full = format!("{}.{}", name.get_ref(), key.get_ref());
                    entries.push((full, line(text, key.span().start), raw(value.get_ref())));
                }
            }
            other => entries.push((name.get_ref().to_string(), line(text, name.span().start), raw(other))),
        }
    }
    // In the order of the file, so that the first mistake is the one that is told.
    entries.sort_by_key(|(_, line, _)| *line);
    for (name, line, value) in entries {
        if name == "locked" {
            file.locked = locked(path, line, &value, system)?;
            continue;
        }
        let key = find(&name).ok_or_else(|| unknown(path, &name, line, false))?;
        let value = key.kind.read(&value).map_err(|problem| wrong(path, Some(line), format!("{name}: {problem}")))?;
        file.keys.push(Found { key, value, line });
    }
    Ok(file)
}

/// One registry: `[registries."HOST"]`.
fn registry(
    path: &Path,
    text: &str,
    host: &str,
    at: usize,
    value: &toml::Spanned<DeValue<'_>>,
) -> Result<HostSettings, ConfigError> {
    let shown = format!("{REGISTRIES}.{host:?}");
    let DeValue::Table(table) = value.get_ref() else {
        return Err(wrong(path, Some(at), format!("{shown}: a section [{shown}] is needed")));
    };
    let mut settings = HostSettings::default();
    for (key, value) in table.iter() {
        let line = line(text, key.span().start);
        let needed = |what: &str| wrong(path, Some(line), format!("{shown}.{}: {what} is needed", key.get_ref()));
        match (key.get_ref().as_ref(), raw(value.get_ref())) {
            ("mirrors", Raw::List(all)) => settings.mirrors = all,
            ("mirrors", _) => return Err(needed("a list like [\"mirror.example:5000/hub\"]")),
            ("insecure", Raw::Switch(on)) => settings.insecure = on,
            ("insecure", _) => return Err(needed("true or false")),
            ("location", Raw::Text(place)) => settings.location = Some(place),
            ("location", _) => return Err(needed("text like \"registry.example/team\"")),
            (other, _) => {
                let mut error = wrong(path, Some(line), format!("unknown key {other:?} of {shown}"));
                error.hint = Some("the keys are mirrors, insecure and location".to_owned());
                return Err(error);
            }
        }
    }
    Settings::check(host, &settings).map_err(|e| wrong(path, Some(at), format!("{shown}: {e}")))?;
    Ok(settings)
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.split('.').next() == Some(name))
}

fn unknown(path: &Path, name: &str, line: usize, section: bool) -> ConfigError {
    let mut error = wrong(path, Some(line), format!("unknown {} {name:?}", if section { "section" } else { "key" }));
    let sections = || {
        let mut all: Vec<&str> = KEYS.iter().filter_map(|key| key.name.split('.').next()).collect();
        all.dedup();
        all.extend([REGISTRIES, "[trust]"]);
        all.join(", ")
    };
    error.hint = Some(match (section, nearest(name)) {
        (false, Some(known)) => format!("did you mean {known}?"),
        (false, None) => "'bulkhead config show' lists the keys that there are".to_owned(),
        (true, _) => format!("the sections are {}", sections()),
    });
    error
}

/// The keys that the administrator pins: names, or whole sections.
fn locked(path: &Path, line: usize, value: &Raw, system: bool) -> Result<Vec<(&'static str, usize)>, ConfigError> {
    if !system {
        return Err(wrong(path, Some(line), "locked: only the system's file pins keys"));
    }
    let Raw::List(names) = value else {
        return Err(wrong(path, Some(line), "locked: a list like [\"container.memory\", \"reserve\"] is needed"));
    };
    let mut all = Vec::new();
    for name in names {
        let mut matching: Vec<&Key> =
            KEYS.iter().filter(|key| key.name == name || key.name.split('.').next() == Some(name)).collect();
        if name == REGISTRIES {
            all.push((REGISTRIES, line));
            continue;
        }
        if matching.is_empty() {
            return Err(unknown(path, name, line, false));
        }
        // A whole section pins what in it can be pinned.
        matching.retain(|key| key.scope == Scope::Lockable);
        if matching.is_empty() {
            return Err(wrong(path, Some(line), format!("locked: {name} cannot be pinned, each user chooses it")));
        }
        all.extend(matching.into_iter().map(|key| (key.name, line)));
    }
    Ok(all)
}
