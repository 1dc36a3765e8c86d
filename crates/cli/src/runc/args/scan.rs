//! The scan: words in, values of flags and words that are left out. No meaning yet.
//!
//! Flags are taken as programs in Go take them: with one dash or two, the value behind `=` or in the next word, which
//! may begin with a dash itself (`--cpu-quota -1`). Letters are not put together.

use super::table::{Flag, Kind};
use crate::flags::boolean;
use crate::runc::error::RuncError;

/// What was given of the flags, and the words behind them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    values: Vec<(&'static str, String)>,
    /// Words that are no flags.
    pub(super) words: Vec<String>,
    /// `--help` was among the flags.
    pub(super) help: bool,
}

impl Scanned {
    /// The last value of a flag.
    #[must_use]
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch was given, and how.
    #[must_use]
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).map(|value| value == "true")
    }

    /// Whether a switch is on.
    #[must_use]
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.switch(name) == Some(true)
    }

    /// Names of the flags that were given.
    pub(super) fn given(&self) -> impl Iterator<Item = &'static str> {
        self.values.iter().map(|(name, _)| *name)
    }
}

/// Where flags end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// At the first word, which all others follow as they are.
    FirstWord,
    /// Nowhere: they may stand behind words.
    End,
}

/// Scans `args`.
///
/// # Errors
///
/// An unknown flag; a flag without its value; a switch with a value that is none; a flag that is refused.
pub(super) fn scan(args: Vec<String>, flags: &'static [Flag], until: Until) -> Result<Scanned, RuncError> {
    let mut scanned = Scanned::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(body) = body(&arg) else {
            if arg == "--" {
                scanned.words.extend(args);
                return Ok(scanned);
            }
            scanned.words.push(arg);
            if until == Until::FirstWord {
                scanned.words.extend(args);
                return Ok(scanned);
            }
            continue;
        };
        let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
        let Some(flag) = flags.iter().find(|flag| flag.name == name || (!name.is_empty() && flag.short == name)) else {
            if matches!(name, "help" | "h") {
                scanned.help = true;
                continue;
            }
            return Err(RuncError::new(format!("unknown flag: {}", arg.split('=').next().unwrap_or(&arg))));
        };
        let value = match (flag.kind, value) {
            (Kind::Switch, value) => switch_value(flag, value)?.to_owned(),
            (Kind::Refused(reason), _) => return Err(RuncError::new(format!("--{}: {reason}", flag.name))),
            (Kind::Text(_), Some(value)) => value.to_owned(),
            (Kind::Text(what), None) => {
                args.next().ok_or_else(|| RuncError::new(format!("the flag --{} needs a value: {what}", flag.name)))?
            }
        };
        scanned.help |= flag.name == "help" && value == "true";
        scanned.values.push((flag.name, value));
    }
    Ok(scanned)
}

/// What stands behind the dashes of a flag; `None` for a word, a lone `-`, and `--`.
fn body(arg: &str) -> Option<&str> {
    let body = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    (!body.is_empty()).then_some(body)
}

fn switch_value(flag: &Flag, value: Option<&str>) -> Result<&'static str, RuncError> {
    match value.map_or(Some(true), boolean) {
        Some(true) => Ok("true"),
        Some(false) => Ok("false"),
        None => Err(RuncError::new(format!(
            "invalid value {:?} for --{}: true or false is needed",
            value.unwrap_or_default(),
            flag.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::find;
    use super::*;

    fn of(command: &str, args: &[&str], until: Until) -> Result<Scanned, RuncError> {
        scan(args.iter().map(|arg| (*arg).to_owned()).collect(), find(command).unwrap().flags, until)
    }

    #[test]
    fn every_way_to_write_a_flag() {
        for args in [
            &["--bundle", "/b", "--detach", "id"][..],
            &["--bundle=/b", "-detach", "id"],
            &["-b", "/b", "-d", "id"],
            &["-bundle=/b", "--detach=true", "id"],
            &["-b=/b", "-d=1", "--", "id"],
            &["id", "--bundle", "/x", "-d", "-b", "/b"],
        ] {
            let scanned = of("run", args, Until::End).unwrap();
            assert_eq!((scanned.text("bundle"), scanned.is_on("detach")), (Some("/b"), true), "{args:?}");
            assert_eq!(scanned.words, ["id"], "{args:?}");
        }
        let scanned = of("run", &["--detach", "--detach=false", "id"], Until::End).unwrap();
        assert_eq!((scanned.switch("detach"), scanned.switch("keep")), (Some(false), None));
        let scanned = of("update", &["--cpu-quota", "-1", "-r", "-", "id"], Until::End).unwrap();
        assert_eq!((scanned.text("cpu-quota"), scanned.text("resources")), (Some("-1"), Some("-")));
    }

    #[test]
    fn the_words_of_a_program_are_its_own() {
        let args = ["-e", "A=1", "--env=B=2,3", "id", "ls", "-t", "--help", "--", "-x"];
        let scanned = of("exec", &args, Until::FirstWord).unwrap();
        assert_eq!(scanned.all("env").collect::<Vec<_>>(), ["A=1", "B=2,3"]);
        assert_eq!(scanned.words, ["id", "ls", "-t", "--help", "--", "-x"]);
        assert!(!scanned.is_on("tty") && !scanned.help);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fails = |command, args: &[&str]| of(command, args, Until::End).unwrap_err().message;
        assert_eq!(fails("run", &["--bundel=/b", "id"]), "unknown flag: --bundel");
        assert_eq!(fails("run", &["-it", "id"]), "unknown flag: -it");
        assert_eq!(fails("run", &["id", "--bundle"]), "the flag --bundle needs a value: DIR");
        assert_eq!(fails("run", &["--keep=yes"]), "invalid value \"yes\" for --keep: true or false is needed");
        assert_eq!(fails("update", &["--mem-bw-schema", "x"]), "--mem-bw-schema: Intel RDT is not supported");
        assert_eq!(fails("run", &["---"]), "unknown flag: ---");
        assert_eq!(fails("run", &["--=x"]), "unknown flag: --");
    }
}
