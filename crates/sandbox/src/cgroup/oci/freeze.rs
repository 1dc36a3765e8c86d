//! Stopping a whole group and letting it go on (`freezer-subsystem.rst`, `cgroup-v2.rst`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cgroup::handle::CgroupError;

/// Whether a group runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Thawed,
    /// All of it stands still.
    Frozen,
    /// There is no freezer, or no such group any more.
    Unknown,
}

/// How long a group may take to stand still.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// The directories of a group, first those that by their path are the freezer's.
pub fn freezer_first(directories: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let is_named = |d: &PathBuf| {
        let mut names = d.iter().flat_map(|name| name.as_encoded_bytes().split(|b| *b == b','));
        names.any(|name| name == b"freezer")
    };
    directories.iter().filter(move |d| is_named(d)).chain(directories.iter().filter(move |d| !is_named(d)))
}

fn file(directories: &[PathBuf]) -> Option<(PathBuf, bool)> {
    freezer_first(directories).find_map(|d| {
        let (v2, v1) = (d.join("cgroup.freeze"), d.join("freezer.state"));
        if v1.exists() { Some((v1, false)) } else { v2.exists().then_some((v2, true)) }
    })
}

/// Freezes the group in `directories` and returns when all of it stands still; or lets it go on.
///
/// # Errors
/// A group without a freezer; one that does not come to rest, which runs again then.
pub fn freeze(directories: &[PathBuf], on: bool) -> Result<(), CgroupError> {
    let Some((file, unified)) = file(directories) else {
        let none = directories.first().cloned().unwrap_or_default();
        let reason = "it has no freezer: this host's kernel or boot options leave it out, or the group is gone";
        return Err(CgroupError::new("freeze the control group", &none, std::io::Error::other(reason)));
    };
    let result = match (on, unified) {
        (false, false) => put(&file, "THAWED"),
        (false, true) => put(&file, "0"),
        (true, false) => freeze_v1(&file),
        (true, true) => freeze_v2(&file),
    };
    if on && result.is_err() {
        // Half frozen is worse than either.
        drop(put(&file, if unified { "0" } else { "THAWED" }));
    }
    result
}

fn put(file: &Path, value: &str) -> Result<(), CgroupError> {
    std::fs::write(file, value).map_err(|e| CgroupError::new(format!("write {value:?} to"), file, e))
}

fn take(file: &Path) -> Result<String, CgroupError> {
    Ok(bulkhead_sys::fd::text(file).map_err(|e| CgroupError::new("read", file, e))?.trim().to_owned())
}

fn tired(file: &Path) -> CgroupError {
    let reason = format!("a process of it has not come to rest in {} s", PATIENCE.as_secs());
    CgroupError::new("freeze by", file, std::io::Error::other(reason))
}

/// A process that is made at the wrong moment, or that was in an uninterruptible wait, is only met by another write;
/// letting the group go for a moment gives it time to come out.
fn freeze_v1(file: &Path) -> Result<(), CgroupError> {
    let end = Instant::now() + PATIENCE;
    let mut round = 0_u32;
    while Instant::now() < end {
        round += 1;
        if round.is_multiple_of(50) {
            put(file, "THAWED")?;
            std::thread::sleep(PAUSE * 10);
        }
        put(file, "FROZEN")?;
        if take(file)? == "FROZEN" {
            return Ok(());
        }
        if round.is_multiple_of(5) {
            std::thread::sleep(PAUSE);
        }
    }
    Err(tired(file))
}

fn freeze_v2(file: &Path) -> Result<(), CgroupError> {
    put(file, "1")?;
    let events = file.with_file_name("cgroup.events");
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if take(&events)?.lines().any(|l| l == "frozen 1") {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(tired(file))
}

/// Whether the group in `directories` stands still by its own freezer. One that is on its way is waited for.
#[must_use]
pub fn frozen(directories: &[PathBuf]) -> State {
    let Some((file, unified)) = file(directories) else { return State::Unknown };
    let end = Instant::now() + PATIENCE;
    loop {
        let Ok(state) = take(&file) else { return State::Unknown };
        match state.as_str() {
            "0" | "THAWED" => return State::Thawed,
            // A group above may be what is frozen.
            "FROZEN" => {
                let own = take(&file.with_file_name("freezer.self_freezing"));
                return if own.is_ok_and(|s| s == "0") { State::Thawed } else { State::Frozen };
            }
            "1" if unified => {
                let events = take(&file.with_file_name("cgroup.events")).unwrap_or_default();
                // An empty group counts as frozen at once; one without the line is of a kernel that is too old.
                if events.lines().any(|l| l == "frozen 1") || Instant::now() > end {
                    return State::Frozen;
                }
            }
            _ if Instant::now() > end => return State::Unknown,
            _ => {}
        }
        std::thread::sleep(PAUSE);
    }
}
