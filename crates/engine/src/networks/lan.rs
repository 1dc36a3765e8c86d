//! Networks of the drivers `macvlan` and `ipvlan`: what they are made with, and who may be on them.
//!
//! Nothing of the host's stands between such a network and its members, so what only the host could hold is refused: lists,
//! policies and published ports. The walls are in the container's own network namespace, and a container that could change
//! them or go around them is refused too.

use std::collections::BTreeMap;

use bulkhead_net::Uplink;
use bulkhead_net::lan::{IpvlanFlag, IpvlanMode, Kind, MacvlanMode};
use bulkhead_sandbox::spec::Caps;

use super::wire;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::request::ContainerRequest;
use crate::store::{ContainerRecord, NetworkRecord, Store};

/// Why no port of the host leads to such a network.
pub(crate) const UNPUBLISHED: &str = "on a network of the driver macvlan or ipvlan the container is reached at its own \
    address, and the host forwards nothing there; leave -p out, or connect it to a bridge network too";

/// Rights that change the walls, and that go around them.
const BEYOND: [(u32, &str); 2] = [(12, "NET_ADMIN"), (13, "NET_RAW")];

/// What such a network is made on, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lan {
    /// Link of the host; `None`: one that leads nowhere.
    pub(super) parent: Option<String>,
    pub(super) kind: Kind,
}

/// One of several words.
fn named<T: Copy>(all: &[(&'static str, T)], option: &str, value: &str) -> Result<T, EngineError> {
    let found = all.iter().find(|(name, _)| *name == value);
    found.map(|(_, one)| *one).ok_or_else(|| {
        let words: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        EngineError::invalid("--opt", format!("{option}={value}"), format!("one of {} is needed", words.join(", ")))
    })
}

impl Lan {
    /// Understands the options of `network create`; also gives the bytes of a packet, 0 for the parent's.
    ///
    /// # Errors
    /// An option that is not known, or whose value is none.
    pub(super) fn parse(
        driver: &str,
        options: &BTreeMap<String, String>,
        v6: bool,
    ) -> Result<(Self, u32), EngineError> {
        let (mut parent, mut mtu) = (None, 0);
        let (mut macvlan, mut ipvlan) = (MacvlanMode::default(), IpvlanMode::default());
        let mut flag = IpvlanFlag::default();
        for (name, value) in options {
            match (driver, name.as_str()) {
                (_, "parent") if value.is_empty() => {
                    let needed = "the name of a link of the host is needed, as 'ip link' lists them";
                    return Err(EngineError::invalid("--opt", "parent=", needed));
                }
                (_, "parent") => parent = Some(value.clone()),
                (_, "mtu" | "com.docker.network.driver.mtu") => mtu = super::options::mtu(name, value, v6)?,
                ("macvlan", "macvlan_mode") => macvlan = named(&MacvlanMode::ALL, name, value)?,
                ("ipvlan", "ipvlan_mode") => ipvlan = named(&IpvlanMode::ALL, name, value)?,
                ("ipvlan", "ipvlan_flag") => flag = named(&IpvlanFlag::ALL, name, value)?,
                _ => {
                    let own = if driver == "macvlan" { "macvlan_mode" } else { "ipvlan_mode, ipvlan_flag" };
                    let known = format!("known are parent, {own} and com.docker.network.driver.mtu");
                    return Err(EngineError::refused(format!("--opt {name}"), known));
                }
            }
        }
        let kind = if driver == "macvlan" { Kind::Macvlan(macvlan) } else { Kind::Ipvlan(ipvlan, flag) };
        Ok((Self { parent, kind }, mtu))
    }

    /// Of a network that is recorded; nothing for a bridge.
    pub(super) fn of(network: &NetworkRecord) -> Option<Self> {
        if network.is_bridge() {
            return None;
        }
        // They were understood when it was made.
        Self::parse(&network.driver, &network.options, network.v6.is_some()).ok().map(|(lan, _)| lan)
    }

    /// In words, for people: `macvlan on eth0`.
    pub(super) fn show(&self) -> String {
        let driver = self.kind.driver();
        match &self.parent {
            Some(parent) => format!("{driver} on {parent}"),
            None => format!("{driver} on no link"),
        }
    }

    /// The mode as options write it.
    pub(super) fn mode(&self) -> &'static str {
        fn of<T: PartialEq>(all: &'static [(&'static str, T)], one: &T) -> &'static str {
            all.iter().find(|(_, known)| known == one).map_or("", |(name, _)| name)
        }
        match &self.kind {
            Kind::Macvlan(mode) => of(&MacvlanMode::ALL, mode),
            Kind::Ipvlan(mode, _) => of(&IpvlanMode::ALL, mode),
        }
    }
}

