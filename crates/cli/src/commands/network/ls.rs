//! `bulkhead network ls`.

use clap::Args;
use serde_json::{Value, json};

use crate::commands::{Entry, flags_of, ps};
use crate::error::CliError;
use crate::flags::{
    self,
    filter::{Label, all_fit, pair, unknown_key, wrong},
};
use crate::line::Flags;
use crate::output::{self, human, template::Format};
use crate::wire::{self, NetworkSummary};

/// The command.
pub const ENTRY_LS: Entry = Entry {
    name: "ls",
    about: "List networks",
    footer: "Examples:\n  bulkhead network ls\n  bulkhead network ls -q -f dangling=true",
    flags: Flags::Anywhere,
    build: LsFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct LsFlags {
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Full ids
    #[arg(long)]
    no_trunc: bool,
    /// Show only what fits: dangling=, driver=, id=, label=, name=, scope= or type=; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// "json", or a template like '{{.Name}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

const KEYS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// What a network must be to be shown. Filters of one kind are alternatives, but for labels; different kinds must all fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    /// No container is connected, or one is; the default network never dangles.
    Dangling(bool),
    Driver(String),
    /// Part of the id.
    Id(String),
    Label(Label),
    /// Part of the name.
    Name(String),
    Scope(String),
    /// The default network, or others.
    Builtin(bool),
}

fn filter(text: &str) -> Result<Filter, CliError> {
    let (key, value) = pair(text)?;
    Ok(match key {
        "dangling" => Filter::Dangling(flags::boolean(value).ok_or_else(|| wrong(text, "true or false is needed"))?),
        "driver" => Filter::Driver(value.to_owned()),
        "id" => Filter::Id(value.to_owned()),
        "name" => Filter::Name(value.to_owned()),
        "label" => Filter::Label(Label::parse(value)),
        "scope" if ["local", "global", "swarm"].contains(&value) => Filter::Scope(value.to_owned()),
        "scope" => return Err(wrong(text, "local, global or swarm is needed")),
        "type" => match value {
            "builtin" => Filter::Builtin(true),
            "custom" => Filter::Builtin(false),
            _ => return Err(wrong(text, "custom or builtin is needed")),
        },
        _ => return Err(unknown_key(text, &KEYS)),
    })
}

impl Filter {
    fn fits(&self, network: &NetworkSummary) -> bool {
        match self {
            Filter::Dangling(wanted) => (network.users.is_empty() && !network.builtin) == *wanted,
            Filter::Driver(name) => network.driver == *name,
            Filter::Id(part) => network.id.contains(part.as_str()),
            Filter::Name(part) => network.name.contains(part.as_str()),
            Filter::Label(label) => label.fits(&network.labels),
            Filter::Scope(scope) => scope == "local",
            Filter::Builtin(wanted) => network.builtin == *wanted,
        }
    }
}

fn row(network: &NetworkSummary, no_trunc: bool) -> Value {
    let id = if no_trunc { network.id.clone() } else { network.id.chars().take(12).collect() };
    json!({
        "ID": id,
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "IPv4": network.v4.to_string(),
        "IPv6": network.v6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": ps::joined(&network.labels),
        "CreatedAt": human::created_at(network.created),
    })
}

fn header(field: &str) -> String {
    match field {
        "ID" => "NETWORK ID".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        other => other.to_uppercase(),
    }
}

fn execute(words: &LsFlags) -> Result<u8, CliError> {
    let filters = words.filter.iter().map(|text| filter(text)).collect::<Result<Vec<_>, _>>()?;
    let format = Format::listing(words.format.as_deref())?;
    let mut networks = wire::networks()?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    output::text(&render(&networks, &filters, words, format)?)?;
    Ok(0)
}

fn render(
    networks: &[NetworkSummary],
    filters: &[Filter],
    words: &LsFlags,
    format: Option<Format>,
) -> Result<String, CliError> {
    let is_label = |filter: &Filter| matches!(filter, Filter::Label(_));
    let mut rows: Vec<Value> = Vec::new();
    for network in networks {
        if all_fit(filters, is_label, |filter| Ok(filter.fits(network)))? {
            rows.push(row(network, words.no_trunc));
        }
    }
    if words.quiet {
        let ids = rows.iter().filter_map(|row| row.get("ID").and_then(Value::as_str));
        return Ok(ids.map(|id| format!("{id}\n")).collect());
    }
    let format = match format {
        Some(format) => format,
        None => Format::parse("table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}")?,
    };
    format.render(&rows, header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> Vec<NetworkSummary> {
        let one = |name: &str, builtin: bool, used: bool| NetworkSummary {
            id: name.repeat(16),
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            builtin,
            v4: true,
            labels: vec![("tier".to_owned(), name.to_owned())],
            users: if used { vec![("ab".to_owned(), "web".to_owned())] } else { Vec::new() },
            ..NetworkSummary::default()
        };
        vec![one("base", true, false), one("data", false, true), one("shop", false, false)]
    }

    fn shown(filters: &[&str], quiet: bool, format: Option<&str>) -> String {
        let filters: Vec<Filter> = filters.iter().map(|text| filter(text).unwrap()).collect();
        let words = LsFlags { quiet, no_trunc: false, filter: Vec::new(), format: None };
        render(&networks(), &filters, &words, Format::listing(format).unwrap()).unwrap()
    }

    #[test]
    fn lists_as_docker_does() {
        assert_eq!(
            shown(&["name=data"], false, None),
            "NETWORK ID     NAME      DRIVER    SCOPE\ndatadatadata   data      bridge    local\n"
        );
        let names = |filters: &[&str]| shown(filters, false, Some("{{.Name}}"));
        assert_eq!(names(&[]), "base\ndata\nshop\n");
        assert_eq!(names(&["dangling=true"]), "shop\n");
        assert_eq!(names(&["dangling=false"]), "base\ndata\n");
        assert_eq!(names(&["type=custom"]), "data\nshop\n");
        assert_eq!(names(&["type=builtin"]), "base\n");
        assert_eq!(names(&["label=tier=shop"]), "shop\n");
        assert_eq!(names(&["id=atad", "driver=bridge"]), "data\n");
        assert_eq!(names(&["scope=swarm"]), "");
        assert_eq!(shown(&["name=shop"], true, None), "shopshopshop\n");
        assert_eq!(shown(&["name=shop"], false, Some("{{.IPv4}} {{.IPv6}} {{.Internal}}")), "true false false\n");
        for (wrong, code) in [("name", 125), ("colour=red", 1), ("dangling=maybe", 1), ("type=x", 1), ("scope=x", 1)] {
            let error = filter(wrong).unwrap_err();
            assert!(error.code == code && error.message.contains(wrong), "{wrong}: {error}");
        }
    }
}
