//! Calls about files: copies, exports, changes, and images made and written from them.

use std::ffi::OsString;
use std::path::Path;

use bulkhead_engine::EngineError;
use bulkhead_engine::containers::{self as engine_containers, CommitRequest};
pub use bulkhead_engine::containers::{Change, CopyOptions, HostSide};
use bulkhead_engine::images as engine_images;
pub use bulkhead_engine::images::HistoryLine;

use super::{engine, failed};
use crate::error::CliError;

/// An error of a command that writes an archive to standard output: a reader that went away is no news.
fn streamed(error: EngineError) -> CliError {
    match &error {
        EngineError::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe => {
            CliError::quiet(crate::error::BROKEN_PIPE)
        }
        _ => failed(error),
    }
}

/// Copies out of a container; returns the bytes of the archive that it went as.
///
/// # Errors
///
/// What the engine says.
pub fn copy_out(container: &str, path: &str, to: &HostSide, options: CopyOptions) -> Result<u64, CliError> {
    engine_containers::copy_out(engine()?, container, path, to, options).map_err(streamed)
}

/// Copies into a container; returns the bytes of the archive that it went as.
///
/// # Errors
///
/// What the engine says.
pub fn copy_in(from: &HostSide, container: &str, path: &str, options: CopyOptions) -> Result<u64, CliError> {
    engine_containers::copy_in(engine()?, from, container, path, options).map_err(failed)
}

/// Writes a container's file system to a file or to standard output.
///
/// # Errors
///
/// What the engine says.
pub fn export(container: &str, output: Option<&Path>) -> Result<(), CliError> {
    engine_containers::export(engine()?, container, output).map_err(streamed)
}

/// What a container has changed.
///
/// # Errors
///
/// What the engine says.
pub fn diff(container: &str) -> Result<Vec<Change>, CliError> {
    engine_containers::diff(engine()?, container).map_err(failed)
}

/// Makes an image of a container; returns its id (64 hex digits).
///
/// # Errors
///
/// What the engine says.
pub fn commit(request: &CommitRequest) -> Result<String, CliError> {
    engine_containers::commit(engine()?, request).map_err(failed)
}

/// Writes images to a file or to standard output; returns those that have another id there, with that id.
///
/// # Errors
///
/// What the engine says.
pub fn save(images: &[String], output: Option<&Path>) -> Result<Vec<engine_images::Renamed>, CliError> {
    engine_images::save(engine()?, images, output).map_err(streamed)
}

/// Gives an image one more reference.
///
/// # Errors
///
/// What the engine says.
pub fn tag(source: &str, target: &str) -> Result<(), CliError> {
    engine_images::tag(engine()?, source, target).map_err(failed)
}

/// How an image came to be, the newest step first.
///
/// # Errors
///
/// What the engine says.
pub fn history(image: &str) -> Result<Vec<HistoryLine>, CliError> {
    engine_images::history(engine()?, image).map_err(failed)
}

/// Entry of the confined copying process (hidden command).
///
/// # Errors
///
/// A command line that is not the engine's own.
pub fn files(args: &[OsString]) -> Result<u8, CliError> {
    match args.first().and_then(|a| a.to_str()) {
        Some(task) => Ok(bulkhead_engine::files::main(task)),
        None => Err(CliError::usage("this hidden command is started by bulkhead itself")),
    }
}

/// Entry of the process that enters a running container for the copying process (hidden command).
///
/// # Errors
///
/// What the engine says.
pub fn filer(args: &[OsString]) -> Result<u8, CliError> {
    let number = |index| super::hidden::number(args, index);
    let numbers = [number(0)?, number(1)?, number(2)?, number(3)?, number(4)?];
    bulkhead_engine::files::filer(numbers).map_err(failed).map(|()| 0)
}
