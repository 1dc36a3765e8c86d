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
        let (request, timestamps) = flags_of::<LogsFlags>(matches)?.into_request(human::now())?;
        execute(&request, timestamps)
    },
};

#[derive(Debug, Args)]
struct LogsFlags {
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Number of lines from the end, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Nothing older than a time (2026-01-02T15:04:05Z) or a duration (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl LogsFlags {
    fn into_request(self, now: i64) -> Result<(LogsRequest, bool), CliError> {
        let tail = flags::value("--tail", &self.tail, |text| match text {
            "all" | "-1" => Ok(None),
            number => number.parse().map(Some).map_err(|_| "a number of lines, or all, is needed".into()),
        })?;
        let since = flags::optional("--since", self.since.as_deref(), |text| time::since(text, now))?;
        Ok((LogsRequest { container: self.container, follow: self.follow, tail, since }, self.timestamps))
    }
}

/// Prints the log; what the container wrote to stderr goes to ours. In a file or a pipe the bytes are as they were; on a
/// terminal colours stay and other escape sequences are made visible: a log must not type for the one who reads it.
///
/// # Errors
///
/// What the engine says, and those of our streams.
pub fn execute(request: &LogsRequest, timestamps: bool) -> Result<u8, CliError> {
    wire::logs(request, &mut |entry| print(&entry, timestamps))?;
    Ok(0)
}

fn print(entry: &LogEntry<'_>, timestamps: bool) -> Result<(), CliError> {
    let mut line = Vec::with_capacity(entry.bytes.len() + 32);
    if timestamps {
        line.extend_from_slice(human::rfc3339(entry.time).as_bytes());
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

    fn request(words: &[&str]) -> Result<(LogsRequest, bool), CliError> {
        flags_of::<LogsFlags>(&parsed(&ENTRY, words)?)?.into_request(100 * human::SECOND)
    }

    #[test]
    fn flags_may_follow_the_container() {
        let (made, timestamps) = request(&["-ft", "web", "-n5", "--since=10s"]).unwrap();
        assert!(made.follow && timestamps);
        assert_eq!((made.tail, made.since), (Some(5), Some(90 * human::SECOND)));
        assert_eq!(request(&["web"]).unwrap().0.tail, None);
        assert_eq!(request(&["--tail", "-1", "web"]).unwrap().0.tail, None);
        assert_eq!(request(&["--tail", "x", "web"]).unwrap_err().code, 125);
    }
}
