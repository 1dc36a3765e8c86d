//! Loading a system call filter (`seccomp(2)`).

use std::os::fd::{FromRawFd, OwnedFd};

use crate::{Result, check};

/// All threads of the process (`SECCOMP_FILTER_FLAG_TSYNC`).
pub const TSYNC: u64 = 1;
/// What the filter does is written to the audit log (`SECCOMP_FILTER_FLAG_LOG`).
pub const LOG: u64 = 2;
/// Mitigations against speculation are given up (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
pub const SPEC_ALLOW: u64 = 4;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the filter asks whoever holds the descriptor.
pub const NEW_LISTENER: u64 = 8;
/// A call that a listener has taken is interrupted by fatal signals only (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`).
pub const WAIT_KILLABLE_RECV: u64 = 32;

/// One instruction of classic BPF, as the kernel takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the test holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

const SET_MODE_FILTER: libc::c_uint = 1;

/// Puts the calling thread under `filter`. Child-safe.
///
/// # Errors
/// `EINVAL` when the kernel's checker refuses the program or it is empty, `EACCES` without `no_new_privs` or
/// `CAP_SYS_ADMIN`.
pub fn load(filter: &[Instruction]) -> Result<()> {
    install(filter, 0).map(drop)
}

/// As [`load`], with flags.
///
/// # Errors
/// As [`load`]; `EINVAL` for a flag that the kernel does not know.
pub fn load_with(filter: &[Instruction], flags: u64) -> Result<()> {
    install(filter, flags).map(drop)
}

/// As [`load_with`]; what the filter wants to be asked about can be read from the descriptor (`seccomp_unotify(2)`).
/// Child-safe.
///
/// # Errors
/// As [`load_with`]; `EBUSY` when a filter above has a listener already.
pub fn load_listening(filter: &[Instruction], flags: u64) -> Result<OwnedFd> {
    let number = i32::try_from(install(filter, flags | NEW_LISTENER)?).map_err(|_| crate::Errno::BADF)?;
    // SAFETY: the kernel has just made the descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether the kernel knows a flag. Nothing is loaded: it looks at flags before it looks for the program, and there is
/// none here.
#[must_use]
pub fn knows(flag: u64) -> bool {
    // That one is taken with a listener only.
    let flags = if flag == WAIT_KILLABLE_RECV { flag | NEW_LISTENER } else { flag };
    // SAFETY: a null pointer is what the kernel is to find; it answers EFAULT.
    let answer =
        check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::null::<Program>()) });
    answer == Err(crate::Errno::FAULT)
}

fn install(filter: &[Instruction], flags: u64) -> Result<libc::c_long> {
    let len = u16::try_from(filter.len()).map_err(|_| crate::Errno::INVAL)?;
    if len == 0 {
        return Err(crate::Errno::INVAL);
    }
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` points to `len` instructions that are alive during the call; the kernel copies them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_known_or_not() {
        assert!([TSYNC, LOG, SPEC_ALLOW].into_iter().all(knows));
        assert!(!knows(1 << 30));
    }
}
