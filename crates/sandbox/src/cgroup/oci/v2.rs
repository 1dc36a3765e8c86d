//! `linux.resources` as files of version 2 (`Documentation/admin-guide/cgroup-v2`).

use std::path::{Path, PathBuf};

use super::LimitError;
use super::setting::{Absent, Setting, field, unlimited};
use crate::oci::config::{BlockIo, Cpu, LinuxResources, Memory, Rdma};

struct Group<'a> {
    directory: &'a Path,
    controllers: Option<&'a [String]>,
    settings: Vec<Setting>,
}

impl Group<'_> {
    fn has(&self, controller: &str) -> bool {
        self.controllers.is_none_or(|all| all.iter().any(|c| c == controller))
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
        if !self.has(controller) {
            if unlimited(&value) {
                return Ok(());
            }
            return Err(LimitError::new(
                &field(name),
                format!("the {controller} controller is not available here (delegate it, or run as root)"),
            ));
        }
        self.settings.push(Setting::new(name, self.directory.join(file), value).or(absent(self.directory)));
        Ok(())
    }

    fn set(&mut self, controller: &str, file: &str, value: impl ToString, name: &str) -> Result<(), LimitError> {
        self.add(controller, file, value, name, |_| Absent::Refuse)
    }
}

/// Processes of a group; 0 becomes 1, since systemd has no such limit as 0 and the first process is in already.
pub(super) fn pids(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.max(1).to_string() }
}

/// `mlx4_0 hca_handle=2 hca_object=max`.
pub(super) fn rdma(device: &str, wanted: &Rdma) -> String {
    let part = |name: &str, value: Option<u32>| value.map(|v| format!(" {name}={v}")).unwrap_or_default();
    format!("{device}{}{}", part("hca_handle", wanted.hca_handles), part("hca_object", wanted.hca_objects))
}

/// Shares (2 to 262144) as a weight (1 to 10000). On the line that older runtimes use the usual 1024 becomes 39, below
/// the 100 of every group beside it; on this curve both ends and the usual values meet.
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let shares = f64::from(u32::try_from(shares).unwrap_or(u32::MAX));
            let log = shares.log2();
            let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0).ceil();
            // No cast from a float is exact to the compiler; its digits are.
            format!("{weight:.0}").parse().unwrap_or(100).clamp(1, 10_000)
        }
    }
}

/// 10 to 1000 on the line to 1 to 10000.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
}

/// Swap alone, from memory and swap together.
///
/// # Errors
/// A sum without its part, or less than it.
pub(crate) fn swap_alone(swap: Option<i64>, memory: Option<i64>) -> Result<Option<String>, LimitError> {
    let bytes = match (swap.unwrap_or(0), memory.unwrap_or(0)) {
        // As on version 1, where memory without limit is no use while the sum has one.
        (0, -1) | (-1, _) => return Ok(Some("max".to_owned())),
        (0, _) => return Ok(None),
        (below @ ..-1, _) => {
            return Err(LimitError::new(&field("memory.swap"), format!("{below} is less than -1, which is no limit")));
        }
        (_, below @ ..-1) => {
            return Err(LimitError::new(&field("memory.limit"), format!("{below} is less than -1, which is no limit")));
        }
        (swap, -1) => swap,
        (_, 0) => {
            return Err(LimitError::new(
                &field("memory.swap"),
                "it is memory and swap together, so memory.limit is needed beside it",
            ));
        }
        (swap, memory) if swap < memory => {
            return Err(LimitError::new(
                &field("memory.swap"),
                format!("{swap} is memory and swap together, and less than the memory {memory}"),
            ));
        }
        (swap, memory) => swap - memory,
    };
    Ok(Some(bytes.to_string()))
}

