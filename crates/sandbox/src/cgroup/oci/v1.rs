//! `linux.resources` as files of version 1 (`Documentation/admin-guide/cgroup-v1`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::LimitError;
use super::setting::{Absent, Setting, field, unlimited};
use crate::oci::config::{BlockIo, Cpu, LinuxResources, Memory};

struct Group<'a> {
    directories: &'a BTreeMap<String, PathBuf>,
    settings: Vec<Setting>,
}

impl Group<'_> {
    fn directory(&self, controller: &str, name: &str) -> Result<&Path, LimitError> {
        self.directories.get(controller).map(PathBuf::as_path).ok_or_else(|| {
            LimitError::new(
                &field(name),
                format!("this host's kernel or boot options leave out the {controller} controller"),
            )
        })
    }

    fn add(
        &mut self,
        controller: &str,
        file: &str,
        value: impl ToString,
        name: &str,
        absent: impl FnOnce(&Path) -> Absent,
    ) -> Result<(), LimitError> {
        let value = value.to_string();
        if unlimited(&value) && !self.directories.contains_key(controller) {
            return Ok(());
        }
        let directory = self.directory(controller, name)?;
        let setting = Setting::new(name, directory.join(file), value).or(absent(directory));
        self.settings.push(setting);
        Ok(())
    }

    fn set(&mut self, controller: &str, file: &str, value: impl ToString, name: &str) -> Result<(), LimitError> {
        self.add(controller, file, value, name, |_| Absent::Refuse)
    }
}

pub(super) fn settings(
    directories: &BTreeMap<String, PathBuf>,
    resources: &LinuxResources,
) -> Result<Vec<Setting>, LimitError> {
    let mut group = Group { directories, settings: Vec::new() };
    if let Some(key) = resources.unified.keys().next() {
        return Err(LimitError::new(
            &field(&format!("unified.{key}")),
            "this host has cgroup v1, which has no such files",
        ));
    }
    if let Some(wanted) = &resources.memory {
        memory(&mut group, wanted)?;
    }
    if let Some(wanted) = &resources.cpu {
        cpu(&mut group, wanted)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit) {
        group.set("pids", "pids.max", super::v2::pids(limit), "pids.limit")?;
    }
    if let Some(wanted) = &resources.block_io {
        block_io(&mut group, wanted)?;
    }
    for (index, wanted) in resources.hugepage_limits.iter().enumerate() {
        let (size, name) = (&wanted.page_size, format!("hugepageLimits[{index}].limit"));
        group.set("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), wanted.limit, &name)?;
        // What is mapped and not yet touched counts since Linux 5.7.
        let file = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        group.add("hugetlb", &file, wanted.limit, &name, |_| Absent::Skip)?;
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id.filter(|c| *c != 0) {
            group.set("net_cls", "net_cls.classid", class, "network.classID")?;
        }
        for (index, wanted) in network.priorities.iter().enumerate() {
            let value = format!("{} {}", wanted.name, wanted.priority);
            group.set("net_prio", "net_prio.ifpriomap", value, &format!("network.priorities[{index}]"))?;
        }
    }
    for (device, wanted) in &resources.rdma {
        group.set("rdma", "rdma.max", super::v2::rdma(device, wanted), &format!("rdma.{device}"))?;
    }
    Ok(group.settings)
}

/// A value of 0 is what programs write for "nothing said".
fn said(value: Option<i64>) -> Option<i64> {
    value.filter(|v| *v != 0)
}

fn memory(group: &mut Group<'_>, wanted: &Memory) -> Result<(), LimitError> {
    let Memory {
        limit,
        reservation,
        swap,
        // No kernel since 5.4 takes a limit of its own memory, and none in use that of TCP buffers; groups below
        // always count. Callers still send them.
        kernel: _,
        kernel_tcp: _,
        use_hierarchy: _,
        swappiness,
        disable_oom_killer,
        check_before_update: _,
    } = wanted;
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    if let Some(bytes) = said(*limit) {
        group.set("memory", "memory.limit_in_bytes", bytes, "memory.limit")?;
        if bytes == -1 && said(*swap).is_none() {
            // Memory without limit is no use while memory and swap together have one.
            group.add("memory", SWAP, -1, "memory.swap", |_| Absent::Skip)?;
        }
    }
    if let Some(bytes) = said(*swap) {
        let absent = if bytes == -1 { Absent::Skip } else { Absent::Refuse };
        group.add("memory", SWAP, bytes, "memory.swap", |_| absent)?;
    }
    if let Some(bytes) = said(*reservation) {
        group.set("memory", "memory.soft_limit_in_bytes", bytes, "memory.reservation")?;
    }
    if *disable_oom_killer == Some(true) {
        group.set("memory", "memory.oom_control", 1, "memory.disableOOMKiller")?;
    }
    // -1 as an unsigned number is what some callers send for "the host's".
    if let Some(value) = swappiness.filter(|s| *s != u64::MAX) {
        group.set("memory", "memory.swappiness", value, "memory.swappiness")?;
    }
    Ok(())
}

fn cpu(group: &mut Group<'_>, wanted: &Cpu) -> Result<(), LimitError> {
    let Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, cpus, mems, idle } = wanted;
    if let Some(shares) = shares.filter(|s| *s != 0) {
        // The kernel would cut it to what it takes, and say nothing.
        if !(2..=262_144).contains(&shares) {
            return Err(LimitError::new(
                &field("cpu.shares"),
                format!("{shares} is not in 2 to 262144, which is what the kernel takes"),
            ));
        }
        group.set("cpu", "cpu.shares", shares, "cpu.shares")?;
    }
    if let Some(period) = period.filter(|p| *p != 0) {
        group.set("cpu", "cpu.cfs_period_us", period, "cpu.period")?;
    }
    if let Some(quota) = said(*quota) {
        let quota = quota.max(-1);
        group.set("cpu", "cpu.cfs_quota_us", quota, "cpu.quota")?;
    }
    if let Some(burst) = burst {
        let absent = if *burst == 0 { Absent::Skip } else { Absent::Refuse };
        group.add("cpu", "cpu.cfs_burst_us", burst, "cpu.burst", |_| absent)?;
    }
    if let Some(period) = realtime_period.filter(|p| *p != 0) {
        group.set("cpu", "cpu.rt_period_us", period, "cpu.realtimePeriod")?;
    }
    if let Some(runtime) = said(*realtime_runtime) {
        group.set("cpu", "cpu.rt_runtime_us", runtime, "cpu.realtimeRuntime")?;
    }
    if let Some(idle) = idle {
        let absent = if *idle == 0 { Absent::Skip } else { Absent::Refuse };
        group.add("cpu", "cpu.idle", idle, "cpu.idle", |_| absent)?;
    }
    for (list, file, name) in [(cpus, "cpuset.cpus", "cpu.cpus"), (mems, "cpuset.mems", "cpu.mems")] {
        if !list.is_empty() {
            group.set("cpuset", file, list, name)?;
        }
    }
    Ok(())
}

