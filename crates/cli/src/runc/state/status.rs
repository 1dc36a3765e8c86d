//! The status of a container: seen, not remembered.

use std::ffi::CString;
use std::path::PathBuf;

use bulkhead_sys::proc::Proc;
use rustix::io::Errno;

use super::record::Record;
use crate::runc::error::{During, RuncError};

/// Where a container is in its life, in the words of the OCI runtime specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is being made; there is no process yet.
    Creating,
    /// Its process waits for `start`.
    Created,
    /// Its program runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// Its process is gone.
    Stopped,
}

impl Status {
    /// The word of the specification.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it has a process.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Created | Self::Running | Self::Paused)
    }

    /// The status of a container now. `frozen` says whether the group with these directories is.
    ///
    /// # Errors
    ///
    /// A `/proc` that cannot be read, and what `frozen` says: a process that may still run is never called stopped.
    pub fn of(record: &Record, frozen: impl FnOnce(&[PathBuf]) -> Result<bool, RuncError>) -> Result<Self, RuncError> {
        let Some(pid) = record.pid else { return Ok(Self::Creating) };
        if !is_alive(pid, record.start_time)? {
            return Ok(Self::Stopped);
        }
        if frozen(&record.cgroups)? {
            return Ok(Self::Paused);
        }
        Ok(if record.started { Self::Running } else { Self::Created })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.word())
    }
}

/// Whether the process with this pid is the one with this start time, and runs: one that ended and was not waited for
/// does not.
///
/// # Errors
///
/// A `/proc` that is none.
pub fn is_alive(pid: i32, start_time: Option<u64>) -> Result<bool, RuncError> {
    let what = || format!("look for process {pid}");
    let path = CString::new(format!("{pid}/stat")).during_with(what)?;
    let text = match Proc::host().and_then(|proc| proc.read(&path)) {
        Ok(text) => text,
        // It may end while it is read.
        Err(Errno::NOENT | Errno::SRCH) => return Ok(false),
        Err(error) => return Err(RuncError::chain(&error).during(what())),
    };
    let seen = state_and_start(&String::from_utf8_lossy(&text))
        .ok_or_else(|| RuncError::new(format!("{}: /proc/{pid}/stat has another form", what())))?;
    // A first thread that has ended is shown so while others of its process still run.
    let ended = matches!(seen.0, 'Z' | 'X' | 'x') && seen.2 <= 1;
    Ok(!ended && start_time.is_none_or(|wanted| wanted == seen.1))
}

/// Letter of the state, start time, and number of threads (`proc_pid_stat(5)`).
fn state_and_start(stat: &str) -> Option<(char, u64, u64)> {
    // The second field is the name, in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let threads = fields.nth(16)?.parse().ok()?;
    Some((state, fields.nth(1)?.parse().ok()?, threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pid: Option<i32>, start_time: Option<u64>, started: bool) -> Record {
        Record { pid, start_time, started, ..Record::new("x") }
    }

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let me = i32::try_from(std::process::id()).unwrap();
        let start = bulkhead_sandbox::supervise::start_time(me).unwrap();
        let status = |record: &Record, frozen: bool| Status::of(record, |_| Ok(frozen)).unwrap();
        assert_eq!(status(&record(None, None, false), false), Status::Creating);
        assert_eq!(status(&record(Some(me), Some(start), false), false), Status::Created);
        assert_eq!(status(&record(Some(me), Some(start), true), false), Status::Running);
        assert_eq!(status(&record(Some(me), Some(start), true), true), Status::Paused);
        assert_eq!(status(&record(Some(me), Some(start + 1), true), true), Status::Stopped);
        assert!(Status::of(&record(Some(me), Some(start), true), |_| Err(RuncError::new("no"))).is_err());
        assert_eq!(Status::Paused.to_string(), "paused");
    }

    #[test]
    fn a_process_that_nobody_waited_for_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start = bulkhead_sandbox::supervise::start_time(pid).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while is_alive(pid, Some(start)).unwrap() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!is_alive(pid, Some(start)).unwrap());
        child.wait().unwrap();
        assert!(!is_alive(pid, Some(start)).unwrap());
    }

    #[test]
    fn a_name_may_look_like_fields() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(state_and_start(&format!("12 (a) Z 9) {rest}")), Some(('S', 777, 17)));
        assert_eq!(state_and_start("12 (a) S 1"), None);
        assert_eq!(state_and_start(""), None);
    }
}
