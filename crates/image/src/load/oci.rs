//! OCI layouts: index, manifests, platforms.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::layers::{ImageParts, Layers};
use super::report::{ImageReport, Platform};
use super::spool::Source;
use crate::digest::Digest;
use crate::error::{ImageError, Result, show};
use crate::json;
use crate::reference::Reference;

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYERS: [&str; 5] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];
/// Most indexes inside one another.
const NESTING: u32 = 4;
/// Most documents of one layout that are looked at.
const DOCUMENTS: usize = 4096;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    platform: Option<WirePlatform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
struct WirePlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Option<Vec<Descriptor>>,
    /// The document itself.
    #[serde(skip)]
    bytes: Vec<u8>,
}

impl Descriptor {
    fn platform(&self) -> Option<Platform> {
        self.platform.as_ref().map(|platform| Platform {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
        })
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Build records stand beside images as if they were images for no platform.
    fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
            || self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }

    /// The name of the image, if the layout gives it a full one; a bare tag names nothing.
    fn references(&self) -> Result<Vec<Reference>> {
        let full = self
            .annotation("io.containerd.image.name")
            .or_else(|| self.annotation("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':'])));
        full.map(Reference::parse).transpose().map(|name| name.into_iter().collect())
    }
}

/// Refuses a layout of another version.
pub(crate) fn check_layout(bytes: &[u8]) -> Result<()> {
    let value = json::value("oci-layout", bytes)?;
    match value.get("imageLayoutVersion").and_then(Value::as_str) {
        Some("1.0.0") => Ok(()),
        _ => Err(ImageError::document("oci-layout", "expected imageLayoutVersion 1.0.0")),
    }
}

enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

/// A document that is one thing only, and the one it was announced as.
fn document(name: &str, bytes: &[u8], announced: Option<&str>) -> Result<Document> {
    let value = json::value(name, bytes)?;
    let refuse = |reason: String| Err(ImageError::document(name, reason));
    let has = |key: &str| value.get(key).is_some();
    if value.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
        return refuse("expected schemaVersion 2".into());
    }
    if has("manifests") && (has("layers") || has("config") || has("fsLayers")) {
        return refuse("has the fields of an index and of a manifest".into());
    }
    let own = match value.get("mediaType") {
        None => None,
        Some(Value::String(own)) => Some(own.clone()),
        Some(_) => return refuse("mediaType is not text".into()),
    };
    if let (Some(own), Some(announced)) = (own.as_deref(), announced)
        && own != announced
    {
        let (own, announced) = (show(own.as_bytes()), show(announced.as_bytes()));
        return refuse(format!("says that it is {own}, was announced as {announced}"));
    }
    let kind = own.as_deref().or(announced);
    let is_index = has("manifests");
    let expected = if is_index { INDEXES } else { MANIFESTS };
    if kind.is_some_and(|kind| !expected.contains(&kind)) {
        let what = if is_index { "an index" } else { "a manifest" };
        return refuse(format!(
            "has the fields of {what} and the media type {}",
            show(kind.unwrap_or_default().as_bytes())
        ));
    }
    let parsed = |e: serde_json::Error| {
        ImageError::document(name, e.to_string().chars().take(240).flat_map(char::escape_debug).collect::<String>())
    };
    if is_index {
        let index: Index = serde_json::from_value(value).map_err(parsed)?;
        return Ok(Document::Index(index.manifests.unwrap_or_default()));
    }
    Ok(Document::Manifest(serde_json::from_value(value).map_err(parsed)?))
}

struct Walk<'a> {
    source: &'a Source<'a>,
    available: Vec<String>,
    documents: usize,
    open: HashSet<Digest>,
}

