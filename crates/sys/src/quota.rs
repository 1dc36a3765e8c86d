//! Project quotas: a limit on the bytes of everything that carries one project id (`quotactl(2)`).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Result, check};

/// What a directory is asked and told about its project (`FS_IOC_FSGETXATTR`).
#[repr(C)]
#[derive(Default)]
struct FsXattr {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_on_write_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk` of the kernel: blocks are 1,024 bytes.
#[repr(C)]
#[derive(Default)]
struct DiskQuota {
    block_hard: u64,
    block_soft: u64,
    space: u64,
    inode_hard: u64,
    inode_soft: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// New entries of the directory have its project (`FS_XFLAG_PROJINHERIT`).
const INHERIT: u32 = 0x200;
const GET_XATTR: libc::c_ulong = 0x801c_581f;
const SET_XATTR: libc::c_ulong = 0x401c_5820;
const PROJECT_QUOTA: u32 = 2;
const GET_QUOTA: u32 = 0x80_0007;
const SET_QUOTA: u32 = 0x80_0008;
/// `QIF_BLIMITS`.
const BLOCK_LIMITS: u32 = 1;

fn quotactl(place: BorrowedFd<'_>, command: u32, project: u32, quota: &mut DiskQuota) -> Result<()> {
    // SAFETY: `quota` is alive during the call and has the layout that the kernel reads and writes for these commands.
    check(unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            place.as_raw_fd(),
            (command << 8) | PROJECT_QUOTA,
            project,
            core::ptr::from_mut(quota),
        )
    })
    .map(drop)
}

/// Bytes that a project uses, and its limit in bytes (0: none), on the file system of `place`.
///
/// # Errors
/// `ESRCH` where project quotas are not kept, `ENOSYS` or `EOPNOTSUPP` where there is no such thing, `EPERM` for an
/// ordinary user; `ENOENT` for a project that was never used.
pub fn project(place: BorrowedFd<'_>, project: u32) -> Result<(u64, u64)> {
    let mut quota = DiskQuota::default();
    quotactl(place, GET_QUOTA, project, &mut quota)?;
    Ok((quota.space, quota.block_hard.saturating_mul(1024)))
}

/// Limits a project to `bytes` (rounded up to 1,024; 0: no limit) on the file system of `place`.
///
/// # Errors
/// As [`project`].
pub fn limit(place: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<()> {
    let blocks = bytes.div_ceil(1024);
    let mut quota = DiskQuota { block_hard: blocks, block_soft: blocks, valid: BLOCK_LIMITS, ..DiskQuota::default() };
    quotactl(place, SET_QUOTA, project, &mut quota)
}

/// Gives a directory, and all that will be made in it, to a project.
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` where the file system has no projects; else what the kernel says.
pub fn give(directory: BorrowedFd<'_>, project: u32) -> Result<()> {
    let mut attributes = FsXattr::default();
    // SAFETY: the kernel writes one `fsxattr` to `attributes`, which has its size and layout.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, directory.as_raw_fd(), GET_XATTR, core::ptr::from_mut(&mut attributes))
    })?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: the kernel reads one `fsxattr` from `attributes`, which is alive during the call.
    check(unsafe { libc::syscall(libc::SYS_ioctl, directory.as_raw_fd(), SET_XATTR, core::ptr::from_ref(&attributes)) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;
    use std::os::fd::AsFd;

    #[test]
    fn the_kernel_knows_these_structures_or_says_that_it_has_none() {
        assert_eq!(core::mem::size_of::<FsXattr>(), 28);
        assert_eq!(core::mem::size_of::<DiskQuota>(), 72);
        let dir = std::env::temp_dir();
        let dir = rustix::fs::open(&dir, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        let known = [Errno::SRCH, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM, Errno::NOENT, Errno::NOTTY];
        let asked = project(dir.as_fd(), 0x4fff_ffff);
        assert!(asked == Ok((0, 0)) || asked.as_ref().is_err_and(|e| known.contains(e)), "{asked:?}");
    }
}
