//! The profiles that come with bulkhead, as tables by topic.
//!
//! Three verdicts: what ordinary server software uses is allowed; what is known and dangerous
//! fails with `EPERM`, so that a log shows a refusal; everything else fails with `ENOSYS`, so that
//! C libraries take the fallback they have for an older kernel.

mod arguments;
mod calls;

use crate::action::Action;
use crate::profile::{ArchMapEntry, Architectures, Arg, Name, Profile, ProfileRule, RuleFilter};
use crate::syscalls::known;
use calls::{ALLOWED, GATED, Gate, Group, OBSOLETE, REFUSED, SPLICING, TOLERATED, TWINS};

/// How far a profile goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Default,
    Strict,
    Compat,
}

/// The profile of an ordinary container.
#[must_use]
pub fn default_profile() -> Profile {
    profile(Mode::Default)
}

/// The default without the calls that move pages between files and pipes, which every bug of the
/// Dirty Pipe kind needs. Programs fall back to read and write.
#[must_use]
pub fn strict_profile() -> Profile {
    profile(Mode::Strict)
}

/// What Docker allows, with the 32-bit ABIs, for images that need it.
///
/// It stays stricter than Docker where programs do not notice: unknown calls look absent, terminal
/// injection, namespace `ioctl`s and `TCP_ULP` are refused, integers are compared on 32 bits. On
/// 32-bit x86 `socketcall` hides its arguments behind a pointer, so there the rules about sockets
/// do not hold.
#[must_use]
pub fn compat_profile() -> Profile {
    profile(Mode::Compat)
}

fn profile(mode: Mode) -> Profile {
    let mut rules: Vec<ProfileRule> = ALLOWED.iter().map(|group| plain(group, Action::Allow)).collect();
    match mode {
        Mode::Default => rules.push(plain(&SPLICING, Action::Allow)),
        Mode::Strict => rules.push(plain(&SPLICING, Action::ENOSYS)),
        Mode::Compat => {
            rules.push(plain(&SPLICING, Action::Allow));
            rules.extend(TWINS.iter().map(|group| plain(group, Action::Allow)));
            rules.extend(TOLERATED.iter().map(|group| plain(group, Action::Allow)));
        }
    }
    rules.extend(arguments::rules(mode));
    for gate in GATED {
        rules.extend(gated(gate, mode));
    }
    rules.extend(REFUSED.iter().map(|group| plain(group, Action::EPERM)));
    if mode != Mode::Compat {
        rules.extend(TOLERATED.iter().map(|group| plain(group, Action::EPERM)));
    }
    rules.push(plain(&OBSOLETE, Action::ENOSYS));
    Profile::from_rules(Action::ENOSYS, architectures(mode), rules)
}

fn architectures(mode: Mode) -> Architectures {
    let entry = |architecture: &str, subs: &[&str]| ArchMapEntry {
        architecture: architecture.to_owned(),
        sub_architectures: subs.iter().map(|sub| (*sub).to_owned()).collect(),
    };
    match mode {
        Mode::Default | Mode::Strict => Architectures::Native,
        Mode::Compat => Architectures::Map(vec![
            entry("SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
            entry("SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
        ]),
    }
}

fn name(word: &str) -> Name {
    known(word).map_or_else(|| word.to_owned().into(), Name::Borrowed)
}

fn rule(calls: &str, action: Action, args: &[Arg], why: &str) -> ProfileRule {
    ProfileRule {
        names: calls.split_ascii_whitespace().map(name).collect(),
        action,
        args: args.to_vec(),
        includes: RuleFilter::default(),
        excludes: RuleFilter::default(),
        comment: why.to_owned(),
    }
}

fn plain(group: &Group, action: Action) -> ProfileRule {
    rule(group.calls, action, &[], group.why)
}

/// Allowed with any of the capabilities, refused without.
fn gated(gate: &Gate, mode: Mode) -> Vec<ProfileRule> {
    let mut keys = gate.caps.to_vec();
    if mode == Mode::Compat {
        keys.extend(gate.docker_caps);
    }
    let mut rules: Vec<ProfileRule> =
        keys.iter().map(|key| with(rule(gate.calls, Action::Allow, &[], gate.why), key)).collect();
    rules.push(without(rule(gate.calls, Action::EPERM, &[], gate.why), &keys));
    rules
}

fn with(mut rule: ProfileRule, cap: &str) -> ProfileRule {
    rule.includes.caps.push(cap.to_owned());
    rule
}

fn without(mut rule: ProfileRule, caps: &[&str]) -> ProfileRule {
    rule.excludes.caps.extend(caps.iter().map(|cap| (*cap).to_owned()));
    rule
}
