//! Images looked at where they are, without being fetched.

use bulkhead_image::manifest::{Document, parse as parse_document};
use serde_json::{Value, json};

use super::super::Platform;
use super::pull::{parse, pinned};
use super::{asked, client};
use crate::engine::Engine;
use crate::error::EngineError;

/// A document of a registry.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Canonical name with the digest.
    pub reference: String,
    /// Its digest.
    pub digest: String,
    /// Its media type.
    pub media_type: String,
    /// The document.
    pub document: Value,
    /// Its size in bytes.
    pub size: u64,
}

/// What a reference names: a manifest or an index.
///
/// # Errors
/// A registry that cannot be reached or does not tell the truth.
pub fn manifest(engine: &Engine, written: &str) -> Result<Remote, EngineError> {
    let reference = parse(written)?;
    let found = client(engine).document(&reference)?;
    // What is shown is what would be accepted.
    let read = parse_document(written, &found.bytes, found.media_type.as_deref());
    let document: Value = serde_json::from_slice(&found.bytes)
        .map_err(|_| EngineError::Image(format!("the manifest of {written:?} is not JSON")))?;
    let own = document.get("mediaType").and_then(Value::as_str).map(str::to_owned);
    let kind = match read.map_err(|e| EngineError::Image(e.to_string()))? {
        Document::Index(_) => bulkhead_image::manifest::INDEXES,
        Document::Manifest(_) => bulkhead_image::manifest::MANIFESTS,
    };
    let media_type = own.or(found.media_type).unwrap_or_else(|| kind.first().copied().unwrap_or_default().to_owned());
    Ok(Remote {
        reference: pinned(&reference, &found.digest),
        digest: found.digest.to_string(),
        media_type,
        document,
        size: u64::try_from(found.bytes.len()).unwrap_or(u64::MAX),
    })
}

/// An image of a registry in the form of Docker's `inspect`. Sizes are those of the layers as they are stored there.
///
/// # Errors
/// As [`manifest`].
pub fn remote(engine: &Engine, written: &str, platform: Option<&Platform>) -> Result<Value, EngineError> {
    let (reference, client, wanted) = asked(engine, written, platform)?;
    let (_, found) = client.resolve(&reference, &wanted, platform.is_some())?;
    let mut config: Value = serde_json::from_slice(&found.config)
        .map_err(|_| EngineError::Image(format!("the configuration of {written:?} is not JSON")))?;
    let mut take = |key: &str| config.get_mut(key).map(Value::take).unwrap_or_default();
    let size: u64 = found.manifest.layers.iter().map(|layer| layer.size).sum();
    let tags: Vec<String> = reference.digest().is_none().then(|| reference.to_string()).into_iter().collect();
    Ok(json!({
        "Id": found.manifest.config.digest.to_string(),
        "RepoTags": tags,
        "RepoDigests": [pinned(&reference, &found.digest)],
        "Parent": "",
        "Created": take("created"),
        "Author": take("author"),
        "Architecture": found.platform.architecture,
        "Variant": found.platform.variant,
        "Os": found.platform.os,
        "Size": size,
        "Config": take("config"),
        "RootFS": { "Type": "layers", "Layers": found.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>() },
        "Manifest": found.manifest_digest.to_string(),
    }))
}
