//! `image prune`: images that no container was made of.

use super::load;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
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
        // Layers leave their place with their rows and are deleted with the staging directory.
        let staging = load::Staging::new(engine)?;
        let retire = |chain: &str| match std::fs::rename(engine.paths.layer(chain), staging.retired(chain)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let removed = engine.store()?.prune_image_with(&image.id, !all, retire);
        if removed.is_err() {
            load::restore(engine, &staging)?;
        }
        if let Some((removed, bytes)) = removed? {
            let log = engine.events();
            let id = format!("sha256:{}", image.id);
            for reference in &removed.untagged {
                log.emit(&Event::new(Kind::Image, "untag", &id).with("name", reference));
            }
            log.emit(&Event::new(Kind::Image, "delete", &id).with("name", &id));
            pruned.removed.push(removed);
            pruned.bytes = pruned.bytes.saturating_add(bytes);
        }
    }
    Ok(pruned)
}
