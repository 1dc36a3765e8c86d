//! Networks of the drivers `macvlan` and `ipvlan`: containers with links of their own on a link of the host.
//!
//! Nothing of the host stands between such a link and what is beyond its parent: the host's firewall sees none of its
//! frames. What holds the container to its addresses is in its own network namespace, where it has no right to change it:
//! see [`walls`]. A container that may administer its network, or send raw packets, has no place on such a network.

mod link;
mod parent;
#[cfg(test)]
mod tests;
mod walls;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bulkhead_sys::Errno;
use bulkhead_sys::proc::Proc;
use serde::{Deserialize, Serialize};

pub use self::parent::{Found, look, remove, tagged};
use crate::error::NetError;
use crate::inside::{self, Namespace, Side};
use crate::socket::Socket;
use crate::{Subnet, check, procfs};

/// What links of a network are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Each has a hardware address of its own.
    Macvlan(MacvlanMode),
    /// All have that of the parent, which tells them apart by their addresses.
    Ipvlan(IpvlanMode, IpvlanFlag),
}

impl Kind {
    /// Name of the driver.
    #[must_use]
    pub fn driver(self) -> &'static str {
        match self {
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(..) => "ipvlan",
        }
    }

    /// Whether a link has a hardware address of its own.
    #[must_use]
    pub fn has_mac(self) -> bool {
        !matches!(self, Self::Macvlan(MacvlanMode::Passthru) | Self::Ipvlan(..))
    }

    /// Whether packets are routed: there are no neighbours, and no gateway among them.
    #[must_use]
    pub fn is_routed(self) -> bool {
        matches!(self, Self::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s, _))
    }

    /// Whether members reach each other by the parent.
    #[must_use]
    pub fn is_apart(self) -> bool {
        matches!(self, Self::Macvlan(MacvlanMode::Private) | Self::Ipvlan(_, IpvlanFlag::Private))
    }
}

/// How frames go between links of one parent (`MACVLAN_MODE_*` of `linux/if_link.h`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Straight.
    #[default]
    Bridge,
    /// Not at all.
    Private,
    /// By the switch beyond the parent.
    Vepa,
    /// There is only one, which has the parent for itself.
    Passthru,
}

impl MacvlanMode {
    /// Every mode, with its name.
    pub const ALL: [(&str, Self); 4] =
        [("bridge", Self::Bridge), ("private", Self::Private), ("vepa", Self::Vepa), ("passthru", Self::Passthru)];
}

/// What decides where a packet goes (`IPVLAN_MODE_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// The neighbours' hardware addresses.
    #[default]
    L2,
    /// Routes of the host.
    L3,
    /// The same, through the host's packet filter.
    L3s,
}

impl IpvlanMode {
    /// Every mode, with its name.
    pub const ALL: [(&str, Self); 3] = [("l2", Self::L2), ("l3", Self::L3), ("l3s", Self::L3s)];
}

/// How packets go between links of one parent (`IPVLAN_F_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanFlag {
    /// Straight.
    #[default]
    Bridge,
    /// Not at all.
    Private,
    /// By the switch beyond the parent.
    Vepa,
}

impl IpvlanFlag {
    /// Every flag, with its name.
    pub const ALL: [(&str, Self); 3] = [("bridge", Self::Bridge), ("private", Self::Private), ("vepa", Self::Vepa)];
}

/// A network of links on one parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Which network it is: a name of 15 bytes at most that no other has. A parent that leads nowhere is called so.
    pub name: String,
    /// Link of the host that links are made on; `None`: one that is made for the network and leads nowhere.
    pub parent: Option<String>,
    /// What links are.
    pub kind: Kind,
    /// IPv4 addresses, if it has any.
    pub v4: Option<Subnet>,
    /// IPv6 addresses, if it has any.
    pub v6: Option<Subnet>,
    /// Largest packet in bytes; `None`: the parent's.
    pub mtu: Option<u32>,
    /// No member has a default route.
    pub internal: bool,
}

impl Uplink {
    /// The link of the host that members' links are made on.
    #[must_use]
    pub fn parent(&self) -> &str {
        self.parent.as_deref().unwrap_or(&self.name)
    }
}

