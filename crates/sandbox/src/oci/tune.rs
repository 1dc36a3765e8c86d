//! How the process is served: scheduler, disk, memory nodes, execution domain.

use super::config::{Linux, Process};
use super::sets;
use super::step::OciStep;
use crate::plan::PlanError;
use crate::step::Step;

/// Names and numbers of `sched(7)`.
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// `sched_setattr(2)`, and `linux/sched.h` for the later ones.
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// `ioprio_set(2)`.
const IO_CLASSES: [(&str, u32); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// Modes and flags of `set_mempolicy(2)`.
const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
const MODE_FLAGS: [(&str, u32); 3] =
    [("MPOL_F_STATIC_NODES", 0x8000), ("MPOL_F_RELATIVE_NODES", 0x4000), ("MPOL_F_NUMA_BALANCING", 0x2000)];

/// Modes and flags of memory policies by name, sorted: what `features` lists.
#[must_use]
pub fn memory_policies() -> (Vec<&'static str>, Vec<&'static str>) {
    fn names(table: &[(&'static str, u32)]) -> Vec<&'static str> {
        let mut names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    }
    (names(&MODES), names(&MODE_FLAGS))
}

fn named<T: Copy>(table: &[(&str, T)], field: &str, word: &str) -> Result<T, PlanError> {
    let accepted = || table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    found.ok_or_else(|| PlanError::invalid(field, word, format!("one of {} is needed", accepted())))
}

/// A word of `linux.memoryPolicy`; `what` is `mode` or `flag`.
fn policy_word(table: &[(&str, u32)], what: &str, word: &str) -> Result<u32, PlanError> {
    let field = if what == "flag" { "linux.memoryPolicy.flags" } else { "linux.memoryPolicy.mode" };
    named(table, field, word).map_err(|_| {
        let names = table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        PlanError::invalid(field, word, format!("invalid memory policy {what}: one of {names} is needed"))
    })
}

/// Scheduler and disk, of any process.
pub(super) fn steps(process: &Process, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    if let Some(s) = &process.scheduler {
        let mut flags = 0;
        for flag in &s.flags {
            flags |= named(&FLAGS, "process.scheduler.flags", flag)?;
        }
        let nice = s.nice.unwrap_or(0);
        if !(-20..=19).contains(&nice) {
            return Err(PlanError::invalid("process.scheduler.nice", nice.to_string(), "-20 to 19 is needed"));
        }
        let priority = s.priority.unwrap_or(0);
        let priority = u32::try_from(priority).ok().filter(|p| *p <= 99).ok_or_else(|| {
            PlanError::invalid("process.scheduler.priority", priority.to_string(), "0 to 99 is needed")
        })?;
        steps.push(
            OciStep::Schedule {
                policy: named(&POLICIES, "process.scheduler.policy", &s.policy)?,
                flags,
                nice,
                priority,
                deadline: [s.runtime.unwrap_or(0), s.deadline.unwrap_or(0), s.period.unwrap_or(0)],
            }
            .into(),
        );
    }
    if let Some(io) = &process.io_priority {
        let class = named(&IO_CLASSES, "process.ioPriority.class", &io.class)?;
        let level = u32::try_from(io.priority).ok().filter(|p| *p <= 7).ok_or_else(|| {
            PlanError::invalid("process.ioPriority.priority", io.priority.to_string(), "0 to 7 is needed")
        })?;
        steps.push(OciStep::IoPriority { class, level }.into());
    }
    Ok(())
}

/// A deadline is admitted for all CPUs of the machine or not at all (`sched(7)`).
fn deadline_on_some_cpus(process: &Process, linux: &Linux) -> Result<(), PlanError> {
    let deadline = process.scheduler.as_ref().is_some_and(|s| s.policy == "SCHED_DEADLINE");
    let cpu = linux.resources.as_ref().and_then(|r| r.cpu.as_ref());
    match cpu.filter(|cpu| deadline && !cpu.cpus.is_empty()) {
        Some(cpu) => {
            let accepted = format!(
                "process scheduler can't be used together with AllowedCPUs: linux.resources.cpu.cpus is {:?}",
                cpu.cpus
            );
            Err(PlanError::invalid("process.scheduler.policy", "SCHED_DEADLINE", accepted))
        }
        None => Ok(()),
    }
}

/// Execution domain and memory policy, of the container.
pub(super) fn container_steps(process: &Process, linux: &Linux, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    deadline_on_some_cpus(process, linux)?;
    if let Some(personality) = &linux.personality {
        if let Some(flag) = personality.flags.first() {
            return Err(PlanError::invalid("linux.personality.flags", flag, "no flag is known to the specification"));
        }
        // `PER_LINUX` and `PER_LINUX32` of `linux/personality.h`.
        let domain = named(&[("LINUX", 0), ("LINUX32", 8)], "linux.personality.domain", &personality.domain)?;
        steps.push(OciStep::Personality { domain }.into());
    }
    if let Some(policy) = &linux.memory_policy {
        let mut mode = policy_word(&MODES, "mode", &policy.mode)?;
        let nodes = sets::bits("linux.memoryPolicy.nodes", &policy.nodes).map_err(|_| {
            let accepted = "invalid memory policy node: a list like 0-3,7 is needed, up to 8191";
            PlanError::invalid("linux.memoryPolicy.nodes", &policy.nodes, accepted)
        })?;
        let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
        // `MPOL_DEFAULT` and `MPOL_LOCAL` of `set_mempolicy(2)`.
        if count != 0 && matches!(mode, 0 | 4) {
            let accepted = format!("the {} mode requires 0 nodes but got {count}", policy.mode);
            return Err(PlanError::invalid("linux.memoryPolicy.nodes", &policy.nodes, accepted));
        }
        if nodes.is_empty() && matches!(mode, 2 | 3 | 5 | 6) {
            return Err(PlanError::invalid("linux.memoryPolicy.nodes", "", "this mode needs a list of memory nodes"));
        }
        for flag in &policy.flags {
            mode |= policy_word(&MODE_FLAGS, "flag", flag)?;
        }
        steps.push(OciStep::MemoryPolicy { mode, nodes }.into());
    }
    Ok(())
}
