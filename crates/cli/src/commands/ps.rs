//! `bulkhead ps`.

mod filter;

use clap::Args;
use serde_json::{Value, json};

pub use self::filter::Filter;
use super::{Entry, flags_of, images};
use crate::error::CliError;
use crate::flags;
use crate::line::Flags;
use crate::output::{self, human, template, template::Format};
use crate::wire::{self, ContainerSummary, State, Which};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "ps",
    about: "List containers",
    footer: "\
Filters (-f KEY=VALUE); filters of one key are alternatives, but every label must be there:
  name, id             a regular expression
  status               created, restarting, running, removing, paused, exited or dead
  exited               exit code
  health               starting, healthy, unhealthy or none
  label                KEY or KEY=VALUE
  ancestor             image, by name or id
  before, since        made before or after this container
  volume, network      volume or place it is mounted at; network
  publish, expose      port of the host or of the container: 80, 80/udp, 8000-8010
  is-task              true or false; no container here is one

Examples:
  bulkhead ps -a
  bulkhead ps -q -f status=exited
  bulkhead ps --format '{{.Names}}: {{.Status}}'",
    flags: Flags::Anywhere,
    build: PsFlags::augment_args,
    run: |matches| execute(&flags_of::<PsFlags>(matches)?.into_request()?),
};

#[derive(Debug, Args)]
struct PsFlags {
    /// Show containers that do not run too
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// The last N created containers, in any state
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<String>,
    /// The last created container, in any state
    #[arg(short, long)]
    latest: bool,
    /// Full ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show sizes
    #[arg(short, long)]
    size: bool,
    /// Show only what fits, like status=exited or name=^web; may be repeated (see 'bulkhead help ps')
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// "json", or a template like '{{.Names}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// What to list, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct PsRequest {
    /// In any state.
    pub all: bool,
    /// Only ids.
    pub quiet: bool,
    /// Only the last created.
    pub last: Option<usize>,
    /// Full ids and commands.
    pub no_trunc: bool,
    /// Show sizes.
    pub size: bool,
    /// The template shows sizes.
    pub shows_size: bool,
    /// What must fit.
    pub filters: Vec<Filter>,
    /// How to print; `None`: the table.
    pub format: Option<Format>,
}

impl PsFlags {
    fn into_request(self) -> Result<PsRequest, CliError> {
        let last = flags::optional("--last", self.last.as_deref(), |text| {
            text.parse::<i64>().map_err(|_| "a number of containers is needed".into())
        })?;
        // No number, and any below one, means no limit, as for Docker.
        let last = last.and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0);
        let last = if self.latest && last.is_none() { Some(1) } else { last };
        let filters = self.filter.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
        // Who asks for a state wants to see it; Docker does the same.
        let all = self.all || last.is_some() || filters.iter().any(|filter| matches!(filter, Filter::Status(_)));
        let format = Format::listing(self.format.as_deref())?;
        // Sizes take time: they are looked up for those who show them.
        let shows_size = self.format.as_ref().is_some_and(|text| text.contains(".Size"));
        Ok(PsRequest {
            all,
            quiet: self.quiet,
            last,
            no_trunc: self.no_trunc,
            size: self.size,
            shows_size,
            filters,
            format,
        })
    }
}

/// Prints the containers.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(request: &PsRequest) -> Result<u8, CliError> {
    let containers = wire::containers(which(request), request.size || request.shows_size)?;
    output::text(&render(&containers, request, human::now())?)?;
    Ok(0)
}

/// What has to be looked at: with thousands of containers that do not run, it makes a difference.
fn which(request: &PsRequest) -> Which {
    // The container that they name need not run, nor be shown.
    let names_another = request.filters.iter().any(|one| matches!(one, Filter::Before(_) | Filter::Since(_)));
    match request.last {
        Some(count) if request.filters.is_empty() => Which::Last(count),
        _ if request.all || names_another => Which::All,
        _ => Which::Running,
    }
}

