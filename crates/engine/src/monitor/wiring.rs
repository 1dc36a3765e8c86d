//! A container's networks are changed while it runs.

use std::os::fd::{AsFd as _, OwnedFd};

use super::{Failure, History};
use crate::error::EngineError;
use crate::frame::kind;
use crate::networks::{Live, NetworkOrder};

/// What is needed to change them.
#[derive(Debug)]
pub(crate) struct Wiring<'a> {
    pub(super) live: &'a mut Live,
    pub(super) binary: &'a OwnedFd,
    pub(super) history: &'a History,
}

impl Wiring<'_> {
    /// The process that carries ports and answers for names has something to say, or has ended.
    pub(super) fn hear(&mut self) {
        self.live.hear(self.binary.as_fd());
    }
}

/// The order that a command sends.
pub(super) fn read(order: &[u8]) -> Result<NetworkOrder, EngineError> {
    serde_json::from_slice(order).map_err(|e| EngineError::refused("the order of a command", e.to_string()))
}

/// Changes them, and says how that went: a frame's kind and payload.
pub(super) fn change(wiring: Option<&mut Wiring<'_>>, order: &[u8]) -> (u8, Vec<u8>) {
    let none = || EngineError::refused("a network for the container", "it has none of its own");
    let done = read(order).and_then(|order| {
        let Wiring { live, binary, history } = wiring.ok_or_else(none)?;
        live.change(order, binary.as_fd(), history)
    });
    answer(done)
}

/// What a command is told.
pub(super) fn answer(done: Result<(), EngineError>) -> (u8, Vec<u8>) {
    match done {
        Ok(()) => (kind::DONE, Vec::new()),
        Err(e) => (kind::ERROR, serde_json::to_vec(&Failure::from(&e)).unwrap_or_default()),
    }
}
