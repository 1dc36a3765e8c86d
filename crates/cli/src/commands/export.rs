//! `bulkhead export`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::{Entry, flags_of};
use crate::error::{CliError, FAILED};
use crate::line::Flags;
use crate::wire::files;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "export",
    about: "Write a container's file system as a tar archive",
    footer: "Examples:\n  bulkhead export -o web.tar web\n  bulkhead export web | tar -t",
    flags: Flags::Anywhere,
    build: ExportRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// What to export, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ExportRequest {
    /// Write to a file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// An archive on a terminal helps nobody.
///
/// # Errors
///
/// Docker's own words.
pub(super) fn refuse_terminal(output: Option<&PathBuf>) -> Result<(), CliError> {
    if output.is_none() && std::io::stdout().is_terminal() {
        let text = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
        return Err(CliError::usage(text).with_code(FAILED));
    }
    Ok(())
}

/// Writes the archive.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &ExportRequest) -> Result<u8, CliError> {
    refuse_terminal(request.output.as_ref())?;
    files::export(&request.container, request.output.as_deref()).map(|()| 0)
}
