//! The kernel's side: every call that changes or asks the host's network.

use std::net::IpAddr;

use super::ports::Protocol;
use super::wire::{Bridge, Wiring};
use crate::error::EngineError;

/// Gives a container that is about to start its links, addresses, routes and ports: all of them, or nothing.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn attach(_pid: i32, wiring: &Wiring) -> Result<(), EngineError> {
    if wiring.is_empty() {
        return Ok(());
    }
    Err(EngineError::refused("the network", "not wired yet"))
}

/// Takes away what a container had that has ended. What is gone already is no error.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn detach(_wiring: &Wiring) -> Result<(), EngineError> {
    Ok(())
}

/// Takes away the bridge of a network that is no more.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn remove_bridge(_bridge: &Bridge) -> Result<(), EngineError> {
    Ok(())
}

/// Who listens on a port of the host, in words: `process 17 (nginx)`.
pub(crate) fn listener(_address: IpAddr, _port: u16, _protocol: Protocol) -> Option<String> {
    None
}
