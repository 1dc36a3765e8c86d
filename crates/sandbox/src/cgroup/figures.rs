//! What a running group uses: the figures that `stats` shows, and who is in it.

use std::path::{Path, PathBuf};

use super::handle::{Usage, usage};

/// Figures of a group that runs. `None` where the host does not account it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// What [`usage`] says.
    pub usage: Usage,
    /// Bytes of files in memory that can be dropped at once, part of [`Usage::memory`].
    pub inactive_file: Option<u64>,
    /// Bytes read from block devices.
    pub block_read: Option<u64>,
    /// Bytes written to block devices.
    pub block_written: Option<u64>,
}

/// Reads the figures of the groups in `directories`.
#[must_use]
pub fn figures(directories: &[PathBuf]) -> Figures {
    let mut figures = Figures { usage: usage(directories), ..Figures::default() };
    let text = |path: PathBuf| std::fs::read_to_string(path).ok();
    for d in directories {
        if figures.inactive_file.is_none()
            && let Some(stat) = text(d.join("memory.stat"))
        {
            // Version 1 has the figure of the group alone, and with what is below it.
            let find = |key: &str| stat.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok());
            figures.inactive_file = find("total_inactive_file ").or_else(|| find("inactive_file "));
        }
        let io = text(d.join("io.stat")).map(|t| v2_traffic(&t)).or_else(|| {
            // The recursive file has what is below the group too; BFQ's have what the throttle's leave out.
            let files = ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"];
            files.into_iter().find_map(|f| text(d.join(f))).map(|t| v1_traffic(&t))
        });
        if let (None, Some((read, written))) = (figures.block_read, io) {
            figures.block_read = Some(read);
            figures.block_written = Some(written);
        }
    }
    figures
}

/// `8:0 rbytes=1 wbytes=2 rios=…`, a line for each device.
fn v2_traffic(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text.split_whitespace().filter_map(|w| w.strip_prefix(key)?.parse::<u64>().ok());
        values.fold(0_u64, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// `8:0 Read 1`, `8:0 Write 2` and more words, a line for each device and word.
fn v1_traffic(text: &str) -> (u64, u64) {
    let sum = |word: &str| {
        let values = text.lines().filter_map(|l| {
            let mut words = l.split_whitespace();
            words.next()?;
            (words.next()? == word).then(|| words.next()?.parse::<u64>().ok())?
        });
        values.fold(0_u64, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

/// Processes in a group and in the groups that were made below it, in rising order; `None` when there is no such group.
#[must_use]
pub fn members(directories: &[PathBuf]) -> Option<Vec<i32>> {
    let first = directories.iter().find(|d| d.join("cgroup.procs").exists())?;
    let mut found = Vec::new();
    collect(first, 0, &mut found);
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// A container may make groups of its own; their depth is bounded by the kernel or by this.
fn collect(directory: &Path, depth: usize, found: &mut Vec<i32>) {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 0));
    if depth < 64 {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                collect(&entry.path(), depth + 1, found);
            }
        }
    }
}

/// Directories of the parent group of all sandboxes: one for each hierarchy that has it.
#[must_use]
pub fn parents(facts: &crate::facts::HostFacts) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = match &facts.cgroup {
        crate::facts::CgroupLayout::None => Vec::new(),
        crate::facts::CgroupLayout::V1 { controllers } => {
            controllers.values().map(|mount| mount.join(super::PARENT)).collect()
        }
        crate::facts::CgroupLayout::V2 { base, .. } => vec![base.join(super::PARENT)],
    };
    all.retain(|directory| directory.is_dir());
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::{figures, members, v1_traffic, v2_traffic};

    #[test]
    fn traffic_is_summed_over_devices() {
        let v2 = "8:0 rbytes=100 wbytes=7 rios=1 wios=1 dbytes=0 dios=0\n253:1 rbytes=1 wbytes=2 rios=0 wios=0\n";
        assert_eq!(v2_traffic(v2), (101, 9));
        let v1 = "8:0 Read 100\n8:0 Write 7\n8:0 Sync 9\n8:0 Total 107\n8:16 Read 1\n8:16 Write 2\nTotal 110\n";
        assert_eq!(v1_traffic(v1), (101, 9));
        assert_eq!((v1_traffic("Total 0\n"), v2_traffic("")), ((0, 0), (0, 0)));
    }

    #[test]
    fn figures_and_members_of_both_dialects() {
        let dir = std::env::temp_dir().join(format!("bulkhead-figures-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("two/memory.current", "1000\n");
        write("two/memory.stat", "anon 1\ninactive_file 300\n");
        write("two/io.stat", "8:0 rbytes=5 wbytes=6 rios=0\n");
        write("two/cgroup.procs", "12\n7\n");
        write("two/inside/cgroup.procs", "9\n0\n");
        let v2 = figures(&[dir.join("two")]);
        assert_eq!((v2.usage.memory, v2.inactive_file), (Some(1000), Some(300)));
        assert_eq!((v2.block_read, v2.block_written), (Some(5), Some(6)));
        assert_eq!(members(&[dir.join("none"), dir.join("two")]), Some(vec![7, 9, 12]));
        write("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 4\n");
        write("blkio/blkio.throttle.io_service_bytes", "8:0 Read 8\n8:0 Write 9\n");
        let v1 = figures(&[dir.join("memory"), dir.join("blkio")]);
        assert_eq!((v1.inactive_file, v1.block_read, v1.block_written), (Some(4), Some(8), Some(9)));
        assert_eq!(members(&[dir.join("none")]), None);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
