//! Making the group of a bundle, and taking back what was made.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bulkhead_sys::Errno;
use rustix::fs::{Mode, OFlags};

use super::{OciGroup, Place, State, setting};
use crate::cgroup::handle::{CgroupError, CgroupHandle, filter_devices};

/// Directories that were made, in order. Dropped before [`Made::keep`], it removes them, and only them; what was put
/// into others ends.
#[derive(Debug, Default)]
pub(in crate::cgroup) struct Made {
    /// On the way to the group.
    way: Vec<PathBuf>,
    /// The group's own.
    group: Vec<PathBuf>,
    /// The group's own that were there.
    found: Vec<PathBuf>,
}

impl Made {
    /// They stay.
    pub(in crate::cgroup) fn keep(&mut self) {
        // Not by putting another in its place: the one that is dropped then would remove them.
        let Self { way, group, found } = self;
        for all in [way, group, found] {
            all.clear();
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.found.is_empty() {
            super::kill_all(&self.found, 9);
        }
        // Nobody is left to tell of what stays.
        drop(CgroupHandle::remove_all(&self.group));
        for directory in self.way.iter().rev() {
            // It may have got another container's group meanwhile, and stays.
            rustix::fs::rmdir(directory).unwrap_or_default();
        }
    }
}

/// Descriptors by which a child enters.
#[derive(Debug, Default)]
pub(in crate::cgroup) struct Doors {
    /// The v2 directory.
    pub(in crate::cgroup) into: Option<OwnedFd>,
    /// `tasks` of each v1 directory.
    pub(in crate::cgroup) tasks: Vec<OwnedFd>,
}

/// Makes the group and writes its limits.
pub(in crate::cgroup) fn make(group: &OciGroup, made: &mut Made) -> Result<Doors, CgroupError> {
    let mut found = Vec::new();
    for place in group.places.iter().chain(&group.beside) {
        let unified = group.unified || group.beside.as_ref() == Some(place);
        if !directories(place, group, unified, made)? && group.unit.is_none() {
            found.push(place.directory.clone());
        }
    }
    setting::write_all(&group.settings)?;
    for place in group.places.iter().filter(|p| p.controllers.iter().any(|c| c == "cpuset") && !group.unified) {
        // A group takes no member before both lists are written; what was not asked for is the parent's.
        let new = made.group.contains(&place.directory);
        inherit(&place.directory, |file| new && !group.settings.iter().any(|s| s.file == file))?;
    }
    if let Some(list) = &group.devices {
        let result = if group.unified {
            group.places.iter().try_for_each(|p| filter(&p.directory, list))
        } else {
            let with = |p: &&Place| p.controllers.iter().any(|c| c == "devices");
            group.places.iter().filter(with).try_for_each(|p| super::narrow(&p.directory, list))
        };
        match result {
            Err(e) if !(group.rootless && e.is_not_permitted()) => return Err(e),
            _ => {}
        }
    }
    let doors = doors(group)?;
    // Not before: until now nobody came into them by us.
    made.found = found;
    Ok(doors)
}

fn doors(group: &OciGroup) -> Result<Doors, CgroupError> {
    let mut doors = Doors::default();
    let beside = group.beside.iter().map(|place| (place, true));
    for (Place { directory, .. }, unified) in group.places.iter().map(|place| (place, group.unified)).chain(beside) {
        let (path, flags) = if unified {
            (directory.clone(), OFlags::PATH | OFlags::DIRECTORY)
        } else {
            (directory.join("tasks"), OFlags::WRONLY)
        };
        let fd = rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| CgroupError::new("open", &path, e))?;
        if unified {
            doors.into = Some(fd);
        } else {
            doors.tasks.push(fd);
        }
    }
    Ok(doors)
}

