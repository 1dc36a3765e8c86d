//! `bulkhead ps`.

use clap::Args;
use serde_json::{Value, json};

use super::{Entry, flags_of, images};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, human, template::Format};
use crate::wire::{self, ContainerSummary, State, Which};
use crate::{flags, flags::Needed};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "ps",
    about: "List containers",
    footer: "Examples:\n  bulkhead ps -a\n  bulkhead ps -q -f status=exited\n  bulkhead ps --format '{{.Names}}: {{.Status}}'",
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
    /// Show only what fits: name=, id=, status=, label= or ancestor=; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// "json", or a template like '{{.Names}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// What a container must be to be shown. Filters of one kind are alternatives, different kinds must all fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Part of the name; `^` and `$` stand for its ends.
    Name(String),
    /// Start of the id.
    Id(String),
    /// State: created, running, paused, exited or dead.
    Status(String),
    /// A label, and its value if one is given.
    Label(String, Option<String>),
    /// An image by reference or start of its id.
    Ancestor(String),
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
    /// What must fit.
    pub filters: Vec<Filter>,
    /// How to print; `None`: the table.
    pub format: Option<Format>,
}

impl PsFlags {
    fn into_request(self) -> Result<PsRequest, CliError> {
        let last = flags::optional("--last", self.last.as_deref(), |text| match text {
            "-1" => Ok(None),
            number => number.parse::<usize>().map(Some).map_err(|_| "a number of containers is needed".into()),
        })?;
        let last = if self.latest { Some(1) } else { last.flatten() };
        let filters = flags::each("--filter", &self.filter, filter)?;
        // Who asks for a state wants to see it; Docker does the same.
        let all = self.all || last.is_some() || filters.iter().any(|filter| matches!(filter, Filter::Status(_)));
        let format = Format::listing(self.format.as_deref())?;
        Ok(PsRequest { all, quiet: self.quiet, last, no_trunc: self.no_trunc, size: self.size, filters, format })
    }
}

fn filter(text: &str) -> Result<Filter, Needed> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is needed, like status=exited")?;
    let owned = value.to_owned();
    Ok(match key {
        "name" => Filter::Name(owned),
        "id" => Filter::Id(owned),
        "status" if ["created", "running", "paused", "exited", "dead"].contains(&value) => Filter::Status(owned),
        "status" => return Err("the state must be created, running, paused, exited or dead".into()),
        "label" => match value.split_once('=') {
            Some((label, value)) => Filter::Label(label.to_owned(), Some(value.to_owned())),
            None => Filter::Label(owned, None),
        },
        "ancestor" => Filter::Ancestor(owned),
        _ => return Err("the key must be name, id, status, label or ancestor".into()),
    })
}

impl Filter {
    fn fits(&self, container: &ContainerSummary) -> bool {
        match self {
            Filter::Name(pattern) => {
                let (from_start, rest) =
                    pattern.strip_prefix('^').map_or((false, pattern.as_str()), |rest| (true, rest));
                let (to_end, text) = rest.strip_suffix('$').map_or((false, rest), |text| (true, text));
                let text = text.strip_prefix('/').unwrap_or(text);
                match (from_start, to_end) {
                    (true, true) => container.name == text,
                    (true, false) => container.name.starts_with(text),
                    (false, true) => container.name.ends_with(text),
                    (false, false) => container.name.contains(text),
                }
            }
            Filter::Id(start) => container.id.starts_with(start),
            Filter::Status(state) => state_word(container.state) == state,
            Filter::Label(label, value) => {
                let fits =
                    |(key, has): &(String, String)| key == label && value.as_ref().is_none_or(|want| want == has);
                container.labels.iter().any(fits)
            }
            Filter::Ancestor(image) => {
                let id = image.strip_prefix("sha256:").unwrap_or(image);
                let by_id = !id.is_empty() && container.image_id.as_ref().is_some_and(|known| known.starts_with(id));
                let bare = |text: &str| {
                    let text = images::familiar(text);
                    text.strip_suffix(":latest").unwrap_or(text).to_owned()
                };
                by_id || bare(&container.image) == bare(image)
            }
        }
    }
}

/// Prints the containers.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(request: &PsRequest) -> Result<u8, CliError> {
    let containers = wire::containers(which(request), request.size)?;
    output::raw(render(&containers, request, human::now())?.as_bytes())?;
    Ok(0)
}

/// What has to be looked at: with thousands of containers that do not run, it makes a difference.
fn which(request: &PsRequest) -> Which {
    match request.last {
        Some(count) if request.filters.is_empty() => Which::Last(count),
        _ if request.all => Which::All,
        _ => Which::Running,
    }
}

fn render(containers: &[ContainerSummary], request: &PsRequest, now: i64) -> Result<String, CliError> {
    let runs = |state| matches!(state, State::Running { .. } | State::Paused { .. } | State::Restarting { .. });
    let shown = containers
        .iter()
        .filter(|container| request.all || runs(container.state))
        .filter(|container| {
            request.filters.iter().all(|one| {
                let same = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(one);
                request.filters.iter().filter(same).any(|filter| filter.fits(container))
            })
        })
        .take(request.last.unwrap_or(usize::MAX));
    let rows: Vec<Value> = shown.map(|container| row(container, request.no_trunc, now)).collect();
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
    format.render(&rows, header)
}

pub(super) fn row(container: &ContainerSummary, no_trunc: bool, now: i64) -> Value {
    let command = container.command.join(" ");
    let command = if no_trunc { command } else { human::ellipsis(&command, 20) };
    let id = if no_trunc { container.id.clone() } else { container.id.chars().take(12).collect() };
    json!({
        "ID": id,
        "Names": container.name,
        "Image": images::familiar(&container.image),
        "Command": format!("\"{}\"", command.replace('"', "\\\"")),
        "CreatedAt": human::created_at(container.created),
        "RunningFor": format!("{} ago", human::duration(now.saturating_sub(container.created))),
        "State": state_word(container.state),
        "Status": status(container, now),
        "Ports": container.ports.join(", "),
        "Labels": joined(&container.labels),
        "Mounts": container.mounts.join(","),
        "Networks": container.networks.join(","),
        "Grants": container.grants.join(","),
        "Size": match container.size {
            Some((own, all)) => format!("{} (virtual {})", human::size(own), human::size(all)),
            None => "0B".to_owned(),
        },
    })
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
fn status(container: &ContainerSummary, now: i64) -> String {
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
        other => other.to_uppercase(),
    }
}

#[cfg(test)]
mod tests;
