//! `bulkhead save`.

use std::path::PathBuf;

use clap::Args;

use super::{Entry, export, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output;
use crate::wire::files;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "save",
    about: "Write images as an archive",
    footer: "The archive is read by 'bulkhead load' and by other engines.\n\nExamples:\n  bulkhead save -o all.tar web:1 web:2 alpine\n  bulkhead save alpine | gzip > alpine.tar.gz",
    flags: Flags::Anywhere,
    build: SaveRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// What to save, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SaveRequest {
    /// Write to a file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Reference, repository (all its tags) or id
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Writes the archive.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &SaveRequest) -> Result<u8, CliError> {
    export::refuse_terminal(request.output.as_ref())?;
    for (id, new) in files::save(&request.images, request.output.as_deref())? {
        output::note(&format!(
            "warning: the archive of a layer of {id} could not be made again; it was saved as {new}"
        ));
    }
    Ok(0)
}
