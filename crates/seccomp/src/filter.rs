//! What holds for one container: numbers, ordered rules, one default.

use crate::action::Action;
use crate::arch::{Arch, X32_BIT};
use std::sync::Arc;

/// How a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Equal.
    Eq,
    /// Greater than or equal.
    Ge,
    /// Greater than.
    Gt,
    /// `argument & value == value_two`.
    MaskedEq,
}

/// How much of the register counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    /// The low 32 bits, extended with zeros.
    W32,
    /// All of it.
    W64,
}

/// One comparison of an argument. All comparisons are unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// Index of the argument, 0 to 5.
    pub arg: u8,
    /// How much of the argument counts.
    pub width: Width,
    /// The comparison.
    pub op: Op,
    /// The value compared with, or the mask of [`Op::MaskedEq`].
    pub value: u64,
    /// The expected result of [`Op::MaskedEq`], unused otherwise.
    pub value_two: u64,
}

impl Condition {
    /// Whether the condition can be decided without looking at the argument.
    #[must_use]
    pub fn constant(&self) -> Option<bool> {
        let top = match self.width {
            Width::W32 => u64::from(u32::MAX),
            Width::W64 => u64::MAX,
        };
        let outside = self.value > top;
        match self.op {
            Op::Eq => outside.then_some(false),
            Op::Ne => outside.then_some(true),
            Op::Lt if self.value == 0 => Some(false),
            Op::Lt => outside.then_some(true),
            Op::Le => (self.value >= top).then_some(true),
            Op::Ge if self.value == 0 => Some(true),
            Op::Ge => outside.then_some(false),
            Op::Gt => (self.value >= top).then_some(false),
            Op::MaskedEq => {
                let mask = self.value & top;
                if self.value_two & !mask != 0 { Some(false) } else { (mask == 0).then_some(true) }
            }
        }
    }
}

/// An action taken when all conditions hold; none means always.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// What to do.
    pub action: Action,
    /// What must hold, all of it.
    pub conditions: Vec<Condition>,
}

/// The rules of one call. The first one that holds decides; if none does, the default applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRules {
    /// The number as in `seccomp_data.nr`, so with [`X32_BIT`] for x32.
    pub number: u32,
    /// The rules in order; most calls of a profile have the same.
    pub rules: Arc<[Rule]>,
}

/// The rules of one ABI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchFilter {
    arch: Arch,
    calls: Vec<CallRules>,
    unknown_above: Option<u32>,
}

impl ArchFilter {
    /// Sorts the calls by number. Of several entries for one number the first is kept.
    ///
    /// Numbers above `unknown_above` fail with `ENOSYS` instead of taking the default: a call that
    /// is newer than the profile must look absent, or C libraries do not fall back.
    #[must_use]
    pub fn new(arch: Arch, mut calls: Vec<CallRules>, unknown_above: Option<u32>) -> Self {
        calls.sort_by_key(|call| call.number);
        calls.dedup_by_key(|call| call.number);
        Self { arch, calls, unknown_above }
    }

    /// The ABI.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The calls with rules, sorted by number.
    #[must_use]
    pub fn calls(&self) -> &[CallRules] {
        &self.calls
    }

    /// The rules of one call; empty when it has none.
    #[must_use]
    pub fn rules(&self, number: u32) -> &[Rule] {
        match self.calls.binary_search_by_key(&number, |call| call.number) {
            Ok(at) => self.calls.get(at).map_or(&[], |call| &call.rules),
            Err(_) => &[],
        }
    }

    /// The highest number the profile knows; see [`ArchFilter::new`].
    #[must_use]
    pub fn unknown_above(&self) -> Option<u32> {
        self.unknown_above
    }
}

/// A profile made concrete for one machine, capability set and kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    default: Action,
    arches: Vec<ArchFilter>,
}

impl Filter {
    /// A filter from its parts. Of several entries for one ABI the first is kept.
    #[must_use]
    pub fn new(default: Action, arches: Vec<ArchFilter>) -> Self {
        let mut kept: Vec<ArchFilter> = Vec::with_capacity(arches.len());
        for arch in arches {
            if kept.iter().all(|other| other.arch != arch.arch) {
                kept.push(arch);
            }
        }
        Self { default, arches: kept }
    }

    /// What happens to a call without a rule that holds.
    #[must_use]
    pub fn default_action(&self) -> Action {
        self.default
    }

    /// The listed ABIs, the native one first. Calls of any other ABI kill the process, except
    /// that x32 numbers on x86-64 fail with `ENOSYS`.
    #[must_use]
    pub fn arches(&self) -> &[ArchFilter] {
        &self.arches
    }

    /// The part for one ABI.
    #[must_use]
    pub fn arch(&self, arch: Arch) -> Option<&ArchFilter> {
        self.arches.iter().find(|part| part.arch == arch)
    }
}

/// What the kernel shows to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyscallData {
    /// The call number.
    pub nr: u32,
    /// The audit code of the ABI.
    pub arch: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// The argument registers.
    pub args: [u64; 6],
}

impl SyscallData {
    /// A call of this ABI, with [`X32_BIT`] added where it belongs.
    #[must_use]
    pub fn new(arch: Arch, number: u32, args: [u64; 6]) -> Self {
        let nr = match arch {
            Arch::X32 => number | X32_BIT,
            _ => number,
        };
        Self { nr, arch: arch.audit(), instruction_pointer: 0, args }
    }
}
