//! Scripted sessions: commands with what they print and return, for this program and for the real `docker`.
//!
//! ```text
//! == title            a section; what it leaves is removed before the next one begins
//! # a comment
//! $ ps -a --quiet     a command of the engine, read by bash: quotes, pipes and files work
//! % date > now        a line of shell; "E" is the engine
//! a line of output    what standard output holds, line by line
//! ? 125               the exit code, if it is not 0
//! 2> text             what a line of standard error contains; "2> *" is anything
//! 2>?                 standard error may hold words although all went well
//! ! docker ID         from here to the next command: what docker does instead, explained under ID
//! ! only ID           not for docker at all, explained under ID
//! ! root REASON       not for an ordinary user
//! ```
//!
//! An expected line may hold `<id>` (12 hexadecimal digits), `<ID>` (64), `<sha>`, `<n>`, `<size>`, `<time>`, `<ago>` and
//! `<*>`; two or more blanks stand for any number of them from two on; a line `...` stands for any lines. A line that
//! begins like one of the marks above has a backslash before it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Said;

/// What a command is expected to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Lines of standard output, as patterns.
    pub out: Vec<String>,
    /// Exit code.
    pub code: i32,
    /// What standard error contains; empty: nothing is said about it.
    pub err: Vec<String>,
    /// Whether words in standard error are no surprise.
    pub talks: bool,
}

/// How docker compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Docker {
    /// The same.
    Same,
    /// It is not asked, for the reason of this name.
    Not(String),
    /// It does this, for the reason of this name.
    Differs(String, Expected),
}

/// One command.
#[derive(Debug, Clone)]
pub struct Step {
    /// Line in the file.
    pub number: usize,
    /// As it is written there.
    pub text: String,
    /// What this program does.
    pub expected: Expected,
    /// What docker does.
    pub docker: Docker,
    /// Only for root, and why.
    pub root: Option<String>,
}

/// Commands that build upon each other.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// Its commands.
    pub steps: Vec<Step>,
}

impl Step {
    /// The line for bash.
    #[must_use]
    pub fn shell(&self) -> String {
        match self.text.split_at(2) {
            ("$ ", words) => format!("E {words}"),
            (_, line) => line.to_owned(),
        }
    }

    /// Whether the engine is asked, and not the shell alone.
    #[must_use]
    pub fn asks_the_engine(&self) -> bool {
        self.shell().split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "E")
    }
}

/// Reads a file of sections.
///
/// # Panics
/// When it is not one.
#[must_use]
pub fn parse(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(title) = line.strip_prefix("== ") {
            sections.push(Section { title: title.to_owned(), steps: Vec::new() });
            continue;
        }
        if line.starts_with("# ") {
            continue;
        }
        let section = sections.last_mut().unwrap_or_else(|| panic!("line {number}: before the first section"));
        if line.starts_with("$ ") || line.starts_with("% ") {
            let (text, expected) = (line.to_owned(), Expected::default());
            section.steps.push(Step { number, text, expected, docker: Docker::Same, root: None });
            continue;
        }
        // A blank line before the next section is for the eye; one within output is "\".
        if line.is_empty() {
            continue;
        }
        let step = section.steps.last_mut().unwrap_or_else(|| panic!("line {number}: before the first command"));
        add(step, line, number);
    }
    sections
}

fn add(step: &mut Step, line: &str, number: usize) {
    if let Some(mark) = line.strip_prefix("! ") {
        let (what, rest) = mark.split_once(' ').unwrap_or_else(|| panic!("line {number}: {line:?} has no reason"));
        match what {
            "docker" => step.docker = Docker::Differs(rest.to_owned(), Expected::default()),
            "only" => step.docker = Docker::Not(rest.to_owned()),
            "root" => step.root = Some(rest.to_owned()),
            _ => panic!("line {number}: {line:?} is no mark"),
        }
        return;
    }
    let expected = match &mut step.docker {
        Docker::Differs(_, expected) => expected,
        _ => &mut step.expected,
    };
    if let Some(code) = line.strip_prefix("? ") {
        expected.code = code.parse().unwrap_or_else(|e| panic!("line {number}: {e}"));
    } else if line == "2>?" {
        expected.talks = true;
    } else if let Some(text) = line.strip_prefix("2> ") {
        expected.err.push(text.to_owned());
    } else {
        expected.out.push(line.strip_prefix('\\').unwrap_or(line).to_owned());
    }
}

impl Expected {
    /// What is different, in words; `None` when nothing is.
    #[must_use]
    pub fn differs(&self, said: &Said) -> Option<String> {
        let mut wrong = Vec::new();
        if said.code != self.code {
            wrong.push(format!("exit code {} instead of {}", said.code, self.code));
        }
        let out: Vec<&str> = said.out.lines().collect();
        if !lines_match(&self.out, &out) {
            wrong.push("another standard output".to_owned());
        }
        for text in &self.err {
            let there = said.err.lines().any(|line| text == "*" || line_matches(&format!("<*>{text}<*>"), line));
            if !there {
                wrong.push(format!("no {text:?} in standard error"));
            }
        }
        (!wrong.is_empty()).then(|| wrong.join(", "))
    }
}

