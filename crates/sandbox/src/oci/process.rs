//! `process` of a config, as steps: who the program is and what it may do.

use bulkhead_seccomp::FilterFlag;
use bulkhead_sys::seccomp::{LOG, SPEC_ALLOW, TSYNC, WAIT_KILLABLE_RECV};

use super::Rights;
use super::config::{Capabilities, Process};
use super::step::OciStep;
use super::{sets, tune};
use crate::facts::HostFacts;
use crate::plan::{LimitStep, PlanError, Program, path_text, program_of, text};
use crate::spec::{Caps, Grant};
use crate::step::Step;

/// Capabilities by set, resolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CapSets {
    pub(super) bounding: Caps,
    pub(super) effective: Caps,
    pub(super) permitted: Caps,
    pub(super) inheritable: Caps,
    pub(super) ambient: Caps,
}

impl CapSets {
    pub(super) fn of(wanted: Option<&Capabilities>) -> Result<Self, PlanError> {
        let Some(wanted) = wanted else { return Ok(Self::default()) };
        let sets = Self {
            bounding: set(&wanted.bounding),
            effective: set(&wanted.effective),
            permitted: set(&wanted.permitted),
            inheritable: set(&wanted.inheritable),
            ambient: set(&wanted.ambient),
        };
        let beyond = sets.inheritable.without(sets.bounding);
        if !beyond.is_empty() {
            return Err(PlanError::invalid(
                "process.capabilities.inheritable",
                beyond.names().join(", "),
                "what is inheritable must be in the bounding set (operation not permitted)",
            ));
        }
        let extra = sets.effective.without(sets.permitted);
        if !extra.is_empty() {
            return Err(PlanError::invalid(
                "process.capabilities.effective",
                extra.names().join(", "),
                "what is effective must be permitted",
            ));
        }
        Ok(sets)
    }

    /// All that the program can have in any way.
    pub(super) fn any(self) -> Caps {
        self.bounding.with(self.effective).with(self.permitted).with(self.inheritable).with(self.ambient)
    }
}

/// What no kernel knows is nothing to give: the specification wants a warning, see [`unknown_capabilities`].
fn set(words: &[String]) -> Caps {
    words.iter().filter_map(|word| capability(word)).fold(Caps::EMPTY, Caps::with)
}

fn capability(word: &str) -> Option<Caps> {
    Caps::named(word).filter(|_| word.starts_with("CAP_"))
}

/// Ambient capabilities of a process that the kernel takes from nobody: they are not permitted, or not inheritable.
#[must_use]
pub fn idle_ambient(process: &Process) -> Vec<&'static str> {
    let sets = CapSets::of(process.capabilities.as_ref()).unwrap_or_default();
    sets.ambient.without(Caps(sets.permitted.0 & sets.inheritable.0)).names()
}

