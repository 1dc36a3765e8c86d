//! `bulkhead volume …`.

pub mod create;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod rm;

pub use self::create::ENTRY_CREATE;
pub use self::inspect::ENTRY_INSPECT;
pub use self::ls::ENTRY_LS;
pub use self::prune::ENTRY_PRUNE;
pub use self::rm::ENTRY_RM;

use super::Entry;
use crate::error::{CliError, FAILED};
use crate::{line, output};

/// The commands of the group with their full names, in the order of the help.
const GROUP: [(&str, &Entry); 5] = [
    ("volume create", &ENTRY_CREATE),
    ("volume inspect", &ENTRY_INSPECT),
    ("volume ls", &ENTRY_LS),
    ("volume prune", &ENTRY_PRUNE),
    ("volume rm", &ENTRY_RM),
];

/// Runs the command that the words after `volume` name.
///
/// # Errors
///
/// A word that is no command, and what the command says.
pub fn dispatch(words: Vec<String>) -> Result<u8, CliError> {
    let mut words = words.into_iter();
    let Some(word) = words.next().filter(|word| !matches!(word.as_str(), "--help" | "-h")) else {
        return output::raw(help().as_bytes()).map(|()| 0);
    };
    // Docker knows these names too.
    let name = match word.as_str() {
        "list" => "ls",
        "remove" => "rm",
        other => other,
    };
    let Some((full, entry)) = GROUP.iter().find(|(_, entry)| entry.name == name) else {
        let error = CliError::usage(format!("unknown command: \"volume {word}\"")).with_code(FAILED);
        return Err(match line::nearest(&word, GROUP.iter().map(|(_, entry)| entry.name)) {
            Some(near) => error.with_hint(format!("did you mean 'bulkhead volume {near}'?")),
            None => error.with_hint("see 'bulkhead volume --help'"),
        });
    };
    let command = || entry.command().name(*full).bin_name(format!("bulkhead {full}"));
    match line::parse(command(), words.collect(), entry.flags)? {
        Some(matches) => (entry.run)(&matches),
        None => output::raw(command().render_help().to_string().as_bytes()).map(|()| 0),
    }
}

fn help() -> String {
    let mut text = String::from("Manage volumes\n\nUsage: bulkhead volume COMMAND\n\nCommands:\n");
    for (_, entry) in GROUP {
        text.push_str(&format!("  {:<9} {}\n", entry.name, entry.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<u8, CliError> {
        dispatch(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn slips_are_helped_and_every_flag_has_a_text() {
        let error = run(&["creat"]).unwrap_err();
        assert_eq!((error.code, error.hint.as_deref()), (1, Some("did you mean 'bulkhead volume create'?")));
        let error = run(&["rm"]).unwrap_err();
        assert_eq!(error.to_string(), "'bulkhead volume rm' needs <VOLUME>...");
        assert_eq!(run(&["ls", "--nope"]).unwrap_err().code, 125);
        for (_, entry) in GROUP {
            let mut command = entry.command();
            command.clone().debug_assert();
            assert!(command.render_help().to_string().contains("Usage:"), "{}", entry.name);
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", entry.name, arg.get_id());
            }
        }
    }
}
