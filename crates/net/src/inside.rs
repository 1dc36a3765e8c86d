//! The container's side of a link, in its network namespace.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::proc::Proc;
use bulkhead_sys::{Errno, clone};

use crate::error::NetError;
use crate::socket::Socket;
use crate::{Bridge, Member, link, sysctl};

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

/// Sets up every link that was put there: settings, addresses, state, routes. To be called inside.
pub(crate) fn set_up(proc: &Proc, links: &[(&Member, &Bridge)]) -> Result<(), NetError> {
    let mut socket = link::socket()?;
    links.iter().try_for_each(|(member, bridge)| one(proc, &mut socket, member, bridge))
}

fn one(proc: &Proc, socket: &mut Socket, member: &Member, bridge: &Bridge) -> Result<(), NetError> {
    let name = &member.inner;
    let what = |what: &str| format!("{what} {name:?} in the container");
    let index = socket.index_of(name).map_err(NetError::kernel(what("find the link")))?;
    if member.v6.is_some() {
        sysctl::with_ipv6(proc, name)?;
    } else {
        sysctl::without_ipv6(proc, name)?;
    }
    let (v4, v6) = (member.v4.map(IpAddr::V4), member.v6.map(IpAddr::V6));
    let with_subnets = || [(v4, &bridge.v4), (v6, &bridge.v6)].into_iter().filter_map(|(a, s)| a.zip(s.as_ref()));
    for (address, subnet) in with_subnets() {
        let refused = NetError::refused(what(&format!("give the address {address} to the link")));
        link::add_address(socket, index, address, subnet).map_err(refused)?;
    }
    link::up(socket, index).map_err(NetError::refused(what("bring up the link")))?;
    if member.default_route { ways_out(socket, index, member, bridge) } else { Ok(()) }
}

/// Default routes of the families that the member has addresses of.
fn ways_out(socket: &mut Socket, index: u32, member: &Member, bridge: &Bridge) -> Result<(), NetError> {
    let (v4, v6) = (member.v4.map(IpAddr::V4), member.v6.map(IpAddr::V6));
    let subnets = [(v4, &bridge.v4), (v6, &bridge.v6)].into_iter().filter_map(|(a, s)| a.and(s.as_ref()));
    for subnet in subnets.filter(|_| !bridge.internal) {
        let what = format!("route through {} by the link {:?} in the container", subnet.gateway, member.inner);
        link::add_default_route(socket, index, subnet.gateway).map_err(NetError::refused(what))?;
    }
    Ok(())
}

/// Gives a process that runs a default route through one of its networks. The calling process should have one thread.
///
/// # Errors
/// [`NetError::NoWayBack`] leaves the caller inside: it should end. What the kernel refuses.
pub fn route(pid: i32, member: &Member, bridge: &Bridge) -> Result<(), NetError> {
    let proc = crate::procfs()?;
    let theirs = of_process(&proc, pid)?;
    Namespace::new(&proc, theirs.as_fd())?.visit(|| {
        let mut socket = link::socket()?;
        let what = || format!("find the link {:?} in the container", member.inner);
        let index = socket.index_of(&member.inner).map_err(NetError::kernel(what()))?;
        ways_out(&mut socket, index, member, bridge)
    })
}

/// The network namespace of a process.
pub(crate) fn of_process(proc: &Proc, pid: i32) -> Result<OwnedFd, NetError> {
    proc.namespace(pid, c"net").map_err(|source| match source {
        Errno::NOENT => NetError::invalid("process", pid, "one that is running"),
        source => NetError::kernel(format!("open the network namespace of process {pid}"))(source),
    })
}
