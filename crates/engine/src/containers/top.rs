//! `top`: the processes of a container, by the host's numbers.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use bulkhead_sandbox::spec::{IdRange, inside};

use super::inspect::date;
use super::members::{Process, Table};
use super::stop::not_running;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::{Layout, RunState, now};
use crate::store::ContainerRecord;

/// A table of processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    /// Headings.
    pub titles: Vec<String>,
    /// As many cells in each row. What a container wrote is as it wrote it.
    pub rows: Vec<Vec<String>>,
}

/// The columns of `ps -ef`.
const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

/// The processes of a running container: without `options` in the columns of `ps -ef`, with users as the container names
/// them; with options what the host's `ps` says with them, of these processes only.
///
/// # Errors
/// A container that does not run; a host without `ps`; options that it does not take, or that leave out the pids.
pub fn top(engine: &Engine, query: &str, options: &[String]) -> Result<Processes, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let state = Layout::new(&engine.paths, &record.id).read_state().ok_or_else(|| not_running(&record))?;
    if state.restarting.is_some() {
        return Err(EngineError::State {
            name: record.name.clone(),
            state: "restarting".to_owned(),
            hint: "wait until it runs".to_owned(),
        });
    }
    super::stop::process(&state).ok_or_else(|| not_running(&record))?;
    let table = Table::open()?;
    let pids = table.members(&state);
    if options.is_empty() {
        return natively(engine, &record, &table, &pids);
    }
    by_ps(&pids, options)
}

fn natively(engine: &Engine, record: &ContainerRecord, table: &Table, pids: &[i32]) -> Result<Processes, EngineError> {
    let mut names = Names::new(engine, record);
    let clock = Clock::read();
    let rows = pids.iter().filter_map(|pid| table.process(*pid)).map(|p| row(&p, &mut names, &clock)).collect();
    Ok(Processes { titles: TITLES.map(str::to_owned).to_vec(), rows })
}

fn row(process: &Process, names: &mut Names, clock: &Clock) -> Vec<String> {
    let seconds = process.cpu / clock.ticks;
    vec![
        names.of(process.uid),
        process.pid.to_string(),
        process.parent.to_string(),
        clock.percent(process).to_string(),
        clock.start(process),
        terminal(process.terminal),
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        process.command.clone(),
    ]
}

/// Users as the container has them.
struct Names {
    ids: Vec<IdRange>,
    dirs: Vec<std::path::PathBuf>,
    known: BTreeMap<u32, String>,
}

impl Names {
    fn new(engine: &Engine, record: &ContainerRecord) -> Self {
        let layout = Layout::new(&engine.paths, &record.id);
        let ids = super::spec_of(record).map(|s| s.ids.uids).unwrap_or_default();
        let dirs = crate::images::of_container(engine, record).map(|i| i.lookup_dirs(&layout)).unwrap_or_default();
        Self { ids, dirs, known: BTreeMap::new() }
    }

    /// The name that the container's own `/etc/passwd` has, or the number inside. Number 0 is `root` whatever it says: it
    /// must not hide who has the most power. A user that is not the container's is shown by the host's number.
    fn of(&mut self, uid: u32) -> String {
        let Some(inside) = inside(&self.ids, uid) else { return uid.to_string() };
        let dirs = &self.dirs;
        let find = || match inside {
            0 => "root".to_owned(),
            _ => crate::resolve::user_name(inside, dirs).unwrap_or_else(|| inside.to_string()),
        };
        self.known.entry(inside).or_insert_with(find).clone()
    }
}

/// What turns ticks into times.
struct Clock {
    ticks: u64,
    /// Ticks since the boot.
    up: u64,
    /// Seconds since 1970.
    now: i64,
}

impl Clock {
    fn read() -> Self {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let up = u64::try_from(up.tv_sec).unwrap_or(0).saturating_mul(ticks);
        Self { ticks, up, now: now().div_euclid(1_000_000_000) }
    }

    /// CPU time per time lived, in percent.
    fn percent(&self, process: &Process) -> u64 {
        let lived = self.up.saturating_sub(process.started);
        process.cpu.saturating_mul(100).checked_div(lived).unwrap_or(0).min(999)
    }

    /// When it started, in UTC: the hour today, the day before that, as `ps` has it.
    fn start(&self, process: &Process) -> String {
        let ago = i64::try_from(self.up.saturating_sub(process.started) / self.ticks).unwrap_or(0);
        let at = self.now.saturating_sub(ago);
        let (year, month, day) = date(at);
        let clock = at.rem_euclid(86_400);
        if ago < 86_400 && day == date(self.now).2 {
            return format!("{:02}:{:02}", clock / 3600, clock / 60 % 60);
        }
        if ago > 365 * 86_400 {
            return year.to_string();
        }
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let name = usize::try_from(month - 1).ok().and_then(|m| MONTHS.get(m)).copied().unwrap_or("?");
        format!("{name}{day:02}")
    }
}

