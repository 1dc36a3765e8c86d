//! Capability sets of the calling thread, computed from nothing (`capabilities(7)`).

use crate::{Errno, Result, check};

/// Highest capability number that [`drop_bounding`] looks at; the kernel says `EINVAL` past its own last one.
const LAST: u32 = 63;
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn prctl(option: libc::c_int, a: u64, b: u64) -> Result<i64> {
    // SAFETY: only options that take integers are passed by this module.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, a, b, 0_u64, 0_u64) })
}

/// Drops from the bounding set all but the capabilities whose bits are set in `keep`. Child-safe.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn drop_bounding(keep: u64) -> Result<()> {
    for cap in 0..=LAST {
        if keep & (1 << cap) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, u64::from(cap), 0) {
            Ok(_) => {}
            // Past the last capability this kernel knows.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Empties the ambient set. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn clear_ambient() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, u64::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs()), 0).map(drop)
}

/// Keeps the permitted set over the next change of user id (`PR_SET_KEEPCAPS`). Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn keep_over_setuid() -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).map(drop)
}

/// Sets effective and permitted to `caps` and inheritable to nothing. Child-safe.
///
/// An inheritable set that is not empty gives capabilities back through files (CVE-2022-24769), so there is no way to
/// ask for one.
///
/// # Errors
/// `EPERM` when `caps` holds one that the thread does not have.
pub fn set(caps: u64) -> Result<()> {
    set_three(caps, caps, 0)
}

/// Sets the three sets as they are given. Child-safe.
///
/// For callers that decide about inheritable capabilities themselves; [`set`] is the safe form.
///
/// # Errors
/// `EPERM` when a set holds one that the thread may not have in it.
pub fn set_three(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective >> shift & 0xffff_ffff) as u32,
        permitted: (permitted >> shift & 0xffff_ffff) as u32,
        inheritable: (inheritable >> shift & 0xffff_ffff) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes a header and two data elements, both alive during the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Raises the capabilities whose bits are in `set` in the ambient set. Child-safe.
///
/// # Errors
/// `EPERM` for one that is not both permitted and inheritable.
pub fn raise_ambient(set: u64) -> Result<()> {
    for cap in (0..=LAST).filter(|cap| set & (1 << cap) != 0) {
        prctl(libc::PR_CAP_AMBIENT, u64::from(libc::PR_CAP_AMBIENT_RAISE.unsigned_abs()), u64::from(cap))?;
    }
    Ok(())
}

/// The effective set of the calling thread.
///
/// # Errors
/// What the kernel says.
pub fn effective() -> Result<u64> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: version 3 fills two data elements, both alive during the call.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) })?;
    Ok(u64::from(data[0].effective) | u64::from(data[1].effective) << 32)
}
