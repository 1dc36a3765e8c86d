//! Figures of version 1. Each hierarchy has those of its controllers.

use std::path::Path;

use super::{BlkioEntry, Entry, Hugetlb, Stats, list, number, page_sizes, table, text};

/// Ticks of `cpuacct.stat` in a second, the same on every Linux.
const TICKS: u64 = 100;
const NANOSECONDS: u64 = 1_000_000_000;

pub(super) fn read(directory: &Path, stats: &mut Stats) {
    cpu(directory, stats);
    cpuset(directory, stats);
    memory(directory, stats);
    if let Some(current) = number(directory, "pids.current") {
        stats.pids.current = current;
        stats.pids.limit = number(directory, "pids.max").filter(|n| *n != u64::MAX).unwrap_or(0);
    }
    blkio(directory, stats);
    for size in page_sizes(directory, ".limit_in_bytes") {
        let value = |what: &str| {
            let reserved = number(directory, &format!("hugetlb.{size}.rsvd.{what}"));
            reserved.or_else(|| number(directory, &format!("hugetlb.{size}.{what}"))).unwrap_or(0)
        };
        let figures =
            Hugetlb { usage: value("usage_in_bytes"), max: value("max_usage_in_bytes"), failcnt: value("failcnt") };
        stats.hugetlb.insert(size, figures);
    }
}

fn cpu(directory: &Path, stats: &mut Stats) {
    let usage = &mut stats.cpu.usage;
    if let Some(total) = number(directory, "cpuacct.usage") {
        usage.total = total;
        let each = text(directory, "cpuacct.usage_percpu").unwrap_or_default();
        usage.percpu = each.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let modes = table(&text(directory, "cpuacct.stat").unwrap_or_default());
        let nanoseconds = |name: &str| modes.get(name).copied().unwrap_or(0).saturating_mul(NANOSECONDS / TICKS);
        (usage.user, usage.kernel) = (nanoseconds("user"), nanoseconds("system"));
        // A heading, then `cpu user system`.
        for line in text(directory, "cpuacct.usage_all").unwrap_or_default().lines().skip(1) {
            let words: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            if let [_, user, kernel, ..] = words.as_slice() {
                usage.percpu_user.push(*user);
                usage.percpu_kernel.push(*kernel);
            }
        }
    }
    if let Some(text) = text(directory, "cpu.stat") {
        let table = table(&text);
        let value = |name: &str| table.get(name).copied().unwrap_or(0);
        stats.cpu.throttling.periods = value("nr_periods");
        stats.cpu.throttling.throttled_periods = value("nr_throttled");
        stats.cpu.throttling.throttled_time = value("throttled_time");
    }
}

fn cpuset(directory: &Path, stats: &mut Stats) {
    let Some(cpus) = text(directory, "cpuset.cpus") else { return };
    let value = |name: &str| number(directory, &format!("cpuset.{name}")).unwrap_or(0);
    let level = text(directory, "cpuset.sched_relax_domain_level");
    stats.cpuset = super::Cpuset {
        cpus: list(&cpus),
        cpu_exclusive: value("cpu_exclusive"),
        mems: list(&text(directory, "cpuset.mems").unwrap_or_default()),
        mem_hardwall: value("mem_hardwall"),
        mem_exclusive: value("mem_exclusive"),
        memory_migrate: value("memory_migrate"),
        memory_spread_page: value("memory_spread_page"),
        memory_spread_slab: value("memory_spread_slab"),
        memory_pressure: value("memory_pressure"),
        sched_load_balance: value("sched_load_balance"),
        sched_relax_domain_level: level.and_then(|t| t.trim().parse().ok()).unwrap_or(0),
    };
}

fn memory(directory: &Path, stats: &mut Stats) {
    let Some(raw) = text(directory, "memory.stat") else { return };
    let entry = |name: &str| {
        let value = |what: &str| number(directory, &format!("memory{name}.{what}")).unwrap_or(0);
        Entry {
            limit: value("limit_in_bytes"),
            usage: value("usage_in_bytes"),
            max: value("max_usage_in_bytes"),
            failcnt: value("failcnt"),
        }
    };
    let memory = &mut stats.memory;
    memory.raw = table(&raw);
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry("");
    memory.swap = entry(".memsw");
    memory.kernel = entry(".kmem");
    memory.kernel_tcp = entry(".kmem.tcp");
}

/// `8:0 Read 1`, or `8:0 1` in files without an operation; sums over devices are left out.
fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let rest: Vec<&str> = words.collect();
        let (op, value) = match rest.as_slice() {
            [value] => ("", value),
            [op, value] => (*op, value),
            _ => return None,
        };
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

fn blkio(directory: &Path, stats: &mut Stats) {
    // BFQ's files tell more; without that scheduler they are empty, as were CFQ's.
    let first = |names: &[&str]| {
        let read = names.iter().filter_map(|name| text(directory, &format!("blkio.{name}")));
        read.map(|t| entries(&t)).find(|all| !all.is_empty()).unwrap_or_default()
    };
    let blkio = &mut stats.blkio;
    let put = |to: &mut Vec<BlkioEntry>, names: &[&str]| {
        let found = first(names);
        if !found.is_empty() {
            *to = found;
        }
    };
    put(
        &mut blkio.io_service_bytes_recursive,
        &[
            "bfq.io_service_bytes_recursive",
            "io_service_bytes_recursive",
            "throttle.io_service_bytes_recursive",
            "throttle.io_service_bytes",
        ],
    );
    put(
        &mut blkio.io_serviced_recursive,
        &[
            "bfq.io_serviced_recursive",
            "io_serviced_recursive",
            "throttle.io_serviced_recursive",
            "throttle.io_serviced",
        ],
    );
    put(&mut blkio.io_queued_recursive, &["bfq.io_queued_recursive", "io_queued_recursive"]);
    put(&mut blkio.io_service_time_recursive, &["bfq.io_service_time_recursive", "io_service_time_recursive"]);
    put(&mut blkio.io_wait_time_recursive, &["bfq.io_wait_time_recursive", "io_wait_time_recursive"]);
    put(&mut blkio.io_merged_recursive, &["bfq.io_merged_recursive", "io_merged_recursive"]);
    put(&mut blkio.io_time_recursive, &["bfq.time_recursive", "time_recursive"]);
    put(&mut blkio.sectors_recursive, &["bfq.sectors_recursive", "sectors_recursive"]);
}
