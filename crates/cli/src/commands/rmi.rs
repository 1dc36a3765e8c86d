//! `bulkhead rmi`.

use clap::Args;

use super::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire::{self, ImageRemoval};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "rmi",
    about: "Remove images",
    footer: "Examples:\n  bulkhead rmi alpine:3.20\n  bulkhead rmi -f 4bcff63911fc",
    flags: Flags::Anywhere,
    build: RmiRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// Which images to remove.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RmiRequest {
    /// Remove an image with all its references
    #[arg(short, long)]
    pub force: bool,
    /// References, ids or starts of ids
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Removes the images; returns 1 when one of them stayed.
///
/// # Errors
///
/// Only those of standard output.
pub fn execute(request: &RmiRequest) -> Result<u8, CliError> {
    for_each(&request.images, |name| {
        let removed = wire::remove_image(name, request.force)?;
        Ok(removed.iter().map(describe).collect())
    })
}

fn describe(removal: &ImageRemoval) -> String {
    match removal {
        ImageRemoval::Untagged(reference) => format!("Untagged: {}", super::images::familiar(reference)),
        ImageRemoval::Deleted(id) => format!("Deleted: sha256:{id}"),
    }
}
