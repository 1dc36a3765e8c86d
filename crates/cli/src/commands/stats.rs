//! `bulkhead stats`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, binary, human, template::Format};
use crate::wire::{self, Interface, Sample, StatsOf};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "stats",
    about: "Show what containers use, again and again",
    footer: "Examples:\n  bulkhead stats\n  bulkhead stats --no-stream --format '{{.Name}}: {{.MemUsage}}' web\n  \
             bulkhead stats --no-stream --format '{{json .Networks}}' web",
    flags: Flags::Anywhere,
    build: StatsFlags::augment_args,
    run: |matches| execute(&flags_of::<StatsFlags>(matches)?.into_request()?),
};

#[derive(Debug, Args)]
struct StatsFlags {
    /// Show containers that do not run too
    #[arg(short, long)]
    all: bool,
    /// Show the figures once
    #[arg(long)]
    no_stream: bool,
    /// Full ids
    #[arg(long)]
    no_trunc: bool,
    /// "json", or a template like '{{.Name}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names, ids or starts of ids [default: all that run]
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// What to show, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct StatsRequest {
    /// Names as written; none: those that run.
    pub containers: Vec<String>,
    /// Those that do not run too.
    pub all: bool,
    /// Once.
    pub once: bool,
    /// Full ids.
    pub no_trunc: bool,
    /// How to print.
    pub format: Format,
}

impl StatsFlags {
    fn into_request(self) -> Result<StatsRequest, CliError> {
        let table =
            "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
        let format = match Format::listing(self.format.as_deref())? {
            Some(format) => format,
            None => Format::parse(table)?,
        };
        Ok(StatsRequest {
            containers: self.containers,
            all: self.all,
            once: self.no_stream,
            no_trunc: self.no_trunc,
            format,
        })
    }
}

/// Between the two looks of `--no-stream`: CPU use is a difference.
const MOMENT: Duration = Duration::from_millis(500);
/// Between two pictures.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints figures until it is interrupted, or once.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(request: &StatsRequest) -> Result<u8, CliError> {
    let which = match (request.containers.is_empty(), request.all) {
        (false, _) => StatsOf::Named(&request.containers),
        (true, true) => StatsOf::All,
        (true, false) => StatsOf::Running,
    };
    let mut before = wire::stats(which)?;
    let live = std::io::stdout().is_terminal() && !request.once;
    let mut pause = MOMENT;
    let mut first = true;
    loop {
        std::thread::sleep(pause);
        let now = wire::stats(which)?;
        let text = render(&before, &now, request)?;
        let text = if live { redrawn(&text, std::mem::take(&mut first)) } else { text };
        output::raw(text.as_bytes())?;
        if request.once {
            return Ok(0);
        }
        before = now;
        pause = PAUSE;
    }
}

/// A picture over the last one: from the top left, each line up to its end, then what is below.
fn redrawn(text: &str, first: bool) -> String {
    let mut all = if first { "\x1b[2J\x1b[H".to_owned() } else { "\x1b[H".to_owned() };
    for line in text.lines() {
        all.push_str(line);
        all.push_str("\x1b[K\n");
    }
    all.push_str("\x1b[J");
    all
}

fn render(before: &[Sample], now: &[Sample], request: &StatsRequest) -> Result<String, CliError> {
    let before: BTreeMap<&str, &Sample> = before.iter().map(|s| (s.id.as_str(), s)).collect();
    let rows: Vec<Value> = now
        .iter()
        .enumerate()
        .map(|(index, sample)| {
            let written = request.containers.get(index).map(String::as_str);
            row(before.get(sample.id.as_str()).copied(), sample, written, request.no_trunc)
        })
        .collect();
    request.format.render_for(&rows, header, request.no_trunc)
}

fn row(before: Option<&Sample>, now: &Sample, written: Option<&str>, no_trunc: bool) -> Value {
    let id: String = if no_trunc { now.id.clone() } else { now.id.chars().take(12).collect() };
    let unknown = || "--".to_owned();
    let pair = |pair: Option<(u64, u64)>| {
        pair.map_or_else(unknown, |(a, b)| format!("{} / {}", human::size(a), human::size(b)))
    };
    let memory = now.memory.zip(now.limit);
    json!({
        "Container": written.unwrap_or(&id),
        "ID": id,
        "Name": now.name,
        "CPUPerc": cpu(before, now).map_or_else(unknown, percent),
        "MemUsage": memory.map_or_else(unknown, |(m, l)| format!("{} / {}", binary::size(m), binary::size(l))),
        "MemPerc": memory.map_or_else(unknown, |(m, l)| percent(share(m, l))),
        "NetIO": pair(now.network.as_deref().map(sums)),
        "Networks": now.network.as_ref().map(|all| all.iter().map(interface).collect::<Map<String, Value>>()),
        "BlockIO": pair(now.block),
        "PIDs": now.pids.map_or_else(unknown, |n| n.to_string()),
    })
}

