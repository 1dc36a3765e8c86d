//! The files of an archive of images, kept until it is known what they are.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::layout::Layout;
use crate::archive::{Entry, EntryKind, TarReader};
use crate::budget::Meter;
use crate::digest::{Digest, Hasher};
use crate::error::{ImageError, Result};
use crate::fsops;

/// Most entries of an archive of images; layers have their own count.
const ENTRIES: usize = 100_000;
/// Longest name in an archive of images, in bytes.
const NAME: usize = 512;
/// Documents by name, kept in memory.
const DOCUMENTS: [&str; 4] = ["index.json", "oci-layout", "manifest.json", "repositories"];
const BLOBS: &str = "blobs/sha256/";

/// A file of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// File name in `spool/`, or the digest of a blob.
    place: Place,
    pub(crate) size: u64,
}

#[derive(Clone, Debug)]
enum Place {
    Spool(String),
    Blob(Digest),
}

impl Stored {
    /// The digest, when it was verified on the way in.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self.place {
            Place::Blob(digest) => Some(digest),
            Place::Spool(_) => None,
        }
    }
}

/// All files of an archive.
#[derive(Debug)]
pub(crate) struct Spooled {
    files: HashMap<String, Stored>,
    /// Links in place of a layer that another image of the archive has too, as Docker wrote them.
    links: HashMap<String, String>,
    documents: HashMap<String, Vec<u8>>,
    blobs: OwnedFd,
    spool: OwnedFd,
}

impl Spooled {
    /// Reads the whole archive. Blobs named by a digest are hashed on the way, and refused if the name is wrong.
    pub(crate) fn read<R: BufRead>(mut tar: TarReader<R>, staging: BorrowedFd<'_>, meter: &mut Meter) -> Result<Self> {
        let fail = |e| ImageError::io("making the spool directory", e);
        let blobs = fsops::ensure_dir(staging, b"blobs").map_err(fail)?;
        let mut spooled = Self {
            files: HashMap::new(),
            links: HashMap::new(),
            documents: HashMap::new(),
            blobs: fsops::ensure_dir(blobs.as_fd(), b"sha256").map_err(fail)?,
            spool: fsops::ensure_dir(staging, b"spool").map_err(fail)?,
        };
        let mut names = HashSet::new();
        while let Some(entry) = tar.next_entry()? {
            meter.take_entry()?;
            let name = normal(&entry.path)?;
            if entry.kind == EntryKind::Directory {
                continue;
            }
            if names.len() >= ENTRIES {
                let allowed = crate::len64(ENTRIES);
                return Err(ImageError::Limit { limit: "files", allowed, unit: "files in an archive of images" });
            }
            // Two files of one name are two archives in one: which is meant depends on the reader.
            if !names.insert(name.clone()) {
                return Err(ImageError::entry(&entry.path, "name appears twice in the archive"));
            }
            match entry.kind {
                EntryKind::File => spooled.file(name, &entry, &mut tar, meter)?,
                EntryKind::Symlink => spooled.link(name, &entry)?,
                _ => return Err(ImageError::entry(&entry.path, "an archive of images has files and directories only")),
            }
        }
        Ok(spooled)
    }

    fn file<R: BufRead>(
        &mut self,
        name: String,
        entry: &Entry,
        tar: &mut TarReader<R>,
        meter: &mut Meter,
    ) -> Result<()> {
        if DOCUMENTS.contains(&name.as_str()) {
            meter.check_document(entry.size)?;
            self.documents.insert(name, tar.read_data(entry.size)?);
            return Ok(());
        }
        meter.take_spool(entry.size)?;
        let io = |e: std::io::Error| ImageError::io("storing a file of the archive", e);
        let (place, mut file) = if name.starts_with("blobs/") {
            let hex = name
                .strip_prefix(BLOBS)
                .ok_or_else(|| ImageError::entry(&entry.path, "blobs are accepted in `blobs/sha256/` only"))?;
            let digest = Digest::from_hex(hex)?;
            let file = fsops::create_file(self.blobs.as_fd(), hex.as_bytes()).map_err(|e| io(e.into()))?;
            (Place::Blob(digest), file)
        } else {
            let serial = self.files.len().to_string();
            let file = fsops::create_file(self.spool.as_fd(), serial.as_bytes()).map_err(|e| io(e.into()))?;
            (Place::Spool(serial), file)
        };
        let mut hasher = matches!(place, Place::Blob(_)).then(Hasher::new);
        loop {
            let chunk = tar.chunk()?;
            let n = chunk.len();
            if n == 0 {
                break;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(chunk);
            }
            file.write_all(chunk).map_err(io)?;
            tar.consume(n);
        }
        if let (Place::Blob(expected), Some(hasher)) = (&place, hasher) {
            let found = hasher.finish();
            if found != *expected {
                return Err(mismatch(&format!("content of blob {}", expected.hex()), expected, &found));
            }
        }
        self.files.insert(name, Stored { place, size: entry.size });
        Ok(())
    }

