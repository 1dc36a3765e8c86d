//! Holding a container still while its files are read, and letting it go again whatever happens to the command.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::EngineError;
use crate::layout::RunState;

/// How long a group may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(10);
/// End of the name of the note, beside the staging directory, that says what was frozen, for the command after one that
/// was killed.
const NOTE: &str = "frozen";

/// A container that is held still as long as this lives.
#[derive(Debug)]
pub(super) struct Frozen {
    switch: Switch,
    note: PathBuf,
}

/// The file of a control group that freezes it, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Switch {
    file: PathBuf,
    unified: bool,
}

impl Switch {
    fn of(directory: &Path) -> Option<Self> {
        let found = [("cgroup.freeze", true), ("freezer.state", false)].into_iter();
        let mut found = found.map(|(name, unified)| Self { file: directory.join(name), unified });
        found.find(|switch| switch.file.exists())
    }

    fn set(&self, frozen: bool) -> std::io::Result<()> {
        let word = match (self.unified, frozen) {
            (true, true) => "1",
            (true, false) => "0",
            (false, true) => "FROZEN",
            (false, false) => "THAWED",
        };
        std::fs::write(&self.file, word)
    }

    fn is_frozen(&self) -> bool {
        let events = self.file.with_file_name("cgroup.events");
        if self.unified {
            return std::fs::read_to_string(events).is_ok_and(|t| t.lines().any(|l| l == "frozen 1"));
        }
        std::fs::read_to_string(&self.file).is_ok_and(|t| t.trim() == "FROZEN")
    }
}

impl Frozen {
    /// Freezes a running container; nothing when it is frozen already, or has no group that can be.
    ///
    /// # Errors
    /// A group that does not come to rest.
    pub(super) fn new(state: &RunState, staging: &Path) -> Result<Option<Self>, EngineError> {
        let Some(switch) = state.cgroups.iter().find_map(|directory| Switch::of(directory)) else { return Ok(None) };
        if switch.is_frozen() {
            return Ok(None);
        }
        let note = staging.with_extension(NOTE);
        // Before it is frozen: a command that is killed here must not leave it so for ever.
        let text = switch.file.to_string_lossy().into_owned();
        std::fs::write(&note, text).map_err(EngineError::io("write", &note))?;
        let frozen = Self { switch, note };
        frozen.switch.set(true).map_err(EngineError::io("freeze", &frozen.switch.file))?;
        let deadline = Instant::now() + PATIENCE;
        while !frozen.switch.is_frozen() {
            if Instant::now() > deadline {
                return Err(EngineError::refused(
                    "pausing the container",
                    "a process of it does not come to rest; use --pause=false, or stop the container",
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Some(frozen))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // A container that ended meanwhile has no group any more.
        drop(self.switch.set(false));
        drop(std::fs::remove_file(&self.note));
    }
}

/// Lets go of what a killed command has frozen. `staging` is its directory.
pub(crate) fn thaw(staging: &Path) {
    let note = staging.with_extension(NOTE);
    let Ok(text) = std::fs::read_to_string(&note) else { return };
    let file = PathBuf::from(text);
    if let Some(switch) = file.parent().and_then(Switch::of) {
        drop(switch.set(false));
    }
    drop(std::fs::remove_file(&note));
}
