//! The device filter of cgroup v2, as eBPF: version 2 has no `devices` files.

use bulkhead_sys::bpf::Instruction;

/// Character devices of the minimal `/dev`, and pseudo-terminals; `None` is any minor number.
const ALLOWED: [(i32, Option<i32>); 8] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

/// `BPF_DEVCG_DEV_CHAR` of `linux/bpf.h`.
const CHAR: i32 = 2;

const fn insn(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// Allows a character device of the list, refuses everything else.
///
/// The context is `struct bpf_cgroup_dev_ctx`: access type (kind in the low half), major, minor, 32 bits each.
pub(crate) fn device_program() -> Vec<Instruction> {
    const LOAD_WORD: u8 = 0x61;
    const AND: u8 = 0x54;
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const MOVE: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    let mut program = vec![
        // r2 = kind, r3 = major, r4 = minor
        insn(LOAD_WORD, 0x12, 0, 0),
        insn(AND, 0x02, 0, 0xffff),
        insn(LOAD_WORD, 0x13, 4, 0),
        insn(LOAD_WORD, 0x14, 8, 0),
        // Not a character device: over all rules, to the refusal.
        insn(JUMP_NOT_EQUAL, 0x02, rules_length(), CHAR),
    ];
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
    program.extend([insn(MOVE, 0x00, 0, 0), insn(EXIT, 0, 0, 0)]);
    program
}

fn rules_length() -> i16 {
    ALLOWED.iter().map(|(_, minor)| if minor.is_some() { 4 } else { 3 }).sum()
}
