//! `bulkhead network verify`.

use clap::Args;

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output;
use crate::wire;

/// The command.
pub const ENTRY_VERIFY: Entry = Entry {
    name: "verify",
    about: "Compare the kernel's links and firewall with what running containers are to have",
    footer: "Exit code 1 when something differs and was not mended.\n\n\
             Examples:\n  bulkhead network verify\n  bulkhead network verify --mend",
    flags: Flags::Anywhere,
    build: VerifyFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct VerifyFlags {
    /// Make it right; nothing that belongs to somebody else is taken away
    #[arg(long)]
    mend: bool,
}

fn execute(words: &VerifyFlags) -> Result<u8, CliError> {
    let found = wire::verify_networks(words.mend)?;
    output::text(&report(&found, words.mend))?;
    Ok(u8::from(!found.is_empty() && !words.mend))
}

fn report(found: &[String], mend: bool) -> String {
    let lines: String = found.iter().map(|line| format!("{line}\n")).collect();
    match (found.len(), mend) {
        (0, _) => "everything is as declared\n".to_owned(),
        (1, true) => format!("{lines}1 difference, made right as far as that can be\n"),
        (n, true) => format!("{lines}{n} differences, made right as far as that can be\n"),
        (_, false) => format!("{lines}'bulkhead network verify --mend' makes it right\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::report;

    #[test]
    fn the_report_says_what_to_do() {
        assert_eq!(report(&[], false), "everything is as declared\n");
        let one = ["a table is gone".to_owned()];
        assert!(report(&one, false).ends_with("--mend' makes it right\n"));
        assert!(report(&one, true).starts_with("a table is gone\n1 difference, made right"));
    }
}
