//! `save`: images as an archive that `load` and other engines read.
//!
//! The archive is an OCI layout with Docker's `manifest.json` beside it, as current Docker writes it. Layers are the very
//! archives that they came in: made again by their recipe, checked against their digest before a byte is written, and
//! checked once more as they are written. So an image keeps its id.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use bulkhead_image::archive::{NewEntry, TarWriter};
use bulkhead_image::config::ImageDocument;
use bulkhead_image::{Digest, Hasher, Reference};
use serde_json::{Value, json};

use super::{HOST, canonical, worker};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::files::{Answer, Files, Form, Helper, OutputFile, Streams, Task, pipe, unexpected};
use crate::store::ImageRecord;

/// A layer as it is written.
#[derive(Debug, Clone)]
pub(super) struct SavedLayer {
    pub(super) chain: String,
    pub(super) diff: String,
    lower: bool,
    /// Digest of the archive that can be made, in hex: its diff id, unless that archive cannot be made again.
    pub(super) digest: String,
    size: u64,
    form: Form,
}

/// An image as it is written.
#[derive(Debug)]
struct SavedImage {
    record: ImageRecord,
    references: BTreeSet<String>,
    config: Vec<u8>,
    digest: String,
    layers: Vec<SavedLayer>,
}

/// What was saved under another id than it has in the store: a layer's archive could not be made again.
pub type Renamed = (String, String);

/// Writes images to a file, which is there as a whole or not at all, or to standard output.
///
/// # Errors
/// An unknown image; a layer that cannot be read; what cannot be written.
pub fn save(engine: &Engine, written: &[String], output: Option<&Path>) -> Result<Vec<Renamed>, EngineError> {
    engine.recover()?;
    let wanted = resolve(engine, written)?;
    let mut file = output.map(OutputFile::new).transpose()?;
    let mut found: BTreeMap<String, SavedLayer> = BTreeMap::new();
    let mut images = Vec::new();
    for (record, references) in wanted {
        images.push(prepare(engine, record, references, &mut found)?);
    }
    match &mut file {
        Some(file) => write(engine, &images, &found, &mut file.file, output)?,
        None => write(engine, &images, &found, &mut std::io::stdout().lock(), output)?,
    }
    if let Some(file) = file {
        file.finish()?;
    }
    let mut renamed = Vec::new();
    for image in &images {
        let id = format!("sha256:{}", image.record.id);
        engine.events().emit(&Event::new(Kind::Image, "save", id.clone()).with("name", id.clone()));
        if image.digest != image.record.id {
            renamed.push((id, format!("sha256:{}", image.digest)));
        }
    }
    Ok(renamed)
}

/// The images, each once, with the references that were asked for: one that is named, all of a repository, none of an id.
fn resolve(engine: &Engine, written: &[String]) -> Result<Vec<(ImageRecord, BTreeSet<String>)>, EngineError> {
    let mut images: Vec<(ImageRecord, BTreeSet<String>)> = Vec::new();
    let mut add =
        |record: ImageRecord, references: Vec<String>| match images.iter_mut().find(|(r, _)| r.id == record.id) {
            Some((_, known)) => known.extend(references),
            None => images.push((record, references.into_iter().collect())),
        };
    for name in written {
        if name == HOST {
            return Err(EngineError::refused(
                "saving the image host",
                "it is built in; its programs are this machine's",
            ));
        }
        let reference = name.parse::<Reference>().ok();
        let last = name.rsplit('/').next().unwrap_or_default();
        if let Some(reference) = reference.as_ref().filter(|_| !last.contains([':', '@'])) {
            let repository = reference.name();
            let of = |text: &String| text.parse::<Reference>().is_ok_and(|r| r.name() == repository);
            let mut any = false;
            for record in engine.store()?.list_images()? {
                let own: Vec<String> = record.references.iter().filter(|r| of(r)).cloned().collect();
                if !own.is_empty() {
                    any = true;
                    add(record, own);
                }
            }
            if any {
                continue;
            }
        }
        let wanted = canonical(name);
        let record = engine.store()?.resolve_image(name, wanted.as_deref())?;
        let named = wanted.filter(|w| record.references.contains(w)).into_iter().collect();
        add(record, named);
    }
    Ok(images)
}

