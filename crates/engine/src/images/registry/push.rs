//! `push`: layers that the registry has not are packed again, compressed, and sent several at a time; the manifest last.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bulkhead_image::archive::GzipWriter;
use bulkhead_image::config::ImageDocument;
use bulkhead_image::{Digest, Hasher, Reference};
use bulkhead_registry::{Client, RegistryError, Repository, Upload};
use serde_json::json;

use super::super::load::Staging;
use super::super::save::{SavedLayer, find, rewritten, stream};
use super::pull::{parse, pinned};
use super::{Step, Watch, client, short};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::store::{ImageRecord, LayerBlob, StoreError};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Between two looks at the watcher.
const TICK: Duration = Duration::from_millis(100);

/// What was pushed.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Canonical reference.
    pub reference: String,
    /// Digest of the manifest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A layer on its way.
#[derive(Debug, Clone)]
struct Layer {
    chain: String,
    /// Digest of its uncompressed archive, in hex.
    diff: String,
    blob: Digest,
    size: u64,
    media: String,
    /// Where it is, when it has to be sent.
    path: Option<PathBuf>,
}

/// Sends an image, or every tag of a repository, to its registry.
///
/// # Errors
/// An unknown image; what the registry says.
pub fn push(engine: &Engine, written: &str, all: bool, watch: Watch<'_>) -> Result<Vec<Pushed>, EngineError> {
    engine.recover()?;
    let reference = parse(written)?;
    if reference.digest().is_some() {
        return Err(EngineError::invalid("reference", written, "a tag is needed: what an image is cannot be chosen"));
    }
    let last = written.rsplit('/').next().unwrap_or_default();
    if all && last.contains(':') {
        return Err(EngineError::invalid("reference", written, "with --all-tags a repository without a tag is needed"));
    }
    let wanted = named(engine, &reference, all)?;
    if wanted.is_empty() {
        let text =
            format!("no image is called {:?}; an image is pushed under the name that it has", reference.familiar());
        return Err(EngineError::Image(text));
    }
    let client = client(engine);
    watch(&Step::Said(format!("The push refers to repository [{}]", reference.name())));
    let mut done = Vec::new();
    for (one, record) in &wanted {
        let pushed = image(engine, &client, one, record, watch);
        for note in client.notes() {
            watch(&Step::Note(note));
        }
        done.push(pushed?);
    }
    Ok(done)
}

/// The images of this name, or of all names in its repository.
fn named(engine: &Engine, reference: &Reference, all: bool) -> Result<Vec<(Reference, ImageRecord)>, EngineError> {
    let store = engine.store()?;
    if !all {
        let name = reference.to_string();
        return match store.resolve_image(&name, Some(&name)) {
            Ok(record) => Ok(vec![(reference.clone(), record)]),
            Err(StoreError::NoSuchImage { .. }) => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        };
    }
    let mut found = Vec::new();
    for record in store.list_images()? {
        for name in &record.references {
            if let Ok(one) = name.parse::<Reference>()
                && one.name() == reference.name()
            {
                found.push((one, record.clone()));
            }
        }
    }
    Ok(found)
}

