//! An OCI layout directory, which may be anybody's.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::budget::Meter;
use crate::digest::Digest;
use crate::error::{ImageError, Result, show};
use crate::fsops;

/// A directory whose files are opened without following any link.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: OwnedFd,
    arrivals: Option<RefCell<Arrivals>>,
}

/// Longest line that announces a blob, in bytes: a digest and the end of the line.
const ANNOUNCED: u64 = 80;

/// Blobs that are still on their way: each is announced with a line when all of it is there.
pub(crate) struct Arrivals {
    lines: Box<dyn BufRead>,
    here: HashSet<Digest>,
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrivals").field("here", &self.here).finish_non_exhaustive()
    }
}

impl Arrivals {
    pub(crate) fn new(lines: impl BufRead + 'static) -> Self {
        Self { lines: Box::new(lines), here: HashSet::new() }
    }

    fn wait(&mut self, digest: &Digest) -> Result<()> {
        while !self.here.contains(digest) {
            let mut line = String::new();
            let mut bounded = Read::take(&mut self.lines, ANNOUNCED);
            let read = bounded.read_line(&mut line).map_err(|e| ImageError::io("waiting for a blob", e))?;
            if read == 0 {
                return Err(ImageError::Input(format!("the download ended before blob {} was there", digest.hex())));
            }
            self.here.insert(line.trim_end().parse()?);
        }
        Ok(())
    }
}

impl Layout {
    pub(crate) fn open(dir: BorrowedFd<'_>, arrivals: Option<Arrivals>) -> Result<Self> {
        let dir = fsops::open_dir(dir, b".").map_err(|e| ImageError::io("opening the layout directory", e))?;
        Ok(Self { dir, arrivals: arrivals.map(RefCell::new) })
    }

    /// Waits until the blob of a layer is there.
    pub(crate) fn wait(&self, digest: &Digest) -> Result<()> {
        self.arrivals.as_ref().map_or(Ok(()), |arrivals| arrivals.borrow_mut().wait(digest))
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
        let file = fsops::open_file(self.dir.as_fd(), name).map_err(|e| match e {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_waited_for_and_an_end_before_it_is_told() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut arrivals = Arrivals::new(std::io::Cursor::new(format!("{two}\n{one}\n")));
        arrivals.wait(&one).unwrap();
        arrivals.wait(&two).unwrap();
        let error = arrivals.wait(&Digest::of(b"3")).unwrap_err().to_string();
        assert!(error.contains("the download ended before blob"), "{error}");
        for bad in ["sha256:x\n".to_owned(), "a".repeat(200)] {
            assert!(Arrivals::new(std::io::Cursor::new(bad)).wait(&one).is_err());
        }
    }
}