    /// Docker once wrote a layer that two images share as a link to the first; Podman writes all layers beside their old
    /// names and links those to them. Nothing else is a link.
    fn link(&mut self, name: String, entry: &Entry) -> Result<()> {
        let refuse = || ImageError::entry(&entry.path, "links are not accepted in an archive of images");
        let dir = name.strip_suffix("/layer.tar").ok_or_else(refuse)?;
        let target = std::str::from_utf8(&entry.link).map_err(|_| refuse())?;
        let target = target.strip_prefix("../").ok_or_else(refuse)?;
        // Docker's form, and Podman's.
        let other = target.strip_suffix("/layer.tar").or_else(|| target.strip_suffix(".tar")).ok_or_else(refuse)?;
        let plain = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plain(dir) || !plain(other) {
            return Err(refuse());
        }
        self.links.insert(name.clone(), target.to_owned());
        Ok(())
    }

    pub(crate) fn document(&self, name: &str) -> Option<&[u8]> {
        self.documents.get(name).map(Vec::as_slice)
    }

    /// The file of that name.
    pub(crate) fn find(&self, name: &str) -> Result<&Stored> {
        let name = normal(name.as_bytes())?;
        let name = self.links.get(&name).unwrap_or(&name);
        self.files.get(name).ok_or_else(|| {
            ImageError::document(
                "manifest",
                format!("names {}, which the archive does not have", crate::error::show(name.as_bytes())),
            )
        })
    }

    /// A layer in Docker's own form. What was verified on the way in is not verified again.
    pub(crate) fn layer(&self, stored: &Stored) -> Result<LayerInput> {
        let spooled = match &stored.place {
            Place::Spool(serial) => Some(serial.clone()),
            Place::Blob(_) => None,
        };
        Ok(LayerInput { file: self.open(stored)?, digest: stored.digest(), verify: false, spooled })
    }

    pub(crate) fn open(&self, stored: &Stored) -> Result<File> {
        let opened = match &stored.place {
            Place::Spool(serial) => fsops::open_file(self.spool.as_fd(), serial),
            Place::Blob(digest) => fsops::open_file(self.blobs.as_fd(), &digest.hex()),
        };
        opened.map_err(|e| ImageError::io("opening a stored file", e))
    }
}

/// The one form of a name: UTF-8, relative, without `.` and empty parts. `..` and long names are refused.
fn normal(raw: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(raw).map_err(|_| ImageError::entry(raw, "name is not UTF-8"))?;
    if text.len() > NAME {
        return Err(ImageError::entry(raw, format!("name is longer than {NAME} bytes")));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if text.starts_with('/') || parts.contains(&"..") {
        return Err(ImageError::entry(raw, "name is absolute or contains `..`"));
    }
    Ok(parts.join("/"))
}

pub(crate) fn mismatch(what: &str, expected: &impl ToString, found: &impl ToString) -> ImageError {
    ImageError::Mismatch { what: what.to_owned(), expected: expected.to_string(), found: found.to_string() }
}

/// Where the blobs of an OCI layout are.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Archive(&'a Spooled),
    Layout(&'a Layout),
}

/// A layer's archive, ready to be read.
#[derive(Debug)]
pub(crate) struct LayerInput<R = File> {
    pub(crate) file: R,
    /// Digest of the bytes in the file.
    pub(crate) digest: Option<Digest>,
    /// The digest is a promise; it has to be checked while reading.
    pub(crate) verify: bool,
    /// The file's name in `spool/`, if it is there.
    pub(crate) spooled: Option<String>,
}

impl Source<'_> {
    /// The bytes of a document, verified.
    pub(crate) fn document(&self, digest: &Digest, size: u64, meter: &Meter) -> Result<Vec<u8>> {
        meter.check_document(size)?;
        let bytes = super::layout::read_all(self.open(digest, size)?, size)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(mismatch(&format!("content of blob {}", digest.hex()), digest, &found));
        }
        Ok(bytes)
    }

    pub(crate) fn layer(&self, digest: &Digest, size: u64) -> Result<LayerInput> {
        if let Self::Layout(layout) = self {
            layout.wait(digest)?;
        }
        let verify = matches!(self, Self::Layout(_));
        Ok(LayerInput { file: self.open(digest, size)?, digest: Some(*digest), verify, spooled: None })
    }

    fn open(&self, digest: &Digest, size: u64) -> Result<File> {
        let (file, found) = match self {
            Self::Archive(spooled) => {
                let stored = spooled.find(&format!("{BLOBS}{}", digest.hex()))?;
                (spooled.open(stored)?, stored.size)
            }
            Self::Layout(layout) => layout.blob(digest)?,
        };
        if found != size {
            return Err(mismatch(&format!("size of blob {}", digest.hex()), &size, &found));
        }
        Ok(file)
    }
}