fn image(
    engine: &Engine,
    client: &Client,
    reference: &Reference,
    record: &ImageRecord,
    watch: Watch<'_>,
) -> Result<Pushed, EngineError> {
    let mut repository = client.repository(client.source(reference.registry())?, reference.path(), true)?;
    let staging = Staging::new(engine)?;
    let document = ImageDocument::parse("configuration of the image", record.config_json.as_bytes())
        .map_err(|e| EngineError::Image(e.to_string()))?;
    let names = document.diff_ids.iter().map(|diff| (short(diff), None)).collect();
    watch(&Step::Layers(names));
    let mut layers: Vec<Layer> = Vec::new();
    for (index, (chain, diff)) in record.layers.iter().zip(&document.diff_ids).enumerate() {
        let known = match there(engine, &mut repository, chain, diff, index, watch)? {
            Some(layer) => layer,
            None => {
                watch(&Step::Became(index, "Preparing"));
                let saved = find(engine, chain, &diff.hex(), index > 0)?;
                pack(engine, &repository, &staging, saved)?
            }
        };
        layers.push(known);
    }
    let config = configuration(record, &document.diff_ids, &layers, watch)?;
    send(client, &repository, &layers, watch)?;
    let digest = Digest::of(&config);
    if !repository.has(&digest, None)? {
        let path = staging.path.join("config");
        std::fs::write(&path, &config).map_err(EngineError::io("write", &path))?;
        let size = u64::try_from(config.len()).unwrap_or(u64::MAX);
        repository.send(&Upload { digest, size, path: &path, progress: &|_| {} })?;
    }
    let manifest = manifest(&digest, config.len(), &layers);
    let tag = reference.tag().unwrap_or("latest");
    let digest = repository.put_manifest(tag, MANIFEST, &manifest)?;
    let place = repository.place();
    let blobs: Vec<LayerBlob> = layers
        .iter()
        .map(|layer| LayerBlob {
            chain_id: layer.chain.clone(),
            place: place.clone(),
            digest: layer.blob.to_string(),
            size: layer.size,
            media: layer.media.clone(),
        })
        .collect();
    engine.store()?.remember_pushed(&record.id, &pinned(reference, &digest), &blobs)?;
    let id = format!("sha256:{}", record.id);
    engine.events().emit(&Event::new(Kind::Image, "push", id).with("name", reference.familiar()));
    let size = u64::try_from(manifest.len()).unwrap_or(u64::MAX);
    Ok(Pushed { reference: reference.to_string(), digest: digest.to_string(), size })
}

/// A layer that the repository has already, or takes from another one of the same registry.
fn there(
    engine: &Engine,
    repository: &mut Repository<'_>,
    chain: &str,
    diff: &Digest,
    index: usize,
    watch: Watch<'_>,
) -> Result<Option<Layer>, EngineError> {
    let blobs = engine.store()?.blobs_of(chain)?;
    let layer = |blob: &LayerBlob, digest: Digest| Layer {
        chain: chain.to_owned(),
        diff: diff.hex(),
        blob: digest,
        size: blob.size,
        media: media(&blob.media).to_owned(),
        path: None,
    };
    let mut asked = Vec::new();
    for blob in &blobs {
        let Ok(digest) = blob.digest.parse::<Digest>() else { continue };
        if asked.contains(&digest) {
            continue;
        }
        asked.push(digest);
        if repository.has(&digest, Some(blob.size))? {
            watch(&Step::Became(index, "Layer already exists"));
            return Ok(Some(layer(blob, digest)));
        }
    }
    for blob in &blobs {
        let own = blob.place.strip_prefix(&repository.endpoint.host).and_then(|rest| rest.strip_prefix('/'));
        let (Some(path), Ok(digest)) = (own, blob.digest.parse::<Digest>()) else { continue };
        if path == repository.path {
            continue;
        }
        repository.also_read(path);
        // One that does not let us look there gets the layer from us.
        if repository.mount(&digest, path).unwrap_or(false) {
            watch(&Step::Became(index, "Mounted"));
            return Ok(Some(layer(blob, digest)));
        }
    }
    Ok(None)
}

/// The type of the same bytes in the words of the manifest that is written here.
fn media(known: &str) -> &str {
    match known {
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => LAYER,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => "application/vnd.oci.image.layer.v1.tar+zstd",
        other => other,
    }
}

