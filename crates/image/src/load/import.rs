//! A root file system as an image of one layer.

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::BorrowedFd;

use super::layers::Layers;
use super::report::{ImageReport, ImportReport, Platform};
use super::spool::LayerInput;
use super::{LoadOptions, clean_up};
use crate::budget::{Budget, Meter};
use crate::config::{ImageConfig, ImageDocument, apply_changes};
use crate::digest::Digest;
use crate::error::Result;
use crate::unpack::OwnIds;

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Chain ids of layers that the store has.
    pub known: HashSet<Digest>,
    /// Owners of files.
    pub ids: OwnIds,
    /// Platform that the image is said to be for.
    pub platform: Platform,
    /// Instructions for the configuration, see [`apply_changes`].
    pub changes: Vec<String>,
    /// Time to write into the image, RFC 3339. Without it the image depends on its content only.
    pub created: Option<String>,
    /// Line for the image's history.
    pub message: String,
    /// Decode in a thread of its own. Where none can be made, one thread does it all. With it, an input that is refused
    /// but neither goes on nor ends (a silent pipe) holds the refusal back; the clock of whoever runs this must end that.
    pub second_thread: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            ids: OwnIds::Apply,
            platform: Platform::current(),
            changes: Vec::new(),
            created: None,
            message: String::new(),
            second_thread: true,
        }
    }
}

/// Unpacks a tar of a root file system (plain, gzip or zstd; may be a pipe) into `staging/layers/HEX/`, and makes a
/// configuration for it.
///
/// # Errors
/// [`ImageError`](crate::ImageError); instructions are checked before anything is read. Nothing is left in `staging`
/// then.
pub fn import(
    input: impl Read + Send,
    staging: BorrowedFd<'_>,
    budget: &Budget,
    options: &ImportOptions,
) -> Result<ImportReport> {
    let mut config = ImageConfig::default();
    apply_changes(&mut config, &options.changes)?;
    let load = LoadOptions {
        known: options.known.clone(),
        ids: options.ids,
        platform: options.platform.clone(),
        keep_blobs: false,
        second_thread: options.second_thread,
    };
    clean_up(staging, |staging| {
        let mut layers = Layers::new(staging, &load, Meter::new(budget))?;
        let (diff, layer) =
            layers.root_filesystem(LayerInput { file: input, digest: None, verify: false, spooled: None })?;
        let document = ImageDocument {
            architecture: options.platform.architecture.clone(),
            os: options.platform.os.clone(),
            variant: options.platform.variant.clone(),
            created: options.created.clone(),
            config,
            diff_ids: vec![diff],
        };
        let config_json = document.to_json(&options.message)?;
        Ok(ImportReport {
            image: ImageReport {
                references: Vec::new(),
                manifest_digest: None,
                config_digest: Digest::of(config_json.as_bytes()),
                platform: options.platform.clone(),
                config: document.config,
                config_json,
                size: layer.bytes_unpacked,
                layers: vec![layer],
                created: document.created,
            },
            skipped: layers.skipped(),
            ids_ignored: options.ids == OwnIds::Ignore,
        })
    })
}
