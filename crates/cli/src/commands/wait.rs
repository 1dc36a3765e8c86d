//! `bulkhead wait`.

use clap::Args;

use super::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "wait",
    about: "Wait for the end of containers, and print their exit codes",
    footer: "Example:\n  bulkhead wait job",
    flags: Flags::Anywhere,
    build: WaitFlags::augment_args,
    run: |matches| execute(&flags_of::<WaitFlags>(matches)?.containers),
};

#[derive(Debug, Args)]
struct WaitFlags {
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Waits for one after the other; returns 1 when one of them is not there.
///
/// # Errors
///
/// Only those of standard output.
pub fn execute(containers: &[String]) -> Result<u8, CliError> {
    for_each(containers, |name| wire::wait(name).map(|code| vec![code.to_string()]))
}
