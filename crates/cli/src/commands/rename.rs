//! `bulkhead rename`.

use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "rename",
    about: "Give a container another name",
    footer: "Example:\n  bulkhead rename web old-web",
    flags: Flags::Anywhere,
    build: RenameFlags::augment_args,
    run: |matches| {
        let words: RenameFlags = flags_of(matches)?;
        execute(&words.container, &words.name)
    },
};

#[derive(Debug, Args)]
struct RenameFlags {
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    name: String,
}

/// Renames it.
///
/// # Errors
///
/// What the engine says.
pub fn execute(container: &str, name: &str) -> Result<u8, CliError> {
    wire::rename(container, name).map(|()| 0)
}
