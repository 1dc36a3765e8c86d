//! The link of the host that others are made on: there already, or made for a network and removed with it.

use std::path::Path;

use bulkhead_sys::Errno;

use super::link::{self, MADE};
use super::{Kind, Uplink};
use crate::error::NetError;
use crate::link::{self as links, Link, by_name};
use crate::nft::rules;
use crate::socket::Socket;

/// Kinds of links that lead nowhere, the first that the kernel has.
const NOWHERE: [&str; 2] = ["dummy", "ifb"];
/// Tags that frames of a network can have (IEEE 802.1Q: 0 and 4095 mean something else).
const TAGS: std::ops::RangeInclusive<u16> = 1..=4094;

/// What there is of a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is there.
    There,
    /// It is there and was made for a network.
    Made,
    /// It is not there, and can be made: the link that it is on is there.
    CanBeMade,
}

/// Of `eth0.50`, the link and the tag of the frames that it carries.
#[must_use]
pub fn tagged(name: &str) -> Option<(&str, u16)> {
    let (on, tag) = name.rsplit_once('.')?;
    let plain = tag.bytes().all(|b| b.is_ascii_digit()) && !tag.starts_with('0');
    let tag = tag.parse().ok().filter(|tag| plain && TAGS.contains(tag))?;
    (!on.is_empty()).then_some((on, tag))
}

fn missing(name: &str, on: Option<&str>) -> NetError {
    let accepted = match on {
        Some(on) => format!("a link of the host is needed, and there is neither this one nor {on:?} to make it on"),
        None => "a link of the host is needed, as 'ip link' lists them; or one like eth0.50, which is made".to_owned(),
    };
    NetError::invalid("parent", name, accepted)
}

/// What no such link can be made on.
fn unfit(link: &Link, kind: Kind, sysfs: &Path) -> Result<(), NetError> {
    let no = |accepted: &str| Err(NetError::invalid("parent", &link.name, accepted));
    if link.name == "lo" {
        return no("a link that leads to others is needed, not loopback");
    }
    if [rules::BRIDGES, rules::PORTS].contains(&link.group) {
        return no("a link of the host's own is needed; this one belongs to a bridge network of ours");
    }
    let wireless = sysfs.join(&link.name).join("phy80211").exists();
    if wireless && matches!(kind, Kind::Macvlan(_)) {
        return no("a wireless link takes frames of one hardware address only; use --driver ipvlan, or a wired link");
    }
    Ok(())
}

/// Looks whether a link can be the parent of such links. Changes nothing.
///
/// # Errors
/// One that is not there and cannot be made; one that cannot have such links; what cannot be read.
pub fn look(name: &str, kind: Kind) -> Result<Found, NetError> {
    crate::check::name("parent", name)?;
    let mut socket = links::socket()?;
    let sysfs = Path::new("/sys/class/net");
    if let Some(found) = by_name(&mut socket, name)? {
        unfit(&found, kind, sysfs)?;
        return Ok(if found.group == MADE { Found::Made } else { Found::There });
    }
    let Some((on, _)) = tagged(name) else { return Err(missing(name, None)) };
    match by_name(&mut socket, on)? {
        None => Err(missing(name, Some(on))),
        Some(below) => unfit(&below, kind, sysfs).map(|()| Found::CanBeMade),
    }
}

/// Number of the parent's link, which is made where it is one that is made.
pub(super) fn ensure(socket: &mut Socket, uplink: &Uplink) -> Result<u32, NetError> {
    let name = uplink.parent();
    if let Some(found) = by_name(socket, name)? {
        return there(socket, uplink, &found);
    }
    let made = match (&uplink.parent, tagged(name)) {
        (None, _) => nowhere(socket, name),
        (Some(_), None) => return Err(missing(name, None)),
        (Some(_), Some((on, tag))) => {
            let below = by_name(socket, on)?.ok_or_else(|| missing(name, Some(on)))?;
            link::ask(socket, |w| link::of_tag(w, name, below.index, tag))
        }
    };
    match made {
        // Somebody else was faster.
        Err(no) if no.errno == Errno::EXIST => {}
        Err(no) if no.errno == Errno::OPNOTSUPP => {
            let what = match uplink.parent {
                Some(_) => format!("make the link {name:?} with a VLAN tag (CONFIG_VLAN_8021Q)"),
                None => {
                    "make a link that leads nowhere (CONFIG_DUMMY); name a link of the host with -o parent".to_owned()
                }
            };
            return Err(NetError::Missing { what, source: no.errno });
        }
        made => made.map_err(NetError::refused(format!("make the link {name:?}")))?,
    }
    let found =
        by_name(socket, name)?.ok_or_else(|| NetError::kernel(format!("find the link {name:?}"))(Errno::NODEV))?;
    there(socket, uplink, &found)
}

