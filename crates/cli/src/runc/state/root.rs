//! Where the directories of the containers are.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::runc::NAME;
use crate::runc::args::{Global, check_id};
use crate::runc::error::{During, RuncError};

impl Global {
    /// The directory of the containers' directories: `--root`; `/run/bulkhead-runc` for root; for anybody else
    /// `bulkhead-runc` below `$XDG_RUNTIME_DIR`. It need not be there.
    ///
    /// # Errors
    ///
    /// An ordinary user without `XDG_RUNTIME_DIR`.
    pub fn root(&self) -> Result<PathBuf, RuncError> {
        if let Some(given) = &self.given_root {
            return Ok(given.clone());
        }
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        usual(rustix::process::geteuid().is_root(), runtime, || {
            // Root of a user namespace that an ordinary user made has that user's directory.
            std::env::var_os("USER").is_none_or(|name| name != "root") && !maps_everything()
        })
    }

    /// As [`Global::root`], made where it is missing. Whoever opens it checks it: only its owner may put directories
    /// there, because what is in them is acted on.
    ///
    /// # Errors
    ///
    /// As [`Global::root`]; a directory that cannot be made.
    pub(super) fn make_root(&self) -> Result<PathBuf, RuncError> {
        let root = self.root()?;
        if rustix::fs::access(&root, rustix::fs::Access::EXISTS).is_ok() {
            return Ok(root);
        }
        // Others may look up ids below root's directory, as with other runtimes, and open none of them. The sticky bit
        // keeps what is below `XDG_RUNTIME_DIR` from those who tidy up there (XDG base directories).
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o1700 };
        let made = DirBuilder::new().recursive(true).mode(mode).create(&root);
        made.during(format_args!("make the state directory {}", root.display()))?;
        Ok(root)
    }
}

fn usual(is_root: bool, runtime: Option<PathBuf>, is_users_root: impl FnOnce() -> bool) -> Result<PathBuf, RuncError> {
    match (is_root, runtime) {
        (true, Some(runtime)) if is_users_root() => Ok(runtime.join(NAME)),
        (true, _) => Ok(Path::new("/run").join(NAME)),
        (false, Some(runtime)) => Ok(runtime.join(NAME)),
        (false, None) => Err(RuncError::new(
            "XDG_RUNTIME_DIR is not set to an absolute path, so there is no directory for the state of containers: \
             set it, or give --root",
        )),
    }
}

/// Whether this user namespace has all ids, as the first one has.
fn maps_everything() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Opens the root and refuses one in which others may put containers of theirs.
///
/// # Errors
///
/// What the kernel says, to be judged by the caller; inside, another owner, or that others may write to it.
pub(super) fn open(path: &Path) -> rustix::io::Result<Result<OwnedFd, RuncError>> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let found = rustix::fs::fstat(&fd)?;
    let user = rustix::process::geteuid().as_raw();
    let wrong = |what: String| Ok(Err(RuncError::new(format!("the state directory {} {what}", path.display()))));
    if found.st_uid != user {
        return wrong(format!("belongs to user {}, not to {user}", found.st_uid));
    }
    if found.st_mode & 0o022 != 0 {
        return wrong(format!(
            "can be written by others (mode {:04o}): 0711 or less is needed",
            found.st_mode & 0o7777
        ));
    }
    Ok(Ok(fd))
}

/// Ids below the root, in order. Names that are no ids, and files, are passed over.
///
/// # Errors
///
/// A directory that cannot be read; a root that was given and is not there.
pub fn ids(global: &Global) -> Result<Vec<String>, RuncError> {
    let root = global.root()?;
    let what = || format!("read {}", root.display());
    let fd = match open(&root) {
        Err(Errno::NOENT) if global.given_root.is_none() => return Ok(Vec::new()),
        opened => opened.during_with(what)??,
    };
    let mut ids = Vec::new();
    for entry in Dir::read_from(&fd).during_with(what)? {
        let entry = entry.during_with(what)?;
        let kind = match entry.file_type() {
            // Not every file system says it here.
            FileType::Unknown => rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |found| FileType::from_raw_mode(found.st_mode)),
            kind => kind,
        };
        if let Ok(name) = entry.file_name().to_str()
            && kind == FileType::Directory
            && check_id(name).is_ok()
        {
            ids.push(name.to_owned());
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_users_have_their_own_places() {
        let at = |is_root, runtime: Option<&str>, users| usual(is_root, runtime.map(PathBuf::from), || users);
        assert_eq!(at(true, None, true).unwrap(), Path::new("/run/bulkhead-runc"));
        assert_eq!(at(true, Some("/run/user/0"), false).unwrap(), Path::new("/run/bulkhead-runc"));
        assert_eq!(at(true, Some("/run/user/7"), true).unwrap(), Path::new("/run/user/7/bulkhead-runc"));
        assert_eq!(at(false, Some("/run/user/7"), false).unwrap(), Path::new("/run/user/7/bulkhead-runc"));
        assert!(at(false, None, false).unwrap_err().message.contains("XDG_RUNTIME_DIR"));
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("bulkhead-runc-root-{}", std::process::id()));
        let global = Global { given_root: Some(dir.join("a/b")), ..Global::default() };
        assert!(ids(&global).is_err());
        let root = global.make_root().unwrap();
        assert_eq!(ids(&global).unwrap(), Vec::<String>::new());
        for name in ["web", "b+1", "no id", ".hidden"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::write(root.join("file"), "").unwrap();
        assert_eq!(ids(&global).unwrap(), [".hidden", "b+1", "web"]);
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(open(&root).unwrap().unwrap_err().message.contains("mode 0777"));
        assert!(ids(&global).unwrap_err().message.contains("can be written by others"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
