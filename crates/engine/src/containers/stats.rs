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
    /// Bytes received and sent over its network.
    pub network: Option<(u64, u64)>,
    /// Bytes read from and written to disks.
    pub block: Option<(u64, u64)>,
    /// Processes and threads.
    pub pids: Option<u64>,
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
            network: Some((0, 0)),
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
fn network(state: &RunState) -> Option<(u64, u64)> {
    if state.namespaces & NEWNET == 0 {
        return None;
    }
    let path = std::ffi::CString::new(format!("{}/net/dev", state.pid)).ok()?;
    let text = Proc::host().ok()?.read(&path).ok()?;
    Some(traffic(&String::from_utf8_lossy(&text)))
}

/// Sums of the first and the ninth number of each interface (`proc_pid_net(5)`).
fn traffic(text: &str) -> (u64, u64) {
    let mut sum = (0_u64, 0_u64);
    for line in text.lines() {
        let Some((name, figures)) = line.split_once(':') else { continue };
        if name.trim() == "lo" {
            continue;
        }
        let number = |at| figures.split_whitespace().nth(at).and_then(|n: &str| n.parse().ok()).unwrap_or(0_u64);
        sum = (sum.0.saturating_add(number(0)), sum.1.saturating_add(number(8)));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::traffic;

    #[test]
    fn loopback_does_not_count() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n\
                    \x20 eth0: 100 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (101, 9));
    }
}
