//! From a filter to a classic BPF program.
//!
//! The kernel runs a filter once per call number when it is loaded, to learn which numbers are
//! always allowed, and later for every call that is not. Path length is therefore what counts:
//! numbers with one verdict are merged into ranges, the ranges form a balanced search tree, and
//! checks of arguments hang below its leaves.

mod asm;
mod block;
mod tree;

use crate::action::Action;
use crate::arch::{Arch, X32_BIT};
use crate::filter::{ArchFilter, Filter};
use crate::program::{CheckError, JEQ, MAX_INSNS, Program};
use asm::Asm;
use block::{Bodies, BodyId};
use thiserror::Error;
use tree::Segment;

/// Offset of the call number in the call data.
const NR: u32 = 0;
/// Offset of the ABI in the call data.
const ARCH: u32 = 4;

/// Why a filter has no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompileError {
    /// The kernel would refuse the length.
    #[error("the filter needs more than {MAX_INSNS} instructions, the most the kernel takes")]
    TooLong,
    /// A condition on an argument that does not exist.
    #[error("a condition is about argument {0}; system calls have arguments 0 to 5")]
    Argument(u8),
    /// The compiler wrote something wrong, which is a bug in it.
    #[error("the compiled filter is not valid")]
    Invalid(#[from] CheckError),
}

/// Compiles a filter.
///
/// # Errors
/// When the program would be longer than the kernel takes.
pub fn compile(filter: &Filter) -> Result<Program, CompileError> {
    let mut asm = Asm::default();
    let mut bodies = Bodies::default();
    // The program is written from its end to its start, so the machine tested first comes last.
    let mut next = asm.ret(Action::KillProcess)?;
    for audit in audit_codes(filter).into_iter().rev() {
        let segments = segments(filter, audit, &mut bodies);
        let tree = tree::emit(&mut asm, &mut bodies, &segments)?;
        let load = asm.load(NR, tree)?;
        next = asm.jump(JEQ, audit, load, next)?;
    }
    asm.load(ARCH, next)?;
    Ok(Program::from_insns(asm.finish())?)
}

fn audit_codes(filter: &Filter) -> Vec<u32> {
    let mut codes = Vec::new();
    for part in filter.arches() {
        if !codes.contains(&part.arch().audit()) {
            codes.push(part.arch().audit());
        }
    }
    codes
}

/// The verdicts of one machine as ranges over all numbers. x86-64 and x32 share a machine and
/// are told apart by a bit of the number, so both are part of one range list.
fn segments(filter: &Filter, audit: u32, bodies: &mut Bodies) -> Vec<Segment> {
    let part = |x32: bool| {
        let mut parts = filter.arches().iter();
        parts.find(|part| part.arch().audit() == audit && (part.arch() == Arch::X32) == x32)
    };
    let mut ranges = Ranges::default();
    ranges.add_part(filter, part(false), 0, bodies);
    if audit == Arch::X32.audit() {
        match part(true) {
            Some(x32) => ranges.add_part(filter, Some(x32), X32_BIT, bodies),
            None => ranges.push(X32_BIT, bodies.plain(Action::ENOSYS)),
        }
    }
    ranges.segments
}

#[derive(Default)]
struct Ranges {
    segments: Vec<Segment>,
}

impl Ranges {
    /// From `start` on, `body` decides.
    fn push(&mut self, start: u32, body: BodyId) {
        // An empty range is overwritten.
        if self.segments.last().is_some_and(|last| last.start == start) {
            self.segments.pop();
        }
        if self.segments.last().is_none_or(|last| last.body != body) {
            self.segments.push(Segment { start, body });
        }
    }

    fn add_part(&mut self, filter: &Filter, part: Option<&ArchFilter>, start: u32, bodies: &mut Bodies) {
        let Some(part) = part else {
            // Only the x32 half of the machine is listed.
            self.push(start, bodies.plain(Action::KillProcess));
            return;
        };
        let default = bodies.plain(filter.default_action());
        let above = bodies.plain(Action::ENOSYS);
        let highest = part.unknown_above().unwrap_or(u32::MAX);
        let gap = |number: u32| if number > highest { above } else { default };
        let end = if start == 0 && part.arch() == Arch::X86_64 { X32_BIT } else { u32::MAX };
        self.push(start, gap(start));
        let mut next = start;
        for call in part.calls() {
            if call.number < start || (call.number >= end && end != u32::MAX) {
                continue;
            }
            self.fill(next, call.number, highest, gap);
            self.push(call.number, bodies.call(&call.rules, filter.default_action()));
            let Some(after) = call.number.checked_add(1) else {
                return;
            };
            next = after;
            self.push(next, gap(next));
        }
        self.fill(next, end, highest, gap);
    }

    /// Numbers from `from` up to `to` have no rules; the highest known number may lie among them.
    fn fill(&mut self, from: u32, to: u32, highest: u32, gap: impl Fn(u32) -> BodyId) {
        if let Some(above) = highest.checked_add(1).filter(|at| from < *at && *at <= to) {
            self.push(above, gap(above));
        }
    }
}
