//! Questions to the control group of a container, in one place.

use std::path::{Path, PathBuf};

use bulkhead_sandbox::cgroup;
use serde_json::{Value, json};

use super::error::RuncError;

/// Whether the group is frozen, or is being frozen. Without a group that can be frozen it is not.
///
/// # Errors
///
/// A file of the group that cannot be read.
pub fn frozen(directories: &[PathBuf]) -> Result<bool, RuncError> {
    for directory in directories {
        if let Some(text) = read(&directory.join("freezer.state"))? {
            return Ok(text.trim() != "THAWED");
        }
        if let Some(text) = read(&directory.join("cgroup.freeze"))? {
            return Ok(text.trim() == "1");
        }
    }
    Ok(false)
}

fn read(path: &Path) -> Result<Option<String>, RuncError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        // The group ends with the container: reading it may begin before and end after.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(None),
        Err(error) => Err(RuncError::chain(&error).during(format!("read {}", path.display()))),
    }
}

/// Host pids of all processes in the group and below it, in rising order; none where it is gone.
#[must_use]
pub fn members(directories: &[PathBuf]) -> Vec<i32> {
    cgroup::members(directories).unwrap_or_default()
}

/// How often the kernel killed a process of the group because memory ran out.
#[must_use]
pub fn oom_kills(directories: &[PathBuf]) -> u64 {
    cgroup::refusals(directories).oom_kills
}

/// The `data` of an event of the type `stats`.
#[must_use]
pub fn stats(directories: &[PathBuf]) -> Value {
    let figures = cgroup::figures(directories);
    let usage = figures.usage;
    let some = |value: Option<u64>| value.unwrap_or(0);
    json!({
        "cpu": {"usage": {"total": some(usage.cpu_nanoseconds)}},
        "memory": {"usage": {
            "limit": some(usage.memory_limit),
            "usage": some(usage.memory),
            "max": some(usage.memory_peak),
        }},
        "pids": {"current": some(usage.pids)},
        "blkio": {"ioServiceBytesRecursive": [
            {"op": "Read", "value": some(figures.block_read)},
            {"op": "Write", "value": some(figures.block_written)},
        ]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_is_read_from_either_version() {
        let dir = std::env::temp_dir().join(format!("bulkhead-runc-group-{}", std::process::id()));
        let at = |name: &str, file: &str, text: &str| {
            let group = dir.join(name);
            std::fs::create_dir_all(&group).unwrap();
            std::fs::write(group.join(file), text).unwrap();
            group
        };
        let memory = dir.join("memory");
        let is = |group: PathBuf| frozen(&[memory.clone(), group]).unwrap();
        assert!(is(at("one", "freezer.state", "FROZEN\n")));
        assert!(is(at("one", "freezer.state", "FREEZING\n")));
        assert!(!is(at("one", "freezer.state", "THAWED\n")));
        assert!(is(at("two", "cgroup.freeze", "1\n")));
        assert!(!is(at("two", "cgroup.freeze", "0\n")));
        assert!(!frozen(&[]).unwrap());
        std::fs::create_dir_all(dir.join("three/cgroup.freeze")).unwrap();
        assert!(frozen(&[dir.join("three")]).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
