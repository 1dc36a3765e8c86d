//! `bulkhead import`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::{Entry, flags_of};
use crate::error::{CliError, FAILED};
use crate::flags;
use crate::line::Flags;
use crate::output;
use crate::wire::{self, ImportRequest};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "import",
    about: "Make an image of a root file system archive",
    footer: "Examples:\n  bulkhead import rootfs.tar my/base:1\n  tar -C rootfs -c . | bulkhead import -c 'CMD [\"sh\"]' - my/base",
    flags: Flags::Anywhere,
    build: ImportFlags::augment_args,
    run: |matches| execute(&flags_of::<ImportFlags>(matches)?.into_request()?),
};

/// Dockerfile instructions that change an image's configuration only.
const INSTRUCTIONS: [&str; 10] =
    ["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR", "HEALTHCHECK"];

#[derive(Debug, Args)]
struct ImportFlags {
    /// Dockerfile instruction for the configuration, like 'CMD ["sh"]'; may be repeated
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Comment in the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Archive (tar; gzip and zstd too), or - for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Reference of the image [default: none]
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

impl ImportFlags {
    fn into_request(self) -> Result<ImportRequest, CliError> {
        let instruction = |text: &str| {
            let word = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            if INSTRUCTIONS.contains(&word.as_str()) {
                Ok(text.to_owned())
            } else {
                Err(format!("an instruction that starts with {} is needed", INSTRUCTIONS.join(", ")).into())
            }
        };
        let changes = self.change.iter().map(|text| flags::meant("--change", text, instruction));
        let changes = changes.collect::<Result<Vec<String>, CliError>>()?;
        Ok(ImportRequest {
            file: Some(self.file).filter(|file| file.as_os_str() != "-"),
            reference: self.reference,
            changes,
            message: self.message,
        })
    }
}

/// Imports the archive and prints the id of the image.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &ImportRequest) -> Result<u8, CliError> {
    if request.file.is_none() && std::io::stdin().is_terminal() {
        return Err(CliError::usage("standard input is a terminal, and an archive is needed").with_code(FAILED));
    }
    let from = request.file.as_ref().map_or_else(|| "an archive".to_owned(), |path| path.display().to_string());
    let bar = wire::follow(format!("importing {from}"))?;
    let id = wire::import(request)?;
    drop(bar);
    output::line(&format!("sha256:{}", id.trim_start_matches("sha256:")))?;
    Ok(0)
}
