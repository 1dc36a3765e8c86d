//! The binary that comes near a container is never one that the container could write.
//!
//! A process that becomes the program of a container can be tricked into executing `/proc/self/exe` there, and root in
//! the container, where it is the host's root too, could then open that link for writing (CVE-2019-5736). So this program
//! goes on from a copy of its own mount that is read-only and exists nowhere else. In a user namespace, root of the
//! container has no right over a file of the host.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;

use bulkhead_sandbox::facts::HostFacts;
use bulkhead_sys::{fd, mount};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};

use crate::runc::error::{During, RuncError};

const SELF: &str = "/proc/self/exe";

/// Returns when this program runs from where nobody can write; the first time it does not return, but begins anew.
///
/// # Errors
///
/// When no such copy can be made.
pub(super) fn before(facts: &HostFacts, own_ids: bool) -> Result<(), RuncError> {
    if !facts.privileged || own_ids {
        return Ok(());
    }
    if is_protected()? {
        return Ok(());
    }
    let copy = copy()?;
    let what = || "go on from a protected copy of this program";
    fd::keep_over_exec(&copy).during(what())?;
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let error = std::process::Command::new(format!("/proc/self/fd/{}", copy.as_raw_fd())).arg0(name).args(args).exec();
    Err(RuncError::chain(&error).during(what()))
}

fn is_protected() -> Result<bool, RuncError> {
    let own = rustix::fs::open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).during("open this program")?;
    let there = rustix::fs::fstatvfs(&own).during("look at this program")?;
    if there.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // A sealed copy in memory.
    let seals = rustix::fs::fcntl_get_seals(std::fs::File::open(SELF).during("open this program")?);
    Ok(seals.is_ok_and(|seals| seals.contains(rustix::fs::SealFlags::WRITE)))
}

fn copy() -> Result<OwnedFd, RuncError> {
    let own = rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during("open this program")?;
    let tree = mount::copy_tree(own.as_fd(), c"", false).and_then(|tree| {
        mount::set_executable(tree.as_fd())?;
        Ok(tree)
    });
    match tree {
        Ok(tree) => Ok(tree),
        // A mount that may not be changed, or none: memory always can.
        Err(_) => fd::sealed_copy(c"bulkhead-runc", own.as_fd()).during("copy this program to memory"),
    }
}
