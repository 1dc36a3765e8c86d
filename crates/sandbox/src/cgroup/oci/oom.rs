//! Word of the moment at which a group's memory runs out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::fs::{Mode, OFlags};

use crate::cgroup::handle::CgroupError;

/// A descriptor that is readable when there is something new; after that [`OomWatch::killed`] says whether it was memory
/// that ran out.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    directory: PathBuf,
    unified: bool,
    seen: u64,
}

/// Watches the group in `directories`.
///
/// # Errors
/// A group without a memory controller.
pub fn watch_oom(directories: &[PathBuf]) -> Result<OomWatch, CgroupError> {
    for directory in directories {
        let (v1, v2) = (directory.join("memory.oom_control"), directory.join("memory.events"));
        if v1.exists() {
            let fd = v1_event(directory, &v1)?;
            return Ok(OomWatch { fd, directory: directory.clone(), unified: false, seen: 0 });
        }
        if v2.exists() {
            let attempt = |e| CgroupError::new("watch", &v2, e);
            let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(attempt)?;
            // The second one tells of the end.
            for file in [&v2, &directory.join("cgroup.events")] {
                inotify::add_watch(&fd, file, inotify::WatchFlags::MODIFY).map_err(attempt)?;
            }
            let mut watch = OomWatch { fd, directory: directory.clone(), unified: true, seen: 0 };
            watch.seen = watch.count();
            return Ok(watch);
        }
    }
    let none = directories.first().cloned().unwrap_or_default();
    Err(CgroupError::new("watch the memory of", &none, std::io::Error::other("it has no memory controller")))
}

/// The kernel keeps the event file and the control file by their descriptors, which are named in one write.
fn v1_event(directory: &Path, file: &Path) -> Result<OwnedFd, CgroupError> {
    use std::os::fd::AsRawFd as _;
    let attempt = |e: rustix::io::Errno| CgroupError::new("watch", file, e);
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(attempt)?;
    let control = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(attempt)?;
    let target = directory.join("cgroup.event_control");
    std::fs::write(&target, format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))
        .map_err(|e| CgroupError::new("write to", &target, e))?;
    Ok(event)
}

impl OomWatch {
    fn count(&self) -> u64 {
        let text = std::fs::read_to_string(self.directory.join("memory.events")).unwrap_or_default();
        text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Takes what was told, and says whether memory ran out since the last call. Does not wait. The end of a group also
    /// makes the descriptor readable.
    pub fn killed(&mut self) -> bool {
        let mut buffer = [0_u8; 4096];
        let mut told = false;
        while let Ok(1..) = rustix::io::read(&self.fd, &mut buffer) {
            told = true;
            if !self.unified {
                break;
            }
        }
        if self.unified {
            let now = self.count();
            let more = now > self.seen;
            self.seen = self.seen.max(now);
            return more;
        }
        told && self.directory.is_dir()
    }

    /// The group is gone, or on version 2 nobody is left in it, so nothing more will be told.
    #[must_use]
    pub fn over(&self) -> bool {
        let events = || std::fs::read_to_string(self.directory.join("cgroup.events"));
        !self.directory.is_dir() || (self.unified && events().is_ok_and(|t| t.lines().any(|l| l == "populated 0")))
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