/// Bytes received and sent over all interfaces.
fn sums(all: &[Interface]) -> (u64, u64) {
    let sum = |of: fn(&Interface) -> u64| all.iter().map(of).fold(0, u64::saturating_add);
    (sum(|i| i.received.bytes), sum(|i| i.sent.bytes))
}

/// One interface in the words of Docker's API.
fn interface(one: &Interface) -> (String, Value) {
    let Interface { name, received, sent } = one;
    let figures = json!({
        "rx_bytes": received.bytes,
        "rx_packets": received.packets,
        "rx_errors": received.errors,
        "rx_dropped": received.dropped,
        "tx_bytes": sent.bytes,
        "tx_packets": sent.packets,
        "tx_errors": sent.errors,
        "tx_dropped": sent.dropped,
    });
    (name.clone(), figures)
}

/// Hundredths of a percent of one CPU between two looks.
fn cpu(before: Option<&Sample>, now: &Sample) -> Option<u64> {
    let used = now.cpu?;
    let Some(before) = before.filter(|b| b.running && now.running) else { return Some(0) };
    // One that was started anew meanwhile begins at 0.
    Some(share(used.saturating_sub(before.cpu.unwrap_or(0)), now.at.saturating_sub(before.at)))
}

fn share(part: u64, whole: u64) -> u64 {
    let hundredths = (u128::from(part) * 10_000).checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(hundredths).unwrap_or(u64::MAX)
}

fn percent(hundredths: u64) -> String {
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn header(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".to_owned(),
        "CPUPerc" => "CPU %".to_owned(),
        "MemUsage" => "MEM USAGE / LIMIT".to_owned(),
        "MemPerc" => "MEM %".to_owned(),
        "NetIO" => "NET I/O".to_owned(),
        "BlockIO" => "BLOCK I/O".to_owned(),
        other => other.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, cpu: u64) -> Sample {
        Sample {
            id: "a".repeat(64),
            name: "web".to_owned(),
            running: true,
            at,
            cpu: Some(cpu),
            memory: Some(1_572_864),
            limit: Some(3 << 20),
            network: Some(vec![Interface {
                name: "eth0".to_owned(),
                received: wire::Traffic { bytes: 1000, packets: 3, ..wire::Traffic::default() },
                ..Interface::default()
            }]),
            block: None,
            pids: Some(3),
        }
    }

    fn shown(words: &[&str], before: &[Sample], now: &[Sample]) -> String {
        let words: StatsFlags = flags_of(&crate::commands::parsed(&ENTRY, words).unwrap()).unwrap();
        render(before, now, &words.into_request().unwrap()).unwrap()
    }

    #[test]
    fn the_table_is_dockers() {
        let text = shown(&[], &[sample(0, 0)], &[sample(2_000_000_000, 1_500_000_000)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O    BLOCK I/O   PIDS"
        );
        assert_eq!(
            lines[1],
            "aaaaaaaaaaaa   web       75.00%    1.5MiB / 3MiB       50.00%    1kB / 0B   --          3"
        );
    }

    #[test]
    fn what_is_new_or_unknown_is_no_number_of_its_own() {
        let format = "--format={{.Container}} {{.CPUPerc}} {{.MemPerc}}";
        let text = shown(&[format, "web"], &[], &[sample(5, 99)]);
        assert_eq!(text, "web 0.00% 50.00%\n");
        let one = shown(&["--format={{json .Networks.eth0}}"], &[], &[sample(5, 0)]);
        assert!(one.contains("\"rx_bytes\":1000") && one.contains("\"rx_packets\":3"), "{one}");
        let blind = Sample { cpu: None, memory: None, ..sample(5, 0) };
        assert_eq!(shown(&[format], &[], &[blind]), "aaaaaaaaaaaa -- --\n");
        assert_eq!(redrawn("a\nb\n", false), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