impl Walk<'_> {
    /// The manifest that `descriptor` leads to for the wanted platform.
    fn manifest(
        &mut self,
        descriptor: &Descriptor,
        layers: &Layers<'_>,
        depth: u32,
    ) -> Result<Option<(Digest, Manifest)>> {
        let name = format!("blob {}", descriptor.digest.hex());
        self.documents += 1;
        if self.documents > DOCUMENTS {
            let allowed = crate::len64(DOCUMENTS);
            return Err(ImageError::Limit { limit: "manifests", allowed, unit: "manifests in a layout" });
        }
        if depth > NESTING || !self.open.insert(descriptor.digest) {
            return Err(ImageError::document(name, "indexes are nested too deeply, or contain themselves"));
        }
        let kind = descriptor.media_type.as_str();
        if !INDEXES.contains(&kind) && !MANIFESTS.contains(&kind) {
            return Err(ImageError::document(name, format!("media type {} is not an image", show(kind.as_bytes()))));
        }
        let bytes = self.source.document(&descriptor.digest, descriptor.size, &layers.meter)?;
        let found = match document(&name, &bytes, Some(kind))? {
            Document::Manifest(manifest) => Some((descriptor.digest, Manifest { bytes, ..manifest })),
            Document::Index(children) => self.pick(&children, layers, depth)?,
        };
        self.open.remove(&descriptor.digest);
        Ok(found)
    }

    fn pick(&mut self, children: &[Descriptor], layers: &Layers<'_>, depth: u32) -> Result<Option<(Digest, Manifest)>> {
        let mut fitting: Vec<(u32, &Descriptor)> = Vec::new();
        for child in children.iter().filter(|child| !child.is_attestation()) {
            match child.platform() {
                // Without a platform the document itself has to say, or it fits all.
                None => fitting.push((0, child)),
                Some(platform) => match layers.platform().rank(&platform) {
                    Some(rank) => fitting.push((rank + 1, child)),
                    None => self.available.push(platform.to_string()),
                },
            }
        }
        // Stable: of equals the first.
        fitting.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        for (_, child) in fitting {
            if let Some(found) = self.manifest(child, layers, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Loads every image that the index names.
pub(crate) fn load(source: &Source<'_>, index: &[u8], layers: &mut Layers<'_>) -> Result<Vec<ImageReport>> {
    let Document::Index(descriptors) = document("index.json", index, None)? else {
        return Err(ImageError::document("index.json", "is a manifest, not an index"));
    };
    let mut walk = Walk { source, available: Vec::new(), documents: 0, open: HashSet::new() };
    let mut images: Vec<ImageReport> = Vec::new();
    for descriptor in descriptors.iter().filter(|descriptor| !descriptor.is_attestation()) {
        if let Some(platform) = descriptor.platform()
            && layers.platform().rank(&platform).is_none()
        {
            walk.available.push(platform.to_string());
            continue;
        }
        let references = descriptor.references()?;
        let Some((digest, manifest)) = walk.manifest(descriptor, layers, 1)? else { continue };
        let taken = |image: &&ImageReport| {
            image.manifest_digest != Some(digest) && references.iter().any(|name| image.references.contains(name))
        };
        if let Some(other) = images.iter().find(taken) {
            let reason = format!("gives one name to {digest} and to {:?}", other.manifest_digest);
            return Err(ImageError::document("index.json", reason));
        }
        match images.iter_mut().find(|image| image.manifest_digest == Some(digest)) {
            Some(image) => add_references(image, references),
            None => images.push(image(source, digest, &manifest, references, layers)?),
        }
    }
    if images.is_empty() {
        if walk.available.is_empty() {
            return Err(ImageError::document("index.json", "names no image"));
        }
        walk.available.dedup();
        walk.available.truncate(32);
        let available: Vec<String> = walk.available.iter().map(|name| show(name.as_bytes()).replace('"', "")).collect();
        return Err(ImageError::Platform { wanted: layers.platform().to_string(), available: available.join(", ") });
    }
    Ok(images)
}

pub(crate) fn add_references(image: &mut ImageReport, references: Vec<Reference>) {
    for reference in references {
        if !image.references.contains(&reference) {
            image.references.push(reference);
        }
    }
}

fn image(
    source: &Source<'_>,
    digest: Digest,
    manifest: &Manifest,
    references: Vec<Reference>,
    layers: &mut Layers<'_>,
) -> Result<ImageReport> {
    let name = format!("manifest {}", digest.hex());
    let kinds = manifest.layers.as_deref().unwrap_or_default();
    layers.meter.check_layers(crate::len64(kinds.len()))?;
    let refuse = |what: &str, kind: &str| {
        Err(ImageError::document(&name, format!("{what} of media type {} is not supported", show(kind.as_bytes()))))
    };
    if !CONFIGS.contains(&manifest.config.media_type.as_str()) {
        return refuse("a configuration", &manifest.config.media_type);
    }
    if let Some(layer) = kinds.iter().find(|layer| !LAYERS.contains(&layer.media_type.as_str())) {
        return refuse("a layer", &layer.media_type);
    }
    let config = source.document(&manifest.config.digest, manifest.config.size, &layers.meter)?;
    let parts = ImageParts {
        references,
        manifest_digest: Some(digest),
        config: &config,
        blobs: kinds.iter().map(|layer| Some(layer.digest)).collect(),
    };
    // In an archive all blobs were stored on the way in; of a directory only what is used is.
    layers.keep(&digest, &manifest.bytes)?;
    layers.image(parts, |index| match kinds.get(index) {
        Some(layer) => source.layer(&layer.digest, layer.size),
        None => Err(ImageError::document(&name, "has too few layers")),
    })
}
