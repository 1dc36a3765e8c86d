//! A layer archive onto a directory handle.
//!
//! Every step names one component relative to a handle that the kernel resolved beneath the root; metadata goes through
//! the handle of the file just made. The result is a directory for overlayfs mounted with `userxattr`: a whiteout is a
//! character device 0:0, an opaque directory has the attribute `user.overlay.opaque`.
//!
//! Deleting and adding follow the image specification: whiteouts hide what lower layers have, never what the same layer
//! brings, whatever the order in the archive.

mod deferred;
mod landing;
mod meta;
mod path;
mod tree;

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::archive::{Entry, EntryKind, TarReader};
use crate::budget::Meter;
use crate::error::{ImageError, Result, show};
use crate::fsops;
use deferred::Deferred;
pub use landing::{Landing, Rename};
pub(crate) use meta::wanted;
pub(crate) use path::EntryPath;
use path::Marker;
use tree::{Found, Own, Parent, Tree, look, set_opaque};

/// Highest owner and group an image may use: containers have 65,536 ids.
pub const MAX_ID: u64 = 65_535;

/// What becomes of the owners in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnIds {
    /// Set them; the process has the ids 0 to 65,535 to give.
    Apply,
    /// Everything belongs to the one id that the process has.
    Ignore,
}

/// What becomes of names that begin with `.wh.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// They hide entries of the layers below, in the form overlayfs wants.
    Overlay,
    /// There is no layer below: they are checked, counted and have no effect.
    NoLower,
    /// They are names like any other. For archives that are not layers.
    Literal,
}

/// How to unpack.
#[derive(Clone, Copy, Debug)]
pub struct UnpackOptions {
    /// Owners.
    pub ids: OwnIds,
    /// Deletion markers.
    pub whiteouts: Whiteouts,
}

/// What was in the archive and is not in the tree, as counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Device nodes: containers have their own `/dev`, and user namespaces can not use others.
    pub devices: u64,
    /// Extended attributes other than `user.*` (without overlayfs's own) and `security.capability`, and those that the
    /// file system or the kind of file has no room for.
    pub xattrs: u64,
    /// Whiteouts in a layer with nothing below.
    pub whiteouts: u64,
}

impl Skipped {
    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        self.devices += other.devices;
        self.xattrs += other.xattrs;
        self.whiteouts += other.whiteouts;
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackReport {
    /// Entries of the archive.
    pub entries: u64,
    /// Directories made because entries were in them, though no entry named them.
    pub implied_directories: u64,
    /// Bytes of file content written.
    pub bytes: u64,
    /// What was left out.
    pub skipped: Skipped,
    /// Owners in the archive were not applied.
    pub ids_ignored: bool,
}

/// Applies all entries of `tar` beneath `root`, and reads the input to its end.
///
/// On an error the tree is half filled and must be thrown away; nothing outside of it was touched.
///
/// # Errors
/// Damaged archives, entries that are not safe, limits, and system calls that fail, each naming the entry.
pub fn unpack<R: BufRead>(
    tar: &mut TarReader<R>,
    root: BorrowedFd<'_>,
    options: UnpackOptions,
    meter: &mut Meter,
) -> Result<UnpackReport> {
    run(tar, None, Unpacker::new(root, options, None, meter))
}

/// As [`unpack`] of an archive that is no layer, into a place that may have content: what is there stays, a directory is
/// never replaced by something else, and nothing by a directory. `first` is an entry that was read already.
///
/// # Errors
/// As [`unpack`]; what was unpacked until then stays.
pub(crate) fn unpack_copy<R: BufRead>(
    tar: &mut TarReader<R>,
    first: Option<Entry>,
    root: BorrowedFd<'_>,
    ids: OwnIds,
    landing: Landing,
    meter: &mut Meter,
) -> Result<UnpackReport> {
    let options = UnpackOptions { ids, whiteouts: Whiteouts::Literal };
    run(tar, first, Unpacker::new(root, options, Some(landing), meter))
}

fn run<R: BufRead>(tar: &mut TarReader<R>, first: Option<Entry>, mut unpacker: Unpacker<'_>) -> Result<UnpackReport> {
    let mut next = first;
    loop {
        let Some(entry) = (match next.take() {
            Some(entry) => Some(entry),
            None => tar.next_entry()?,
        }) else {
            return unpacker.finish();
        };
        unpacker.meter.take_entry()?;
        unpacker.report.entries += 1;
        unpacker.entry(&entry, tar)?;
    }
}

struct Unpacker<'a> {
    tree: Tree<'a>,
    own: Own,
    options: UnpackOptions,
    deferred: Deferred,
    report: UnpackReport,
    meter: &'a mut Meter,
    /// For a copy, where it lands.
    landing: Option<Landing>,
}

