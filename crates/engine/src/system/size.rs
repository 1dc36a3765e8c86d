//! Bytes on disk of a tree that a container filled, counted by descriptor.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat};

/// Longest path from the last directory that was opened: then another is, so a tree may be of any depth.
const REACH: usize = 2048;

/// Bytes on disk of all that is below `directory`, itself left out. A file with several names counts once; what the caller
/// may not look into does not count.
#[must_use]
pub fn size_of(directory: &Path) -> u64 {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(top) = rustix::fs::openat(CWD, directory, flags, Mode::empty()) else { return 0 };
    let mut total = 0_u64;
    let mut linked: BTreeSet<(u64, u64)> = BTreeSet::new();
    let mut waiting: Vec<(Rc<OwnedFd>, Vec<u8>)> = vec![(Rc::new(top), Vec::new())];
    while let Some((anchor, path)) = waiting.pop() {
        let Some(here) = open(&anchor, &path) else { continue };
        let Ok(entries) = Dir::read_from(&here) else { continue };
        let (anchor, path) = if path.len() > REACH { (Rc::new(here), Vec::new()) } else { (anchor, path) };
        for entry in entries.flatten() {
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name);
            // Counted by its directory's path again: it may have been moved away meanwhile, and is not counted then.
            let Ok(found) = statat(&*anchor, OsStr::from_bytes(&below), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_dir = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if !is_dir && found.st_nlink > 1 && !linked.insert((found.st_dev, found.st_ino)) {
                continue;
            }
            total = total.saturating_add(blocks(found.st_blocks));
            if is_dir {
                waiting.push((anchor.clone(), below));
            }
        }
    }
    total
}

fn blocks(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0).saturating_mul(512)
}

/// A directory below `anchor`, through no link: the container may lay one there at any moment.
fn open(anchor: &OwnedFd, path: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.is_empty() { b".".to_vec() } else { path.to_vec() };
    let path = CString::new(std::ffi::OsString::from_vec(path).into_vec()).ok()?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(anchor, &path, flags, Mode::empty(), resolve).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::size_of;

    #[test]
    fn links_are_not_followed_and_names_of_one_file_count_once() {
        let top = tempfile::tempdir().unwrap();
        let own = |path: &std::path::Path| path.symlink_metadata().unwrap().blocks() * 512;
        std::fs::write(top.path().join("a"), vec![1; 100_000]).unwrap();
        let one = size_of(top.path());
        assert_eq!(one, own(&top.path().join("a")));
        assert!(one >= 100_000);
        std::fs::hard_link(top.path().join("a"), top.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/usr", top.path().join("link")).unwrap();
        assert_eq!(size_of(top.path()), one + own(&top.path().join("link")));
        assert_eq!(size_of(&top.path().join("link")), 0);
        assert_eq!(size_of(&top.path().join("none")), 0);
    }

    #[test]
    fn a_tree_of_any_depth_is_counted() {
        let top = tempfile::tempdir().unwrap();
        let deep = top.path().join(vec!["directory"; 380].join("/"));
        std::fs::create_dir_all(&deep).unwrap();
        let leaf = deep.join("file");
        std::fs::write(&leaf, vec![1; 50_000]).unwrap();
        assert!(size_of(top.path()) >= 50_000);
        let below = size_of(&deep);
        // Deeper than a path can name it from the top.
        for _ in 0..2 {
            let name = "x".repeat(200);
            std::fs::rename(top.path().join("directory"), top.path().join(&name)).unwrap();
            std::fs::create_dir(top.path().join("directory")).unwrap();
            std::fs::rename(top.path().join(&name), top.path().join("directory").join(&name)).unwrap();
        }
        assert!(size_of(top.path()) >= below);
    }
}
