//! `image prune`: images that no container was made of.

use super::load;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::store::{ImageRecord, RemovedImage};

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrunedImages {
    /// What became of each image.
    pub removed: Vec<RemovedImage>,
    /// Unpacked bytes of the layers that are gone.
    pub bytes: u64,
}

/// Removes images that no container was made of and that `wanted` wants: without `all` only those that no reference
/// points at. Each is one transaction; one that came into use meanwhile stays.
///
/// # Errors
/// What the store says; the file operation that failed.
pub fn prune(engine: &Engine, all: bool, wanted: impl Fn(&ImageRecord) -> bool) -> Result<PrunedImages, EngineError> {
    engine.recover()?;
    let images = engine.store()?.list_images()?;
    let mut pruned = PrunedImages::default();
    for image in images.into_iter().filter(|image| (all || image.references.is_empty()) && wanted(image)) {
        let staging = load::Staging::new(engine)?;
        let removed = engine.store()?.prune_image_with(&image.id, !all, |chain| staging.retire(chain));
        if removed.is_err() {
            load::restore(engine, &staging)?;
        }
        if let Some((removed, bytes)) = removed? {
            super::emit_removed(engine, &image.id, &removed);
            pruned.removed.push(removed);
            pruned.bytes = pruned.bytes.saturating_add(bytes);
        }
    }
    Ok(pruned)
}
