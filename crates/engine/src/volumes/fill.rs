//! Filling an empty volume with what the image has at its place: the part of the command, which looks at nothing that
//! the image or a container wrote. That is the worker's: see [`super::copy`].

use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bulkhead_sandbox::worker::WorkerImage;
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, ResolveFlags, Uid, openat2};
use rustix::io::Errno;

use super::copy::{Fill, is_left_over};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::worker::{self, Answer, Place, Task};
use crate::images::{ImageRef, Staging};

/// In a staging directory: names of volumes that its command fills.
const FILLING: &str = "filling";

/// Whether one of the layers may have something at `target`. A link on the way may lead anywhere: then it may.
fn may_have(layers: &[PathBuf], target: &Path) -> bool {
    let below = target.strip_prefix("/").unwrap_or(target);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    layers.iter().any(|layer| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = rustix::fs::open(layer, flags | OFlags::DIRECTORY, Mode::empty())
            .and_then(|top| openat2(&top, below, flags, Mode::empty(), resolve));
        !matches!(found, Err(Errno::NOENT | Errno::NOTDIR))
    })
}

/// Whether a volume may be empty; what belongs to ids that the caller may not look at may be.
fn may_be_empty(data: &Path) -> bool {
    std::fs::read_dir(data).map_or(true, |mut entries| entries.next().is_none())
}

fn lock(directory: &Path) -> Result<OwnedFd, EngineError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(directory, flags, Mode::empty()).map_err(EngineError::io("open", directory))?;
    rustix::fs::flock(&fd, FlockOperation::LockExclusive).map_err(EngineError::io("lock", directory))?;
    Ok(fd)
}

/// Fills the volume `name` for container `id`, if it is empty and the image has something at `target`.
pub(super) fn fill(engine: &Engine, image: &ImageRef, id: &str, name: &str, target: &Path) -> Result<(), EngineError> {
    let directory = engine.paths.volume(name);
    let data = engine.paths.volume_data(name);
    // Also who has nothing to put into it waits for who has: the directory may be another one after that.
    let _lock = lock(&directory)?;
    if !may_be_empty(&data) || !may_have(&image.layers, target) {
        return Ok(());
    }
    let shared = engine.store()?.volume_users(name)?.iter().any(|(user, _)| user != id);
    let staging = Staging::new(engine)?;
    let token = staging.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let writable = prepare(engine, &staging.path, name)?;
    let at = format!("/.bulkhead-volume-{token}");
    let place = Place {
        name: &staging.path,
        directory: &directory,
        layout: None,
        image: Some(WorkerImage { layers: image.layers.clone(), writable, at: at.clone() }),
    };
    let target = target.to_string_lossy().into_owned();
    let order = Fill { at, target, token: token.clone(), shared };
    let answer = worker::run_in(engine, &place, None, |single_id| Task::Fill { order, single_id });
    if answer.is_err() {
        settle_one(engine, &staging.path, &directory, &token)?;
    }
    match answer? {
        Answer::Filled => Ok(()),
        _ => Err(EngineError::Image("the process that fills a volume answered something else".to_owned())),
    }
}

/// Writes down which volume is being filled, and makes the writable layer of the worker.
fn prepare(engine: &Engine, staging: &Path, name: &str) -> Result<PathBuf, EngineError> {
    let writable = staging.join("writable");
    let make = |path: &Path| {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(EngineError::io("make", path))
    };
    make(&staging.join(FILLING).join(name))?;
    let owner = worker::root_ids(engine)?;
    for part in ["upper", "work"] {
        let path = writable.join(part);
        make(&path)?;
        if let Some((uid, gid)) = owner {
            rustix::fs::chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(EngineError::io("give to the worker", &path))?;
        }
    }
    Ok(writable)
}

/// Puts in order the volumes that a killed command was filling.
pub(super) fn settle(engine: &Engine, staging: &Path) -> Result<(), EngineError> {
    let token = staging.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for entry in std::fs::read_dir(staging.join(FILLING)).into_iter().flatten().flatten() {
        let directory = engine.paths.volume(&entry.file_name().to_string_lossy());
        settle_one(engine, staging, &directory, &token)?;
    }
    Ok(())
}

fn settle_one(engine: &Engine, staging: &Path, directory: &Path, token: &str) -> Result<(), EngineError> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    if !names.any(|name| is_left_over(&name, token)) {
        return Ok(());
    }
    let place = Place { name: staging, directory, layout: None, image: None };
    worker::run_in(engine, &place, None, |_| Task::SettleFill { token: token.to_owned() }).map(drop)
}
