//! `export`: a container's own file system as one archive, without what is mounted in it.

use std::path::Path;

use super::{container_event, spec_of};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::files::{Files, Helper, Life, OutputFile, Streams, Task, copy_stream, pipe};
use crate::layout::Layout;

/// Writes the archive to a file, which is there as a whole or not at all, or to standard output.
///
/// # Errors
/// What cannot be read or written.
pub fn export(engine: &Engine, query: &str, output: Option<&Path>) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let spec = spec_of(&record)?;
    let life = Life::of(&Layout::new(&engine.paths, &record.id));
    let mut file = output.map(OutputFile::new).transpose()?;
    let (read, write) = pipe()?;
    let files = Files::Container { spec: &spec, life: &life, writable: false, mounts: false };
    let streams = Streams { input: None, output: Some(write) };
    let helper = Helper::start(engine, &files, streams, |_| Task::Everything)?;
    let copied = match &mut file {
        Some(file) => copy_stream(read, &mut file.file),
        None => copy_stream(read, &mut std::io::stdout().lock()),
    };
    let answer = helper.finish();
    match (copied, answer) {
        (Ok(_), Ok(_)) => {}
        (Ok(_), Err(e)) => return Err(e),
        (Err(e), _) => return Err(EngineError::io("write to", output.unwrap_or(Path::new("standard output")))(e)),
    }
    if let Some(file) = file {
        file.finish()?;
    }
    container_event(engine, &record, "export");
    Ok(())
}
