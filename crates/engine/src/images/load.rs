//! `load` and `import`: from a file to the store, through the confined process.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bulkhead_image::LayerReport;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::worker::{self, Answer, Task};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::layout::{is_at, now};
use crate::store::{NewImage, NewLayer, new_id};

/// What `import` makes an image of.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// A tar archive; `None` for standard input.
    pub file: Option<PathBuf>,
    /// Reference as written.
    pub reference: Option<String>,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// Comment.
    pub message: Option<String>,
}

/// A staging directory, locked as long as its command lives and removed with it.
#[derive(Debug)]
pub(crate) struct Staging<'a> {
    engine: &'a Engine,
    pub(crate) path: PathBuf,
    lock: PathBuf,
    _lock: OwnedFd,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Result<Self, EngineError> {
        // Makes the directories on first use.
        engine.store()?;
        loop {
            let name: String = new_id()?.chars().take(16).collect();
            let path = engine.paths.staging().join(&name);
            let lock = engine.paths.staging().join(format!("{name}.lock"));
            let fd = rustix::fs::open(
                &lock,
                OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o600),
            )
            .map_err(EngineError::io("make", &lock))?;
            rustix::fs::flock(&fd, FlockOperation::LockExclusive).map_err(EngineError::io("lock", &lock))?;
            // A command that looked for left-overs before the lock was taken has removed the file: another name.
            if !is_at(&fd, &lock) {
                continue;
            }
            let staging = Self { engine, path, lock, _lock: fd };
            rustix::fs::mkdir(&staging.path, Mode::from_raw_mode(0o755))
                .map_err(EngineError::io("make", &staging.path))?;
            return Ok(staging);
        }
    }

    /// Takes in a layer whose row is being removed: layers leave their place with their rows, so that another command can
    /// put the same layer there again meanwhile, and are deleted with the staging directory.
    pub(super) fn retire(&self, chain: &str) -> std::io::Result<()> {
        match std::fs::rename(self.engine.paths.layer(chain), self.path.join(format!("{RETIRED}{chain}"))) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Begins the names of layers in a staging directory that are on their way out.
const RETIRED: &str = "retired-";

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // What stays is found by the next command.
        drop(worker::remove_tree(self.engine, &self.path));
        drop(std::fs::remove_file(&self.lock));
    }
}

/// Removes what killed commands left in the staging directory, and layers that no image has.
///
/// # Errors
/// The file operation that failed.
pub(crate) fn recover(engine: &Engine) -> Result<(), EngineError> {
    let staging = engine.paths.staging();
    let entries = match std::fs::read_dir(&staging) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(EngineError::io("read", &staging)(e)),
    };
    for entry in entries.flatten() {
        let lock = entry.path();
        if lock.extension().is_none_or(|e| e != "lock") {
            continue;
        }
        let Ok(fd) = rustix::fs::open(&lock, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) else {
            continue;
        };
        if rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() || !is_at(&fd, &lock) {
            continue;
        }
        // What cannot be removed now is in nobody's way; the next command tries again.
        drop(forget(engine, &lock));
    }
    Ok(())
}

/// Removes one staging directory, whose lock the caller holds.
pub(super) fn forget(engine: &Engine, lock: &Path) -> Result<(), EngineError> {
    let directory = lock.with_extension("");
    crate::containers::thaw(&directory);
    worker::settle(engine, &directory)?;
    crate::volumes::settle(engine, &directory)?;
    engine.store()?.with_known_layers(|known| settle_layers(engine, &directory, known))?;
    worker::remove_tree(engine, &directory)?;
    match std::fs::remove_file(lock) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io("remove", lock)(e)),
        _ => Ok(()),
    }
}

/// Puts layers back whose removal was not recorded.
pub(super) fn restore(engine: &Engine, staging: &Staging<'_>) -> Result<(), EngineError> {
    Ok(engine.store()?.with_known_layers(|known| settle_layers(engine, &staging.path, known))?)
}

/// Makes the layers agree with the store after a command was killed: what it took away before its removal was recorded
/// goes back, and what it put in place before its image was recorded goes to `staging`, to be removed with it.
fn settle_layers(engine: &Engine, staging: &Path, known: &[String]) -> std::io::Result<()> {
    let layers = engine.paths.layers();
    for entry in std::fs::read_dir(staging).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(chain) = name.strip_prefix(RETIRED)
            && known.iter().any(|k| k == chain)
            && !layers.join(chain).exists()
        {
            std::fs::rename(entry.path(), layers.join(chain))?;
        }
    }
    for entry in std::fs::read_dir(&layers).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&name) {
            std::fs::create_dir_all(staging)?;
            std::fs::rename(entry.path(), staging.join(format!("stray-{name}")))?;
        }
    }
    Ok(())
}

fn open_archive(path: &Path) -> Result<OwnedFd, EngineError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
        .map_err(EngineError::io("open the archive", path))
}

pub(crate) fn stdin() -> Result<OwnedFd, EngineError> {
    let stdin = std::io::stdin();
    if rustix::termios::isatty(&stdin) {
        return Err(EngineError::invalid("input", "a terminal", "give a file, or pipe an archive in"));
    }
    rustix::io::fcntl_dupfd_cloexec(&stdin, 3).map_err(EngineError::io("use", Path::new("standard input")))
}

