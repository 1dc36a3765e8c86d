//! `bulkhead version`.

use clap::Args;
use serde_json::{Value, json};

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, template::Format};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "version",
    about: "Show the version",
    footer: "Examples:\n  bulkhead version\n  bulkhead version -f '{{.Version}}'",
    flags: Flags::Anywhere,
    build: VersionFlags::augment_args,
    run: |matches| {
        let words: VersionFlags = flags_of(matches)?;
        execute(words.format.as_deref().map(Format::parse).transpose()?.as_ref())
    },
};

#[derive(Debug, Args)]
struct VersionFlags {
    /// "json", or a template like '{{.Version}}' [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// One line, for `--version`.
pub fn short() -> String {
    format!("bulkhead version {}", env!("CARGO_PKG_VERSION"))
}

fn facts() -> Value {
    let (version, os) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    // One program is both of Docker's halves.
    let half = json!({"Version": version, "GitCommit": "", "Os": os, "Arch": docker_arch(std::env::consts::ARCH)});
    json!({"Version": version, "Os": os, "Arch": std::env::consts::ARCH, "Client": half, "Server": half})
}

/// Docker's name of an architecture.
fn docker_arch(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Prints the version.
///
/// # Errors
///
/// A template field that does not exist.
pub fn execute(format: Option<&Format>) -> Result<u8, CliError> {
    match format {
        Some(format) => output::raw(format.render(&[facts()], str::to_owned)?.as_bytes())?,
        None => output::line(&format!("{} ({}/{})", short(), std::env::consts::OS, std::env::consts::ARCH))?,
    }
    Ok(0)
}
