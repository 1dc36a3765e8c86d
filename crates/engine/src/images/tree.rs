//! `image tree`: what images are made of, and what they share.

use super::canonical;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::store::ImageRecord;

/// An image and its layers.
#[derive(Debug, Clone, Default)]
pub struct TreeImage {
    /// 64 hex digits.
    pub id: String,
    /// Canonical references.
    pub references: Vec<String>,
    /// Unpacked bytes of all layers.
    pub size: u64,
    /// The lowest first.
    pub layers: Vec<TreeLayer>,
}

/// A layer.
#[derive(Debug, Clone, Default)]
pub struct TreeLayer {
    /// Chain id, 64 hex digits.
    pub chain_id: String,
    /// Digest of its uncompressed archive, with `sha256:`.
    pub diff_id: String,
    /// Unpacked bytes.
    pub size: u64,
    /// Images that have it, this one among them.
    pub images: u64,
}

/// These images, or all, the newest first.
///
/// # Errors
/// An unknown image.
pub fn tree(engine: &Engine, names: &[String]) -> Result<Vec<TreeImage>, EngineError> {
    let store = engine.store()?;
    let uses = store.layer_uses()?;
    let records: Vec<ImageRecord> = if names.is_empty() {
        store.list_images()?
    } else {
        let find = |name: &String| store.resolve_image(name, canonical(name).as_deref());
        names.iter().map(find).collect::<Result<_, _>>()?
    };
    let image = |record: ImageRecord| {
        let value: serde_json::Value = serde_json::from_str(&record.config_json).unwrap_or_default();
        let diffs =
            value.pointer("/rootfs/diff_ids").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        let diff = |at: usize| diffs.get(at).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let layers = record.layers.into_iter().enumerate().map(|(at, chain_id)| {
            let (size, images) = uses.get(&chain_id).map_or((0, 0), |one| (one.bytes, one.images));
            TreeLayer { diff_id: diff(at), chain_id, size, images }
        });
        TreeImage { id: record.id, references: record.references, size: record.size, layers: layers.collect() }
    };
    Ok(records.into_iter().map(image).collect())
}
