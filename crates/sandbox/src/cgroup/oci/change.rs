//! New limits for a group that runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::setting::{self, Setting, field};
use super::{Dialect, LimitError};
use crate::cgroup::handle::CgroupError;
use crate::facts::{CgroupLayout, HostFacts};
use crate::oci::config::LinuxResources;

/// A change that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The host cannot enforce it.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The kernel refused it; what was written before is taken back.
    #[error(transparent)]
    Write(#[from] CgroupError),
}

/// Writes the limits that `resources` names to the group in `directories`; the others stay as they are.
///
/// # Errors
/// The first field that cannot be had; then nothing was changed.
pub fn change(directories: &[PathBuf], resources: &LinuxResources, facts: &HostFacts) -> Result<(), ChangeError> {
    let Some(dialect) = dialect(directories, facts) else {
        return match setting::first_limit(resources) {
            Some(name) => Err(LimitError::new(&name, "the container has no control group").into()),
            None => Ok(()),
        };
    };
    let in_force = match &dialect {
        Dialect::V2(directory, _) => limit(&directory.join("memory.max")),
        Dialect::V1(_) => None,
    };
    let resources = &completed(directories, resources);
    let settings = setting::settings(&dialect, resources, in_force)?;
    if resources.memory.as_ref().and_then(|m| m.check_before_update) == Some(true) {
        room(&dialect, resources)?;
    }
    let rules = if resources.devices.is_empty() { None } else { Some(super::DeviceList::of(&resources.devices)?) };
    if let (Some(rules), Dialect::V1(_)) = (&rules, &dialect) {
        super::devices::V1List::of(rules)?;
    }
    let before: Vec<Setting> = settings.iter().filter_map(current).collect();
    let result = setting::write_all(&settings).and_then(|()| match (&rules, &dialect) {
        (None, _) => Ok(()),
        (Some(rules), Dialect::V2(directory, _)) => super::make::filter(directory, rules),
        (Some(rules), Dialect::V1(by_controller)) => {
            by_controller.get("devices").map_or(Ok(()), |d| super::narrow(d, rules))
        }
    });
    if result.is_err() {
        // The error that is told is the first one.
        drop(setting::write_all(&before));
    }
    Ok(result?)
}

/// Which directory has which controller.
fn dialect(directories: &[PathBuf], facts: &HostFacts) -> Option<Dialect> {
    // What the files say comes first: a group that systemd made for a user lies where the user could make none.
    if let Some(first) = directories.first().filter(|d| d.join("cgroup.controllers").exists()) {
        return Some(Dialect::V2(first.clone(), None));
    }
    match &facts.cgroup {
        CgroupLayout::None => None,
        CgroupLayout::V2 { .. } => directories.first().map(|d| Dialect::V2(d.clone(), None)),
        CgroupLayout::V1 { controllers } => {
            let found: BTreeMap<String, PathBuf> = controllers
                .iter()
                .filter_map(|(name, mount)| {
                    Some((name.clone(), directories.iter().find(|d| d.starts_with(mount))?.clone()))
                })
                .collect();
            (!found.is_empty()).then_some(Dialect::V1(found))
        }
    }
}

/// What [`change`] writes: who changes one of quota and period leaves the other as it is. They are one file in version 2,
/// and one property of systemd.
#[must_use]
pub fn completed(directories: &[PathBuf], resources: &LinuxResources) -> LinuxResources {
    with_both_halves(directories, resources).unwrap_or_else(|| resources.clone())
}

fn with_both_halves(directories: &[PathBuf], resources: &LinuxResources) -> Option<LinuxResources> {
    let cpu = resources.cpu.as_ref()?;
    let (quota, period) = (cpu.quota.filter(|q| *q != 0), cpu.period.filter(|p| *p != 0));
    if quota.is_some() == period.is_some() {
        return None;
    }
    let (has_quota, has_period) = directories.iter().find_map(|directory| halves(directory))?;
    let mut whole = resources.clone();
    let cpu = whole.cpu.as_mut()?;
    cpu.quota = quota.or(has_quota);
    cpu.period = period.or(has_period);
    Some(whole)
}

/// Quota and period that a group has, in the files of either version. No quota is `max` or -1.
fn halves(directory: &Path) -> Option<(Option<i64>, Option<u64>)> {
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).ok();
    if let Some(text) = read("cpu.max") {
        let (quota, period) = text.trim().split_once(' ')?;
        return Some((quota.parse().ok(), period.parse().ok()));
    }
    let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
    Some((quota.trim().parse().ok().filter(|q| *q > 0), period.trim().parse().ok()))
}

fn limit(file: &Path) -> Option<i64> {
    match std::fs::read_to_string(file).ok()?.trim() {
        "max" => Some(-1),
        number => number.parse().ok(),
    }
}

/// `memory.checkBeforeUpdate`: a limit below what is in use would kill rather than be refused.
fn room(dialect: &Dialect, resources: &LinuxResources) -> Result<(), LimitError> {
    let file = match dialect {
        Dialect::V2(directory, _) => directory.join("memory.current"),
        Dialect::V1(directories) => match directories.get("memory") {
            Some(directory) => directory.join("memory.usage_in_bytes"),
            None => return Ok(()),
        },
    };
    let (Some(used), Some(memory)) = (limit(&file), &resources.memory) else { return Ok(()) };
    for (name, value) in [("memory.swap", memory.swap), ("memory.limit", memory.limit)] {
        if let Some(value) = value.filter(|v| *v > 0 && *v <= used) {
            let reason = format!("{value} bytes are not more than the {used} that are in use");
            return Err(LimitError::new(&field(name), reason));
        }
    }
    Ok(())
}

/// The setting that brings back what a file has now; `None` for files with an entry for each device.
fn current(setting: &Setting) -> Option<Setting> {
    let text = std::fs::read_to_string(&setting.file).ok()?;
    let value = text.trim();
    let of_devices = setting.value.split_once(':').is_some() || value.lines().count() > 1;
    if of_devices || value.is_empty() {
        return None;
    }
    // `oom_control` has other lines, the rest their value alone.
    Some(Setting { value: value.to_owned(), ..setting.clone() })
}
