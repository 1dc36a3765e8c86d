//! What acts on containers.

mod console;
mod create;
mod delete;
mod exec;
mod foreground;
mod hooks;
mod kill;
mod listener;
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

use bulkhead_sandbox::facts::HostFacts;

use super::error::{During, RuncError};

/// Name of the socket in a container's directory on which its process waits for its start.
const SOCKET: &str = "start";

fn facts() -> Result<HostFacts, RuncError> {
    HostFacts::gather().during("look at this host")
}
