//! `bulkhead completion SHELL`: the one place that builds the parsers of all commands.

use clap::Command;
use clap_complete::Shell;

use super::{ALL, groups};
use crate::error::CliError;
use crate::output;

/// Prints the completion script for the shell that the words name.
///
/// # Errors
///
/// No shell, or one that is not known.
pub fn execute(words: &[String]) -> Result<u8, CliError> {
    let needed = "'bulkhead completion' needs one of bash, elvish, fish, powershell and zsh";
    let [name] = words else {
        return Err(CliError::usage(needed));
    };
    let shell: Shell = name.parse().map_err(|_| CliError::usage(needed))?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), "bulkhead", &mut script);
    output::raw(&script)?;
    Ok(0)
}

/// Everything that can be typed.
pub(super) fn tree() -> Command {
    let group = |group: &groups::Group| {
        let verbs = group.verbs.iter().map(|verb| {
            verb.entry.command_as(Some(group.name), verb.name).visible_aliases(verb.aliases.iter().copied())
        });
        Command::new(group.name).about(group.about).subcommands(verbs)
    };
    Command::new("bulkhead")
        .subcommands(ALL.iter().map(super::Entry::command))
        .subcommands(groups::ALL.iter().map(group))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_sound() {
        super::tree().debug_assert();
    }
}
