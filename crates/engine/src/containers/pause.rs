//! `pause` and `unpause`: all processes of a container are frozen by its control group.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stop::{not_running, process};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::{Layout, RunState};
use crate::store::ContainerRecord;

/// `ENODEV`: the group went while its file was open.
const NO_DEVICE: i32 = 19;

/// How long the processes of a group may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file that freezes, and its two values.
#[derive(Debug)]
pub(super) struct Freezer {
    pub(super) file: PathBuf,
    frozen: &'static str,
    thawed: &'static str,
}

impl Freezer {
    pub(super) fn of(groups: &[PathBuf]) -> Option<Self> {
        let find = |name: &str| groups.iter().map(|d| d.join(name)).find(|p| p.exists());
        let v1 = find("freezer.state").map(|file| Self { file, frozen: "FROZEN", thawed: "THAWED" });
        v1.or_else(|| find("cgroup.freeze").map(|file| Self { file, frozen: "1", thawed: "0" }))
    }

    /// Freezes all that are in it; false when one does not come to rest, and all go on then.
    pub(super) fn freeze(&self) -> Result<bool, EngineError> {
        std::fs::write(&self.file, self.frozen).map_err(EngineError::io("freeze", &self.file))?;
        let deadline = Instant::now() + PATIENCE;
        while !self.is_frozen() {
            if Instant::now() > deadline {
                self.thaw()?;
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    }

    /// Lets all go on. A group that has ended meanwhile needs no word.
    pub(super) fn thaw(&self) -> Result<(), EngineError> {
        match std::fs::write(&self.file, self.thawed) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound && e.raw_os_error() != Some(NO_DEVICE) => {
                Err(EngineError::io("write", &self.file)(e))
            }
            _ => Ok(()),
        }
    }

    /// Whether all are frozen: version 2 says so in another file than the one that asks for it.
    fn is_frozen(&self) -> bool {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        match self.frozen {
            "1" => read(&self.file.with_file_name("cgroup.events")).lines().any(|l| l == "frozen 1"),
            _ => read(&self.file).trim() == self.frozen,
        }
    }

    /// Whether freezing was asked for.
    pub(super) fn is_asked(&self) -> bool {
        // A group that is gone holds nobody.
        std::fs::read_to_string(&self.file).is_ok_and(|text| text.trim() != self.thawed)
    }
}

/// Whether a running container is paused.
pub(crate) fn is_paused(state: &RunState) -> bool {
    Freezer::of(&state.cgroups).is_some_and(|f| f.is_asked())
}

/// Lets a paused container go on, if it is one: what was sent to it takes effect then.
pub(super) fn thaw(state: &RunState) -> Result<(), EngineError> {
    Freezer::of(&state.cgroups).filter(Freezer::is_asked).map_or(Ok(()), |freezer| freezer.thaw())
}

fn running(engine: &Engine, query: &str) -> Result<(ContainerRecord, RunState), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let state = Layout::new(&engine.paths, &record.id).read_state().ok_or_else(|| not_running(&record))?;
    process(&state).ok_or_else(|| not_running(&record))?;
    Ok((record, state))
}

fn freezer(state: &RunState) -> Result<Freezer, EngineError> {
    Freezer::of(&state.cgroups).ok_or_else(|| {
        EngineError::refused(
            "pausing",
            "it needs a control group that can be frozen; an ordinary user has one where systemd delegates it",
        )
    })
}

/// Freezes all processes of a running container.
///
/// # Errors
/// One that does not run or is paused already; a host without the means; processes that do not freeze within 10
/// seconds, which go on then.
pub fn pause(engine: &Engine, query: &str) -> Result<(), EngineError> {
    let (record, state) = running(engine, query)?;
    let freezer = freezer(&state)?;
    if freezer.is_asked() {
        return Err(EngineError::State {
            name: record.name.clone(),
            state: "paused already".to_owned(),
            hint: format!("'bulkhead unpause {}' lets it go on", record.name),
        });
    }
    if !freezer.freeze()? {
        return Err(EngineError::State {
            name: record.name.clone(),
            state: "not to be frozen: a process of it stays in the kernel".to_owned(),
            hint: "it goes on as before; try again".to_owned(),
        });
    }
    super::container_event(engine, &record, "pause");
    Ok(())
}

/// Lets a paused container go on.
///
/// # Errors
/// One that does not run or is not paused.
pub fn unpause(engine: &Engine, query: &str) -> Result<(), EngineError> {
    let (record, state) = running(engine, query)?;
    let freezer = freezer(&state)?;
    if !freezer.is_asked() {
        return Err(EngineError::State {
            name: record.name.clone(),
            state: "not paused".to_owned(),
            hint: "see 'bulkhead ps' for what it does".to_owned(),
        });
    }
    freezer.thaw()?;
    super::container_event(engine, &record, "unpause");
    Ok(())
}
