//! `bulkhead volume rm`.

use clap::Args;

use crate::commands::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY_RM: Entry = Entry {
    name: "rm",
    about: "Remove volumes that no container uses",
    footer: "Examples:\n  bulkhead volume rm data\n  bulkhead volume rm $(bulkhead volume ls -q -f dangling=true)",
    flags: Flags::Anywhere,
    build: RmFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct RmFlags {
    /// A volume that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
}

fn execute(words: &RmFlags) -> Result<u8, CliError> {
    for_each(&words.volumes, |name| wire::remove_volume(name, words.force).map(|()| vec![name.to_owned()]))
}
