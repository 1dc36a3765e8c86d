//! `rename`.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::{Layout, write_json};

/// Gives a container another name.
///
/// # Errors
/// An unknown container; a name that is taken, not allowed, or its own.
pub fn rename(engine: &Engine, query: &str, name: &str) -> Result<(), EngineError> {
    engine.recover()?;
    let mut record = engine.store()?.find_container(query)?;
    let name = name.strip_prefix('/').unwrap_or(name);
    if record.name == name {
        return Err(EngineError::invalid("the new name", name, "another name than the one that it has is needed"));
    }
    engine.store()?.rename_container(&record.id, name)?;
    crate::networks::renamed_in_policies(engine, &record.id)?;
    let layout = Layout::new(&engine.paths, &record.id);
    // Only what its monitor calls it in events depends on it.
    drop(write_json(&layout.renamed(), &name, false));
    let old = std::mem::replace(&mut record.name, name.to_owned());
    crate::networks::known_as(engine, &record.id)?;
    let event = Event::new(Kind::Container, "rename", &record.id).with("oldName", format!("/{old}"));
    engine.events().emit(&super::about(event, &record));
    Ok(())
}
