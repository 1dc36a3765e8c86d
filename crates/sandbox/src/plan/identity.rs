//! Who the program is and what it may do.

use super::{PlanError, path_text, text};
use crate::facts::HostFacts;
use crate::spec::{Grant, IdMaps, MapWriter, Process, SandboxSpec, Seccomp, Text, outside};
use crate::step::Step;

/// Streams, keyring, mask, label, and the wait for the word to start.
pub(super) fn process_steps(
    process: &Process,
    ids: &IdMaps,
    facts: &HostFacts,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let id = &process.identity;
    for (field, ranges, value) in [("user", &ids.uids, id.uid), ("group", &ids.gids, id.gid)] {
        if outside(ranges, value).is_none() {
            let most = ranges.iter().map(|r| r.inside + (r.count - 1)).max().unwrap_or(0);
            return Err(PlanError::invalid(
                field,
                value.to_string(),
                format!("ids up to {most} are mapped into this container"),
            ));
        }
    }
    for group in &id.groups {
        if outside(&ids.gids, *group).is_none() {
            return Err(PlanError::invalid(
                "supplementary group",
                group.to_string(),
                "it is not mapped into this container",
            ));
        }
    }
    // The program may open /dev/stdout anew, which the kernel allows to the owner of the pipe or terminal only.
    steps.push(Step::Stdio { terminal: process.terminal, owner: Some((id.uid, Some(id.gid))) });
    if facts.keyrings {
        steps.push(Step::Keyring { name: text("keyring", "bulkhead")? });
    }
    if process.umask > 0o777 {
        return Err(PlanError::invalid("umask", format!("{:o}", process.umask), "0 to 777 is needed"));
    }
    steps.push(Step::Umask { mask: process.umask });
    label_steps(process, facts, steps)?;
    steps.push(Step::Ready);
    Ok(())
}

/// A label that was asked for and cannot be set stops the start (CVE-2025-65105 was losing it silently).
fn label_steps(process: &Process, facts: &HostFacts, steps: &mut Vec<Step>) -> Result<(), PlanError> {
    let asked = [
        ("AppArmor", &process.apparmor, facts.apparmor, "attr/apparmor/exec", "exec "),
        ("SELinux", &process.selinux, facts.selinux, "attr/exec", ""),
    ];
    for (name, wanted, active, file, prefix) in asked {
        let Some(profile) = wanted else { continue };
        if !active {
            return Err(PlanError::Unsupported {
                what: format!("{name} profile {profile:?}"),
                reason: format!("{name} is not active in this kernel"),
            });
        }
        steps.push(Step::Label { file: text("label", file)?, value: text("label", &format!("{prefix}{profile}"))? });
    }
    Ok(())
}

/// What takes rights away, in the only order that works.
///
/// With `no_new_privs` the filter is the last step before the program. Without it, loading one takes
/// `CAP_SYS_ADMIN`, so it moves before the capabilities go.
pub(super) fn rights_steps(
    process: &Process,
    spec: &SandboxSpec,
    facts: &HostFacts,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let mounts_granted = spec.granted(|g| matches!(g, Grant::Mounts | Grant::Privileged));
    let filtered = !matches!(spec.seccomp, Seccomp::Unconfined);
    steps.push(Step::EnterWorkdir);
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    // Two is the first ABI that can allow moving files between directories.
    if facts.landlock_abi >= 2 && !mounts_granted {
        steps.push(Step::Landlock);
    }
    // Abstract sockets belong to a network, and there it is the host's (CVE-2020-15257).
    if facts.keeps_sockets_apart() && super::host::network(spec) {
        steps.push(Step::OwnSockets);
    }
    if filtered && !process.no_new_privileges {
        steps.push(Step::Seccomp);
    }
    let id = &process.identity;
    steps.push(Step::Bounding { keep: process.bounding.0 });
    if id.uid != 0 && !process.caps.is_empty() {
        steps.push(Step::KeepCaps);
    }
    let set_groups = spec.ids.writer != MapWriter::Single;
    steps.push(Step::Identity { uid: id.uid, gid: id.gid, set_groups });
    steps.push(Step::Caps { set: process.caps.0 });
    if filtered && process.no_new_privileges {
        steps.push(Step::Seccomp);
    }
    steps.push(Step::Exec);
    Ok(())
}

/// The working directory, opened while the root file system can still be written.
pub(super) fn workdir(process: &Process) -> Result<Text, PlanError> {
    path_text("working directory", &process.cwd)
}

/// Steps of a process that joins a running sandbox, after it entered its namespaces.
pub(crate) fn join_steps(
    process: &Process,
    spec: &SandboxSpec,
    facts: &HostFacts,
    cgroups: usize,
) -> Result<Vec<Step>, PlanError> {
    let mut steps = vec![Step::DieWithParent];
    if cgroups > 0 {
        steps.push(Step::JoinCgroups { count: cgroups });
    }
    steps.push(Step::BecomeRoot { drop_groups: spec.ids.writer != MapWriter::Single });
    steps.push(Step::NewSession);
    steps.push(Step::JoinedRoot);
    if process.terminal {
        steps.push(Step::Terminal { console: false });
    }
    steps.push(Step::ExistingWorkdir { path: workdir(process)? });
    process_steps(process, &spec.ids, facts, &mut steps)?;
    rights_steps(process, spec, facts, &mut steps)?;
    Ok(steps)
}
