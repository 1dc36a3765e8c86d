//! The confined half of filling a volume: the worker's root is the image as a container would see it, and the volume
//! is mounted in it. Whatever links the image has, they lead nowhere else.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_image::{Budget, Meter};
use bulkhead_sys::root::Root;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, openat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::deep::names;
use crate::store::VOLUME_DATA;

/// What a worker is to put into a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fill {
    /// Where the volume's directory is, in the worker's root.
    pub at: String,
    /// Path in the container, whose content in the image is copied.
    pub target: String,
    /// Names what is made on the way.
    pub token: String,
    /// Other containers may have the volume mounted: its directory stays the same.
    pub shared: bool,
}

/// What is being copied.
fn unfinished(token: &str) -> String {
    format!("fill-{token}")
}

/// What is whole, and on its way into the volume.
fn whole(token: &str) -> String {
    format!("ready-{token}")
}

/// Whether this entry of a volume's directory was left by a command with this token.
pub(super) fn is_left_over(name: &str, token: &str) -> bool {
    name == unfinished(token) || name == whole(token)
}

fn open_dir(at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn is_empty(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn c(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}

fn failed(what: &str) -> impl Fn(Errno) -> String {
    move |e| format!("cannot {what} of the volume: {e}")
}

/// Copies what the image has at the target into the volume, if that is empty; returns whether it did.
pub(super) fn fill(order: &Fill, single_id: bool) -> Result<bool, String> {
    let open = |path: &str| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| format!("cannot open {path}: {e}"))
    };
    let volume = open(&order.at)?;
    let data = open_dir(volume.as_fd(), &c(VOLUME_DATA)).map_err(failed("open the data"))?;
    if !is_empty(data.as_fd()).map_err(failed("read the data"))? {
        return Ok(false);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let source = match Root::new(open("/")?).open(&c(&order.target), flags, Mode::empty()) {
        Ok(source) => source,
        // The image has no such directory: there is nothing to copy.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(e) => return Err(format!("cannot open {:?} in the image: {e}", order.target)),
    };
    let (made, ready) = (c(&unfinished(&order.token)), c(&whole(&order.token)));
    rustix::fs::mkdirat(&volume, &made, Mode::RWXU).map_err(failed("make a directory"))?;
    let copy = open_dir(volume.as_fd(), &made).map_err(failed("open a directory"))?;
    let mut copier =
        Copier { meter: Meter::new(&Budget::default()), links: HashMap::new(), top: &copy, own_ids: !single_id };
    let copied = copier.directory(source.as_fd(), copy.as_fd(), &mut Vec::new(), 0);
    copied.map_err(|e| format!("cannot copy {:?} of the image into the volume: {e}", order.target))?;
    rustix::fs::renameat(&volume, &made, &volume, &ready).map_err(failed("finish the content"))?;
    hand_over(volume.as_fd(), &order.at, &ready, order.shared)
}

/// Puts in order what a command that was killed has left in the volume at `/`: what was whole arrives, the rest goes.
pub(super) fn settle(token: &str) -> Result<(), String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let volume = rustix::fs::open("/", flags, Mode::empty()).map_err(failed("open the directory"))?;
    let (made, ready) = (unfinished(token), whole(token));
    for name in names(volume.as_fd()).map_err(failed("read the directory"))? {
        if name.as_bytes() == ready.as_bytes() {
            hand_over(volume.as_fd(), "/", &name, true)?;
        } else if name.as_bytes() == made.as_bytes() {
            let path = std::path::Path::new("/").join(&made);
            crate::deep::remove_dir_all(&path).map_err(|e| format!("cannot remove {path:?}: {e}"))?;
        }
    }
    Ok(())
}

