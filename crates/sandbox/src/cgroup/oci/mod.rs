//! The control group of an OCI bundle: `linux.cgroupsPath` and `linux.resources` of `config.json`.
//!
//! Unlike the engine's own groups these lie where the caller wants them, are as wide as he says, and belong to a tree
//! that he may have made: only what was made here is removed after a failure. A field that the host cannot enforce stops
//! the start and is named as `config.json` has it; a field that no kernel reads any more is passed over, as every caller
//! of an OCI runtime expects, and is listed here: `memory.kernel`, `memory.kernelTCP` (gone since Linux 5.4 and 6.x) and
//! `memory.useHierarchy` (always so).

mod change;
mod devices;
mod freeze;
mod make;
mod members;
mod oom;
mod place;
mod scope;
mod setting;
mod stats;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::change::{change, completed};
pub use self::devices::{Access, DeviceList, Kind};
pub use self::freeze::{State, freeze, freezer_first, frozen};
pub use self::members::{kill_all, processes, remove_empty};
pub use self::oom::{OomWatch, watch_oom};
pub use self::place::{Hierarchy, Own};
pub(crate) use self::place::{names, unescape};
pub use self::setting::{Absent, Setting};
pub use self::stats::stats;
pub(crate) use self::v2::{io_weight, swap_alone, weight};
pub(super) use self::{
    devices::narrow,
    make::{Made, make},
    scope::Scope,
};
use super::{CgroupPlan, LimitError};
use crate::facts::{CgroupLayout, HostFacts, writable};
use crate::oci::config::LinuxResources;
use crate::systemd::Unit;

/// What a bundle asks of its control group.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// The container's id, which names the group where no path does.
    pub id: &'a str,
    /// `linux.cgroupsPath`; may be empty.
    pub path: &'a str,
    /// `linux.resources`.
    pub resources: Option<&'a LinuxResources>,
    /// The path is `slice:prefix:name` and systemd makes the group; the user's own one for an ordinary user.
    pub systemd: bool,
    /// `annotations`, of which those of `org.systemd.property.` are for systemd.
    pub annotations: &'a BTreeMap<String, String>,
    /// What is not permitted is forgiven where neither path nor limits were asked for.
    pub rootless: bool,
    /// The hierarchies and where the caller is in each.
    pub own: &'a Own,
}

/// The group of a bundle, made ready to be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciGroup {
    /// It lies in the unified hierarchy: one directory, into which the child is cloned.
    pub unified: bool,
    /// The group's directory in each hierarchy, with the mount point below which it lies.
    pub places: Vec<Place>,
    /// Beside version 1, the group of the hierarchy of version 2, which limits nothing; the child is cloned into it.
    #[serde(default)]
    pub beside: Option<Place>,
    /// Its limits, in order.
    pub settings: Vec<Setting>,
    /// Devices that it may use; `None` where nothing is said about them and nothing can be.
    pub devices: Option<DeviceList>,
    /// A device list that may not be written is forgiven.
    pub rootless: bool,
    /// systemd makes it.
    pub unit: Option<Unit>,
}

/// One directory of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The directory.
    pub directory: PathBuf,
    /// Mount point of its hierarchy; what is missing between the two is made.
    pub mount: PathBuf,
    /// Controllers of the hierarchy, those of the mount point on version 2.
    pub controllers: Vec<String>,
}

impl OciGroup {
    /// The group's directories.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.places.iter().chain(&self.beside).map(|p| p.directory.clone()).collect()
    }
}

/// Where the limits of one group are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Directory by controller.
    V1(BTreeMap<String, PathBuf>),
    /// The directory, and the controllers that are known to be there; `None` where the files will show.
    V2(PathBuf, Option<Vec<String>>),
}

/// Plans the group of a bundle. With the systemd driver this is the group that systemd is going to make: see
/// [`crate::systemd`]; [`OciGroup::unit`] has the name by which [`crate::systemd::stop`] ends it.
///
/// # Errors
/// A limit that this host cannot enforce, a path that cannot be a group's.
pub fn plan(ask: &Ask<'_>, facts: &HostFacts) -> Result<CgroupPlan, LimitError> {
    plan_with(ask, facts, &writable)
}

