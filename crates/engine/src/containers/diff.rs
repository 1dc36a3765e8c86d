//! `diff`: what a container has changed in its image.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use bulkhead_sandbox::spec::{Rootfs, SandboxSpec};

use super::spec_of;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::files::{Files, Helper, Streams, Task, paths_of, pipe};

/// Most bytes of changes that are kept.
const LIMIT: u64 = 1 << 30;

/// A changed path: Docker's letter, and the path, which may hold any bytes but NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `A`, `C` or `D`.
    pub letter: char,
    /// With a slash at its start.
    pub path: Vec<u8>,
}

/// Mount points that the engine makes where an image has none, without a slash at either end, and their parents.
pub(super) fn own_mount_points(spec: &SandboxSpec) -> Vec<String> {
    let own = ["/proc", "/sys", "/dev"].into_iter();
    paths_of(own.chain(spec.mounts.iter().map(bulkhead_sandbox::spec::Mount::target)))
}

/// The layers of a container, the lowest first, and its upper directory.
pub(super) fn layers_of(spec: &SandboxSpec) -> Result<(Vec<PathBuf>, PathBuf), EngineError> {
    match &spec.rootfs {
        Rootfs::Overlay { lowers, writable, .. } => Ok((lowers.clone(), writable.join("upper"))),
        Rootfs::Directory { path } => {
            Err(EngineError::refused(format!("looking at {path:?}"), "a container without layers has no changes"))
        }
    }
}

/// All changes, directories before what is in them.
///
/// # Errors
/// An unknown container; what cannot be read.
pub fn diff(engine: &Engine, query: &str) -> Result<Vec<Change>, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let spec = spec_of(&record)?;
    let (lowers, upper) = layers_of(&spec)?;
    let layers = lowers.len();
    let directories = lowers.into_iter().map(|path| (path, true)).chain([(upper, false)]).collect();
    let files = Files::Layers { directories, ids: spec.ids.clone() };
    let (read, write) = pipe()?;
    let streams = Streams { input: None, output: Some(write) };
    let skip = own_mount_points(&spec);
    let helper = Helper::start(engine, &files, streams, |_| Task::Diff { layers, skip })?;
    let mut text = Vec::new();
    let read = File::from(read).take(LIMIT).read_to_end(&mut text);
    helper.finish()?;
    read.map_err(EngineError::io("read the changes of", std::path::Path::new(&record.name)))?;
    let one = |line: &[u8]| {
        let (letter, path) = line.split_first()?;
        Some(Change { letter: char::from(*letter), path: path.to_vec() })
    };
    Ok(text.split(|byte| *byte == 0).filter_map(one).collect())
}