/// Names in the sets of a process that are no capability.
#[must_use]
pub fn unknown_capabilities(process: &Process) -> Vec<&str> {
    let Some(c) = &process.capabilities else { return Vec::new() };
    let all = [&c.bounding, &c.effective, &c.permitted, &c.inheritable, &c.ambient];
    let mut names: Vec<&str> =
        all.into_iter().flatten().filter(|word| capability(word).is_none()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Fields that no Linux runtime carries out.
pub(super) fn refuse_foreign(process: &Process) -> Result<(), PlanError> {
    let foreign = |field: &str| {
        Err(PlanError::Unsupported { what: field.to_owned(), reason: "it belongs to another platform".to_owned() })
    };
    if process.command_line.as_ref().is_some_and(|c| !c.is_empty()) {
        return foreign("process.commandLine");
    }
    if process.user.username.as_ref().is_some_and(|u| !u.is_empty()) {
        return foreign("process.user.username");
    }
    Ok(())
}

/// Streams, keyring, mask, labels and how it is served: all that needs root's rights.
pub(super) fn early(
    process: &Process,
    facts: &HostFacts,
    rights: &Rights<'_>,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let user = &process.user;
    // The group stays: a terminal has the one that its devpts gives it, so that `write(1)` reaches it.
    steps.push(Step::Stdio { terminal: process.terminal, owner: Some((user.uid, None)) });
    if let Some(name) = rights.keyring.filter(|_| facts.keyrings) {
        steps.push(Step::Keyring { name: text("id", &format!("_ses.{name}"))? });
    }
    let umask = user.umask.unwrap_or(0o022);
    if umask > 0o777 {
        return Err(PlanError::invalid("process.user.umask", format!("{umask:o}"), "0 to 777 octal is needed"));
    }
    steps.push(Step::Umask { mask: umask });
    tune::steps(process, steps)?;
    // Of several the last is what the program sees.
    if process.env.iter().rev().find_map(|e| e.strip_prefix("HOME=")).is_none_or(str::is_empty) {
        steps.push(OciStep::Home { uid: user.uid }.into());
    }
    labels(process, facts, steps)
}

/// A label that was asked for and cannot be set stops the start.
fn labels(process: &Process, facts: &HostFacts, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let asked = [
        ("process.apparmorProfile", &process.apparmor_profile, facts.apparmor, "attr/apparmor/exec", "exec "),
        ("process.selinuxLabel", &process.selinux_label, facts.selinux, "attr/exec", ""),
    ];
    for (field, wanted, active, file, prefix) in asked {
        if wanted.is_empty() {
            continue;
        }
        if !active {
            return Err(PlanError::Unsupported {
                what: format!("{field} {wanted:?}"),
                reason: "the security module is not active in this kernel".to_owned(),
            });
        }
        steps.push(Step::Label { file: text(field, file)?, value: text(field, &format!("{prefix}{wanted}"))? });
    }
    Ok(())
}

/// What takes rights away, in the only order that works: see the engine's own containers. A process that `waits` does so
/// before all of it, or between a filter whose listener can be given early and the program.
pub(super) fn late(
    process: &Process,
    rights: &Rights<'_>,
    waits: bool,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let early = rights.filter.is_some_and(|filter| filter.early);
    if waits && !early {
        steps.push(OciStep::AwaitStart.into());
    }
    let caps = CapSets::of(process.capabilities.as_ref())?;
    steps.push(Step::EnterWorkdir);
    let filter = rights
        .filter
        .map(|f| -> Step { OciStep::Filter { flags: flags(&f.flags, f.listener), listener: f.listener }.into() });
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    } else if let Some(filter) = &filter {
        // Loading one without `no_new_privs` takes a right that goes with the capabilities.
        steps.push(filter.clone());
    }
    steps.push(Step::Bounding { keep: caps.bounding.0 });
    if process.user.uid != 0 && !caps.permitted.is_empty() {
        steps.push(Step::KeepCaps);
    }
    let user = &process.user;
    steps.push(Step::Identity { uid: user.uid, gid: user.gid, set_groups: rights.set_groups });
    steps.push(
        OciStep::CapSets {
            effective: caps.effective.0,
            permitted: caps.permitted.0,
            inheritable: caps.inheritable.0,
            // The kernel takes no ambient one that is not both; neither does any other runtime complain.
            ambient: caps.ambient.0 & caps.permitted.0 & caps.inheritable.0,
        }
        .into(),
    );
    if let Some(filter) = filter.filter(|_| process.no_new_privileges) {
        steps.push(filter);
    }
    if waits && early {
        steps.push(OciStep::AwaitStart.into());
    }
    steps.push(Step::Exec);
    Ok(())
}

/// The kernel takes not every flag with every filter: without a listener nothing waits to be received, and with one it
/// takes no `TSYNC`. That one does nothing in a process of one thread, and is left out.
fn flags(wanted: &[FilterFlag], listener: bool) -> u64 {
    let taken = |flag: &&FilterFlag| match flag {
        FilterFlag::Tsync => false,
        FilterFlag::WaitKillableRecv => listener,
        FilterFlag::Log | FilterFlag::SpecAllow => true,
    };
    wanted.iter().filter(taken).fold(0, |bits, flag| bits | flag_bit(*flag))
}

/// What a flag of a filter is to the kernel (`seccomp(2)`).
#[must_use]
pub fn flag_bit(flag: FilterFlag) -> u64 {
    match flag {
        FilterFlag::Tsync => TSYNC,
        FilterFlag::Log => LOG,
        FilterFlag::SpecAllow => SPEC_ALLOW,
        FilterFlag::WaitKillableRecv => WAIT_KILLABLE_RECV,
    }
}

/// What is weaker than our defaults.
pub(super) fn grants(process: &Process, filtered: bool) -> Result<Vec<Grant>, PlanError> {
    let mut grants = Vec::new();
    if !process.no_new_privileges {
        grants.push(Grant::NewPrivileges);
    }
    grants.push(if filtered { Grant::SeccompCustom } else { Grant::SeccompUnconfined });
    let extra = CapSets::of(process.capabilities.as_ref())?.any().without(Caps::DEFAULT);
    if !extra.is_empty() {
        grants.push(Grant::Capabilities(extra.names().into_iter().map(str::to_owned).collect()));
    }
    Ok(grants)
}

/// `RLIMIT_NOFILE` and its like.
pub(super) fn limits(process: &Process, facts: &HostFacts) -> Result<Vec<LimitStep>, PlanError> {
    let mut limits: Vec<LimitStep> = Vec::with_capacity(process.rlimits.len());
    for (index, limit) in process.rlimits.iter().enumerate() {
        let field = format!("process.rlimits[{index}]");
        let name = limit.kind.strip_prefix("RLIMIT_").map(str::to_ascii_lowercase);
        let Some(name) = name.filter(|n| crate::facts::rlimit_named(n).is_some()) else {
            return Err(PlanError::invalid(&field, &limit.kind, "a name like RLIMIT_NOFILE is needed"));
        };
        if limits.iter().any(|l| l.name == name) {
            return Err(PlanError::invalid(&field, &limit.kind, "a limit can be there once"));
        }
        if limit.soft > limit.hard {
            let value = format!("{} {}:{}", limit.kind, limit.soft, limit.hard);
            return Err(PlanError::invalid(&field, value, "the soft limit must not exceed the hard limit"));
        }
        let most = facts.hard_limits.get(&name).filter(|most| limit.hard > **most && !facts.may_raise_limits);
        if let Some(most) = most {
            return Err(PlanError::Unsupported {
                what: format!("{field} {}={}", limit.kind, limit.hard),
                reason: format!("the caller's own hard limit is {most} and it has no right to raise it"),
            });
        }
        let value = |v: u64| (v != u64::MAX).then_some(v);
        limits.push(LimitStep { name, soft: value(limit.soft), hard: value(limit.hard) });
    }
    Ok(limits)
}

/// The program, and where it is looked for.
pub(super) fn what(process: &Process) -> Result<Program, PlanError> {
    if process.args.is_empty() {
        return Err(PlanError::invalid("process.args", "", "a program is needed"));
    }
    for entry in &process.env {
        if !entry.contains('=') || entry.starts_with('=') {
            return Err(PlanError::invalid("process.env", entry, "NAME=VALUE is needed"));
        }
    }
    let mut args = process.args.clone();
    if let (Some(path), Some(first)) = (&process.program, args.first_mut()) {
        first.clone_from(path);
    }
    let mut program = program_of(&args, &last_of_each(&process.env), &process.user.additional_gids, false)?;
    if let (Some(first), Some(name)) = (program.args.first_mut(), process.args.first()) {
        *first = text("process.args", name)?;
    }
    Ok(program)
}

/// A name that is there twice has its last value: programs would see whichever they look for first.
fn last_of_each(env: &[String]) -> Vec<String> {
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    let mut last = std::collections::BTreeMap::new();
    for (index, entry) in env.iter().enumerate() {
        last.insert(name(entry), index);
    }
    let kept = env.iter().enumerate().filter(|(index, entry)| {
        // An empty one is as good as none, and a directory is found instead.
        last.get(&name(entry)) == Some(index) && *entry != "HOME="
    });
    kept.map(|(_, entry)| entry.clone()).collect()
}

/// The working directory, as it is entered.
pub(super) fn workdir(process: &Process) -> Result<crate::spec::Text, PlanError> {
    if !process.cwd.starts_with('/') {
        return Err(PlanError::invalid("process.cwd", &process.cwd, "an absolute path is needed"));
    }
    path_text("process.cwd", &super::mounts::clean(&process.cwd))
}

/// Every CPU: what the caller may run on says nothing about the container, whose group decides.
pub(super) fn all_cpus() -> Step {
    OciStep::Affinity { cpus: vec![u64::MAX; 128] }.into()
}

/// CPUs of a process that joins; an empty list leaves them.
pub(super) fn affinity(field: &str, list: &str, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let cpus = sets::bits(field, list)?;
    if !cpus.is_empty() {
        steps.push(OciStep::Affinity { cpus }.into());
    }
    Ok(())
}
