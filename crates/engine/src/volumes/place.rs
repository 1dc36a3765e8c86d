//! Directories of volumes appear and disappear together with their rows: they are renamed inside the transaction, from
//! and to a staging directory whose lock says whether its command lives.

use std::io::{Error, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::quota;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::Staging;
use crate::store::{VOLUME_DATA, VolumeRecord};

/// In a staging directory: volumes on their way in, on their way out, and that nobody knows of.
const NEW: &str = "new-volumes";
const RETIRED: &str = "retired-volumes";
const STRAY: &str = "stray-volumes";

fn directory(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    // Whatever the umask is.
    rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode)).map_err(Error::from)
}

/// Volumes that are being made.
#[derive(Debug)]
pub(super) struct Placing<'a> {
    engine: &'a Engine,
    staging: Staging<'a>,
}

impl<'a> Placing<'a> {
    pub(super) fn new(engine: &'a Engine) -> Result<Self, EngineError> {
        let staging = Staging::new(engine)?;
        let new = staging.path.join(NEW);
        directory(&new, 0o700).map_err(EngineError::io("make", &new))?;
        Ok(Self { engine, staging })
    }

    /// Makes the directory of a volume; returns the id of its quota when it has a limit.
    pub(super) fn make(&self, name: &str, size: Option<u64>) -> Result<Option<u32>, EngineError> {
        let path = self.staging.path.join(NEW).join(name);
        let made = directory(&path, 0o700).and_then(|()| directory(&path.join(VOLUME_DATA), 0o755));
        made.map_err(EngineError::io("make", &path))?;
        match size {
            None => Ok(None),
            Some(size) => {
                let project = quota::limit(self.engine, &path, size)?;
                // It was made before the limit.
                let data = path.join(VOLUME_DATA);
                let again = std::fs::remove_dir(&data).and_then(|()| directory(&data, 0o755));
                again.map_err(EngineError::io("make", &data))?;
                Ok(Some(project))
            }
        }
    }

    /// Inside the transaction: puts a volume that was made into its place.
    pub(super) fn place(&self, name: &str) -> std::io::Result<()> {
        let (from, to) = (self.staging.path.join(NEW).join(name), self.engine.paths.volume(name));
        match std::fs::rename(&from, &to) {
            Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                // Left by a command that was killed before its transaction ended: no row names it.
                let stray = self.staging.path.join(STRAY);
                directory(&stray, 0o700)?;
                std::fs::rename(&to, stray.join(name))?;
                std::fs::rename(&from, &to)
            }
            other => other,
        }
    }

    /// After a transaction that failed: what was put into place comes back, and goes with the staging directory.
    pub(super) fn take_back(&self) -> Result<(), EngineError> {
        settle_directories(self.engine, &self.staging.path)
    }
}

/// Volumes that are being removed.
#[derive(Debug)]
pub(crate) struct Retiring<'a> {
    engine: &'a Engine,
    staging: Staging<'a>,
}

impl<'a> Retiring<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Result<Self, EngineError> {
        let staging = Staging::new(engine)?;
        let retired = staging.path.join(RETIRED);
        directory(&retired, 0o700).map_err(EngineError::io("make", &retired))?;
        Ok(Self { engine, staging })
    }

    /// Inside the transaction: takes a volume away.
    pub(crate) fn retire(&self, name: &str) -> std::io::Result<()> {
        match std::fs::rename(self.engine.paths.volume(name), self.place(name)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Where a volume is that was taken away, until this is dropped.
    fn place(&self, name: &str) -> std::path::PathBuf {
        self.staging.path.join(RETIRED).join(name)
    }

    /// The directory that holds all of them.
    pub(super) fn all(&self) -> std::path::PathBuf {
        self.staging.path.join(RETIRED)
    }

    /// After the transaction: forgets limits. The content goes when this is dropped.
    pub(super) fn gone(&self, record: &VolumeRecord) {
        if let Some(project) = record.project {
            quota::forget(&self.place(&record.name), project);
        }
    }

    /// After a transaction that failed: puts back what was taken.
    pub(crate) fn put_back(&self) -> Result<(), EngineError> {
        settle_directories(self.engine, &self.staging.path)
    }
}

/// Settles what a killed command left of volumes in a staging directory, whose lock the caller holds.
///
/// # Errors
/// The file operation that failed.
pub(crate) fn settle(engine: &Engine, staging: &Path) -> Result<(), EngineError> {
    super::fill::settle(engine, staging)?;
    if [NEW, RETIRED].iter().any(|name| staging.join(name).exists()) {
        settle_directories(engine, staging)?;
    }
    Ok(())
}

/// Makes the directories agree with the store: what was taken away before its removal was recorded goes back, and what
/// was put in place and not recorded goes to `staging`, to be removed with it.
fn settle_directories(engine: &Engine, staging: &Path) -> Result<(), EngineError> {
    let settle = |known: &[String]| -> std::io::Result<()> {
        let is_known = |name: &String| known.binary_search(name).is_ok();
        for entry in std::fs::read_dir(staging.join(RETIRED)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let place = engine.paths.volume(&name);
            if is_known(&name) && !place.exists() {
                std::fs::rename(entry.path(), place)?;
            }
        }
        for entry in std::fs::read_dir(engine.paths.volumes())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_known(&name) {
                let stray = staging.join(STRAY);
                directory(&stray, 0o700)?;
                std::fs::rename(entry.path(), stray.join(name))?;
            }
        }
        Ok(())
    };
    Ok(engine.store()?.with_known_volumes(settle)?)
}
