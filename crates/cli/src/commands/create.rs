//! `bulkhead create`: `run` without the start.

use bulkhead_engine::request::ContainerRequest;

use super::run::id_file::IdFile;
use super::{Entry, run};
use crate::error::{CliError, FAILED};
use crate::flags::mount::Place;
use crate::line::Flags;
use crate::output;
use crate::wire::{self, RunOptions};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "create",
    about: "Make a container and do not start it",
    footer: "Examples:\n  bulkhead create --name web -m 256m web\n  bulkhead start web",
    flags: Flags::First,
    build: run::flags,
    run: |matches| {
        let (request, options, _) = run::request(matches, &Place::current(), wire::default_profile()?)?;
        execute(&request, &options)
    },
};

/// Makes the container and prints its id.
///
/// # Errors
///
/// What the engine says (1).
pub fn execute(request: &ContainerRequest, options: &RunOptions) -> Result<u8, CliError> {
    if options.dry_run {
        return Err(
            CliError::usage("--dry-run is a flag of 'run'").with_hint("'bulkhead run --dry-run' prints the same plan")
        );
    }
    let mut id_file = request.cid_file.as_deref().map(IdFile::make).transpose()?;
    let id = wire::create(request, options).map_err(|e| e.with_code(FAILED))?;
    if let Some(file) = &mut id_file {
        file.write(&id)?;
    }
    output::line(&id).map(|()| 0)
}
