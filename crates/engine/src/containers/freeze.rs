//! Holding a container still while its files are read, and letting it go again whatever happens to the command.

use std::path::{Path, PathBuf};

use super::pause::Freezer;
use crate::error::EngineError;
use crate::layout::RunState;

/// End of the name of the note, beside the staging directory, that says what was frozen, for the command after one that
/// was killed.
const NOTE: &str = "frozen";

/// A container that is held still as long as this lives.
#[derive(Debug)]
pub(super) struct Frozen {
    freezer: Freezer,
    note: PathBuf,
}

impl Frozen {
    /// Freezes a running container; nothing when it is frozen already, or has no group that can be.
    ///
    /// # Errors
    /// A group that does not come to rest.
    pub(super) fn new(state: &RunState, staging: &Path) -> Result<Option<Self>, EngineError> {
        let Some(freezer) = Freezer::of(&state.cgroups) else { return Ok(None) };
        if freezer.is_asked() {
            return Ok(None);
        }
        let note = staging.with_extension(NOTE);
        // Before it is frozen: a command that is killed here must not leave it so for ever.
        let text = freezer.file.to_string_lossy().into_owned();
        std::fs::write(&note, text).map_err(EngineError::io("write", &note))?;
        let frozen = Self { freezer, note };
        if !frozen.freezer.freeze()? {
            return Err(EngineError::refused(
                "pausing the container",
                "a process of it does not come to rest; use --pause=false, or stop the container",
            ));
        }
        Ok(Some(frozen))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A container that ended meanwhile has no group any more.
        drop(self.freezer.thaw());
        drop(std::fs::remove_file(&self.note));
    }
}

/// Lets go of what a killed command has frozen. `staging` is its directory.
pub(crate) fn thaw(staging: &Path) {
    let note = staging.with_extension(NOTE);
    let Ok(text) = std::fs::read_to_string(&note) else { return };
    let file = PathBuf::from(text);
    if let Some(freezer) = file.parent().and_then(|d| Freezer::of(&[d.to_path_buf()])) {
        drop(freezer.thaw());
    }
    drop(std::fs::remove_file(&note));
}