impl<'a> Unpacker<'a> {
    fn new(root: BorrowedFd<'a>, options: UnpackOptions, landing: Option<Landing>, meter: &'a mut Meter) -> Self {
        let own = Own {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            apply: options.ids == OwnIds::Apply,
        };
        Self {
            tree: Tree::new(root, own, landing.is_some()),
            own,
            options,
            deferred: Deferred::default(),
            report: UnpackReport { ids_ignored: !own.apply, ..UnpackReport::default() },
            meter,
            landing,
        }
    }

    /// Permission bits as they arrive.
    fn mode(&self, entry: &Entry) -> u32 {
        self.landing.as_ref().map_or(entry.mode, |landing| landing.mode(entry.mode))
    }

    fn entry<R: BufRead>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<()> {
        let mut path = EntryPath::parse(&entry.path, self.meter)?;
        if let Some(landing) = &self.landing {
            match landing.map(path, self.meter)? {
                Some(landed) => path = landed,
                None if entry.kind == EntryKind::Directory => return Ok(()),
                None => return Err(ImageError::entry(&entry.path, "only a directory can have this name")),
            }
        }
        if self.own.apply {
            for (what, id) in [("uid", entry.uid), ("gid", entry.gid)] {
                if id > MAX_ID {
                    let reason = format!("{what} {id} is above {MAX_ID}, the highest id of a container");
                    return Err(ImageError::entry(&entry.path, reason));
                }
            }
        }
        if path.is_root() {
            if entry.kind != EntryKind::Directory {
                return Err(ImageError::entry(&entry.path, "only a directory can have this name"));
            }
            return self.root_directory(entry);
        }
        if self.options.whiteouts != Whiteouts::Literal {
            match Marker::of(&path)? {
                Marker::None => {}
                marker => return self.marker(entry, &path, &marker),
            }
        }
        match entry.kind {
            EntryKind::File => self.file(entry, &path, tar),
            EntryKind::Directory => self.directory(entry, &path),
            EntryKind::Symlink => self.symlink(entry, &path),
            EntryKind::HardLink => self.hard_link(entry, &path),
            EntryKind::Fifo => self.fifo(entry, &path),
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                self.report.skipped.devices += 1;
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Result<UnpackReport> {
        self.deferred.apply(&mut self.tree)?;
        self.meter.release_directories();
        self.report.implied_directories = self.tree.implied;
        Ok(self.report)
    }

    fn file<R: BufRead>(&mut self, entry: &Entry, path: &EntryPath, tar: &mut TarReader<R>) -> Result<()> {
        self.meter.take_bytes(entry.size)?;
        let parent = self.tree.parent(path, self.meter)?;
        let mut file: File = self.place(&parent, path, fsops::create_file)?;
        loop {
            let chunk = tar.chunk()?;
            let n = chunk.len();
            if n == 0 {
                break;
            }
            file.write_all(chunk).map_err(|e| ImageError::io(format!("writing {}", show(&entry.path)), e))?;
            tar.consume(n);
        }
        self.report.bytes += entry.size;
        let fail = |step| move |e| ImageError::apply(&entry.path, step, e);
        // Owner first: changing it clears set-id bits and capabilities. Time last: all else changes it.
        self.chown_fd(file.as_fd(), entry, parent.setgid)?;
        self.xattrs(file.as_fd(), entry)?;
        let mode = Mode::from_raw_mode(self.mode(entry));
        rustix::fs::fchmod(&file, mode).map_err(fail("setting its mode"))?;
        rustix::fs::futimens(&file, &meta::times(entry.mtime)).map_err(fail("setting its time"))
    }

    fn directory(&mut self, entry: &Entry, path: &EntryPath) -> Result<()> {
        let parent = self.tree.parent(path, self.meter)?;
        let fail = |step| move |e| ImageError::apply(&entry.path, step, e);
        let mut opaque = false;
        match mkdirat(&parent, &*path.name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let (found, _) = look(parent.as_fd(), &path.name).map_err(fail("looking at what is there"))?;
                if found != Found::Directory && self.landing.is_some() {
                    return Err(ImageError::entry(&path.full(), "cannot overwrite non-directory with directory"));
                }
                if found != Found::Directory {
                    opaque = found == Found::Whiteout;
                    self.clear(&parent, path)?;
                    mkdirat(&parent, &*path.name, Mode::RWXU).map_err(fail("making a directory"))?;
                }
            }
            Err(e) => return Err(fail("making a directory")(e)),
        }
        let fd = fsops::open_dir(parent.as_fd(), &path.name).map_err(fail("opening the new directory"))?;
        if opaque {
            // The layer deletes what was there and makes it anew: lower layers must not shine through.
            set_opaque(fd.as_fd()).map_err(fail("marking it opaque"))?;
        }
        self.directory_meta(fd.as_fd(), entry, path, parent.setgid)
    }

    fn root_directory(&mut self, entry: &Entry) -> Result<()> {
        let fail = |step| move |e| ImageError::apply(&entry.path, step, e);
        let fd = fsops::open_dir(self.tree.root(), b".").map_err(fail("opening the root"))?;
        let root = EntryPath { parent: Vec::new(), name: Vec::new() };
        self.directory_meta(fd.as_fd(), entry, &root, true)
    }

    fn directory_meta(&mut self, fd: BorrowedFd<'_>, entry: &Entry, path: &EntryPath, setgid: bool) -> Result<()> {
        self.chown_fd(fd, entry, setgid)?;
        self.xattrs(fd, entry)?;
        let stat = rustix::fs::fstat(fd).map_err(|e| ImageError::apply(&entry.path, "looking at it", e))?;
        self.deferred.push(path, stat.st_ino, self.mode(entry), entry.mtime, self.meter)
    }

    fn symlink(&mut self, entry: &Entry, path: &EntryPath) -> Result<()> {
        if entry.link.contains(&0) || entry.link.len() > 4095 {
            return Err(ImageError::entry(&entry.path, "link target contains NUL or is longer than 4095 bytes"));
        }
        let parent = self.tree.parent(path, self.meter)?;
        self.place(&parent, path, |dir, name| symlinkat(&*entry.link, dir, name))?;
        self.meta_at(entry, path, &parent)
    }

    fn fifo(&mut self, entry: &Entry, path: &EntryPath) -> Result<()> {
        let parent = self.tree.parent(path, self.meter)?;
        let mode = Mode::from_raw_mode(self.mode(entry));
        self.place(&parent, path, |dir, name| mknodat(dir, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0))?;
        self.meta_at(entry, path, &parent)?;
        // Not a link, as it was just made here; a handle would have to wait for a reader.
        rustix::fs::chmodat(&parent, &*path.name, mode, AtFlags::empty())
            .map_err(|e| ImageError::apply(&entry.path, "setting its mode", e))?;
        self.times_at(entry, path, &parent)
    }

    fn hard_link(&mut self, entry: &Entry, path: &EntryPath) -> Result<()> {
        let target = EntryPath::parse(&entry.link, self.meter)
            .map_err(|e| ImageError::entry(&entry.path, format!("its link target is not acceptable: {e}")))?;
        let target = match &self.landing {
            Some(landing) => landing.map(target, self.meter)?,
            None => Some(target),
        };
        let Some(target) = target else {
            return Err(ImageError::entry(&entry.path, "hard link to a directory"));
        };
        if target.is_root() {
            return Err(ImageError::entry(&entry.path, "hard link to the root of the layer"));
        }
        if self.options.whiteouts != Whiteouts::Literal && Marker::of(&target)? != Marker::None {
            return Err(ImageError::entry(&entry.path, "hard link to a whiteout"));
        }
        let missing = |e: Errno| {
            let target = show(&entry.link);
            ImageError::entry(&entry.path, format!("hard link to {target}, which the layer does not have ({e})"))
        };
        // Both parents are held: making the second may forget the first, but not close it.
        let parent = self.tree.parent(path, self.meter)?;
        let from = self.tree.existing(&target).map_err(missing)?;
        let (found, stat) = look(from.as_fd(), &target.name).map_err(missing)?;
        match found {
            Found::Nothing | Found::Whiteout => return Err(missing(Errno::NOENT)),
            Found::Directory => return Err(ImageError::entry(&entry.path, "hard link to a directory")),
            Found::Symlink | Found::Other => {}
        }
        // No flag to follow: a link to a symbolic link is a second name of that link.
        let link = |dir: BorrowedFd<'_>, name: &[u8]| linkat(&from, &*target.name, dir, name, AtFlags::empty());
        match link(parent.as_fd(), &path.name) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(ImageError::apply(&entry.path, "making a hard link", e)),
        }
        let (_, there) = look(parent.as_fd(), &path.name).map_err(missing)?;
        let same = |s: &rustix::fs::Stat| (s.st_dev, s.st_ino);
        if there.as_ref().map(same) == stat.as_ref().map(same) {
            return Ok(());
        }
        self.place(&parent, path, link)
    }

