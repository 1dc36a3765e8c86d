//! The messages of rtnetlink that make such links (`linux/if_link.h`).

use std::os::fd::{AsRawFd, BorrowedFd};

use bulkhead_sys::Errno;

use super::{IpvlanFlag, IpvlanMode, Kind, MacvlanMode, Station, Uplink};
use crate::error::NetError;
use crate::link::{ADDRESS, DATA, GET_LINK, GROUP, KIND, LINK_INFO, MTU, NAME, NAMESPACE_FD, NEW_LINK, header};
use crate::socket::{CREATE, EXCL, Refusal, Socket};
use crate::wire::{Writer, find};

/// The link that another is on.
const ON: u16 = 5;
/// `IFLA_MACVLAN_MODE`, `IFLA_IPVLAN_MODE` and `IFLA_VLAN_ID`.
const FIRST: u16 = 1;
const IPVLAN_FLAGS: u16 = 2;
/// Group of links that are made for such networks, by which they are known as ours.
pub(super) const MADE: u32 = 0x626c_0001;

fn macvlan_mode(mode: MacvlanMode) -> u32 {
    match mode {
        MacvlanMode::Private => 1,
        MacvlanMode::Vepa => 2,
        MacvlanMode::Bridge => 4,
        MacvlanMode::Passthru => 8,
    }
}

fn ipvlan_mode(mode: IpvlanMode) -> u16 {
    match mode {
        IpvlanMode::L2 => 0,
        IpvlanMode::L3 => 1,
        IpvlanMode::L3s => 2,
    }
}

fn ipvlan_flag(flag: IpvlanFlag) -> u16 {
    match flag {
        IpvlanFlag::Bridge => 0,
        IpvlanFlag::Private => 1,
        IpvlanFlag::Vepa => 2,
    }
}

/// A link of this kind on the link number `on`, born in the namespace of the container, down.
pub(super) fn of_station(w: &mut Writer, station: &Station, uplink: &Uplink, on: u32, namespace: u32) {
    w.text(NAME, &station.inner);
    w.number(ON, on);
    if let Some(mtu) = uplink.mtu {
        w.number(MTU, mtu);
    }
    if uplink.kind.has_mac() {
        w.attribute(ADDRESS, &station.mac);
    }
    w.number(NAMESPACE_FD, namespace);
    w.nest(LINK_INFO, |w| {
        w.text(KIND, uplink.kind.driver());
        w.nest(DATA, |w| match uplink.kind {
            Kind::Macvlan(mode) => w.number(FIRST, macvlan_mode(mode)),
            Kind::Ipvlan(mode, flag) => {
                w.attribute(FIRST, &ipvlan_mode(mode).to_ne_bytes());
                if flag != IpvlanFlag::Bridge {
                    w.attribute(IPVLAN_FLAGS, &ipvlan_flag(flag).to_ne_bytes());
                }
            }
        });
    });
}

/// A link that carries the frames of another with this tag.
pub(super) fn of_tag(w: &mut Writer, name: &str, on: u32, tag: u16) {
    w.text(NAME, name);
    w.number(ON, on);
    w.number(GROUP, MADE);
    w.nest(LINK_INFO, |w| {
        w.text(KIND, "vlan");
        w.nest(DATA, |w| w.attribute(FIRST, &tag.to_ne_bytes()));
    });
}

/// A link that leads nowhere: what is sent by it is lost.
pub(super) fn of_nowhere(w: &mut Writer, name: &str, kind: &str) {
    w.text(NAME, name);
    w.number(GROUP, MADE);
    w.nest(LINK_INFO, |w| w.text(KIND, kind));
}

pub(super) fn ask(socket: &mut Socket, body: impl FnOnce(&mut Writer)) -> Result<(), Refusal> {
    socket.ask(NEW_LINK, CREATE | EXCL, &header(0, 0, 0), body)
}

/// Makes a container's link.
pub(super) fn make(
    socket: &mut Socket,
    station: &Station,
    uplink: &Uplink,
    on: u32,
    namespace: BorrowedFd<'_>,
) -> Result<(), NetError> {
    let namespace = namespace.as_raw_fd().unsigned_abs();
    let driver = uplink.kind.driver();
    ask(socket, |w| of_station(w, station, uplink, on, namespace)).map_err(|no| match no.errno {
        Errno::OPNOTSUPP => {
            let what = format!("make a {driver} link (CONFIG_{})", driver.to_uppercase());
            NetError::Missing { what, source: no.errno }
        }
        Errno::BUSY | Errno::INVAL if no.said.is_none() => NetError::ParentTaken {
            driver,
            parent: uplink.parent().to_owned(),
            link: station.inner.clone(),
            source: no.errno,
        },
        _ => NetError::refused(format!("make the {driver} link {:?} on {:?}", station.inner, uplink.parent()))(no),
    })
}

/// Hardware address of a link.
pub(super) fn mac_of(socket: &mut Socket, name: &str) -> Result<[u8; 6], NetError> {
    let what = format!("read the hardware address of {name:?} in the container");
    let read = |body: &[u8]| <[u8; 6]>::try_from(find(body, header(0, 0, 0).len(), ADDRESS)?).ok();
    let found =
        socket.get(GET_LINK, &header(0, 0, 0), |w| w.text(NAME, name), read).map_err(NetError::refused(&*what))?;
    found.ok_or_else(|| NetError::kernel(what)(Errno::NODEV))
}