/// Makes what is missing between the mount point and the group. Another container may be made or deleted on the same
/// way at the same moment. Whether the group's own directory is new.
fn directories(place: &Place, group: &OciGroup, unified: bool, made: &mut Made) -> Result<bool, CgroupError> {
    const ATTEMPTS: usize = 16;
    // Beside version 1 there is nothing to pass on.
    let controlled = unified && group.unified;
    let mut way: Vec<&Path> = place.directory.ancestors().take_while(|d| *d != place.mount).collect();
    way.reverse();
    let cpuset = !unified && place.controllers.iter().any(|c| c == "cpuset");
    let (mut attempt, mut new) = (0, false);
    'again: loop {
        attempt += 1;
        // Mostly only the last is missing. What version 2 and a cpuset need on the way is seen to step by step.
        if attempt == 1
            && !unified
            && !cpuset
            && rustix::fs::mkdir(&place.directory, Mode::from_raw_mode(0o755)).is_ok()
        {
            made.group.push(place.directory.clone());
            return Ok(true);
        }
        for (index, directory) in way.iter().enumerate() {
            if controlled {
                pass_down(directory.parent().unwrap_or(&place.mount));
            }
            let last = index + 1 == way.len();
            match rustix::fs::mkdir(*directory, Mode::from_raw_mode(0o755)) {
                Ok(()) if last => {
                    made.group.push(directory.to_path_buf());
                    new = true;
                }
                Ok(()) => made.way.push(directory.to_path_buf()),
                // Of one that systemd made, its members are known.
                Err(Errno::EXIST) if last && group.unit.is_none() => unused(directory)?,
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) if attempt < ATTEMPTS => continue 'again,
                Err(e) => return Err(CgroupError::new("make the control group", directory, e)),
            }
            if cpuset && !last {
                inherit(directory, |_| false)?;
            }
            // What is made below the top is whole.
            if controlled || unified && directory.parent() != Some(&place.mount) {
                whole(directory)?;
            }
        }
        return Ok(new);
    }
}

/// Passes every controller of a v2 group on to its children. What this does not reach shows when a limit is written.
fn pass_down(directory: &Path) {
    let read = |name: &str| bulkhead_sys::fd::text(directory.join(name)).unwrap_or_default();
    let passed = read("cgroup.subtree_control");
    let passed: Vec<&str> = passed.split_whitespace().collect();
    let all = read("cgroup.controllers");
    let missing: Vec<String> =
        all.split_whitespace().filter(|c| !passed.contains(c)).map(|c| format!("+{c}")).collect();
    if missing.is_empty() {
        return;
    }
    let file = directory.join("cgroup.subtree_control");
    if std::fs::write(&file, missing.join(" ")).is_err() {
        // One of them is refused (realtime processes forbid cpu): the others are still wanted.
        for one in &missing {
            std::fs::write(&file, one).unwrap_or_default();
        }
    }
}

/// A v2 group in threaded mode takes single threads of one domain, and so no new process.
fn whole(directory: &Path) -> Result<(), CgroupError> {
    let file = directory.join("cgroup.type");
    let kind = bulkhead_sys::fd::text(&file).unwrap_or_default();
    let reason = match kind.trim() {
        "" | "domain" => return Ok(()),
        "domain invalid" => "the group above it is threaded, so it can hold no container; choose another cgroupsPath",
        _ => "it is in threaded mode, which has no memory and I/O limits; choose another cgroupsPath",
    };
    Err(CgroupError::new(
        "use the control group",
        directory,
        std::io::Error::other(format!("{}: {reason}", kind.trim())),
    ))
}

/// A group that exists already may be used when nobody is in it and it lets processes run.
fn unused(directory: &Path) -> Result<(), CgroupError> {
    let refuse =
        |reason: String| Err(CgroupError::new("use the control group", directory, std::io::Error::other(reason)));
    let count = super::processes(&[directory.to_path_buf()]).len();
    if count > 0 {
        return refuse(format!("container's cgroup is not empty: {count} processes are in it or in groups below it"));
    }
    if super::frozen(&[directory.to_path_buf()]) == State::Frozen {
        return refuse("container's cgroup unexpectedly frozen".to_owned());
    }
    Ok(())
}

/// Takes over the parent's lists where a v1 cpuset has none of its own; which it has not is known of some.
fn inherit(directory: &Path, is_empty: impl Fn(&Path) -> bool) -> Result<(), CgroupError> {
    let read = |file: &Path| bulkhead_sys::fd::text(file).map_err(|e| CgroupError::new("read", file, e));
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = directory.join(name);
        if is_empty(&file) || read(&file)?.trim().is_empty() {
            let value = read(&directory.parent().unwrap_or(directory).join(name))?;
            bulkhead_sys::fd::put(&file, value.trim().as_bytes())
                .map_err(|e| CgroupError::new(format!("write {:?} to", value.trim()), &file, e))?;
        }
    }
    Ok(())
}

/// Puts the rules in force in a v2 group.
pub(super) fn filter(directory: &Path, list: &super::DeviceList) -> Result<(), CgroupError> {
    filter_devices(directory, "linux.resources.devices", &super::devices::program(list))
}
