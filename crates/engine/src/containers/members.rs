//! The processes of a running container, as the host sees them.

use std::collections::BTreeSet;
use std::ffi::CString;

use bulkhead_sandbox::cgroup;
use bulkhead_sys::proc::Proc;

use crate::error::EngineError;
use crate::layout::RunState;

/// One process, read from `/proc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Effective user, by the host's number.
    pub(crate) uid: u32,
    /// Device number of its terminal; 0 is none.
    pub(crate) terminal: u64,
    /// Clock ticks of CPU time.
    pub(crate) cpu: u64,
    /// Clock ticks of CPU time of children that have ended and were waited for.
    pub(crate) cpu_of_children: u64,
    pub(crate) threads: u64,
    /// When it started: clock ticks since the boot.
    pub(crate) started: u64,
    /// Bytes of memory that are resident.
    pub(crate) resident: u64,
    /// Words of its command line; its short name in brackets for one that has none.
    pub(crate) command: String,
}

/// Where processes are read.
pub(super) struct Table(Proc);

impl Table {
    pub(super) fn open() -> Result<Self, EngineError> {
        Proc::host().map(Self).map_err(EngineError::io("open", std::path::Path::new("/proc")))
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.0.read(&CString::new(path).ok()?).ok()
    }

    /// One process; nothing when it has ended.
    pub(super) fn process(&self, pid: i32) -> Option<Process> {
        let stat = self.read(&format!("{pid}/stat"))?;
        let status = String::from_utf8_lossy(&self.read(&format!("{pid}/status"))?).into_owned();
        let line = self.read(&format!("{pid}/cmdline")).unwrap_or_default();
        let mut process = parse_stat(pid, &stat)?;
        let uids = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
        process.uid = uids.split_whitespace().nth(1)?.parse().ok()?;
        let words: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
        let text = words.join(" ");
        if !text.trim().is_empty() {
            process.command = text.trim_end().to_owned();
        }
        Some(process)
    }

    /// Processes of the container that `state` describes.
    ///
    /// Its control group knows them. Without one they are those in its pid namespace, and their descendants: a namespace
    /// that was made inside is another one.
    pub(super) fn members(&self, state: &RunState) -> Vec<i32> {
        match cgroup::members(&state.cgroups) {
            Some(all) => all,
            None => self.in_namespace(state.pid),
        }
    }

    fn in_namespace(&self, first: i32) -> Vec<i32> {
        let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(wanted) = namespace(first) else { return Vec::new() };
        // In an own pid namespace only: without one every process of the host is in it.
        if namespace(rustix::process::getpid().as_raw_nonzero().get()) == Some(wanted.clone()) {
            return vec![first];
        }
        let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids: Vec<i32> = names.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
        pids.sort_unstable();
        let parents: Vec<(i32, i32)> = pids
            .iter()
            .filter_map(|pid| Some((*pid, parse_stat(*pid, &self.read(&format!("{pid}/stat"))?)?.parent)))
            .collect();
        let mut found: BTreeSet<i32> =
            pids.into_iter().filter(|pid| namespace(*pid).is_some_and(|n| n == wanted)).collect();
        loop {
            let below: Vec<i32> = parents
                .iter()
                .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
                .map(|(pid, _)| *pid)
                .collect();
            if below.is_empty() {
                return found.into_iter().collect();
            }
            found.extend(below);
        }
    }
}

/// `proc_pid_stat(5)`. The name is in parentheses and may hold any byte, so the last one closes it.
fn parse_stat(pid: i32, text: &[u8]) -> Option<Process> {
    let text = String::from_utf8_lossy(text);
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        uid: 0,
        terminal: number(4).unwrap_or(0),
        cpu: number(11)?.saturating_add(number(12)?),
        cpu_of_children: number(13).unwrap_or(0).saturating_add(number(14).unwrap_or(0)),
        threads: number(17).unwrap_or(1),
        started: number(19)?,
        resident: number(21).unwrap_or(0).saturating_mul(page),
        command: format!("[{name}]"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Table, parse_stat};

    #[test]
    fn a_name_with_parentheses_and_spaces_is_one_field() {
        let text = b"12 (a) b (c) S 5 12 12 34817 12 4194304 1 0 0 0 30 4 2 1 20 0 3 0 777 1000 25 0";
        let process = parse_stat(12, text).unwrap();
        assert_eq!((process.parent, process.terminal, process.cpu, process.cpu_of_children), (5, 34817, 34, 3));
        assert_eq!((process.threads, process.started, process.resident), (3, 777, 25 * 4096));
        assert_eq!(process.command, "[a) b (c]");
        assert_eq!(parse_stat(1, b"1 (x"), None);
    }

    #[test]
    fn this_process_is_found_with_its_words() {
        let me = i32::try_from(std::process::id()).unwrap();
        let process = Table::open().unwrap().process(me).unwrap();
        assert!(process.threads >= 1 && process.resident > 0 && !process.command.starts_with('['), "{process:?}");
        assert_eq!(process.uid, rustix::process::geteuid().as_raw());
    }
}
