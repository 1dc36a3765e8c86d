//! What an image must be to be shown: every filter of Docker's `images`.

use crate::error::{CliError, FAILED};
use crate::flags;
use crate::flags::filter::{self, Label, glob, pair, unknown_key, wrong};
use crate::wire::ImageSummary;

const KEYS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

/// One filter. Filters of one kind are alternatives, but for labels; different kinds must all fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Without a name, or with one.
    Dangling(bool),
    /// A label.
    Label(Label),
    /// Made before this image.
    Before(String),
    /// Made after this image.
    Since(String),
    /// Made before this time, in nanoseconds since 1970.
    Until(i64),
    /// A name, or a name with its tag; `*` and `?` stand for anything.
    Reference(String),
}

impl Filter {
    /// Understands `KEY=VALUE`; `now` is in nanoseconds since 1970.
    ///
    /// # Errors
    ///
    /// Another form (125), a key or a value that there is not (1).
    pub fn parse(text: &str, now: i64) -> Result<Filter, CliError> {
        let (key, value) = pair(text)?;
        Ok(match key {
            "dangling" => {
                Filter::Dangling(flags::boolean(value).ok_or_else(|| wrong(text, "true or false is needed"))?)
            }
            "label" => Filter::Label(Label::parse(value)),
            "before" => Filter::Before(value.to_owned()),
            "since" => Filter::Since(value.to_owned()),
            "until" => Filter::Until(flags::time::since(value, now).map_err(|needed| wrong(text, needed))?),
            "reference" => Filter::Reference(value.to_owned()),
            _ => return Err(unknown_key(text, &KEYS)),
        })
    }

    fn fits(&self, image: &ImageSummary, name: &str, tag: &str, all: &[ImageSummary]) -> Result<bool, CliError> {
        Ok(match self {
            Filter::Dangling(wanted) => image.references.is_empty() == *wanted,
            Filter::Label(label) => label.fits(&image.labels),
            Filter::Before(other) => image.created < find(all, other)?.created,
            Filter::Since(other) => image.created > find(all, other)?.created,
            Filter::Until(time) => image.created < *time,
            Filter::Reference(pattern) => {
                let pattern = super::familiar(pattern);
                glob(pattern, name) || glob(pattern, &format!("{name}:{tag}"))
            }
        })
    }
}

/// Whether an image is to be shown under this name and tag.
///
/// # Errors
///
/// A filter names an image that there is not.
pub(super) fn all_fit(
    filters: &[Filter],
    image: &ImageSummary,
    name: &str,
    tag: &str,
    all: &[ImageSummary],
) -> Result<bool, CliError> {
    let is_label = |filter: &Filter| matches!(filter, Filter::Label(_));
    filter::all_fit(filters, is_label, |filter| filter.fits(image, name, tag, all))
}

/// Makes sure that the images exist that `before` and `since` name, even when nothing is listed.
///
/// # Errors
///
/// One does not.
pub(super) fn check(filters: &[Filter], all: &[ImageSummary]) -> Result<(), CliError> {
    for filter in filters {
        if let Filter::Before(name) | Filter::Since(name) = filter {
            find(all, name)?;
        }
    }
    Ok(())
}

fn find<'a>(all: &'a [ImageSummary], name: &str) -> Result<&'a ImageSummary, CliError> {
    let wanted = super::familiar(name);
    let named = |reference: &String| {
        let reference = super::familiar(reference);
        reference == wanted || reference.strip_suffix(":latest") == Some(wanted)
    };
    if let Some(found) = all.iter().find(|image| image.references.iter().any(named)) {
        return Ok(found);
    }
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    let mut starts = all.iter().filter(|image| !id.is_empty() && image.id.starts_with(id));
    match (starts.next(), starts.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(CliError::failed(format!("several images have an id that starts with {id:?}"))),
        (None, _) => Err(CliError::usage(format!("No such image: {name}")).with_code(FAILED)),
    }
}
