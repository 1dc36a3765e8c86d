//! From JSON to a checked profile.

use std::fmt;

use super::json::{FLAGS, OPS, ProfileText, RawArchMap, RawArg, RawFilter, RawRule};
use super::{
    ArchMapEntry, Architectures, Arg, FilterFlag, MAX_ARGS_PER_RULE, MAX_PROFILE_BYTES, MAX_RULES, Profile,
    ProfileError, ProfileRule, RuleFilter,
};
use crate::action::{Action, MAX_ERRNO};
use crate::arch::{DOCKER_NAMES, PROFILE_NAMES};
use crate::{caps, errno};
use serde::de::Error as _;

type Result<T> = std::result::Result<T, ProfileError>;

/// Where something is; put into words only when it is wrong.
#[derive(Clone, Copy)]
enum Place {
    Profile,
    Rule(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile => f.write_str("profile"),
            Self::Rule(index) => write!(f, "rule {}", index.saturating_add(1)),
        }
    }
}

/// Reads what somebody wrote for a place where nobody listens.
pub(super) fn from_json(text: &str) -> Result<Profile> {
    if text.len() > MAX_PROFILE_BYTES {
        return Err(ProfileError::TooLarge(text.len()));
    }
    let profile = from_text(&serde_json::from_str(text)?)?;
    let asks = profile.rules.iter().position(|rule| rule.action == Action::Notify);
    match (profile.default_action, asks) {
        (Action::Notify, _) => Err(ProfileError::Notify { place: Place::Profile.to_string() }),
        (_, Some(index)) => Err(ProfileError::Notify { place: Place::Rule(index).to_string() }),
        _ => Ok(profile),
    }
}

pub(super) fn from_text(text: &ProfileText) -> Result<Profile> {
    let rules = text.syscalls.as_deref().unwrap_or_default();
    if rules.len() > MAX_RULES {
        return Err(ProfileError::TooManyRules(rules.len()));
    }
    let missing = || serde_json::Error::missing_field("defaultAction");
    let default = text.default_action.as_deref().ok_or_else(missing)?;
    Ok(Profile {
        default_action: action(Place::Profile, ["defaultAction", "defaultErrnoRet"], default, text.default_errno_ret)?,
        architectures: architectures(
            text.architectures.as_deref().unwrap_or_default(),
            text.arch_map.as_deref().unwrap_or_default(),
        )?,
        rules: rules
            .iter()
            .enumerate()
            .map(|(index, rule)| read_rule(Place::Rule(index), rule))
            .collect::<Result<_>>()?,
        flags: text.flags.iter().flatten().map(|word| flag(word)).collect::<Result<_>>()?,
        listener_path: text.listener_path.clone(),
        listener_metadata: text.listener_metadata.clone(),
    })
}

fn unknown<'a>(
    place: Place,
    field: &'static str,
    value: &str,
    accepted: impl Iterator<Item = &'a str>,
) -> ProfileError {
    ProfileError::Unknown {
        place: place.to_string(),
        field,
        value: value.to_owned(),
        accepted: accepted.collect::<Vec<_>>().join(", "),
    }
}

/// Names of actions, sorted.
pub(super) const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// `fields` are the names of the action and of its number. The number is ignored with actions
/// that have none, as runc does.
fn action(place: Place, fields: [&'static str; 2], name: &str, number: Option<u64>) -> Result<Action> {
    let [action_field, number_field] = fields;
    let data = || {
        let value = number.unwrap_or_else(|| u64::from(errno::EPERM));
        u16::try_from(value)
            .ok()
            .filter(|data| *data <= MAX_ERRNO)
            .ok_or_else(|| ProfileError::errno(&place.to_string(), number_field, value))
    };
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(data()?),
        // The short form means the thread, as in libseccomp.
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_NOTIFY" => Action::Notify,
        "SCMP_ACT_TRACE" => Action::Trace(data()?),
        "SCMP_ACT_TRAP" => Action::Trap,
        _ => {
            return Err(unknown(place, action_field, name, ACTIONS.into_iter()));
        }
    })
}

fn flag(name: &str) -> Result<FilterFlag> {
    match FLAGS.iter().find(|(word, _)| *word == name) {
        Some((_, flag)) => Ok(*flag),
        None => Err(unknown(Place::Profile, "flags", name, FLAGS.iter().map(|(word, _)| *word))),
    }
}

