//! Thin typed system calls.
//!
//! The only crate of the workspace that may contain `unsafe`. A function here makes one kernel request, checks what
//! the kernel cannot, and returns the kernel's own error number; it decides nothing. What `rustix` already offers
//! safely is used from there.
//!
//! Functions marked *child-safe* allocate nothing and take no lock, so that they may run between [`clone::clone3`] and
//! `execve`.

pub mod bpf;
pub mod caps;
pub mod clone;
pub mod entry;
pub mod exec;
pub mod fd;
pub mod heap;
pub mod ids;
pub mod keyring;
pub mod landlock;
pub mod mount;
pub mod net;
pub mod proc;
pub mod quota;
pub mod root;
pub mod rtnetlink;
pub mod seccomp;
pub mod signal;
pub mod stdio;
pub mod tune;

pub use rustix::io::Errno;

/// What every call here returns.
pub type Result<T> = core::result::Result<T, Errno>;

/// Turns the result of `libc::syscall` into a value or the thread's error number.
fn check(value: libc::c_long) -> Result<libc::c_long> {
    if value < 0 {
        // SAFETY: takes nothing and returns the address of the calling thread's error number.
        let location = unsafe { libc::__errno_location() };
        // SAFETY: the address is valid for the life of the calling thread, which is the one reading.
        let code = unsafe { *location };
        return Err(Errno::from_raw_os_error(code));
    }
    Ok(value)
}
