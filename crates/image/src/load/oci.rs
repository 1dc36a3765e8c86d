//! OCI layouts: index, manifests, platforms.

use std::collections::HashSet;

use serde_json::Value;

use super::layers::{ImageParts, Layers};
use super::report::ImageReport;
use super::spool::Source;
use crate::digest::Digest;
use crate::error::{ImageError, Result, show};
use crate::json;
use crate::manifest::{Descriptor, Document, Manifest, NESTING, candidates, is_document, parse, shown_platforms};
use crate::reference::Reference;

/// Most documents of one layout that are looked at.
const DOCUMENTS: usize = 4096;

/// Refuses a layout of another version.
pub(crate) fn check_layout(bytes: &[u8]) -> Result<()> {
    let value = json::value("oci-layout", bytes)?;
    match value.get("imageLayoutVersion").and_then(Value::as_str) {
        Some("1.0.0") => Ok(()),
        _ => Err(ImageError::document("oci-layout", "expected imageLayoutVersion 1.0.0")),
    }
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
        if !is_document(kind) {
            return Err(ImageError::document(name, format!("media type {} is not an image", show(kind.as_bytes()))));
        }
        let bytes = self.source.document(&descriptor.digest, descriptor.size, &layers.meter)?;
        let found = match parse(&name, &bytes, Some(kind))? {
            Document::Manifest(manifest) => Some((descriptor.digest, manifest)),
            Document::Index(children) => self.pick(&children, layers, depth)?,
        };
        self.open.remove(&descriptor.digest);
        Ok(found)
    }

    fn pick(&mut self, children: &[Descriptor], layers: &Layers<'_>, depth: u32) -> Result<Option<(Digest, Manifest)>> {
        for child in candidates(children, layers.platform(), &mut self.available) {
            if let Some(found) = self.manifest(child, layers, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Loads every image that the index names.
pub(crate) fn load(source: &Source<'_>, index: &[u8], layers: &mut Layers<'_>) -> Result<Vec<ImageReport>> {
    let Document::Index(descriptors) = parse("index.json", index, None)? else {
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
        let available = shown_platforms(&walk.available);
        return Err(ImageError::Platform { wanted: layers.platform().to_string(), available });
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
    manifest.check(&name, &layers.meter)?;
    let kinds = &manifest.layers;
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
