//! System call numbers by ABI.

mod aarch64;
mod arm;
mod x32;
mod x86;
mod x86_64;

use crate::arch::{Arch, X32_BIT};
use std::collections::HashMap;
use std::sync::LazyLock;

struct Table {
    by_name: HashMap<&'static str, u32>,
    /// Sorted by number; one number may have two names (32-bit Arm).
    by_number: Vec<(u32, &'static str)>,
}

impl Table {
    fn parse(text: &'static str, bit: u32) -> Self {
        let mut next = 0_u32;
        let mut by_number = Vec::new();
        for word in text.split_ascii_whitespace() {
            if let Ok(number) = word.parse::<u32>() {
                next = number;
            } else {
                by_number.push((next | bit, word));
                next = next.saturating_add(1);
            }
        }
        let by_name = by_number.iter().map(|(nr, name)| (*name, *nr)).collect();
        Self { by_name, by_number }
    }
}

static X86_64: LazyLock<Table> = LazyLock::new(|| Table::parse(x86_64::TABLE, 0));
static X86: LazyLock<Table> = LazyLock::new(|| Table::parse(x86::TABLE, 0));
static X32: LazyLock<Table> = LazyLock::new(|| Table::parse(x32::TABLE, X32_BIT));
static AARCH64: LazyLock<Table> = LazyLock::new(|| Table::parse(aarch64::TABLE, 0));
static ARM: LazyLock<Table> = LazyLock::new(|| Table::parse(arm::TABLE, 0));

fn table(arch: Arch) -> &'static Table {
    match arch {
        Arch::X86_64 => &X86_64,
        Arch::X86 => &X86,
        Arch::X32 => &X32,
        Arch::Aarch64 => &AARCH64,
        Arch::Arm => &ARM,
    }
}

/// The number of a call, with [`X32_BIT`] set for x32.
#[must_use]
pub fn syscall_number(arch: Arch, name: &str) -> Option<u32> {
    table(arch).by_name.get(name).copied()
}

/// The name of a call; the first one where a number has two.
#[must_use]
pub fn syscall_name(arch: Arch, number: u32) -> Option<&'static str> {
    let calls = &table(arch).by_number;
    let at = calls.partition_point(|(nr, _)| *nr < number);
    calls.get(at).filter(|(nr, _)| *nr == number).map(|(_, name)| *name)
}

/// Every call of an ABI, sorted by number.
#[must_use]
pub fn syscalls(arch: Arch) -> &'static [(u32, &'static str)] {
    &table(arch).by_number
}

/// Whether any ABI has a call of this name.
pub(crate) fn is_known_anywhere(name: &str) -> bool {
    Arch::ALL.iter().any(|arch| syscall_number(*arch, name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_numbers() {
        let expect = |arch, name, number| assert_eq!(syscall_number(arch, name), Some(number), "{arch} {name}");
        expect(Arch::X86_64, "read", 0);
        expect(Arch::X86_64, "rseq", 334);
        expect(Arch::X86_64, "io_uring_setup", 425);
        expect(Arch::X86_64, "file_setattr", 469);
        expect(Arch::X86, "socketcall", 102);
        expect(Arch::X86, "socket", 359);
        expect(Arch::X32, "read", X32_BIT);
        expect(Arch::X32, "rt_sigaction", X32_BIT | 512);
        expect(Arch::Aarch64, "read", 63);
        expect(Arch::Aarch64, "clone3", 435);
        expect(Arch::Arm, "set_tls", 0x000f_0005);
        assert_eq!(syscall_number(Arch::Aarch64, "open"), None);
    }

    #[test]
    fn tables_are_sorted_and_names_unique() {
        for arch in Arch::ALL {
            let calls = syscalls(arch);
            assert!(calls.windows(2).all(|w| w[0].0 <= w[1].0), "{arch}");
            assert_eq!(table(arch).by_name.len(), calls.len(), "{arch}");
        }
    }
}
