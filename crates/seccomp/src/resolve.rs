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
use crate::index::Hash;
use crate::profile::{Architectures, Arg, Profile, ProfileRule};
use crate::syscalls::number_of;
use std::sync::Arc;
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
        let hashes: Vec<Vec<Hash>> =
            self.rules.iter().map(|rule| rule.names.iter().map(|name| Hash::of(name)).collect()).collect();
        let mut parts = vec![self.resolve_arch(context, context.arch, &hashes)?];
        for sibling in context.arch.siblings() {
            if self.lists(context.arch, *sibling) {
                parts.push(self.resolve_arch(context, *sibling, &hashes)?);
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

    fn resolve_arch(&self, context: &Context, arch: Arch, hashes: &[Vec<Hash>]) -> Result<ArchFilter, ResolveError> {
        let mut calls = Calls::default();
        let mut highest = None;
        let mut count = 0_usize;
        for (rule, hashes) in self.rules.iter().zip(hashes) {
            let applies = rule.action != self.default_action && applies(rule, context);
            for (name, hash) in rule.names.iter().zip(hashes) {
                let Some(number) = number_of(arch, name, *hash) else {
                    continue;
                };
                if !is_apart(arch, number) {
                    highest = highest.max(Some(number));
                }
                if !applies {
                    continue;
                }
                let call = calls.entry(number);
                if matches!(call.verdict, Verdict::Always(_)) {
                    continue;
                }
                if rule.args.is_empty() {
                    call.verdict = Verdict::Always(rule.action);
                    count = count.saturating_add(1);
                } else if let Verdict::Rules(rules) = &mut call.verdict {
                    let before = rules.len();
                    add_rules(rules, arch, name, rule);
                    count = count.saturating_add(rules.len().saturating_sub(before));
                }
                if count > MAX_RESOLVED {
                    return Err(ResolveError::TooManyRules(arch));
                }
            }
        }
        let calls = calls.finish();
        let hides_news = match self.default_action {
            Action::Allow | Action::Log | Action::Notify | Action::Trace(_) | Action::ENOSYS => false,
            Action::KillProcess | Action::KillThread | Action::Trap | Action::Errno(_) => true,
        };
        Ok(ArchFilter::new(arch, calls, highest.filter(|_| hides_news)))
    }
}

/// What is known of a call so far.
enum Verdict {
    /// These rules, in order.
    Rules(Vec<Rule>),
    /// A rule without conditions has decided.
    Always(Action),
}

struct Call {
    number: u32,
    verdict: Verdict,
}

/// Calls by number, in the order in which they were named.
#[derive(Default)]
struct Calls {
    calls: Vec<Call>,
    /// One more than the index of the call with this number; 0 for none. Only for the common sequence of numbers.
    places: Vec<u16>,
}

impl Calls {
    const COMMON: usize = 1024;

    fn entry(&mut self, number: u32) -> &mut Call {
        let new = self.calls.len();
        self.places.resize(Self::COMMON, 0);
        let place = usize::try_from(number & !X32_BIT).ok().and_then(|at| self.places.get_mut(at));
        let at = match place {
            Some(0) => new,
            Some(place) => usize::from(*place) - 1,
            // A handful of private numbers, far above.
            None => self.calls.iter().position(|call| call.number == number).unwrap_or(new),
        };
        if at == new {
            self.calls.push(Call { number, verdict: Verdict::Rules(Vec::new()) });
            let place = usize::try_from(number & !X32_BIT).ok().and_then(|at| self.places.get_mut(at));
            if let (Some(place), Ok(one_more)) = (place, u16::try_from(new + 1)) {
                *place = one_more;
            }
        }
        &mut self.calls[at]
    }

    fn finish(self) -> Vec<CallRules> {
        let mut plain: Vec<(Action, Arc<[Rule]>)> = Vec::new();
        let mut shared = |action: Action| -> Arc<[Rule]> {
            if let Some((_, rules)) = plain.iter().find(|(known, _)| *known == action) {
                return Arc::clone(rules);
            }
            let rules: Arc<[Rule]> = Arc::new([Rule { action, conditions: Vec::new() }]);
            // Data of actions makes many of them possible, and a list of all would be slow to search.
            if plain.len() < 16 {
                plain.push((action, Arc::clone(&rules)));
            }
            rules
        };
        let rules = |verdict| match verdict {
            Verdict::Rules(rules) => rules.into(),
            Verdict::Always(action) => shared(action),
        };
        let mut rules = rules;
        self.calls.into_iter().map(|call| CallRules { number: call.number, rules: rules(call.verdict) }).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{FilterFlag, RuleFilter};
    use crate::syscalls::{syscall_number, syscalls};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// The meaning, written as plainly as possible.
    fn plainly(profile: &Profile, context: &Context, arch: Arch) -> (BTreeMap<u32, Vec<Rule>>, Option<u32>) {
        let mut calls: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
        let (mut decided, mut highest) = (BTreeSet::new(), None);
        for rule in &profile.rules {
            for name in &rule.names {
                let Some(number) = syscall_number(arch, name) else { continue };
                if !is_apart(arch, number) {
                    highest = highest.max(Some(number));
                }
                let skipped = rule.action == profile.default_action || !applies(rule, context);
                if skipped || decided.contains(&number) {
                    continue;
                }
                let rules = calls.entry(number).or_default();
                if rule.args.is_empty() {
                    decided.insert(number);
                    rules.clear();
                }
                add_rules(rules, arch, name, rule);
            }
        }
        (calls, highest)
    }

    fn agrees(profile: &Profile) {
        for (native, caps) in [(Arch::X86_64, 0), (Arch::Aarch64, u64::MAX)] {
            let context = Context { arch: native, caps, kernel: (6, 1) };
            let filter = profile.resolve(&context).unwrap();
            for part in filter.arches() {
                let (calls, highest) = plainly(profile, &context, part.arch());
                let got: BTreeMap<u32, Vec<Rule>> =
                    part.calls().iter().map(|call| (call.number, call.rules.to_vec())).collect();
                assert_eq!(got, calls, "{}", part.arch());
                assert!(part.calls().is_sorted_by_key(|call| call.number) && got.len() == part.calls().len());
                assert!(part.unknown_above().is_none_or(|above| Some(above) == highest), "{}", part.arch());
            }
        }
    }

    #[test]
    fn shipped_profiles_mean_what_they_say() {
        use crate::defaults::{compat_profile, default_profile, strict_profile};
        for profile in [default_profile(), strict_profile(), compat_profile()] {
            agrees(&profile);
        }
    }

    fn rule() -> impl Strategy<Value = ProfileRule> {
        let mut names: Vec<&'static str> = Arch::ALL.iter().flat_map(|a| syscalls(*a)).map(|(_, name)| *name).collect();
        names.extend(["no_such_call", "set_tls", "socket", "clone"]);
        let action = prop_oneof![
            4 => Just(Action::Allow), 2 => Just(Action::EPERM), 1 => Just(Action::Notify),
            2 => (0_u16..40).prop_map(Action::Errno),
        ];
        let op = prop_oneof![Just(Op::Eq), Just(Op::MaskedEq), Just(Op::Gt)];
        let arg = (0_u8..6, op, 0_u64..4).prop_map(|(index, op, value)| Arg { index, op, value, value_two: value });
        let args = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(arg, 1..4)];
        let few = prop::sample::select(names);
        // Many names are the same, so that rules meet.
        let name = prop_oneof![3 => few, 1 => prop::sample::select(vec!["read", "socket", "set_tls", "breakpoint"])];
        let filter = prop_oneof![4 => Just(vec![]), 1 => Just(vec!["CAP_SYS_ADMIN".to_owned()])];
        (prop::collection::vec(name, 1..20), action, args, filter).prop_map(|(names, action, args, caps)| ProfileRule {
            names: names.into_iter().map(Into::into).collect(),
            action,
            args,
            includes: RuleFilter { caps, ..RuleFilter::default() },
            excludes: RuleFilter::default(),
            comment: String::new(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
        #[test]
        fn any_profile_means_what_it_says(rules in prop::collection::vec(rule(), 0..30)) {
            let listed = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"].map(str::to_owned).to_vec();
            let mut profile = Profile::from_rules(Action::EPERM, Architectures::Listed(listed), rules);
            profile.flags.push(FilterFlag::Log);
            agrees(&profile);
        }
    }
}
