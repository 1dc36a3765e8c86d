//! Mounts by descriptor: what `rustix` does not cover of the mount API, and the few shapes the sandbox uses.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::{Result, check};

/// No writes.
pub const RDONLY: u64 = 0x1;
/// Set-user-id bits and file capabilities are ignored.
pub const NOSUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub const NODEV: u64 = 0x4;
/// Programs cannot be started.
pub const NOEXEC: u64 = 0x8;
/// Access times are not written.
pub const NOATIME: u64 = 0x10;
/// Access times are written at every access.
pub const STRICTATIME: u64 = 0x20;
/// The bits that say when access times are written; they are changed together.
pub const ATIME: u64 = 0x70;
/// Access times of directories are not written.
pub const NODIRATIME: u64 = 0x80;
/// Symbolic links are not followed.
pub const NOSYMFOLLOW: u64 = 0x0020_0000;
/// Mounts and unmounts travel both ways.
pub const SHARED: u64 = 1 << 20;
/// Mounts and unmounts arrive and are not passed back.
pub const SLAVE: u64 = 1 << 19;
/// Mounts and unmounts stay where they are made.
pub const PRIVATE: u64 = 1 << 18;
/// As private, and the mount cannot be bound elsewhere.
pub const UNBINDABLE: u64 = 1 << 17;
const IDMAP: u64 = 0x0010_0000;

#[repr(C)]
pub(crate) struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

impl MountAttr {
    /// A place to execute from and nothing else.
    pub(crate) const EXECUTABLE: Self =
        Self { set: RDONLY | NOSUID | NODEV, clear: NOEXEC, propagation: 0, userns_fd: 0 };
}

fn setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a static null-terminated string and `attr` is alive during the call, with its true size.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            core::ptr::from_ref(attr),
            core::mem::size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Sets the attribute bits `set` on a mount, or on it and all below it (`mount_setattr(2)`, Linux 5.12). Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64, recursive: bool) -> Result<()> {
    change(mount, set, 0, 0, recursive)
}

/// Sets the attribute bits `set`, clears those in `clear`, and gives the mount, or it and all below it, the propagation
/// `propagation` (0 leaves it). Child-safe.
///
/// # Errors
/// What the kernel says: `EPERM` for a bit that is locked by a more privileged namespace.
pub fn change(mount: BorrowedFd<'_>, set: u64, clear: u64, propagation: u64, recursive: bool) -> Result<()> {
    setattr(mount, recursive, &MountAttr { set, clear, propagation, userns_fd: 0 })
}

/// Makes a detached mount a place to execute from and nothing else: read-only, nosuid, nodev, and not noexec, which the
/// mount it was copied from may be.
///
/// # Errors
/// `EPERM` when the flag is locked by a more privileged namespace.
pub fn set_executable(mount: BorrowedFd<'_>) -> Result<()> {
    setattr(mount, false, &MountAttr::EXECUTABLE)
}

/// Shifts the ids of a detached mount by the map of a user namespace (id-mapped mount, Linux 5.12).
///
/// # Errors
/// `EINVAL` when the file system cannot be id-mapped; `EPERM` without `CAP_SYS_ADMIN` over the file system.
pub fn map_ids(mount: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let fd = u64::try_from(userns.as_raw_fd()).map_err(|_| crate::Errno::BADF)?;
    setattr(mount, recursive, &MountAttr { set: IDMAP, clear: 0, propagation: 0, userns_fd: fd })
}

/// Cuts the whole mount tree of this mount namespace off from any other, so that no mount travels. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn make_all_private() -> Result<()> {
    make_all(PRIVATE)
}

/// Lets mounts of the host arrive in the whole mount tree of this mount namespace, and none travel back. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn make_all_slave() -> Result<()> {
    make_all(SLAVE)
}

