//! `bulkhead completion SHELL`: the place that builds the parsers of all commands. The words of the command line come
//! from the same definitions as the parsers; names of containers, images and volumes are asked for when they are needed.

mod names;

use clap::{Args, Command};
use clap_complete::Shell;

use super::{ALL, Entry, flags_of, groups};
use crate::error::CliError;
use crate::line::Flags;
use crate::output;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "completion",
    about: "Print completions for bash, zsh, fish and others",
    footer: "\
Examples:
  bulkhead completion bash > /etc/bash_completion.d/bulkhead
  bulkhead completion zsh > \"${fpath[1]}/_bulkhead\"
  bulkhead completion fish > ~/.config/fish/completions/bulkhead.fish",
    flags: Flags::Anywhere,
    build: CompletionFlags::augment_args,
    run: |matches| execute(&flags_of::<CompletionFlags>(matches)?.shell),
};

#[derive(Debug, Args)]
struct CompletionFlags {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    shell: String,
}

/// Prints the completion script for this shell.
///
/// # Errors
///
/// A shell that is not known.
pub fn execute(shell: &str) -> Result<u8, CliError> {
    let shell: Shell = shell.parse().map_err(|_| {
        CliError::failed(format!("unknown shell {shell:?}: bash, elvish, fish, powershell or zsh is needed"))
    })?;
    output::raw(script(shell).as_bytes())?;
    Ok(0)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), "bulkhead", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => names::bash(&script),
        Shell::Zsh => names::zsh(&script),
        Shell::Fish => names::fish(&script),
        _ => script,
    }
}

/// Everything that can be typed.
pub(super) fn tree() -> Command {
    let group = |group: &groups::Group| {
        let verbs = group.verbs.iter().map(|verb| {
            let command = verb.entry.command_as(Some(group.name), verb.name);
            command.visible_aliases(verb.aliases.iter().copied())
        });
        Command::new(group.name).about(group.about).subcommands(verbs)
    };
    Command::new("bulkhead")
        .about("Run containers that are isolated and limited without a flag")
        .subcommands(ALL.iter().map(Entry::command))
        .subcommands(groups::ALL.iter().map(group))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_sound() {
        super::tree().debug_assert();
    }
}
