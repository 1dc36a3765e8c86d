//! Docker's own form: `manifest.json` with paths into the archive.

use serde::Deserialize;

use super::layers::{ImageParts, Layers};
use super::oci::add_references;
use super::report::{ImageReport, Platform};
use super::spool::{Spooled, Stored, mismatch};
use crate::config::ImageDocument;
use crate::digest::Digest;
use crate::error::{ImageError, Result};
use crate::json;
use crate::reference::Reference;

const NAME: &str = "manifest.json";
/// Most images of one archive.
const IMAGES: u64 = 4096;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Item {
    fn references(&self) -> Result<Vec<Reference>> {
        let tags = self.repo_tags.as_deref().unwrap_or_default();
        // Docker writes this for an image that has lost its name.
        tags.iter().filter(|tag| *tag != "<none>:<none>").map(|tag| Reference::parse(tag)).collect()
    }

    fn layers(&self) -> &[String] {
        self.layers.as_deref().unwrap_or_default()
    }
}

fn items(manifest: &[u8]) -> Result<Vec<Item>> {
    let items: Vec<Item> = json::parse(NAME, manifest)?;
    if items.is_empty() {
        return Err(ImageError::document(NAME, "names no image"));
    }
    if crate::len64(items.len()) > IMAGES {
        return Err(ImageError::Limit { limit: "images", allowed: IMAGES, unit: "images in an archive" });
    }
    Ok(items)
}

/// The configuration, which must have the digest that its name promises.
fn config(spooled: &Spooled, item: &Item, layers: &Layers<'_>) -> Result<(Digest, Vec<u8>)> {
    let stored = spooled.find(&item.config)?;
    layers.meter.check_document(stored.size)?;
    let bytes = super::layout::read_all(spooled.open(stored)?, stored.size)?;
    let found = Digest::of(&bytes);
    let named = item.config.strip_suffix(".json").and_then(|hex| Digest::from_hex(hex).ok());
    if let Some(expected) = stored.digest().or(named)
        && expected != found
    {
        return Err(mismatch("content of a configuration", &expected, &found));
    }
    Ok((found, bytes))
}

/// Loads every image of the manifest.
pub(crate) fn load(spooled: &Spooled, manifest: &[u8], layers: &mut Layers<'_>) -> Result<Vec<ImageReport>> {
    let mut images: Vec<ImageReport> = Vec::new();
    for item in items(manifest)? {
        let (digest, bytes) = config(spooled, &item, layers)?;
        let references = item.references()?;
        let taken = |image: &&ImageReport| {
            image.config_digest != digest && references.iter().any(|name| image.references.contains(name))
        };
        if images.iter().any(|image| taken(&image)) {
            return Err(ImageError::document(NAME, "gives one name to two images"));
        }
        if let Some(image) = images.iter_mut().find(|image| image.config_digest == digest) {
            add_references(image, references);
            continue;
        }
        layers.meter.check_layers(crate::len64(item.layers().len()))?;
        let stored: Vec<&Stored> = item.layers().iter().map(|name| spooled.find(name)).collect::<Result<_>>()?;
        let parts = ImageParts {
            references,
            manifest_digest: None,
            config: &bytes,
            blobs: stored.iter().map(|stored| stored.digest()).collect(),
        };
        images.push(layers.image(parts, |index| {
            let stored = stored.get(index).ok_or_else(|| ImageError::document(NAME, "has too few layers"))?;
            spooled.layer(stored)
        })?);
    }
    Ok(images)
}

/// An archive with both an OCI index and Docker's manifest must say the same in both; names are taken from both.
pub(crate) fn agree(spooled: &Spooled, manifest: &[u8], images: &mut [ImageReport], layers: &Layers<'_>) -> Result<()> {
    let refuse = |reason: &str| Err(ImageError::document(NAME, reason));
    for item in items(manifest)? {
        let (digest, bytes) = config(spooled, &item, layers)?;
        let references = item.references()?;
        let other = |image: &ImageReport| {
            image.config_digest != digest && references.iter().any(|name| image.references.contains(name))
        };
        if images.iter().any(other) {
            return refuse("gives an image another name than `index.json` does");
        }
        let Some(image) = images.iter_mut().find(|image| image.config_digest == digest) else {
            let document = ImageDocument::parse(NAME, &bytes)?;
            let platform = Platform { os: document.os, architecture: document.architecture, variant: document.variant };
            if layers.platform().rank(&platform).is_some() {
                return refuse("names an image that `index.json` does not");
            }
            continue;
        };
        let same = item.layers().len() == image.layers.len()
            && item.layers().iter().zip(&image.layers).all(|(name, layer)| {
                // A layer known before may be absent from the archive's view only by an error of its writer.
                spooled.find(name).is_ok_and(|stored| stored.digest().is_none_or(|d| Some(d) == layer.blob_digest))
            });
        if !same {
            return refuse("gives an image other layers than `index.json` does");
        }
        add_references(image, references);
    }
    Ok(())
}
