//! Images of the store, the embedded one, and the confined process that reads archives.

mod builtin;
mod history;
mod load;
mod platform;
mod prune;
pub mod registry;
mod save;
mod stray;
mod tag;
mod tree;
pub mod trust;
pub mod worker;

use std::path::PathBuf;

use bulkhead_image::{ImageConfig, Reference};

pub use self::builtin::HOST;
pub use self::history::{HistoryLine, history};
pub use self::load::{ImportRequest, import, load};
pub(crate) use self::load::{Staging, new_layer, record, recover, stdin};
pub use self::platform::Platform;
pub use self::prune::{PrunedImages, prune};
pub use self::save::{Renamed, save};
pub(crate) use self::stray::{clear_staging, clear_strays};
pub use self::tag::tag;
pub use self::tree::{TreeImage, TreeLayer, tree};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::Layout;
use crate::store::{ImageRecord, StoreError};

/// An image that a container starts from.
#[derive(Debug, Clone)]
pub struct ImageRef {
    /// Id in the store; `None` for the embedded image.
    pub id: Option<String>,
    /// As written by the user.
    pub reference: String,
    /// Its configuration.
    pub config: ImageConfig,
    /// Unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// What it was made for; `None` for the embedded image, which is the machine's.
    pub platform: Option<Platform>,
    /// Directories of the host that the embedded image shows.
    pub host_binds: Vec<PathBuf>,
}

impl ImageRef {
    /// Where files of the container are looked up without mounting it: its writable layer, then the layers from the top.
    #[must_use]
    pub fn lookup_dirs(&self, layout: &Layout) -> Vec<PathBuf> {
        std::iter::once(layout.writable().join("upper")).chain(self.layers.iter().rev().cloned()).collect()
    }
}

/// The canonical form of a reference as written, if it is one.
pub(crate) fn canonical(written: &str) -> Option<String> {
    let reference = written.parse::<Reference>().ok()?;
    // A digest chooses; a tag beside it says nothing more.
    Some(reference.digest().map_or_else(|| reference.to_string(), |digest| format!("{}@{digest}", reference.name())))
}

/// The canonical form of a reference that is to be made.
///
/// # Errors
/// A reference that is none, or names a digest.
pub(crate) fn checked_reference(written: &str) -> Result<String, EngineError> {
    let wrong = |why: &str| EngineError::invalid("reference", written, why);
    let reference: Reference = written.parse().map_err(|_| wrong("a name like shop/web:1.2 is needed"))?;
    if reference.digest().is_some() {
        return Err(wrong("a tag is needed, not a digest: what an image is cannot be chosen"));
    }
    if written == HOST || reference.familiar() == format!("{HOST}:latest") {
        return Err(wrong("host is the name of the built-in image"));
    }
    Ok(reference.to_string())
}

/// Finds an image.
///
/// # Errors
/// `NoSuchImage` with the way to get one.
pub fn find(engine: &Engine, written: &str) -> Result<ImageRef, EngineError> {
    if written == HOST {
        return builtin::host(engine);
    }
    let record = engine.store()?.resolve_image(written, canonical(written).as_deref()).map_err(|e| match e {
        StoreError::NoSuchImage { query } => EngineError::Image(format!("no such image: {query:?}")),
        other => other.into(),
    })?;
    from_record(engine, &record, written)
}

