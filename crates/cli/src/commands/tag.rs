//! `bulkhead tag`.

use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire::files;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "tag",
    about: "Give an image one more name",
    footer: "Examples:\n  bulkhead tag alpine:3.20 base:1",
    flags: Flags::Anywhere,
    build: TagRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// Which image, and its new name.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct TagRequest {
    /// Reference or id
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub source: String,
    /// New reference
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub target: String,
}

/// Names the image.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &TagRequest) -> Result<u8, CliError> {
    files::tag(&request.source, &request.target).map(|()| 0)
}
