//! User and group ids: identity of the calling thread.

use rustix::process::{Gid, Uid};

use crate::{Errno, Result, check};

/// Becomes `uid`:`gid` with exactly the supplementary groups `groups`. Child-safe.
///
/// Groups first, then gid, then uid: after the uid is gone the right to change the others is gone too.
///
/// # Errors
/// `EINVAL` when an id is not mapped in the user namespace, `EPERM` without the capability.
pub fn become_user(uid: u32, gid: u32, groups: Option<&[Gid]>) -> Result<()> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL);
    }
    if let Some(groups) = groups {
        rustix::thread::set_thread_groups(groups)?;
    }
    let gid = Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let uid = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Sets whether this process may be traced and its `/proc` files opened by others with its ids
/// (`PR_SET_DUMPABLE`). Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn set_dumpable(on: bool) -> Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes one integer.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, u64::from(on), 0_u64, 0_u64, 0_u64) })
        .map(drop)
}

/// Has the kernel send `SIGKILL` to this process when its parent ends. Child-safe.
///
/// A change of user ids clears this, so it is set again after one.
///
/// # Errors
/// What the kernel says.
pub fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
}
