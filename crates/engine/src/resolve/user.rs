//! Who a program runs as: numbers are numbers, names come from the container's own files.

use std::fs::File;
use std::path::{Path, PathBuf};

use bulkhead_image::config::{UserRef, UserSpec};
use bulkhead_image::passwd;
use bulkhead_sandbox::spec::Identity;
use bulkhead_sys::root::Root;
use rustix::fs::{FileType, Mode, OFlags};

use crate::error::EngineError;

/// A user with his home directory.
#[derive(Debug)]
pub(super) struct User {
    pub(super) identity: Identity,
    pub(super) home: String,
}

/// Opens `path` in the first of the directories (the writable layer, then the layers from the top) that has it.
///
/// A link, a FIFO or a device in its place counts as an empty file (CVE-2024-9676).
fn open_in(dirs: &[PathBuf], path: &Path) -> Option<File> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    for dir in dirs {
        let Ok(fd) = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
            continue;
        };
        match Root::new(fd).open(
            &name,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
        ) {
            Ok(file) => {
                let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
                return kind.is_file().then(|| File::from(file));
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            // A whiteout, a link, something unreadable: what is below must not show through.
            Err(_) => return None,
        }
    }
    None
}

/// Finds the user that `wanted` names.
///
/// # Errors
/// A text that names no user or group.
pub(super) fn resolve(wanted: &str, more_groups: &[String], dirs: &[PathBuf]) -> Result<User, EngineError> {
    let spec = if wanted.is_empty() { UserSpec::parse("0") } else { UserSpec::parse(wanted) };
    let spec = spec.map_err(|e| EngineError::invalid("--user", wanted, e.to_string()))?;
    let bad = |e: bulkhead_image::ImageError| EngineError::invalid("--user", wanted, e.to_string());
    let entry = match open_in(dirs, Path::new("etc/passwd")) {
        Some(mut file) => passwd::lookup_user(&mut file, &spec.user).map_err(bad)?,
        None => None,
    };
    let uid = match (&spec.user, &entry) {
        (UserRef::Id(id), _) => *id,
        (UserRef::Name(_), Some(entry)) => entry.uid,
        (UserRef::Name(name), None) => {
            return Err(EngineError::invalid("--user", name, "the image's /etc/passwd has no such user"));
        }
    };
    let gid = match &spec.group {
        None => entry.as_ref().map_or(0, |e| e.gid),
        Some(group) => group_id(group, dirs)?,
    };
    let mut groups = match (&entry, &spec.group) {
        // A group that was named replaces the ones that the image lists, as Docker does it.
        (Some(entry), None) => match open_in(dirs, Path::new("etc/group")) {
            Some(mut file) => passwd::groups_of(&mut file, &entry.name, gid).map_err(bad)?,
            None => Vec::new(),
        },
        _ => Vec::new(),
    };
    for name in more_groups {
        let group = UserSpec::parse(name).map_err(|e| EngineError::invalid("--group-add", name, e.to_string()))?;
        groups.push(group_id(&group.user, dirs)?);
    }
    // The primary group is a supplementary one too, as a login has it: a file that denies the group is then denied to a
    // set-group-id program as well (CVE-2022-36109).
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let home = entry.map(|e| e.home).filter(|h| h.starts_with('/')).unwrap_or_else(|| "/".to_owned());
    Ok(User { identity: Identity { uid, gid, groups }, home })
}

/// Name of a user by number, as the container's own files have it.
pub(super) fn name_of(uid: u32, dirs: &[PathBuf]) -> Option<String> {
    let mut file = open_in(dirs, Path::new("etc/passwd"))?;
    passwd::lookup_user(&mut file, &UserRef::Id(uid)).ok()?.map(|e| e.name).filter(|n| !n.is_empty())
}

fn group_id(group: &UserRef, dirs: &[PathBuf]) -> Result<u32, EngineError> {
    let name = match group {
        UserRef::Id(id) => return Ok(*id),
        UserRef::Name(name) => name,
    };
    let missing = || EngineError::invalid("group", name, "the image's /etc/group has no such group");
    let mut file = open_in(dirs, Path::new("etc/group")).ok_or_else(missing)?;
    passwd::lookup_group(&mut file, group)
        .map_err(|e| EngineError::invalid("group", name, e.to_string()))?
        .ok_or_else(missing)
}
