//! Modes and times of directories, set when nothing will be made in them any more.

use std::os::fd::AsFd;

use rustix::fs::{Mode, fchmod, fstat, futimens};
use rustix::io::Errno;

use super::meta::times;
use super::path::EntryPath;
use super::tree::Tree;
use crate::archive::Mtime;
use crate::budget::Meter;
use crate::error::{ImageError, Result};
use crate::fsops;

#[derive(Debug)]
struct Directory {
    path: Box<[u8]>,
    inode: u64,
    mtime: Mtime,
    mode: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Deferred(Vec<Directory>);

impl Deferred {
    /// Remembers a directory. The inode tells later whether the path still leads to it.
    pub(crate) fn push(
        &mut self,
        path: &EntryPath,
        inode: u64,
        mode: u32,
        mtime: Mtime,
        meter: &mut Meter,
    ) -> Result<()> {
        let path = path.full();
        meter.take_directory(crate::len64(path.len() + size_of::<Directory>()))?;
        self.0.push(Directory { path: path.into(), inode, mtime, mode });
        Ok(())
    }

    /// Children before their parents, so that a parent without permissions for us is still open when they are done; of
    /// several entries for one path the last.
    pub(crate) fn apply(&mut self, tree: &mut Tree<'_>) -> Result<()> {
        // Stable, so that entries for one path stay in their order.
        self.0.sort_by(|a, b| b.path.cmp(&a.path));
        let mut rest = self.0.iter().peekable();
        while let Some(directory) = rest.next() {
            if rest.peek().is_some_and(|next| next.path == directory.path) {
                continue;
            }
            set(directory, tree).map_err(|e| ImageError::apply(&directory.path, "setting mode and time", e))?;
        }
        self.0.clear();
        Ok(())
    }
}

fn set(directory: &Directory, tree: &mut Tree<'_>) -> rustix::io::Result<()> {
    let split = directory.path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = match split {
        Some(at) => (directory.path.get(..at), directory.path.get(at + 1..)),
        None => (None, Some(&*directory.path)),
    };
    let path = EntryPath { parent: parent.unwrap_or_default().to_vec(), name: name.unwrap_or_default().to_vec() };
    let opened = if path.is_root() {
        fsops::open_dir(tree.root(), b".")
    } else {
        tree.existing(&path).and_then(|parent| fsops::open_dir(parent.as_fd(), &path.name))
    };
    let fd = match opened {
        Ok(fd) => fd,
        // A later entry replaced it, or one above it.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(e) => return Err(e),
    };
    if fstat(&fd)?.st_ino != directory.inode {
        return Ok(());
    }
    fchmod(&fd, Mode::from_raw_mode(directory.mode))?;
    futimens(&fd, &times(directory.mtime))
}
