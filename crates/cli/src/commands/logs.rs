//! `bulkhead logs`.

use std::io::{IsTerminal, Write};

use clap::Args;

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::flags::{self, time};
use crate::line::Flags;
use crate::output::{self, human};
use crate::wire::{self, LogEntry, LogsRequest};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "logs",
    about: "Show what a container wrote",
    footer: "Examples:\n  bulkhead logs -f --tail 20 web\n  bulkhead logs -t --since 10m web",
    flags: Flags::Anywhere,
    build: LogsFlags::augment_args,
    run: |matches| {
        let (request, shown) = flags_of::<LogsFlags>(matches)?.into_request(human::now())?;
        execute(&request, shown)
    },
};

#[derive(Debug, Args)]
struct LogsFlags {
    /// Go on until the container has ended for good
    #[arg(short, long)]
    follow: bool,
    /// Number of lines from the end, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Begin each line with what the log keeps beside it
    #[arg(long)]
    details: bool,
    /// Nothing newer than a time or a duration
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Nothing older than a time (2026-01-02T15:04:05Z) or a duration (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// What stands before each line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its time.
    pub timestamps: bool,
    /// What the log keeps beside it. Logs keep nothing more here, so that is Docker's empty word: a space.
    pub details: bool,
}

impl LogsFlags {
    fn into_request(self, now: i64) -> Result<(LogsRequest, Shown), CliError> {
        let tail = flags::meant("--tail", &self.tail, |text| match text {
            "all" | "-1" => Ok(None),
            number => number.parse().map(Some).map_err(|_| "a number of lines, or all, is needed".into()),
        })?;
        let since = flags::optionally_meant("--since", self.since.as_deref(), |text| time::since(text, now))?;
        let until = flags::optionally_meant("--until", self.until.as_deref(), |text| time::since(text, now))?;
        let shown = Shown { timestamps: self.timestamps, details: self.details };
        Ok((LogsRequest { container: self.container, follow: self.follow, tail, since, until }, shown))
    }
}

/// Prints the log; what the container wrote to stderr goes to ours. In a file or a pipe the bytes are as they were; on a
/// terminal colours stay and other escape sequences are made visible: a log must not type for the one who reads it.
///
/// # Errors
///
/// What the engine says, and those of our streams.
pub fn execute(request: &LogsRequest, shown: Shown) -> Result<u8, CliError> {
    wire::logs(request, &mut |entry| print(&entry, shown))?;
    Ok(0)
}

fn print(entry: &LogEntry<'_>, shown: Shown) -> Result<(), CliError> {
    let mut line = Vec::with_capacity(entry.bytes.len() + 32);
    if shown.timestamps {
        line.extend_from_slice(human::rfc3339(entry.time).as_bytes());
        line.push(b' ');
    }
    if shown.details {
        line.push(b' ');
    }
    let to_terminal = if entry.stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    if to_terminal {
        line.extend_from_slice(output::escape::log(&String::from_utf8_lossy(entry.bytes)).as_bytes());
    } else {
        line.extend_from_slice(entry.bytes);
    }
    if entry.stderr {
        std::io::stderr().lock().write_all(&line).map_err(|error| output::failed(&error))
    } else {
        output::raw(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parsed;

    fn request(words: &[&str]) -> Result<(LogsRequest, Shown), CliError> {
        flags_of::<LogsFlags>(&parsed(&ENTRY, words)?)?.into_request(100 * human::SECOND)
    }

    #[test]
    fn flags_may_follow_the_container() {
        let (made, shown) = request(&["-ft", "web", "-n5", "--since=10s", "--until", "5s", "--details"]).unwrap();
        assert!(made.follow && shown.timestamps && shown.details);
        assert_eq!((made.tail, made.since, made.until), (Some(5), Some(90 * human::SECOND), Some(95 * human::SECOND)));
        assert_eq!(request(&["web"]).unwrap().0.tail, None);
        assert_eq!(request(&["--tail", "-1", "web"]).unwrap().0.tail, None);
        assert_eq!(request(&["--tail", "x", "web"]).unwrap_err().code, 1);
    }
}
