//! `tag`: one more reference to an image.

use super::{HOST, canonical, checked_reference};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};

/// Points the reference `target` at the image `source`.
///
/// # Errors
/// An unknown image; a reference that is none.
pub fn tag(engine: &Engine, source: &str, target: &str) -> Result<(), EngineError> {
    if source == HOST {
        return Err(EngineError::refused("naming the image host", "it is built in and has this one name"));
    }
    let reference = checked_reference(target)?;
    let record = engine.store()?.resolve_image(source, canonical(source).as_deref())?;
    super::trust::may_name(engine, Some(&record.id), &reference)?;
    engine.store()?.tag(&record.id, &reference)?;
    let event = Event::new(Kind::Image, "tag", format!("sha256:{}", record.id)).with("name", reference);
    engine.events().emit(&event);
    Ok(())
}
