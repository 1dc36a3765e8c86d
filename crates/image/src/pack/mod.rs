//! A tree that somebody else filled, and may be changing at this moment, into an archive.
//!
//! Everything is reached by one component relative to an open directory, and no link is ever followed, so a name that is
//! swapped for a link meanwhile is either seen as what it was or as a link. Files are opened without waiting, and what
//! turns out to be a pipe or a device is written down as such, never read. A directory's names come in order: the same
//! tree gives the same bytes.

mod node;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

pub use node::Node;
use node::{device, times_of, xattrs_of};

use crate::archive::{EntryKind, NewEntry, TarWriter};
use crate::budget::Meter;
use crate::error::{ImageError, Result, show};

/// Directories inside one another. Each is held open, and the kernel gives a process 1,024 descriptors.
const DEPTH: usize = 512;
/// Bytes read at once.
const CHUNK: usize = 128 << 10;

/// Whose the entries are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Theirs, as this process sees them.
    Keep,
    /// Root's, all of them.
    Root,
}

/// How to pack.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// Owners in the archive.
    pub owners: Owners,
    /// The tree is the upper directory of an overlay: its marks of deletion are written as the image specification has
    /// them. Otherwise they are what they are, devices and attributes.
    pub overlay: bool,
    /// Paths below the root, without a slash at either end, that are left out when they are empty: mount points that the
    /// engine made.
    pub skip: HashSet<Vec<u8>>,
}

/// What was packed, and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackReport {
    /// Entries.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Sockets, which no archive can hold.
    pub sockets: u64,
}