/// Makes the archive of a layer again and compresses it.
fn pack(
    engine: &Engine,
    repository: &Repository<'_>,
    staging: &Staging<'_>,
    saved: SavedLayer,
) -> Result<Layer, EngineError> {
    let path = staging.path.join(&saved.chain);
    let fail = || EngineError::io("write", &path);
    let file = File::options().write(true).create_new(true).open(&path).map_err(fail())?;
    let mut gzip =
        GzipWriter::new(Hashed { inner: BufWriter::with_capacity(256 << 10, file), hasher: Hasher::new(), size: 0 });
    stream(engine, &saved, &mut |bytes| {
        engine.advance(0);
        gzip.write_all(bytes).map_err(fail())
    })?;
    let mut written = gzip.finish().map_err(fail())?;
    written.inner.flush().map_err(fail())?;
    let (blob, size) = (written.hasher.finish(), written.size);
    let exists = repository.has(&blob, Some(size))?;
    Ok(Layer {
        chain: saved.chain,
        diff: saved.digest,
        blob,
        size,
        media: LAYER.to_owned(),
        path: (!exists).then_some(path),
    })
}

/// Writer that knows what it has written.
struct Hashed<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: std::io::Write> std::io::Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        self.size += u64::try_from(n).unwrap_or(0);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// The configuration as it is, unless the archive of a layer could not be made again.
fn configuration(
    record: &ImageRecord,
    diffs: &[Digest],
    layers: &[Layer],
    watch: Watch<'_>,
) -> Result<Vec<u8>, EngineError> {
    if layers.iter().zip(diffs).all(|(layer, diff)| layer.diff == diff.hex()) {
        return Ok(record.config_json.clone().into_bytes());
    }
    let config = rewritten(&record.config_json, &layers.iter().map(|layer| layer.diff.clone()).collect::<Vec<_>>())?;
    watch(&Step::Note(format!(
        "the archive of a layer of sha256:{} could not be made again; it is pushed as {}",
        record.id,
        Digest::of(&config)
    )));
    Ok(config)
}

fn manifest(config: &Digest, size: usize, layers: &[Layer]) -> Vec<u8> {
    let layer =
        |layer: &Layer| json!({ "mediaType": layer.media, "digest": layer.blob.to_string(), "size": layer.size });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config.to_string(), "size": size },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    manifest.to_string().into_bytes()
}

/// Sends the layers that have to be sent, several at a time.
fn send(client: &Client, repository: &Repository<'_>, layers: &[Layer], watch: Watch<'_>) -> Result<(), EngineError> {
    let mut wanted: Vec<(usize, &Layer)> = Vec::new();
    for (index, layer) in layers.iter().enumerate().filter(|(_, layer)| layer.path.is_some()) {
        if !wanted.iter().any(|(_, other)| other.blob == layer.blob) {
            wanted.push((index, layer));
        }
    }
    let next = AtomicUsize::new(0);
    let (tell, news) = channel();
    std::thread::scope(|scope| {
        for _ in 0..client.parallel().min(wanted.len()) {
            let (tell, next, wanted) = (tell.clone(), &next, &wanted);
            let work = move || {
                while let Some((index, layer)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some(path) = &layer.path else { continue };
                    let moved = |bytes| tell.send(Ok((*index, Some(bytes)))).unwrap_or_default();
                    let upload = Upload { digest: layer.blob, size: layer.size, path, progress: &moved };
                    let sent = repository.send(&upload).map(|()| (*index, None));
                    let over = sent.is_err();
                    if tell.send(sent).is_err() || over {
                        return;
                    }
                }
            };
            let builder = std::thread::Builder::new().name("send".to_owned());
            builder.spawn_scoped(scope, work).map_err(|e| {
                EngineError::refused("sending several layers", format!("no thread can be started: {e}"))
            })?;
        }
        drop(tell);
        let mut failed: Option<RegistryError> = None;
        let mut told = Instant::now();
        loop {
            match news.recv_timeout(TICK) {
                Ok(Ok((index, Some(bytes)))) => {
                    if told.elapsed() >= TICK {
                        told = Instant::now();
                        watch(&Step::Moved(index, bytes));
                    }
                }
                Ok(Ok((index, None))) => watch(&Step::Became(index, "Pushed")),
                Ok(Err(error)) => {
                    client.stop();
                    failed = failed.or(Some(error));
                }
                Err(RecvTimeoutError::Timeout) => watch(&Step::Tick),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    })
}
