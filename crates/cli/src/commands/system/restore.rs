//! `bulkhead system restore`.

use clap::Args;

use super::super::{Entry, flags_of};
use crate::error::{self, CliError, FAILED};
use crate::line::Flags;
use crate::{output, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "restore",
    about: "Start the containers that are to run after a boot",
    footer: "Those made with --restart always, and those with unless-stopped or on-failure that had not been stopped.\n\
             It may run at any time: what runs already is left alone. 'bulkhead system unit' prints a unit for systemd.",
    flags: Flags::Anywhere,
    build: NoFlags::augment_args,
    run: |matches| {
        let NoFlags {} = flags_of(matches)?;
        execute()
    },
};

#[derive(Debug, Args)]
struct NoFlags {}

fn execute() -> Result<u8, CliError> {
    let restored = wire::restore()?;
    for name in &restored.started {
        output::line(name)?;
    }
    for (name, why) in &restored.failed {
        error::print(&CliError::failed(format!("cannot start {name}: {why}")));
    }
    Ok(if restored.failed.is_empty() { 0 } else { FAILED })
}
