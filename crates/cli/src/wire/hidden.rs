//! Entries of the commands that bulkhead starts itself.

use std::ffi::OsString;

use bulkhead_engine::{containers as engine_containers, images as engine_images, monitor as engine_monitor};

use super::{engine, failed};
use crate::error::CliError;

/// The number of a descriptor in the arguments of a hidden command.
pub(super) fn number(args: &[OsString], index: usize) -> Result<i32, CliError> {
    let word = args.get(index).and_then(|a| a.to_str()).and_then(|a| a.parse().ok());
    word.ok_or_else(|| CliError::usage("this hidden command is started by bulkhead itself"))
}

/// Entry of a container's monitor (hidden command); the arguments are the engine's own.
///
/// # Errors
///
/// What the engine says.
pub fn monitor(args: &[OsString]) -> Result<u8, CliError> {
    let fds = engine_monitor::MonitorFds {
        order: number(args, 0)?,
        client: number(args, 1)?,
        lock: number(args, 2)?,
        user: if args.len() > 4 { Some([number(args, 3)?, number(args, 4)?, number(args, 5)?]) } else { None },
        binary: number(args, args.len().saturating_sub(1))?,
    };
    engine_monitor::monitor(fds).map_err(failed).map(|()| 0)
}

/// Entry of the process that keeps the network of an ordinary user (hidden command).
///
/// # Errors
///
/// What the engine says.
pub fn network_keeper(args: &[OsString]) -> Result<u8, CliError> {
    let numbers = (0..args.len()).map(|index| number(args, index)).collect::<Result<Vec<_>, _>>()?;
    bulkhead_engine::networks::keeper(&numbers).map_err(failed).map(|()| 0)
}

/// Entry of the process that joins a container (hidden command).
///
/// # Errors
///
/// What the engine says.
pub fn joiner(args: &[OsString]) -> Result<u8, CliError> {
    engine_monitor::joiner(number(args, 0)?, number(args, 1)?).map_err(failed).map(|()| 0)
}

/// Entry of the confined unpacking process (hidden command).
///
/// # Errors
///
/// What the engine says.
pub fn worker(args: &[OsString]) -> Result<u8, CliError> {
    match args.first().and_then(|a| a.to_str()) {
        Some(task) => Ok(engine_images::worker::main(task)),
        None => Err(CliError::usage("this hidden command is started by bulkhead itself")),
    }
}

/// Entry of the small first process of `run --init` (hidden command).
///
/// # Errors
///
/// What the engine says.
pub fn init(args: &[OsString]) -> Result<u8, CliError> {
    use std::os::unix::ffi::OsStrExt;
    let words = args.iter().filter_map(|a| std::ffi::CString::new(a.as_bytes()).ok());
    let words: Vec<_> = words.skip_while(|w| w.as_bytes() == b"--").collect();
    Ok(bulkhead_engine::init(&words))
}

/// Entry of one health check (hidden command); 0 when it succeeded, 1 when it did not.
///
/// # Errors
///
/// What the engine says.
pub fn health(args: &[OsString]) -> Result<u8, CliError> {
    let id = args.first().and_then(|a| a.to_str());
    let id = id.ok_or_else(|| CliError::usage("this hidden command is started by bulkhead itself"))?;
    let grace = args.get(1).is_some_and(|word| word == engine_monitor::GRACE);
    engine_containers::probe(engine()?, id, grace).map_err(failed).map(|passed| u8::from(!passed))
}

/// Entry of the process that carries ports of loopback addresses (hidden command); it never returns while its container
/// runs.
///
/// # Errors
///
/// What the engine says.
pub fn port_proxy(args: &[OsString]) -> Result<u8, CliError> {
    let words: Vec<String> = args.iter().filter_map(|a| a.to_str()).map(str::to_owned).collect();
    bulkhead_engine::networks::port_proxy(&words).map_err(failed).map(|()| 0)
}

/// Entry that removes a container whose command has gone, and what killed commands left behind (hidden command).
///
/// # Errors
///
/// What the engine says.
pub fn cleanup(args: &[OsString]) -> Result<u8, CliError> {
    let engine = engine()?;
    for id in args.iter().filter_map(|a| a.to_str()) {
        engine_containers::remove_by_id(engine, id).map_err(failed)?;
    }
    engine.recover().map_err(failed).map(|()| 0)
}
