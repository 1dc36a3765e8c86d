//! The first word chooses the command; only that command's parser is built.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::commands::{self, Entry, completion};
use crate::error::{CliError, FAILED};
use crate::{line, output};

const FOOTER: &str = "\
Every container starts hardened: a user namespace of its own, no new privileges,
the least capabilities, a strict system call filter, and limits.
'bulkhead explain CONTAINER' shows what holds one in.

Examples:
  bulkhead run --rm -it alpine sh            a shell in a fresh container
  bulkhead run -d --name web -p 8080:80 web  a service in the background
  bulkhead COMMAND --help                    the flags of a command
";

/// Runs what the arguments (the program's name first) ask for.
pub(crate) fn dispatch(args: Vec<OsString>) -> Result<u8, CliError> {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    // The binary under this name is the first process of `run --init`.
    if Path::new(&program).file_name() == Some(OsStr::new("bulkhead-init")) {
        return commands::hidden::init(&args.collect::<Vec<_>>());
    }
    let Some(first) = args.next() else {
        output::raw(help().as_bytes())?;
        return Ok(0);
    };
    let Some(word) = first.to_str().map(str::to_owned) else {
        return Err(unknown(&first.to_string_lossy()));
    };
    if let Some(run) = commands::hidden::find(&word) {
        return run(&args.collect::<Vec<_>>());
    }
    if let Some(entry) = commands::find(&word) {
        return run(entry, texts(args)?);
    }
    if word == "volume" {
        return commands::volume::dispatch(texts(args)?);
    }
    match word.as_str() {
        "help" | "-h" | "--help" => match texts(args)?.first() {
            None => output::raw(help().as_bytes()).map(|()| 0),
            Some(name) => {
                let entry = commands::find(name).ok_or_else(|| unknown(name))?;
                output::raw(entry.command().render_help().to_string().as_bytes()).map(|()| 0)
            }
        },
        "-v" | "-V" | "--version" => output::line(&commands::version::short()).map(|()| 0),
        "completion" => completion::execute(&texts(args)?),
        flag if flag.starts_with('-') => {
            Err(CliError::usage(format!("unknown flag: {flag}")).with_hint("see 'bulkhead --help'"))
        }
        other => Err(unknown(other)),
    }
}

fn run(entry: &Entry, words: Vec<String>) -> Result<u8, CliError> {
    match line::parse(entry.command(), words, entry.flags)? {
        Some(matches) => (entry.run)(&matches),
        None => output::raw(entry.command().render_help().to_string().as_bytes()).map(|()| 0),
    }
}

fn texts(args: impl Iterator<Item = OsString>) -> Result<Vec<String>, CliError> {
    args.map(|arg| {
        arg.into_string()
            .map_err(|arg| CliError::usage(format!("the argument {:?} is not UTF-8 text", arg.to_string_lossy())))
    })
    .collect()
}

fn unknown(word: &str) -> CliError {
    let error = CliError::usage(format!("unknown command: {word:?}")).with_code(FAILED);
    match line::nearest(word, commands::ALL.iter().map(|entry| entry.name)) {
        Some(name) => error.with_hint(format!("did you mean 'bulkhead {name}'?")),
        None => error.with_hint("see 'bulkhead --help'"),
    }
}

fn help() -> String {
    let mut text = String::from(
        "Runs containers that are isolated and limited without a flag\n\nUsage: bulkhead COMMAND [FLAGS] …\n\nCommands:\n",
    );
    for entry in commands::ALL {
        text.push_str(&format!("  {:<11} {}\n", entry.name, entry.about));
    }
    text.push_str("  volume      Manage volumes: create, ls, inspect, rm, prune\n");
    text.push_str("  completion  Print completions for bash, zsh, fish and others\n\n");
    text.push_str(FOOTER);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispatched(words: &[&str]) -> Result<u8, CliError> {
        dispatch(std::iter::once(&"bulkhead").chain(words).map(OsString::from).collect())
    }

    #[test]
    fn unknown_commands_exit_with_1_and_unknown_flags_with_125() {
        let error = dispatched(&["rnu"]).unwrap_err();
        assert_eq!((error.code, error.hint.as_deref()), (1, Some("did you mean 'bulkhead run'?")));
        assert_eq!(dispatched(&["--nope"]).unwrap_err().code, 125);
        assert_eq!(dispatched(&["ps", "--nope"]).unwrap_err().code, 125);
        assert_eq!(dispatched(&["run", "--nope", "alpine"]).unwrap_err().code, 125);
    }

    #[test]
    fn missing_and_extra_words_are_named() {
        let error = dispatched(&["run", "--rm"]).unwrap_err();
        assert_eq!(error.to_string(), "'bulkhead run' needs <IMAGE>");
        let error = dispatched(&["version", "now"]).unwrap_err();
        assert_eq!(error.to_string(), "'bulkhead version' does not take the word \"now\"");
    }

    #[test]
    fn every_command_has_help_and_each_flag_a_text() {
        for entry in commands::ALL {
            let mut command = entry.command();
            command.clone().debug_assert();
            assert!(command.render_help().to_string().contains("Usage: bulkhead"), "{}", entry.name);
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", entry.name, arg.get_id());
            }
        }
    }
}
