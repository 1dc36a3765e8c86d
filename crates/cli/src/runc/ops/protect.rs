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

use crate::runc::error::{During, RuncError};

const SELF: &str = "/proc/self/exe";

/// Returns when this program runs from where nobody can write; the first time it does not return, but begins anew.
///
/// # Errors
///
/// When no such copy can be made.
pub(super) fn before(linux: &Linux) -> Result<(), RuncError> {
    if !is_reached(linux)? || is_protected()? {
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