fn plan_with(ask: &Ask<'_>, facts: &HostFacts, permitted: &dyn Fn(&Path) -> bool) -> Result<CgroupPlan, LimitError> {
    let none = LinuxResources::default();
    let resources = ask.resources.unwrap_or(&none);
    let rules = devices::DeviceList::of(&resources.devices)?;
    let only_unified = || !ask.own.hierarchies.is_empty() && ask.own.hierarchies.iter().all(|h| h.unified);
    let unified = match &facts.cgroup {
        // Where the caller is now he may make no groups; systemd may.
        CgroupLayout::None if ask.systemd && only_unified() => true,
        CgroupLayout::None => return without(ask, resources),
        CgroupLayout::V1 { .. } => false,
        CgroupLayout::V2 { .. } => true,
    };
    if !unified {
        devices::V1List::of(&rules)?;
    }
    let unit = if ask.systemd { Some(unit(ask, resources, unified, facts.uid)?) } else { None };
    let path = unit.as_ref().map_or(ask.path, |u| u.path.as_str());
    let mut places = place::places(&Ask { path, ..ask.clone() }, unified)?;
    if ask.rootless && path.is_empty() {
        places.retain(|p| permitted(place::nearest(&p.directory, &p.mount)));
    }
    if places.is_empty() {
        return without(ask, resources);
    }
    // Who looks for a container by its group of version 2 finds it on such a host too. systemd sees to it by itself.
    let alone = unified || ask.rootless || unit.is_some();
    let beside = if alone { None } else { place::places(ask, true).ok().and_then(|mut all| all.pop()) };
    let settings = setting::settings(&dialect(&places, unified), resources, None)?;
    let enforced = unified || places.iter().any(|p| p.controllers.iter().any(|c| c == "devices"));
    if !enforced && !ask.rootless {
        return Err(LimitError::new(
            "linux.resources.devices",
            "this host's kernel or boot options leave out the devices controller",
        ));
    }
    Ok(CgroupPlan::Oci(Box::new(OciGroup {
        unified,
        places,
        beside: beside.filter(|p| permitted(place::nearest(&p.directory, &p.mount))),
        settings,
        devices: enforced.then_some(rules),
        rootless: ask.rootless,
        unit,
    })))
}

/// The unit that systemd is to make.
fn unit(ask: &Ask<'_>, resources: &LinuxResources, unified: bool, uid: u32) -> Result<Unit, LimitError> {
    if ask.rootless && !unified {
        return Err(LimitError::new(
            &format!("linux.cgroupsPath {:?}", ask.path),
            "on a host with cgroup v1 the user's systemd has no groups to give; run as root, or without --systemd-cgroup",
        ));
    }
    let own = ask.own.hierarchies.iter().find(|h| h.unified).map_or("/", |h| h.own.as_str());
    let manager = if ask.rootless { scope::manager(own, uid) } else { String::new() };
    Unit::of(ask.id, ask.path, resources, ask.annotations, (ask.rootless, unified, &manager))
}

fn dialect(places: &[Place], unified: bool) -> Dialect {
    match places.first() {
        Some(place) if unified => {
            Dialect::V2(place.directory.clone(), Some(place.controllers.clone()).filter(|c| !c.is_empty()))
        }
        _ => Dialect::V1(
            places.iter().flat_map(|p| p.controllers.iter().map(|c| (c.clone(), p.directory.clone()))).collect(),
        ),
    }
}

/// Without any group, nothing may have been asked for.
fn without(ask: &Ask<'_>, resources: &LinuxResources) -> Result<CgroupPlan, LimitError> {
    const REASON: &str = "no control group is delegated to this user; run as root, or log in on a host with cgroup v2 \
                          and systemd";
    if let Some(field) = setting::first_limit(resources) {
        return Err(LimitError::new(&field, REASON));
    }
    if !ask.path.is_empty() {
        return Err(LimitError::new(&format!("linux.cgroupsPath {:?}", ask.path), REASON));
    }
    if !ask.rootless {
        return Err(LimitError::new("linux.cgroupsPath", "this host has no control groups, or none is mounted"));
    }
    Ok(CgroupPlan::None)
}
