//! Calls that look at what containers do: processes, figures, events, ports.

use bulkhead_engine::containers as engine_containers;

pub use bulkhead_engine::containers::{Interface, Processes, Published, Sample, StatsOf, Traffic};
pub use bulkhead_engine::events::{Event, Kind as EventKind};

use super::{engine, failed};
use crate::error::CliError;

/// The processes of a running container.
///
/// # Errors
///
/// What the engine says.
pub fn top(container: &str, options: &[String]) -> Result<Processes, CliError> {
    engine_containers::top(engine()?, container, options).map_err(failed)
}

/// What containers use at this moment.
///
/// # Errors
///
/// What the engine says.
pub fn stats(which: StatsOf<'_>) -> Result<Vec<Sample>, CliError> {
    engine_containers::stats(engine()?, which).map_err(failed)
}

/// The published ports of a container.
///
/// # Errors
///
/// What the engine says.
pub fn port(container: &str, only: Option<&str>) -> Result<Vec<Published>, CliError> {
    engine_containers::port(engine()?, container, only).map_err(failed)
}

/// Hands events to `sink`: those that were written (`past`), and with `more` those that come, as long as it says so. An
/// error of `sink` ends it.
///
/// # Errors
///
/// What the engine or `sink` says.
pub fn events(
    past: bool,
    mut more: impl FnMut() -> bool,
    mut sink: impl FnMut(Event) -> Result<(), CliError>,
) -> Result<(), CliError> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
    let engine = engine()?;
    // Taken first: what settling tells is new.
    let log = engine.events();
    let mut reader = if past { log.reader() } else { log.reader_at_end() };
    engine.recover().map_err(failed)?;
    loop {
        // Asked before reading: what was written before the end is then read for certain.
        let go_on = more();
        while let Some(event) = reader.next_event() {
            sink(event)?;
        }
        if !go_on {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}
