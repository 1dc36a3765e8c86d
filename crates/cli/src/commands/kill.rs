//! `bulkhead kill`.

use clap::Args;

use super::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::flags::{self, signal};
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "kill",
    about: "Send a signal to running containers",
    footer: "Examples:\n  bulkhead kill web\n  bulkhead kill -s HUP web",
    flags: Flags::Anywhere,
    build: KillFlags::augment_args,
    run: |matches| execute(&flags_of::<KillFlags>(matches)?.into_request()?),
};

#[derive(Debug, Args)]
struct KillFlags {
    /// Signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Which containers get which signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillRequest {
    /// Names as written.
    pub containers: Vec<String>,
    /// The signal.
    pub signal: i32,
}

impl KillFlags {
    fn into_request(self) -> Result<KillRequest, CliError> {
        let signal = flags::meant("--signal", &self.signal, signal::parse)?;
        Ok(KillRequest { containers: self.containers, signal })
    }
}

/// Sends the signal; returns 1 when one of the containers did not get it.
///
/// # Errors
///
/// Only those of standard output.
pub fn execute(request: &KillRequest) -> Result<u8, CliError> {
    for_each(&request.containers, |name| wire::kill(name, request.signal).map(|()| vec![name.to_owned()]))
}