fn render(containers: &[ContainerSummary], request: &PsRequest, now: i64) -> Result<String, CliError> {
    filter::check(&request.filters, containers)?;
    let runs =
        |container: &ContainerSummary| matches!(state_word(container.state), "running" | "paused" | "restarting");
    let mut rows: Vec<Value> = Vec::new();
    for container in containers.iter().filter(|container| request.all || runs(container)) {
        if request.last.is_some_and(|last| rows.len() >= last) {
            break;
        }
        if filter::all_fit(&request.filters, container, containers)? {
            rows.push(row(container, &status(container, now), request.no_trunc, now));
        }
    }
    if request.quiet {
        let ids = rows.iter().filter_map(|row| row.get("ID").and_then(Value::as_str));
        return Ok(ids.map(|id| format!("{id}\n")).collect());
    }
    let mut table =
        "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}".to_owned();
    if request.size {
        table.push_str("\t{{.Size}}");
    }
    let format = match &request.format {
        Some(format) => format.clone(),
        None => Format::parse(&table)?,
    };
    format.render_for(&rows, header, request.no_trunc)
}

pub(super) fn row(container: &ContainerSummary, status: &str, no_trunc: bool, now: i64) -> Value {
    let command = command(&container.command);
    let command = if no_trunc { command } else { human::ellipsis(&command, 20) };
    let id = if no_trunc { container.id.clone() } else { container.id.chars().take(12).collect() };
    let row = json!({
        "ID": id,
        "Names": container.name,
        "Image": images::familiar(&container.image),
        "Command": format!("\"{}\"", command.replace('"', "\\\"")),
        "CreatedAt": human::created_at(container.created),
        "RunningFor": format!("{} ago", human::duration(now.saturating_sub(container.created))),
        "State": state_word(container.state),
        "Status": status,
        "Ports": container.ports.join(", "),
        "Labels": joined(&container.labels),
        "Mounts": mounts(&container.mounts, no_trunc),
        "LocalVolumes": container.mounts.iter().filter(|name| !name.starts_with('/')).count().to_string(),
        "Networks": container.networks.join(","),
        "Grants": container.grants.join(","),
        "Size": match container.size {
            Some((own, all)) => format!("{} (virtual {})", human::size(own), human::size(all)),
            None => "0B".to_owned(),
        },
    });
    template::with_labels(row, &container.labels)
}

/// Docker's form: words with blanks after the program's stand in quotes.
fn command(words: &[String]) -> String {
    let quoted = |(at, word): (usize, &String)| match at > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    words.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Names of volumes and sources of binds; anonymous volumes have long ones.
fn mounts(all: &[String], no_trunc: bool) -> String {
    let shown = |name: &String| if no_trunc { name.clone() } else { human::ellipsis(name, 15) };
    all.iter().map(shown).collect::<Vec<_>>().join(",")
}

/// `a=1,b=2`, as Docker shows labels.
pub(super) fn joined(labels: &[(String, String)]) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running { .. } => "running",
        State::Paused { .. } => "paused",
        State::Restarting { .. } => "restarting",
        State::Exited { .. } => "exited",
        State::Dead => "dead",
    }
}

/// Docker's words; a container that is weaker than the default says so here, where everybody looks.
pub(super) fn status(container: &ContainerSummary, now: i64) -> String {
    let since = |time: i64| human::duration(now.saturating_sub(time));
    let mut text = match container.state {
        State::Created => "Created".to_owned(),
        State::Running { since: start } => format!("Up {}", since(start)),
        State::Paused { since: start } => format!("Up {} (Paused)", since(start)),
        State::Restarting { code, at } => format!("Restarting ({code}) {} ago", since(at)),
        State::Exited { code, at } => format!("Exited ({code}) {} ago", since(at)),
        State::Dead => "Dead".to_owned(),
    };
    match container.health.as_deref() {
        Some("starting") => text.push_str(" (health: starting)"),
        Some(health) if !matches!(container.state, State::Paused { .. }) => text.push_str(&format!(" ({health})")),
        _ => {}
    }
    if !container.grants.is_empty() {
        text.push_str(&format!(" (weakened: {})", container.grants.join(", ")));
    }
    text
}

fn header(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        "RunningFor" => "CREATED".to_owned(),
        "LocalVolumes" => "LOCAL VOLUMES".to_owned(),
        other => other.to_uppercase(),
    }
}

#[cfg(test)]
mod tests;
