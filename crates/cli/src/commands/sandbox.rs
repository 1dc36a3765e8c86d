//! `bulkhead sandbox`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "sandbox",
    about: "Run a program over a directory, read-only, and store nothing",
    footer: "\
The hardened defaults of 'run' without an image, a record, a log or a monitor. The program has the streams of this
command, and ends with it.

Examples:
  bulkhead sandbox ./rootfs /bin/true
  bulkhead sandbox / id",
    flags: Flags::First,
    build: SandboxFlags::augment_args,
    run: |matches| {
        let words: SandboxFlags = flags_of(matches)?;
        execute(&words.rootfs, &words.args)
    },
};

#[derive(Debug, Args)]
struct SandboxFlags {
    /// Directory that becomes the root
    #[arg(value_name = "ROOTFS")]
    rootfs: PathBuf,
    /// Program and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the program; returns its exit code.
///
/// # Errors
///
/// What the engine says (125, 126, 127).
pub fn execute(rootfs: &Path, args: &[String]) -> Result<u8, CliError> {
    wire::sandbox(rootfs, args)
}