fn block_io(group: &mut Group<'_>, wanted: &BlockIo) -> Result<(), LimitError> {
    let weigh = |group: &mut Group<'_>, suffix: &str, value: String, name: &str| {
        let bfq = format!("blkio.bfq.weight{suffix}");
        // The weight is the business of the BFQ scheduler, or of CFQ on old kernels.
        let other = format!("blkio.weight{suffix}");
        group.add("blkio", &bfq, value.clone(), name, |d| Absent::Instead(d.join(other), value))
    };
    if let Some(weight) = wanted.weight.filter(|w| *w != 0) {
        weigh(group, "", weight.to_string(), "blockIO.weight")?;
    }
    if let Some(weight) = wanted.leaf_weight.filter(|w| *w != 0) {
        group.set("blkio", "blkio.leaf_weight", weight, "blockIO.leafWeight")?;
    }
    for (index, device) in wanted.weight_device.iter().enumerate() {
        let (major, minor) = (device.major, device.minor);
        if let Some(weight) = device.weight.filter(|w| *w != 0) {
            let name = format!("blockIO.weightDevice[{index}].weight");
            weigh(group, "_device", format!("{major}:{minor} {weight}"), &name)?;
        }
        if let Some(weight) = device.leaf_weight.filter(|w| *w != 0) {
            let name = format!("blockIO.weightDevice[{index}].leafWeight");
            group.set("blkio", "blkio.leaf_weight_device", format!("{major}:{minor} {weight}"), &name)?;
        }
    }
    let rates = [
        (&wanted.throttle_read_bps_device, "read_bps", "throttleReadBpsDevice"),
        (&wanted.throttle_write_bps_device, "write_bps", "throttleWriteBpsDevice"),
        (&wanted.throttle_read_iops_device, "read_iops", "throttleReadIOPSDevice"),
        (&wanted.throttle_write_iops_device, "write_iops", "throttleWriteIOPSDevice"),
    ];
    for (devices, file, name) in rates {
        for (index, device) in devices.iter().enumerate() {
            let value = format!("{}:{} {}", device.major, device.minor, device.rate);
            let file = format!("blkio.throttle.{file}_device");
            group.set("blkio", &file, value, &format!("blockIO.{name}[{index}]"))?;
        }
    }
    Ok(())
}
