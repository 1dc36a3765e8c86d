//! `bulkhead unpause`.

use clap::Args;

use super::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "unpause",
    about: "Let paused containers go on",
    footer: "Example:\n  bulkhead unpause web",
    flags: Flags::Anywhere,
    build: UnpauseFlags::augment_args,
    run: |matches| execute(&flags_of::<UnpauseFlags>(matches)?.containers),
};

#[derive(Debug, Args)]
struct UnpauseFlags {
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Lets go on one after the other; returns 1 when one of them failed.
///
/// # Errors
///
/// Only those of standard output.
pub fn execute(containers: &[String]) -> Result<u8, CliError> {
    for_each(containers, |name| wire::unpause(name).map(|()| vec![name.to_owned()]))
}
