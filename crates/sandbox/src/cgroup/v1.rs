//! Version 1: a directory in each controller's own hierarchy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{CgroupPlan, LimitError, PARENT, Write, bandwidth, parent_memory, parent_pids, parent_weight};
use crate::facts::HostFacts;
use crate::spec::{RateKind, Resources};

/// Hierarchies that every sandbox joins where the host has them: for limits, for figures, for freezing.
const ALWAYS: [&str; 7] = ["memory", "pids", "cpu", "cpuacct", "blkio", "devices", "freezer"];
/// Hierarchies that programs inside read to learn their limits.
const VISIBLE: [&str; 3] = ["cpu", "memory", "pids"];

struct Group<'a> {
    mounts: &'a BTreeMap<String, PathBuf>,
    id: &'a str,
    directories: Vec<PathBuf>,
    writes: Vec<Write>,
}

impl Group<'_> {
    fn mount(&self, controller: &str, limit: &str) -> Result<&Path, LimitError> {
        self.mounts.get(controller).map(PathBuf::as_path).ok_or_else(|| {
            LimitError::new(limit, format!("this host's kernel or boot options leave out the {controller} controller"))
        })
    }

    fn set(&mut self, controller: &str, file: &str, value: impl ToString, limit: &str) -> Result<(), LimitError> {
        let directory = self.mount(controller, limit)?.join(PARENT).join(self.id);
        if !self.directories.contains(&directory) {
            self.directories.push(directory.clone());
        }
        self.writes.push(Write { file: directory.join(file), value: value.to_string() });
        Ok(())
    }
}

