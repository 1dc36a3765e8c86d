//! How a process is served: CPU, disk, memory nodes, execution domain.

use crate::{Result, check};

/// What `sched_setattr(2)` takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// `SCHED_…`.
    pub policy: u32,
    /// `SCHED_FLAG_…`.
    pub flags: u64,
    /// For the usual policies.
    pub nice: i32,
    /// For the realtime policies.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// The first version of `struct sched_attr`, 48 bytes.
#[repr(C)]
struct Raw {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets policy and attributes of the calling thread. Child-safe.
///
/// # Errors
/// `EPERM` without the right to a realtime policy or a lower nice value; `EINVAL` for a bad combination.
pub fn schedule(wanted: SchedAttr) -> Result<()> {
    let SchedAttr { policy, flags, nice, priority, runtime, deadline, period } = wanted;
    let attr = Raw { size: 48, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: `attr` is alive during the call and says its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// Sets the I/O priority of the calling thread: class 1 to 3, level 0 to 7 (`ioprio_set(2)`). Child-safe.
///
/// # Errors
/// `EPERM` without the right to the class.
pub fn io_priority(class: u32, level: u32) -> Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes three integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << 13 | level & 0x1fff) }).map(drop)
}

/// Sets the execution domain of the calling thread (`personality(2)`). Child-safe.
///
/// # Errors
/// `EINVAL` when the kernel does not have it.
pub fn personality(domain: u64) -> Result<()> {
    // SAFETY: takes one integer.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}

/// Sets from which memory nodes the calling thread is served; `nodes` is a bit set (`set_mempolicy(2)`). Child-safe.
///
/// # Errors
/// `EINVAL` for a mode, a flag or a node that is not there.
pub fn memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    let bits = nodes.len().saturating_mul(64);
    let list = if nodes.is_empty() { core::ptr::null() } else { nodes.as_ptr() };
    // The kernel takes one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { bits + 1 };
    // SAFETY: `list` is null, or points to as many bits as are said, alive during the call.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, list, bits) }).map(drop)
}

/// Lets the calling thread run on these CPUs only; `cpus` is a bit set (`sched_setaffinity(2)`). Child-safe.
///
/// # Errors
/// `EINVAL` when none of them is there.
pub fn affinity(cpus: &[u64]) -> Result<()> {
    let bytes = core::mem::size_of_val(cpus);
    // SAFETY: points to `bytes` bytes that are alive during the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, bytes, cpus.as_ptr()) }).map(drop)
}