fn prepare(
    engine: &Engine,
    record: ImageRecord,
    references: BTreeSet<String>,
    found: &mut BTreeMap<String, SavedLayer>,
) -> Result<SavedImage, EngineError> {
    let failed = |e: bulkhead_image::ImageError| EngineError::Image(e.to_string());
    let document = ImageDocument::parse("configuration of the image", record.config_json.as_bytes()).map_err(failed)?;
    let mut layers = Vec::new();
    for (index, (chain, diff)) in record.layers.iter().zip(&document.diff_ids).enumerate() {
        let layer = match found.get(chain) {
            Some(layer) => layer.clone(),
            None => find(engine, chain, &diff.hex(), index > 0)?,
        };
        found.insert(chain.clone(), layer.clone());
        layers.push(layer);
    }
    let same = layers.iter().all(|layer| layer.digest == layer.diff);
    let config = if same {
        record.config_json.clone().into_bytes()
    } else {
        rewritten(&record.config_json, &layers.iter().map(|layer| layer.digest.clone()).collect::<Vec<_>>())?
    };
    let digest = Digest::of(&config).hex();
    Ok(SavedImage { record, references, config, digest, layers })
}

/// The configuration with the digests that the layers have now.
pub(super) fn rewritten(config: &str, digests: &[String]) -> Result<Vec<u8>, EngineError> {
    let failed = |e: serde_json::Error| EngineError::Image(format!("the configuration cannot be written: {e}"));
    let mut value: Value = serde_json::from_str(config).map_err(failed)?;
    if let Some(ids) = value.pointer_mut("/rootfs/diff_ids") {
        *ids = digests.iter().map(|digest| json!(format!("sha256:{digest}"))).collect();
    }
    serde_json::to_vec(&value).map_err(failed)
}

fn helper<'a>(engine: &'a Engine, layer: &SavedLayer, form: Form, streams: Streams) -> Result<Helper<'a>, EngineError> {
    let directories = vec![(engine.paths.layer(&layer.chain), true)];
    let files = Files::Layers { directories, ids: worker::worker_ids(engine)? };
    let (diff_id, lower) = (layer.diff.clone(), layer.lower);
    Helper::start(engine, &files, streams, |_| Task::Layer { diff_id, form, lower })
}