fn make_all(propagation: u64) -> Result<()> {
    let root =
        rustix::fs::open(c"/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    change(root.as_fd(), 0, 0, propagation, true)
}

/// Moves the mount `root` over the root of this mount namespace and makes it the root of this process, where
/// `pivot_root(2)` cannot be used: the root is the kernel's first one (`initramfs`). Child-safe.
///
/// The old root stays below, out of reach of a process without `CAP_SYS_CHROOT` and `CAP_SYS_ADMIN`.
///
/// # Errors
/// What the kernel says.
pub fn move_over_root(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root)?;
    let top =
        rustix::fs::open(c"/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    attach(root, top.as_fd())?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// Makes `root` the root of this process and nothing else (`chroot(2)`). Child-safe.
///
/// Whoever has `CAP_SYS_CHROOT` can leave it again.
///
/// # Errors
/// What the kernel says.
pub fn change_root(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// Takes a mount off, with what is mounted in it, from the place where `there`, a handle on its root, is (`umount2(2)`,
/// `MNT_DETACH`).
///
/// # Errors
/// `EINVAL` when nothing is mounted there.
pub fn detach(there: BorrowedFd<'_>) -> Result<()> {
    rustix::mount::unmount(format!("/proc/self/fd/{}", there.as_raw_fd()), UnmountFlags::DETACH)
}

/// A new file system of type `name`, mounted nowhere yet. An option without a value is a flag. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn new_filesystem<'a>(
    name: &CStr,
    options: impl Iterator<Item = (&'a CStr, Option<&'a CStr>)>,
    attributes: u64,
) -> Result<OwnedFd> {
    let fs = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&fs, key, value)?,
            None => fsconfig_set_flag(&fs, key)?,
        }
    }
    fsconfig_create(&fs)?;
    let attributes = u32::try_from(attributes).map_err(|_| crate::Errno::INVAL)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attributes))
}

/// A detached copy of the mount at `path` below `dir`, without or with the mounts below it. Child-safe.
///
/// `path` may be empty: then `dir` itself is copied. Symbolic links at the end are not followed.
///
/// # Errors
/// What the kernel says.
pub fn copy_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(dir, path, flags)
}

/// As [`copy_tree`] of an absolute path, whose links are followed. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn copy_of(path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let flags = if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags };
    open_tree(rustix::fs::CWD, path, flags)
}

/// A handle on an absolute path, which only names it; a link at its end is not followed, and with `exact` no link may be
/// anywhere on it. Child-safe.
///
/// # Errors
/// `ELOOP` at a link; else what the kernel says.
pub fn place(path: &CStr, exact: bool) -> Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let links = if exact { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::empty() };
    openat2(CWD, path, flags, Mode::empty(), links | ResolveFlags::NO_MAGICLINKS)
}

/// A handle on `path` below `dir`, which somebody else filled: links are followed, and none leads out of `dir` or to
/// another mount. Child-safe.
///
/// # Errors
/// `EXDEV` for what leads out; else what the kernel says.
pub fn below(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    loop {
        match openat2(dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename elsewhere raced with a `..`; the kernel asks to try again.
            Err(crate::Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Attaches a detached mount onto what `target` refers to (`move_mount(2)`). Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    move_mount(
        mount,
        c"",
        target,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Makes the mount `root` the root of this process and of its mount namespace, and lets go of the old one. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn pivot(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root)?;
    // The old root ends up stacked on the new one, so no directory for it is needed (`pivot_root(2)`, NOTES).
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    // One mount left behind on the way would be a door to the host that `cd ..` opens: look where the doors lead.
    let wanted = mount_id(root)?;
    for way in [c"/", c"/..", c"."] {
        if mount_id_at(rustix::fs::CWD, way, rustix::fs::AtFlags::empty())? != wanted {
            return Err(crate::Errno::XDEV);
        }
    }
    Ok(())
}

/// The id of the mount that an open file is on (`statx(2)`, Linux 5.8). Child-safe.
///
/// # Errors
/// `ENOTSUP` when the kernel does not tell; else what it says.
pub fn mount_id(file: BorrowedFd<'_>) -> Result<u64> {
    mount_id_at(file, c"", rustix::fs::AtFlags::EMPTY_PATH)
}

fn mount_id_at(dir: BorrowedFd<'_>, path: &CStr, flags: rustix::fs::AtFlags) -> Result<u64> {
    use rustix::fs::{StatxFlags, statx};
    let stat = statx(dir, path, flags, StatxFlags::MNT_ID)?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(crate::Errno::NOTSUP);
    }
    Ok(stat.stx_mnt_id)
}
