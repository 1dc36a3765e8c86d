//! Figures of version 2, under the names and in the units of version 1 that the format has.

use std::path::Path;

use super::{BlkioEntry, Entry, Hugetlb, Pressure, PressureLine, Stats, list, number, page_sizes, table, text};

pub(super) fn read(directory: &Path, stats: &mut Stats) {
    if let Some(text) = text(directory, "cpu.stat") {
        cpu(&text, stats);
    }
    stats.cpu.psi = pressure(directory, "cpu.pressure");
    if let Some(cpus) = text(directory, "cpuset.cpus") {
        stats.cpuset.cpus = list(&cpus);
        stats.cpuset.mems = list(&text(directory, "cpuset.mems").unwrap_or_default());
    }
    memory(directory, stats);
    match number(directory, "pids.current") {
        Some(current) => {
            stats.pids.current = current;
            stats.pids.limit = number(directory, "pids.max").filter(|n| *n != u64::MAX).unwrap_or(0);
        }
        // Without the controller the members are counted.
        None => {
            let members = text(directory, "cgroup.procs").or_else(|| text(directory, "cgroup.threads"));
            let count = members.unwrap_or_default().lines().count();
            stats.pids.current = u64::try_from(count).unwrap_or(u64::MAX);
        }
    }
    if let Some(text) = text(directory, "io.stat") {
        io(&text, stats);
    }
    stats.blkio.psi = pressure(directory, "io.pressure");
    for size in page_sizes(directory, ".current") {
        let reserved = number(directory, &format!("hugetlb.{size}.rsvd.current"));
        let usage = reserved.or_else(|| number(directory, &format!("hugetlb.{size}.current"))).unwrap_or(0);
        let events = table(&text(directory, &format!("hugetlb.{size}.events")).unwrap_or_default());
        let figures = Hugetlb { usage, max: 0, failcnt: events.get("max").copied().unwrap_or(0) };
        stats.hugetlb.insert(size, figures);
    }
}

fn cpu(text: &str, stats: &mut Stats) {
    let table = table(text);
    let value = |name: &str| table.get(name).copied().unwrap_or(0);
    // Microseconds there, nanoseconds here.
    let time = |name: &str| value(name).saturating_mul(1000);
    let usage = &mut stats.cpu.usage;
    (usage.total, usage.user, usage.kernel) = (time("usage_usec"), time("user_usec"), time("system_usec"));
    stats.cpu.throttling.periods = value("nr_periods");
    stats.cpu.throttling.throttled_periods = value("nr_throttled");
    stats.cpu.throttling.throttled_time = time("throttled_usec");
}

fn memory(directory: &Path, stats: &mut Stats) {
    let memory = &mut stats.memory;
    memory.psi = pressure(directory, "memory.pressure");
    let Some(raw) = text(directory, "memory.stat") else { return };
    memory.raw = table(&raw);
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    let entry = |name: &str| {
        let value = |what: &str| number(directory, &format!("memory{name}.{what}"));
        Some(Entry {
            usage: value("current")?,
            limit: value("max").unwrap_or(0),
            max: value("peak").unwrap_or(0),
            failcnt: 0,
        })
    };
    memory.usage = entry("").unwrap_or_default();
    // The format's swap is memory and swap together; of the highest values there is no sum.
    let swap = entry(".swap").unwrap_or_default();
    memory.swap = Entry {
        usage: swap.usage.saturating_add(memory.usage.usage),
        limit: if swap.limit == u64::MAX { u64::MAX } else { swap.limit.saturating_add(memory.usage.limit) },
        max: 0,
        failcnt: 0,
    };
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`
fn io(text: &str, stats: &mut Stats) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|w| w.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (name, value) in words.filter_map(|w| w.split_once('=')) {
            let (table, op) = match name {
                "rbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut stats.blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut stats.blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut stats.blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            if let Ok(value) = value.parse() {
                table.push(BlkioEntry { major, minor, op: op.to_owned(), value });
            }
        }
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and a line of `full`.
fn pressure(directory: &Path, file: &str) -> Option<Pressure> {
    let text = text(directory, file)?;
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let to = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        let mut found = PressureLine::default();
        for (name, value) in words.filter_map(|w| w.split_once('=')) {
            let share = || value.parse().ok().filter(|v: &f64| v.is_finite()).unwrap_or(0.0);
            match name {
                "avg10" => found.avg10 = share(),
                "avg60" => found.avg60 = share(),
                "avg300" => found.avg300 = share(),
                "total" => found.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        *to = found;
    }
    Some(pressure)
}