/// Another network whose links its own do not go together with on one parent. What one ipvlan network is, all on its parent
/// are: the kernel keeps the mode with the parent.
pub(super) fn apart(lan: &Lan, store: &Store) -> Result<(), EngineError> {
    let Some(parent) = &lan.parent else { return Ok(()) };
    for network in store.list_networks()? {
        let Some(other) = Lan::of(&network).filter(|other| other.parent.as_ref() == Some(parent)) else { continue };
        let passthru = |kind| kind == Kind::Macvlan(MacvlanMode::Passthru);
        let reason = match (lan.kind, other.kind) {
            (Kind::Macvlan(_), Kind::Ipvlan(..)) | (Kind::Ipvlan(..), Kind::Macvlan(_)) => {
                format!("network {} has {} links on it, and a link takes one kind", network.name, other.kind.driver())
            }
            (own, theirs) if passthru(own) || passthru(theirs) => {
                format!("network {} is on it, and a link in the mode passthru has its parent for itself", network.name)
            }
            (Kind::Ipvlan(..), Kind::Ipvlan(..)) if lan.kind != other.kind => {
                format!("network {} is on it in the mode {}, and all on one link have one", network.name, other.mode())
            }
            _ => continue,
        };
        return Err(EngineError::invalid(
            "--opt",
            format!("parent={parent}"),
            format!("{reason}; choose another link"),
        ));
    }
    Ok(())
}

/// Removes the link that was made for a network, unless another network is on it.
pub(super) fn remove(store: &Store, network: &NetworkRecord, lan: &Lan) -> Result<(), EngineError> {
    if let Some(parent) = &lan.parent {
        let others = store.list_networks()?;
        if others.iter().filter_map(Lan::of).any(|other| other.parent.as_ref() == Some(parent)) {
            return Ok(());
        }
    }
    let link = lan.parent.clone().unwrap_or_else(|| wire::bridge_link(&network.id));
    Ok(bulkhead_net::lan::remove(&link)?)
}

/// Makes the link that a network is on, where it is one that is made.
pub(super) fn prepare(uplinks: &[Uplink]) -> Result<(), EngineError> {
    uplinks.iter().try_for_each(|uplink| bulkhead_net::lan::prepare(uplink).map_err(EngineError::from))
}

/// The right that a container has and that the walls do not hold against.
fn beyond(request: &ContainerRequest) -> Result<Option<&'static str>, EngineError> {
    let (_, bounding) = crate::resolve::capabilities(request, 0, &mut Vec::new())?;
    Ok(BEYOND.into_iter().find(|(bit, _)| bounding.has(Caps(1 << bit))).map(|(_, name)| name))
}

/// The first network of these, by name or id, that is of one of these drivers.
fn first(store: &Store, joins: &[crate::store::JoinWish]) -> Result<Option<NetworkRecord>, EngineError> {
    // What was asked of a network without saying which is meant for the default one, or is refused where there is none.
    for join in joins.iter().filter(|join| !join.network.is_empty()) {
        let network = store.find_network(&join.network)?;
        if !network.is_bridge() {
            return Ok(Some(network));
        }
    }
    Ok(None)
}

/// Whether a container may be on a network.
///
/// # Errors
/// What could not be enforced there, with the way out.
pub(super) fn check(request: &ContainerRequest, network: &NetworkRecord) -> Result<(), EngineError> {
    let Some(lan) = Lan::of(network) else { return Ok(()) };
    let on = format!("with network {} ({})", network.name, lan.show());
    if let Some(egress) = &request.net.egress {
        let flag = egress.first().map_or_else(|| "none".to_owned(), ToString::to_string);
        let why = "what leaves by a link of the host does not pass the host's firewall; use a bridge network";
        return Err(EngineError::refused(format!("--egress {flag} {on}"), why));
    }
    if let Some(right) = beyond(request)? {
        let flag = match (request.privileged, request.cap_add.is_empty()) {
            (true, _) => "--privileged".to_owned(),
            (false, true) => format!("the right {right}"),
            (false, false) => format!("--cap-add {right}"),
        };
        let why = format!(
            "its walls are in the container's own namespace, and do not hold with {right}; add --cap-drop {right}, or use a \
             bridge network"
        );
        return Err(EngineError::refused(format!("{flag} {on}"), why));
    }
    Ok(())
}

/// [`check`] of a wish; also what such a network has not.
pub(super) fn check_join(network: &NetworkRecord, join: &crate::store::JoinWish) -> Result<(), EngineError> {
    match (Lan::of(network), join.mac) {
        (Some(lan), Some(mac)) if !lan.kind.has_mac() => {
            let why = format!(
                "links of network {} have the hardware address of the host's link; leave it out, or use another mode of macvlan",
                network.name
            );
            Err(EngineError::refused(format!("--mac-address {mac}"), why))
        }
        _ => Ok(()),
    }
}

/// Two containers in one user namespace: what the one may do there, it may do to the other's network.
///
/// # Errors
/// One that is on such a network, and another that could change its walls.
pub(crate) fn company(engine: &Engine, request: &ContainerRequest, other: &ContainerRecord) -> Result<(), EngineError> {
    let store = engine.store()?;
    let theirs = store.joined(&other.id)?.into_iter().map(|j| j.network).find(|n| !n.is_bridge());
    let refuse = |right: &str, network: &NetworkRecord, whose: &str| {
        let why = format!(
            "{whose} is on network {} of the driver {}, whose walls do not hold with {right} in one user namespace; add \
             --cap-drop {right}, or use a bridge network",
            network.name, network.driver
        );
        Err(EngineError::refused(format!("sharing namespaces with {} and the right {right}", other.name), why))
    };
    if let (Some(network), Some(right)) = (&theirs, beyond(request)?) {
        return refuse(right, network, "that container");
    }
    if let (Some(network), Some(right)) = (first(store, &request.net.joins)?, beyond(&other.request)?) {
        return refuse(right, &network, "this container");
    }
    Ok(())
}