/// A container's place in such a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Station {
    /// Which network.
    pub uplink: String,
    /// Which container on which network: as of a bridge's member, though there is no link of this name.
    pub key: String,
    /// Name of the link inside.
    pub inner: String,
    /// Its hardware address, where it has one of its own.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, besides that of the link.
    pub v6: Option<Ipv6Addr>,
    /// What is not on the network is sent through its gateway.
    pub default_route: bool,
}

impl Station {
    fn side<'a>(&'a self, uplink: &'a Uplink) -> Side<'a> {
        Side {
            inner: &self.inner,
            v4: self.v4.map(IpAddr::V4).zip(uplink.v4.as_ref()),
            v6: self.v6.map(IpAddr::V6).zip(uplink.v6.as_ref()),
            default_route: self.default_route && !uplink.internal,
            through_gateway: !uplink.kind.is_routed(),
        }
    }
}

fn of<'a>(uplinks: &'a [Uplink], station: &Station) -> Result<&'a Uplink, NetError> {
    let known = || uplinks.iter().map(|u| u.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = uplinks.iter().find(|u| u.name == station.uplink);
    found.ok_or_else(|| NetError::invalid("network of a container", &station.uplink, format!("one of {}", known())))
}

/// The first thing that is wrong.
fn checked(uplinks: &[Uplink], stations: &[Station]) -> Result<(), NetError> {
    for uplink in uplinks {
        check::name("link of a network", &uplink.name)?;
        check::name("parent", uplink.parent())?;
        check::network(uplink.v4.as_ref(), uplink.v6.as_ref(), uplink.mtu)?;
    }
    for station in stations {
        check::name("link inside", &station.inner)?;
        let uplink = of(uplinks, station)?;
        check::addresses(&uplink.name, (station.v4, station.v6), (uplink.v4.as_ref(), uplink.v6.as_ref()))?;
        check::mac(station.mac)?;
    }
    Ok(())
}

/// Makes the parent of a network where it is one that is made and is missing.
///
/// # Errors
/// A parent that is not there, or cannot have such links; what the kernel refuses.
pub fn prepare(uplink: &Uplink) -> Result<(), NetError> {
    checked(std::slice::from_ref(uplink), &[])?;
    parent::ensure(&mut crate::link::socket()?, uplink).map(drop)
}