pub(super) fn plan(
    id: &str,
    wanted: &Resources,
    facts: &HostFacts,
    mounts: &BTreeMap<String, PathBuf>,
) -> Result<CgroupPlan, LimitError> {
    let mut group = Group { mounts, id, directories: Vec::new(), writes: Vec::new() };
    for controller in ALWAYS {
        if let Some(mount) = mounts.get(controller) {
            let directory = mount.join(PARENT).join(id);
            // Controllers that are mounted together share their directory.
            if !group.directories.contains(&directory) {
                group.directories.push(directory);
            }
        }
    }
    memory(&mut group, wanted, facts)?;
    cpu(&mut group, wanted)?;
    block_io(&mut group, wanted)?;
    match (wanted.pids, mounts.contains_key("pids")) {
        (Some(pids), true) => group.set("pids", "pids.max", pids, "--pids-limit")?,
        (Some(_), false) if wanted.pids_required => {
            group.mount("pids", "--pids-limit")?;
        }
        _ => {}
    }
    for (size, bytes) in &wanted.hugetlb {
        group.set("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), bytes, "hugetlb")?;
    }
    if let Some((key, _)) = wanted.unified.first() {
        return Err(LimitError::new(
            &format!("--cgroup-conf {key}"),
            "this host has cgroup v1, which has no such files",
        ));
    }
    let with_cpuset = wanted.cpuset_cpus.is_some() || wanted.cpuset_mems.is_some();
    let reserve = reserve(facts, mounts, with_cpuset);
    let parents = group.directories.iter().filter_map(|d| d.parent().map(Path::to_path_buf)).collect();
    let devices = mounts.get("devices").map(|m| m.join(PARENT));
    let visible = VISIBLE.iter().filter(|c| mounts.contains_key(**c)).map(|c| (*c).to_owned()).collect();
    Ok(CgroupPlan::V1 {
        parents,
        reserve,
        directories: group.directories,
        writes: group.writes,
        devices,
        visible,
        granted: Vec::new(),
    })
}

fn memory(group: &mut Group<'_>, wanted: &Resources, facts: &HostFacts) -> Result<(), LimitError> {
    if let Some(bytes) = wanted.memory {
        group.set("memory", "memory.limit_in_bytes", bytes, "--memory")?;
        match (wanted.swap, facts.swap_accounting) {
            // Version 1 counts memory and swap together.
            (Some(swap), true) if swap != u64::MAX => {
                group.set("memory", "memory.memsw.limit_in_bytes", bytes.saturating_add(swap), "--memory-swap")?;
            }
            (Some(0), false) => group.set("memory", "memory.swappiness", 0, "--memory-swap")?,
            (Some(swap), false) if swap != u64::MAX => {
                return Err(LimitError::new(
                    "--memory-swap",
                    "this kernel does not account swap; boot with swapaccount=1",
                ));
            }
            _ => {}
        }
    }
    if let Some(swappiness) = wanted.swappiness {
        if !facts.swap_accounting && wanted.memory.is_some() && wanted.swap == Some(0) && swappiness != 0 {
            return Err(LimitError::new(
                "--memory-swappiness",
                "this kernel does not account swap, so only a swappiness of 0 keeps a container with --memory from it",
            ));
        }
        group.set("memory", "memory.swappiness", swappiness, "--memory-swappiness")?;
    }
    if let Some(bytes) = wanted.memory_reservation {
        group.set("memory", "memory.soft_limit_in_bytes", bytes, "--memory-reservation")?;
    }
    Ok(())
}

fn cpu(group: &mut Group<'_>, wanted: &Resources) -> Result<(), LimitError> {
    if let Some((quota, period)) = bandwidth(wanted)? {
        let limit = if wanted.milli_cpus.is_some() { "--cpus" } else { "--cpu-quota" };
        group.set("cpu", "cpu.cfs_period_us", period, limit)?;
        let quota = quota.map_or_else(|| "-1".to_owned(), |q| q.to_string());
        group.set("cpu", "cpu.cfs_quota_us", quota, limit)?;
    }
    if let Some(shares) = wanted.cpu_shares {
        group.set("cpu", "cpu.shares", shares, "--cpu-shares")?;
    }
    if wanted.cpuset_cpus.is_some() || wanted.cpuset_mems.is_some() {
        // A v1 cpuset takes no member before both lists are written; what was not asked for is the parent's.
        let limit = if wanted.cpuset_cpus.is_some() { "--cpuset-cpus" } else { "--cpuset-mems" };
        let mount = group.mount("cpuset", limit)?.to_path_buf();
        let parents = |file: &str| std::fs::read_to_string(mount.join(file)).unwrap_or_default().trim().to_owned();
        let cpus = wanted.cpuset_cpus.clone().unwrap_or_else(|| parents("cpuset.cpus"));
        let mems = wanted.cpuset_mems.clone().unwrap_or_else(|| parents("cpuset.mems"));
        group.set("cpuset", "cpuset.cpus", cpus, limit)?;
        group.set("cpuset", "cpuset.mems", mems, limit)?;
    }
    Ok(())
}

fn block_io(group: &mut Group<'_>, wanted: &Resources) -> Result<(), LimitError> {
    // The weight is the business of the BFQ scheduler, or of CFQ on old kernels.
    let weights = |group: &Group<'_>, files: [&'static str; 2], limit: &str| {
        let mount = group.mount("blkio", limit)?;
        files.into_iter().find(|f| mount.join(f).exists()).ok_or_else(|| {
            LimitError::new(limit, "no I/O scheduler of this host has weights; rates (--device-read-bps) work")
        })
    };
    if let Some(weight) = wanted.blkio_weight {
        let file = weights(group, ["blkio.bfq.weight", "blkio.weight"], "--blkio-weight")?;
        group.set("blkio", file, weight, "--blkio-weight")?;
    }
    for ((major, minor), weight) in &wanted.blkio_weight_devices {
        let limit = "--blkio-weight-device";
        let file = weights(group, ["blkio.bfq.weight_device", "blkio.weight_device"], limit)?;
        group.set("blkio", file, format!("{major}:{minor} {weight}"), limit)?;
    }
    for rate in &wanted.device_rates {
        let (file, limit) = match rate.kind {
            RateKind::ReadBps => ("blkio.throttle.read_bps_device", "--device-read-bps"),
            RateKind::WriteBps => ("blkio.throttle.write_bps_device", "--device-write-bps"),
            RateKind::ReadIops => ("blkio.throttle.read_iops_device", "--device-read-iops"),
            RateKind::WriteIops => ("blkio.throttle.write_iops_device", "--device-write-iops"),
        };
        let (major, minor) = rate.device;
        group.set("blkio", file, format!("{major}:{minor} {}", rate.rate), limit)?;
    }
    Ok(())
}

/// The parent's own limits, and for a cpuset hierarchy the lists without which it takes no members.
fn reserve(facts: &HostFacts, mounts: &BTreeMap<String, PathBuf>, with_cpuset: bool) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut add = |controller: &str, file: &str, value: String| {
        if let Some(mount) = mounts.get(controller) {
            writes.push(Write { file: mount.join(PARENT).join(file), value });
        }
    };
    add("memory", "memory.limit_in_bytes", parent_memory(facts).to_string());
    add("pids", "pids.max", parent_pids(facts).to_string());
    // Half of what any single group of the host weighs, where nothing else is configured.
    add("cpu", "cpu.shares", parent_weight(facts, 1024).to_string());
    if let Some(mount) = mounts.get("cpuset").filter(|_| with_cpuset) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let value = std::fs::read_to_string(mount.join(file)).unwrap_or_default().trim().to_owned();
            add("cpuset", file, value);
        }
    }
    writes
}