/// How the archive of a layer can be made, and what comes out.
pub(super) fn find(engine: &Engine, chain: &str, diff: &str, lower: bool) -> Result<SavedLayer, EngineError> {
    let asked = SavedLayer {
        chain: chain.to_owned(),
        diff: diff.to_owned(),
        lower,
        digest: String::new(),
        size: 0,
        form: Form::Find,
    };
    match helper(engine, &asked, Form::Find, Streams::default())?.finish()? {
        Answer::Layer { digest, size, form } => Ok(SavedLayer { digest, size, form, ..asked }),
        _ => Err(unexpected()),
    }
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn write(
    engine: &Engine,
    images: &[SavedImage],
    layers: &BTreeMap<String, SavedLayer>,
    out: &mut dyn Write,
    output: Option<&Path>,
) -> Result<(), EngineError> {
    let failed = |e: bulkhead_image::ImageError| broken(e, output);
    let mut tar = TarWriter::new(BufWriter::with_capacity(256 << 10, out));
    let mut written = BTreeSet::new();
    for layer in layers.values() {
        // Two layers on different ones below may be the same archive.
        if written.insert(layer.digest.clone()) {
            tar.entry(&NewEntry::document(blob(&layer.digest), layer.size)).map_err(failed)?;
            stream(engine, layer, &mut |bytes| tar.data(bytes).map_err(failed))?;
        }
    }
    let mut document = |path: String, bytes: &[u8]| {
        tar.entry(&NewEntry::document(path, u64::try_from(bytes.len()).unwrap_or(u64::MAX))).map_err(failed)?;
        tar.data(bytes).map_err(failed)
    };
    let (mut index, mut docker) = (Vec::new(), Vec::new());
    for image in images {
        let manifest = manifest(image).to_string().into_bytes();
        let digest = Digest::of(&manifest).hex();
        for (digest, bytes) in [(&image.digest, &image.config), (&digest, &manifest)] {
            if written.insert(digest.clone()) {
                document(blob(digest), bytes)?;
            }
        }
        index.extend(descriptors(image, &digest, manifest.len()));
        let familiar = |r: &String| r.parse::<Reference>().map_or_else(|_| r.clone(), |r| r.familiar());
        let tags: Vec<String> = image.references.iter().map(familiar).collect();
        docker.push(json!({
            "Config": blob(&image.digest),
            "RepoTags": if tags.is_empty() { Value::Null } else { json!(tags) },
            "Layers": image.layers.iter().map(|layer| blob(&layer.digest)).collect::<Vec<_>>(),
        }));
    }
    let media = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": media, "manifests": index });
    document("index.json".to_owned(), index.to_string().as_bytes())?;
    document("manifest.json".to_owned(), Value::Array(docker).to_string().as_bytes())?;
    document("oci-layout".to_owned(), json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
    tar.finish().map(drop).map_err(failed)
}

/// An error of the file that is written, under its name.
fn broken(error: bulkhead_image::ImageError, output: Option<&Path>) -> EngineError {
    match error {
        bulkhead_image::ImageError::Io { source, .. } => {
            EngineError::io("write to", output.unwrap_or(Path::new("standard output")))(source)
        }
        other => EngineError::Image(other.to_string()),
    }
}

fn manifest(image: &SavedImage) -> Value {
    let layer = |layer: &SavedLayer| {
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{}", layer.digest),
            "size": layer.size,
        })
    };
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": format!("sha256:{}", image.digest),
            "size": image.config.len(),
        },
        "layers": image.layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

/// One line of the index for each name of the image, or one without a name.
fn descriptors(image: &SavedImage, digest: &str, size: usize) -> Vec<Value> {
    let bare = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{digest}"),
        "size": size,
    });
    if image.references.is_empty() {
        return vec![bare];
    }
    let named = |reference: &String| {
        let tag = reference.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag.to_owned());
        let mut one = bare.clone();
        if let Some(object) = one.as_object_mut() {
            let names = json!({
                "io.containerd.image.name": reference,
                "org.opencontainers.image.ref.name": tag.unwrap_or_else(|| "latest".to_owned()),
            });
            object.insert("annotations".to_owned(), names);
        }
        one
    };
    image.references.iter().map(named).collect()
}

/// Hands the archive of a layer on, and makes sure that it is the one that was announced.
pub(super) fn stream(
    engine: &Engine,
    layer: &SavedLayer,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let (read, write) = pipe()?;
    let helper = helper(engine, layer, layer.form, Streams { input: None, output: Some(write) })?;
    let mut from = File::from(read).take(layer.size);
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let copied = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(n) => {
                let bytes = buffer.get(..n).unwrap_or_default();
                hasher.update(bytes);
                if let Err(e) = sink(bytes) {
                    break Err(e);
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => break Err(EngineError::io("read the layer at", &engine.paths.layer(&layer.chain))(e)),
        }
    };
    drop(from);
    let answer = helper.finish();
    copied?;
    answer?;
    if hasher.finish().hex() == layer.digest {
        return Ok(());
    }
    Err(EngineError::Image(format!("the layer {:?} changed while it was saved", engine.paths.layer(&layer.chain))))
}