fn architectures(listed: &[String], map: &[RawArchMap]) -> Result<Architectures> {
    match (listed.is_empty(), map.is_empty()) {
        (true, true) => Ok(Architectures::Native),
        (false, true) => Ok(Architectures::Listed(known_arches("architectures", listed)?)),
        (true, false) => {
            let entries = map.iter().map(|entry| {
                let subs = entry.sub_architectures.as_deref().unwrap_or_default();
                known_arch("architecture", &entry.architecture)?;
                Ok(ArchMapEntry {
                    architecture: entry.architecture.clone(),
                    sub_architectures: known_arches("subArchitectures", subs)?,
                })
            });
            Ok(Architectures::Map(entries.collect::<Result<_>>()?))
        }
        (false, false) => Err(ProfileError::ArchitecturesTwice),
    }
}

fn known_arches(field: &'static str, names: &[String]) -> Result<Vec<String>> {
    for name in names {
        known_arch(field, name)?;
    }
    Ok(names.to_vec())
}

fn known_arch(field: &'static str, name: &str) -> Result<()> {
    if PROFILE_NAMES.contains(&name) {
        Ok(())
    } else {
        Err(unknown(Place::Profile, field, name, PROFILE_NAMES.iter().copied()))
    }
}

fn read_rule(place: Place, raw: &RawRule) -> Result<ProfileRule> {
    let names = match (raw.name.as_ref(), raw.names.as_deref().unwrap_or_default()) {
        (Some(name), []) if !name.is_empty() => vec![name.clone().into()],
        (None, names) if !names.is_empty() && names.iter().all(|name| !name.0.is_empty()) => {
            names.iter().map(|name| name.0.clone()).collect()
        }
        _ => {
            return Err(ProfileError::Names { place: place.to_string() });
        }
    };
    let args = raw.args.as_deref().unwrap_or_default();
    if args.len() > MAX_ARGS_PER_RULE {
        return Err(ProfileError::TooManyArgs { place: place.to_string(), count: args.len() });
    }
    Ok(ProfileRule {
        names,
        action: action(place, ["action", "errnoRet"], &raw.action, raw.errno_ret)?,
        args: args.iter().map(|arg| read_arg(place, arg)).collect::<Result<_>>()?,
        includes: read_filter(place, raw.includes.as_ref())?,
        excludes: read_filter(place, raw.excludes.as_ref())?,
        comment: raw.comment.clone().unwrap_or_default(),
    })
}

fn read_arg(place: Place, raw: &RawArg) -> Result<Arg> {
    let index = u8::try_from(raw.index).ok().filter(|index| *index < 6);
    let index = index.ok_or_else(|| ProfileError::Range {
        place: place.to_string(),
        field: "index",
        value: raw.index,
        limit: 5,
    })?;
    let Some((_, op)) = OPS.iter().find(|(word, _)| *word == raw.op) else {
        return Err(unknown(place, "op", &raw.op, OPS.iter().map(|(word, _)| *word)));
    };
    Ok(Arg { index, op: *op, value: raw.value, value_two: raw.value_two })
}

fn read_filter(place: Place, raw: Option<&RawFilter>) -> Result<RuleFilter> {
    let Some(raw) = raw else {
        return Ok(RuleFilter::default());
    };
    let caps = raw.caps.clone().unwrap_or_default();
    // A misspelt capability would silently drop an exclusion.
    if let Some(name) = caps.iter().find(|name| caps::bit(name).is_none()) {
        return Err(unknown(place, "caps", name, caps::names().into_iter()));
    }
    let arches = raw.arches.clone().unwrap_or_default();
    if let Some(name) = arches.iter().find(|name| !DOCKER_NAMES.contains(&name.as_str())) {
        return Err(unknown(place, "arches", name, DOCKER_NAMES.iter().copied()));
    }
    let min_kernel = raw.min_kernel.as_deref().map(|text| kernel(place, text)).transpose()?;
    Ok(RuleFilter { caps, arches, min_kernel })
}

fn kernel(place: Place, text: &str) -> Result<(u32, u32)> {
    let parsed = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.ok_or_else(|| ProfileError::Kernel { place: place.to_string(), value: text.to_owned() })
}
