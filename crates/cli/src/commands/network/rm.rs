//! `bulkhead network rm`.

use clap::Args;

use crate::commands::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY_RM: Entry = Entry {
    name: "rm",
    about: "Remove networks that no container is connected to",
    footer: "Examples:\n  bulkhead network rm web\n  bulkhead network rm $(bulkhead network ls -q -f dangling=true)",
    flags: Flags::Anywhere,
    build: RmFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct RmFlags {
    /// A network that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Names, ids or starts of ids
    #[arg(value_name = "NETWORK", required = true)]
    networks: Vec<String>,
}

fn execute(words: &RmFlags) -> Result<u8, CliError> {
    for_each(&words.networks, |name| wire::remove_network(name, words.force).map(|_| vec![name.to_owned()]))
}
