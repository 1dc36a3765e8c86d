//! `bulkhead push`.

use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::transfer::Transfer;
use crate::{output, wire};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "push",
    about: "Send an image to a registry",
    footer: "\
An image is sent to the registry that its name has; 'bulkhead tag' gives it another name.
What the registry has already is not sent again.

Examples:
  bulkhead push registry.example/team/app:1.2
  bulkhead push --all-tags localhost:5000/app",
    flags: Flags::Anywhere,
    build: PushRequest::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

/// What to push.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PushRequest {
    /// Send every tag of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Print only the reference
    #[arg(short, long)]
    pub quiet: bool,
    /// Nothing to do: images are not signed
    #[arg(long, hide = true)]
    pub disable_content_trust: bool,
    /// Reference: [REGISTRY/]NAME[:TAG]
    #[arg(value_name = "IMAGE")]
    pub reference: String,
}

/// Pushes, and prints what the registry has now.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &PushRequest) -> Result<u8, CliError> {
    let last = request.reference.rsplit('/').next().unwrap_or_default();
    if !request.quiet && !request.all_tags && !last.contains([':', '@']) {
        output::line("Using default tag: latest")?;
    }
    let mut show = Transfer::on_stdout(request.quiet, "Pushing");
    let pushed = wire::registry::push(&request.reference, request.all_tags, &mut |step| show.step(step));
    show.end();
    for one in pushed? {
        if request.quiet {
            output::line(&one.reference)?;
        } else {
            let (_, tag) = super::images::split(&one.reference);
            output::line(&format!("{tag}: digest: {} size: {}", one.digest, one.size))?;
        }
    }
    Ok(0)
}
