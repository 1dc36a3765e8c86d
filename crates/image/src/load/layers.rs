//! Layers of all images of one operation, each unpacked once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::report::{ImageReport, LayerReport, LoadReport, Platform};
use super::spool::{LayerInput, mismatch};
use super::{BUFFER, LoadOptions, pipeline};
use crate::archive::{Compression, Decoder, TarReader};
use crate::budget::Meter;
use crate::config::ImageDocument;
use crate::digest::{Digest, HashRead};
use crate::error::{ImageError, Result};
use crate::fsops;
use crate::recipe::RecipeWriter;
use crate::reference::Reference;
use crate::unpack::{OwnIds, Skipped, UnpackOptions, UnpackReport, Whiteouts, unpack};

/// Unpacks layers and collects what there is to report.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    staging: BorrowedFd<'a>,
    options: &'a LoadOptions,
    pub(crate) meter: Meter,
    done: HashMap<Digest, LayerReport>,
    partial: OwnedFd,
    layers: OwnedFd,
    serial: u64,
    skipped: Skipped,
}

/// What is known of an image before its layers are unpacked.
#[derive(Debug)]
pub(crate) struct ImageParts<'a> {
    pub(crate) references: Vec<Reference>,
    pub(crate) manifest_digest: Option<Digest>,
    pub(crate) config: &'a [u8],
    /// Digests of the layers as stored, where known, lowest first.
    pub(crate) blobs: Vec<Option<Digest>>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(staging: BorrowedFd<'a>, options: &'a LoadOptions, meter: Meter) -> Result<Self> {
        let fail = |e| ImageError::io("making the layer directories", e);
        Ok(Self {
            staging,
            options,
            meter,
            done: HashMap::new(),
            partial: fsops::ensure_dir(staging, b"partial").map_err(fail)?,
            layers: fsops::ensure_dir(staging, b"layers").map_err(fail)?,
            serial: 0,
            skipped: Skipped::default(),
        })
    }

    pub(crate) fn platform(&self) -> &Platform {
        &self.options.platform
    }

    /// An image: its configuration checked, its layers unpacked. `open` opens the archive of the layer of that number.
    pub(crate) fn image(
        &mut self,
        parts: ImageParts<'_>,
        open: impl Fn(usize) -> Result<LayerInput>,
    ) -> Result<ImageReport> {
        let config_digest = Digest::of(parts.config);
        let name = format!("configuration {}", config_digest.hex());
        let document = ImageDocument::parse(&name, parts.config)?;
        self.meter.check_layers(crate::len64(document.diff_ids.len()))?;
        if document.diff_ids.len() != parts.blobs.len() {
            let (has, wants) = (parts.blobs.len(), document.diff_ids.len());
            return Err(ImageError::document(name, format!("names {wants} layers, the manifest {has}")));
        }
        if document.os != "linux" {
            let reason = format!("is for {}, not for linux", crate::error::show(document.os.as_bytes()));
            return Err(ImageError::document(name, reason));
        }
        let config_json = std::str::from_utf8(parts.config).map_err(|e| ImageError::document(&name, e.to_string()))?;
        self.keep(&config_digest, parts.config)?;
        let mut layers = Vec::with_capacity(parts.blobs.len());
        let mut below = None;
        for (index, (diff, blob)) in document.diff_ids.iter().zip(parts.blobs).enumerate() {
            let chain = Digest::chain(below.as_ref(), diff);
            let report = match self.done.get(&chain) {
                Some(done) => done.clone(),
                None => self.layer(&chain, diff, blob, below.is_some(), || open(index))?,
            };
            below = Some(chain);
            layers.push(report);
        }
        Ok(ImageReport {
            references: parts.references,
            manifest_digest: parts.manifest_digest,
            config_digest,
            platform: Platform { os: document.os, architecture: document.architecture, variant: document.variant },
            config: document.config,
            config_json: config_json.to_owned(),
            size: layers.iter().map(|layer| layer.bytes_unpacked).sum(),
            layers,
            created: document.created,
        })
    }

    fn layer(
        &mut self,
        chain: &Digest,
        diff: &Digest,
        blob: Option<Digest>,
        lower: bool,
        open: impl FnOnce() -> Result<LayerInput>,
    ) -> Result<LayerReport> {
        let mut report = LayerReport {
            chain_id: *chain,
            diff_id: *diff,
            blob_digest: blob,
            bytes_unpacked: 0,
            entries: 0,
            new: false,
        };
        if !self.options.known.contains(chain) {
            let whiteouts = if lower { Whiteouts::Overlay } else { Whiteouts::NoLower };
            let mut input = open()?;
            let spooled = input.spooled.take();
            let unpacked = self.unpack(input, Some(diff), whiteouts)?;
            self.publish(&unpacked, chain)?;
            self.keep_spooled(spooled.as_deref(), &unpacked.blob)?;
            report.blob_digest = Some(unpacked.blob);
            report.bytes_unpacked = unpacked.report.bytes;
            report.entries = unpacked.report.entries;
            report.new = true;
        }
        self.done.insert(*chain, report.clone());
        Ok(report)
    }

    /// Unpacks into a directory without a name, hashing what is read and what comes out of the decoder.
    fn unpack<R: Read + Send>(
        &mut self,
        input: LayerInput<R>,
        diff: Option<&Digest>,
        whiteouts: Whiteouts,
    ) -> Result<Unpacked> {
        self.serial += 1;
        let place = self.serial.to_string();
        let fail = |e| ImageError::io("making a layer directory", e);
        let root = fsops::make_dir(self.partial.as_fd(), place.as_bytes()).map_err(fail)?;
        rustix::fs::fchmod(&root, rustix::fs::Mode::from_raw_mode(0o755)).map_err(fail)?;
        let keep = match input.digest {
            Some(digest) if self.options.keep_blobs && input.verify => self.blob_file(&digest)?,
            _ => None,
        };
        let options = UnpackOptions { ids: self.options.ids, whiteouts };
        let hash = input.verify || input.digest.is_none();
        let tee = Tee { inner: input.file, copy: keep };
        let threaded = self.options.second_thread;
        let recipe = fsops::create_file(self.partial.as_fd(), format!("{place}.recipe").as_bytes()).map_err(fail)?;
        let recipe = RecipeWriter::new(recipe)?;
        let streamed = stream(tee, hash, root.as_fd(), options, threaded, recipe, &mut self.meter)?;
        if let Some(diff) = diff
            && streamed.diff != *diff
        {
            return Err(mismatch("digest of an uncompressed layer", diff, &streamed.diff));
        }
        let blob = match (input.digest, streamed.blob) {
            (Some(expected), Some(found)) if expected != found => {
                return Err(mismatch(&format!("content of blob {}", expected.hex()), &expected, &found));
            }
            (Some(digest), _) | (None, Some(digest)) => digest,
            (None, None) => streamed.diff,
        };
        self.skipped.add(&streamed.report.skipped);
        Ok(Unpacked { place, diff: streamed.diff, blob, report: streamed.report })
    }

    /// Gives a verified layer its name.
    fn publish(&self, unpacked: &Unpacked, chain: &Digest) -> Result<()> {
        let fail = |e| ImageError::io("naming a layer", e);
        let recipes = fsops::ensure_dir(self.staging, b"recipes").map_err(fail)?;
        rustix::fs::renameat(&self.partial, format!("{}.recipe", unpacked.place), &recipes, chain.hex())
            .map_err(fail)?;
        rustix::fs::renameat(&self.partial, unpacked.place.as_str(), &self.layers, chain.hex()).map_err(fail)
    }

    /// A root file system as the only layer of an image.
    pub(crate) fn root_filesystem<R: Read + Send>(&mut self, input: LayerInput<R>) -> Result<(Digest, LayerReport)> {
        let unpacked = self.unpack(input, None, Whiteouts::NoLower)?;
        let new = !self.options.known.contains(&unpacked.diff);
        if new {
            self.publish(&unpacked, &unpacked.diff)?;
        }
        let report = LayerReport {
            chain_id: unpacked.diff,
            diff_id: unpacked.diff,
            blob_digest: Some(unpacked.blob),
            bytes_unpacked: unpacked.report.bytes,
            entries: unpacked.report.entries,
            new,
        };
        Ok((unpacked.diff, report))
    }

    /// What a container changed, on the layers of the chain `below`; nothing for an archive without entries.
    pub(crate) fn change<R: Read + Send>(
        &mut self,
        input: LayerInput<R>,
        below: Option<&Digest>,
    ) -> Result<Option<LayerReport>> {
        let whiteouts = if below.is_some() { Whiteouts::Overlay } else { Whiteouts::NoLower };
        let unpacked = self.unpack(input, None, whiteouts)?;
        if unpacked.report.entries == 0 {
            return Ok(None);
        }
        let chain = Digest::chain(below, &unpacked.diff);
        let new = !self.options.known.contains(&chain);
        if new {
            self.publish(&unpacked, &chain)?;
        }
        Ok(Some(LayerReport {
            chain_id: chain,
            diff_id: unpacked.diff,
            blob_digest: Some(unpacked.blob),
            bytes_unpacked: unpacked.report.bytes,
            entries: unpacked.report.entries,
            new,
        }))
    }

    /// Writes a small blob to `blobs/` if blobs are wanted and it is not there.
    pub(crate) fn keep(&mut self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if !self.options.keep_blobs {
            return Ok(());
        }
        if let Some(mut file) = self.blob_file(digest)? {
            self.meter.take_spool(crate::len64(bytes.len()))?;
            file.write_all(bytes).map_err(|e| ImageError::io("storing a blob", e))?;
        }
        Ok(())
    }

    /// Gives a stored layer, whose digest is known now, its name among the blobs too. A second name and not a new one:
    /// another image may have the same file as a layer on other layers.
    fn keep_spooled(&self, spooled: Option<&str>, digest: &Digest) -> Result<()> {
        let Some(name) = spooled.filter(|_| self.options.keep_blobs) else { return Ok(()) };
        let fail = |e| ImageError::io("storing a blob", e);
        let blobs = self.blobs()?;
        let spool = fsops::open_dir(self.staging, b"spool").map_err(fail)?;
        match rustix::fs::linkat(&spool, name, &blobs, digest.hex(), rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(e) => Err(fail(e)),
        }
    }

    fn blobs(&self) -> Result<OwnedFd> {
        let fail = |e| ImageError::io("making the blob directory", e);
        let blobs = fsops::ensure_dir(self.staging, b"blobs").map_err(fail)?;
        fsops::ensure_dir(blobs.as_fd(), b"sha256").map_err(fail)
    }

    fn blob_file(&self, digest: &Digest) -> Result<Option<File>> {
        let fail = |e| ImageError::io("storing a blob", e);
        match fsops::create_file(self.blobs()?.as_fd(), digest.hex().as_bytes()) {
            Ok(file) => Ok(Some(file)),
            Err(rustix::io::Errno::EXIST) => Ok(None),
            Err(e) => Err(fail(e)),
        }
    }

    pub(crate) fn skipped(&self) -> Skipped {
        self.skipped
    }

    pub(crate) fn finish(self, images: Vec<ImageReport>) -> Result<LoadReport> {
        if !self.options.keep_blobs {
            fsops::remove(self.staging, b"blobs").map_err(|e| ImageError::io("removing stored blobs", e))?;
        }
        Ok(LoadReport { images, skipped: self.skipped, ids_ignored: self.options.ids == OwnIds::Ignore })
    }
}

