//! A system call filter that asks: its descriptor goes to a socket of the caller, with the container's state.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sandbox::oci::config::Config;
use serde_json::{Value, json};

use super::console::Socket;
use crate::runc::error::{During, RuncError};
use crate::runc::show::state::State;
use crate::runc::state::{Record, Status};

/// Whether the config names such a socket.
pub(super) fn is_asked(config: &Config) -> bool {
    config.linux().seccomp.as_ref().is_some_and(|text| text.listener_path().is_some())
}

/// The socket of `linux.seccomp.listenerPath`, connected; nothing where the config has none. Without a filter that asks
/// it must not be opened at all: the path then has no meaning.
pub(super) fn socket(config: &Config) -> Result<Option<Socket>, RuncError> {
    let linux = config.linux();
    let path = linux.seccomp.as_ref().and_then(|text| text.listener_path());
    path.map(|path| {
        Socket::open(path.as_ref()).during("linux.seccomp.listenerPath: failed to connect with seccomp agent")
    })
    .transpose()
}

/// What is sent, but for the process (`config-linux.md`, "The Container Process State"). Made before a container's file
/// system is entered: names of users are the host's.
pub(super) fn message(config: &Config, record: &Record, status: Status) -> Result<Value, RuncError> {
    let linux = config.linux();
    let metadata = linux.seccomp.as_ref().map(|text| text.listener_metadata()).unwrap_or_default();
    let state = serde_json::to_value(State::new(record, status)).during("write the state")?;
    Ok(json!({
        "ociVersion": record.oci_version,
        "fds": ["seccompFd"],
        "pid": 0,
        "metadata": metadata,
        "state": state,
    }))
}

/// Sends the descriptor of process `pid`: one message a connection.
pub(super) fn send(socket: &Socket, mut message: Value, pid: i32, asking: &OwnedFd) -> Result<(), RuncError> {
    if let Some(fields) = message.as_object_mut() {
        fields.insert("pid".to_owned(), json!(pid));
    }
    socket.send_with(message.to_string().as_bytes(), asking.as_fd())
}
