//! That a start and a change of a policy do not pass each other by.
//!
//! A start is given what the store says long before the kernel has it. So a file in the run directory is locked while
//! either tells the kernel, and says which policies were the last: who was given others reads again.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::EngineError;

/// The file, locked for as long as this is held.
#[derive(Debug)]
pub(super) struct Calm(std::fs::File);

fn open(run: &Path, operation: FlockOperation) -> Result<Calm, EngineError> {
    let path = run.join("policies");
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).map_err(EngineError::io("open", &path))?;
    rustix::fs::flock(&fd, operation).map_err(EngineError::io("lock", &path))?;
    Ok(Calm(fd.into()))
}

/// For a start: no policy changes meanwhile.
pub(super) fn shared(run: &Path) -> Result<Calm, EngineError> {
    open(run, FlockOperation::LockShared)
}

/// For a change: nothing starts meanwhile.
pub(super) fn alone(run: &Path) -> Result<Calm, EngineError> {
    open(run, FlockOperation::LockExclusive)
}

/// Which policies are the last. What cannot be read is none of them.
pub(super) fn stamp(run: &Path) -> String {
    std::fs::read_to_string(run.join("policies")).unwrap_or_default()
}

impl Calm {
    /// As [`stamp`].
    pub(super) fn read(&mut self) -> String {
        let mut text = String::new();
        match self.0.rewind().and_then(|()| self.0.read_to_string(&mut text)) {
            Ok(_) => text,
            Err(_) => "unreadable".to_owned(),
        }
    }

    /// Says that they are others now.
    pub(super) fn change(&mut self, stamp: &str, run: &Path) -> Result<(), EngineError> {
        let write = |file: &mut std::fs::File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(stamp.as_bytes())
        };
        write(&mut self.0).map_err(EngineError::io("write", &run.join("policies")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_starts_knows_that_policies_have_changed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((stamp(dir.path()), shared(dir.path()).unwrap().read()), (String::new(), String::new()));
        alone(dir.path()).unwrap().change("a longer one", dir.path()).unwrap();
        alone(dir.path()).unwrap().change("one", dir.path()).unwrap();
        assert_eq!((stamp(dir.path()), shared(dir.path()).unwrap().read()), ("one".to_owned(), "one".to_owned()));
        // Starts do not wait for each other.
        let (_one, _other) = (shared(dir.path()).unwrap(), shared(dir.path()).unwrap());
    }
}
