//! The device filter of cgroup v2: a program of type `BPF_PROG_TYPE_CGROUP_DEVICE` (`bpf(2)`).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Errno, Result, check};

/// One eBPF instruction.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low half, source register in the high half.
    pub registers: u8,
    /// Offset of a jump or an access.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_QUERY` reads and writes.
#[repr(C)]
#[derive(Clone, Copy)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
/// Most programs that a cgroup can have (`BPF_CGROUP_MAX_PROGS`).
const MOST_PROGRAMS: usize = 64;
const CGROUP_DEVICE_PROGRAM: u32 = 15;
const CGROUP_DEVICE_ATTACH: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// Loads a device filter.
///
/// # Errors
/// `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`, `EINVAL` or `EACCES` when the verifier refuses it.
pub fn load_device_filter(program: &[Instruction]) -> Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: CGROUP_DEVICE_PROGRAM,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr().addr() as u64,
        license: c"GPL".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: `attr` and the program it points to are alive during the call; the kernel copies and verifies both.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, core::mem::size_of::<LoadAttr>()) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a loaded device filter to a cgroup v2 directory; it lives as long as the cgroup.
///
/// # Errors
/// What the kernel says.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    attach(PROG_ATTACH, ALLOW_MULTI, cgroup, program)
}

/// Takes a device filter off a cgroup.
///
/// # Errors
/// What the kernel says.
pub fn detach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    attach(PROG_DETACH, 0, cgroup, program)
}

fn attach(command: libc::c_int, flags: u32, cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let attr = AttachAttr {
        target_fd: u32::try_from(cgroup.as_raw_fd()).map_err(|_| Errno::BADF)?,
        attach_bpf_fd: u32::try_from(program.as_raw_fd()).map_err(|_| Errno::BADF)?,
        attach_type: CGROUP_DEVICE_ATTACH,
        attach_flags: flags,
    };
    // SAFETY: `attr` is alive during the call, with its true size.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, core::mem::size_of::<AttachAttr>()) })
        .map(drop)
}

/// The device filters that are attached to a cgroup itself.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` and, where there are any, `CAP_SYS_ADMIN`.
pub fn device_filters(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut query = QueryAttr {
        target_fd: u32::try_from(cgroup.as_raw_fd()).map_err(|_| Errno::BADF)?,
        attach_type: CGROUP_DEVICE_ATTACH,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr().addr() as u64,
        prog_cnt: u32::try_from(MOST_PROGRAMS).map_err(|_| Errno::TOOBIG)?,
        padding: 0,
    };
    // SAFETY: `query` is alive during the call, with its true size; the kernel writes at most `prog_cnt` ids, for which
    // `ids` has room.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, core::mem::size_of::<QueryAttr>()) })?;
    let count = usize::try_from(query.prog_cnt).unwrap_or(MOST_PROGRAMS).min(MOST_PROGRAMS);
    let mut programs = Vec::with_capacity(count);
    for id in ids.into_iter().take(count) {
        let attr = IdAttr { id, next_id: 0, open_flags: 0 };
        // SAFETY: `attr` is alive during the call, with its true size.
        let fd = check(unsafe {
            libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, &raw const attr, core::mem::size_of::<IdAttr>())
        });
        match fd {
            // SAFETY: the kernel just made this descriptor and nobody else owns it.
            Ok(fd) => programs.push(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::BADF)?) }),
            // It was taken off meanwhile.
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(programs)
}
