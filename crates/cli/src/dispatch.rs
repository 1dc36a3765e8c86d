//! The first word chooses the command; only that command's parser is built.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;

use crate::commands::{self, Entry, groups, groups::Group};
use crate::error::{CliError, FAILED};
use crate::{line, output, runc};

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
    if runc::is_called(&program) {
        return Ok(runc::main(args));
    }
    let Some(first) = args.next() else {
        output::raw(help().as_bytes())?;
        return Ok(0);
    };
    let Some(word) = first.to_str().map(str::to_owned) else {
        return Err(unknown(&first.to_string_lossy()));
    };
    if word == "oci" {
        return Ok(runc::main(args));
    }
    if let Some(run) = commands::hidden::find(&word) {
        return run(&args.collect::<Vec<_>>());
    }
    if let Some(entry) = commands::find(&word) {
        return run(entry, || entry.command(), texts(args)?);
    }
    if let Some(group) = groups::find(&word) {
        return in_group(group, &texts(args)?);
    }
    match word.as_str() {
        "help" | "-h" | "--help" => output::raw(help_for(&texts(args)?)?.as_bytes()).map(|()| 0),
        "-v" | "-V" | "--version" => output::line(&commands::version::short()).map(|()| 0),
        flag if flag.starts_with('-') => {
            Err(CliError::usage(format!("unknown flag: {flag}")).with_hint("see 'bulkhead --help'"))
        }
        other => Err(unknown(other)),
    }
}

fn run(entry: &Entry, command: impl Fn() -> Command, words: Vec<String>) -> Result<u8, CliError> {
    match line::parse(command(), words, entry.flags)? {
        Some(matches) => (entry.run)(&matches),
        None => output::raw(command().render_help().to_string().as_bytes()).map(|()| 0),
    }
}

/// `container ls …`: the second word chooses the command.
fn in_group(group: &Group, words: &[String]) -> Result<u8, CliError> {
    let Some((word, rest)) = words.split_first() else {
        return output::raw(group_help(group).as_bytes()).map(|()| 0);
    };
    if let Some(verb) = group.find(word) {
        return run(verb.entry, || verb.entry.command_as(Some(group.name), verb.name), rest.to_vec());
    }
    match word.as_str() {
        "help" | "-h" | "--help" => output::raw(group_help_for(group, rest)?.as_bytes()).map(|()| 0),
        flag if flag.starts_with('-') => {
            Err(CliError::usage(format!("unknown flag: {flag}"))
                .with_hint(format!("see 'bulkhead {} --help'", group.name)))
        }
        other => Err(unknown_verb(group, other)),
    }
}

/// The help that `help WORDS` asks for.
fn help_for(words: &[String]) -> Result<String, CliError> {
    let Some((name, rest)) = words.split_first() else { return Ok(help()) };
    if let Some(entry) = commands::find(name) {
        return Ok(entry.command().render_help().to_string());
    }
    group_help_for(groups::find(name).ok_or_else(|| unknown(name))?, rest)
}

fn group_help_for(group: &Group, words: &[String]) -> Result<String, CliError> {
    let Some(name) = words.first() else { return Ok(group_help(group)) };
    let verb = group.find(name).ok_or_else(|| unknown_verb(group, name))?;
    Ok(verb.entry.command_as(Some(group.name), verb.name).render_help().to_string())
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
    let names = commands::ALL.iter().map(|entry| entry.name).chain(groups::ALL.iter().map(|group| group.name));
    match line::nearest(word, names.chain(["help"])) {
        Some(name) => error.with_hint(format!("did you mean 'bulkhead {name}'?")),
        None => error.with_hint("see 'bulkhead --help'"),
    }
}

fn unknown_verb(group: &Group, word: &str) -> CliError {
    let error = CliError::usage(format!("unknown command: \"{} {}\"", group.name, word.escape_debug()));
    let names = group.verbs.iter().flat_map(|verb| std::iter::once(&verb.name).chain(verb.aliases)).copied();
    let hint = match line::nearest(word, names) {
        Some(name) => format!("did you mean 'bulkhead {} {name}'?", group.name),
        None => format!("see 'bulkhead {} --help'", group.name),
    };
    error.with_code(FAILED).with_hint(hint)
}

fn help() -> String {
    let mut text = String::from(
        "Runs containers that are isolated and limited without a flag\n\nUsage: bulkhead COMMAND [FLAGS] …\n\nCommands:\n",
    );
    for entry in commands::ALL {
        text.push_str(&format!("  {:<11} {}\n", entry.name, entry.about));
    }
    text.push_str("\nGroups:\n");
    for group in groups::ALL {
        text.push_str(&format!("  {:<11} {}\n", group.name, group.about));
    }
    text.push('\n');
    text.push_str(FOOTER);
    text
}

fn group_help(group: &Group) -> String {
    let mut text = format!("{}\n\nUsage: bulkhead {} COMMAND [FLAGS] …\n\nCommands:\n", group.about, group.name);
    for verb in group.verbs {
        text.push_str(&format!("  {:<11} {}\n", verb.name, verb.entry.about));
    }
    text.push_str(&format!("\n'bulkhead {} COMMAND --help' shows the flags of a command.\n", group.name));
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
        assert_eq!((error.to_string().as_str(), error.code), ("'bulkhead run' needs <IMAGE>", 1));
        let error = dispatched(&["version", "now"]).unwrap_err();
        let says = "'bulkhead version' does not take the word \"now\"";
        assert_eq!((error.to_string().as_str(), error.code), (says, 1));
    }

    #[test]
    fn a_group_names_its_verbs_and_their_flags() {
        let error = dispatched(&["container", "lsr"]).unwrap_err();
        assert_eq!(error.to_string(), "unknown command: \"container lsr\"");
        assert_eq!((error.code, error.hint.as_deref()), (1, Some("did you mean 'bulkhead container ls'?")));
        let error = dispatched(&["image", "zzzzzz"]).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("see 'bulkhead image --help'"));
        let error = dispatched(&["containr"]).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean 'bulkhead container'?"));
        let error = dispatched(&["container", "ls", "--lateest"]).unwrap_err();
        let hint = "did you mean --latest?; see 'bulkhead container ls --help'";
        assert_eq!((error.code, error.hint.as_deref()), (125, Some(hint)));
        assert_eq!(dispatched(&["container", "--nope"]).unwrap_err().code, 125);
        assert_eq!(dispatched(&["image", "rm"]).unwrap_err().to_string(), "'bulkhead image rm' needs <IMAGE>...");
    }

    #[test]
    fn help_is_found_by_path() {
        let of = |words: &[&str]| help_for(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(of(&[]).unwrap().contains("\nGroups:\n  container "));
        assert!(of(&["container"]).unwrap().contains("Usage: bulkhead container COMMAND"));
        for words in [["container", "ls"], ["container", "list"]] {
            assert!(of(&words).unwrap().contains("Usage: bulkhead container ls"), "{words:?}");
        }
        assert!(of(&["ps"]).unwrap().contains("Usage: bulkhead ps"));
        assert!(of(&["container", "lx"]).is_err() && of(&["nothing"]).is_err());
    }

    #[test]
    fn every_command_has_help_and_each_flag_a_text() {
        let first = commands::ALL.iter().map(Entry::command);
        let grouped = groups::ALL
            .iter()
            .flat_map(|group| group.verbs.iter().map(|verb| verb.entry.command_as(Some(group.name), verb.name)));
        for mut command in first.chain(grouped) {
            command.clone().debug_assert();
            assert!(command.render_help().to_string().contains("Usage: bulkhead"), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
