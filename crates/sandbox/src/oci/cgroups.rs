//! The view of control groups that a config mounts.

use std::path::PathBuf;

use bulkhead_sys::clone;
use bulkhead_sys::mount::RDONLY;

use super::Builder;
use super::mounts::{QUIET, bind, cgroup_view, seal_memory, small_memory, unified};
use super::options::Options;
use super::step::OciStep;
use crate::cgroup::CgroupPlan;
use crate::facts::CgroupLayout;
use crate::plan::{PlanError, path_text, text};

/// What type `cgroup` means: on version 2 the hierarchy, on version 1 a directory with one for each controller.
pub(super) fn mount(
    b: &mut Builder<'_>,
    target: &str,
    options: &Options,
    cgroup: &CgroupPlan,
) -> Result<(), PlanError> {
    let place = path_text("mount target", target)?;
    let mut attributes = options.attributes;
    attributes.set |= QUIET;
    let own_view = b.namespaces.has(clone::NEWCGROUP);
    if unified(&b.facts.cgroup) {
        if own_view || matches!(cgroup, CgroupPlan::None) {
            b.steps.push(cgroup_view("cgroup2", &[], place, attributes)?);
            return Ok(());
        }
        let directories = cgroup.directories();
        let Some(directory) = directories.first() else { return Ok(()) };
        return bind(b, directory, place, attributes.set);
    }
    let CgroupLayout::V1 { controllers } = &b.facts.cgroup else {
        // There is none to show, and an empty directory says so.
        b.steps.push(small_memory(&place)?);
        b.steps.push(seal_memory(place));
        return Ok(());
    };
    b.steps.push(small_memory(&place)?);
    let directories: Vec<PathBuf> = cgroup.directories();
    let mut hierarchies: Vec<(&PathBuf, Vec<&str>)> = Vec::new();
    for (controller, point) in controllers {
        match hierarchies.iter_mut().find(|(p, _)| *p == point) {
            Some((_, names)) => names.push(controller),
            None => hierarchies.push((point, vec![controller])),
        }
    }
    for (point, names) in hierarchies {
        let Some(name) = point.file_name().and_then(|n| n.to_str()) else { continue };
        let Some(directory) = directories.iter().find(|d| d.starts_with(point)) else { continue };
        let at = path_text("mount target", &format!("{target}/{name}"))?;
        if own_view {
            let flags: Vec<&str> = names.iter().flat_map(|n| flags_of(n)).collect();
            b.steps.push(cgroup_view("cgroup", &flags, at, attributes)?);
        } else {
            bind(b, directory, at, attributes.set)?;
        }
        // `cpu` beside `cpu,cpuacct`, as programs look for it.
        for other in names.iter().filter(|n| **n != name && !n.starts_with("name=")) {
            b.steps.push(
                OciStep::DeviceLink {
                    content: text("link", name)?,
                    path: path_text("link", &format!("{target}/{other}"))?,
                }
                .into(),
            );
        }
    }
    if attributes.set & RDONLY != 0 {
        b.steps.push(seal_memory(place));
    }
    Ok(())
}

/// A named hierarchy has no controller.
fn flags_of(name: &str) -> Vec<&str> {
    if name.starts_with("name=") { vec!["none", name] } else { vec![name] }
}