fn lines_match(patterns: &[String], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => (0..=lines.len()).any(|n| lines_match(rest, &lines[n..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others))
        }
    }
}

/// Whether a line is as the pattern says.
#[must_use]
pub fn line_matches(pattern: &str, line: &str) -> bool {
    fits(pattern.trim_end(), line.trim_end())
}

fn fits(pattern: &str, line: &str) -> bool {
    if pattern.starts_with("  ") {
        let rest = line.trim_start_matches(' ');
        return line.starts_with("  ") && fits(pattern.trim_start_matches(' '), rest);
    }
    let named = pattern.strip_prefix('<').and_then(|p| p.split_once('>')).and_then(|(name, p)| Some((class(name)?, p)));
    if let Some((holds, rest)) = named {
        return (0..=line.len())
            .filter(|n| line.is_char_boundary(*n))
            .any(|n| holds(&line[..n]) && fits(rest, &line[n..]));
    }
    match (pattern.chars().next(), line.chars().next()) {
        (None, None) => true,
        (Some(p), Some(l)) if p == l => fits(&pattern[p.len_utf8()..], &line[l.len_utf8()..]),
        _ => false,
    }
}

fn class(name: &str) -> Option<fn(&str) -> bool> {
    Some(match name {
        "id" => |s| s.len() == 12 && hex(s),
        "ID" => |s| s.len() == 64 && hex(s),
        "sha" => |s| s.strip_prefix("sha256:").is_some_and(|s| s.len() == 64 && hex(s)),
        "n" => number,
        "size" => |s| {
            let unit = s.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let units = ["B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"];
            units.contains(&unit) && number(&s[..s.len() - unit.len()])
        },
        "time" => |s| {
            let digits = s.bytes().filter(u8::is_ascii_digit).count();
            digits >= 14 && s.contains('T') && s.bytes().all(|b| b.is_ascii_digit() || b"-:.TZ+".contains(&b))
        },
        "ago" => |s| {
            let counted = |unit: &str| s.strip_suffix(unit).is_some_and(number);
            matches!(s, "Less than a second" | "1 second" | "About a minute")
                || counted(" seconds")
                || counted(" minutes")
        },
        "*" => |_| true,
        _ => return None,
    })
}

