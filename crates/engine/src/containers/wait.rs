//! `wait` and `attach`: commands that come to a container that runs already.

use std::os::fd::OwnedFd;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::frame::{Decoder, attach, kind};
use crate::layout::Layout;
use crate::monitor::control::reach;

use super::stop::{not_running, ready};

/// Waits until a container has ended for good; returns its exit code, 0 for one that never was started.
///
/// # Errors
/// An unknown container; a monitor that was killed with it.
pub fn wait(engine: &Engine, query: &str) -> Result<u32, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let layout = Layout::new(&engine.paths, &record.id);
    if layout.read_state().is_some()
        && let Some(socket) = reach(&layout, kind::WAIT, &[])
        && let Some(code) = told(&socket)
    {
        return Ok(code);
    }
    // It ended before it was asked, or it was killed together with its monitor.
    layout.wait_unlocked()?;
    engine.recover()?;
    Ok(layout.read_exit().map_or(0, |e| e.code))
}

/// The exit code, when the monitor says one.
fn told(socket: &OwnedFd) -> Option<u32> {
    let mut decoder = Decoder::default();
    let mut chunk = [0_u8; 256];
    loop {
        match rustix::io::read(socket, &mut chunk) {
            Ok(n) if n > 0 => decoder.push(chunk.get(..n)?),
            Err(rustix::io::Errno::INTR) => continue,
            Ok(_) | Err(_) => return None,
        }
        while let Ok(Some((kind, payload))) = decoder.next_frame() {
            if kind == kind::EXITED {
                return Some(u32::from_le_bytes(<[u8; 4]>::try_from(payload.as_slice()).ok()?));
            }
        }
    }
}

/// A connection to the streams of a container that runs.
#[derive(Debug)]
pub struct Attached {
    /// Its full id.
    pub id: String,
    /// Speaks [`crate::frame`]s.
    pub socket: OwnedFd,
    /// It has a terminal.
    pub tty: bool,
    /// It takes input, and this connection may give it some.
    pub stdin: bool,
}

/// Connects with the streams of a running container; `input`: standard input too, where the container has one.
///
/// # Errors
/// One that does not run, or is paused.
pub fn attach(engine: &Engine, query: &str, input: bool) -> Result<Attached, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let layout = Layout::new(&engine.paths, &record.id);
    ready(&layout, &record)?;
    let stdin = input && record.request.stdin;
    let flags = if stdin { attach::INPUT } else { 0 };
    let socket = reach(&layout, kind::ATTACH, &[flags]).ok_or_else(|| not_running(&record))?;
    super::container_event(engine, &record, "attach");
    Ok(Attached { id: record.id.clone(), socket, tty: record.request.tty, stdin })
}
