//! Calls about a container's life after it was made.

use bulkhead_engine::containers as engine_containers;
use bulkhead_engine::request::ContainerRequest;

pub use bulkhead_engine::containers::{Attached, StartOptions, UpdateRequest};

use super::{RunOptions, engine, failed, unstarted};
use crate::error::CliError;

/// Makes a container and does not start it; returns its id.
///
/// # Errors
///
/// What the engine says.
pub fn create(request: &ContainerRequest, options: &RunOptions) -> Result<String, CliError> {
    super::registry::ensure(request, options)?;
    let engine = engine()?;
    engine_containers::create(engine, request).map_err(|e| super::refused(engine, request, e))
}

/// Starts a container that is there; nothing when it runs already.
///
/// # Errors
///
/// What the engine says.
pub fn start(container: &str, options: StartOptions) -> Result<Option<engine_containers::Started>, CliError> {
    engine_containers::start(engine()?, container, options).map_err(unstarted)
}

/// Removes a container that was made with `--rm` after its end.
///
/// # Errors
///
/// What the engine says.
pub fn remove_ended(id: &str) -> Result<(), CliError> {
    engine_containers::remove_by_id(engine()?, id).map_err(failed)
}

/// Stops a container and starts it again.
///
/// # Errors
///
/// What the engine says.
pub fn restart(container: &str, signal: Option<i32>, timeout: Option<i64>) -> Result<(), CliError> {
    engine_containers::restart(engine()?, container, signal, timeout).map_err(failed)
}

/// Freezes a container.
///
/// # Errors
///
/// What the engine says.
pub fn pause(container: &str) -> Result<(), CliError> {
    engine_containers::pause(engine()?, container).map_err(failed)
}

/// Lets a frozen container go on.
///
/// # Errors
///
/// What the engine says.
pub fn unpause(container: &str) -> Result<(), CliError> {
    engine_containers::unpause(engine()?, container).map_err(failed)
}

/// Waits for the end of a container; returns its exit code.
///
/// # Errors
///
/// What the engine says.
pub fn wait(container: &str) -> Result<u32, CliError> {
    engine_containers::wait(engine()?, container).map_err(failed)
}

/// Connects with the streams of a running container.
///
/// # Errors
///
/// What the engine says.
pub fn attach(container: &str, stdin: bool) -> Result<Attached, CliError> {
    engine_containers::attach(engine()?, container, stdin).map_err(failed)
}

/// Gives a container another name.
///
/// # Errors
///
/// What the engine says.
pub fn rename(container: &str, name: &str) -> Result<(), CliError> {
    engine_containers::rename(engine()?, container, name).map_err(failed)
}

/// Changes limits and the restart policy of a container.
///
/// # Errors
///
/// What the engine says.
pub fn update(container: &str, change: &UpdateRequest) -> Result<(), CliError> {
    engine_containers::update(engine()?, container, change).map_err(failed)
}
