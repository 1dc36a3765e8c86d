//! `bulkhead network prune`.

use clap::Args;

use crate::commands::system::prune::{confirmed, filter};
use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, human};
use crate::wire;

/// The command.
pub const ENTRY_PRUNE: Entry = Entry {
    name: "prune",
    about: "Remove all networks that no container is connected to",
    footer: "Examples:\n  bulkhead network prune\n  bulkhead network prune -f --filter until=24h",
    flags: Flags::Anywhere,
    build: PruneFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct PruneFlags {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what fits: until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

fn execute(words: &PruneFlags) -> Result<u8, CliError> {
    let filter = filter(&words.filter, human::now())?;
    if !words.force {
        output::raw(b"WARNING! This will remove all custom networks not used by at least one container.\n")?;
        if !confirmed()? {
            return Ok(0);
        }
    }
    output::raw(report(&wire::prune_networks(&filter)?).as_bytes())?;
    Ok(0)
}

fn report(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("Deleted Networks:\n{}\n\n", names.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::report;

    #[test]
    fn the_report_is_dockers() {
        assert_eq!(report(&[]), "");
        assert_eq!(report(&["a".to_owned(), "b".to_owned()]), "Deleted Networks:\na\nb\n\n");
    }
}
