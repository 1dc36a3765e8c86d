//! Connecting a container to its networks, and taking it off them.

use std::os::fd::{AsFd, BorrowedFd};

use bulkhead_sys::Errno;
use bulkhead_sys::proc::Proc;

use crate::error::NetError;
use crate::firewall::Firewall;
use crate::inside::{self, Namespace};
use crate::link::{self, Link};
use crate::nft::elements::{self, Placed};
use crate::nft::flows;
use crate::socket::Socket;
use crate::{Bridge, Drift, Member, Port, bridge, check, firewall, forget, nft, pin, procfs};

/// What attaching found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// What was wrong with the firewall's rules before. They are right now, and what was left in their sets is there; but
    /// where a set itself was gone, [`crate::mend`] has to fill it again for the containers that run.
    pub mended: Vec<Drift>,
}

/// Connects the first process of a container, which is stopped or waits for the word, to networks, and publishes ports.
///
/// Bridges and firewall are made where they are not there. The container is reachable only for what the firewall was told
/// before: on the way there its packets are dropped, not let through. The calling process should have one thread: it
/// enters the container's network namespace and comes back.
///
/// # Errors
/// [`NetError::NoWayBack`] leaves the caller inside: it should end. After every other error nothing is left of it.
pub fn attach(pid: i32, bridges: &[&Bridge], members: &[Member], ports: &[Port]) -> Result<Attached, NetError> {
    let proc = procfs()?;
    let namespace = inside::of_process(&proc, pid)?;
    attach_to(namespace.as_fd(), bridges, members, ports)
}

/// As [`attach`], by a descriptor of the container's network namespace.
///
/// # Errors
/// As [`attach`].
pub fn attach_to(
    namespace: BorrowedFd<'_>,
    bridges: &[&Bridge],
    members: &[Member],
    ports: &[Port],
) -> Result<Attached, NetError> {
    check::all(bridges, members, ports)?;
    let proc = procfs()?;
    let mut attempt = Attempt {
        namespace: Namespace::new(&proc, namespace)?,
        links: link::socket()?,
        firewall: Firewall::open()?,
        proc,
        added: Vec::new(),
        made: Vec::new(),
        bridges: Vec::new(),
    };
    let done = attempt.run(bridges, members, ports);
    match &done {
        Ok(_) => {}
        // New sockets would be the container's now.
        Err(NetError::NoWayBack(_)) => attempt.take_back(),
        Err(_) => {
            attempt.take_back();
            attempt.remove_bridges();
        }
    }
    done
}

/// What was done so far, to be taken back when the rest fails.
struct Attempt<'a> {
    proc: Proc,
    namespace: Namespace<'a>,
    links: Socket,
    firewall: Firewall,
    added: Vec<Placed>,
    made: Vec<u32>,
    bridges: Vec<Link>,
}

