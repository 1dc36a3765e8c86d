//! The container's side of a link, in its network namespace.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::proc::Proc;
use bulkhead_sys::{Errno, clone};

use crate::error::NetError;
use crate::socket::Socket;
use crate::{Bridge, Member, Subnet, link, sysctl};

/// The network namespace of a container, and the way back from it.
#[derive(Debug)]
pub(crate) struct Namespace<'a> {
    theirs: BorrowedFd<'a>,
    own: OwnedFd,
}

impl<'a> Namespace<'a> {
    /// Of a descriptor. The caller's own is refused: what is meant for a container must not land on the host.
    pub(crate) fn new(proc: &Proc, theirs: BorrowedFd<'a>) -> Result<Self, NetError> {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let own = proc.namespace(thread, c"net").map_err(NetError::kernel("open the own network namespace"))?;
        let identity = |fd: BorrowedFd<'_>| {
            let stat = rustix::fs::fstat(fd).map_err(NetError::kernel("look at a network namespace"))?;
            Ok((stat.st_dev, stat.st_ino))
        };
        if identity(own.as_fd())? == identity(theirs)? {
            return Err(NetError::invalid("network namespace", "the host's", "that of a container"));
        }
        Ok(Self { theirs, own })
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'a> {
        self.theirs
    }

    /// Acts inside, and comes back.
    pub(crate) fn visit<T>(&self, act: impl FnOnce() -> Result<T, NetError>) -> Result<T, NetError> {
        clone::join(self.theirs, clone::NEWNET).map_err(NetError::kernel("enter the container's network namespace"))?;
        let done = act();
        clone::join(self.own.as_fd(), clone::NEWNET).map_err(NetError::NoWayBack)?;
        done
    }
}

/// The container's side of a link: what is to be made of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a> {
    /// Its name.
    pub(crate) inner: &'a str,
    /// Its addresses with their subnets.
    pub(crate) v4: Option<(IpAddr, &'a Subnet)>,
    pub(crate) v6: Option<(IpAddr, &'a Subnet)>,
    /// Everything that has no other way goes by it.
    pub(crate) default_route: bool,
    /// By the gateway, or else straight, where there are no neighbours.
    pub(crate) through_gateway: bool,
}

impl<'a> Side<'a> {
    fn of(member: &'a Member, bridge: &'a Bridge) -> Self {
        Self {
            inner: &member.inner,
            v4: member.v4.map(IpAddr::V4).zip(bridge.v4.as_ref()),
            v6: member.v6.map(IpAddr::V6).zip(bridge.v6.as_ref()),
            default_route: member.default_route && !bridge.internal,
            through_gateway: true,
        }
    }

    fn addresses(&self) -> impl Iterator<Item = (IpAddr, &'a Subnet)> + use<'a> {
        self.v4.into_iter().chain(self.v6)
    }
}

/// Sets up every link that was put there: settings, addresses, state, routes. To be called inside.
pub(crate) fn set_up(proc: &Proc, links: &[(&Member, &Bridge)]) -> Result<(), NetError> {
    let mut socket = link::socket()?;
    links.iter().try_for_each(|(member, bridge)| one(proc, &mut socket, &Side::of(member, bridge)))
}

/// [`set_up`] of one link.
pub(crate) fn one(proc: &Proc, socket: &mut Socket, side: &Side<'_>) -> Result<(), NetError> {
    let name = side.inner;
    let what = |what: &str| format!("{what} {name:?} in the container");
    let index = socket.index_of(name).map_err(NetError::kernel(what("find the link")))?;
    if side.v6.is_some() {
        sysctl::with_ipv6(proc, name)?;
    } else {
        sysctl::without_ipv6(proc, name)?;
    }
    for (address, subnet) in side.addresses() {
        let refused = NetError::refused(what(&format!("give the address {address} to the link")));
        link::add_address(socket, index, address, subnet).map_err(refused)?;
    }
    link::up(socket, index).map_err(NetError::refused(what("bring up the link")))?;
    ways_out(socket, index, side)
}

/// Default routes of the families that there are addresses of.
fn ways_out(socket: &mut Socket, index: u32, side: &Side<'_>) -> Result<(), NetError> {
    for (_, subnet) in side.addresses().filter(|_| side.default_route) {
        let (gateway, through) = (subnet.gateway, side.through_gateway);
        let what = format!("route through {gateway} by the link {:?} in the container", side.inner);
        link::add_default_route(socket, index, gateway, through).map_err(NetError::refused(what))?;
    }
    Ok(())
}

/// Gives a process that runs a default route through one of its networks. The calling process should have one thread.
///
/// # Errors
/// [`NetError::NoWayBack`] leaves the caller inside: it should end. What the kernel refuses.
pub fn route(pid: i32, member: &Member, bridge: &Bridge) -> Result<(), NetError> {
    route_by(pid, &Side::of(member, bridge))
}

/// As [`route`], by any link.
pub(crate) fn route_by(pid: i32, side: &Side<'_>) -> Result<(), NetError> {
    let proc = crate::procfs()?;
    let theirs = of_process(&proc, pid)?;
    Namespace::new(&proc, theirs.as_fd())?.visit(|| {
        let mut socket = link::socket()?;
        let what = || format!("find the link {:?} in the container", side.inner);
        let index = socket.index_of(side.inner).map_err(NetError::kernel(what()))?;
        ways_out(&mut socket, index, side)
    })
}

/// The network namespace of a process.
pub(crate) fn of_process(proc: &Proc, pid: i32) -> Result<OwnedFd, NetError> {
    proc.namespace(pid, c"net").map_err(|source| match source {
        Errno::NOENT => NetError::invalid("process", pid, "one that is running"),
        source => NetError::kernel(format!("open the network namespace of process {pid}"))(source),
    })
}
