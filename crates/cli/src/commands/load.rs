//! `bulkhead load`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::{Entry, flags_of, images};
use crate::error::{CliError, FAILED};
use crate::line::Flags;
use crate::{output, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "load",
    about: "Load images from an archive",
    footer: "Examples:\n  bulkhead load -i alpine.tar\n  docker save alpine | bulkhead load",
    flags: Flags::Anywhere,
    build: LoadRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct LoadRequest {
    /// Archive of 'docker save' or an OCI layout, gzip or zstd or plain [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Loads the archive and prints the names of its images.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &LoadRequest) -> Result<u8, CliError> {
    let input = request.input.as_deref().filter(|path| path.as_os_str() != "-");
    if input.is_none() && std::io::stdin().is_terminal() {
        let error = CliError::usage("standard input is a terminal, and an archive is needed").with_code(FAILED);
        return Err(error.with_hint("name a file with -i"));
    }
    let from = input.map_or_else(|| "an archive".to_owned(), |path| path.display().to_string());
    let bar = if request.quiet { None } else { Some(wire::follow(format!("loading {from}"))?) };
    let names = wire::load(input)?;
    drop(bar);
    for name in names {
        let line = match name.strip_prefix("sha256:") {
            Some(_) => format!("Loaded image ID: {name}"),
            None => format!("Loaded image: {}", images::familiar(&name)),
        };
        output::line(&line)?;
    }
    Ok(0)
}
