//! From names to numbers: which rules hold for one machine, capability set and kernel.
//!
//! The meaning of a rule list follows runc and libseccomp, because profiles are tested with them:
//!
//! * a rule whose action equals the default is skipped;
//! * a rule without conditions decides its call, whatever conditional rules surround it;
//! * several conditional rules for a call are alternatives, the first that holds decides;
//! * the conditions of one rule must hold together, **unless** two of them look at the same
//!   argument: then each condition counts as a rule of its own (runc's historical behaviour);
//! * numbers above every call the profile names fail with `ENOSYS` when the default refuses.
//!
//! Two things differ. Arguments that the kernel truncates to 32 bits are compared on 32 bits, see
//! [`crate::argument_is_int`]. And where two conditional rules with different actions hold at
//! once, the earlier one decides; libseccomp sorts them by argument and operator instead.
//!
//! On 32-bit ABIs a rule about `socket` does not reach `socketcall`, nor one about `shmget` `ipc`:
//! those hide their arguments behind a pointer and must be allowed or refused by name.

use crate::action::Action;
use crate::arch::{Arch, X32_BIT};
use crate::args::argument_is_int;
use crate::caps;
use crate::filter::{ArchFilter, CallRules, Condition, Filter, Op, Rule, Width};
use crate::profile::{Architectures, Arg, Profile, ProfileRule};
use crate::syscalls::syscall_number;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// Most rules over all calls of one ABI; more could never be compiled.
const MAX_RESOLVED: usize = 50_000;

/// Whether a number lies apart from the common sequence, so that it is no sign of a profile's age.
fn is_apart(arch: Arch, number: u32) -> bool {
    match arch {
        Arch::X32 => number & !X32_BIT >= 512,
        Arch::Arm => number >= 0x000f_0000,
        Arch::X86_64 | Arch::X86 | Arch::Aarch64 => false,
    }
}

/// What a profile is resolved for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The native ABI of the machine.
    pub arch: Arch,
    /// Granted capabilities, see [`caps::set`].
    pub caps: u64,
    /// Kernel version, major and minor.
    pub kernel: (u32, u32),
}

/// Why a profile cannot be made concrete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The ABI exists only beside a 64-bit one.
    #[error("{0} is not a native architecture; filters are made for x86_64 or aarch64")]
    NotNative(Arch),
    /// The rules multiply beyond reason.
    #[error("profile expands to more than {MAX_RESOLVED} rules for {0}")]
    TooManyRules(Arch),
}

impl Profile {
    /// The filter for one machine, capability set and kernel.
    ///
    /// # Errors
    /// When the ABI is not native, or the rules expand beyond all reason.
    pub fn resolve(&self, context: &Context) -> Result<Filter, ResolveError> {
        if context.arch.siblings().is_empty() {
            return Err(ResolveError::NotNative(context.arch));
        }
        let mut parts = vec![self.resolve_arch(context, context.arch)?];
        for sibling in context.arch.siblings() {
            if self.lists(context.arch, *sibling) {
                parts.push(self.resolve_arch(context, *sibling)?);
            }
        }
        Ok(Filter::new(self.default_action, parts))
    }

    fn lists(&self, native: Arch, sibling: Arch) -> bool {
        let contains = |names: &[String]| names.iter().any(|name| name == sibling.profile_name());
        match &self.architectures {
            Architectures::Native => false,
            Architectures::Listed(names) => contains(names),
            Architectures::Map(entries) => entries
                .iter()
                .any(|entry| entry.architecture == native.profile_name() && contains(&entry.sub_architectures)),
        }
    }

    fn resolve_arch(&self, context: &Context, arch: Arch) -> Result<ArchFilter, ResolveError> {
        let mut calls: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
        let mut decided: BTreeSet<u32> = BTreeSet::new();
        let mut highest = None;
        let mut count = 0_usize;
        for rule in &self.rules {
            let applies = rule.action != self.default_action && applies(rule, context);
            for name in &rule.names {
                let Some(number) = syscall_number(arch, name) else {
                    continue;
                };
                if !is_apart(arch, number) {
                    highest = highest.max(Some(number));
                }
                if !applies || decided.contains(&number) {
                    continue;
                }
                let rules = calls.entry(number).or_default();
                if rule.args.is_empty() {
                    decided.insert(number);
                    rules.clear();
                }
                let before = rules.len();
                add_rules(rules, arch, name, rule);
                count = count.saturating_add(rules.len().saturating_sub(before));
                if count > MAX_RESOLVED {
                    return Err(ResolveError::TooManyRules(arch));
                }
            }
        }
        let calls = calls.into_iter().map(|(number, rules)| CallRules { number, rules }).collect();
        let hides_news = match self.default_action {
            Action::Allow | Action::Log | Action::Notify | Action::Trace(_) | Action::ENOSYS => false,
            Action::KillProcess | Action::KillThread | Action::Trap | Action::Errno(_) => true,
        };
        Ok(ArchFilter::new(arch, calls, highest.filter(|_| hides_news)))
    }
}

fn applies(rule: &ProfileRule, context: &Context) -> bool {
    let has = |name: &String| caps::bit(name).is_some_and(|bit| context.caps & bit != 0);
    let here = |name: &String| name == context.arch.docker_name();
    let (includes, excludes) = (&rule.includes, &rule.excludes);
    let included = includes.caps.iter().all(has)
        && (includes.arches.is_empty() || includes.arches.iter().any(here))
        && includes.min_kernel.is_none_or(|oldest| context.kernel >= oldest);
    let excluded = excludes.caps.iter().any(has)
        || excludes.arches.iter().any(here)
        || excludes.min_kernel.is_some_and(|oldest| context.kernel >= oldest);
    included && !excluded
}

fn add_rules(rules: &mut Vec<Rule>, arch: Arch, name: &str, rule: &ProfileRule) {
    let conditions = rule.args.iter().map(|arg| condition(arch, name, arg));
    let mut seen = [false; 6];
    let repeats = rule.args.iter().any(|arg| {
        let slot = seen.get_mut(usize::from(arg.index));
        slot.is_some_and(|seen| std::mem::replace(seen, true))
    });
    if repeats {
        rules.extend(conditions.map(|condition| Rule { action: rule.action, conditions: vec![condition] }));
    } else {
        rules.push(Rule { action: rule.action, conditions: conditions.collect() });
    }
}

fn condition(arch: Arch, name: &str, arg: &Arg) -> Condition {
    let int = argument_is_int(arch, name, arg.index);
    let expected = if int { unextend(arg.value_two) } else { arg.value_two };
    let value = if int && arg.op != Op::MaskedEq { unextend(arg.value) } else { arg.value };
    Condition {
        arg: arg.index,
        width: if int { Width::W32 } else { Width::W64 },
        op: arg.op,
        value,
        value_two: expected,
    }
}

/// A negative `int` written as 64 bits is meant as that `int`. Other large values stay as they
/// are: cutting them would turn a comparison that never holds into one that often does.
fn unextend(value: u64) -> u64 {
    const SIGN: u64 = 0xffff_ffff_8000_0000;
    if value & SIGN == SIGN { value & 0xffff_ffff } else { value }
}
