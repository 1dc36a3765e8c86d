//! Commands that bulkhead starts itself: no help, no flags of ours; the arguments go to the engine as they are.

use std::ffi::OsString;

use crate::error::CliError;
use crate::wire;

/// An entry point.
pub type Run = fn(&[OsString]) -> Result<u8, CliError>;

/// The hidden command of this name.
pub fn find(name: &str) -> Option<Run> {
    Some(match name {
        "monitor" => monitor,
        "joiner" => joiner,
        "worker" => worker,
        "files" => wire::files::files,
        "filer" => wire::files::filer,
        "init" => init,
        "cleanup" => cleanup,
        "health" => health,
        "port-proxy" => port_proxy,
        "network-keeper" => network_keeper,
        _ => return None,
    })
}

/// The process that waits for a container.
///
/// # Errors
///
/// What the engine says.
pub fn monitor(args: &[OsString]) -> Result<u8, CliError> {
    wire::monitor(args)
}

/// The process that joins a container.
///
/// # Errors
///
/// What the engine says.
pub fn joiner(args: &[OsString]) -> Result<u8, CliError> {
    wire::joiner(args)
}

/// The confined process that reads archives.
///
/// # Errors
///
/// What the engine says.
pub fn worker(args: &[OsString]) -> Result<u8, CliError> {
    wire::worker(args)
}

/// The first process of a container with `--init`.
///
/// # Errors
///
/// What the engine says.
pub fn init(args: &[OsString]) -> Result<u8, CliError> {
    wire::init(args)
}

/// One health check of a container.
///
/// # Errors
///
/// What the engine says.
pub fn health(args: &[OsString]) -> Result<u8, CliError> {
    wire::health(args)
}

/// The process that carries ports of loopback addresses into a container.
///
/// # Errors
///
/// What the engine says.
pub fn port_proxy(args: &[OsString]) -> Result<u8, CliError> {
    wire::port_proxy(args)
}

/// The process that keeps the network of an ordinary user.
///
/// # Errors
///
/// What the engine says.
pub fn network_keeper(args: &[OsString]) -> Result<u8, CliError> {
    wire::network_keeper(args)
}

/// Removes what killed commands left.
///
/// # Errors
///
/// What the engine says.
pub fn cleanup(args: &[OsString]) -> Result<u8, CliError> {
    wire::cleanup(args)
}