/// Moves the whole content into place. A directory that nobody else can have mounted is replaced in one step; in one that
/// is mounted elsewhere, the entries appear one after the other, and what a container made meanwhile stays.
/// Returns whether it did.
fn hand_over(volume: BorrowedFd<'_>, at: &str, ready: &CStr, shared: bool) -> Result<bool, String> {
    let data = c(VOLUME_DATA);
    if !shared {
        return match rustix::fs::renameat(volume, ready, volume, &data) {
            // Somebody was faster, and his content stays.
            Err(Errno::NOTEMPTY | Errno::EXIST) => remove(at, ready).map(|()| false),
            other => other.map(|()| true).map_err(failed("put the content in place")),
        };
    }
    let (from, to) = (open_dir(volume, ready), open_dir(volume, &data));
    let (from, to) = (from.map_err(failed("open the content"))?, to.map_err(failed("open the data"))?);
    for name in names(from.as_fd()).map_err(failed("read the content"))? {
        match rustix::fs::renameat_with(&from, &name, &to, &name, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed("put the content in place")(e)),
        }
    }
    let stat = rustix::fs::fstat(&from).map_err(failed("look at the content"))?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&to, Some(uid), Some(gid)).map_err(failed("set the owner"))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(failed("set the mode"))?;
    remove(at, ready).map(|()| true)
}

fn remove(at: &str, ready: &CStr) -> Result<(), String> {
    let path = std::path::Path::new(at).join(&*ready.to_string_lossy());
    match crate::deep::remove_dir_all(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("cannot remove {path:?}: {e}")),
        _ => Ok(()),
    }
}

/// One copy of a tree.
struct Copier<'a> {
    meter: Meter,
    /// Files with several names, by device and inode: where the first one is in the copy.
    links: HashMap<(u64, u64), Vec<u8>>,
    top: &'a OwnedFd,
    own_ids: bool,
}

/// Levels of directories; images have fewer, and each costs two descriptors.
const DEPTH: usize = 256;

