//! `bulkhead commit`.

use bulkhead_engine::containers::CommitRequest;
use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output;
use crate::wire::files;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "commit",
    about: "Make an image of what a container has changed",
    footer: "Examples:\n  bulkhead commit web shop/web:fixed\n  bulkhead commit -c 'CMD [\"nginx\"]' -m 'with index' web",
    flags: Flags::Anywhere,
    build: CommitFlags::augment_args,
    run: |matches| execute(&flags_of::<CommitFlags>(matches)?.into_request()),
};

#[derive(Debug, Args)]
struct CommitFlags {
    /// Who made it, like "Jane Doe <jane@example.com>"
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,
    /// Dockerfile instruction for the configuration, like 'CMD ["sh"]'; may be repeated
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Comment in the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Hold the container still meanwhile, which is the default; switch it off with --pause=false
    #[arg(short, long)]
    pause: bool,
    /// Do not hold the container still
    #[arg(long, hide = true)]
    no_pause: bool,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Reference of the image [default: none]
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

impl CommitFlags {
    fn into_request(self) -> CommitRequest {
        CommitRequest {
            container: self.container,
            reference: self.reference,
            author: self.author.unwrap_or_default(),
            message: self.message.unwrap_or_default(),
            changes: self.change,
            pause: !self.no_pause,
        }
    }
}

/// Makes the image and prints its id.
///
/// # Errors
///
/// What the engine says.
pub fn execute(request: &CommitRequest) -> Result<u8, CliError> {
    let id = files::commit(request)?;
    output::line(&format!("sha256:{id}"))?;
    Ok(0)
}
