//! What a container changed as one more layer of its image.

use std::io::Read;
use std::os::fd::BorrowedFd;

use super::layers::Layers;
use super::report::LayerReport;
use super::spool::LayerInput;
use super::{LoadOptions, clean_up};
use crate::budget::{Budget, Meter};
use crate::digest::Digest;
use crate::error::Result;
use crate::unpack::OwnIds;

/// Unpacks a layer archive into `staging/layers/HEX/`, on the layers of the chain `below`. Nothing for an archive without
/// entries.
///
/// # Errors
/// [`ImageError`](crate::ImageError). Nothing is left in `staging` then.
pub fn change(
    input: impl Read + Send,
    staging: BorrowedFd<'_>,
    budget: &Budget,
    below: Option<&Digest>,
    ids: OwnIds,
) -> Result<Option<LayerReport>> {
    let load = LoadOptions { ids, ..LoadOptions::default() };
    clean_up(staging, |staging| {
        let mut layers = Layers::new(staging, &load, Meter::new(budget))?;
        layers.change(LayerInput { file: input, digest: None, verify: false, spooled: None }, below)
    })
}
