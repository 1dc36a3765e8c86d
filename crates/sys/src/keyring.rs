//! Kernel keyrings (`keyrings(7)`).

use std::ffi::CStr;

use crate::{Result, check};

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Leaves the caller's session keyring for a fresh one called `name`. Child-safe.
///
/// # Errors
/// `ENOSYS` when the kernel has no keyrings; `EDQUOT` when the user's quota is used up.
pub fn fresh_session(name: &CStr) -> Result<()> {
    // SAFETY: `name` is null-terminated and alive during the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }).map(drop)
}
