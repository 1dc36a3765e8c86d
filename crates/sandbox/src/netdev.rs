//! Network devices of the caller's that a bundle gets (`linux.netDevices`): moved, perhaps renamed, with the addresses that
//! were set for good. What else a device has, like its MTU and its hardware address, stays by itself.
//!
//! The network namespace of the container owns them from then on. When it ends, the kernel gives physical ones back to
//! the first network namespace and deletes virtual ones.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::proc::Proc;
use bulkhead_sys::rtnetlink::Links;
use bulkhead_sys::{Errno, clone};
use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// A device that is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDevice {
    /// Its name outside.
    pub from: String,
    /// Its name inside.
    pub to: String,
}

/// Devices that were moved. Dropped before [`Moved::keep`], they are given back as they were.
#[derive(Debug)]
pub(crate) struct Moved {
    outside: Links,
    inside: Links,
    /// The caller's network namespace.
    own: OwnedFd,
    /// The device, and whether it was up.
    devices: Vec<(NetDevice, bool)>,
}

impl Moved {
    /// They stay where they are.
    pub(crate) fn keep(mut self) {
        self.devices.clear();
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        for (device, up) in self.devices.iter().rev() {
            let back = (device.to.as_str(), device.from.as_str());
            // Nobody is left to tell: the start has failed already.
            transfer(&mut self.inside, &mut self.outside, self.own.as_fd(), back, *up).unwrap_or_default();
        }
    }
}

/// Moves all of them into the network namespace of process `pid`.
///
/// # Errors
/// The first device that cannot be moved; those before it are given back.
pub(crate) fn attach(devices: &[NetDevice], proc: &Proc, pid: i32) -> Result<Option<Moved>, StartError> {
    if devices.is_empty() {
        return Ok(None);
    }
    let open = "open a network namespace";
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    let own = proc.namespace(own_pid, c"net").map_err(StartError::parent(open))?;
    let theirs = proc.namespace(pid, c"net").map_err(StartError::parent(open))?;
    let socket = || Links::open().map_err(StartError::parent("open a socket for network devices"));
    let outside = socket()?;
    clone::join(theirs.as_fd(), clone::NEWNET)
        .map_err(StartError::parent("enter the container's network namespace"))?;
    let inside = socket();
    clone::join(own.as_fd(), clone::NEWNET).map_err(StartError::parent("go back to the own network namespace"))?;
    let mut moved = Moved { outside, inside: inside?, own, devices: Vec::with_capacity(devices.len()) };
    for device in devices {
        let what = || format!("move the network device {:?} of linux.netDevices into the container", device.from);
        let up = moved.outside.device(&device.from).map_err(StartError::parent(what()))?.up;
        transfer(&mut moved.outside, &mut moved.inside, theirs.as_fd(), (&device.from, &device.to), true).map_err(
            |(stage, source)| StartError::Parent { what: format!("{} as {:?}: {stage}", what(), device.to), source },
        )?;
        moved.devices.push((device.clone(), up));
    }
    Ok(Some(moved))
}

/// Moves one. It is down on the way: a device that is up keeps its name. One that could not be moved is as it was.
fn transfer(
    from: &mut Links,
    to: &mut Links,
    namespace: BorrowedFd<'_>,
    (old, new): (&str, &str),
    up: bool,
) -> Result<(), (&'static str, Errno)> {
    let at = |stage: &'static str| move |errno: Errno| (stage, errno);
    let device = from.device(old).map_err(at("find it"))?;
    // Going down takes addresses of version 6.
    let addresses = from.lasting_addresses(device.index).map_err(at("read its addresses"))?;
    from.set_up(device.index, false).map_err(at("bring it down"))?;
    if let Err(errno) = from.hand_over(device.index, namespace, new) {
        from.set_up(device.index, device.up).unwrap_or_default();
        for address in &addresses {
            from.add(device.index, address).unwrap_or_default();
        }
        return Err(("move it", errno));
    }
    let there = to.device(new).map_err(at("find it there"))?;
    for address in &addresses {
        to.add(there.index, address).map_err(at("give it its addresses"))?;
    }
    to.set_up(there.index, up).map_err(at("bring it up"))
}
