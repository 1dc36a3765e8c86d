//! A sandbox in the caller's own network namespace: what cannot be as usual there.
//!
//! That namespace belongs to the host's user namespace. So no right of the sandbox is a right over it, and sysfs, whose
//! instances belong to a network, cannot be mounted anew: the host's is bound, with nothing that is mounted below it.

use std::path::Path;

use bulkhead_sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};

use super::{PlanError, Tree, path_text, rootfs};
use crate::cgroup::CgroupPlan;
use crate::facts::HostFacts;
use crate::spec::{Grant, SandboxSpec};
use crate::step::Step;

/// Whether the sandbox is in the host's network, by grant.
pub(super) fn network(spec: &SandboxSpec) -> bool {
    spec.granted(|grant| matches!(grant, Grant::Host(kinds) if kinds.iter().any(|kind| kind == "network")))
}

/// Refuses settings of a network that is the host's.
pub(super) fn check(spec: &SandboxSpec) -> Result<(), PlanError> {
    let of_network = |name: &str| name.replace('/', ".").starts_with("net.");
    match spec.sysctls.iter().find(|(name, _)| of_network(name)) {
        Some((name, _)) => {
            let accepted =
                "with --network host it would be the host's own setting, which no container changes; leave one out";
            Err(PlanError::invalid("--sysctl", name.as_str(), accepted))
        }
        None => Ok(()),
    }
}

/// `/sys` as the host has it, without writes. An ordinary user's copy of the host's mounts cannot be taken apart, so what is
/// mounted below comes along there, and is covered.
pub(super) fn sysfs(
    facts: &HostFacts,
    cgroup: &CgroupPlan,
    trees: &mut Vec<Tree>,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let whole = !facts.privileged;
    let from = rootfs::tree(facts, trees, Path::new("/sys"), whole, true, false)?;
    let attributes = RDONLY | NOSUID | NODEV | NOEXEC;
    steps.push(Step::Bind { from, target: path_text("mount target", "/sys")?, directory: true, attributes });
    // Own control groups are mounted over the host's.
    let own_groups = *cgroup != CgroupPlan::None;
    let mut covered: Vec<&str> = Vec::new();
    for point in facts.below_sys.iter().filter(|_| whole) {
        let below =
            |parent: &str| point.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if (own_groups && below("/sys/fs/cgroup")) || covered.iter().any(|parent| below(parent)) {
            continue;
        }
        covered.push(point);
        steps.push(Step::Mask { target: path_text("mount target", point)? });
    }
    Ok(())
}
