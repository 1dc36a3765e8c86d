//! What acts on containers.

mod console;
mod create;
mod delete;
mod exec;
mod foreground;
mod hooks;
mod kill;
mod listener;
mod mounted;
mod pid_file;
mod protect;
mod run;
mod start;
mod streams;
mod update;

pub use self::create::create;
pub use self::delete::delete;
pub use self::exec::exec;
pub use self::kill::kill;
pub use self::run::run;
pub use self::start::start;
pub use self::update::{pause, resume, update};

use std::os::fd::{AsFd, AsRawFd};

use bulkhead_sandbox::facts::HostFacts;
use rustix::net::SocketAddrUnix;

use super::error::{During, RuncError};
use super::state::Place;

/// Name of the socket in a container's directory on which its process waits for its start.
const SOCKET: &str = "start";

/// Address of that socket. Its path would be too long for one, so it is reached from the directory's descriptor.
fn address(place: &Place) -> Result<SocketAddrUnix, RuncError> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", place.as_fd().as_raw_fd()))
        .during(format_args!("reach {}", place.path().join(SOCKET).display()))
}

fn facts() -> Result<HostFacts, RuncError> {
    HostFacts::gather().during("look at this host")
}
