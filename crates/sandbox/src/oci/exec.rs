//! One more process in a container that was made from a bundle.

use bulkhead_sys::clone;

use super::config::{Config, Process};
use super::step::OciStep;
use super::{Rights, filter, ids, namespaces::Namespaces, process, tune};
use crate::facts::HostFacts;
use crate::join::{JoinPlan, Target, member_file};
use crate::plan::{PlanError, oom_score};
use crate::spec::MapWriter;
use crate::step::Step;

/// How a container is entered.
#[derive(Debug)]
pub struct Entered<'a> {
    /// Names the container.
    pub id: &'a str,
    /// Where it runs; `namespaces` are those that differ from the caller's.
    pub target: &'a Target,
    /// How many descriptors beyond the standard streams the program gets.
    pub preserve: u32,
    /// The caller's session keyring stays.
    pub no_new_keyring: bool,
}

/// Plans a process that joins; `wanted` is what `exec --process` reads.
///
/// # Errors
/// As [`super::plan`].
pub fn plan_exec(
    config: &Config,
    wanted: &Process,
    entered: &Entered<'_>,
    facts: &HostFacts,
) -> Result<JoinPlan, PlanError> {
    process::refuse_foreign(wanted)?;
    let linux = config.linux();
    let namespaces = Namespaces::of(&linux, facts)?;
    let ids = ids(&linux, &namespaces, facts)?;
    super::check_process_ids(wanted, &ids)?;
    let filter = filter::filter(&linux, facts)?;
    let own_ids = entered.target.namespaces & clone::NEWUSER != 0;
    let rights = Rights {
        keyring: (!entered.no_new_keyring).then_some(entered.id),
        filter: filter.as_ref(),
        set_groups: !own_ids || ids.writer != MapWriter::Single,
    };
    let mut groups = entered.target.cgroups.clone();
    // Of several the one of version 2 comes last.
    let beside = groups.len() > 1 && groups.last().is_some_and(|d| !d.join("tasks").exists());
    let into = if beside { groups.pop() } else { None };
    let members: Vec<_> = groups.iter().map(|d| member_file(d)).collect();
    let mut steps = Vec::new();
    let affinity = wanted.exec_cpu_affinity.clone().unwrap_or_default();
    steps.push(process::all_cpus());
    process::affinity("process.execCPUAffinity.initial", &affinity.initial, &mut steps)?;
    if !members.is_empty() {
        steps.push(Step::JoinCgroups { count: members.len() });
    }
    // The kernel gives a process the CPUs of the group that it enters.
    process::affinity("process.execCPUAffinity.final", &affinity.last, &mut steps)?;
    if own_ids {
        steps.push(Step::BecomeRoot { drop_groups: ids.writer != MapWriter::Single });
    }
    steps.push(Step::NewSession);
    steps.push(Step::JoinedRoot);
    if wanted.terminal {
        steps.push(Step::Terminal { console: false });
    }
    steps.push(Step::ExistingWorkdir { path: process::workdir(wanted)? });
    process::early(wanted, facts, &rights, &mut steps)?;
    tune::container_steps(wanted, &linux, &mut steps)?;
    steps.push(OciStep::FindProgram.into());
    steps.push(Step::Ready);
    process::late(wanted, &rights, false, &mut steps)?;
    let mut grants = process::grants(wanted, filter.is_some())?;
    grants.push(crate::spec::Grant::Bundle);
    Ok(JoinPlan {
        pid: entered.target.pid,
        started: entered.target.started,
        namespaces: entered.target.namespaces,
        members,
        into,
        root: !namespaces.has(clone::NEWNS) || entered.target.namespaces & clone::NEWNS == 0,
        limits: process::limits(wanted, facts)?,
        oom_score_adj: wanted.oom_score_adj.map(oom_score).transpose()?,
        steps,
        program: process::what(wanted)?,
        preserve: entered.preserve,
        filter: filter.map(|f| f.program.insns().to_vec()).unwrap_or_default(),
        grants,
    })
}
