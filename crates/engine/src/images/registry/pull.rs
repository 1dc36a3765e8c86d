//! `pull`: manifest and configuration first, then several layers at a time; each is handed to the confined process as
//! soon as it is whole and verified, while others are still on their way.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bulkhead_image::{Digest, ImageReport, Reference};
use bulkhead_registry::{Client, Fetch, RegistryError, Resolved, Source};

use super::super::load::{Staging, new_layer, record};
use super::super::worker::{self, Answer, Place, Task, Work};
use super::super::{HOST, Platform, trust};
use super::{Step, Watch, client, meant, short};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::files::pipe;
use crate::layout::now;
use crate::store::{LayerBlob, NewImage, StoreError, Verification};

/// Between two looks at the watcher.
const TICK: Duration = Duration::from_millis(100);

/// What to pull.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// Reference as written.
    pub reference: String,
    /// For which platform; this machine's when nothing is said.
    pub platform: Option<Platform>,
}

/// What was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Canonical reference.
    pub reference: String,
    /// Digest of what the reference names.
    pub digest: String,
    /// Image id, with `sha256:`.
    pub id: String,
    /// Something changed in the store.
    pub new: bool,
}

/// A layer that has to be fetched.
#[derive(Debug)]
struct Wanted {
    /// Place in the image, from the lowest.
    index: usize,
    digest: Digest,
    size: u64,
}

/// What the fetching threads tell.
enum News {
    Moved(usize, u64),
    Here(usize, Digest),
    Failed(RegistryError),
}

/// The reference to pull, if it is one.
pub(super) fn parse(written: &str) -> Result<Reference, EngineError> {
    let reference: Reference = written.parse().map_err(|e| EngineError::Image(format!("{e}")))?;
    if written == HOST || reference.familiar() == format!("{HOST}:latest") {
        return Err(EngineError::refused("the image host at a registry", "it is built in"));
    }
    Ok(reference)
}

/// Brings an image from its registry.
///
/// # Errors
/// A registry that cannot be reached or does not tell the truth; then the store is as it was.
pub fn pull(engine: &Engine, request: &PullRequest, watch: Watch<'_>) -> Result<Pulled, EngineError> {
    engine.recover()?;
    let reference = parse(&request.reference)?;
    let client = client(engine);
    let pulled = one(engine, &client, &reference, request.platform.as_ref(), watch);
    for note in client.notes() {
        watch(&Step::Note(note));
    }
    pulled
}

/// Brings every tag of a repository.
///
/// # Errors
/// As [`pull`]; what came before the failure stays.
pub fn pull_all(engine: &Engine, request: &PullRequest, watch: Watch<'_>) -> Result<Vec<Pulled>, EngineError> {
    engine.recover()?;
    let reference = parse(&request.reference)?;
    let client = client(engine);
    let mut all = Vec::new();
    for tag in client.tags(&reference)? {
        let one_of: Reference =
            format!("{}:{tag}", reference.name()).parse().map_err(|e| EngineError::Image(format!("{e}")))?;
        all.push(one(engine, &client, &one_of, request.platform.as_ref(), watch)?);
    }
    for note in client.notes() {
        watch(&Step::Note(note));
    }
    Ok(all)
}

fn one(
    engine: &Engine,
    client: &Client,
    reference: &Reference,
    platform: Option<&Platform>,
    watch: Watch<'_>,
) -> Result<Pulled, EngineError> {
    let wanted = meant(platform);
    let named = reference.digest().map_or_else(|| reference.tag().unwrap_or_default().to_owned(), ToString::to_string);
    trust::before(engine, reference)?;
    let (source, resolved) = client.resolve(reference, &wanted, platform.is_some())?;
    // From here on only what has these digests is fetched: no tag is asked for again.
    let verified = trust::arriving(engine, reference, &source, &resolved)?;
    watch(&Step::Said(format!("{named}: Pulling from {}", reference.path())));
    let id = Digest::of(&resolved.config).to_string();
    let new = !store_has(engine, reference, &resolved)?;
    if new {
        let (staging, report) = fetch(engine, client, &source, &resolved, watch)?;
        put(engine, reference, &source, &resolved, verified, &staging.path, &report)?;
        engine.events().emit(&Event::new(Kind::Image, "pull", &id).with("name", reference.familiar()));
    } else {
        engine.store()?.remember_verified(&id, &verified)?;
    }
    Ok(Pulled { reference: reference.to_string(), digest: resolved.digest.to_string(), id, new })
}

