//! Classic BPF programs and the rules the kernel holds them to.

use crate::action::Action;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest program the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;

/// Size of `struct seccomp_data`.
const DATA_SIZE: u32 = 64;

/// `BPF_LD | BPF_W | BPF_ABS`: load a 32-bit word of the call data.
pub(crate) const LD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
pub(crate) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
pub(crate) const JA: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
pub(crate) const JEQ: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
pub(crate) const JGT: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
pub(crate) const JGE: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`.
pub(crate) const JSET: u16 = 0x45;
/// `BPF_RET | BPF_K`.
pub(crate) const RET: u16 = 0x06;

/// One instruction, laid out like `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u16, u8, u8, u32)", into = "(u16, u8, u8, u32)")]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Constant operand.
    pub k: u32,
}

impl From<(u16, u8, u8, u32)> for Insn {
    fn from((code, jt, jf, k): (u16, u8, u8, u32)) -> Self {
        Self { code, jt, jf, k }
    }
}

impl From<Insn> for (u16, u8, u8, u32) {
    fn from(insn: Insn) -> Self {
        (insn.code, insn.jt, insn.jf, insn.k)
    }
}

/// Why a program is not one this crate would write or the kernel would load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CheckError {
    /// No instruction at all, or more than [`MAX_INSNS`].
    #[error("a filter has 1 to {MAX_INSNS} instructions, this one has {0}")]
    Length(usize),
    /// Not an operation that filters of this crate use.
    #[error("instruction {at}: operation {code:#x} is not used by filters")]
    Operation {
        /// Index of the instruction.
        at: usize,
        /// Its operation.
        code: u16,
    },
    /// A load outside the call data or not on a word boundary.
    #[error("instruction {at}: load at offset {offset} is not an aligned word of the call data")]
    Load {
        /// Index of the instruction.
        at: usize,
        /// Its offset.
        offset: u32,
    },
    /// A jump behind the end.
    #[error("instruction {at}: jump leaves the program")]
    Jump {
        /// Index of the instruction.
        at: usize,
    },
    /// A return value without a meaning here.
    #[error("instruction {at}: return value {value:#x} is not a known action")]
    Return {
        /// Index of the instruction.
        at: usize,
        /// Its value.
        value: u32,
    },
    /// The program runs off its end.
    #[error("the last instruction is not a return")]
    NoReturn,
}

/// A checked filter program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Insn>", into = "Vec<Insn>")]
pub struct Program {
    insns: Vec<Insn>,
}

impl Program {
    /// Takes instructions, for example from a cache, after the checks the kernel makes.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn from_insns(insns: Vec<Insn>) -> Result<Self, CheckError> {
        check(&insns)?;
        Ok(Self { insns })
    }

    /// The instructions.
    #[must_use]
    pub fn insns(&self) -> &[Insn] {
        &self.insns
    }

    /// The program as an array of `struct sock_filter` in the byte order of this machine.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.insns.len().saturating_mul(8));
        for insn in &self.insns {
            bytes.extend_from_slice(&insn.code.to_ne_bytes());
            bytes.extend_from_slice(&[insn.jt, insn.jf]);
            bytes.extend_from_slice(&insn.k.to_ne_bytes());
        }
        bytes
    }
}

impl TryFrom<Vec<Insn>> for Program {
    type Error = CheckError;

    fn try_from(insns: Vec<Insn>) -> Result<Self, Self::Error> {
        Self::from_insns(insns)
    }
}

impl From<Program> for Vec<Insn> {
    fn from(program: Program) -> Self {
        program.insns
    }
}

fn check(insns: &[Insn]) -> Result<(), CheckError> {
    if insns.is_empty() || insns.len() > MAX_INSNS {
        return Err(CheckError::Length(insns.len()));
    }
    for (at, insn) in insns.iter().enumerate() {
        // Jumps are counted from the next instruction.
        let left = insns.len() - at - 1;
        let leaves = |offset: usize| offset >= left;
        match insn.code {
            LD if insn.k % 4 != 0 || insn.k >= DATA_SIZE => {
                return Err(CheckError::Load { at, offset: insn.k });
            }
            LD | AND => {}
            JA if usize::try_from(insn.k).map_or(true, leaves) => {
                return Err(CheckError::Jump { at });
            }
            JA => {}
            JEQ | JGT | JGE | JSET => {
                if leaves(usize::from(insn.jt)) || leaves(usize::from(insn.jf)) {
                    return Err(CheckError::Jump { at });
                }
            }
            RET if Action::from_return(insn.k).is_none() => {
                return Err(CheckError::Return { at, value: insn.k });
            }
            RET => {}
            code => return Err(CheckError::Operation { at, code }),
        }
    }
    match insns.last() {
        Some(last) if last.code == RET => Ok(()),
        _ => Err(CheckError::NoReturn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    const ALLOW: u32 = 0x7fff_0000;

    #[test]
    fn refuses_what_the_kernel_refuses() {
        let end = insn(RET, 0, 0, ALLOW);
        let check = |insns: Vec<Insn>| Program::from_insns(insns).map(|_| ());
        assert_eq!(check(vec![end]), Ok(()));
        assert_eq!(check(vec![]), Err(CheckError::Length(0)));
        assert_eq!(check(vec![end; 4097]), Err(CheckError::Length(4097)));
        assert_eq!(check(vec![insn(LD, 0, 0, 2), end]), Err(CheckError::Load { at: 0, offset: 2 }));
        assert_eq!(check(vec![insn(LD, 0, 0, 64), end]), Err(CheckError::Load { at: 0, offset: 64 }));
        assert_eq!(check(vec![insn(JEQ, 1, 0, 0), end]), Err(CheckError::Jump { at: 0 }));
        assert_eq!(check(vec![insn(JA, 0, 0, u32::MAX), end]), Err(CheckError::Jump { at: 0 }));
        assert_eq!(check(vec![insn(0x61, 0, 0, 0), end]), Err(CheckError::Operation { at: 0, code: 0x61 }));
        assert_eq!(check(vec![insn(RET, 0, 0, 1 << 24)]), Err(CheckError::Return { at: 0, value: 1 << 24 }));
        assert_eq!(check(vec![insn(LD, 0, 0, 0)]), Err(CheckError::NoReturn));
    }

    #[test]
    fn bytes_and_json_are_compact() -> Result<(), Box<dyn std::error::Error>> {
        let program = Program::from_insns(vec![insn(JEQ, 0, 1, 7), insn(RET, 0, 0, 0), insn(RET, 0, 0, ALLOW)])?;
        assert_eq!(program.to_bytes().len(), 24);
        let json = serde_json::to_string(&program)?;
        assert_eq!(json, "[[21,0,1,7],[6,0,0,0],[6,0,0,2147418112]]");
        assert_eq!(serde_json::from_str::<Program>(&json)?, program);
        assert!(serde_json::from_str::<Program>("[[21,9,1,7],[6,0,0,0]]").is_err());
        Ok(())
    }
}
