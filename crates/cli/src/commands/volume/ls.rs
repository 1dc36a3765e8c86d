//! `bulkhead volume ls`.

use clap::Args;
use serde_json::{Value, json};

use crate::commands::{Entry, flags_of, ps};
use crate::error::CliError;
use crate::flags::{self, Needed};
use crate::line::Flags;
use crate::output::{self, template::Format};
use crate::wire::{self, VolumeSummary};

/// The command.
pub const ENTRY_LS: Entry = Entry {
    name: "ls",
    about: "List volumes",
    footer: "Examples:\n  bulkhead volume ls\n  bulkhead volume ls -q -f dangling=true",
    flags: Flags::Anywhere,
    build: LsFlags::augment_args,
    run: |matches| execute(&flags_of(matches)?),
};

#[derive(Debug, Args)]
struct LsFlags {
    /// Only names
    #[arg(short, long)]
    quiet: bool,
    /// Show only what fits: dangling=, driver=, label= or name=; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// "json", or a template like '{{.Name}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// What a volume must be to be shown. Filters of one kind are alternatives, different kinds must all fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    /// No container uses it, or one does.
    Dangling(bool),
    Driver(String),
    Label(String, Option<String>),
    /// Part of the name.
    Name(String),
}

fn filter(text: &str) -> Result<Filter, Needed> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is needed, like dangling=true")?;
    let owned = value.to_owned();
    Ok(match key {
        "dangling" => Filter::Dangling(flags::boolean(value).ok_or("dangling must be true or false")?),
        "driver" => Filter::Driver(owned),
        "name" => Filter::Name(owned),
        "label" => match value.split_once('=') {
            Some((label, value)) => Filter::Label(label.to_owned(), Some(value.to_owned())),
            None => Filter::Label(owned, None),
        },
        _ => return Err("the key must be dangling, driver, label or name".into()),
    })
}

impl Filter {
    fn fits(&self, volume: &VolumeSummary) -> bool {
        match self {
            Filter::Dangling(wanted) => volume.users.is_empty() == *wanted,
            Filter::Driver(name) => volume.driver == *name,
            Filter::Name(part) => volume.name.contains(part.as_str()),
            Filter::Label(label, value) => {
                let fits =
                    |(key, has): &(String, String)| key == label && value.as_ref().is_none_or(|want| want == has);
                volume.labels.iter().any(fits)
            }
        }
    }
}

fn row(volume: &VolumeSummary) -> Value {
    json!({
        "Name": volume.name,
        "Driver": volume.driver,
        "Scope": "local",
        "Mountpoint": volume.mountpoint,
        "Labels": ps::joined(&volume.labels),
        "Links": if volume.users.is_empty() { "N/A".to_owned() } else { volume.users.len().to_string() },
        "Size": "N/A",
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    })
}

fn header(field: &str) -> String {
    match field {
        "Name" => "VOLUME NAME".to_owned(),
        other => other.to_uppercase(),
    }
}

fn execute(words: &LsFlags) -> Result<u8, CliError> {
    let filters =
        words.filter.iter().map(|text| flags::meant("--filter", text, filter)).collect::<Result<Vec<_>, _>>()?;
    let format = Format::listing(words.format.as_deref())?;
    output::text(&render(&wire::volumes()?, &filters, words.quiet, format)?)?;
    Ok(0)
}

fn render(
    volumes: &[VolumeSummary],
    filters: &[Filter],
    quiet: bool,
    format: Option<Format>,
) -> Result<String, CliError> {
    let fits = |volume: &&VolumeSummary| {
        filters.iter().all(|one| {
            let same = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(one);
            filters.iter().filter(same).any(|filter| filter.fits(volume))
        })
    };
    let shown = volumes.iter().filter(fits);
    if quiet {
        return Ok(shown.map(|volume| format!("{}\n", volume.name)).collect());
    }
    let rows: Vec<Value> = shown.map(row).collect();
    let format = match format {
        Some(format) => format,
        None => Format::parse("table {{.Driver}}\t{{.Name}}")?,
    };
    format.render(&rows, header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes() -> Vec<VolumeSummary> {
        let one = |name: &str, label: &str, used: bool| VolumeSummary {
            name: name.to_owned(),
            driver: "local".to_owned(),
            labels: vec![("tier".to_owned(), label.to_owned())],
            mountpoint: format!("/v/{name}/data"),
            users: if used { vec![("ab".to_owned(), "web".to_owned())] } else { Vec::new() },
        };
        vec![one("cache", "low", false), one("data", "high", true), one("database", "high", false)]
    }

    fn shown(filters: &[&str], quiet: bool, format: Option<&str>) -> String {
        let filters: Vec<Filter> = filters.iter().map(|text| filter(text).unwrap()).collect();
        let format = Format::listing(format).unwrap();
        render(&volumes(), &filters, quiet, format).unwrap()
    }

    #[test]
    fn lists_as_docker_does() {
        assert_eq!(
            shown(&[], false, None),
            "DRIVER    VOLUME NAME\nlocal     cache\nlocal     data\nlocal     database\n"
        );
        assert_eq!(shown(&["dangling=true"], true, None), "cache\ndatabase\n");
        assert_eq!(shown(&["dangling=0"], true, None), "data\n");
        assert_eq!(shown(&["name=dat", "dangling=1"], true, None), "database\n");
        assert_eq!(shown(&["name=cache", "name=base"], true, None), "cache\ndatabase\n");
        assert_eq!(shown(&["label=tier=high"], true, None), "data\ndatabase\n");
        assert_eq!(shown(&["label=tier", "driver=local"], true, None), "cache\ndata\ndatabase\n");
        assert_eq!(shown(&["driver=nfs"], true, None), "");
        assert_eq!(
            shown(&["name=data"], false, Some("{{.Name}} {{.Links}} {{.Labels}}")),
            "data 1 tier=high\ndatabase N/A tier=high\n"
        );
        for wrong in ["name", "colour=red", "dangling=maybe"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
