//! Starting a monitor or a joiner from the protected copy of the binary.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulkhead_sys::fd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::Serialize;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::protect::protected_binary;

/// The installed program, for what is to be done by a command of its own, and the environment that points it at this
/// store.
pub(crate) fn engine_program(engine: &Engine) -> Result<(PathBuf, Vec<(String, String)>), EngineError> {
    let path = Path::new("/proc/self/exe");
    let program = std::fs::read_link(path).map_err(EngineError::io("read", path))?;
    let mut env: Vec<(String, String)> = [("BULKHEAD_ROOT", &engine.paths.root), ("BULKHEAD_RUN", &engine.paths.run)]
        .map(|(name, path)| (name.to_owned(), path.to_string_lossy().into_owned()))
        .to_vec();
    // An ordinary user's `newuidmap` is found by it.
    env.extend(std::env::var("PATH").map(|path| ("PATH".to_owned(), path)));
    Ok((program, env))
}

/// Starts the hidden command `verb` with an order and further descriptors, and returns our end of its socket.
///
/// The descriptors are named by number in its arguments: order, socket, the further ones, the binary.
pub(crate) fn spawn<T: Serialize>(
    engine: &Engine,
    verb: &str,
    order: &T,
    further: &[&OwnedFd],
) -> Result<OwnedFd, EngineError> {
    let failed = |what: &'static str| EngineError::io::<rustix::io::Errno>(what, &engine.paths.run);
    let binary = protected_binary(&engine.paths, engine.facts()?.privileged)?;
    let text = serde_json::to_vec(order)
        .map_err(|e| EngineError::io("encode the order for", &engine.paths.run)(std::io::Error::other(e)))?;
    let order = fd::sealed(c"bulkhead-order", &text).map_err(failed("make the order in memory for"))?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(failed("make a socket for"))?;
    let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
    command.arg(verb).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    // Only the process that is started here inherits them: this one starts no other and ends soon.
    for passed in [&order, &theirs].into_iter().chain(further.iter().copied()).chain([&binary]) {
        fd::keep_over_exec(passed).map_err(failed("pass a descriptor to"))?;
        command.arg(passed.as_raw_fd().to_string());
    }
    command.spawn().map_err(EngineError::io("start the monitor of a container in", &engine.paths.run))?;
    Ok(ours)
}
