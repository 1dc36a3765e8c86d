//! The binary that comes near a container is never one that the container could write.
//!
//! A process that becomes the program of a container can be tricked into executing `/proc/self/exe` there, and root in
//! the container, where it is the host's root too, could then open that link for writing (CVE-2019-5736). So this program
//! goes on from a copy of its own mount that is read-only and exists nowhere else. It need not where a user
//! namespace leaves the owner of the file out: nobody in the container has a right over it then.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;

use bulkhead_sandbox::oci::config::{IdMapping, Linux};
use bulkhead_sys::{fd, mount};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};

use crate::runc::NAME;
use crate::runc::args::Global;
use crate::runc::error::{During, RuncError};

const SELF: &str = "/proc/self/exe";

/// Begins anew from where nobody can write, before anything is read; returns when it has, with `true`, or when that
/// cannot be had for nothing.
///
/// # Errors
///
/// When this program cannot be looked at.
pub(super) fn early() -> Result<bool, RuncError> {
    // Usually the first instructions have done it.
    if bulkhead_sys::entry::began_read_only() {
        return Ok(named());
    }
    let own = rustix::fs::open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).during("open this program")?;
    if is_protected(&own)? {
        return Ok(named());
    }
    // An ordinary user makes no mounts here, and a security module may let none be executed that is nowhere.
    if let Ok(copy) = mounted(&own) {
        drop(go_on(&copy));
    }
    Ok(false)
}

/// It has the name of a number by now.
fn named() -> bool {
    rustix::thread::set_name(c"bulkhead-runc").unwrap_or_default();
    true
}

/// The same for whom [`early`] left unprotected, where the container could reach this program.
///
/// # Errors
///
/// When no such copy can be made.
pub(super) fn before(protected: bool, linux: &Linux) -> Result<(), RuncError> {
    if protected || !is_reached(linux)? {
        return Ok(());
    }
    let own = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during("open this program")?;
    let copy = fd::sealed_copy(c"bulkhead-runc", own.as_fd()).during("copy this program to memory")?;
    Err(go_on(&copy))
}

/// Says from where this program runs, in the words that other runtimes have for it.
pub(super) fn tell(global: &Global, protected: bool) {
    global.log.debug(|| {
        if protected {
            format!("{NAME} exeseal: using /proc/self/exe clone, which nobody can write")
        } else {
            format!("{NAME} exeseal: not needed: nobody in the container has a right over this program")
        }
    });
}

/// Only an error comes back. The descriptor ends with the call: the kernel has the file by then.
fn go_on(copy: &OwnedFd) -> RuncError {
    let what = "go on from a protected copy of this program";
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let error = std::process::Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd())).arg0(name).args(args).exec();
    RuncError::chain(&error).during(what)
}

/// Whether somebody in the container could have the right to write the file of this program.
fn is_reached(linux: &Linux) -> Result<bool, RuncError> {
    let Some(namespace) = linux.namespaces.iter().find(|n| n.kind == "user") else { return Ok(true) };
    let file = rustix::fs::stat(SELF).during("look at this program")?;
    let others = file.st_mode & 0o022 != 0;
    // Whom a namespace of somebody else has is not known.
    Ok(others || !namespace.path.is_empty() || is_mapped(&linux.uid_mappings, file.st_uid))
}

fn is_mapped(ranges: &[IdMapping], id: u32) -> bool {
    ranges.iter().any(|r| u64::from(id).checked_sub(u64::from(r.host_id)).is_some_and(|n| n < u64::from(r.size)))
}

fn is_protected(own: &OwnedFd) -> Result<bool, RuncError> {
    /// `TMPFS_MAGIC` of `statfs(2)`.
    const TMPFS: i64 = 0x0102_1994;
    let there = rustix::fs::fstatfs(own).during("look at this program")?;
    let read_only = u64::try_from(there.f_flags).unwrap_or_default() & StatVfsMountFlags::RDONLY.bits();
    if read_only != 0 || i128::from(there.f_type) != i128::from(TMPFS) {
        return Ok(read_only != 0);
    }
    // Perhaps a sealed copy in memory.
    let file = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during("open this program")?;
    Ok(rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(rustix::fs::SealFlags::WRITE)))
}

/// A read-only copy of the mount that this program is on.
fn mounted(own: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let tree = mount::copy_tree(own.as_fd(), c"", false)?;
    mount::set_executable(tree.as_fd())?;
    Ok(tree)
}