/// Puts the layers of an image in place and records it.
pub(crate) fn record(engine: &Engine, staging: &Path, image: &NewImage) -> Result<(), EngineError> {
    let layers = engine.paths.layers();
    engine.store()?.add_image_with(image, |chain| {
        let from = staging.join("layers").join(chain);
        let to = layers.join(chain);
        match std::fs::rename(&from, &to) {
            Err(e) if matches!(e.kind(), std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists) => {
                // Left by a command that was killed after this very step: the same digest, the same content.
                worker::remove_tree(engine, &to).map_err(|e| std::io::Error::other(e.chain()))?;
                std::fs::rename(&from, &to)
            }
            other => other,
        }
    })?;
    Ok(())
}

pub(crate) fn new_layer(layer: &LayerReport) -> NewLayer {
    NewLayer {
        chain_id: layer.chain_id.to_string(),
        diff_id: layer.diff_id.to_string(),
        bytes: layer.bytes_unpacked,
        entries: layer.entries,
    }
}

/// Loads all images of an archive or layout; returns their references, or ids for those without one.
///
/// # Errors
/// What is wrong with it; nothing was kept.
pub fn load(engine: &Engine, input: Option<&Path>) -> Result<Vec<String>, EngineError> {
    engine.recover()?;
    let layout = match input {
        Some(path) if path.is_dir() => Some(std::fs::canonicalize(path).map_err(EngineError::io("open", path))?),
        _ => None,
    };
    let archive = match (input, &layout) {
        (_, Some(_)) => None,
        (Some(path), None) => Some(open_archive(path)?),
        (None, None) => Some(stdin()?),
    };
    let known = engine.store()?.known_layers()?.into_iter().map(|k| format!("sha256:{k}")).collect();
    let staging = Staging::new(engine)?;
    let is_layout = layout.is_some();
    let answer = worker::run(engine, &staging.path, archive, layout, |single_id| Task::Load {
        known,
        layout: is_layout,
        arriving: false,
        single_id,
    })?;
    let Answer::Loaded(report) = answer else {
        return Err(EngineError::Image("the unpacking process answered something else".to_owned()));
    };
    // All of it or nothing.
    for image in &report.images {
        for reference in &image.references {
            super::trust::may_name(engine, Some(&image.config_digest.hex()), &reference.to_string())?;
        }
    }
    let mut loaded = Vec::new();
    for image in &report.images {
        let id = image.config_digest.to_string();
        let references: Vec<String> = image.references.iter().map(ToString::to_string).collect();
        record(
            engine,
            &staging.path,
            &NewImage {
                id: id.clone(),
                config_json: image.config_json.clone(),
                created: now(),
                size: image.size,
                layers: image.layers.iter().map(new_layer).collect(),
                references: references.clone(),
                ..NewImage::default()
            },
        )?;
        engine.events().emit(&Event::new(Kind::Image, "load", &id).with("name", &id));
        if references.is_empty() {
            loaded.push(id);
        } else {
            loaded.extend(references);
        }
    }
    Ok(loaded)
}

/// Makes an image of a root file system archive; returns its id (64 hex digits).
///
/// # Errors
/// What is wrong with it; nothing was kept.
pub fn import(engine: &Engine, request: &ImportRequest) -> Result<String, EngineError> {
    engine.recover()?;
    let reference = match &request.reference {
        Some(written) => Some(
            super::canonical(written)
                .ok_or_else(|| EngineError::invalid("reference", written, "a name like shop/web:1.2 is needed"))?,
        ),
        None => None,
    };
    if let Some(reference) = &reference {
        super::trust::may_name(engine, None, reference)?;
    }
    let archive = match &request.file {
        Some(path) => open_archive(path)?,
        None => stdin()?,
    };
    let staging = Staging::new(engine)?;
    let (changes, message) = (request.changes.clone(), request.message.clone().unwrap_or_default());
    // Docker's words: where the archive came from is not said of files.
    let message = if message.is_empty() { "Imported from -".to_owned() } else { message };
    let answer = worker::run(engine, &staging.path, Some(archive), None, |single_id| Task::Import {
        changes,
        message,
        single_id,
    })?;
    let Answer::Imported(report) = answer else {
        return Err(EngineError::Image("the unpacking process answered something else".to_owned()));
    };
    let id = report.image.config_digest.to_string();
    record(
        engine,
        &staging.path,
        &NewImage {
            id: id.clone(),
            config_json: report.image.config_json.clone(),
            created: now(),
            size: report.image.size,
            layers: report.image.layers.iter().map(new_layer).collect(),
            references: reference.iter().cloned().collect(),
            ..NewImage::default()
        },
    )?;
    if let Some(reference) = reference {
        engine.events().emit(&Event::new(Kind::Image, "tag", &id).with("name", reference));
    }
    engine.events().emit(&Event::new(Kind::Image, "import", &id).with("name", &id));
    Ok(id.trim_start_matches("sha256:").to_owned())
}
