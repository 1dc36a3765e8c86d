//! The JSON shape shared by reading and writing.

use super::RuleFilter;
use super::{ArchMapEntry, Architectures, Arg, FilterFlag, Name, Profile, ProfileError, ProfileRule};
use crate::action::Action;
use crate::filter::Op;
use crate::syscalls::known;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A profile as JSON has it: of the right shape, and nothing in it is checked yet. It may be empty, as the
/// `linux.seccomp` object of an OCI config may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileText {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_errno_ret: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arch_map: Option<Vec<RawArchMap>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) architectures: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener_metadata: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) syscalls: Option<Vec<RawRule>>,
}

impl ProfileText {
    /// Whether it asks for no filter at all: no default and no rule, as other OCI runtimes take it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.default_action.as_ref().is_none_or(String::is_empty) && self.syscalls.as_ref().is_none_or(Vec::is_empty)
    }

    /// Whether it has a list of flags; an empty one is a list too.
    #[must_use]
    pub fn lists_flags(&self) -> bool {
        self.flags.is_some()
    }

    /// `listenerPath`: the socket that gets the listener of [`Action::Notify`].
    #[must_use]
    pub fn listener_path(&self) -> Option<&str> {
        self.listener_path.as_deref().filter(|path| !path.is_empty())
    }

    /// `listenerMetadata`: what goes to that socket with it.
    #[must_use]
    pub fn listener_metadata(&self) -> &str {
        self.listener_metadata.as_deref().unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawArchMap {
    pub(super) architecture: String,
    pub(super) sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) names: Option<Vec<CallName>>,
    pub(super) action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) errno_ret: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<Vec<RawArg>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) includes: Option<RawFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) excludes: Option<RawFilter>,
}

/// A name that is not copied where some ABI has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct CallName(pub(super) Name);

impl<'de> Deserialize<'de> for CallName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(CallNameVisitor).map(Self)
    }
}

struct CallNameVisitor;

impl Visitor<'_> for CallNameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
        Ok(known(name).map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawArg {
    pub(super) index: u64,
    pub(super) value: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) value_two: u64,
    pub(super) op: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caps: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arches: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_kernel: Option<String>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

pub(super) const OPS: [(&str, Op); 7] = [
    ("SCMP_CMP_NE", Op::Ne),
    ("SCMP_CMP_LT", Op::Lt),
    ("SCMP_CMP_LE", Op::Le),
    ("SCMP_CMP_EQ", Op::Eq),
    ("SCMP_CMP_GE", Op::Ge),
    ("SCMP_CMP_GT", Op::Gt),
    ("SCMP_CMP_MASKED_EQ", Op::MaskedEq),
];

pub(super) const FLAGS: [(&str, FilterFlag); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", FilterFlag::Tsync),
    ("SECCOMP_FILTER_FLAG_LOG", FilterFlag::Log),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", FilterFlag::SpecAllow),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", FilterFlag::WaitKillableRecv),
];

/// The word for a value of a two-column table.
fn word<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> String {
    let found = table.iter().find(|(_, known)| known == value);
    found.map_or_else(String::new, |(word, _)| (*word).to_owned())
}

pub(super) fn to_json(profile: &Profile) -> Result<String, ProfileError> {
    let (arch_map, architectures) = match &profile.architectures {
        Architectures::Native => (None, None),
        Architectures::Listed(names) => (None, Some(names.clone())),
        Architectures::Map(entries) => (Some(entries.iter().map(raw_arch_map).collect()), None),
    };
    let flags = profile.flags.iter().map(|flag| word(&FLAGS, flag));
    let raw = ProfileText {
        default_action: Some(profile.default_action.profile_name().to_owned()),
        default_errno_ret: action_data(profile.default_action),
        arch_map,
        architectures,
        flags: (!profile.flags.is_empty()).then(|| flags.collect()),
        listener_path: profile.listener_path.clone(),
        listener_metadata: profile.listener_metadata.clone(),
        syscalls: Some(profile.rules.iter().map(raw_rule).collect()),
    };
    Ok(serde_json::to_string_pretty(&raw)?)
}

fn action_data(action: Action) -> Option<u64> {
    match action {
        Action::Errno(data) | Action::Trace(data) => Some(u64::from(data)),
        _ => None,
    }
}

fn raw_arch_map(entry: &ArchMapEntry) -> RawArchMap {
    RawArchMap { architecture: entry.architecture.clone(), sub_architectures: Some(entry.sub_architectures.clone()) }
}

fn raw_rule(rule: &ProfileRule) -> RawRule {
    RawRule {
        name: None,
        names: Some(rule.names.iter().cloned().map(CallName).collect()),
        action: rule.action.profile_name().to_owned(),
        errno_ret: action_data(rule.action),
        args: (!rule.args.is_empty()).then(|| rule.args.iter().map(raw_arg).collect()),
        comment: (!rule.comment.is_empty()).then(|| rule.comment.clone()),
        includes: raw_filter(&rule.includes),
        excludes: raw_filter(&rule.excludes),
    }
}

fn raw_arg(arg: &Arg) -> RawArg {
    RawArg { index: u64::from(arg.index), value: arg.value, value_two: arg.value_two, op: word(&OPS, &arg.op) }
}

fn raw_filter(filter: &RuleFilter) -> Option<RawFilter> {
    let list = |names: &Vec<String>| (!names.is_empty()).then(|| names.clone());
    (!filter.is_empty()).then(|| RawFilter {
        caps: list(&filter.caps),
        arches: list(&filter.arches),
        min_kernel: filter.min_kernel.map(|(major, minor)| format!("{major}.{minor}")),
    })
}
