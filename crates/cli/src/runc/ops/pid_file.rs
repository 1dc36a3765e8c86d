//! The pid file: read by callers the moment it is there, so it is there whole.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::runc::error::{During, RuncError};

/// The directory of a pid file, opened before the container's file system is entered.
pub(super) struct PidFile {
    directory: OwnedFd,
    name: String,
    path: PathBuf,
}

impl PidFile {
    pub(super) fn open(path: &Path) -> Result<Self, RuncError> {
        let invalid = || RuncError::new(format!("invalid value {:?} for --pid-file: a file is needed", path.display()));
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(invalid)?.to_owned();
        let parent = path.parent().ok_or_else(invalid)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())
            .during(format_args!("open {} for --pid-file", parent.display()))?;
        Ok(Self { directory, name, path: path.to_path_buf() })
    }

    pub(super) fn write(&self, pid: i32) -> Result<(), RuncError> {
        let what = || format!("write the pid file {}", self.path.display());
        let fresh = format!(".{}.{}", self.name, std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&self.directory, fresh.as_str(), flags, Mode::from_raw_mode(0o644)).during_with(what)?;
        let done = std::fs::File::from(file).write_all(pid.to_string().as_bytes()).during_with(what).and_then(|()| {
            rustix::fs::renameat(&self.directory, fresh.as_str(), &self.directory, self.name.as_str()).during_with(what)
        });
        if done.is_err() {
            rustix::fs::unlinkat(&self.directory, fresh.as_str(), AtFlags::empty()).unwrap_or_default();
        }
        done
    }
}
