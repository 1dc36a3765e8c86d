//! What a container changed as one more layer of its image.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::BorrowedFd;

use super::layers::Layers;
use super::report::{ImageReport, Platform};
use super::spool::LayerInput;
use super::{LoadOptions, clean_up};
use crate::budget::{Budget, Meter};
use crate::config::{Commit, ImageDocument};
use crate::digest::Digest;
use crate::error::Result;
use crate::unpack::OwnIds;

/// Unpacks a layer archive into `staging/layers/HEX/`, on the layers of the parent, and makes the configuration of the
/// image. The report has the new layer only, and none when the archive is empty.
///
/// # Errors
/// [`ImageError`](crate::ImageError); instructions are checked before anything is read. Nothing is left in `staging`
/// then.
pub fn commit(
    input: impl Read + Send,
    staging: BorrowedFd<'_>,
    budget: &Budget,
    known: &HashSet<Digest>,
    ids: OwnIds,
    commit: &Commit,
) -> Result<ImageReport> {
    let config = commit.check()?;
    let parent = ImageDocument::parse("configuration of the container's image", commit.parent.as_bytes())?;
    let load = LoadOptions { known: known.clone(), ids, ..LoadOptions::default() };
    clean_up(staging, |staging| {
        let mut layers = Layers::new(staging, &load, Meter::new(budget))?;
        let below = parent.diff_ids.iter().fold(None, |below, diff| Some(Digest::chain(below.as_ref(), diff)));
        let input = LayerInput { file: input, digest: None, verify: false, spooled: None };
        let layer = layers.change(input, below.as_ref())?;
        layers.meter.check_layers(crate::len64(parent.diff_ids.len() + usize::from(layer.is_some())))?;
        let config_json = commit.document(layer.as_ref().map(|layer| &layer.diff_id))?;
        layers.meter.check_document(crate::len64(config_json.len()))?;
        Ok(ImageReport {
            references: Vec::new(),
            manifest_digest: None,
            config_digest: Digest::of(config_json.as_bytes()),
            platform: Platform { os: parent.os, architecture: parent.architecture, variant: parent.variant },
            config,
            config_json,
            size: layer.as_ref().map_or(0, |layer| layer.bytes_unpacked),
            layers: layer.into_iter().collect(),
            created: Some(commit.created.clone()),
        })
    })
}