/// Whether the store has the very image under this name already, and knows it by this digest.
fn store_has(engine: &Engine, reference: &Reference, resolved: &Resolved) -> Result<bool, EngineError> {
    let digest = pinned(reference, &resolved.digest);
    let name = reference.digest().map_or_else(|| reference.to_string(), |asked| pinned(reference, asked));
    match engine.store()?.resolve_image(&name, Some(&name)) {
        Ok(image) => Ok(image.id == Digest::of(&resolved.config).hex() && image.digests.contains(&digest)),
        Err(StoreError::NoSuchImage { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Canonical name with a digest.
pub(super) fn pinned(reference: &Reference, digest: &Digest) -> String {
    format!("{}@{digest}", reference.name())
}

/// Layers that the store has not, each blob once.
fn missing(resolved: &Resolved, known: &[String]) -> (Vec<Wanted>, Vec<bool>) {
    let mut below = None;
    let (mut wanted, mut here): (Vec<Wanted>, Vec<bool>) = (Vec::new(), Vec::new());
    for (index, (layer, diff)) in resolved.manifest.layers.iter().zip(&resolved.diff_ids).enumerate() {
        let chain = Digest::chain(below.as_ref(), diff);
        let has = known.contains(&chain.hex());
        if !has && !wanted.iter().any(|w| w.digest == layer.digest) {
            wanted.push(Wanted { index, digest: layer.digest, size: layer.size });
        }
        here.push(has);
        below = Some(chain);
    }
    (wanted, here)
}

fn fetch<'a>(
    engine: &'a Engine,
    client: &Client,
    source: &Source<'_>,
    resolved: &Resolved,
    watch: Watch<'_>,
) -> Result<(Staging<'a>, ImageReport), EngineError> {
    let known = engine.store()?.known_layers()?;
    let (wanted, here) = missing(resolved, &known);
    let sizes = resolved.manifest.layers.iter().zip(&here);
    watch(&Step::Layers(sizes.map(|(layer, here)| (short(&layer.digest), (!here).then_some(layer.size))).collect()));
    // One for what comes, which the confined process may read, and one that it fills.
    let (spool, staging) = (Staging::new(engine)?, Staging::new(engine)?);
    let blobs = lay_out(&spool.path, resolved)?;
    let (theirs, ours) = pipe()?;
    let place = Place { name: &staging.path, directory: &staging.path, layout: Some(spool.path.clone()), image: None };
    let known = known.into_iter().map(|k| format!("sha256:{k}")).collect();
    // From here to the end of `transfer` there are several threads: this process starts no other.
    let work = worker::start_in(engine, &place, Some(theirs), |single_id| Task::Load {
        known,
        layout: true,
        arriving: true,
        single_id,
    })?;
    let moved = transfer(client, source, &wanted, &blobs, ours, &work, watch);
    if moved.is_ok() {
        while !work.is_over(TICK) {
            watch(&Step::Tick);
        }
    }
    let answer = work.finish();
    moved?;
    match answer? {
        Answer::Loaded(mut report) if report.images.len() == 1 => {
            let image = report.images.pop().ok_or_else(unexpected)?;
            if image.config_digest != Digest::of(&resolved.config) {
                return Err(unexpected());
            }
            for index in 0..resolved.manifest.layers.len() {
                watch(&Step::Became(index, "Pull complete"));
            }
            Ok((staging, image))
        }
        _ => Err(unexpected()),
    }
}

fn unexpected() -> EngineError {
    EngineError::Image("the unpacking process answered something else".to_owned())
}

/// A layout of one image, without its layers; where they go.
fn lay_out(spool: &Path, resolved: &Resolved) -> Result<PathBuf, EngineError> {
    let blobs = spool.join("blobs/sha256");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&blobs).map_err(EngineError::io("make", &blobs))?;
    let media = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media,
        "manifests": [{
            "mediaType": resolved.media_type,
            "digest": resolved.manifest_digest.to_string(),
            "size": resolved.manifest.bytes.len(),
        }],
    });
    let layout = serde_json::json!({ "imageLayoutVersion": "1.0.0" });
    let write = |path: PathBuf, bytes: &[u8]| {
        std::fs::write(&path, bytes).map_err(EngineError::io("write", &path))?;
        readable(&path, 0o644)
    };
    for dir in [&spool.join("blobs"), &blobs] {
        readable(dir, 0o755)?;
    }
    write(spool.join("index.json"), index.to_string().as_bytes())?;
    write(spool.join("oci-layout"), layout.to_string().as_bytes())?;
    write(blobs.join(resolved.manifest_digest.hex()), &resolved.manifest.bytes)?;
    write(blobs.join(resolved.manifest.config.digest.hex()), &resolved.config)?;
    Ok(blobs)
}

