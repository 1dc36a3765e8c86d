//! `bulkhead restart`.

use clap::Args;

use super::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::flags::{self, signal};
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "restart",
    about: "Stop containers and start them again",
    footer: "Examples:\n  bulkhead restart web\n  bulkhead restart -t 0 web db",
    flags: Flags::Anywhere,
    build: RestartFlags::augment_args,
    run: |matches| execute(&flags_of::<RestartFlags>(matches)?),
};

/// The words of a `restart` command line.
#[derive(Debug, Args)]
pub struct RestartFlags {
    /// Signal to send first [default: the container's stop signal, SIGTERM]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until SIGKILL, -1 to wait for ever [default: the container's, 10]
    #[arg(short = 't', long = "time", visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<String>,
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Restarts one after the other; returns 1 when one of them failed.
///
/// # Errors
///
/// A flag's value; otherwise only those of standard output.
pub fn execute(words: &RestartFlags) -> Result<u8, CliError> {
    let timeout = flags::optional("--time", words.time.as_deref(), super::stop::seconds)?;
    let signal = flags::optionally_meant("--signal", words.signal.as_deref(), signal::parse)?;
    for_each(&words.containers, |name| wire::restart(name, signal, timeout).map(|()| vec![name.to_owned()]))
}