/// Name of a terminal by its device number (`proc_pid_stat(5)`); a container's own are its pseudo-terminals.
fn terminal(device: u64) -> String {
    let major = device >> 8 & 0xfff;
    let minor = device & 0xff | device >> 12 & 0xf_ff00;
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        _ => "?".to_owned(),
    }
}

/// Runs the host's `ps` and keeps the lines of these processes.
fn by_ps(pids: &[i32], options: &[String]) -> Result<Processes, EngineError> {
    let field = "the ps options";
    let words = options.join(" ");
    if let Some(word) = options.iter().find(|w| renames_pid(w)) {
        return Err(EngineError::invalid(field, word.clone(), "the pid column must keep its heading"));
    }
    let run = |only: Option<String>| {
        let mut command = Command::new("ps");
        command.args(options).args(only).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").env_remove("COLUMNS");
        command.output().map_err(EngineError::io("run", std::path::Path::new("ps")))
    };
    let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
    // These only, where the options allow it; otherwise all, and the rest is left out here.
    let mut output = run(Some(format!("-q{}", list.join(","))))?;
    if !output.status.success() {
        output = run(None)?;
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
        return Err(EngineError::invalid(field, words, format!("options of this host's ps are needed: {said}")));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    select(&text, pids).ok_or_else(|| EngineError::invalid(field, words, "options that show the column PID are needed"))
}

/// `-o pid=NAME` and its kin: the column could not be found.
fn renames_pid(word: &str) -> bool {
    word.split([',', ' ']).any(|part| {
        let part = part.trim_start_matches('-').trim_start_matches(['o', 'O']);
        part == "pid=" || part.starts_with("pid=") || part.ends_with("format=pid=")
    })
}

/// The rows of these pids; what is beyond the headings belongs to the last column.
fn select(text: &str, pids: &[i32]) -> Option<Processes> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next()?.split_ascii_whitespace().map(str::to_owned).collect();
    let column = titles.iter().position(|t| t == "PID")?;
    let last = titles.len().saturating_sub(1);
    let mut rows = Vec::new();
    let mut of_ours = false;
    for line in lines {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some(pid) = fields.get(column) else { continue };
        // Lines of threads follow the one of their process.
        let thread = *pid == "-" && of_ours;
        of_ours = thread || pid.parse().is_ok_and(|pid: i32| pids.contains(&pid));
        if of_ours {
            let mut row: Vec<String> = fields.iter().take(last).map(|f| (*f).to_owned()).collect();
            row.push(fields.get(last..).unwrap_or_default().join(" "));
            rows.push(row);
        }
    }
    Some(Processes { titles, rows })
}

/// CPU time, memory and number of threads of a container that has no control group: what its processes have together.
/// Time of processes that have ended is in their parents' when those waited for them.
pub(super) fn without_group(state: &RunState) -> Option<(u64, u64, u64)> {
    let table = Table::open().ok()?;
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let mut sum = (0_u64, 0_u64, 0_u64);
    for process in table.members(state).iter().filter_map(|pid| table.process(*pid)) {
        let cpu = process.cpu.saturating_add(process.cpu_of_children);
        sum.0 = sum.0.saturating_add(cpu.saturating_mul(1_000_000_000 / ticks));
        sum.1 = sum.1.saturating_add(process.resident);
        sum.2 = sum.2.saturating_add(process.threads);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::{Clock, renames_pid, select, terminal};
    use crate::containers::members::Process;

    fn process(started: u64) -> Process {
        Process {
            pid: 1,
            parent: 0,
            uid: 0,
            terminal: 0,
            cpu: 500,
            cpu_of_children: 0,
            threads: 1,
            started,
            resident: 0,
            command: String::new(),
        }
    }

    #[test]
    fn lines_of_other_processes_are_left_out() {
        let text = "  PID CMD\n    1 init\n   12 sh -c  sleep 1\n    - thread\n   13 other\n";
        let found = select(text, &[12]).unwrap();
        assert_eq!(found.titles, ["PID", "CMD"]);
        assert_eq!(found.rows, [vec!["12", "sh -c sleep 1"], vec!["-", "thread"]]);
        assert_eq!(select("CMD\ninit\n", &[1]), None);
        assert!(renames_pid("-opid=X") && renames_pid("pid=") && !renames_pid("-opid,cmd") && !renames_pid("ppid=x"));
    }

    #[test]
    fn terminals_by_number() {
        assert_eq!((terminal(0), terminal(34816), terminal(1025)), ("?".into(), "pts/0".into(), "tty1".into()));
    }

    #[test]
    fn starts_are_an_hour_a_day_or_a_year() {
        // 2026-11-26 18:00 UTC, a machine that is up for two years.
        let up = 2 * 365 * 86_400;
        let clock = Clock { ticks: 100, up: up * 100, now: 1_795_716_000 };
        assert_eq!(clock.start(&process((up - 3600) * 100)), "17:00");
        assert_eq!(clock.start(&process((up - 20 * 3600) * 100)), "Nov25");
        assert_eq!(clock.start(&process(0)), "2024");
        assert_eq!(clock.percent(&process((up - 10) * 100)), 50);
    }
}