/// Packs trees into one archive.
#[derive(Debug)]
pub struct Packer<'a, W> {
    tar: TarWriter<W>,
    options: PackOptions,
    meter: &'a mut Meter,
    links: HashMap<(u64, u64), Vec<u8>>,
    report: PackReport,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Packs onto `out`.
    pub fn new(out: W, options: PackOptions, meter: &'a mut Meter) -> Self {
        Self {
            tar: TarWriter::new(out),
            options,
            meter,
            links: HashMap::new(),
            report: PackReport::default(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// A stream that takes no more.
    pub fn finish(self) -> Result<(W, PackReport)> {
        Ok((self.tar.finish()?, self.report))
    }

    /// Everything in the directory, without an entry for itself; names begin with nothing.
    ///
    /// # Errors
    /// Limits, a name that cannot be in such an archive, a file that cannot be read, a stream that takes no more.
    pub fn content(&mut self, dir: BorrowedFd<'_>) -> Result<()> {
        self.children(dir, &mut Vec::new(), 0).map(drop)
    }

    /// One thing and what is below it, under the name `name`.
    ///
    /// # Errors
    /// As [`Packer::content`].
    pub fn node(&mut self, name: &[u8], node: Node) -> Result<()> {
        self.write(name.to_vec(), node, 0).map(drop)
    }

    /// Whether anything was written.
    fn children(&mut self, dir: BorrowedFd<'_>, path: &mut Vec<u8>, depth: usize) -> Result<bool> {
        if depth > DEPTH {
            let allowed = crate::len64(DEPTH);
            return Err(ImageError::Limit { limit: "depth", allowed, unit: "directories inside one another" });
        }
        let mut any = false;
        for name in names(dir).map_err(|e| ImageError::apply(path, "reading the directory", e))? {
            let length = path.len();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.meter.check_path(crate::len64(path.len()), 0)?;
            any |= self.child(dir, &name, path, depth)?;
            path.truncate(length);
        }
        Ok(any)
    }

    fn child(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: &[u8], depth: usize) -> Result<bool> {
        let node = match Node::open(dir, name) {
            Ok(node) => node,
            // It went away since the directory was read.
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(ImageError::apply(path, "opening it", e)),
        };
        if self.options.overlay {
            if node.is_whiteout() {
                return self.whiteout(path);
            }
            if name.starts_with(b".wh.") {
                return Err(ImageError::entry(path, "a name that begins with `.wh.` means a deletion in an image"));
            }
        }
        self.write(path.to_vec(), node, depth + 1)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<bool> {
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let (parent, name) = path.split_at(at);
        self.mark([parent, b".wh.", name].concat())
    }

    fn mark(&mut self, path: Vec<u8>) -> Result<bool> {
        self.meter.take_entry()?;
        self.report.entries += 1;
        self.tar.entry(&NewEntry::document(path, 0))?;
        Ok(true)
    }

    /// Whether it was written.
    fn write(&mut self, mut path: Vec<u8>, node: Node, depth: usize) -> Result<bool> {
        let stat = node.stat();
        let fail = |e| ImageError::apply(&path, "looking at it", e);
        let (kind, mut link, mut size) = match &node {
            Node::Directory(..) => (EntryKind::Directory, Vec::new(), 0),
            Node::File(..) => (EntryKind::File, Vec::new(), u64::try_from(stat.st_size).unwrap_or(0)),
            Node::Link(target, _) => (EntryKind::Symlink, target.clone(), 0),
            Node::Other(_) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Fifo => (EntryKind::Fifo, Vec::new(), 0),
                FileType::CharacterDevice => (EntryKind::CharDevice, Vec::new(), 0),
                FileType::BlockDevice => (EntryKind::BlockDevice, Vec::new(), 0),
                _ => {
                    self.report.sockets += 1;
                    return Ok(false);
                }
            },
        };
        if left_out(&self.options.skip, &path, &node) {
            return Ok(false);
        }
        self.meter.take_entry()?;
        let xattrs = xattrs_of(&node).map_err(fail)?;
        let opaque = self.options.overlay && node.is_opaque();
        let mut kind = kind;
        #[allow(clippy::useless_conversion, reason = "the fields are narrower on some machines")]
        if kind != EntryKind::Directory && u64::from(stat.st_nlink) > 1 {
            let inode = (u64::from(stat.st_dev), u64::from(stat.st_ino));
            if let Some(first) = self.links.get(&inode) {
                (kind, link, size) = (EntryKind::HardLink, first.clone(), 0);
            } else {
                self.meter.take_directory(crate::len64(path.len() + 64))?;
                self.links.insert(inode, path.clone());
            }
        }
        self.meter.take_bytes(size)?;
        let owner = |id: u32| if self.options.owners == Owners::Root { 0 } else { u64::from(id) };
        self.tar.entry(&NewEntry {
            path: path.clone(),
            kind,
            size,
            mode: stat.st_mode & 0o7777,
            uid: owner(stat.st_uid),
            gid: owner(stat.st_gid),
            mtime: times_of(stat),
            link,
            device: device(stat),
            xattrs: if kind == EntryKind::HardLink { Vec::new() } else { xattrs },
        })?;
        self.report.entries += 1;
        self.report.bytes += size;
        match node {
            Node::File(file, _) if size > 0 => self.copy(&path, file, size)?,
            Node::Directory(dir, _) => {
                if opaque {
                    self.mark([&*path, b"/.wh..wh..opq"].concat())?;
                }
                if !is_kernel(dir.as_fd()) {
                    self.children(dir.as_fd(), &mut path, depth)?;
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// A file that grows meanwhile is cut at the size it had; one that shrinks is filled with zeros.
    fn copy(&mut self, path: &[u8], file: OwnedFd, size: u64) -> Result<()> {
        let mut file = std::fs::File::from(file).take(size);
        loop {
            let n = match file.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ImageError::io(format!("reading {}", show(path)), e)),
            };
            self.tar.data(self.buffer.get(..n).unwrap_or_default())?;
            self.meter.check_time()?;
        }
    }
}

/// The names in a directory, sorted.
///
/// # Errors
/// What the kernel says.
pub fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether this is one of the paths that are left out, and holds nothing but such.
pub fn left_out(skip: &HashSet<Vec<u8>>, path: &[u8], node: &Node) -> bool {
    if !skip.contains(path) {
        return false;
    }
    match node {
        Node::File(_, stat) => stat.st_size == 0,
        Node::Directory(dir, _) => names(dir.as_fd()).is_ok_and(|names| {
            names.iter().all(|name| {
                let below = [path, b"/", name].concat();
                skip.contains(&below) && Node::open(dir.as_fd(), name).is_ok_and(|node| left_out(skip, &below, &node))
            })
        }),
        Node::Link(..) | Node::Other(_) => false,
    }
}

/// File systems of the kernel, whose files are questions and not content: procfs, sysfs, both kinds of control groups,
/// devpts, mqueue, debugfs, tracefs, securityfs, bpf.
fn is_kernel(dir: BorrowedFd<'_>) -> bool {
    const MAGICS: [i128; 10] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
    ];
    rustix::fs::fstatfs(dir).is_ok_and(|fs| MAGICS.contains(&i128::from(fs.f_type)))
}

#[cfg(test)]
mod tests;
