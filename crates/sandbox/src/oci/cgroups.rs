//! The view of control groups that a config mounts.

use bulkhead_sys::clone;
use bulkhead_sys::mount::RDONLY;

use super::Builder;
use super::mounts::{QUIET, bind, cgroup_view, seal, small_memory};
use super::options::Options;
use super::step::OciStep;
use crate::cgroup::CgroupPlan;
use crate::cgroup::oci::Place;
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
    let host_unified = matches!(b.facts.cgroup, CgroupLayout::V2 { .. });
    let Some(group) = cgroup.bundle() else {
        if host_unified {
            b.steps.push(cgroup_view("cgroup2", &[], place, attributes)?);
        } else {
            // There is none to show, and an empty directory says so.
            b.steps.push(small_memory(&place)?);
            b.steps.push(seal(place));
        }
        return Ok(());
    };
    if group.unified {
        if own_view {
            b.steps.push(cgroup_view("cgroup2", &[], place, attributes)?);
            return Ok(());
        }
        let Some(first) = group.places.first() else { return Ok(()) };
        return bind(b, &first.directory, place, attributes.set);
    }
    b.steps.push(small_memory(&place)?);
    for Place { directory, mount, controllers } in &group.places {
        let Some(name) = mount.file_name().and_then(|n| n.to_str()) else { continue };
        let at = path_text("mount target", &format!("{target}/{name}"))?;
        if own_view {
            let flags: Vec<&str> = controllers.iter().flat_map(|n| flags_of(n)).collect();
            b.steps.push(cgroup_view("cgroup", &flags, at, attributes)?);
        } else {
            bind(b, directory, at, attributes.set)?;
        }
        // `cpu` beside `cpu,cpuacct`, as programs look for it.
        for other in controllers.iter().filter(|n| *n != name && !n.starts_with("name=")) {
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
        b.steps.push(seal(place));
    }
    Ok(())
}

/// A named hierarchy has no controller.
fn flags_of(name: &str) -> Vec<&str> {
    if name.starts_with("name=") { vec!["none", name] } else { vec![name] }
}
