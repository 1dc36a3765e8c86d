//! A system call filter that asks: its descriptor goes to a socket of the caller, with the container's state.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sandbox::oci::config::Config;
use serde_json::{Value, json};

use super::console::Socket;
use crate::runc::error::{During, RuncError};
use crate::runc::show::state::State;
use crate::runc::state::{Record, Status};

/// Sends it (`config-linux.md`, "The Container Process State").
pub(super) fn send(config: &Config, record: &Record, asking: &OwnedFd) -> Result<(), RuncError> {
    let linux = config.linux();
    let field = |name: &str| linux.seccomp.as_ref().and_then(|s| s.get(name)).and_then(Value::as_str);
    let path = field("listenerPath").ok_or_else(|| RuncError::new("linux.seccomp.listenerPath is missing"))?;
    let state: Value =
        serde_json::from_slice(&State::new(record, Status::Running).to_json()?).during("write the state")?;
    let message = json!({
        "ociVersion": record.oci_version,
        "fds": ["seccompFd"],
        "pid": record.pid,
        "metadata": field("listenerMetadata").unwrap_or_default(),
        "state": state,
    });
    Socket::open(path.as_ref())?.send_with(message.to_string().as_bytes(), asking.as_fd())
}
