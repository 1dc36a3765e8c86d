//! The device filter of cgroup v2, as eBPF: version 2 has no `devices` files.

use bulkhead_sys::bpf::Instruction;

use super::DeviceRule;

/// Character devices of the minimal `/dev`, and pseudo-terminals; `None` is any minor number.
const ALLOWED: [(i32, Option<i32>); 8] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

/// `BPF_DEVCG_DEV_BLOCK` of `linux/bpf.h`.
pub(super) const BLOCK: i32 = 1;
/// `BPF_DEVCG_DEV_CHAR`.
pub(super) const CHAR: i32 = 2;
/// `BPF_DEVCG_ACC_READ`.
const READ: i32 = 2;
/// `BPF_DEVCG_ACC_WRITE`.
const WRITE: i32 = 4;

const LOAD_WORD: u8 = 0x61;
pub(super) const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
pub(super) const JUMP_NOT_EQUAL: u8 = 0x55;
pub(super) const JUMP_EQUAL: u8 = 0x15;
pub(super) const MOVE: u8 = 0xb7;
pub(super) const MOVE_REGISTER: u8 = 0xbf;
pub(super) const EXIT: u8 = 0x95;

pub(super) const fn insn(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// r2 = kind, r5 = what is wanted, r3 = major, r4 = minor.
pub(super) fn prologue() -> Vec<Instruction> {
    vec![
        insn(LOAD_WORD, 0x12, 0, 0),
        insn(MOVE_REGISTER, 0x25, 0, 0),
        insn(SHIFT_RIGHT, 0x05, 0, 16),
        insn(AND, 0x02, 0, 0xffff),
        insn(LOAD_WORD, 0x13, 4, 0),
        insn(LOAD_WORD, 0x14, 8, 0),
    ]
}

/// Allows a character device of the list and what was granted, refuses everything else.
///
/// The context is `struct bpf_cgroup_dev_ctx`: access type (kind in the low half), major, minor, 32 bits each.
pub(crate) fn device_program(granted: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = prologue();
    // Not a character device: over all usual ones.
    program.push(insn(JUMP_NOT_EQUAL, 0x02, rules_length(), CHAR));
    for (major, minor) in ALLOWED {
        match minor {
            Some(minor) => program.extend([
                insn(JUMP_NOT_EQUAL, 0x03, 3, major),
                insn(JUMP_NOT_EQUAL, 0x04, 2, minor),
                insn(MOVE, 0x00, 0, 1),
                insn(EXIT, 0, 0, 0),
            ]),
            None => program.extend([insn(JUMP_NOT_EQUAL, 0x03, 2, major), insn(MOVE, 0x00, 0, 1), insn(EXIT, 0, 0, 0)]),
        }
    }
    for rule in granted {
        // Numbers of devices have 12 and 20 bits, so the comparison with a signed operand is exact.
        let number = |n: u32| i32::try_from(n).unwrap_or(-1);
        let allowed = (i32::from(rule.read) * READ) | (i32::from(rule.write) * WRITE);
        program.extend([
            insn(JUMP_NOT_EQUAL, 0x02, 7, if rule.block { BLOCK } else { CHAR }),
            insn(JUMP_NOT_EQUAL, 0x03, 6, number(rule.major)),
            insn(JUMP_NOT_EQUAL, 0x04, 5, number(rule.minor)),
            // Anything that is wanted beside what is allowed?
            insn(MOVE_REGISTER, 0x50, 0, 0),
            insn(AND, 0x00, 0, !allowed),
            insn(JUMP_NOT_EQUAL, 0x00, 2, 0),
            // Not reached but on the right device with the right wish.
            insn(MOVE, 0x00, 0, 1),
            insn(EXIT, 0, 0, 0),
        ]);
    }
    program.extend([insn(MOVE, 0x00, 0, 0), insn(EXIT, 0, 0, 0)]);
    program
}

fn rules_length() -> i16 {
    ALLOWED.iter().map(|(_, minor)| if minor.is_some() { 4 } else { 3 }).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[allow(clippy::as_conversions, reason = "registers are cut and extended as the machine does it")]
    /// Runs a program as the kernel would, for the instructions that it is made of.
    pub(in crate::cgroup) fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [(access << 16) | kind, major, minor];
        let mut registers = [0_u64; 11];
        let mut at = 0_usize;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let immediate = i64::from(i.immediate) as u64;
            at += 1;
            match i.code {
                LOAD_WORD => {
                    assert_eq!(from, 1);
                    registers[to] = u64::from(context[usize::try_from(i.offset / 4).unwrap()]);
                }
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = immediate,
                // 32 bits wide, as the constants say.
                SHIFT_RIGHT => registers[to] = u64::from((registers[to] as u32) >> i.immediate),
                AND => registers[to] = u64::from(registers[to] as u32 & i.immediate as u32),
                JUMP_NOT_EQUAL if registers[to] != immediate => at = at.checked_add_signed(i.offset.into()).unwrap(),
                JUMP_EQUAL if registers[to] == immediate => at = at.checked_add_signed(i.offset.into()).unwrap(),
                JUMP_NOT_EQUAL | JUMP_EQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const READ_WRITE: u32 = 6;

    #[test]
    fn only_what_is_listed_or_granted_is_allowed() {
        let plain = device_program(&[]);
        let fuse = DeviceRule { block: false, major: 10, minor: 229, read: true, write: true };
        let disk = DeviceRule { block: true, major: 7, minor: 3, read: true, write: false };
        let granted = device_program(&[fuse, disk]);
        for program in [&plain, &granted] {
            for (major, minor) in [(1, 3), (1, 9), (5, 2), (136, 77)] {
                assert!(run(program, 2, READ_WRITE, major, minor));
                assert!(!run(program, 1, READ_WRITE, major, minor), "a block device of the same number");
            }
            assert!(!run(program, 2, READ_WRITE, 1, 1) && !run(program, 2, 2, 10, 228));
        }
        assert!(!run(&plain, 2, 2, 10, 229) && run(&granted, 2, READ_WRITE, 10, 229));
        assert!(!run(&granted, 2, 1, 10, 229), "no node of it can be made");
        assert!(!run(&granted, 1, 2, 10, 229), "a block device of the same number");
        assert!(run(&granted, 1, 2, 7, 3) && !run(&granted, 1, READ_WRITE, 7, 3) && !run(&granted, 1, 2, 7, 4));
    }

    #[test]
    fn rules_are_written_as_the_kernel_lists_them() {
        let rule = DeviceRule { block: true, major: 8, minor: 1, read: true, write: false };
        assert_eq!(rule.to_string(), "b 8:1 r");
        assert_eq!(DeviceRule { block: false, write: true, ..rule }.to_string(), "c 8:1 rw");
    }
}
