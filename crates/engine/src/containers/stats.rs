//! `stats`: what containers use.

use bulkhead_sandbox::cgroup::figures;
use bulkhead_sys::clone::NEWNET;
use bulkhead_sys::proc::Proc;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::{Layout, RunState};
use crate::store::ContainerRecord;

/// What a container uses at a moment. `None` where this host does not account it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// 64 hex digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// It runs; otherwise all figures are 0.
    pub running: bool,
    /// When it was looked at: nanoseconds of the clock that nobody can set.
    pub at: u64,
    /// Nanoseconds of CPU time.
    pub cpu: Option<u64>,
    /// Bytes of memory, without what can be dropped at once.
    pub memory: Option<u64>,
    /// Bytes that it may have: its own limit, or what the host has.
    pub limit: Option<u64>,
    /// What it received and sent over each of its interfaces but loopback, in the order of the kernel.
    pub network: Option<Vec<Interface>>,
    /// Bytes read from and written to disks.
    pub block: Option<(u64, u64)>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// What went over an interface of a container since it was made there. The container's own rights decide what else it has:
/// one with `NET_ADMIN` may have made some itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name inside.
    pub name: String,
    /// What came in.
    pub received: Traffic,
    /// What went out.
    pub sent: Traffic,
}

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with an error.
    pub errors: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

/// Which containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsOf<'a> {
    /// Those that run.
    Running,
    /// All of the store.
    All,
    /// These, by name or id.
    Named(&'a [String]),
}

/// Looks at containers once, in the order of the list or the words.
///
/// # Errors
/// An unknown container.
pub fn stats(engine: &Engine, which: StatsOf<'_>) -> Result<Vec<Sample>, EngineError> {
    engine.recover()?;
    let records = match which {
        StatsOf::Running => super::list::running_records(engine)?,
        StatsOf::All => engine.store()?.list_containers()?,
        StatsOf::Named(names) => {
            let store = engine.store()?;
            names.iter().map(|name| store.find_container(name)).collect::<Result<_, _>>()?
        }
    };
    let memory = engine.facts()?.memory;
    let samples = records.iter().map(|record| sample(engine, record, memory));
    // One that ended while it was looked at is not running any more.
    Ok(samples.filter(|s| which != StatsOf::Running || s.running).collect())
}

fn sample(engine: &Engine, record: &ContainerRecord, host_memory: u64) -> Sample {
    let state = Layout::new(&engine.paths, &record.id).read_state().filter(|s| super::stop::process(s).is_some());
    let Some(state) = state else {
        return Sample {
            id: record.id.clone(),
            name: record.name.clone(),
            cpu: Some(0),
            memory: Some(0),
            limit: Some(0),
            network: Some(Vec::new()),
            block: Some((0, 0)),
            pids: Some(0),
            ..Sample::default()
        };
    };
    let found = figures(&state.cgroups);
    let usage = found.usage;
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let at =
        u64::try_from(at.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000) + u64::try_from(at.tv_nsec).unwrap_or(0);
    let by_process = match usage.cpu_nanoseconds.is_none() || usage.memory.is_none() || usage.pids.is_none() {
        true => super::top::without_group(&state),
        false => None,
    };
    let memory = usage.memory.map(|all| all.saturating_sub(found.inactive_file.unwrap_or(0)));
    Sample {
        id: record.id.clone(),
        name: record.name.clone(),
        running: true,
        at,
        cpu: usage.cpu_nanoseconds.or(by_process.map(|b| b.0)),
        memory: memory.or(by_process.map(|b| b.1)),
        limit: Some(usage.memory_limit.unwrap_or(u64::MAX).min(host_memory)),
        network: network(&state),
        block: found.block_read.zip(found.block_written),
        pids: usage.pids.or(by_process.map(|b| b.2)),
    }
}

/// Traffic of the container's network, without what it says to itself; nothing when it has the host's.
fn network(state: &RunState) -> Option<Vec<Interface>> {
    if state.namespaces & NEWNET == 0 {
        return None;
    }
    let path = std::ffi::CString::new(format!("{}/net/dev", state.pid)).ok()?;
    let text = Proc::host().ok()?.read(&path).ok()?;
    Some(interfaces(&String::from_utf8_lossy(&text)))
}

/// Interfaces that are looked at: nobody is given so many.
const INTERFACES: usize = 64;

/// Each line but the headings (`proc_pid_net(5)`): bytes, packets, errors and drops of either direction.
fn interfaces(text: &str) -> Vec<Interface> {
    let read = |line: &str| {
        // A name may have a colon in it, the figures have none.
        let (name, figures) = line.rsplit_once(':')?;
        let numbers: Vec<u64> = figures.split_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
        let half = |from: usize| Traffic {
            bytes: number(from),
            packets: number(from + 1),
            errors: number(from + 2),
            dropped: number(from + 3),
        };
        Some(Interface { name: name.trim().to_owned(), received: half(0), sent: half(8) })
    };
    text.lines().filter_map(read).filter(|one| one.name != "lo").take(INTERFACES).collect()
}

#[cfg(test)]
mod tests {
    use super::{Traffic, interfaces};

    #[test]
    fn loopback_does_not_count() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n\
                    \x20 eth0: 100 1 2 3 0 0 0 0 7 4 5 6 0 0 0 0\n  e:1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        let all = interfaces(text);
        assert_eq!(all.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["eth0", "e:1"]);
        assert_eq!(all[0].received, Traffic { bytes: 100, packets: 1, errors: 2, dropped: 3 });
        assert_eq!(all[0].sent, Traffic { bytes: 7, packets: 4, errors: 5, dropped: 6 });
        assert!(interfaces("").is_empty());
    }
}