/// Whether an image is there, for this platform if one is asked for.
///
/// # Errors
/// What the store says.
pub fn is_there(engine: &Engine, written: &str, platform: Option<&str>) -> Result<bool, EngineError> {
    if written == HOST {
        return Ok(true);
    }
    match engine.store()?.resolve_image(written, canonical(written).as_deref()) {
        Ok(record) => {
            let Some(wanted) = platform.and_then(Platform::parse) else { return Ok(true) };
            let found = from_record(engine, &record, written)?.platform;
            Ok(found.is_none_or(|found| wanted.fits(&found)))
        }
        Err(StoreError::NoSuchImage { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The image that a container was made of, whatever its name points at now.
///
/// # Errors
/// As [`find`].
pub(crate) fn of_container(engine: &Engine, record: &crate::store::ContainerRecord) -> Result<ImageRef, EngineError> {
    find(engine, record.image_id.as_deref().unwrap_or(&record.request.image))
}

fn from_record(engine: &Engine, record: &ImageRecord, written: &str) -> Result<ImageRef, EngineError> {
    let document = bulkhead_image::config::ImageDocument::parse(written, record.config_json.as_bytes())
        .map_err(|e| EngineError::Image(format!("the configuration of image {written:?} cannot be used: {e}")))?;
    Ok(ImageRef {
        id: Some(record.id.clone()),
        reference: written.to_owned(),
        platform: Some(Platform { os: document.os, architecture: document.architecture, variant: document.variant }),
        config: document.config,
        layers: record.layers.iter().map(|chain| engine.paths.layer_root(chain)).collect(),
        host_binds: Vec::new(),
    })
}

/// Removes a reference or an image, and the layers that no image needs any more.
///
/// # Errors
/// What the store says; the file operation that failed.
pub fn remove(engine: &Engine, written: &str, force: bool) -> Result<crate::store::RemovedImage, EngineError> {
    if written == HOST {
        return Err(EngineError::refused("removing the image host", "it is built in"));
    }
    let id = engine.store()?.resolve_image(written, canonical(written).as_deref()).map(|record| record.id);
    let staging = load::Staging::new(engine)?;
    let retire = |chain: &str| staging.retire(chain);
    let removed = engine.store()?.remove_image_with(written, canonical(written).as_deref(), force, retire);
    if removed.is_err() {
        load::restore(engine, &staging)?;
    }
    let removed = removed?;
    if let Ok(id) = id {
        emit_removed(engine, &id, &removed);
    }
    Ok(removed)
}

/// Tells what became of the image `id` and its references.
fn emit_removed(engine: &Engine, id: &str, removed: &crate::store::RemovedImage) {
    let id = format!("sha256:{id}");
    for reference in &removed.untagged {
        engine.events().emit(&Event::new(Kind::Image, "untag", &id).with("name", reference));
    }
    if removed.deleted.is_some() {
        engine.events().emit(&Event::new(Kind::Image, "delete", &id).with("name", &id));
    }
}

/// An image in the form of Docker's `inspect`; `None` when there is none of that name.
///
/// # Errors
/// A prefix that fits several images; what the store says.
pub fn inspect(engine: &Engine, written: &str) -> Result<Option<serde_json::Value>, EngineError> {
    let record = match engine.store()?.resolve_image(written, canonical(written).as_deref()) {
        Ok(record) => record,
        Err(StoreError::NoSuchImage { .. }) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let verified = engine.store()?.verifications(&record.id)?;
    let mut value: serde_json::Value = serde_json::from_str(&record.config_json).unwrap_or_default();
    let take =
        |value: &mut serde_json::Value, key: &str| value.get_mut(key).map(serde_json::Value::take).unwrap_or_default();
    let config = take(&mut value, "config");
    let text = |value: &serde_json::Value, at: &str| {
        value.pointer(at).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let steps = value.get("history").and_then(serde_json::Value::as_array);
    let newest = steps.and_then(|all| all.last()).map(|line| text(line, "/comment")).unwrap_or_default();
    let (comment, author) = (text(&value, "/comment"), text(&value, "/author"));
    let created = match take(&mut value, "created") {
        serde_json::Value::Null => serde_json::Value::from(crate::containers::time(record.created)),
        said => said,
    };
    Ok(Some(serde_json::json!({
        "Id": format!("sha256:{}", record.id),
        "RepoTags": record.references,
        "RepoDigests": record.digests,
        "Parent": "",
        "Comment": if comment.is_empty() { newest } else { comment },
        "Created": created,
        "DockerVersion": "",
        "Author": author,
        "Architecture": take(&mut value, "architecture"),
        "Variant": text(&value, "/variant"),
        "Os": take(&mut value, "os"),
        "Size": record.size,
        "VirtualSize": record.size,
        "Config": config,
        "RootFS": { "Type": "layers", "Layers": value.pointer("/rootfs/diff_ids").cloned().unwrap_or_default() },
        "Verified": verified.iter().map(trust::shown).collect::<Vec<_>>(),
    })))
}
