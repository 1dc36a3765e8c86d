//! `bulkhead images`.

use clap::Args;
use serde_json::{Value, json};

use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, human, template::Format};
use crate::wire::{self, ImageSummary};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "images",
    about: "List images",
    footer: "Examples:\n  bulkhead images\n  bulkhead images --format '{{.Repository}}:{{.Tag}}' alpine",
    flags: Flags::Anywhere,
    build: ImagesFlags::augment_args,
    run: |matches| execute(&flags_of::<ImagesFlags>(matches)?.into_request()?),
};

#[derive(Debug, Args)]
struct ImagesFlags {
    /// Accepted for Docker's sake; every image is listed
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Full ids
    #[arg(long)]
    no_trunc: bool,
    /// "json", or a template like '{{.ID}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only this repository, or this reference
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

/// What to list, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ImagesRequest {
    /// Only ids.
    pub quiet: bool,
    /// Full ids.
    pub no_trunc: bool,
    /// How to print; `None`: the table.
    pub format: Option<Format>,
    /// `repository` or `repository:tag`, as written.
    pub repository: Option<String>,
}

impl ImagesFlags {
    fn into_request(self) -> Result<ImagesRequest, CliError> {
        let format = Format::listing(self.format.as_deref())?;
        Ok(ImagesRequest { quiet: self.quiet, no_trunc: self.no_trunc, format, repository: self.repository })
    }
}

/// Prints the images.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(request: &ImagesRequest) -> Result<u8, CliError> {
    let images = wire::images()?;
    output::raw(render(&images, request, human::now())?.as_bytes())?;
    Ok(0)
}

fn render(images: &[ImageSummary], request: &ImagesRequest, now: i64) -> Result<String, CliError> {
    let mut rows = Vec::new();
    let wanted = request.repository.as_deref().map(|text| split(familiar(text)));
    for image in images {
        let mut names: Vec<(String, String)> =
            image.references.iter().map(|reference| split(familiar(reference))).collect();
        if names.is_empty() {
            names.push(("<none>".to_owned(), "<none>".to_owned()));
        }
        for (repository, tag) in names {
            let fits =
                |(name, version): &(String, String)| *name == repository && (version == "<none>" || *version == tag);
            if wanted.as_ref().is_none_or(fits) {
                rows.push(row(image, &repository, &tag, request.no_trunc, now));
            }
        }
    }
    if request.quiet {
        let mut ids: Vec<&str> = rows.iter().filter_map(|row| row.get("ID").and_then(Value::as_str)).collect();
        ids.dedup();
        return Ok(ids.iter().map(|id| format!("{id}\n")).collect());
    }
    let table = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
    let format = match &request.format {
        Some(format) => format.clone(),
        None => Format::parse(table)?,
    };
    format.render(&rows, header)
}

fn row(image: &ImageSummary, repository: &str, tag: &str, no_trunc: bool, now: i64) -> Value {
    let id = if no_trunc { format!("sha256:{}", image.id) } else { image.id.chars().take(12).collect() };
    json!({
        "Repository": repository,
        "Tag": tag,
        "Digest": "<none>",
        "ID": id,
        "CreatedAt": human::created_at(image.created),
        "CreatedSince": format!("{} ago", human::duration(now.saturating_sub(image.created))),
        "Size": human::size(image.size),
        "Labels": super::ps::joined(&image.labels),
    })
}

fn header(field: &str) -> String {
    match field {
        "ID" => "IMAGE ID".to_owned(),
        "CreatedAt" => "CREATED AT".to_owned(),
        "CreatedSince" => "CREATED".to_owned(),
        other => other.to_uppercase(),
    }
}

/// A canonical reference in the short form that people write: without `docker.io/library/`.
pub(super) fn familiar(reference: &str) -> &str {
    match reference.strip_prefix("docker.io/") {
        Some(rest) => rest.strip_prefix("library/").unwrap_or(rest),
        None => reference,
    }
}

/// Repository and tag; `<none>` for what is missing.
pub(super) fn split(reference: &str) -> (String, String) {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        // A colon before a slash is the port of a registry.
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.to_owned(), "<none>".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<ImageSummary> {
        let references = ["docker.io/library/alpine:3.20", "localhost:5000/a/b:1"].map(str::to_owned).to_vec();
        vec![
            ImageSummary { id: "a".repeat(64), references, size: 7_834_567, ..ImageSummary::default() },
            ImageSummary { id: "b".repeat(64), ..ImageSummary::default() },
        ]
    }

    fn listed(request: &ImagesRequest) -> String {
        render(&images(), request, 7200 * human::SECOND).unwrap()
    }

    fn plain() -> ImagesRequest {
        ImagesRequest { quiet: false, no_trunc: false, format: None, repository: None }
    }

    #[test]
    fn the_table_looks_like_dockers() {
        let text = listed(&plain());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "REPOSITORY           TAG       IMAGE ID       CREATED       SIZE");
        assert_eq!(lines[1], "alpine               3.20      aaaaaaaaaaaa   2 hours ago   7.83MB");
        assert_eq!(lines[2], "localhost:5000/a/b   1         aaaaaaaaaaaa   2 hours ago   7.83MB");
        assert_eq!(lines[3], "<none>               <none>    bbbbbbbbbbbb   2 hours ago   0B");
    }

    #[test]
    fn ids_templates_and_a_repository() {
        assert_eq!(listed(&ImagesRequest { quiet: true, ..plain() }), "aaaaaaaaaaaa\nbbbbbbbbbbbb\n");
        let format = Some(Format::parse("{{.Repository}}:{{.Tag}}").unwrap());
        let of = |repository: &str| {
            listed(&ImagesRequest { format: format.clone(), repository: Some(repository.to_owned()), ..plain() })
        };
        assert_eq!(of("alpine"), "alpine:3.20\n");
        assert_eq!(of("docker.io/library/alpine:3.20"), "alpine:3.20\n");
        assert_eq!(of("alpine:3"), "");
    }
}
