//! Loading a system call filter (`seccomp(2)`).

use crate::{Result, check};

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
    let len = u16::try_from(filter.len()).map_err(|_| crate::Errno::INVAL)?;
    if len == 0 {
        return Err(crate::Errno::INVAL);
    }
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` points to `len` instructions that are alive during the call; the kernel copies them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}