pub(super) fn settings(
    directory: &Path,
    controllers: Option<&[String]>,
    resources: &LinuxResources,
    memory_limit: Option<i64>,
) -> Result<Vec<Setting>, LimitError> {
    let mut group = Group { directory, controllers, settings: Vec::new() };
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit) {
        group.set("pids", "pids.max", pids(limit), "pids.limit")?;
    }
    if let Some(wanted) = &resources.memory {
        memory(&mut group, wanted, memory_limit)?;
    }
    if let Some(wanted) = &resources.cpu {
        cpu(&mut group, wanted)?;
    }
    if let Some(wanted) = &resources.block_io {
        block_io(&mut group, wanted)?;
    }
    for (index, wanted) in resources.hugepage_limits.iter().enumerate() {
        let (size, name) = (&wanted.page_size, format!("hugepageLimits[{index}].limit"));
        group.set("hugetlb", &format!("hugetlb.{size}.max"), wanted.limit, &name)?;
        group.add("hugetlb", &format!("hugetlb.{size}.rsvd.max"), wanted.limit, &name, |_| Absent::Skip)?;
    }
    if let Some(network) = &resources.network {
        let named = network.priorities.first().map(|_| "network.priorities[0]");
        if let Some(name) = network.class_id.filter(|c| *c != 0).map(|_| "network.classID").or(named) {
            return Err(LimitError::new(&field(name), "this host has cgroup v2, which has no such setting"));
        }
    }
    for (device, wanted) in &resources.rdma {
        group.set("rdma", "rdma.max", rdma(device, wanted), &format!("rdma.{device}"))?;
    }
    for (key, value) in &resources.unified {
        unified(&mut group, key, value)?;
    }
    Ok(group.settings)
}

fn memory(group: &mut Group<'_>, wanted: &Memory, in_force: Option<i64>) -> Result<(), LimitError> {
    let Memory {
        limit,
        reservation,
        swap,
        // See the module: no kernel reads these any more.
        kernel: _,
        kernel_tcp: _,
        use_hierarchy: _,
        swappiness,
        disable_oom_killer,
        check_before_update: _,
    } = wanted;
    if *disable_oom_killer == Some(true) {
        return Err(LimitError::new(
            &field("memory.disableOOMKiller"),
            "this host has cgroup v2, where a group that is over its limit cannot wait",
        ));
    }
    // -1 as an unsigned number is what some callers send for "the host's".
    if swappiness.is_some_and(|s| s != u64::MAX) {
        return Err(LimitError::new(
            &field("memory.swappiness"),
            "this host has cgroup v2, which has no such setting; memory.swap bounds swap",
        ));
    }
    let said = |v: Option<i64>| v.filter(|v| *v != 0);
    let text = |v: i64| if v == -1 { "max".to_owned() } else { v.to_string() };
    if let Some(bytes) = said(*limit) {
        group.set("memory", "memory.max", text(bytes), "memory.limit")?;
    }
    if let Some(value) = swap_alone(*swap, said(*limit).or(in_force))? {
        // Without swap there is nothing to forbid and nothing to free.
        let absent = if value == "max" || value == "0" { Absent::Skip } else { Absent::Refuse };
        group.add("memory", "memory.swap.max", value, "memory.swap", |_| absent)?;
    }
    if let Some(bytes) = said(*reservation) {
        group.set("memory", "memory.low", text(bytes), "memory.reservation")?;
    }
    Ok(())
}

fn cpu(group: &mut Group<'_>, wanted: &Cpu) -> Result<(), LimitError> {
    let Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, cpus, mems, idle } = wanted;
    for (asked, name) in [
        (realtime_runtime.is_some_and(|v| v != 0), "cpu.realtimeRuntime"),
        (realtime_period.is_some_and(|v| v != 0), "cpu.realtimePeriod"),
    ] {
        if asked {
            return Err(LimitError::new(&field(name), "this host has cgroup v2, which has no such setting"));
        }
    }
    if let Some(idle) = idle {
        let absent = if *idle == 0 { Absent::Skip } else { Absent::Refuse };
        group.add("cpu", "cpu.idle", idle, "cpu.idle", |_| absent)?;
    }
    if let Some(shares) = shares.filter(|s| *s != 0) {
        group.set("cpu", "cpu.weight", weight(shares), "cpu.shares")?;
    }
    let (quota, period) = (quota.filter(|q| *q != 0), period.filter(|p| *p != 0));
    if quota.is_some() || period.is_some() {
        let name = if quota.is_some() { "cpu.quota" } else { "cpu.period" };
        let limit = quota.filter(|q| *q > 0).map_or_else(|| "max".to_owned(), |q| q.to_string());
        group.set("cpu", "cpu.max", format!("{limit} {}", period.unwrap_or(100_000)), name)?;
    }
    if let Some(burst) = burst {
        let absent = if *burst == 0 { Absent::Skip } else { Absent::Refuse };
        group.add("cpu", "cpu.max.burst", burst, "cpu.burst", |_| absent)?;
    }
    for (list, file, name) in [(cpus, "cpuset.cpus", "cpu.cpus"), (mems, "cpuset.mems", "cpu.mems")] {
        if !list.is_empty() {
            group.set("cpuset", file, list, name)?;
        }
    }
    Ok(())
}

