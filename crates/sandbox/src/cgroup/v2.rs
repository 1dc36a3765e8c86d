//! Version 2: one directory in the unified hierarchy, or below what systemd delegated.

use std::path::{Path, PathBuf};

use super::oci::io_weight;
use super::{CgroupPlan, LimitError, PARENT, Write, bandwidth, parent_memory, parent_pids, parent_weight};
use crate::facts::HostFacts;
use crate::spec::{RateKind, Resources};

/// Controllers that are passed down where the host has them.
const USED: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// Docker's shares (2 to 262144) as a v2 weight (1 to 10000), on a straight line; newer OCI runtimes bend it, see
/// [`super::oci`].
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

struct Group<'a> {
    directory: PathBuf,
    controllers: &'a [String],
    writes: Vec<Write>,
}

impl Group<'_> {
    fn need(&self, controller: &str, limit: &str) -> Result<(), LimitError> {
        if self.controllers.iter().any(|c| c == controller) {
            return Ok(());
        }
        Err(LimitError::new(
            limit,
            format!("the {controller} controller is not available here (delegate it to this user, or run as root)"),
        ))
    }

    fn set(&mut self, controller: &str, file: &str, value: impl ToString, limit: &str) -> Result<(), LimitError> {
        self.need(controller, limit)?;
        self.writes.push(Write { file: self.directory.join(file), value: value.to_string() });
        Ok(())
    }
}

pub(super) fn plan(
    id: &str,
    wanted: &Resources,
    facts: &HostFacts,
    base: &Path,
    controllers: &[String],
) -> Result<CgroupPlan, LimitError> {
    let parent = base.join(PARENT);
    let mut group = Group { directory: parent.join(id), controllers, writes: Vec::new() };
    memory(&mut group, wanted)?;
    cpu(&mut group, wanted)?;
    io(&mut group, wanted)?;
    match (wanted.pids, group.need("pids", "--pids-limit")) {
        (Some(pids), Ok(())) => group.set("pids", "pids.max", pids, "--pids-limit")?,
        (Some(_), Err(e)) if wanted.pids_required => return Err(e),
        _ => {}
    }
    for (size, bytes) in &wanted.hugetlb {
        group.set("hugetlb", &format!("hugetlb.{size}.max"), bytes, "hugetlb")?;
    }
    // Depth and number of groups made inside are bounded: each costs the host memory.
    for (file, value) in [("cgroup.max.depth", "8"), ("cgroup.max.descendants", "256")] {
        group.writes.push(Write { file: group.directory.join(file), value: value.to_owned() });
    }
    for (key, value) in &wanted.unified {
        let (controller, plain) =
            (key.split('.').next().unwrap_or_default(), !key.contains('/') && !key.starts_with("cgroup."));
        if !plain {
            return Err(LimitError::new(
                &format!("--cgroup-conf {key}"),
                "a file of a controller is needed, like memory.high",
            ));
        }
        group.set(controller, key, value, &format!("--cgroup-conf {key}"))?;
    }
    let reserve = reserve(facts, base, &parent, controllers);
    Ok(CgroupPlan::V2 {
        parent,
        reserve,
        directory: group.directory,
        writes: group.writes,
        device_filter: facts.privileged,
        granted: Vec::new(),
    })
}

fn memory(group: &mut Group<'_>, wanted: &Resources) -> Result<(), LimitError> {
    if let Some(bytes) = wanted.memory {
        group.set("memory", "memory.max", bytes, "--memory")?;
        // A container that is over its limit dies whole, not in part.
        group.set("memory", "memory.oom.group", 1, "--memory")?;
    }
    match wanted.swap {
        Some(u64::MAX) => group.set("memory", "memory.swap.max", "max", "--memory-swap")?,
        Some(swap) if wanted.memory.is_some() || group.need("memory", "").is_ok() => {
            group.set("memory", "memory.swap.max", swap, "--memory-swap")?;
        }
        _ => {}
    }
    if wanted.swappiness.is_some() {
        return Err(LimitError::new("--memory-swappiness", "cgroup v2 has no such setting; --memory-swap bounds swap"));
    }
    if let Some(bytes) = wanted.memory_reservation {
        group.set("memory", "memory.low", bytes, "--memory-reservation")?;
    }
    Ok(())
}

fn cpu(group: &mut Group<'_>, wanted: &Resources) -> Result<(), LimitError> {
    if let Some((quota, period)) = bandwidth(wanted)? {
        let limit = if wanted.milli_cpus.is_some() { "--cpus" } else { "--cpu-quota" };
        let quota = quota.map_or_else(|| "max".to_owned(), |q| q.to_string());
        group.set("cpu", "cpu.max", format!("{quota} {period}"), limit)?;
    }
    if let Some(shares) = wanted.cpu_shares {
        group.set("cpu", "cpu.weight", weight(shares), "--cpu-shares")?;
    }
    if let Some(cpus) = &wanted.cpuset_cpus {
        group.set("cpuset", "cpuset.cpus", cpus, "--cpuset-cpus")?;
    }
    if let Some(mems) = &wanted.cpuset_mems {
        group.set("cpuset", "cpuset.mems", mems, "--cpuset-mems")?;
    }
    Ok(())
}

fn io(group: &mut Group<'_>, wanted: &Resources) -> Result<(), LimitError> {
    if let Some(weight) = wanted.blkio_weight {
        group.set("io", "io.weight", format!("default {}", io_weight(weight)), "--blkio-weight")?;
    }
    for ((major, minor), weight) in &wanted.blkio_weight_devices {
        let value = format!("{major}:{minor} {}", io_weight(*weight));
        group.set("io", "io.weight", value, "--blkio-weight-device")?;
    }
    for rate in &wanted.device_rates {
        let (key, limit) = match rate.kind {
            RateKind::ReadBps => ("rbps", "--device-read-bps"),
            RateKind::WriteBps => ("wbps", "--device-write-bps"),
            RateKind::ReadIops => ("riops", "--device-read-iops"),
            RateKind::WriteIops => ("wiops", "--device-write-iops"),
        };
        let (major, minor) = rate.device;
        group.set("io", "io.max", format!("{major}:{minor} {key}={}", rate.rate), limit)?;
    }
    Ok(())
}

fn reserve(facts: &HostFacts, base: &Path, parent: &Path, controllers: &[String]) -> Vec<Write> {
    let mut writes = Vec::new();
    let used: Vec<&str> = USED.into_iter().filter(|c| controllers.iter().any(|h| h == c)).collect();
    if !used.is_empty() {
        let enable = used.iter().map(|c| format!("+{c}")).collect::<Vec<_>>().join(" ");
        for directory in [base, parent] {
            writes.push(Write { file: directory.join("cgroup.subtree_control"), value: enable.clone() });
        }
    }
    let mut add = |controller: &str, file: &str, value: String| {
        if used.contains(&controller) {
            writes.push(Write { file: parent.join(file), value });
        }
    };
    add("memory", "memory.max", parent_memory(facts).to_string());
    add("pids", "pids.max", parent_pids(facts).to_string());
    add("cpu", "cpu.weight", parent_weight(facts, 100).to_string());
    writes
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn shares_become_weights_on_the_usual_line() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }
}
