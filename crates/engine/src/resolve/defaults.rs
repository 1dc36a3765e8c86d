//! Kernel files that a container must not read or write.

use bulkhead_sandbox::facts::HostFacts;

/// Read as empty: what tells about the host or other containers, and what has been a way out.
const MASKED: [&str; 15] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sysrq-trigger",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Take no writes: all of the kernel's settings that no namespace holds.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/pressure", "/proc/sys"];

/// The list for this host: counters of each CPU's thermal throttling are a side channel.
pub(crate) fn masked(facts: &HostFacts) -> Vec<String> {
    let mut all: Vec<String> = MASKED.map(str::to_owned).to_vec();
    for cpu in 0..facts.cpus.min(1024) {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
        // Virtual machines have none, and each missing path would cost a look-up at every start.
        if std::path::Path::new(&path).exists() {
            all.push(path);
        }
    }
    all
}

/// The list of files that take no writes.
pub(crate) fn read_only() -> Vec<String> {
    READ_ONLY.map(str::to_owned).to_vec()
}
