//! Owners and modes of the store's own directories and files, and the staging directory.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{Look, names};
use crate::error::EngineError;
use crate::images;
use crate::layout::is_locked;

pub(super) fn check(look: &mut Look<'_>) -> Result<(), EngineError> {
    let paths = &look.engine.paths;
    for directory in [paths.root.clone(), paths.run.clone()].into_iter().chain(paths.inner()) {
        private(look, "directory-mode", &directory, 0o700);
    }
    for name in ["bulkhead.db", "bulkhead.db-wal", "bulkhead.db-shm", "events.log", "events.log.1"] {
        private(look, "file-mode", &look.engine.paths.root.join(name), 0o600);
    }
    staging(look);
    Ok(())
}

/// A directory or file that nobody but its owner may enter or read.
pub(super) fn private(look: &mut Look<'_>, code: &'static str, path: &Path, mode: u32) {
    // An administrator may have linked a place to a larger disk: what counts is where it leads.
    let Ok(found) = std::fs::metadata(path) else { return };
    let user = rustix::process::geteuid().as_raw();
    let object = path.display().to_string();
    if found.uid() != user {
        let owner = found.uid();
        look.found("owner", object, format!("{path:?} belongs to user {owner}, not to user {user}"));
        return;
    }
    // A directory may hand its group down.
    let has = found.mode() & 0o5777;
    if has != mode {
        let message = format!("{path:?} has mode {has:o}, and {mode:o} is needed");
        look.repairable(code, object, message, |_| {
            std::fs::set_permissions(path, Permissions::from_mode(mode))
                .map_err(EngineError::io("set the mode of", path))?;
            Ok(Some(format!("set mode {mode:o}")))
        });
    }
}

/// What is in the staging directory belongs to a command that holds its lock.
fn staging(look: &mut Look<'_>) {
    let staging = look.engine.paths.staging();
    let all = names(&staging);
    for name in &all {
        let path = staging.join(name);
        let (object, stem) = (format!("staging/{name}"), name.strip_suffix(".lock").unwrap_or(name));
        let lock = staging.join(format!("{stem}.lock"));
        if is_locked(&lock) {
            continue;
        }
        let message = format!("{path:?} is work in progress of a command that has gone");
        look.repairable("staging-stray", object, message, |engine| {
            images::clear_staging(engine, &lock)?;
            Ok(Some("removed it".to_owned()))
        });
    }
}
