//! What is needed to make the very bytes of a layer's archive again from the unpacked layer.
//!
//! A layer is stored unpacked, and its digest is that of the archive it came in. Beside the tree lies a recipe: the
//! headers and paddings of the archive as they were, and in place of each file's content the name of the file. It is
//! compressed, and takes a few per cent of the layer. What it gives is hashed before anybody gets it: a recipe that does
//! not lead to the digest (an archive that has one file twice, a tree that was damaged) is as good as none.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, openat};

use crate::budget::{Budget, Meter};
use crate::digest::{Digest, Hasher};
use crate::error::{ImageError, Result};
use crate::fsops;
use crate::unpack::EntryPath;

const BYTES: u8 = 0;
const CONTENT: u8 = 1;
/// Raw bytes of one record at most.
const PIECE: usize = 256 << 10;
/// Fast, and headers are mostly zeros anyway.
const LEVEL: i32 = 3;

/// Writes a recipe while the archive is read.
pub(crate) struct RecipeWriter {
    out: zstd::Encoder<'static, File>,
    pending: Vec<u8>,
    failed: Option<std::io::Error>,
}

impl std::fmt::Debug for RecipeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecipeWriter").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

impl RecipeWriter {
    pub(crate) fn new(file: File) -> Result<Self> {
        let out = zstd::Encoder::new(file, LEVEL).map_err(|e| ImageError::io("writing the recipe of a layer", e))?;
        Ok(Self { out, pending: Vec::new(), failed: None })
    }

    /// Bytes that are kept as they are. An error is told at the end.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIECE
            && let Err(e) = self.flush()
        {
            self.failed.get_or_insert(e);
        }
    }

    /// The content of a file comes here.
    pub(crate) fn content(&mut self, path: &[u8], size: u64) -> Result<()> {
        let mut write = || {
            self.flush()?;
            self.out.write_all(&[CONTENT])?;
            self.out.write_all(&size.to_le_bytes())?;
            self.out.write_all(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            self.out.write_all(path)
        };
        write().map_err(|e| ImageError::io("writing the recipe of a layer", e))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        for piece in self.pending.chunks(PIECE) {
            self.out.write_all(&[BYTES])?;
            self.out.write_all(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes())?;
            self.out.write_all(piece)?;
        }
        self.pending.clear();
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        let fail = |e| ImageError::io("writing the recipe of a layer", e);
        if let Some(e) = self.failed.take() {
            return Err(fail(e));
        }
        self.flush().map_err(fail)?;
        self.out.finish().map(drop).map_err(fail)
    }
}

/// One record.
enum Record {
    Bytes(Vec<u8>),
    Content { path: Vec<u8>, size: u64 },
}

/// Reads the records of a recipe.
struct Records<R>(R);

impl<R: Read> Records<R> {
    fn next(&mut self) -> std::io::Result<Option<Record>> {
        let mut tag = [0];
        if self.0.read(&mut tag)? == 0 {
            return Ok(None);
        }
        let bad = || std::io::Error::other("the recipe of the layer is damaged");
        match tag {
            [BYTES] => Ok(Some(Record::Bytes(self.text(PIECE)?))),
            [CONTENT] => {
                let mut size = [0; 8];
                self.0.read_exact(&mut size)?;
                Ok(Some(Record::Content { path: self.text(1 << 20)?, size: u64::from_le_bytes(size) }))
            }
            _ => Err(bad()),
        }
    }

    fn text(&mut self, most: usize) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > most {
            return Err(std::io::Error::other("the recipe of the layer is damaged"));
        }
        let mut text = vec![0; length];
        self.0.read_exact(&mut text)?;
        Ok(text)
    }
}

/// Makes the archive of the layer whose tree is `root` by `recipe`, hands it to `sink` piece by piece, and returns its
/// digest and size.
///
/// # Errors
/// A recipe that is damaged, a file that is not there or has another size, and what `sink` returns.
pub fn assemble(
    root: BorrowedFd<'_>,
    recipe: &File,
    mut sink: impl FnMut(&[u8]) -> Result<()>,
) -> Result<(Digest, u64)> {
    let fail = |e| ImageError::io("reading the recipe of a layer", e);
    let decoder = zstd::Decoder::new(recipe).map_err(fail)?;
    let mut records = Records(BufReader::new(decoder));
    let meter = Meter::new(&Budget::default());
    let (mut hasher, mut total) = (Hasher::new(), 0_u64);
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        total += crate::len64(bytes.len());
        sink(bytes)
    };
    let mut buffer = vec![0; PIECE];
    while let Some(record) = records.next().map_err(fail)? {
        match record {
            Record::Bytes(bytes) => put(&bytes)?,
            Record::Content { path, size } => {
                let mut file = content(root, &path, size, &meter)?;
                let mut left = size;
                while left > 0 {
                    let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let room = buffer.get_mut(..most).unwrap_or_default();
                    let n = file.read(room).map_err(|e| ImageError::io("reading a file of a layer", e))?;
                    if n == 0 {
                        return Err(ImageError::entry(&path, "the file of the layer is shorter than it was"));
                    }
                    put(buffer.get(..n).unwrap_or_default())?;
                    left -= crate::len64(n);
                }
            }
        }
    }
    Ok((hasher.finish(), total))
}

/// The file that an entry of the archive became.
fn content(root: BorrowedFd<'_>, path: &[u8], size: u64, meter: &Meter) -> Result<File> {
    let place = EntryPath::parse(path, meter)?;
    let fail = |e| ImageError::apply(path, "opening its file in the layer", e);
    let parent = if place.parent.is_empty() { &b"."[..] } else { &place.parent };
    let parent = fsops::resolve_dir(root, parent).map_err(fail)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = openat(parent.as_fd(), &*place.name, flags, Mode::empty()).map_err(fail)?;
    let stat = rustix::fs::fstat(&fd).map_err(fail)?;
    let plain = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
    if !plain || u64::try_from(stat.st_size) != Ok(size) {
        return Err(ImageError::entry(path, "the layer has another file of this name"));
    }
    Ok(File::from(fd))
}
