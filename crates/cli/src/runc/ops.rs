//! What acts on containers.

use super::args::{CreateArgs, DeleteArgs, ExecArgs, Global, KillArgs, RunArgs, UpdateArgs};
use super::error::RuncError;

fn not_built(name: &str) -> Result<u8, RuncError> {
    Err(RuncError::new(format!("{name}: not built yet")))
}

/// Makes a container up to its program.
///
/// # Errors
///
/// Always.
pub fn create(_: &Global, _: CreateArgs) -> Result<u8, RuncError> {
    not_built("create")
}

/// Starts the program of a created container.
///
/// # Errors
///
/// Always.
pub fn start(_: &Global, _: String) -> Result<u8, RuncError> {
    not_built("start")
}

/// Creates, starts, waits and deletes.
///
/// # Errors
///
/// Always.
pub fn run(_: &Global, _: RunArgs) -> Result<u8, RuncError> {
    not_built("run")
}

/// Sends a signal.
///
/// # Errors
///
/// Always.
pub fn kill(_: &Global, _: KillArgs) -> Result<u8, RuncError> {
    not_built("kill")
}

/// Removes a container.
///
/// # Errors
///
/// Always.
pub fn delete(_: &Global, _: DeleteArgs) -> Result<u8, RuncError> {
    not_built("delete")
}

/// Runs another process in a container.
///
/// # Errors
///
/// Always.
pub fn exec(_: &Global, _: ExecArgs) -> Result<u8, RuncError> {
    not_built("exec")
}

/// Freezes a container.
///
/// # Errors
///
/// Always.
pub fn pause(_: &Global, _: String) -> Result<u8, RuncError> {
    not_built("pause")
}

/// Lets a frozen container go on.
///
/// # Errors
///
/// Always.
pub fn resume(_: &Global, _: String) -> Result<u8, RuncError> {
    not_built("resume")
}

/// Changes the limits of a container.
///
/// # Errors
///
/// Always.
pub fn update(_: &Global, _: UpdateArgs) -> Result<u8, RuncError> {
    not_built("update")
}