fn times(stat: &Stat) -> Timestamps {
    let time = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: i64::try_from(nsec).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

impl Copier<'_> {
    /// Copies what is in `from`, then its owner, mode, attributes and times; `path` is where `to` is in the copy.
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH {
            return Err(format!("{:?} has more than {DEPTH} levels", String::from_utf8_lossy(path)));
        }
        let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        for name in names(from).map_err(|e| format!("{:?}: {e}", shown(path)))? {
            let length = path.len();
            path.push(b'/');
            path.extend(name.to_bytes());
            self.meter.take_entry().map_err(|e| e.to_string())?;
            let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = stat.map_err(|e| format!("{:?}: {e}", shown(path)))?;
            if FileType::from_raw_mode(stat.st_mode).is_dir() {
                let inner = open_dir(from, &name).map_err(|e| format!("{:?}: {e}", shown(path)))?;
                rustix::fs::mkdirat(to, &name, Mode::RWXU).map_err(|e| format!("{:?}: {e}", shown(path)))?;
                let copy = open_dir(to, &name).map_err(|e| format!("{:?}: {e}", shown(path)))?;
                self.directory(inner.as_fd(), copy.as_fd(), path, depth + 1)?;
            } else {
                self.entry(from, to, &name, &stat, path)?;
            }
            path.truncate(length);
        }
        let finish = || -> Result<(), Errno> {
            let stat = rustix::fs::fstat(from)?;
            self.owner_and_mode(to, &stat)?;
            self.attributes(from, to)?;
            rustix::fs::futimens(to, &times(&stat))
        };
        finish().map_err(|e| format!("{:?}: {e}", shown(path)))
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &[u8],
    ) -> Result<(), String> {
        let shown = |e: Errno| format!("{:?}: {e}", String::from_utf8_lossy(path));
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&key)
        {
            return rustix::fs::linkat(self.top, first.as_slice(), to, name, AtFlags::empty()).map_err(shown);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(from, to, name, path)?,
            FileType::Symlink => {
                let content = rustix::fs::readlinkat(from, name, Vec::new()).map_err(shown)?;
                rustix::fs::symlinkat(&content, to, name).map_err(shown)?;
                self.named(to, name, stat).map_err(shown)?;
            }
            kind @ (FileType::Fifo | FileType::Socket) => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(to, name, kind, mode, 0).map_err(shown)?;
                self.named(to, name, stat).map_err(shown)?;
                rustix::fs::chmodat(to, name, mode, AtFlags::empty()).map_err(shown)?;
            }
            // Devices are nothing that an image gives to anybody.
            _ => return Ok(()),
        }
        if stat.st_nlink > 1 {
            self.links.insert(key, path.get(1..).unwrap_or_default().to_vec());
        }
        Ok(())
    }

    /// Owner and times of something that is not opened.
    fn named(&self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
        if self.own_ids {
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), String> {
        let shown = |e: Errno| format!("{:?}: {e}", String::from_utf8_lossy(path));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut source = File::from(openat(from, name, flags, Mode::empty()).map_err(shown)?);
        let stat = rustix::fs::fstat(&source).map_err(shown)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut copy = File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(shown)?);
        let io = |e: std::io::Error| format!("{:?}: {e}", String::from_utf8_lossy(path));
        let mut chunk = vec![0_u8; 128 << 10];
        loop {
            let read = source.read(&mut chunk).map_err(io)?;
            if read == 0 {
                break;
            }
            self.meter.take_bytes(u64::try_from(read).unwrap_or(u64::MAX)).map_err(|e| e.to_string())?;
            copy.write_all(chunk.get(..read).unwrap_or_default()).map_err(io)?;
        }
        let finish = || -> Result<(), Errno> {
            self.owner_and_mode(copy.as_fd(), &stat)?;
            self.attributes(source.as_fd(), copy.as_fd())?;
            rustix::fs::futimens(&copy, &times(&stat))
        };
        finish().map_err(shown)
    }

    /// The owner first: a change of it clears bits of the mode.
    fn owner_and_mode(&self, to: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
        if self.own_ids {
            rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        }
        rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
    }

    /// Plain data, capabilities and access lists; what belongs to the overlay or to the host stays behind.
    fn attributes(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut list = vec![0_u8; 64 << 10];
        let length = match rustix::fs::flistxattr(from, &mut list) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(e) => return Err(e),
        };
        for name in list.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|n| wanted(n)) {
            let mut value = vec![0_u8; 64 << 10];
            let length = rustix::fs::fgetxattr(from, name, &mut value)?;
            let value = value.get(..length).unwrap_or_default();
            match rustix::fs::fsetxattr(to, name, value, XattrFlags::empty()) {
                // No room for them here; the program in the container would find out the same way.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                // One id only: no right to give capabilities away, and nobody to give them to.
                Err(Errno::PERM) if !self.own_ids => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn wanted(name: &[u8]) -> bool {
    name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn open(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_tree_is_copied_with_all_that_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("a/b/f"), "text").unwrap();
        std::fs::set_permissions(from.join("a/b/f"), std::fs::Permissions::from_mode(0o4750)).unwrap();
        std::fs::set_permissions(from.join("a"), std::fs::Permissions::from_mode(0o1730)).unwrap();
        std::fs::hard_link(from.join("a/b/f"), from.join("z")).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        rustix::fs::mknodat(open(&from), c"pipe", FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
        let has_xattr = rustix::fs::setxattr(from.join("z"), c"user.note", b"v", XattrFlags::empty()).is_ok();
        let copy = open(&to);
        let mut copier =
            Copier { meter: Meter::new(&Budget::default()), links: HashMap::new(), top: &copy, own_ids: true };
        copier.directory(open(&from).as_fd(), copy.as_fd(), &mut Vec::new(), 0).unwrap();
        let meta = |name: &str| std::fs::symlink_metadata(to.join(name)).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("a/b/f")).unwrap(), "text");
        assert_eq!(meta("a/b/f").mode() & 0o7777, 0o4750);
        assert_eq!(meta("a").mode() & 0o7777, 0o1730);
        assert_eq!(meta("a/b/f").ino(), meta("z").ino());
        assert_eq!(meta("z").mtime_nsec(), std::fs::metadata(from.join("z")).unwrap().mtime_nsec());
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), std::path::Path::new("/etc/passwd"));
        let pipe = std::fs::symlink_metadata(from.join("pipe")).unwrap();
        assert_eq!(meta("pipe").mode(), pipe.mode());
        let mut value = [0_u8; 8];
        let found = rustix::fs::getxattr(to.join("z"), c"user.note", &mut value);
        assert_eq!(found.is_ok(), has_xattr);
    }

    #[test]
    fn attributes_of_the_overlay_and_of_the_host_stay_behind() {
        for name in ["user.note", "security.capability", "system.posix_acl_access"] {
            assert!(wanted(name.as_bytes()), "{name}");
        }
        for name in ["", "user.overlay.opaque", "trusted.overlay.opaque", "security.selinux", "security.ima"] {
            assert!(!wanted(name.as_bytes()), "{name}");
        }
    }
}
