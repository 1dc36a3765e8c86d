//! `bulkhead history`.

use clap::Args;
use serde_json::{Value, json};

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::flags::time;
use crate::line::Flags;
use crate::output::{self, human, template::Format};
use crate::wire::files::{self, HistoryLine};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "history",
    about: "Show how an image came to be",
    footer: "Examples:\n  bulkhead history alpine\n  bulkhead history --no-trunc --format '{{.CreatedBy}}' alpine",
    flags: Flags::Anywhere,
    build: HistoryFlags::augment_args,
    run: |matches| execute(&flags_of::<HistoryFlags>(matches)?.into_request()?),
};

#[derive(Debug, Args)]
struct HistoryFlags {
    /// Sizes and times in words, which is the default; switch it off with --human=false
    #[arg(short = 'H', long)]
    human: bool,
    /// Sizes in bytes and times as they are
    #[arg(long, hide = true)]
    no_human: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// "json", or a template like '{{.CreatedBy}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Reference or id
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// What to show, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRequest {
    image: String,
    human: bool,
    no_trunc: bool,
    quiet: bool,
    format: Option<Format>,
}

impl HistoryFlags {
    fn into_request(self) -> Result<HistoryRequest, CliError> {
        Ok(HistoryRequest {
            image: self.image,
            human: !self.no_human,
            no_trunc: self.no_trunc,
            quiet: self.quiet,
            format: Format::listing(self.format.as_deref())?,
        })
    }
}

/// Prints the steps, the newest first.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(request: &HistoryRequest) -> Result<u8, CliError> {
    let lines = files::history(&request.image)?;
    output::text(&render(&lines, request, human::now())?)?;
    Ok(0)
}

fn render(lines: &[HistoryLine], request: &HistoryRequest, now: i64) -> Result<String, CliError> {
    let rows: Vec<Value> = lines.iter().map(|line| row(line, request, now)).collect();
    if request.quiet {
        let ids = rows.iter().filter_map(|row| row.get("ID").and_then(Value::as_str));
        return Ok(ids.map(|id| format!("{id}\n")).collect());
    }
    let age = if request.human { "{{.CreatedSince}}" } else { "{{.CreatedAt}}" };
    let format = match &request.format {
        Some(format) => format.clone(),
        None => {
            Format::parse(&format!("table {{{{.ID}}}}\t{age}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}"))?
        }
    };
    format.render_for(&rows, header, request.no_trunc)
}

fn row(line: &HistoryLine, request: &HistoryRequest, now: i64) -> Value {
    let id = match &line.id {
        Some(id) if request.no_trunc => format!("sha256:{id}"),
        Some(id) => id.chars().take(12).collect(),
        None => "<missing>".to_owned(),
    };
    let created_by = line.created_by.replace('\t', " ");
    let created = time::since(&line.created, now).ok();
    json!({
        "ID": id,
        "CreatedSince": created.map_or_else(|| "N/A".to_owned(), |at| format!("{} ago", human::duration(now.saturating_sub(at)))),
        "CreatedAt": if line.created.is_empty() { "N/A".to_owned() } else { line.created.clone() },
        "CreatedBy": if request.no_trunc { created_by } else { human::ellipsis(&created_by, 45) },
        "Size": if request.human { human::size(line.size) } else { line.size.to_string() },
        "Comment": line.comment,
        "Tags": line.tags,
    })
}

fn header(field: &str) -> String {
    match field {
        "ID" => "IMAGE".to_owned(),
        "CreatedSince" => "CREATED".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        "CreatedBy" => "CREATED BY".to_owned(),
        other => other.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parsed;

    fn shown(words: &[&str]) -> String {
        let request = flags_of::<HistoryFlags>(&parsed(&ENTRY, words).unwrap()).unwrap().into_request().unwrap();
        let lines = [
            HistoryLine {
                id: Some("a".repeat(64)),
                created: "2023-11-14T22:13:20Z".into(),
                created_by: "sh -c\techo a very long command that goes on and on".into(),
                size: 1500,
                comment: "c\n".into(),
                tags: Vec::new(),
            },
            HistoryLine::default(),
        ];
        render(&lines, &request, 1_700_000_000 * human::SECOND + 3 * 3600 * human::SECOND).unwrap()
    }

    #[test]
    fn dockers_columns() {
        assert_eq!(
            shown(&["x"]),
            "IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT\n\
             aaaaaaaaaaaa   3 hours ago   sh -c echo a very long command that goes on …   1.5kB     c\\n\n\
             <missing>      N/A                                                           0B        \n"
        );
        assert_eq!(shown(&["-q", "x"]), "aaaaaaaaaaaa\n<missing>\n");
        assert_eq!(shown(&["--human=false", "--format", "{{.Size}}", "x"]), "1500\n0\n");
        assert!(shown(&["--no-trunc", "x"]).contains(&format!("sha256:{}", "a".repeat(64))));
    }
}