/// The confined process is somebody else; what is around this is for the owner alone.
fn readable(path: &Path, mode: u32) -> Result<(), EngineError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(EngineError::io("set the mode of", path))
}

/// Fetches layers, several at a time and from the lowest, and announces each that is whole.
fn transfer(
    client: &Client,
    source: &Source<'_>,
    wanted: &[Wanted],
    blobs: &Path,
    announce: OwnedFd,
    work: &Work,
    watch: Watch<'_>,
) -> Result<(), EngineError> {
    let next = AtomicUsize::new(0);
    let (tell, news) = channel();
    let mut announce = std::fs::File::from(announce);
    std::thread::scope(|scope| {
        for _ in 0..client.parallel().min(wanted.len()) {
            let (tell, next) = (tell.clone(), &next);
            std::thread::Builder::new()
                .name("fetch".to_owned())
                .spawn_scoped(scope, move || fetch_some(source, wanted, next, blobs, &tell))
                .map_err(EngineError::io("start a thread for", blobs))?;
        }
        drop(tell);
        let mut failed = None;
        let mut moved: HashMap<usize, u64> = HashMap::new();
        let mut told = Instant::now();
        loop {
            match news.recv_timeout(TICK) {
                Ok(News::Moved(index, bytes)) => drop(moved.insert(index, bytes)),
                Ok(News::Here(index, digest)) => {
                    moved.remove(&index);
                    watch(&Step::Became(index, "Download complete"));
                    // One that has ended tells why itself.
                    drop(announce.write_all(format!("{digest}\n").as_bytes()));
                }
                Ok(News::Failed(error)) => {
                    client.stop();
                    failed = failed.or(Some(error));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if told.elapsed() >= TICK {
                told = Instant::now();
                moved.drain().for_each(|(index, bytes)| watch(&Step::Moved(index, bytes)));
                watch(&Step::Tick);
                if work.is_over(Duration::ZERO) {
                    client.stop();
                }
            }
        }
        match failed {
            // It ended first: its own answer says why.
            Some(RegistryError::GivenUp) | None => Ok(()),
            Some(error) => Err(error.into()),
        }
    })
}

fn fetch_some(source: &Source<'_>, wanted: &[Wanted], next: &AtomicUsize, blobs: &Path, tell: &Sender<News>) {
    while let Some(one) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
        let path = blobs.join(one.digest.hex());
        let progress = |bytes| tell.send(News::Moved(one.index, bytes)).unwrap_or_default();
        let fetched = source.fetch(&Fetch { digest: one.digest, size: one.size, path: &path, progress: &progress });
        let opened = fetched.and_then(|()| {
            let fail = |source| RegistryError::File { what: "set the mode of", path: path.clone(), source };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).map_err(fail)
        });
        let news = match opened {
            Ok(()) => News::Here(one.index, one.digest),
            Err(error) => News::Failed(error),
        };
        let over = matches!(news, News::Failed(_));
        if tell.send(news).is_err() || over {
            return;
        }
    }
}

/// Puts layers in place, and names the image.
fn put(
    engine: &Engine,
    reference: &Reference,
    source: &Source<'_>,
    resolved: &Resolved,
    verified: Vec<Verification>,
    staging: &Path,
    report: &ImageReport,
) -> Result<(), EngineError> {
    let place = source.place();
    let blobs = report.layers.iter().zip(&resolved.manifest.layers).map(|(layer, blob)| LayerBlob {
        chain_id: layer.chain_id.to_string(),
        place: place.clone(),
        digest: blob.digest.to_string(),
        size: blob.size,
        media: blob.media_type.clone(),
    });
    let mut digests = vec![pinned(reference, &resolved.digest)];
    if let Some(asked) = reference.digest().filter(|asked| **asked != resolved.digest) {
        digests.push(pinned(reference, asked));
    }
    let image = NewImage {
        id: report.config_digest.to_string(),
        config_json: report.config_json.clone(),
        created: now(),
        size: report.size,
        layers: report.layers.iter().map(new_layer).collect(),
        // A digest chooses an image; it does not name one.
        references: if reference.digest().is_none() { vec![reference.to_string()] } else { Vec::new() },
        digests,
        blobs: blobs.collect(),
        verified,
    };
    record(engine, staging, &image)
}
