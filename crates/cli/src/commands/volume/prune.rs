//! `bulkhead volume prune`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};

use clap::Args;

use crate::commands::{Entry, flags_of};
use crate::error::CliError;
use crate::flags::{self, Needed};
use crate::line::Flags;
use crate::output::{self, human};
use crate::wire;

/// The command.
pub const ENTRY_PRUNE: Entry = Entry {
    name: "prune",
    about: "Remove anonymous volumes that no container uses",
    footer: "Examples:\n  bulkhead volume prune\n  bulkhead volume prune -af --filter label!=keep",
    flags: Flags::Anywhere,
    build: PruneFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct PruneFlags {
    /// Volumes with names too
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what fits: label=KEY[=VALUE], label!=KEY[=VALUE] or all=true; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// A condition that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    All(bool),
    Label { not: bool, key: String, value: Option<String> },
}

fn filter(text: &str) -> Result<Filter, Needed> {
    const FORM: &str = "label=KEY[=VALUE], label!=KEY[=VALUE] or all=true is needed";
    let label = |not, text: &str| {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() { Err(Needed::from(FORM)) } else { Ok(Filter::Label { not, key: key.to_owned(), value }) }
    };
    if let Some(rest) = text.strip_prefix("label!=") {
        return label(true, rest);
    }
    match text.split_once('=') {
        Some(("label", rest)) => label(false, rest),
        Some(("all", word)) => flags::boolean(word).map(Filter::All).ok_or_else(|| FORM.into()),
        _ => Err(FORM.into()),
    }
}

impl Filter {
    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Filter::All(_) => true,
            Filter::Label { not, key, value } => {
                let has = labels.get(key).is_some_and(|has| value.as_ref().is_none_or(|want| want == has));
                has != *not
            }
        }
    }
}

/// Asks as Docker does; what is not a yes is a no.
fn confirmed(warning: &str) -> Result<bool, CliError> {
    output::raw(format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ").as_bytes())?;
    let mut answer = String::new();
    // An answer that cannot be read is none.
    drop(std::io::stdin().lock().read_line(&mut answer));
    drop(std::io::stdout().flush());
    Ok(matches!(answer.trim(), "y" | "Y"))
}

fn execute(words: &PruneFlags) -> Result<u8, CliError> {
    let filters =
        words.filter.iter().map(|text| flags::meant("--filter", text, filter)).collect::<Result<Vec<_>, _>>()?;
    let all = words.all || filters.contains(&Filter::All(true));
    let which = if all { "all" } else { "anonymous" };
    let warning = format!("This will remove {which} local volumes not used by at least one container.");
    if !words.force && !confirmed(&warning)? {
        return Ok(0);
    }
    let (names, bytes) = wire::prune_volumes(all, |labels| filters.iter().all(|one| one.fits(labels)))?;
    output::raw(report(&names, bytes).as_bytes())?;
    Ok(0)
}

fn report(names: &[String], bytes: u64) -> String {
    let mut text = String::new();
    if !names.is_empty() {
        text.push_str(&format!("Deleted Volumes:\n{}\n\n", names.join("\n")));
    }
    text.push_str(&format!("Total reclaimed space: {}\n", human::size(bytes)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_choose() {
        let labels = BTreeMap::from([("keep".to_owned(), "yes".to_owned())]);
        let fits = |text: &str| filter(text).unwrap().fits(&labels);
        assert!(fits("label=keep") && fits("label=keep=yes") && fits("label!=keep=no") && fits("label!=x"));
        assert!(!fits("label=keep=no") && !fits("label!=keep") && !fits("label=x"));
        assert_eq!(filter("all=1"), Ok(Filter::All(true)));
        for wrong in ["", "keep", "label=", "all=maybe", "until=1h"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_report_is_dockers() {
        assert_eq!(report(&[], 0), "Total reclaimed space: 0B\n");
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(report(&names, 1500), "Deleted Volumes:\na\nb\n\nTotal reclaimed space: 1.5kB\n");
    }
}
