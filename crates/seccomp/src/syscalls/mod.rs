//! System call numbers by ABI.

mod aarch64;
mod arm;
mod x32;
mod x86;
mod x86_64;

use crate::arch::{Arch, X32_BIT};
use crate::index::{Hash, Index, is_space, word_end};
use std::sync::LazyLock;

/// More than twice as many slots as any table has names.
type Names = Index<1024>;

struct Table {
    text: &'static str,
    /// Apart from the rest, which has addresses: what has none is not written to when the program begins.
    by_name: &'static Names,
    bit: u32,
}

macro_rules! table {
    ($text:expr, $bit:expr) => {{
        static BY_NAME: Names = index($text.as_bytes(), $bit);
        Table { text: $text, by_name: &BY_NAME, bit: $bit }
    }};
}

impl Table {
    fn number(&self, name: &str, hash: Hash) -> Option<u32> {
        self.by_name.get(self.text, name, hash).map(|(_, number)| number)
    }

    /// Sorted by number; one number may have two names (32-bit Arm).
    fn by_number(&self) -> Vec<(u32, &'static str)> {
        let mut next = 0_u32;
        let mut by_number = Vec::new();
        for word in self.text.split_ascii_whitespace() {
            if let Ok(number) = word.parse::<u32>() {
                next = number;
            } else {
                by_number.push((next | self.bit, word));
                next = next.saturating_add(1);
            }
        }
        by_number
    }
}

/// A number sets the counter, a word names the call at the counter and steps it.
#[allow(clippy::as_conversions, reason = "a digit becomes wider, which constants have no other way for")]
const fn index(text: &[u8], bit: u32) -> Names {
    let mut names = Names::new();
    let (mut at, mut next) = (0, 0_u32);
    while at < text.len() {
        if is_space(text[at]) {
            at += 1;
            continue;
        }
        let end = word_end(text, at);
        if text[at].is_ascii_digit() {
            next = 0;
            while at < end {
                next = next * 10 + (text[at] - b'0') as u32;
                at += 1;
            }
        } else {
            names.insert(text, at, end, next | bit);
            next += 1;
        }
        at = end;
    }
    names
}

static X86_64: Table = table!(x86_64::TABLE, 0);
static X86: Table = table!(x86::TABLE, 0);
static X32: Table = table!(x32::TABLE, X32_BIT);
static AARCH64: Table = table!(aarch64::TABLE, 0);
static ARM: Table = table!(arm::TABLE, 0);

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
    table(arch).number(name, Hash::of(name))
}

/// As [`syscall_number`], of a name that is looked for in several tables.
pub(crate) fn number_of(arch: Arch, name: &str, hash: Hash) -> Option<u32> {
    table(arch).number(name, hash)
}

/// The name of a call; the first one where a number has two.
#[must_use]
pub fn syscall_name(arch: Arch, number: u32) -> Option<&'static str> {
    let calls = syscalls(arch);
    let at = calls.partition_point(|(nr, _)| *nr < number);
    calls.get(at).filter(|(nr, _)| *nr == number).map(|(_, name)| *name)
}

/// Every call of an ABI, sorted by number.
#[must_use]
pub fn syscalls(arch: Arch) -> &'static [(u32, &'static str)] {
    static BY_NUMBER: LazyLock<[Vec<(u32, &'static str)>; 5]> =
        LazyLock::new(|| Arch::ALL.map(|arch| table(arch).by_number()));
    let at = Arch::ALL.iter().position(|known| *known == arch);
    at.and_then(|at| BY_NUMBER.get(at)).map(Vec::as_slice).unwrap_or_default()
}

/// Whether any ABI has a call of this name.
pub(crate) fn is_known_anywhere(name: &str) -> bool {
    known(name).is_some()
}

/// The name of a call of any ABI, as its table has it.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    let hash = Hash::of(name);
    let find = |arch: Arch| table(arch).by_name.get(table(arch).text, name, hash);
    Arch::ALL.into_iter().find_map(find).map(|(name, _)| name)
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
            // A name that is there twice has two numbers, of which one is found.
            assert!(calls.iter().all(|(number, name)| syscall_number(arch, name) == Some(*number)), "{arch}");
        }
    }
}
