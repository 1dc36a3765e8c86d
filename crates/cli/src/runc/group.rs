//! Questions to the control group of a container, in one place.

use std::path::{Path, PathBuf};

use bulkhead_sandbox::cgroup::oci::freezer_first;
use bulkhead_sys::Errno;

use super::error::RuncError;

/// Whether the group is frozen, or is being frozen. Without a group that can be frozen it is not.
///
/// # Errors
///
/// A file of the group that cannot be read.
pub fn frozen(directories: &[PathBuf]) -> Result<bool, RuncError> {
    for directory in freezer_first(directories) {
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
    match bulkhead_sys::fd::text(path) {
        Ok(text) => Ok(Some(text)),
        // The group ends with the container: reading it may begin before and end after.
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(error) => Err(RuncError::chain(&error).during(format!("read {}", path.display()))),
    }
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
