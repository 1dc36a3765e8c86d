//! Making the first process of a sandbox: `clone3(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Errno, Result, check};

/// New user namespace.
pub const NEWUSER: u64 = 0x1000_0000;
/// New mount namespace.
pub const NEWNS: u64 = 0x0002_0000;
/// New pid namespace.
pub const NEWPID: u64 = 0x2000_0000;
/// New network namespace.
pub const NEWNET: u64 = 0x4000_0000;
/// New IPC namespace.
pub const NEWIPC: u64 = 0x0800_0000;
/// New UTS namespace.
pub const NEWUTS: u64 = 0x0400_0000;
/// New cgroup namespace.
pub const NEWCGROUP: u64 = 0x0200_0000;
/// New time namespace; only `clone3` and `unshare` know it.
pub const NEWTIME: u64 = 0x0000_0080;

const THREAD: u64 = 0x1_0000;
const PARENT: u64 = 0x8000;
const PIDFD: u64 = 0x1000;
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a clone the caller is on.
#[derive(Debug)]
pub enum Fork {
    /// The new process. It must not allocate, lock or return to code that does, until `execve` or `_exit`.
    Child,
    /// The caller, with the child's pid in the caller's pid namespace and a pidfd of it.
    Parent {
        /// Process id as the caller sees it.
        pid: i32,
        /// Refers to the child, never to a later process with the same number.
        pidfd: OwnedFd,
    },
}

/// Proof that this process had one thread a moment ago. A lock that another thread holds at a clone is never released in
/// the child.
#[derive(Debug)]
pub struct SingleThreaded(());

impl SingleThreaded {
    /// Looks.
    ///
    /// # Errors
    /// `EDEADLK` when the process has more than one thread.
    pub fn check() -> Result<Self> {
        // The kernel pretends to part a thread from its process when there is no other, and does nothing (`unshare(2)`).
        match unshare(THREAD) {
            Ok(()) => Ok(Self(())),
            Err(Errno::INVAL) => Err(Errno::DEADLK),
            Err(e) => Err(e),
        }
    }
}

/// Clones this single-threaded process into new namespaces (`clone3(2)`), with a pidfd, and into `cgroup` if given.
///
/// Memory is copied on write; nothing is shared with the child but open file descriptions.
///
/// # Errors
/// `EBADF` when `cgroup` is not a cgroup v2 directory. Else what the kernel says.
pub fn clone3(single: &SingleThreaded, namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork> {
    make(single, namespaces, cgroup, false)
}

/// As [`clone3`], but the new process is a child of this one's parent, which collects it. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn sibling(single: &SingleThreaded, namespaces: u64) -> Result<Fork> {
    make(single, namespaces, None, true)
}

fn make(_single: &SingleThreaded, namespaces: u64, cgroup: Option<BorrowedFd<'_>>, sibling: bool) -> Result<Fork> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `clone_args` is plain integers; all-zero is a valid value of it.
    let mut args: libc::clone_args = unsafe { core::mem::zeroed() };
    args.flags = namespaces | PIDFD;
    args.pidfd = (&raw mut pidfd).addr() as u64;
    if sibling {
        // Its signal is that of this process, and no other may be named.
        args.flags |= PARENT;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(fd) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: `args` and `pidfd` outlive the call; without CLONE_VM and with no stack given the child continues on a
    // copy of this stack, as after fork, and this process has no other thread whose state the child could miss.
    let value =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, core::mem::size_of::<libc::clone_args>()) })?;
    if value == 0 {
        return Ok(Fork::Child);
    }
    // SAFETY: the kernel stored a new descriptor in `pidfd`, which nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(value).map_err(|_| Errno::OVERFLOW)?;
    Ok(Fork::Parent { pid, pidfd })
}

/// Moves the calling process into new namespaces (`unshare(2)`). Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn unshare(namespaces: u64) -> Result<()> {
    let flags = libc::c_int::try_from(namespaces).map_err(|_| Errno::INVAL)?;
    // SAFETY: takes one integer; file descriptor tables are not unshared here, so no descriptor changes meaning.
    check(unsafe { libc::syscall(libc::SYS_unshare, flags) }).map(drop)
}

/// Moves the calling process into namespaces of another, given by its pidfd (`setns(2)`, Linux 5.8), or into the one
/// that the file of a namespace refers to. A pid namespace takes only children that are made afterwards. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn join(pidfd: BorrowedFd<'_>, namespaces: u64) -> Result<()> {
    let flags = libc::c_int::try_from(namespaces).map_err(|_| Errno::INVAL)?;
    // SAFETY: takes two integers.
    check(unsafe { libc::syscall(libc::SYS_setns, pidfd.as_raw_fd(), flags) }).map(drop)
}

/// Ends the calling process at once (`exit_group(2)`), running no destructor and flushing nothing. Child-safe.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes one integer and does not return.
    unsafe { libc::_exit(code) }
}