    fn marker(&mut self, entry: &Entry, path: &EntryPath, marker: &Marker<'_>) -> Result<()> {
        if entry.kind != EntryKind::File {
            return Err(ImageError::entry(&entry.path, "name is reserved for whiteouts (`.wh.`), which are files"));
        }
        if entry.size != 0 {
            return Err(ImageError::entry(&entry.path, "whiteout with content"));
        }
        if self.options.whiteouts == Whiteouts::NoLower {
            self.report.skipped.whiteouts += 1;
            return Ok(());
        }
        let fail = |step| move |e| ImageError::apply(&entry.path, step, e);
        let parent = self.tree.parent(path, self.meter)?;
        let Marker::Whiteout(name) = marker else {
            let dir = fsops::open_dir(parent.as_fd(), b".").map_err(fail("opening its directory"))?;
            return set_opaque(dir.as_fd()).map_err(fail("marking its directory opaque"));
        };
        match mknodat(&parent, *name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(e) => return Err(fail("making a whiteout")(e)),
        }
        // The layer itself has the name: a file hides the lower one anyway, a directory has to be told.
        let (found, _) = look(parent.as_fd(), name).map_err(fail("looking at what is there"))?;
        if found == Found::Directory {
            let dir = fsops::open_dir(parent.as_fd(), name).map_err(fail("opening what is there"))?;
            set_opaque(dir.as_fd()).map_err(fail("marking what is there opaque"))?;
        }
        Ok(())
    }

    /// Runs `make`, after removing what has the name already, if something does.
    fn place<T>(
        &mut self,
        parent: &Rc<Parent>,
        path: &EntryPath,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let made = match make(parent.as_fd(), &path.name) {
            Err(Errno::EXIST) => {
                self.clear(parent, path)?;
                make(parent.as_fd(), &path.name)
            }
            other => other,
        };
        made.map_err(|e| ImageError::apply(&path.full(), "making it", e))
    }

    fn clear(&mut self, parent: &Rc<Parent>, path: &EntryPath) -> Result<()> {
        self.tree.forget();
        if self.landing.is_some() && look(parent.as_fd(), &path.name).is_ok_and(|(found, _)| found == Found::Directory)
        {
            return Err(ImageError::entry(&path.full(), "cannot overwrite directory with non-directory"));
        }
        fsops::remove(parent.as_fd(), &path.name)
            .map_err(|e| ImageError::apply(&path.full(), "removing what was there", e))
    }
}