fn block_io(group: &mut Group<'_>, wanted: &BlockIo) -> Result<(), LimitError> {
    // BFQ has a file of its own, on the scale of the specification.
    if let Some(weight) = wanted.weight.filter(|w| *w != 0) {
        let value = format!("default {}", io_weight(weight));
        group.add("io", "io.bfq.weight", weight, "blockIO.weight", |d| Absent::Instead(d.join("io.weight"), value))?;
    }
    for (index, device) in wanted.weight_device.iter().enumerate() {
        let number = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = device.weight.filter(|w| *w != 0) {
            let name = format!("blockIO.weightDevice[{index}].weight");
            let value = format!("{number} {}", io_weight(weight));
            group.add("io", "io.bfq.weight", format!("{number} {weight}"), &name, |d| {
                Absent::Instead(d.join("io.weight"), value)
            })?;
        }
    }
    let leaf = wanted.weight_device.iter().position(|d| d.leaf_weight.is_some_and(|w| w != 0));
    let leaf = leaf.map(|i| format!("blockIO.weightDevice[{i}].leafWeight"));
    let whole = wanted.leaf_weight.filter(|w| *w != 0).map(|_| "blockIO.leafWeight".to_owned());
    if let Some(name) = whole.or(leaf) {
        return Err(LimitError::new(&field(&name), "this host has cgroup v2, which has no such setting"));
    }
    let rates = [
        (&wanted.throttle_read_bps_device, "rbps", "throttleReadBpsDevice"),
        (&wanted.throttle_write_bps_device, "wbps", "throttleWriteBpsDevice"),
        (&wanted.throttle_read_iops_device, "riops", "throttleReadIOPSDevice"),
        (&wanted.throttle_write_iops_device, "wiops", "throttleWriteIOPSDevice"),
    ];
    for (devices, key, name) in rates {
        for (index, device) in devices.iter().enumerate() {
            // On version 1 a rate of 0 is none.
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            let value = format!("{}:{} {key}={rate}", device.major, device.minor);
            group.set("io", "io.max", value, &format!("blockIO.{name}[{index}]"))?;
        }
    }
    Ok(())
}

/// Files that are no limits: what they do is the runtime's.
const RUNTIME: [&str; 6] =
    ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type", "cgroup.subtree_control"];

fn unified(group: &mut Group<'_>, key: &str, value: &str) -> Result<(), LimitError> {
    let name = format!("unified.{key}");
    let refuse = |reason: &str| Err(LimitError::new(&field(&name), reason));
    let Some((controller, rest)) = key.split_once('.') else {
        return refuse("a file of a controller is needed, like memory.high");
    };
    if key.contains(['/', '\0']) || controller.is_empty() || rest.is_empty() {
        return refuse("a file of a controller is needed, like memory.high");
    }
    if RUNTIME.contains(&key) {
        return refuse("it is no limit; the runtime itself writes that file");
    }
    // Files with an entry for each device take one line at a time.
    for line in value.lines() {
        if controller == "cgroup" {
            let file: PathBuf = group.directory.join(key);
            group.settings.push(Setting::new(&name, file, line));
        } else if unlimited(line) && !group.has(controller) {
            return refuse(&format!("the {controller} controller is not available here"));
        } else {
            group.set(controller, key, line, &name)?;
        }
    }
    Ok(())
}
