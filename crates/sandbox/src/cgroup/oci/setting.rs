//! One limit as a write that knows which field of `config.json` asked for it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Dialect, LimitError, v1, v2};
use crate::cgroup::handle::CgroupError;
use crate::oci::config::LinuxResources;

/// What happens where the file of a setting is missing, which only shows when the group is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Absent {
    /// The limit cannot be enforced.
    Refuse,
    /// The kernel has no such thing and so nothing to limit.
    Skip,
    /// Another file does it.
    Instead(PathBuf, String),
}

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The field, like `linux.resources.memory.limit`.
    pub field: String,
    /// Absolute path.
    pub file: PathBuf,
    /// What is written, in one write.
    pub value: String,
    /// What if the file is missing.
    pub absent: Absent,
}

/// `linux.resources.` and the field.
pub(super) fn field(name: &str) -> String {
    format!("linux.resources.{name}")
}

/// The settings of a group. `memory_limit` is what is in force where a change says nothing about it.
pub(super) fn settings(
    dialect: &Dialect,
    resources: &LinuxResources,
    memory_limit: Option<i64>,
) -> Result<Vec<Setting>, LimitError> {
    check(resources)?;
    match dialect {
        Dialect::V1(directories) => v1::settings(directories, resources),
        Dialect::V2(directory, controllers) => v2::settings(directory, controllers.as_deref(), resources, memory_limit),
    }
}

/// Values that are wrong on every host.
fn check(resources: &LinuxResources) -> Result<(), LimitError> {
    let refuse = |name: &str, reason: String| Err(LimitError::new(&field(name), reason));
    if let Some(memory) = &resources.memory {
        let values =
            [("memory.limit", memory.limit), ("memory.reservation", memory.reservation), ("memory.swap", memory.swap)];
        for (name, value) in values {
            if let Some(value) = value.filter(|v| *v < -1) {
                return refuse(name, format!("{value} is no number of bytes; -1 is no limit"));
            }
        }
        if let Some(value) = memory.swappiness.filter(|s| *s > 100 && *s != u64::MAX) {
            return refuse("memory.swappiness", format!("{value} is not in 0 to 100"));
        }
        if let (Some(limit @ 1..), Some(swap @ 1..)) = (memory.limit, memory.swap)
            && swap < limit
        {
            return refuse(
                "memory.swap",
                format!("{swap} is memory and swap together, and less than the memory {limit}"),
            );
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(idle) = cpu.idle.filter(|i| !(0..=1).contains(i)) {
            return refuse("cpu.idle", format!("{idle} is neither 0 nor 1"));
        }
        for (name, list) in [("cpu.cpus", &cpu.cpus), ("cpu.mems", &cpu.mems)] {
            if !list.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'-') {
                return refuse(name, format!("{list:?} is no list like 0-2,7"));
            }
        }
    }
    if let Some(io) = &resources.block_io {
        let weights = io.weight_device.iter().filter_map(|d| d.weight);
        if let Some(weight) = io.weight.into_iter().chain(weights).find(|w| *w != 0 && !(10..=1000).contains(w)) {
            return refuse("blockIO.weight", format!("{weight} is not in 10 to 1000"));
        }
    }
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        let size = &limit.page_size;
        let number = size.trim_end_matches(|c: char| c.is_ascii_uppercase());
        if number.is_empty() || number.len() == size.len() || !number.bytes().all(|b| b.is_ascii_digit()) {
            let name = format!("hugepageLimits[{index}].pageSize");
            return refuse(&name, format!("{size:?} is no size like 2MB or 1GB"));
        }
    }
    Ok(())
}

/// The first field that limits anything, for an error where nothing can be limited.
pub(super) fn first_limit(resources: &LinuxResources) -> Option<String> {
    let every = every_controller();
    let settings = if resources.unified.is_empty() {
        v1::settings(&every, resources)
    } else {
        v2::settings(Path::new("/"), None, resources, None)
    };
    match settings {
        Ok(settings) => settings.into_iter().find(|s| !unlimited(&s.value)).map(|s| s.field),
        Err(error) => Some(error.limit),
    }
}

fn every_controller() -> std::collections::BTreeMap<String, PathBuf> {
    let names = ["memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "rdma"];
    names.into_iter().map(|c| (c.to_owned(), PathBuf::from("/"))).collect()
}

/// It takes a limit away; so it holds where there is none to have.
pub(super) fn unlimited(value: &str) -> bool {
    matches!(value, "max" | "-1")
}

fn write(path: &Path, value: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    // Never makes a file: in a directory that is no control group the name would be one.
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Why a file of a group that was just made is missing.
fn missing(file: &Path) -> std::io::Error {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let controller = name.split('.').next().unwrap_or_default();
    let reason = format!(
        "the group has no such file: its kernel lacks it, or the {controller} controller is not passed down to it (it is \
         not delegated, or a group above has processes of its own)"
    );
    std::io::Error::new(std::io::ErrorKind::NotFound, reason)
}

impl Setting {
    pub(super) fn new(name: &str, file: PathBuf, value: impl ToString) -> Self {
        Self { field: field(name), file, value: value.to_string(), absent: Absent::Refuse }
    }

    pub(super) fn or(self, absent: Absent) -> Self {
        Self { absent, ..self }
    }

    pub(super) fn write(&self) -> Result<(), CgroupError> {
        let fail = |file: &Path, value: &str, e| {
            CgroupError::new(format!("set {} by writing {value:?} to", self.field), file, e)
        };
        match write(&self.file, &self.value) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => match &self.absent {
                Absent::Refuse => Err(fail(&self.file, &self.value, missing(&self.file))),
                Absent::Skip => Ok(()),
                Absent::Instead(file, value) => write(file, value).map_err(|e| fail(file, value, e)),
            },
            Err(e) => Err(fail(&self.file, &self.value, e)),
        }
    }
}

/// Writes them all. Some files take a value only when another has its own (memory with and without swap, a quota and
/// its burst), in an order that depends on what was there before: what fails is tried again as long as anything helps.
pub(super) fn write_all(settings: &[Setting]) -> Result<(), CgroupError> {
    let mut left: Vec<&Setting> = settings.iter().collect();
    loop {
        let before = left.len();
        let mut first = None;
        left.retain(|setting| match setting.write() {
            Ok(()) => false,
            Err(e) => {
                first.get_or_insert(e);
                true
            }
        });
        match first {
            None => return Ok(()),
            Some(e) if left.len() == before => return Err(e),
            Some(_) => {}
        }
    }
}
