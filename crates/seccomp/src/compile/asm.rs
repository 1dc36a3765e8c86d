//! An assembler that writes backwards.
//!
//! BPF jumps only forward, so a program written from its last instruction to its first always
//! knows where its targets are. A conditional jump reaches 255 instructions; where a target is
//! further away, a copy of it (for a return) or a long jump to it is written on the way.

use super::CompileError;
use crate::action::Action;
use crate::program::{AND, Insn, JA, LD, MAX_INSNS, RET};
use std::collections::BTreeMap;

/// A place in the program that can be jumped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label(usize);

#[derive(Default)]
pub(super) struct Asm {
    /// Last instruction first.
    code: Vec<Insn>,
    /// Where each label was written last; copies and long jumps move it nearer.
    places: Vec<usize>,
    returns: Vec<(Action, Label)>,
    /// Loads and masks by instruction and target, so that each is written once.
    prefixes: BTreeMap<(u16, u32, Label), Label>,
}

type Result<T> = std::result::Result<T, CompileError>;

impl Asm {
    /// The program in order.
    pub(super) fn finish(mut self) -> Vec<Insn> {
        self.code.reverse();
        self.code
    }

    /// A return, written at most once unless it gets out of reach.
    pub(super) fn ret(&mut self, action: Action) -> Result<Label> {
        if let Some((_, label)) = self.returns.iter().find(|(known, _)| *known == action) {
            return Ok(*label);
        }
        self.push(RET, 0, 0, action.to_return())?;
        let label = self.label();
        self.returns.push((action, label));
        Ok(label)
    }

    /// A comparison of the accumulator with `k`.
    pub(super) fn jump(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Result<Label> {
        if yes == no {
            return Ok(yes);
        }
        // Bringing one target nearer may push the other out of reach, but not the first again.
        let (jt, jf) = loop {
            match (self.short(yes), self.short(no)) {
                (Some(jt), Some(jf)) => break (jt, jf),
                (None, _) => self.bring_near(yes)?,
                (_, None) => self.bring_near(no)?,
            }
        };
        self.push(code, jt, jf, k)?;
        Ok(self.label())
    }

    /// Loads a word of the call data and goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Result<Label> {
        self.prefix(LD, offset, next)
    }

    /// Masks the accumulator and goes on at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Result<Label> {
        self.prefix(AND, mask, next)
    }

    fn prefix(&mut self, code: u16, k: u32, next: Label) -> Result<Label> {
        if let Some(label) = self.prefixes.get(&(code, k, next)) {
            return Ok(*label);
        }
        if self.distance(next) != 0 {
            self.bring_near(next)?;
        }
        self.push(code, 0, 0, k)?;
        let label = self.label();
        self.prefixes.insert((code, k, next), label);
        Ok(label)
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Result<()> {
        if self.code.len() >= MAX_INSNS {
            return Err(CompileError::TooLong);
        }
        self.code.push(Insn { code, jt, jf, k });
        Ok(())
    }

    /// A label for the instruction written last.
    fn label(&mut self) -> Label {
        self.places.push(self.code.len().saturating_sub(1));
        Label(self.places.len() - 1)
    }

    /// Instructions between the next one to be written and the label.
    fn distance(&self, label: Label) -> usize {
        let place = self.places.get(label.0).copied().unwrap_or_default();
        self.code.len().saturating_sub(place).saturating_sub(1)
    }

    fn short(&self, label: Label) -> Option<u8> {
        u8::try_from(self.distance(label)).ok()
    }

    fn bring_near(&mut self, label: Label) -> Result<()> {
        let distance = self.distance(label);
        let target = self.places.get(label.0).and_then(|place| self.code.get(*place));
        match target.copied() {
            Some(insn) if insn.code == RET => self.push(RET, 0, 0, insn.k)?,
            _ => {
                let k = u32::try_from(distance).map_err(|_| CompileError::TooLong)?;
                self.push(JA, 0, 0, k)?;
            }
        }
        let here = self.code.len().saturating_sub(1);
        if let Some(place) = self.places.get_mut(label.0) {
            *place = here;
        }
        Ok(())
    }
}
