//! What a container has changed: its upper directory beside the layers below it.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};
use rustix::io::Errno;

use crate::budget::Meter;
use crate::error::{ImageError, Result};
use crate::pack::{Node, left_out, names};

/// Directories inside one another, as for packing.
const DEPTH: usize = 512;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is new.
    Added,
    /// It was there before, and is another.
    Changed,
    /// It was there before.
    Deleted,
}

impl Kind {
    /// Docker's letter.
    #[must_use]
    pub fn letter(self) -> u8 {
        match self {
            Self::Added => b'A',
            Self::Changed => b'C',
            Self::Deleted => b'D',
        }
    }
}

/// A changed path, with a slash at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// To what.
    pub path: Vec<u8>,
}

/// Everything that `upper` changes in what `lowers` (the lowest first) show together. Paths in `skip` (without a slash at
/// either end) are left out when they are empty: mount points that the engine made.
///
/// Directories come before what is in them, and only when they themselves, or something in them, changed.
///
/// # Errors
/// Limits, and what the kernel says.
pub fn diff(
    upper: BorrowedFd<'_>,
    lowers: &[BorrowedFd<'_>],
    skip: &HashSet<Vec<u8>>,
    meter: &mut Meter,
) -> Result<Vec<Change>> {
    let mut walk = Walk { lowers, skip, meter, out: Vec::new() };
    // From the top, as overlayfs looks.
    let all: Vec<usize> = (0..lowers.len()).rev().collect();
    walk.directory(upper, &mut Vec::new(), &all, false, 0)?;
    Ok(walk.out)
}

struct Walk<'a> {
    lowers: &'a [BorrowedFd<'a>],
    skip: &'a HashSet<Vec<u8>>,
    meter: &'a mut Meter,
    out: Vec<Change>,
}

/// What was found in a directory.
#[derive(Clone, Copy, Default)]
struct Found {
    changed: bool,
    left_out: bool,
}

