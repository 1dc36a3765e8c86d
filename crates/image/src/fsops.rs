//! File operations relative to a directory handle that never follow a link out of it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, renameat, unlinkat};
use rustix::io::Errno;

type Result<T> = rustix::io::Result<T>;

/// Resolution that follows no link at all and stays beneath the handle.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);
/// Resolution that follows links as if the handle were the root of the file system.
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);
/// Attempts when the kernel can not decide because something else on the machine is being renamed or mounted.
const ATTEMPTS: u32 = 256;

/// Handle of the directory `path` beneath `root`, for use as a parent. Links are followed as `root` would see them.
pub(crate) fn resolve_dir(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match open_how(root, path, flags, BENEATH) {
        Err(Errno::LOOP) => open_how(root, path, flags, IN_ROOT),
        other => other,
    }
}

/// As [`resolve_dir`], and what is mounted on the way belongs to the tree.
pub(crate) fn resolve_dir_across(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open_how(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens the regular file `path` beneath `root` for reading, following no link; `EINVAL` if it is something else.
pub(crate) fn open_file(root: BorrowedFd<'_>, path: &str) -> Result<File> {
    // Non-blocking, so that a named pipe can not hold us before it is seen to be one.
    let fd =
        open_how(root, path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, BENEATH)?;
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    Ok(File::from(fd))
}

fn open_how(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
    for _ in 1..ATTEMPTS {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// Opens the directory `name` in `parent` for reading. `name` is one component and not a link.
pub(crate) fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Makes the directory `name` in `parent`, mode 0700, and opens it. It must not be there.
pub(crate) fn make_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    mkdirat(parent, name, Mode::RWXU)?;
    open_dir(parent, name)
}

/// As [`make_dir`], and content with a directory that is there.
pub(crate) fn ensure_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_dir(parent, name),
        Err(e) => Err(e),
    }
}

/// Makes the file `name` in `parent` for reading and writing. It must not be there; a link is not followed.
pub(crate) fn create_file(parent: BorrowedFd<'_>, name: &[u8]) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Removes `name` in `parent`, whatever it is, with everything beneath it. Not being there is success.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    empty_tree(open_own(parent, name)?.as_fd())?;
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Removes everything in `top`. A directory inside it is emptied by moving its own directories up into `top`, so the
/// depth of a hostile tree costs neither stack nor descriptors.
fn empty_tree(top: BorrowedFd<'_>) -> Result<()> {
    let mut serial = 0_u64;
    loop {
        let names = list(top)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if remove_flat(top, &name)? {
                continue;
            }
            let inner = open_own(top, &name)?;
            loop {
                let children = list(inner.as_fd())?;
                if children.is_empty() {
                    break;
                }
                for child in children {
                    if !remove_flat(inner.as_fd(), &child)? {
                        move_up(inner.as_fd(), &child, top, &mut serial)?;
                    }
                }
            }
            unlinkat(top, &*name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Removes a file or an empty directory; false when it is a directory with something in it.
fn remove_flat(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(e) => Err(e),
    }
}

fn move_up(from: BorrowedFd<'_>, name: &[u8], top: BorrowedFd<'_>, serial: &mut u64) -> Result<()> {
    loop {
        *serial += 1;
        let free = format!(".removed-{serial}");
        match renameat(from, name, top, free.as_bytes()) {
            // A file or a full directory has the name already.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            // Moving a directory changes its `..`, which takes write permission on it.
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
            }
            other => return other,
        }
    }
}

/// Opens a directory, giving its owner the permission first if it was taken away.
fn open_own(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let fd = match open_dir(parent, name) {
        Err(Errno::ACCESS) => {
            // A link would have failed with ELOOP above, so this changes the directory itself.
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open_dir(parent, name)?
        }
        other => return other,
    };
    Ok(fd)
}

/// Up to 4,096 names in `dir`, without `.` and `..`.
fn list(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let mut stream = match Dir::read_from(dir) {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(dir, Mode::RWXU)?;
            Dir::read_from(dir)?
        }
        other => other?,
    };
    while let Some(entry) = stream.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
            if names.len() == 4096 {
                break;
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn removes_trees_deeper_than_any_path_and_follows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("file"), "x").unwrap();
        let root = File::open(dir.path()).unwrap();
        let mut at = make_dir(root.as_fd(), b"tree").unwrap();
        for depth in 0..3000 {
            let name = if depth % 7 == 0 { &b".removed-1"[..] } else { b"a-name-of-some-length" };
            symlink("/", format!("/proc/self/fd/{}/l", std::os::fd::AsRawFd::as_raw_fd(&at))).unwrap();
            at = make_dir(at.as_fd(), name).unwrap();
        }
        symlink(&canary, format!("/proc/self/fd/{}/c", std::os::fd::AsRawFd::as_raw_fd(&at))).unwrap();
        drop(at);
        remove(root.as_fd(), b"tree").unwrap();
        remove(root.as_fd(), b"tree").unwrap();
        assert!(!dir.path().join("tree").exists());
        assert!(canary.join("file").exists());
    }

    #[test]
    fn opens_regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = File::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        symlink("file", dir.path().join("link")).unwrap();
        symlink(".", dir.path().join("here")).unwrap();
        rustix::fs::mknodat(&root, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(open_file(root.as_fd(), "file").is_ok());
        for bad in ["link", "here/file", "fifo", ".", "../etc/passwd", "/etc/passwd", "none"] {
            assert!(open_file(root.as_fd(), bad).is_err(), "{bad}");
        }
    }
}