impl Attempt<'_> {
    fn run(&mut self, bridges: &[&Bridge], members: &[Member], ports: &[Port]) -> Result<Attached, NetError> {
        let mended = firewall::ensure(self.firewall.socket()?)?;
        bridge::forward(&self.proc, self.firewall.socket()?, bridges, ports)?;
        let mut masters = Vec::with_capacity(bridges.len());
        let mut links = Vec::with_capacity(bridges.len());
        for wanted in bridges {
            let (link, made) = bridge::ensure(&mut self.links, &self.proc, wanted)?;
            if made {
                self.bridges.push(link.clone());
            }
            masters.push((*wanted, link.index));
            links.push(link);
        }
        bridge::keep_guard(&mut self.links, self.firewall.socket()?, &links)?;
        self.allow(bridges, members, ports)?;
        let mut inner = Vec::with_capacity(members.len());
        for member in members {
            let master = masters.iter().find(|(b, _)| b.link == member.bridge);
            let (network, index) =
                master.ok_or_else(|| NetError::invalid("bridge of a member", &member.bridge, "one that is given"))?;
            self.plug(member, network, *index)?;
            inner.push((member, *network));
        }
        self.namespace.visit(|| inside::set_up(&self.proc, &inner))?;
        Ok(Attached { mended })
    }

    /// What the firewall has to know, in one change.
    fn allow(&mut self, bridges: &[&Bridge], members: &[Member], ports: &[Port]) -> Result<(), NetError> {
        let shared: Vec<Placed> = bridges.iter().flat_map(|b| elements::of_bridge(b)).collect();
        let flows = bridges.iter().flat_map(|b| flows::of_policy(b));
        let own = members.iter().flat_map(elements::of_member).chain(flows);
        let own: Vec<Placed> = own.chain(ports.iter().map(elements::of_port)).collect();
        if bridges.iter().any(|b| b.policy.is_some()) {
            // What is left of an earlier start could be in the way of what is meant now.
            firewall::forget_flows(self.firewall.socket()?, members)?;
        }
        firewall::add(self.firewall.socket()?, &[shared, own.clone()].concat(), ports)?;
        self.added = own;
        forget::strays(self.firewall.socket()?, ports)
    }

    /// A pair of links between the bridge and the container, its host's end as a port that is up.
    fn plug(&mut self, member: &Member, network: &Bridge, master: u32) -> Result<(), NetError> {
        let name = &member.host_link;
        let what = |what: &str| format!("{what} the link {name:?} to {:?}", member.bridge);
        let mut make = || link::make_pair(&mut self.links, member, network.mtu, master, self.namespace.fd());
        match make() {
            Err(no) if no.errno == Errno::EXIST => {
                // One of an earlier start that is not quite gone yet, or was left over.
                let mut links = link::socket()?;
                let old = link::by_name(&mut links, name)?.filter(|l| l.group == nft::rules::PORTS);
                let Some(old) = old else { return Err(NetError::refused(what("make"))(no)) };
                link::remove(&mut links, old.index).map_err(NetError::refused(what("remove")))?;
                make().map_err(NetError::refused(what("make")))?;
            }
            Err(no) if no.errno == Errno::OPNOTSUPP => {
                let what = "make a pair of links (CONFIG_VETH)".to_owned();
                return Err(NetError::Missing { what, source: no.errno });
            }
            made => made.map_err(NetError::refused(what("make")))?,
        }
        let index = self.links.index_of(name).map_err(NetError::kernel(what("find")))?;
        self.made.push(index);
        crate::sysctl::without_ipv6(&self.proc, name)?;
        link::pin(&mut self.links, index, member.mac).map_err(NetError::refused(what("pin the address of")))?;
        link::open_port(&mut self.links, index, network.isolated).map_err(NetError::refused(what("open")))
    }

    /// Takes back what was done for the container. What cannot be is found by [`crate::verify`].
    fn take_back(&mut self) {
        self.firewall.socket().and_then(|socket| firewall::remove(socket, &self.added)).unwrap_or_default();
        for index in &self.made {
            link::remove(&mut self.links, *index).unwrap_or_default();
        }
    }

    /// Removes the bridges that were made for it. Where another container has come meanwhile they are that one's.
    fn remove_bridges(&self) {
        for made in &self.bridges {
            bridge::remove_bridge(&made.name).unwrap_or_default();
        }
    }
}

/// Takes the rights of members and the way of ports out of the firewall, in one change: from then on nothing that is sent
/// from there gets anywhere. Their connections are forgotten where the kernel can do that for one address.
///
/// The links of a container that has ended are not waited for: they go with its network namespace. For a container that
/// goes on there is [`unplug`].
///
/// # Errors
/// What the kernel says. What is not there is no error.
pub fn detach(members: &[Member], ports: &[Port]) -> Result<(), NetError> {
    let gone = members.iter().flat_map(elements::of_member).chain(ports.iter().map(elements::of_port));
    let mut firewall = Firewall::open()?;
    firewall::remove(firewall.socket()?, &gone.collect::<Vec<_>>())?;
    firewall::forget_flows(firewall.socket()?, members)?;
    let pinned = members.iter().filter(|m| m.egress.is_some()).flat_map(Member::addresses).collect::<Vec<_>>();
    pin::forget(firewall.socket()?, &pinned)?;
    forget::connections(firewall.socket()?, members)
}

/// As [`detach`], and removes the links too. That waits for the kernel, tens of milliseconds for all of them.
///
/// # Errors
/// What the kernel says. What is not there is no error.
pub fn unplug(members: &[Member], ports: &[Port]) -> Result<(), NetError> {
    detach(members, ports)?;
    let mut socket = link::socket()?;
    let all = link::ours(&mut socket)?;
    let theirs = all.iter().filter(|l| members.iter().any(|m| m.host_link == l.name && l.group == nft::rules::PORTS));
    let indexes: Vec<u32> = theirs.map(|l| l.index).collect();
    remove_links(&mut socket, &indexes)
}

/// Removes links, all within the time that one takes.
pub(crate) fn remove_links(socket: &mut Socket, indexes: &[u32]) -> Result<(), NetError> {
    let failed = || NetError::refused("remove the links of containers");
    match indexes {
        [] => Ok(()),
        [one] => link::remove(socket, *one).map_err(failed()),
        several => {
            // A group that nobody else uses: the number of the first, with our mark.
            const GOING: u32 = 0x6278_0000;
            let group = GOING | several.first().map_or(0, |index| index & 0xffff);
            for index in several {
                match link::set_group(socket, *index, group) {
                    Err(no) if no.errno != Errno::NODEV => return Err(failed()(no)),
                    _ => {}
                }
            }
            link::remove_group(socket, group).map_err(failed())
        }
    }
}
