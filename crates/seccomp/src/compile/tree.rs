//! The search tree over call numbers.

use super::CompileError;
use super::asm::{Asm, Label};
use super::block::{Bodies, BodyId};
use crate::program::{JEQ, JGE};

/// A range of numbers with one verdict; it ends where the next one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) start: u32,
    pub(super) body: BodyId,
}

/// Most single numbers tested one after the other in a leaf.
const MAX_SINGLES: usize = 2;

/// A leaf: neighbouring segments of which all but single numbers share one verdict. A single
/// number costs one test for equality, where as a range of its own it would cost two.
#[derive(Debug, Clone)]
struct Leaf {
    start: u32,
    base: BodyId,
    singles: Vec<Segment>,
}

/// Writes the tree; the accumulator must hold the number.
pub(super) fn emit(asm: &mut Asm, bodies: &mut Bodies, segments: &[Segment]) -> Result<Label, CompileError> {
    emit_range(asm, bodies, &leaves(segments))
}

fn emit_range(asm: &mut Asm, bodies: &mut Bodies, leaves: &[Leaf]) -> Result<Label, CompileError> {
    let (left, right) = leaves.split_at(leaves.len() / 2);
    match (left, right) {
        ([], [leaf]) => emit_leaf(asm, bodies, leaf),
        (_, [first, ..]) => {
            let start = first.start;
            let high = emit_range(asm, bodies, right)?;
            let low = emit_range(asm, bodies, left)?;
            asm.jump(JGE, start, high, low)
        }
        // No segment at all; the callers always have one for number 0.
        (_, []) => asm.ret(crate::action::Action::KillProcess),
    }
}

fn emit_leaf(asm: &mut Asm, bodies: &mut Bodies, leaf: &Leaf) -> Result<Label, CompileError> {
    let mut label = bodies.emit(asm, leaf.base)?;
    for single in leaf.singles.iter().rev() {
        let body = bodies.emit(asm, single.body)?;
        label = asm.jump(JEQ, single.start, body, label)?;
    }
    Ok(label)
}

/// Cuts the segments into the leaves that need the fewest instructions, by dynamic programming
/// from the right. A leaf costs its single numbers, a border between leaves costs one.
fn leaves(segments: &[Segment]) -> Vec<Leaf> {
    let mut best: Vec<(usize, usize, BodyId)> = Vec::with_capacity(segments.len());
    // `best` is filled from the last segment to the first: cost, length of the leaf, its base.
    for at in (0..segments.len()).rev() {
        let rest = segments.get(at..).unwrap_or_default();
        let mut choice: Option<(usize, usize, BodyId)> = None;
        for base in rest.iter().take(2).map(|segment| segment.body) {
            let mut singles = 0;
            for (index, segment) in rest.iter().enumerate() {
                if segment.body != base {
                    let next = rest.get(index + 1).map(|next| next.start);
                    singles += 1;
                    if next != segment.start.checked_add(1) || singles > MAX_SINGLES {
                        break;
                    }
                }
                let after = at + index + 1;
                let tail = match segments.len() - after {
                    0 => 0,
                    left => best.get(left - 1).map_or(0, |(cost, ..)| cost + 1),
                };
                let cost = singles + tail;
                if choice.is_none_or(|(known, ..)| cost < known) {
                    choice = Some((cost, index + 1, base));
                }
            }
        }
        best.extend(choice);
    }
    let mut leaves = Vec::new();
    let mut rest = segments;
    while let Some((first, (_, length, base))) = rest.first().zip(best.get(rest.len().wrapping_sub(1))) {
        let (leaf, tail) = rest.split_at((*length).min(rest.len()));
        leaves.push(Leaf {
            start: first.start,
            base: *base,
            singles: leaf.iter().filter(|segment| segment.body != *base).copied().collect(),
        });
        rest = tail;
    }
    leaves
}
