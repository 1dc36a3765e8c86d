//! An interpreter for filter programs: what the kernel would answer.

use crate::action::Action;
use crate::filter::SyscallData;
use crate::program::{AND, JA, JEQ, JGE, JGT, JSET, LD, Program, RET};

/// The outcome of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The verdict.
    pub action: Action,
    /// How many instructions were executed.
    pub steps: usize,
    /// Whether only the number and the ABI were read. The kernel answers such calls from a bitmap
    /// without running the filter, provided they are allowed.
    pub constant: bool,
}

/// Runs a program, or returns `None` if it leaves the rails, which [`Program`] rules out.
#[must_use]
pub fn run(program: &Program, data: &SyscallData) -> Option<Run> {
    let words = words(data);
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    let mut steps = 0_usize;
    let mut constant = true;
    while let Some(insn) = program.insns().get(at) {
        steps = steps.checked_add(1)?;
        at = at.checked_add(1)?;
        let holds = match insn.code {
            LD => {
                let word = usize::try_from(insn.k / 4).ok()?;
                accumulator = *words.get(word)?;
                constant &= word < 2;
                continue;
            }
            AND => {
                accumulator &= insn.k;
                continue;
            }
            JA => {
                at = at.checked_add(usize::try_from(insn.k).ok()?)?;
                continue;
            }
            RET => {
                let action = Action::from_return(insn.k)?;
                return Some(Run { action, steps, constant });
            }
            JEQ => accumulator == insn.k,
            JGT => accumulator > insn.k,
            JGE => accumulator >= insn.k,
            JSET => accumulator & insn.k != 0,
            _ => return None,
        };
        let skip = if holds { insn.jt } else { insn.jf };
        at = at.checked_add(usize::from(skip))?;
    }
    None
}

/// `struct seccomp_data` as 32-bit words of a little-endian machine.
fn words(data: &SyscallData) -> [u32; 16] {
    let mut words = [0_u32; 16];
    let halves = std::iter::once(data.instruction_pointer)
        .chain(data.args)
        .flat_map(|register| [low(register), low(register >> 32)]);
    let all = [data.nr, data.arch].into_iter().chain(halves);
    for (word, value) in words.iter_mut().zip(all) {
        *word = value;
    }
    words
}

fn low(register: u64) -> u32 {
    u32::try_from(register & 0xffff_ffff).unwrap_or_default()
}
