//! Images from files into a staging directory.
//!
//! The staging directory belongs to one operation, is empty at its start, and is used like this:
//!
//! | name | content |
//! |---|---|
//! | `layers/HEX/` | unpacked new layers, by the hex digits of the chain id |
//! | `recipes/HEX` | how the archive of that layer is made again, see [`crate::recipe`] |
//! | `blobs/sha256/HEX` | blobs as they were in the archive, verified |
//! | `spool/N` | files of an archive that are not named by a digest; gone at the end |
//! | `partial/N` | layers whose digest is not verified yet; gone at the end |
//!
//! A layer gets its name in `layers/` only after all of it has been read and its digest, that of the uncompressed bytes,
//! is the one in the configuration. After an error all of them are gone.

mod commit;
mod docker;
mod import;
mod layers;
mod layout;
mod oci;
mod pipeline;
mod report;
mod spool;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;

pub use commit::change;
pub use import::{ImportOptions, import};
pub use report::{ImageReport, ImportReport, LayerReport, LoadReport, Platform};

use crate::archive::{Decoder, TarReader};
use crate::budget::{Budget, Meter};
use crate::digest::Digest;
use crate::error::{ImageError, Result};
use crate::fsops;
use crate::unpack::OwnIds;

/// Size of the buffers between file, decoder and reader, in bytes.
pub(crate) const BUFFER: usize = 256 << 10;

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Chain ids of layers that the store has: they are reported, not unpacked.
    pub known: HashSet<Digest>,
    /// Owners of files.
    pub ids: OwnIds,
    /// What to pick from an image for several platforms.
    pub platform: Platform,
    /// Leave manifests, configurations and layers, as they were in the input, in `blobs/`.
    pub keep_blobs: bool,
    /// Decode in a thread of its own. Where none can be made, one thread does it all. With it, an input that is refused
    /// but neither goes on nor ends (a silent pipe) holds the refusal back; the clock of whoever runs this must end that.
    pub second_thread: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            ids: OwnIds::Apply,
            platform: Platform::current(),
            keep_blobs: false,
            second_thread: true,
        }
    }
}

/// Loads all images of an archive: what `docker save` writes, old and new, or a tar of an OCI layout; plain, gzip or
/// zstd. `input` is read once, from its current position to its end, and may be a pipe.
///
/// # Errors
/// [`ImageError`]. Nothing is left in `staging` then.
pub fn load(
    input: impl Read + Send,
    staging: BorrowedFd<'_>,
    budget: &Budget,
    options: &LoadOptions,
) -> Result<LoadReport> {
    let mut meter = Meter::new(budget);
    clean_up(staging, |staging| {
        let mut decoder = meter.guard(Decoder::new(BufReader::with_capacity(BUFFER, input))?);
        let (spooled, _) = pipeline::run(&mut decoder, options.second_thread, false, |chunks| {
            spool::Spooled::read(TarReader::new(chunks, budget), staging, &mut meter)
        });
        let spooled = spooled?;
        let source = spool::Source::Archive(&spooled);
        let mut layers = layers::Layers::new(staging, options, meter)?;
        let images = match (spooled.document("index.json"), spooled.document("manifest.json")) {
            (Some(index), manifest) if spooled.document("oci-layout").is_some() => {
                oci::check_layout(spooled.document("oci-layout").unwrap_or_default())?;
                let mut images = oci::load(&source, index, &mut layers)?;
                if let Some(manifest) = manifest {
                    docker::agree(&spooled, manifest, &mut images, &layers)?;
                }
                images
            }
            (_, Some(manifest)) => docker::load(&spooled, manifest, &mut layers)?,
            _ => {
                let hint = if spooled.document("repositories").is_some() {
                    "it was saved by Docker before 1.10; save it again with a newer one"
                } else {
                    "it has neither `manifest.json` nor `oci-layout` and `index.json`; a root file system is imported, not loaded"
                };
                return Err(ImageError::Input(format!("not an archive of images: {hint}")));
            }
        };
        layers.finish(images)
    })
}

/// Loads all images of an OCI layout directory. Links in it are refused; nothing in it is changed.
///
/// # Errors
/// [`ImageError`]. Nothing is left in `staging` then.
pub fn load_layout(
    dir: BorrowedFd<'_>,
    staging: BorrowedFd<'_>,
    budget: &Budget,
    options: &LoadOptions,
) -> Result<LoadReport> {
    from_layout(dir, None, staging, budget, options)
}

/// As [`load_layout`], of a layout that is still being filled: its index, manifests and configurations are there, and
/// each blob of a layer is announced on `arrivals` with a line of its digest when it is whole.
///
/// # Errors
/// As [`load_layout`]; an end of the announcements before the last layer that is needed.
pub fn load_arriving(
    dir: BorrowedFd<'_>,
    arrivals: impl BufRead + 'static,
    staging: BorrowedFd<'_>,
    budget: &Budget,
    options: &LoadOptions,
) -> Result<LoadReport> {
    from_layout(dir, Some(layout::Arrivals::new(arrivals)), staging, budget, options)
}

fn from_layout(
    dir: BorrowedFd<'_>,
    arrivals: Option<layout::Arrivals>,
    staging: BorrowedFd<'_>,
    budget: &Budget,
    options: &LoadOptions,
) -> Result<LoadReport> {
    let meter = Meter::new(budget);
    clean_up(staging, |staging| {
        let layout = layout::Layout::open(dir, arrivals)?;
        oci::check_layout(&layout.document("oci-layout", &meter)?)?;
        let index = layout.document("index.json", &meter)?;
        let mut layers = layers::Layers::new(staging, options, meter)?;
        let images = oci::load(&spool::Source::Layout(&layout), &index, &mut layers)?;
        layers.finish(images)
    })
}

const OWN_NAMES: [&[u8]; 5] = [b"layers", b"blobs", b"spool", b"partial", b"recipes"];

/// Runs `work` on an empty staging directory, and empties it again if that fails.
fn clean_up<T>(staging: BorrowedFd<'_>, work: impl FnOnce(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
    for name in OWN_NAMES {
        match rustix::fs::statat(staging, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(ImageError::io("looking into the staging directory", e)),
            Ok(_) => return Err(ImageError::Input("the staging directory is not empty".into())),
        }
    }
    let result = work(staging);
    let gone: &[&[u8]] = if result.is_ok() { &[b"spool", b"partial"] } else { &OWN_NAMES };
    for name in gone {
        // A failure that led here matters more than one to clean up after it; the caller removes the directory anyway.
        let removed = fsops::remove(staging, name).map_err(|e| ImageError::io("emptying the staging directory", e));
        if result.is_ok() {
            removed?;
        }
    }
    result
}
