//! The figures of a group in the shape that callers of an OCI runtime read: the `data` of an `events --stats` line.
//!
//! Its names, and which numbers are left out when they are 0, are a format of their own that programs outside parse, and
//! so kept to the letter.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Part of the format: 0 and what is empty are left out.
fn nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Stats {
    cpu: Cpu,
    cpuset: Cpuset,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
    hugetlb: BTreeMap<String, Hugetlb>,
    intel_rdt: BTreeMap<String, String>,
    /// Always `null`: the network is the caller's.
    network_interfaces: Option<Vec<String>>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Cpu {
    #[serde(skip_serializing_if = "nothing")]
    usage: CpuUsage,
    #[serde(skip_serializing_if = "nothing")]
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

/// Nanoseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "nothing")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "nothing")]
    periods: u64,
    #[serde(skip_serializing_if = "nothing")]
    throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "nothing")]
    throttled_time: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "nothing")]
    cache: u64,
    #[serde(skip_serializing_if = "nothing")]
    usage: Entry,
    #[serde(skip_serializing_if = "nothing")]
    swap: Entry,
    #[serde(skip_serializing_if = "nothing")]
    kernel: Entry,
    #[serde(rename = "kernelTCP", skip_serializing_if = "nothing")]
    kernel_tcp: Entry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

/// Bytes; no limit is the largest number.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
struct Entry {
    limit: u64,
    #[serde(skip_serializing_if = "nothing")]
    usage: u64,
    #[serde(skip_serializing_if = "nothing")]
    max: u64,
    failcnt: u64,
}

/// A limit of 0 is none.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "nothing")]
    current: u64,
    #[serde(skip_serializing_if = "nothing")]
    limit: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlkioEntry>,
    /// The format spells it so.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct BlkioEntry {
    #[serde(skip_serializing_if = "nothing")]
    major: u64,
    #[serde(skip_serializing_if = "nothing")]
    minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[serde(skip_serializing_if = "nothing")]
    value: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Hugetlb {
    #[serde(skip_serializing_if = "nothing")]
    usage: u64,
    #[serde(skip_serializing_if = "nothing")]
    max: u64,
    failcnt: u64,
}

/// Time that somebody, or everybody, waited for want of something (`psi.rst`).
#[derive(Debug, Default, PartialEq, Serialize)]
struct Pressure {
    #[serde(skip_serializing_if = "nothing")]
    some: PressureLine,
    #[serde(skip_serializing_if = "nothing")]
    full: PressureLine,
}

/// Percent of the last seconds, and microseconds in all.
#[derive(Debug, Default, PartialEq, Serialize)]
struct PressureLine {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total: u64,
}

/// Reads the figures of the group in `directories`.
#[must_use]
pub fn stats(directories: &[PathBuf]) -> serde_json::Value {
    let mut stats = Stats::default();
    for directory in directories {
        if directory.join("cgroup.controllers").exists() {
            // Beside version 1 it accounts nothing that the others do not.
            if directories.len() == 1 {
                v2::read(directory, &mut stats);
            }
        } else {
            v1::read(directory, &mut stats);
        }
    }
    serde_json::to_value(stats).unwrap_or_default()
}

fn text(directory: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(directory.join(file)).ok()
}

/// A number; `max` is the largest.
fn number(directory: &Path, file: &str) -> Option<u64> {
    match text(directory, file)?.trim() {
        "max" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// `name number` lines.
fn table(text: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// `0-2,7`; what is no list is none, and no list is longer than a host has CPUs.
fn list(text: &str) -> Vec<u16> {
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (Ok(from), Ok(to)) = (from.parse::<u16>(), to.parse::<u16>()) else { return Vec::new() };
        all.extend(from..=to);
    }
    all
}

/// Sizes of the huge pages that a group has files for, by the name of one of them.
fn page_sizes(directory: &Path, suffix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    let mut sizes: Vec<String> =
        names.filter_map(|n| Some(n.strip_prefix("hugetlb.")?.strip_suffix(suffix)?.to_owned())).collect();
    sizes.retain(|size| !size.contains('.'));
    sizes.sort();
    sizes
}