/// Connects the first process of a container, which is stopped or waits for the word, to networks: all of them, or none.
/// Parents that are made for a network are made where they are missing. The calling process should have one thread.
///
/// # Errors
/// [`NetError::NoWayBack`] leaves the caller inside: it should end. A parent that is not there, or cannot have such links;
/// what the kernel refuses. Then nothing is left of it inside.
pub fn attach(pid: i32, uplinks: &[Uplink], stations: &[Station]) -> Result<(), NetError> {
    checked(uplinks, stations)?;
    let proc = procfs()?;
    let theirs = inside::of_process(&proc, pid)?;
    let namespace = Namespace::new(&proc, theirs.as_fd())?;
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt(&proc, &namespace, uplinks, stations) {
            Err(e) if is_passing(&e) && Instant::now() < until => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}

/// How long the kernel may take to remove the links of a container that has ended, which have its addresses, and in the mode
/// passthru the parent: it does so when it comes to it.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// What the end of such a link ends.
fn is_passing(error: &NetError) -> bool {
    match error {
        NetError::ParentTaken { .. } => true,
        NetError::Kernel { source, .. } => [Errno::ADDRINUSE, Errno::BUSY].contains(source),
        _ => false,
    }
}

fn attempt(proc: &Proc, namespace: &Namespace<'_>, uplinks: &[Uplink], stations: &[Station]) -> Result<(), NetError> {
    let mut links = crate::link::socket()?;
    let mut made: Vec<&Station> = Vec::new();
    let mut put = || {
        for station in stations {
            let uplink = of(uplinks, station)?;
            let on = parent::ensure(&mut links, uplink)?;
            link::make(&mut links, station, uplink, on, namespace.fd())?;
            made.push(station);
        }
        namespace.visit(|| stations.iter().try_for_each(|station| set_up(proc, station, of(uplinks, station)?)))
    };
    match put() {
        Err(e @ NetError::NoWayBack(_)) => Err(e),
        Err(e) => match namespace.visit(|| made.iter().try_for_each(|station| take_away(&station.inner))) {
            Err(lost @ NetError::NoWayBack(_)) => Err(lost),
            // The first failure is what matters.
            _ => Err(e),
        },
        Ok(()) => Ok(()),
    }
}

/// Inside: walls first, so that nothing is ever sent without them.
fn set_up(proc: &Proc, station: &Station, uplink: &Uplink) -> Result<(), NetError> {
    let mut socket = crate::link::socket()?;
    let mac = link::mac_of(&mut socket, &station.inner)?;
    walls::raise(station, uplink, mac)?;
    inside::one(proc, &mut socket, &station.side(uplink))
}

/// Inside: removes a link with its walls. One that is gone is no error.
fn take_away(inner: &str) -> Result<(), NetError> {
    let mut socket: Socket = crate::link::socket()?;
    match socket.index_of(inner) {
        Ok(index) => {
            let what = format!("remove the link {inner:?} in the container");
            crate::link::remove(&mut socket, index).map_err(NetError::refused(what))?;
        }
        Err(Errno::NODEV) => {}
        Err(e) => return Err(NetError::kernel(format!("find the link {inner:?} in the container"))(e)),
    }
    walls::raze(inner)
}

/// Takes a container that goes on off networks. One that has ended has taken its links along.
///
/// # Errors
/// [`NetError::NoWayBack`] leaves the caller inside: it should end. What the kernel says.
pub fn unplug(pid: i32, stations: &[Station]) -> Result<(), NetError> {
    let proc = procfs()?;
    let theirs = inside::of_process(&proc, pid)?;
    Namespace::new(&proc, theirs.as_fd())?.visit(|| stations.iter().try_for_each(|station| take_away(&station.inner)))
}

/// Gives a process that runs a default route through one of its networks. The calling process should have one thread.
///
/// # Errors
/// As [`crate::route`].
pub fn route(pid: i32, station: &Station, uplink: &Uplink) -> Result<(), NetError> {
    inside::route_by(pid, &station.side(uplink))
}

/// What differs from what is declared, in words: of the parents, and of the links of containers that run, by the process
/// of each. Changes nothing. The calling process should have one thread.
///
/// # Errors
/// [`NetError::NoWayBack`] leaves the caller inside: it should end. What cannot be read.
pub fn verify(uplinks: &[Uplink], running: &[(i32, Vec<Station>)]) -> Result<Vec<String>, NetError> {
    let mut lines = Vec::new();
    let mut links = crate::link::socket()?;
    for uplink in uplinks {
        lines.extend(parent::differs(&mut links, uplink)?);
    }
    let proc = procfs()?;
    for (pid, stations) in running.iter().filter(|(_, stations)| !stations.is_empty()) {
        // One that ends at this moment has nothing that could differ.
        let Ok(theirs) = inside::of_process(&proc, *pid) else { continue };
        let found = Namespace::new(&proc, theirs.as_fd())?.visit(|| {
            let mut lines = Vec::new();
            for station in stations {
                lines.extend(differs(station, of(uplinks, station)?)?);
            }
            Ok(lines)
        })?;
        lines.extend(found);
    }
    Ok(lines)
}

/// Inside: what is different about a link.
fn differs(station: &Station, uplink: &Uplink) -> Result<Vec<String>, NetError> {
    let mut socket = crate::link::socket()?;
    let name = &station.inner;
    let at = format!("on {:?}", uplink.parent());
    let Some(link) = crate::link::by_name(&mut socket, name)? else {
        return Ok(vec![format!("the container's link {name:?} {at} is gone; restart the container")]);
    };
    let mut lines = Vec::new();
    let mut say = |what: &str| lines.push(format!("the container's link {name:?} {at} was changed: {what}"));
    if link.kind != uplink.kind.driver() {
        say(&format!("it is of the kind {:?}", link.kind));
    }
    if !link.up {
        say("it is down");
    }
    let mac = link::mac_of(&mut socket, name)?;
    if uplink.kind.has_mac() && mac != station.mac {
        say("it has another hardware address");
    }
    let all = crate::link::all_addresses(&mut socket)?;
    let own = [station.v4.map(IpAddr::V4), station.v6.map(IpAddr::V6)];
    for address in own.into_iter().flatten() {
        if !all.iter().any(|a| (a.link, a.address) == (link.index, address)) {
            say(&format!("it has not the address {address}"));
        }
    }
    if !walls::stand(station, uplink, mac)? {
        say("its walls are gone; restart the container");
    }
    Ok(lines)
}