/// One that is there. Its state is the administrator's, but for one of ours.
fn there(socket: &mut Socket, uplink: &Uplink, found: &Link) -> Result<u32, NetError> {
    unfit(found, uplink.kind, Path::new("/sys/class/net"))?;
    if uplink.parent.is_none() && found.group != MADE {
        return Err(NetError::Foreign { link: found.name.clone() });
    }
    if found.group == MADE && !found.up {
        links::up(socket, found.index).map_err(NetError::refused(format!("bring up the link {:?}", found.name)))?;
    }
    Ok(found.index)
}

fn nowhere(socket: &mut Socket, name: &str) -> Result<(), crate::socket::Refusal> {
    let mut made = Err(Errno::OPNOTSUPP.into());
    for kind in NOWHERE {
        made = link::ask(socket, |w| link::of_nowhere(w, name, kind));
        if !matches!(&made, Err(no) if no.errno == Errno::OPNOTSUPP) {
            break;
        }
    }
    made
}

/// What is different about the parent, in words.
pub(super) fn differs(socket: &mut Socket, uplink: &Uplink) -> Result<Option<String>, NetError> {
    let name = uplink.parent();
    Ok(match by_name(socket, name)? {
        None => {
            Some(format!("the parent link {name:?} is gone; its containers lack their links until they are restarted"))
        }
        Some(found) if !found.up => Some(format!("the parent link {name:?} is down")),
        Some(_) => None,
    })
}

/// Removes a parent that was made for a network which is no more, with what is left on it. One that the host has had before,
/// or that is gone, is no error.
///
/// # Errors
/// What the kernel says.
pub fn remove(name: &str) -> Result<(), NetError> {
    let mut socket = links::socket()?;
    match by_name(&mut socket, name)?.filter(|found| found.group == MADE) {
        Some(found) => {
            links::remove(&mut socket, found.index).map_err(NetError::refused(format!("remove the link {name:?}")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lan::{IpvlanFlag, IpvlanMode, MacvlanMode};

    #[test]
    fn names_with_a_tag() {
        assert_eq!(tagged("eth0.50"), Some(("eth0", 50)));
        assert_eq!(tagged("eth0.10.4094"), Some(("eth0.10", 4094)));
        for wrong in ["eth0", "eth0.", "eth0.0", "eth0.4095", "eth0.x", ".5", "eth0.050", "eth0.+5"] {
            assert_eq!(tagged(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wireless_link_has_one_hardware_address() {
        let sysfs = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(sysfs.path().join("wlan0/phy80211")).unwrap();
        std::fs::create_dir_all(sysfs.path().join("eth0")).unwrap();
        let link = |name: &str, group| Link {
            index: 7,
            name: name.to_owned(),
            kind: String::new(),
            alias: String::new(),
            group,
            up: true,
            silent: false,
            mtu: 1500,
            master: None,
            isolated: false,
            locked: false,
        };
        let (macvlan, ipvlan) = (Kind::Macvlan(MacvlanMode::Bridge), Kind::Ipvlan(IpvlanMode::L2, IpvlanFlag::Bridge));
        let refused = |name: &str, group, kind| unfit(&link(name, group), kind, sysfs.path()).unwrap_err().to_string();
        let said = refused("wlan0", 0, macvlan);
        assert!(said.starts_with("parent \"wlan0\"") && said.contains("--driver ipvlan"), "{said}");
        unfit(&link("wlan0", 0), ipvlan, sysfs.path()).unwrap();
        unfit(&link("eth0", 0), macvlan, sysfs.path()).unwrap();
        assert!(refused("lo", 0, ipvlan).contains("loopback"));
        assert!(refused("bh-0123456789ab", rules::BRIDGES, ipvlan).contains("bridge network of ours"));
    }
}
