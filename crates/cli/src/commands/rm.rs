//! `bulkhead rm`.

use clap::Args;

use super::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "rm",
    about: "Remove containers",
    footer: "Examples:\n  bulkhead rm web\n  bulkhead rm -f $(bulkhead ps -aq)",
    flags: Flags::Anywhere,
    build: RmRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// Which containers to remove, and how.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RmRequest {
    /// Kill containers that run
    #[arg(short, long)]
    pub force: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Removes the containers; returns 1 when one of them stayed, or was not there (but with `-f`).
///
/// # Errors
///
/// Only those of standard output.
pub fn execute(request: &RmRequest) -> Result<u8, CliError> {
    for_each(&request.containers, |name| {
        wire::remove(name, request.force, request.volumes).map(|()| vec![name.to_owned()])
    })
}
