//! An OCI layout directory, which may be anybody's.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::budget::Meter;
use crate::digest::Digest;
use crate::error::{ImageError, Result, show};
use crate::fsops;

/// A directory whose files are opened without following any link.
#[derive(Debug)]
pub(crate) struct Layout(OwnedFd);

impl Layout {
    pub(crate) fn open(dir: BorrowedFd<'_>) -> Result<Self> {
        fsops::open_dir(dir, b".").map(Self).map_err(|e| ImageError::io("opening the layout directory", e))
    }

    /// One of the two documents at the top.
    pub(crate) fn document(&self, name: &str, meter: &Meter) -> Result<Vec<u8>> {
        let (file, size) = self.file(name)?;
        meter.check_document(size)?;
        read_all(file, size)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Result<(File, u64)> {
        self.file(&format!("blobs/sha256/{}", digest.hex()))
    }

    fn file(&self, name: &str) -> Result<(File, u64)> {
        let refuse = |reason: &str| ImageError::entry(name.as_bytes(), reason);
        let file = fsops::open_file(self.0.as_fd(), name).map_err(|e| match e {
            Errno::LOOP => refuse("links are not accepted in a layout directory"),
            Errno::XDEV => refuse("a layout directory has to be on one file system"),
            Errno::INVAL => refuse("not a regular file"),
            Errno::NOENT => refuse("the layout directory does not have it"),
            e => ImageError::io(format!("opening {}", show(name.as_bytes())), e),
        })?;
        let size = file.metadata().map_err(|e| ImageError::io("looking at a file of the layout", e))?.len();
        Ok((file, size))
    }
}

/// All of `file`, which was `size` bytes long a moment ago. Somebody may be writing to it, so no more is taken.
pub(crate) fn read_all(file: File, size: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| ImageError::io("reading a document", e))?;
    if crate::len64(bytes.len()) != size {
        return Err(super::spool::mismatch("size of a document", &size, &bytes.len()));
    }
    Ok(bytes)
}
