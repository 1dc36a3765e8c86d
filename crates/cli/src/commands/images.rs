//! `bulkhead images`.

mod filter;

use clap::Args;
use serde_json::{Value, json};

pub use self::filter::Filter;
use super::{Entry, flags_of};
use crate::error::CliError;
use crate::line::Flags;
use crate::output::{self, human, template::Format};
use crate::wire::{self, ImageSummary};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "images",
    about: "List images",
    footer: "\
Filters (-f KEY=VALUE); different keys must all fit, and every label must be there:
  dangling        true: images without a name; false: the others
  label           KEY or KEY=VALUE
  before, since   made before or after this image
  until           made before this time, or longer ago than this: 24h
  reference       name, with * and ? for what may be anything: '*:3.*'

Examples:
  bulkhead images
  bulkhead images 'my/*'
  bulkhead images --format '{{.Repository}}:{{.Tag}}' alpine",
    flags: Flags::Anywhere,
    build: ImagesFlags::augment_args,
    run: |matches| execute(&flags_of::<ImagesFlags>(matches)?.into_request()?),
};

#[derive(Debug, Args)]
struct ImagesFlags {
    /// Accepted for Docker's sake; every image is listed
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only what fits, like dangling=true or reference='my/*'; may be repeated (see 'bulkhead help images')
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Full ids
    #[arg(long)]
    no_trunc: bool,
    /// "json", or a template like '{{.ID}}', or "table …" [default: table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only this repository, or this reference; * and ? stand for anything
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
    /// Show digests in the table.
    pub digests: bool,
    /// What must fit.
    pub filters: Vec<Filter>,
}

impl ImagesFlags {
    fn into_request(self) -> Result<ImagesRequest, CliError> {
        let now = human::now();
        let mut filters = self.filter.iter().map(|text| Filter::parse(text, now)).collect::<Result<Vec<_>, _>>()?;
        // A word is one more filter, as for Docker.
        filters.extend(self.repository.map(Filter::Reference));
        let format = Format::listing(self.format.as_deref())?;
        Ok(ImagesRequest { quiet: self.quiet, no_trunc: self.no_trunc, digests: self.digests, filters, format })
    }
}

/// Prints the images.
///
/// # Errors
///
/// What the engine says, and a template field that does not exist.
pub fn execute(request: &ImagesRequest) -> Result<u8, CliError> {
    let images = wire::images()?;
    output::text(&render(&images, request, human::now())?)?;
    Ok(0)
}

fn render(images: &[ImageSummary], request: &ImagesRequest, now: i64) -> Result<String, CliError> {
    filter::check(&request.filters, images)?;
    let mut rows = Vec::new();
    for image in images {
        let mut names: Vec<(String, String)> =
            image.references.iter().map(|reference| split(familiar(reference))).collect();
        if names.is_empty() {
            // One that was pulled by its digest, or whose tag has moved on.
            let known = image.digests.first().map(|digest| split(familiar(digest)).0);
            names.push((known.unwrap_or_else(|| "<none>".to_owned()), "<none>".to_owned()));
        }
        for (repository, tag) in names {
            if filter::all_fit(&request.filters, image, &repository, &tag, images)? {
                rows.push(row(image, &repository, &tag, request.no_trunc, now));
            }
        }
    }
    if request.quiet {
        let ids = rows.iter().filter_map(|row| row.get("ID").and_then(Value::as_str));
        return Ok(ids.map(|id| format!("{id}\n")).collect());
    }
    let digest = if request.digests { "\t{{.Digest}}" } else { "" };
    let table =
        format!("table {{{{.Repository}}}}\t{{{{.Tag}}}}{digest}\t{{{{.ID}}}}\t{{{{.CreatedSince}}}}\t{{{{.Size}}}}");
    let format = match &request.format {
        Some(format) => format.clone(),
        None => Format::parse(&table)?,
    };
    format.render_for(&rows, header, request.no_trunc)
}

fn row(image: &ImageSummary, repository: &str, tag: &str, no_trunc: bool, now: i64) -> Value {
    let id = if no_trunc { format!("sha256:{}", image.id) } else { image.id.chars().take(12).collect() };
    json!({
        "Repository": repository,
        "Tag": tag,
        "Digest": digest_of(image, repository),
        "ID": id,
        "CreatedAt": human::created_at(image.created),
        "CreatedSince": format!("{} ago", human::duration(now.saturating_sub(image.created))),
        "Size": human::size(image.size),
        "VirtualSize": human::size(image.size),
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "Containers": "N/A",
        "Labels": super::ps::joined(&image.labels),
        "SignedBy": image.signers.join(","),
    })
}

/// The digest that the registry of this repository knows the image by.
fn digest_of(image: &ImageSummary, repository: &str) -> String {
    let mut own = image.digests.iter().filter_map(|name| familiar(name).split_once('@'));
    own.find(|(name, _)| *name == repository).map_or("<none>", |(_, digest)| digest).to_owned()
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
mod tests;
