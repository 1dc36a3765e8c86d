//! `bulkhead network verify`.

use clap::Args;

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output;
use crate::wire::{self, Verified};

/// The command.
pub const ENTRY_VERIFY: Entry = Entry {
    name: "verify",
    about: "Compare the kernel's links and firewall with what running containers are to have",
    footer: "Exit code 1 when something differs and is not made right.\n\n\
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
    let verified = wire::verify_networks(words.mend)?;
    output::text(&report(&verified, words.mend))?;
    Ok(u8::from(!verified.left.is_empty()))
}

fn report(verified: &Verified, mend: bool) -> String {
    let Verified { found, left } = verified;
    if found.is_empty() {
        return "everything is as declared\n".to_owned();
    }
    let lines = |all: &[String]| all.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mended = found.len().saturating_sub(left.len());
    match (mend, left.is_empty()) {
        (false, _) => format!("{}'bulkhead network verify --mend' makes right what can be\n", lines(found)),
        (true, true) => format!("{}{mended} made right\n", lines(found)),
        (true, false) => format!("{}{mended} made right; left:\n{}", lines(found), lines(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Verified, report};

    #[test]
    fn the_report_says_what_to_do() {
        let words = |all: &[&str]| all.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let of = |found: &[&str], left: &[&str]| Verified { found: words(found), left: words(left) };
        assert_eq!(report(&of(&[], &[]), true), "everything is as declared\n");
        assert!(report(&of(&["a"], &["a"]), false).ends_with("--mend' makes right what can be\n"));
        assert_eq!(report(&of(&["a", "b"], &[]), true), "a\nb\n2 made right\n");
        assert_eq!(report(&of(&["a", "b"], &["b"]), true), "a\nb\n1 made right; left:\nb\n");
    }
}
