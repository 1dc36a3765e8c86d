//! Command lines as Docker's users write them, put into one form before clap sees them.
//!
//! Docker's parser (pflag) takes the word after a flag as its value whatever it looks like, lets `--flag=false` switch a
//! flag off, bundles short flags, and for `run` and `exec` stops at the first word that is no flag. Here every known
//! flag becomes `--name` or `--name=value`, and the positional words follow `--`, so nothing is left to guess for clap.

use clap::{ArgMatches, Command};

use crate::error::CliError;

/// The flag that every command has.
const HELP: &str = "--help";

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// Anywhere before `--`.
    Anywhere,
    /// Before the first positional word; everything after it belongs to the container.
    First,
}

/// One flag of a command, as far as this module needs to know it.
struct Known {
    long: String,
    aliases: Vec<String>,
    short: Option<char>,
    takes_value: bool,
    /// There is a `--no-…` of it.
    sister: bool,
}

/// Parses the words after the command's name; `None` when help is asked for before anything that is wrong.
///
/// # Errors
///
/// An unknown flag, a flag without its value, too few or too many words: exit code 125.
pub fn parse(command: Command, words: Vec<String>, flags: Flags) -> Result<Option<ArgMatches>, CliError> {
    let name = command.get_name().to_owned();
    let see = format!("see 'bulkhead {name} --help'");
    let words = normalise(&command, words, flags).map_err(|error| match &error.hint {
        Some(hint) => {
            let hint = format!("{hint}; {see}");
            error.with_hint(hint)
        }
        None => error.with_hint(see.clone()),
    })?;
    let Some(words) = words else { return Ok(None) };
    let command = command.no_binary_name(true).args_override_self(true);
    command.try_get_matches_from(words).map(Some).map_err(|error| explain(&error, &name).with_hint(see))
}

/// What is left for clap to refuse: the number of words.
fn explain(error: &clap::Error, name: &str) -> CliError {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            CliError::usage(format!("'bulkhead {name}' needs {}", text(ContextKind::InvalidArg)))
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => {
            CliError::usage(format!("'bulkhead {name}' does not take the word {:?}", text(ContextKind::InvalidArg)))
        }
        ErrorKind::ArgumentConflict => {
            let (one, other) = (text(ContextKind::InvalidArg), text(ContextKind::PriorArg));
            CliError::usage(format!("{one} and {other} cannot be used together"))
        }
        _ => CliError::usage(error.to_string().trim().trim_start_matches("error: ").to_owned()),
    }
}

/// The words in their full form; `None` for `--help`.
fn normalise(command: &Command, words: Vec<String>, flags: Flags) -> Result<Option<Vec<String>>, CliError> {
    let known: Vec<Known> = command
        .get_arguments()
        .filter_map(|arg| {
            Some(Known {
                long: arg.get_long()?.to_owned(),
                aliases: arg.get_all_aliases().unwrap_or_default().into_iter().map(str::to_owned).collect(),
                short: arg.get_short(),
                takes_value: arg.get_action().takes_values(),
                sister: command
                    .get_arguments()
                    .any(|other| other.get_long().and_then(|long| long.strip_prefix("no-")) == arg.get_long()),
            })
        })
        .collect();
    let mut done = Vec::with_capacity(words.len() + 1);
    let mut positional = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            positional.extend(words.by_ref());
        } else if let Some(body) = word.strip_prefix("--") {
            long(&known, body, &mut words, &mut done)?;
        } else if let Some(body) = word.strip_prefix('-').filter(|body| !body.is_empty()) {
            short(&known, body, &mut words, &mut done)?;
        } else {
            positional.push(word);
            if flags == Flags::First {
                positional.extend(words.by_ref());
            }
        }
        if done.last().is_some_and(|word| word == HELP) {
            return Ok(None);
        }
    }
    done.push("--".to_owned());
    done.append(&mut positional);
    Ok(Some(done))
}

fn long(
    known: &[Known],
    body: &str,
    words: &mut impl Iterator<Item = String>,
    done: &mut Vec<String>,
) -> Result<(), CliError> {
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (body, None),
    };
    let flag = known
        .iter()
        .find(|flag| flag.long == name || flag.aliases.iter().any(|alias| alias == name))
        .ok_or_else(|| unknown(known, name))?;
    accept(flag, value, words, done)
}

fn short(
    known: &[Known],
    body: &str,
    words: &mut impl Iterator<Item = String>,
    done: &mut Vec<String>,
) -> Result<(), CliError> {
    let mut rest = body;
    while let Some(letter) = rest.chars().next() {
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        let flag = known.iter().find(|flag| flag.short == Some(letter)).ok_or_else(|| {
            let error = CliError::usage(format!("unknown flag: -{letter}"));
            // `-name` is a common slip for `--name`.
            match known.iter().find(|flag| body.chars().count() > 2 && flag.long == body) {
                Some(flag) => error.with_hint(format!("did you mean --{}?", flag.long)),
                None => error,
            }
        })?;
        if let Some(value) = rest.strip_prefix('=') {
            return accept(flag, Some(value.to_owned()), words, done);
        }
        if flag.takes_value {
            let value = (!rest.is_empty()).then(|| rest.to_owned());
            return accept(flag, value, words, done);
        }
        accept(flag, None, words, done)?;
    }
    Ok(())
}

