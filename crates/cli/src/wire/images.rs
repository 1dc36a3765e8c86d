//! Calls about images.

use bulkhead_engine::images as engine_images;

pub use bulkhead_engine::images::trust::{Judged, JudgedRule, Verified, shown as verification};
pub use bulkhead_engine::images::{TreeImage, TreeLayer};

use super::{ImageRemoval, ImageSummary, ImportRequest, engine, failed};
use crate::error::CliError;

/// An image in the form of Docker's `inspect`; `None` when there is none of that name.
///
/// # Errors
///
/// What the engine says; a prefix that fits several images is an error.
pub fn inspect_image(name: &str) -> Result<Option<serde_json::Value>, CliError> {
    engine_images::inspect(engine()?, name).map_err(failed)
}

/// Labels of an image's configuration.
pub(super) fn labels(json: &str) -> Vec<(String, String)> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let labels = value.pointer("/config/Labels").and_then(|l| l.as_object()).cloned().unwrap_or_default();
    labels.into_iter().filter_map(|(k, v)| Some((k, v.as_str()?.to_owned()))).collect()
}

/// Every image, the newest first.
///
/// # Errors
///
/// What the engine says.
pub fn images() -> Result<Vec<ImageSummary>, CliError> {
    let engine = engine()?;
    let records = engine.store().and_then(|s| Ok(s.list_images()?)).map_err(failed)?;
    let mut verified = engine.store().and_then(|s| Ok(s.all_verifications()?)).map_err(failed)?;
    let mut signers = |id: &str| {
        let all = verified.remove(id).unwrap_or_default().into_iter().map(|one| one.key);
        let mut keys: Vec<String> = all.filter(|key| !key.is_empty()).collect();
        keys.sort();
        keys.dedup();
        keys
    };
    Ok(records
        .into_iter()
        .map(|r| ImageSummary {
            labels: labels(&r.config_json),
            signers: signers(&r.id),
            id: r.id,
            references: r.references,
            digests: r.digests,
            created: r.created,
            size: r.size,
        })
        .collect())
}

/// Takes a reference or an image away.
///
/// # Errors
///
/// What the engine says.
pub fn remove_image(image: &str, force: bool) -> Result<Vec<ImageRemoval>, CliError> {
    let removed = engine_images::remove(engine()?, image, force).map_err(failed)?;
    let mut all: Vec<ImageRemoval> = removed.untagged.into_iter().map(ImageRemoval::Untagged).collect();
    all.extend(removed.deleted.into_iter().chain(removed.free_layers).map(ImageRemoval::Deleted));
    Ok(all)
}

/// Makes an image of a root file system archive; returns its id (64 hex digits).
///
/// # Errors
///
/// What the engine says.
pub fn import(request: &ImportRequest) -> Result<String, CliError> {
    let wanted = engine_images::ImportRequest {
        file: request.file.clone(),
        reference: request.reference.clone(),
        changes: request.changes.clone(),
        message: request.message.clone(),
    };
    engine_images::import(engine()?, &wanted).map_err(failed)
}

/// Loads an image archive (`docker save`, OCI layout) from a file, or from standard input; returns the references that
/// were loaded, or `sha256:…` for an image without one.
///
/// # Errors
///
/// What the engine says.
pub fn load(input: Option<&std::path::Path>) -> Result<Vec<String>, CliError> {
    engine_images::load(engine()?, input).map_err(failed)
}

/// What the rules say of an image of the store.
///
/// # Errors
///
/// What the engine says.
pub fn verify(image: &str) -> Result<Verified, CliError> {
    engine_images::trust::verify(engine()?, image).map_err(failed)
}

/// What the rules say of an image of a registry.
///
/// # Errors
///
/// What the engine says.
pub fn verify_remote(image: &str, on: Option<&str>) -> Result<Verified, CliError> {
    let on = super::registry::platform(on)?;
    engine_images::trust::verify_remote(engine()?, image, on.as_ref()).map_err(failed)
}

/// The layers of these images, or of all.
///
/// # Errors
///
/// What the engine says.
pub fn tree(names: &[String]) -> Result<Vec<TreeImage>, CliError> {
    engine_images::tree(engine()?, names).map_err(failed)
}
