//! A request and the configuration: what was not asked is filled in, what is pinned is held.

use super::Key;
use super::keys::find;
use super::merge::{Config, Entry, Source, default_of};
use super::values::Value;
use crate::error::EngineError;
use crate::request::{ContainerRequest, ProfileName};

/// The request with everything that the files add to it.
///
/// # Errors
/// An ordinary user who asks for more than what is pinned.
pub fn settle(config: &Config, request: &ContainerRequest) -> Result<ContainerRequest, EngineError> {
    let mut whole = request.clone();
    hold(config, request)?;
    fill(config, &mut whole);
    Ok(whole)
}

fn fill(config: &Config, request: &mut ContainerRequest) {
    let limits = &mut request.limits;
    limits.pids = limits.pids.or(config.number("container.pids_limit"));
    let bytes = |name| config.number(name).and_then(|n| u64::try_from(n).ok());
    limits.memory = limits.memory.or(bytes("container.memory"));
    // What is shared has its size already.
    if request.ipc.has_own_memory() {
        limits.shm_size = limits.shm_size.or(bytes("container.shm_size"));
    }
    if let Some(Entry { value: Value::Ulimits(all), .. }) = config.entry("container.ulimits") {
        for one in all {
            if !limits.ulimits.iter().any(|(name, ..)| *name == one.0) {
                limits.ulimits.push(one.clone());
            }
        }
    }
    if let Some(Entry { value: Value::Switch(true), .. }) = config.entry("container.init") {
        request.init = true;
    }
    if !request.log.none {
        request.log.max_size = request.log.max_size.or(bytes("log.max_size"));
        let files = config.number("log.max_file").and_then(|n| u32::try_from(n).ok());
        request.log.max_files = request.log.max_files.or(files);
    }
    let timeout = config.number("container.stop_timeout").and_then(|n| i32::try_from(n).ok());
    request.stop_timeout = request.stop_timeout.or(timeout);
}

/// What was asked stays within what is pinned. Root is the administrator.
///
/// # Errors
/// The first value that is looser than a pinned one.
pub(crate) fn hold(config: &Config, request: &ContainerRequest) -> Result<(), EngineError> {
    if config.uid == 0 {
        return Ok(());
    }
    for (name, by) in &config.locked {
        let Some(key) = find(name) else { continue };
        let value = config.entry(name).map(|e| e.value.clone()).or_else(|| default_of(key));
        if let Some(asked) = beyond(key, value.as_ref(), request) {
            return Err(over(key, value.as_ref(), by, &asked));
        }
    }
    Ok(())
}

fn over(key: &Key, value: Option<&Value>, by: &Source, asked: &str) -> EngineError {
    let most = value.map_or_else(|| key.default.to_owned(), |v| key.kind.show(v));
    EngineError::refused(
        format!("{} {asked}", key.flag.unwrap_or(key.name)),
        format!("{} is pinned to {most} by {by}; what is stricter is accepted", key.name),
    )
}

/// What was asked and is looser than the pinned value, as the user wrote it.
fn beyond(key: &Key, pinned: Option<&Value>, request: &ContainerRequest) -> Option<String> {
    let limits = &request.limits;
    let above = |asked: Option<u64>| {
        let most = match pinned {
            Some(Value::Number(n)) => u64::try_from(*n).unwrap_or(u64::MAX),
            _ => u64::MAX,
        };
        asked.filter(|n| *n > most).map(|n| n.to_string())
    };
    // -1 and 0 are "no limit".
    let count = |n: i64| if n <= 0 { u64::MAX } else { u64::try_from(n).unwrap_or(u64::MAX) };
    match key.name {
        "container.profile" => {
            let most = match pinned {
                Some(Value::Text(name)) => ProfileName::named(name).unwrap_or_default(),
                _ => ProfileName::default(),
            };
            (request.profile > most).then(|| request.profile.as_str().to_owned())
        }
        "container.pids_limit" => match (limits.pids, pinned) {
            (Some(asked), Some(Value::Number(most))) => (count(asked) > count(*most)).then(|| asked.to_string()),
            _ => None,
        },
        "container.memory" => above(limits.memory),
        "log.max_size" => above(request.log.max_size),
        "log.max_file" => above(request.log.max_files.map(u64::from)),
        "container.shm_size" => above(limits.shm_size),
        "container.stop_timeout" => {
            let asked = request.stop_timeout.map(|n| u64::try_from(n).unwrap_or(u64::MAX));
            above(asked).map(|_| request.stop_timeout.unwrap_or_default().to_string())
        }
        "container.ulimits" => {
            let Some(Value::Ulimits(most)) = pinned else { return None };
            limits.ulimits.iter().find_map(|(name, soft, hard)| {
                let most = most.iter().find(|(known, ..)| known == name)?;
                (*hard > most.2).then(|| format!("{name}={soft}:{hard}"))
            })
        }
        _ => None,
    }
}

/// Which of the limits of a request a file has set, for the message when one cannot be enforced.
#[must_use]
pub fn origin(config: &Config, asked: &ContainerRequest) -> Option<String> {
    let set = [
        ("container.memory", asked.limits.memory.is_none()),
        ("container.pids_limit", asked.limits.pids.is_none()),
        ("container.ulimits", true),
    ];
    set.iter().filter(|(_, absent)| *absent).find_map(|(name, _)| {
        let entry = config.entry(name)?;
        Some(format!("{name} is set by {}", entry.source))
    })
}