impl Walk<'_> {
    fn note(&mut self, kind: Kind, path: &[u8]) -> Result<()> {
        self.meter.take_entry()?;
        self.out.push(Change { kind, path: [b"/", path].concat() });
        Ok(())
    }

    /// `below`: the layers that have a directory here, from the top.
    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &mut Vec<u8>,
        below: &[usize],
        opaque: bool,
        depth: usize,
    ) -> Result<Found> {
        if depth > DEPTH {
            let allowed = crate::len64(DEPTH);
            return Err(ImageError::Limit { limit: "depth", allowed, unit: "directories inside one another" });
        }
        let mut found = Found::default();
        let own = names(dir).map_err(|e| ImageError::apply(path, "reading the directory", e))?;
        // An opaque directory deletes all that is below and not in it.
        let mut all = own.clone();
        if opaque {
            all.extend(self.merged(path, below)?);
            all.sort_unstable();
            all.dedup();
        }
        for name in all {
            let length = path.len();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.meter.check_path(crate::len64(path.len()), 0)?;
            if own.binary_search(&name).is_ok() {
                let one = self.entry(dir, &name, path, below, depth)?;
                found.changed |= one.changed;
                found.left_out |= one.left_out;
            } else if self.lookup(path, below)?.0.is_some() {
                self.note(Kind::Deleted, path)?;
                found.changed = true;
            }
            path.truncate(length);
        }
        Ok(found)
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &mut Vec<u8>,
        below: &[usize],
        depth: usize,
    ) -> Result<Found> {
        let node = match Node::open(dir, name) {
            Ok(node) => node,
            Err(Errno::NOENT) => return Ok(Found::default()),
            Err(e) => return Err(ImageError::apply(path, "opening it", e)),
        };
        let (before, directories) = self.lookup(path, below)?;
        if before.is_none() && left_out(self.skip, path, &node) {
            return Ok(Found { changed: false, left_out: true });
        }
        let changed = Found { changed: true, left_out: false };
        if node.is_whiteout() {
            if before.is_some() {
                self.note(Kind::Deleted, path)?;
                return Ok(changed);
            }
            return Ok(Found::default());
        }
        let kind = if before.is_some() { Kind::Changed } else { Kind::Added };
        let at = self.out.len();
        self.note(kind, path)?;
        let Node::Directory(inner, stat) = &node else { return Ok(changed) };
        let opaque = node.is_opaque();
        let inside = self.directory(inner.as_fd(), path, &directories, opaque, depth + 1)?;
        let other = match &before {
            Some(old) if !directories.is_empty() => {
                let time = |s: &Stat| (s.st_mtime, s.st_mtime_nsec);
                let meta = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid);
                // The engine's own mount points have changed the time; that is not the container's doing.
                opaque || meta(old) != meta(stat) || (time(old) != time(stat) && !inside.left_out)
            }
            _ => true,
        };
        if !other && !inside.changed {
            self.out.truncate(at);
            return Ok(Found { changed: false, left_out: inside.left_out });
        }
        Ok(Found { changed: true, left_out: inside.left_out })
    }

    fn handle(&self, layer: usize, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let root = self.lowers.get(layer).ok_or(Errno::BADF)?;
        let path = if path.is_empty() { b"." } else { path };
        openat2(root, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// What the layers show at `path`, and those of them that have a directory there.
    fn lookup(&self, path: &[u8], below: &[usize]) -> Result<(Option<Stat>, Vec<usize>)> {
        let fail = |e| ImageError::apply(path, "looking for it in the layers", e);
        let mut shown: Option<Stat> = None;
        let mut directories = Vec::new();
        for layer in below {
            let fd = match self.handle(*layer, path, OFlags::PATH) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(e) => return Err(fail(e)),
            };
            let stat = statat(&fd, c"", AtFlags::EMPTY_PATH).map_err(fail)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
                break;
            }
            if kind != FileType::Directory {
                if directories.is_empty() {
                    shown = Some(stat);
                }
                break;
            }
            shown.get_or_insert(stat);
            directories.push(*layer);
            let dir = self.handle(*layer, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
            if Node::of(dir, FileType::Directory).map_err(fail)?.is_some_and(|node| node.is_opaque()) {
                break;
            }
        }
        Ok((shown, directories))
    }

    /// Names that these layers have in the directory.
    fn merged(&self, path: &[u8], below: &[usize]) -> Result<Vec<Vec<u8>>> {
        let fail = |e| ImageError::apply(path, "reading the directory in the layers", e);
        let mut all = Vec::new();
        for layer in below {
            let dir = self.handle(*layer, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
            all.extend(names(dir.as_fd()).map_err(fail)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;
    use std::fs::File;
    use std::path::Path;

    fn run(root: &Path, lowers: &[&str], skip: &[&str]) -> Vec<String> {
        let open = |name: &str| File::open(root.join(name)).unwrap();
        let upper = open("upper");
        let files: Vec<File> = lowers.iter().map(|name| open(name)).collect();
        let handles: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        let skip = skip.iter().map(|path| path.as_bytes().to_vec()).collect();
        let mut meter = Meter::new(&Budget::default());
        let changes = diff(upper.as_fd(), &handles, &skip, &mut meter).unwrap();
        let show = |c: &Change| format!("{} {}", char::from(c.kind.letter()), String::from_utf8_lossy(&c.path));
        changes.iter().map(show).collect()
    }

    fn whiteout(path: &Path) {
        let mode = Mode::empty();
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, mode, 0).unwrap();
    }

    fn opaque(path: &Path) -> bool {
        let dir = File::open(path).unwrap();
        rustix::fs::fsetxattr(&dir, "user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).is_ok()
    }

    #[test]
    fn additions_changes_and_deletions() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in
            ["l0/etc/deep", "l0/gone", "l0/same", "l1/etc", "l1/over", "upper/etc/new", "upper/same", "upper/over"]
        {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["l0/etc/a", "l0/etc/deep/b", "l0/gone/x", "l0/over", "upper/etc/a", "upper/etc/new/f"] {
            if !at(name).exists() {
                std::fs::write(at(name), name).unwrap();
            }
        }
        std::fs::write(at("l1/over/kept"), "").unwrap();
        std::fs::write(at("l1/over/lost"), "").unwrap();
        std::fs::write(at("upper/over/kept"), "").unwrap();
        std::fs::write(at("upper/tmp\n"), "").unwrap();
        whiteout(&at("upper/gone"));
        whiteout(&at("upper/never"));
        whiteout(&at("l1/etc/deep"));
        if !opaque(&at("upper/over")) {
            return;
        }
        // The engine's mount points are not the container's doing.
        std::fs::create_dir_all(at("upper/mnt/in")).unwrap();
        std::fs::write(at("upper/same/point"), "").unwrap();
        let time = std::fs::metadata(at("l0/same")).unwrap();
        assert!(time.is_dir());
        assert_eq!(
            run(dir.path(), &["l0", "l1"], &["mnt", "mnt/in", "same/point"]),
            [
                "C /etc",
                "C /etc/a",
                "A /etc/new",
                "A /etc/new/f",
                "D /gone",
                "C /over",
                "C /over/kept",
                "D /over/lost",
                "A /tmp\n",
            ]
        );
        std::fs::write(at("upper/mnt/in/file"), "").unwrap();
        let seen = run(dir.path(), &["l0", "l1"], &["mnt", "mnt/in"]);
        assert!(seen.contains(&"A /mnt/in/file".to_owned()) && seen.contains(&"A /same/point".to_owned()), "{seen:?}");
        // What a lower layer deleted is new when it comes again.
        std::fs::create_dir_all(at("upper/etc/deep")).unwrap();
        assert!(run(dir.path(), &["l0", "l1"], &[]).contains(&"A /etc/deep".to_owned()));
    }
}