struct Unpacked {
    place: String,
    diff: Digest,
    blob: Digest,
    report: UnpackReport,
}

struct Streamed {
    diff: Digest,
    blob: Option<Digest>,
    report: UnpackReport,
}

/// Reads `input` once: hashed as stored if `hash`, inflated, hashed again, unpacked.
fn stream(
    input: impl Read + Send,
    hash: bool,
    root: BorrowedFd<'_>,
    options: UnpackOptions,
    threaded: bool,
    recipe: RecipeWriter,
    meter: &mut Meter,
) -> Result<Streamed> {
    let stored = BufReader::with_capacity(BUFFER, HashRead::new(input, hash));
    let mut decoder = Decoder::new(stored)?;
    let plain = decoder.compression() == Compression::None;
    if plain {
        // The bytes as stored are the uncompressed ones: one hash is enough for both digests.
        decoder.get_mut().get_mut().stop();
    }
    // Hashing goes to the thread that has less to do: decoding is slower than unpacking, reading is faster.
    let mut inflated = meter.guard(HashRead::new(decoder, plain));
    let budget = meter.budget().clone();
    let (report, here) = pipeline::run(&mut inflated, threaded, !plain, |chunks| {
        let mut tar = TarReader::new(chunks, &budget);
        tar.record(recipe);
        let report = unpack(&mut tar, root, options, meter)?;
        tar.take_recipe().map_or(Ok(()), RecipeWriter::finish)?;
        Ok(report)
    });
    let report = report?;
    let (decoder, there) = inflated.into_inner().into_parts();
    let (mut rest, blob) = decoder.into_inner().into_inner().into_parts();
    // The decoder has seen the end of the input; a byte now would mean that the digest is not that of the whole file.
    let more = rest.read(&mut [0]).map_err(|e| ImageError::io("reading a layer", e))?;
    match here.or(there) {
        Some(diff) if more == 0 => Ok(Streamed { diff, blob: if plain { Some(diff) } else { blob }, report }),
        _ => Err(ImageError::Input("data behind the compressed stream of a layer".into())),
    }
}

/// Reader that leaves a copy.
struct Tee<R> {
    inner: R,
    copy: Option<File>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(copy) = &mut self.copy {
            copy.write_all(buf.get(..n).unwrap_or_default())?;
        }
        Ok(n)
    }
}
