//! Who is in a group, and a signal to all of them.

use std::path::PathBuf;

use crate::cgroup::figures::members;

/// Processes of the group and of the groups below it, in rising order, each once: those of every hierarchy, for a
/// process that somebody moved out of one is still the container's.
#[must_use]
pub fn processes(directories: &[PathBuf]) -> Vec<i32> {
    let mut all: Vec<i32> = directories.iter().filter_map(|d| members(std::slice::from_ref(d))).flatten().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Removes the group if nobody is in it. Whether nothing of it is left.
#[must_use]
pub fn remove_empty(directories: &[PathBuf]) -> bool {
    crate::cgroup::handle::remove_empty(directories).is_empty()
}

/// Sends a signal to every process of the group. With `SIGKILL` it goes on until nobody is there that was not met before,
/// for a bounded number of rounds: what forks meanwhile is met in the next one. A frozen process takes its end when it is let
/// go, so a killed group is.
pub fn kill_all(directories: &[PathBuf], signal: i32) {
    const KILL: i32 = 9;
    const ROUNDS: usize = 64;
    if signal != KILL {
        for pid in processes(directories) {
            // It may be gone already.
            bulkhead_sys::signal::kill(pid, signal).unwrap_or_default();
        }
        return;
    }
    let at_once = |d: &PathBuf| std::fs::write(d.join("cgroup.kill"), "1").is_ok();
    // One alone has everybody in it; of several, each may have somebody whom another has not.
    let whole = directories.len() == 1 && directories.iter().any(at_once);
    if !whole {
        // What cannot run cannot fork away from the signal.
        drop(super::freeze(directories, true));
    }
    let mut seen: Vec<i32> = Vec::new();
    for _ in 0..ROUNDS {
        let new: Vec<i32> = processes(directories).into_iter().filter(|pid| !seen.contains(pid)).collect();
        if whole || new.is_empty() {
            break;
        }
        for pid in new {
            bulkhead_sys::signal::kill(pid, KILL).unwrap_or_default();
            seen.push(pid);
        }
    }
    drop(super::freeze(directories, false));
}
