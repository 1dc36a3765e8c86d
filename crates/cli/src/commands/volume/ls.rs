//! `bulkhead volume ls`.

use clap::Args;
use serde_json::{Value, json};

use crate::commands::{Entry, flags_of, ps};
use crate::error::CliError;
use crate::flags::{
    self,
    filter::{Label, all_fit, pair, unknown_key, wrong},
};
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

const KEYS: [&str; 4] = ["dangling", "driver", "label", "name"];

/// What a volume must be to be shown. Filters of one kind are alternatives, but for labels; different kinds must all fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    /// No container uses it, or one does.
    Dangling(bool),
    Driver(String),
    Label(Label),
    /// Part of the name.
    Name(String),
}

fn filter(text: &str) -> Result<Filter, CliError> {
    let (key, value) = pair(text)?;
    Ok(match key {
        "dangling" => Filter::Dangling(flags::boolean(value).ok_or_else(|| wrong(text, "true or false is needed"))?),
        "driver" => Filter::Driver(value.to_owned()),
        "name" => Filter::Name(value.to_owned()),
        "label" => Filter::Label(Label::parse(value)),
        _ => return Err(unknown_key(text, &KEYS)),
    })
}

impl Filter {
    fn fits(&self, volume: &VolumeSummary) -> bool {
        match self {
            Filter::Dangling(wanted) => volume.users.is_empty() == *wanted,
            Filter::Driver(name) => volume.driver == *name,
            Filter::Name(part) => volume.name.contains(part.as_str()),
            Filter::Label(label) => label.fits(&volume.labels),
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
    let filters = words.filter.iter().map(|text| filter(text)).collect::<Result<Vec<_>, _>>()?;
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
    let is_label = |filter: &Filter| matches!(filter, Filter::Label(_));
    let mut shown = Vec::new();
    for volume in volumes {
        if all_fit(filters, is_label, |filter| Ok(filter.fits(volume)))? {
            shown.push(volume);
        }
    }
    if quiet {
        return Ok(shown.iter().map(|volume| format!("{}\n", volume.name)).collect());
    }
    let rows: Vec<Value> = shown.into_iter().map(row).collect();
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
            labels: vec![("tier".to_owned(), label.to_owned()), (name.to_owned(), String::new())],
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
        assert_eq!(shown(&["label=tier=high", "label=data"], true, None), "data\n");
        assert_eq!(shown(&["label=tier=high", "label=tier=low"], true, None), "");
        assert_eq!(shown(&["driver=nfs"], true, None), "");
        assert_eq!(
            shown(&["name=data"], false, Some("{{.Name}} {{.Links}} {{.Labels}}")),
            "data 1 tier=high,data=\ndatabase N/A tier=high,database=\n"
        );
        // A form that is none is the flag's, a meaning that is none Docker's daemon's.
        for (wrong, code) in [("name", 125), ("colour=red", 1), ("dangling=maybe", 1)] {
            let error = filter(wrong).unwrap_err();
            assert!(error.code == code && error.message.contains(wrong), "{wrong}: {error}");
        }
        assert_eq!(filter("lable=x").unwrap_err().hint.as_deref(), Some("did you mean label?"));
    }
}
