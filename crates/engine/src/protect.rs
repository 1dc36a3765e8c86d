//! The binary that comes near a container is never the installed one.
//!
//! A process that enters a container can be tricked into executing `/proc/self/exe` there, and whoever then opens that
//! link for writing writes the engine (CVE-2019-5736). So monitors, joiners and inits run from a copy: for root a file
//! of its own in the run directory, reached through a read-only mount that exists nowhere else, which costs a few
//! microseconds a start; for an ordinary user, who owns his own copy, a sealed one in memory.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bulkhead_sys::{fd, mount};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::EngineError;
use crate::store::Paths;

fn own_binary() -> Result<OwnedFd, EngineError> {
    let path = Path::new("/proc/self/exe");
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(EngineError::io("open", path))
}

fn in_memory(own: &OwnedFd) -> Result<OwnedFd, EngineError> {
    fd::sealed_copy(c"bulkhead", own.as_fd()).map_err(EngineError::io("copy to memory", Path::new("/proc/self/exe")))
}

/// A descriptor to execute: not the installed file, and not writable through any link.
///
/// # Errors
/// When the copy cannot be made.
pub(crate) fn protected_binary(paths: &Paths, privileged: bool) -> Result<OwnedFd, EngineError> {
    let own = own_binary()?;
    if !privileged {
        return in_memory(&own);
    }
    let copy = copy_of(paths, &own)?;
    let tree = mount::copy_tree(rustix::fs::CWD, &c_path(&copy)?, false)
        .map_err(EngineError::io("open the mount of", &copy))?;
    match mount::set_executable(tree.as_fd()) {
        Ok(()) => {}
        // The run directory is noexec and may not be otherwise: memory always is.
        Err(Errno::PERM) => return in_memory(&own),
        Err(e) => return Err(EngineError::io("protect", &copy)(e)),
    }
    Ok(tree)
}

fn c_path(path: &Path) -> Result<std::ffi::CString, EngineError> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|_| EngineError::invalid("path", path.to_string_lossy(), "it must not hold a NUL"))
}

/// The copy of this very binary in the run directory, made on first use after a boot or an upgrade.
fn copy_of(paths: &Paths, own: &OwnedFd) -> Result<PathBuf, EngineError> {
    let file = std::fs::File::from(own.try_clone().map_err(EngineError::io("open", Path::new("/proc/self/exe")))?);
    let meta = file.metadata().map_err(EngineError::io("look at", Path::new("/proc/self/exe")))?;
    if let Ok(path) = std::fs::read_link("/proc/self/exe")
        && path.starts_with(&paths.run)
    {
        // This process runs from the copy already.
        return Ok(path);
    }
    let name = format!(
        "binary-{:x}-{:x}-{:x}-{:x}.{:x}",
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.ctime(),
        meta.ctime_nsec()
    );
    let copy = paths.run.join(name);
    if std::fs::metadata(&copy).is_ok_and(|m| m.size() == meta.size()) {
        return Ok(copy);
    }
    let make = || -> std::io::Result<()> {
        // It has no name before it is whole: a command that is killed here leaves nothing.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut to = std::fs::File::from(rustix::fs::open(&paths.run, flags, Mode::from_raw_mode(0o600))?);
        std::io::copy(&mut &file, &mut to)?;
        std::os::unix::fs::fchown(&to, Some(0), Some(0))?;
        rustix::fs::fchmod(&to, Mode::from_raw_mode(0o555))?;
        // Clean pages are shared by all monitors and can be dropped when memory is short.
        to.sync_data()?;
        // A file that somebody has open for writing cannot be executed.
        let path = |file: &OwnedFd| format!("/proc/self/fd/{}", file.as_raw_fd());
        let to = OwnedFd::from(to);
        let whole = rustix::fs::open(path(&to), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        drop(to);
        let link =
            || rustix::fs::linkat(rustix::fs::CWD, path(&whole), rustix::fs::CWD, &copy, AtFlags::SYMLINK_FOLLOW);
        match link() {
            // Another command was faster; what a crash of the machine has cut is replaced.
            Err(Errno::EXIST) if std::fs::metadata(&copy)?.size() == meta.size() => Ok(()),
            Err(Errno::EXIST) => {
                std::fs::remove_file(&copy)?;
                Ok(link()?)
            }
            other => Ok(other?),
        }
    };
    make().map_err(EngineError::io("copy this program to", &copy))?;
    Ok(copy)
}
