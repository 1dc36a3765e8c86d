//! Signals: as a descriptor, to a pidfd, and back to the default before a program starts.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Errno, Result, check};

/// Number of the last signal.
pub const LAST: i32 = 64;

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: `sigset_t` is plain data; `sigemptyset` below sets it up.
    let mut set: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: `set` is a valid, writable signal set.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals {
        // SAFETY: `set` was initialised; an unknown number is refused with an error and changes nothing.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// Blocks `signals` for the calling thread.
///
/// # Errors
/// What the kernel says.
pub fn block(signals: &[i32]) -> Result<()> {
    let set = set_of(signals);
    // SAFETY: `set` is initialised and alive during the call; no old set is asked for.
    check(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, core::ptr::null_mut()) }))
        .map(drop)
}

/// Ignores one signal.
///
/// # Errors
/// What the kernel says.
pub fn ignore(signal: i32) -> Result<()> {
    // SAFETY: SIG_IGN runs no code of this process.
    let old = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if old == libc::SIG_ERR { Err(Errno::INVAL) } else { Ok(()) }
}

/// Sets every signal to its default action and unblocks all of them. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn reset_all() -> Result<()> {
    for signal in 1..=LAST {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        // SAFETY: SIG_DFL runs no code of this process; numbers the C library keeps for itself are refused, which
        // leaves their default action in place.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let set = set_of(&[]);
    // SAFETY: `set` is initialised and alive during the call.
    check(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, core::ptr::null_mut()) }))
        .map(drop)
}

extern "C" fn end(number: libc::c_int) {
    // SAFETY: `_exit` takes one integer, may be called from a handler and does not return.
    unsafe { libc::_exit(128 + number) }
}

/// Has every signal that usually ends a process end this one, also where it is the first of its pid namespace
/// (`pid_namespaces(7)`), until the next `execve`. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn end_on_all() -> Result<()> {
    const HARMLESS: [libc::c_int; 10] = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGPIPE,
    ];
    for number in (1..=31).filter(|n| !HARMLESS.contains(n)) {
        let handler: extern "C" fn(libc::c_int) = end;
        // SAFETY: `sigaction` is plain data; all-zero is a valid value of it.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the handler only ends the process; the action is alive during the call.
        check(libc::c_long::from(unsafe { libc::sigaction(number, &raw const action, core::ptr::null_mut()) }))?;
    }
    Ok(())
}

/// Makes `command` start with every signal at its default and none blocked, whatever this process blocks.
pub fn reset_in_child(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only async-signal-safe calls are made.
    unsafe { command.pre_exec(|| reset_all().map_err(Into::into)) };
}

/// Signals of this process, read from a descriptor (`signalfd(2)`).
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks `signals` and makes a non-blocking descriptor that receives them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(signals: &[i32]) -> Result<Self> {
        block(signals)?;
        let set = set_of(signals);
        // SAFETY: `set` is initialised and alive during the call; -1 asks for a new descriptor.
        let fd = check(libc::c_long::from(unsafe {
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        }))?;
        let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
        // SAFETY: the kernel just made this descriptor and nobody else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next signal, or nothing when none is pending.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&self) -> Result<Option<i32>> {
        let mut info = [0_u8; core::mem::size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut info) {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(e) => return Err(e),
        }
        // `ssi_signo` is the first field, 32 bits wide.
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        Ok(i32::try_from(number).ok())
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends a signal to the process of a pidfd (`pidfd_send_signal(2)`).
///
/// # Errors
/// `ESRCH` when it has ended, `EINVAL` for a number that is no signal.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: takes integers; a null siginfo is allowed.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, core::ptr::null::<u8>(), 0_u32)
    })
    .map(drop)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By `exit(2)` with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl Ended {
    /// The code a shell would report: the program's own, or 128 plus the signal.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128 + signal,
        }
    }
}

/// Waits for the child of a pidfd and collects it (`waitid(2)`, `P_PIDFD`).
///
/// # Errors
/// `ECHILD` when it is no child of the caller.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Ended> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                if let Some(code) = status.exit_status() {
                    return Ok(Ended::Exited(code));
                }
                return Ok(Ended::Signalled(status.terminating_signal().unwrap_or(libc::SIGKILL)));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Collects one ended child of any kind without waiting: its pid and how it ended.
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn reap_any() -> Result<Option<(i32, Ended)>> {
    let mut status: libc::c_int = 0;
    // SAFETY: `status` is alive and writable during the call.
    let pid = check(libc::c_long::from(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }))?;
    if pid == 0 {
        return Ok(None);
    }
    let ended = if libc::WIFEXITED(status) {
        Ended::Exited(libc::WEXITSTATUS(status))
    } else {
        Ended::Signalled(libc::WTERMSIG(status))
    };
    Ok(Some((i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?, ended)))
}

/// Sends a signal to one process by number; for pid 1 of a sandbox, whose children cannot be replaced behind its back.
///
/// # Errors
/// What the kernel says.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes two integers.
    check(libc::c_long::from(unsafe { libc::kill(pid, signal) })).map(drop)
}
