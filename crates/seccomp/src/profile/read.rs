//! From JSON to a checked profile.

use super::json::{FLAGS, OPS, RawArchMap, RawArg, RawFilter, RawProfile, RawRule};
use super::{
    ArchMapEntry, Architectures, Arg, FilterFlag, MAX_ARGS_PER_RULE, MAX_PROFILE_BYTES, MAX_RULES, Profile,
    ProfileError, ProfileRule, RuleFilter,
};
use crate::action::{Action, MAX_ERRNO};
use crate::arch::{DOCKER_NAMES, PROFILE_NAMES};
use crate::{caps, errno};

type Result<T> = std::result::Result<T, ProfileError>;

pub(super) fn from_json(text: &str) -> Result<Profile> {
    if text.len() > MAX_PROFILE_BYTES {
        return Err(ProfileError::TooLarge(text.len()));
    }
    let raw: RawProfile = serde_json::from_str(text)?;
    let rules = raw.syscalls.unwrap_or_default();
    if rules.len() > MAX_RULES {
        return Err(ProfileError::TooManyRules(rules.len()));
    }
    let default_action =
        action("profile", ["defaultAction", "defaultErrnoRet"], raw.default_action, raw.default_errno_ret)?;
    let flags = raw.flags.unwrap_or_default();
    Ok(Profile {
        default_action,
        architectures: architectures(raw.architectures, raw.arch_map)?,
        rules: rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| read_rule(&format!("rule {}", index + 1), rule))
            .collect::<Result<_>>()?,
        flags: flags.into_iter().map(flag).collect::<Result<_>>()?,
        listener_path: raw.listener_path,
        listener_metadata: raw.listener_metadata,
    })
}

fn unknown<'a>(
    place: &str,
    field: &'static str,
    value: String,
    accepted: impl Iterator<Item = &'a str>,
) -> ProfileError {
    ProfileError::Unknown { place: place.to_owned(), field, value, accepted: accepted.collect::<Vec<_>>().join(", ") }
}

/// `fields` are the names of the action and of its number. The number is ignored with actions
/// that have none, as runc does.
fn action(place: &str, fields: [&'static str; 2], name: String, number: Option<u64>) -> Result<Action> {
    let [action_field, number_field] = fields;
    let data = || {
        let value = number.unwrap_or_else(|| u64::from(errno::EPERM));
        u16::try_from(value)
            .ok()
            .filter(|data| *data <= MAX_ERRNO)
            .ok_or_else(|| ProfileError::errno(place, number_field, value))
    };
    Ok(match name.as_str() {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(data()?),
        // The short form means the thread, as in libseccomp.
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRACE" => Action::Trace(data()?),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_NOTIFY" => {
            return Err(ProfileError::Notify { place: place.to_owned() });
        }
        _ => {
            let accepted = "SCMP_ACT_ALLOW SCMP_ACT_ERRNO SCMP_ACT_KILL SCMP_ACT_KILL_PROCESS \
                            SCMP_ACT_KILL_THREAD SCMP_ACT_LOG SCMP_ACT_TRACE SCMP_ACT_TRAP";
            return Err(unknown(place, action_field, name, accepted.split_whitespace()));
        }
    })
}

fn flag(name: String) -> Result<FilterFlag> {
    match FLAGS.iter().find(|(word, _)| *word == name) {
        Some((_, flag)) => Ok(*flag),
        None => Err(unknown("profile", "flags", name, FLAGS.iter().map(|(word, _)| *word))),
    }
}

fn architectures(listed: Option<Vec<String>>, map: Option<Vec<RawArchMap>>) -> Result<Architectures> {
    let listed = listed.unwrap_or_default();
    let map = map.unwrap_or_default();
    match (listed.is_empty(), map.is_empty()) {
        (true, true) => Ok(Architectures::Native),
        (false, true) => Ok(Architectures::Listed(known_arches("architectures", listed)?)),
        (true, false) => {
            let entries = map.into_iter().map(|entry| {
                let subs = entry.sub_architectures.unwrap_or_default();
                known_arch("architecture", &entry.architecture)?;
                Ok(ArchMapEntry {
                    architecture: entry.architecture,
                    sub_architectures: known_arches("subArchitectures", subs)?,
                })
            });
            Ok(Architectures::Map(entries.collect::<Result<_>>()?))
        }
        (false, false) => Err(ProfileError::ArchitecturesTwice),
    }
}

fn known_arches(field: &'static str, names: Vec<String>) -> Result<Vec<String>> {
    for name in &names {
        known_arch(field, name)?;
    }
    Ok(names)
}

fn known_arch(field: &'static str, name: &str) -> Result<()> {
    if PROFILE_NAMES.contains(&name) {
        Ok(())
    } else {
        let accepted = PROFILE_NAMES.iter().copied();
        Err(unknown("profile", field, name.to_owned(), accepted))
    }
}

fn read_rule(place: &str, raw: RawRule) -> Result<ProfileRule> {
    let names = match (raw.name, raw.names.unwrap_or_default()) {
        (Some(name), names) if names.is_empty() && !name.is_empty() => vec![name],
        (None, names) if !names.is_empty() && names.iter().all(|name| !name.is_empty()) => names,
        _ => {
            return Err(ProfileError::Names { place: place.to_owned() });
        }
    };
    let args = raw.args.unwrap_or_default();
    if args.len() > MAX_ARGS_PER_RULE {
        return Err(ProfileError::TooManyArgs { place: place.to_owned(), count: args.len() });
    }
    Ok(ProfileRule {
        names,
        action: action(place, ["action", "errnoRet"], raw.action, raw.errno_ret)?,
        args: args.into_iter().map(|arg| read_arg(place, arg)).collect::<Result<_>>()?,
        includes: read_filter(place, raw.includes)?,
        excludes: read_filter(place, raw.excludes)?,
        comment: raw.comment.unwrap_or_default(),
    })
}

fn read_arg(place: &str, raw: RawArg) -> Result<Arg> {
    let index = u8::try_from(raw.index).ok().filter(|index| *index < 6);
    let index = index.ok_or_else(|| ProfileError::Range {
        place: place.to_owned(),
        field: "index",
        value: raw.index,
        limit: 5,
    })?;
    let Some((_, op)) = OPS.iter().find(|(word, _)| *word == raw.op) else {
        return Err(unknown(place, "op", raw.op, OPS.iter().map(|(word, _)| *word)));
    };
    Ok(Arg { index, op: *op, value: raw.value, value_two: raw.value_two })
}

fn read_filter(place: &str, raw: Option<RawFilter>) -> Result<RuleFilter> {
    let Some(raw) = raw else {
        return Ok(RuleFilter::default());
    };
    let caps = raw.caps.unwrap_or_default();
    // A misspelt capability would silently drop an exclusion.
    if let Some(name) = caps.iter().find(|name| caps::bit(name).is_none()) {
        return Err(unknown(place, "caps", name.clone(), caps::names().into_iter()));
    }
    let arches = raw.arches.unwrap_or_default();
    if let Some(name) = arches.iter().find(|name| !DOCKER_NAMES.contains(&name.as_str())) {
        return Err(unknown(place, "arches", name.clone(), DOCKER_NAMES.iter().copied()));
    }
    Ok(RuleFilter { caps, arches, min_kernel: raw.min_kernel.map(|text| kernel(place, text)).transpose()? })
}

fn kernel(place: &str, text: String) -> Result<(u32, u32)> {
    let parsed = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.ok_or_else(|| ProfileError::Kernel { place: place.to_owned(), value: text })
}
