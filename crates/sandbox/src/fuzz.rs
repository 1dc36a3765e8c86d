//! Readers of what others write, for the targets in `fuzz/`: nothing here is for anybody else.

use crate::protocol::Message;
pub use crate::systemd::fuzz_message as bus_message;

/// Reads a message of the protocol between parent and child and writes it again.
#[must_use]
pub fn protocol(bytes: [u8; 8]) -> Option<[u8; 8]> {
    Message::decode(bytes).map(Message::encode)
}
