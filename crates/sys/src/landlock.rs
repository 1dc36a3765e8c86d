//! Landlock (`landlock(7)`), by its three system calls: the `landlock` crate allocates, and rules are added after the
//! clone here, because they name the container's own root.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Result, check};

/// Right to execute a file.
pub const EXECUTE: u64 = 1 << 0;
/// Right to link or rename across directories; Landlock ABI 2.
pub const REFER: u64 = 1 << 13;

/// Abstract Unix sockets that processes outside have made; Landlock ABI 6.
pub const ABSTRACT_SOCKETS: u64 = 1 << 0;

#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
}

/// As kernels with ABI 6 know it.
#[repr(C)]
struct ScopedAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// The Landlock ABI of the running kernel; 0 when it has none or it is switched off.
#[must_use]
pub fn abi() -> u32 {
    // SAFETY: with a null attribute, size 0 and flag 1 the call only returns a number.
    let value =
        check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, core::ptr::null::<u8>(), 0_usize, 1_u32) });
    value.ok().and_then(|v| u32::try_from(v).ok()).unwrap_or(0)
}

/// A rule set that handles the file system rights `handled`. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn ruleset(handled: u64) -> Result<OwnedFd> {
    let attr = RulesetAttr { handled_access_fs: handled };
    // SAFETY: `attr` is alive during the call and its true size is given.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, core::mem::size_of::<RulesetAttr>(), 0_u32)
    })?;
    let fd = i32::try_from(fd).map_err(|_| crate::Errno::BADF)?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A rule set that keeps the `scopes` within the processes that are put under it. It handles no right to files, and so
/// forbids no mount. Child-safe.
///
/// # Errors
/// What the kernel says: `E2BIG` before ABI 6.
pub fn scope(scopes: u64) -> Result<OwnedFd> {
    let attr = ScopedAttr { handled_access_fs: 0, handled_access_net: 0, scoped: scopes };
    // SAFETY: `attr` is alive during the call and its true size is given.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, core::mem::size_of::<ScopedAttr>(), 0_u32)
    })?;
    let fd = i32::try_from(fd).map_err(|_| crate::Errno::BADF)?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Allows `rights` below `directory`. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn allow_below(ruleset: BorrowedFd<'_>, directory: BorrowedFd<'_>, rights: u64) -> Result<()> {
    let attr = PathBeneath { allowed_access: rights, parent_fd: directory.as_raw_fd() };
    // SAFETY: rule type 1 takes a `landlock_path_beneath_attr`, alive during the call.
    check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), 1_u32, &raw const attr, 0_u32) })
        .map(drop)
}

/// Puts the calling thread under `ruleset`. Child-safe.
///
/// # Errors
/// `EPERM` without `no_new_privs` and without `CAP_SYS_ADMIN`.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes two integers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) }).map(drop)
}
