//! The meaning of a filter, written as plainly as possible.
//!
//! This is the reference the compiler is tested against, so it shares no code with it.

use crate::action::Action;
use crate::arch::{Arch, X32_BIT};
use crate::filter::{Condition, Filter, Op, SyscallData, Width};

/// What a filter says to a call.
#[must_use]
pub fn verdict(filter: &Filter, data: &SyscallData) -> Action {
    let x86_64 = data.arch == Arch::X86_64.audit();
    let x32 = x86_64 && data.nr >= X32_BIT;
    let part =
        filter.arches().iter().find(|part| part.arch().audit() == data.arch && (part.arch() == Arch::X32) == x32);
    let Some(part) = part else {
        let family_listed = filter.arches().iter().any(|part| part.arch().audit() == data.arch);
        return if x32 && family_listed { Action::ENOSYS } else { Action::KillProcess };
    };
    if let Some(call) = part.calls().iter().find(|call| call.number == data.nr) {
        let mut rules = call.rules.iter();
        let first = rules.find(|rule| rule.conditions.iter().all(|condition| holds(condition, data)));
        return first.map_or(filter.default_action(), |rule| rule.action);
    }
    match part.unknown_above() {
        Some(highest) if data.nr > highest => Action::ENOSYS,
        _ => filter.default_action(),
    }
}

fn holds(condition: &Condition, data: &SyscallData) -> bool {
    let Some(register) = data.args.get(usize::from(condition.arg)) else {
        return false;
    };
    let argument = match condition.width {
        Width::W32 => *register & 0xffff_ffff,
        Width::W64 => *register,
    };
    match condition.op {
        Op::Ne => argument != condition.value,
        Op::Lt => argument < condition.value,
        Op::Le => argument <= condition.value,
        Op::Eq => argument == condition.value,
        Op::Ge => argument >= condition.value,
        Op::Gt => argument > condition.value,
        Op::MaskedEq => argument & condition.value == condition.value_two,
    }
}
