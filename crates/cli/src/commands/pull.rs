//! `bulkhead pull`.

use clap::Args;

use super::{Entry, flags_of, images};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::transfer::Transfer;
use crate::wire::registry::Pulled;
use crate::{output, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "pull",
    about: "Bring an image from a registry",
    footer: "\
A name without a host is looked for on docker.io. What comes is checked against its
digests before it is used, and unpacked by a confined process.

Examples:
  bulkhead pull alpine
  bulkhead pull --platform linux/arm64 registry.example/team/app:1.2
  bulkhead pull alpine@sha256:…",
    flags: Flags::Anywhere,
    build: PullRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// What to pull.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PullRequest {
    /// Bring every tag of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// The image for this platform, like linux/arm64 [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Print only the reference
    #[arg(short, long)]
    pub quiet: bool,
    /// Nothing to do: no signature of an image is looked at
    #[arg(long, hide = true)]
    pub disable_content_trust: bool,
    /// Reference: [REGISTRY/]NAME[:TAG][@DIGEST]
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
}

/// Pulls, and prints what came.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &PullRequest) -> Result<u8, CliError> {
    let last = request.reference.rsplit('/').next().unwrap_or_default();
    if request.all_tags && last.contains([':', '@']) {
        return Err(CliError::usage("--all-tags takes a repository without a tag"));
    }
    if !request.quiet && !request.all_tags && !last.contains([':', '@']) {
        output::line("Using default tag: latest")?;
    }
    let mut show = Transfer::on_stdout(request.quiet, "Downloading");
    let platform = request.platform.as_deref();
    let pulled = wire::registry::pull(&request.reference, platform, request.all_tags, &mut |step| show.step(step));
    show.end();
    for one in pulled? {
        if !request.quiet {
            output::line(&format!("Digest: {}", one.digest))?;
            output::line(&status(&one))?;
        }
        output::line(&one.reference)?;
    }
    Ok(0)
}

/// Docker's sentence about what was done.
pub(crate) fn status(pulled: &Pulled) -> String {
    let name = images::familiar(&pulled.reference);
    if pulled.new {
        format!("Status: Downloaded newer image for {name}")
    } else {
        format!("Status: Image is up to date for {name}")
    }
}