fn hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn number(text: &str) -> bool {
    text.parse::<f64>().is_ok() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// An engine that sessions are run with.
#[derive(Debug)]
pub struct Engine {
    /// `bulkhead` or `docker`.
    pub name: &'static str,
    /// The command, and words that come first.
    pub command: Vec<String>,
    /// Its environment.
    pub env: Vec<(&'static str, PathBuf)>,
    /// Directory for the files of sessions.
    pub scratch: PathBuf,
}

impl Engine {
    /// Runs a line of bash in a directory; `E` is the engine.
    ///
    /// # Panics
    /// When bash cannot be started.
    #[must_use]
    pub fn bash(&self, directory: &Path, line: &str) -> Said {
        let bin = self.scratch.join("bin");
        let script = bin.join("E");
        if !script.exists() {
            std::fs::create_dir_all(&bin).expect("a directory");
            std::fs::write(&script, format!("#!/bin/sh\nexec {} \"$@\"\n", self.command.join(" "))).expect("a script");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&script, mode).expect("a mode");
        }
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
        let mut command = Command::new("timeout");
        command.args(["-k", "2", "60", "bash", "-c", &format!("set -o pipefail; {line}")]).current_dir(directory);
        command.env("PATH", path).env("HOME", &self.scratch).envs(self.env.iter().map(|(k, v)| (*k, v)));
        command.env_remove("DOCKER_CONTEXT").env("LC_ALL", "C.UTF-8").env("TZ", "UTC").stdin(Stdio::null());
        command.output().expect("bash starts").into()
    }

    /// Removes all containers, all volumes, and all images but `box`.
    pub fn clear(&self) {
        let line = "E ps -aq | xargs -r E rm -f; E volume ls -q | xargs -r E volume rm -f; \
            keep=$(E images -q box:latest); E images -aq | sort -u | grep -vFx \"$keep\" | xargs -r E rmi -f; \
            E images --format '{{.Repository}}:{{.Tag}}' | grep -vFx box:latest | xargs -r E rmi";
        drop(self.bash(&self.scratch, line));
    }

    /// Runs all sections; returns what was not as expected, as text for a reader.
    ///
    /// # Panics
    /// When a directory cannot be made.
    #[must_use]
    pub fn run(&self, sections: &[Section], as_root: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        for section in sections {
            let directory = tempfile::Builder::new().prefix("s").tempdir_in(&self.scratch).expect("a directory");
            for step in &section.steps {
                if step.root.is_some() && !as_root {
                    continue;
                }
                if let Some(what) = self.step(directory.path(), step) {
                    wrong.push(format!("== {} (line {})\n{}\n{what}", section.title, step.number, step.text));
                }
            }
            self.clear();
        }
        wrong
    }

    fn step(&self, directory: &Path, step: &Step) -> Option<String> {
        let docker = self.name == "docker";
        let expected = match &step.docker {
            Docker::Not(_) if docker => return None,
            Docker::Differs(_, expected) if docker => expected,
            _ => &step.expected,
        };
        let said = self.bash(directory, &step.shell());
        if docker && expected != &step.expected && step.expected.differs(&said).is_none() {
            return Some("   docker does the same: there is no difference".to_owned());
        }
        let mut what = expected.differs(&said);
        // What went well goes without a word, unless the word is expected.
        let quiet = said.code == 0 && expected.err.is_empty() && !expected.talks;
        if !docker && what.is_none() && quiet && !said.err.is_empty() {
            what = Some("words in standard error without an error".to_owned());
        }
        what.map(|what| {
            let show = |text: &str| text.lines().map(|l| format!("     | {l}\n")).collect::<String>();
            let wanted = expected.out.iter().map(|l| format!("     | {l}\n")).collect::<String>();
            let (out, err) = (show(&said.out), show(&said.err));
            format!("   {what}\n   wanted\n{wanted}   got, exit code {}\n{out}   standard error\n{err}", said.code)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_what_they_say_and_nothing_else() {
        let id = "0123456789ab";
        assert!(line_matches("<id>  box", &format!("{id}     box  ")));
        assert!(!line_matches("<id>  box", &format!("{id} box")));
        assert!(!line_matches("<id>", "0123456789aB") && !line_matches("<id>", "0123456789abc"));
        assert!(
            line_matches("Up <ago>  x", "Up Less than a second   x") && line_matches("<ago> ago", "12 seconds ago")
        );
        assert!(!line_matches("Up <ago>", "Up for long") && !line_matches("<ago>", "seconds"));
        assert!(
            line_matches("a <size> b", "a 1.5MB b") && !line_matches("<size>", "1.5") && !line_matches("<size>", "MB")
        );
        assert!(line_matches("<time> x", "2026-01-02T03:04:05.678901234Z x") && !line_matches("<time>", "yesterdayT"));
        assert!(line_matches("<none> <n>", "<none> 12") && !line_matches("<none>", "none"));
        assert!(line_matches("a<*>b", "ab") && line_matches("a<*>b", "a, then b") && !line_matches("a<*>b", "a"));
        let lines = |patterns: &[&str], lines: &[&str]| {
            lines_match(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), lines)
        };
        assert!(lines(&["a", "...", "z"], &["a", "b", "c", "z"]) && lines(&["...", "z"], &["z"]));
        assert!(!lines(&["a"], &["a", "b"]) && !lines(&["a", "b"], &["a"]) && !lines(&[], &["a"]));
    }

    #[test]
    fn a_step_has_what_is_written_below_it() {
        let text =
            "== one\n# words\n$ ps -q\n<id>\n\\\n2> *\n! root because\n! docker why\n? 3\n\n% echo E\n! only that\n";
        let sections = parse(text);
        let steps = &sections[0].steps;
        assert_eq!((sections.len(), steps.len(), steps[0].number), (1, 2, 3));
        assert_eq!(
            steps[0].expected,
            Expected { out: vec!["<id>".into(), String::new()], err: vec!["*".into()], ..Expected::default() }
        );
        let differs = Expected { code: 3, ..Expected::default() };
        assert_eq!(steps[0].docker, Docker::Differs("why".into(), differs));
        assert_eq!((steps[0].root.as_deref(), steps[0].shell().as_str()), (Some("because"), "E ps -q"));
        assert_eq!((&steps[1].docker, steps[1].asks_the_engine()), (&Docker::Not("that".into()), true));
    }

    #[test]
    fn a_difference_is_told() {
        let expected = Expected { out: vec!["a".into()], code: 1, err: vec!["wrong".into()], talks: false };
        let said = |code, out: &str, err: &str| Said { code, out: out.into(), err: err.into() };
        assert_eq!(expected.differs(&said(1, "a\n", "error: wrong thing\n")), None);
        assert!(expected.differs(&said(0, "a\n", "wrong")).is_some_and(|w| w.contains("exit code 0")));
        assert!(expected.differs(&said(1, "b\n", "wrong")).is_some_and(|w| w.contains("output")));
        assert!(expected.differs(&said(1, "a\n", "")).is_some_and(|w| w.contains("standard error")));
    }
}