/// As [`company`], of one that is connected to such a network while others share its namespaces.
pub(super) fn company_of(
    engine: &Engine,
    record: &ContainerRecord,
    network: &NetworkRecord,
) -> Result<(), EngineError> {
    if network.is_bridge() {
        return Ok(());
    }
    for other in engine.store()?.list_containers()?.iter().filter(|other| other.id != record.id) {
        let with =
            |one: &ContainerRecord| crate::containers::spec_of(one).ok().and_then(|spec| spec.share).map(|s| s.with);
        if with(other).as_deref() != Some(&record.id) && with(record).as_deref() != Some(&other.id) {
            continue;
        }
        if let Some(right) = beyond(&other.request)? {
            let why = format!(
                "{} shares namespaces with it and has the right {right}, with which the walls of network {} do not hold; \
                 connect it to a bridge network",
                other.name, network.name
            );
            return Err(EngineError::refused(format!("connecting {} to {}", record.name, network.name), why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::network;
    use super::*;

    fn read(driver: &str, pairs: &[(&str, &str)]) -> Result<(Lan, u32), String> {
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Lan::parse(driver, &map, true).map_err(|e| e.to_string())
    }

    #[test]
    fn options_say_what_links_are() {
        let (lan, mtu) =
            read("macvlan", &[("parent", "eth0.50"), ("macvlan_mode", "private"), ("mtu", "1400")]).unwrap();
        assert_eq!(
            (lan.parent.as_deref(), lan.kind, mtu),
            (Some("eth0.50"), Kind::Macvlan(MacvlanMode::Private), 1400)
        );
        assert_eq!((lan.show().as_str(), lan.mode()), ("macvlan on eth0.50", "private"));
        assert!(lan.kind.is_apart() && lan.kind.has_mac());
        let (lan, mtu) = read("ipvlan", &[("ipvlan_mode", "l3s"), ("ipvlan_flag", "vepa")]).unwrap();
        assert_eq!((lan.kind, mtu), (Kind::Ipvlan(IpvlanMode::L3s, IpvlanFlag::Vepa), 0));
        assert!(lan.kind.is_routed() && !lan.kind.has_mac() && lan.show() == "ipvlan on no link");
        assert_eq!(read("macvlan", &[]).unwrap().0.kind, Kind::Macvlan(MacvlanMode::Bridge));
        for (driver, option, value, wanted) in [
            ("macvlan", "macvlan_mode", "l2", "bridge, private, vepa, passthru"),
            ("ipvlan", "ipvlan_mode", "L2", "l2, l3, l3s"),
            ("ipvlan", "ipvlan_flag", "x", "bridge, private, vepa"),
            ("ipvlan", "macvlan_mode", "bridge", "ipvlan_flag"),
            ("macvlan", "com.docker.network.bridge.enable_icc", "false", "known are parent, macvlan_mode"),
            ("macvlan", "parent", "", "a link of the host"),
            ("ipvlan", "mtu", "1279", "1280"),
        ] {
            let error = read(driver, &[(option, value)]).unwrap_err();
            assert!(error.contains("--opt") && error.contains(option) && error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn who_could_change_the_walls_is_refused() {
        let mut lan = network("lan", "192.0.2.0/24");
        "macvlan".clone_into(&mut lan.driver);
        lan.options.insert("parent".to_owned(), "eth0".to_owned());
        let refused = |change: &dyn Fn(&mut ContainerRequest)| {
            let mut request = ContainerRequest::default();
            change(&mut request);
            check(&request, &lan).map_err(|e| e.to_string())
        };
        assert_eq!(refused(&|_| {}), Ok(()));
        let said = refused(&|r| r.cap_add.push("NET_ADMIN".to_owned())).unwrap_err();
        assert!(
            said.contains("--cap-add NET_ADMIN with network lan (macvlan on eth0)") && said.contains("--cap-drop"),
            "{said}"
        );
        assert!(refused(&|r| r.privileged = true).unwrap_err().contains("--privileged"));
        assert!(refused(&|r| r.cap_add.push("all".to_owned())).is_err());
        let compat = |r: &mut ContainerRequest| r.profile = crate::request::ProfileName::Compat;
        assert!(refused(&compat).unwrap_err().contains("NET_RAW"));
        let dropped = |r: &mut ContainerRequest| {
            compat(r);
            r.cap_drop.push("NET_RAW".to_owned());
        };
        assert_eq!(refused(&dropped), Ok(()));
        assert!(refused(&|r| r.net.egress = Some(Vec::new())).unwrap_err().contains("--egress none"));
        let bridge = network("web", "10.1.0.0/24");
        let all = ContainerRequest { privileged: true, ..ContainerRequest::default() };
        check(&all, &bridge).unwrap();
    }
}
