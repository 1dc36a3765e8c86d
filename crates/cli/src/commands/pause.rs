//! `bulkhead pause`.

use clap::Args;

use super::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "pause",
    about: "Freeze all processes of containers",
    footer: "Example:\n  bulkhead pause web",
    flags: Flags::Anywhere,
    build: PauseFlags::augment_args,
    run: |matches| execute(&flags_of::<PauseFlags>(matches)?.containers),
};

#[derive(Debug, Args)]
struct PauseFlags {
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Freezes one after the other; returns 1 when one of them failed.
///
/// # Errors
///
/// Only those of standard output.
pub fn execute(containers: &[String]) -> Result<u8, CliError> {
    for_each(containers, |name| wire::pause(name).map(|()| vec![name.to_owned()]))
}