/// Writes one flag in its full form.
fn accept(
    flag: &Known,
    value: Option<String>,
    words: &mut impl Iterator<Item = String>,
    done: &mut Vec<String>,
) -> Result<(), CliError> {
    let name = format!("--{}", flag.long);
    if flag.takes_value {
        let value = value.or_else(|| words.next()).ok_or_else(|| CliError::usage(format!("{name} needs a value")))?;
        done.push(format!("{name}={value}"));
        return Ok(());
    }
    let on = match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => return Err(CliError::invalid(&name, other, "true or false is needed")),
    };
    // The last word counts, so what was said before is taken back.
    done.retain(|word| *word != name);
    // A switch that is on by itself has a sister that switches it off.
    let sister = format!("no-{}", flag.long);
    done.retain(|word| *word != format!("--{sister}"));
    if on {
        done.push(name);
    } else if flag.sister {
        done.push(format!("--{sister}"));
    }
    Ok(())
}

fn unknown(known: &[Known], name: &str) -> CliError {
    let error = CliError::usage(format!("unknown flag: --{name}"));
    match nearest(name, known.iter().map(|flag| flag.long.as_str())) {
        Some(flag) => error.with_hint(format!("did you mean --{flag}?")),
        None => error,
    }
}

/// The candidate that is a slip of the finger away from `word`.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| {
            // The start of a flag is a good guess too: --mem for --memory.
            let started = word.len() >= 3 && candidate.starts_with(word);
            (if started { 1 } else { distance(word, candidate) }, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap two neighbours) between two words.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    // The row before `above` and the letter it ended with, for swaps.
    let mut earlier: Option<(Vec<usize>, char)> = None;
    for (line, a) in from.chars().enumerate() {
        let mut row = vec![line + 1];
        for (column, b) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut best = at(&above, column) + usize::from(a != *b);
            best = best.min(at(&row, column) + 1).min(at(&above, column + 1) + 1);
            if let (Some((earlier, before)), Some(left)) = (&earlier, column.checked_sub(1))
                && to.get(left) == Some(&a)
                && before == b
            {
                best = best.min(at(earlier, left) + 1);
            }
            row.push(best);
        }
        earlier = Some((std::mem::replace(&mut above, row), a));
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    fn command() -> Command {
        Command::new("run")
            .arg(Arg::new("interactive").short('i').long("interactive").action(ArgAction::SetTrue))
            .arg(Arg::new("tty").short('t').long("tty").action(ArgAction::SetTrue))
            .arg(Arg::new("help").short('h').long("help").action(ArgAction::Help))
            .arg(Arg::new("rm").long("rm").action(ArgAction::SetTrue))
            .arg(Arg::new("env").short('e').long("env").action(ArgAction::Append))
            .arg(Arg::new("memory").short('m').long("memory"))
            .arg(Arg::new("time").short('T').long("time").visible_alias("timeout"))
    }

    fn normal(flags: Flags, words: &[&str]) -> Result<String, CliError> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        normalise(&command(), words, flags).map(|words| words.map_or("help".to_owned(), |words| words.join(" ")))
    }

    #[test]
    fn bundles_and_values_take_their_full_form() {
        let first = |words: &[&str]| normal(Flags::First, words).unwrap();
        assert_eq!(first(&["-it", "alpine", "-it"]), "--interactive --tty -- alpine -it");
        assert_eq!(first(&["-iteA=1", "x"]), "--interactive --tty --env=A=1 -- x");
        assert_eq!(first(&["-e", "-m", "x"]), "--env=-m -- x");
        assert_eq!(first(&["-e=A=1", "x"]), "--env=A=1 -- x");
        assert_eq!(first(&["--memory", "--", "x"]), "--memory=-- -- x");
        assert_eq!(first(&["--timeout=3", "x"]), "--time=3 -- x");
        assert_eq!(first(&["x", "--", "y"]), "-- x -- y");
        assert_eq!(first(&["--", "x", "--rm"]), "-- x --rm");
        assert_eq!(first(&["-", "--rm"]), "-- - --rm");
    }

    #[test]
    fn a_switch_may_carry_its_value() {
        let first = |words: &[&str]| normal(Flags::First, words).unwrap();
        assert_eq!(first(&["--rm=true", "x"]), "--rm -- x");
        assert_eq!(first(&["--rm", "--rm=false", "x"]), "-- x");
        assert_eq!(first(&["-i=0", "-t=1", "x"]), "--tty -- x");
        let error = normal(Flags::First, &["--rm=maybe"]).unwrap_err();
        assert_eq!(error.to_string(), "invalid value \"maybe\" for --rm: true or false is needed");
    }

    #[test]
    fn flags_may_follow_words_where_the_command_allows_it() {
        assert_eq!(normal(Flags::Anywhere, &["a", "--rm", "b", "--", "--c"]).unwrap(), "--rm -- a b --c");
    }

    #[test]
    fn help_counts_where_flags_count() {
        assert_eq!(normal(Flags::First, &["--rm", "-e", "A=1", "--help", "--nope"]).unwrap(), "help");
        assert_eq!(normal(Flags::First, &["-h"]).unwrap(), "help");
        assert_eq!(normal(Flags::First, &["x", "--help"]).unwrap(), "-- x --help");
        assert_eq!(normal(Flags::Anywhere, &["x", "--help"]).unwrap(), "help");
        assert_eq!(normal(Flags::First, &["-e", "--help", "x"]).unwrap(), "--env=--help -- x");
    }

    #[test]
    fn an_unknown_flag_gets_a_suggestion() {
        let hint = |word: &str| normal(Flags::First, &[word]).unwrap_err().hint.unwrap_or_default();
        assert_eq!(hint("--memry=1"), "did you mean --memory?");
        assert_eq!(hint("--mem"), "did you mean --memory?");
        assert_eq!(hint("--mr"), "did you mean --rm?");
        assert_eq!(hint("-tty"), "did you mean --tty?");
        assert_eq!(hint("--zzzz"), "");
        let error = normal(Flags::First, &["-q"]).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code), ("unknown flag: -q", 125));
        assert_eq!(normal(Flags::First, &["--env"]).unwrap_err().to_string(), "--env needs a value");
    }
}
