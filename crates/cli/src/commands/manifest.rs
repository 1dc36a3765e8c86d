//! `bulkhead manifest inspect`.

use clap::Args;
use serde_json::json;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::{output, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "inspect",
    about: "Show the manifest or index that a registry has, as JSON",
    footer: "Examples:\n  bulkhead manifest inspect alpine\n  bulkhead manifest inspect -v registry.example/app:1",
    flags: Flags::Anywhere,
    build: ManifestFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct ManifestFlags {
    /// Show its name, digest, size and type too
    #[arg(short, long)]
    verbose: bool,
    /// Accepted for Docker's sake; 'insecure' in the configuration takes plain HTTP
    #[arg(long)]
    insecure: bool,
    /// Reference: [REGISTRY/]NAME[:TAG][@DIGEST]
    #[arg(value_name = "REFERENCE")]
    reference: String,
}

fn execute(flags: &ManifestFlags) -> Result<u8, CliError> {
    let found = wire::registry::manifest(&flags.reference)?;
    let shown = if flags.verbose {
        let descriptor = json!({ "mediaType": found.media_type, "digest": found.digest, "size": found.size });
        json!({ "Ref": found.reference, "Descriptor": descriptor, "Manifest": found.document })
    } else {
        found.document
    };
    let text = serde_json::to_string_pretty(&shown).map_err(|e| CliError::chain(&e))?;
    output::line(&text).map(|()| 0)
}
