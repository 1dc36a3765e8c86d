//! Settings of links by the files of `/proc/sys/net`, which show the network namespace of whoever opens them.

use std::ffi::CString;

use bulkhead_sys::proc::Proc;
use bulkhead_sys::{Errno, Result};
use rustix::fs::OFlags;

use crate::error::NetError;

fn path(name: &str) -> Result<CString> {
    CString::new(format!("sys/net/{name}")).map_err(|_| Errno::INVAL)
}

/// Writes a setting.
pub(crate) fn set(proc: &Proc, name: &str, value: &str) -> std::result::Result<(), NetError> {
    path(name)
        .and_then(|path| proc.write(&path, value.as_bytes()))
        .map_err(NetError::kernel(format!("set net/{name} to {value}")))
}

/// Whether a switch is on.
pub(crate) fn is_on(proc: &Proc, name: &str) -> std::result::Result<bool, NetError> {
    let text = path(name).and_then(|path| proc.read(&path)).map_err(NetError::kernel(format!("read net/{name}")))?;
    Ok(!text.trim_ascii().eq(b"0"))
}

/// Whether the kernel has IPv6.
pub(crate) fn has_ipv6(proc: &Proc) -> bool {
    proc.open(c"sys/net/ipv6", OFlags::PATH).is_ok()
}

/// Takes IPv6 off a link. That is all there is to do for one that has never been up: it has no address yet.
pub(crate) fn without_ipv6(proc: &Proc, link: &str) -> std::result::Result<(), NetError> {
    match set(proc, &format!("ipv6/conf/{link}/disable_ipv6"), "1") {
        Err(NetError::Kernel { source: Errno::NOENT, .. }) if !has_ipv6(proc) => Ok(()),
        done => done,
    }
}

/// A link with declared addresses only: it takes none from routers (CVE-2020-13401), waits for no neighbour to object to its
/// own, and derives that of the link from its link address, which is the one it may use.
pub(crate) fn with_ipv6(proc: &Proc, link: &str) -> std::result::Result<(), NetError> {
    for (name, value) in [
        ("disable_ipv6", "0"),
        ("accept_ra", "0"),
        ("accept_dad", "0"),
        ("addr_gen_mode", "0"),
        ("accept_redirects", "0"),
    ] {
        set(proc, &format!("ipv6/conf/{link}/{name}"), value)?;
    }
    Ok(())
}
