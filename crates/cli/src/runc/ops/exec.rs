//! `exec`: one more process in a container.

use std::path::{Path, PathBuf};

use bulkhead_sandbox::cgroup::oci::{Hierarchy, Own};
use bulkhead_sandbox::join::{Target, join};
use bulkhead_sandbox::oci::config::{Config, Process};
use bulkhead_sandbox::oci::step::OciStep;
use bulkhead_sandbox::oci::{Entered, KINDS, plan_exec};
use bulkhead_sandbox::rdt;
use bulkhead_sandbox::step::Step;
use bulkhead_sys::ids;

use super::console::{self, Socket};
use super::pid_file::PidFile;
use super::{facts, foreground, listener, protect, streams};
use crate::runc::args::{ExecArgs, Global, limited};
use crate::runc::error::{During, RuncError};
use crate::runc::group;
use crate::runc::state::{Place, Record, Status};

/// Runs another process in a container.
///
/// # Errors
///
/// A container that does not run; what is wrong with the process, by field; the step that failed.
pub fn exec(global: &Global, args: ExecArgs) -> Result<u8, RuncError> {
    let preserve = streams::preserved(args.preserve_fds, false)?;
    let protected = protect::early()?;
    let place = Place::open(global, &args.id)?;
    let record = Record::read(&place)?;
    match Status::of(&record, group::frozen)? {
        Status::Created | Status::Running => {}
        Status::Paused if args.ignore_paused => {}
        Status::Paused => {
            return Err(RuncError::new("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        Status::Creating | Status::Stopped => return Err(RuncError::new("cannot exec in a stopped container")),
    }
    let config = place.read_config()?;
    // Before anything is read that can be read only once.
    protect::before(protected, &config.linux())?;
    global.log.debug(|| format!("{args:?}"));
    protect::tell(global, protected);
    let facts = facts()?;
    let process = wanted(&config, &args)?;
    streams::warn_of_capabilities(global, &process);
    console::check(process.terminal, args.detach, args.console_socket.as_deref())?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let pid = record.pid.unwrap_or_default();
    let target = Target {
        pid,
        started: record.start_time.unwrap_or_default(),
        namespaces: differing(pid)?,
        cgroups: groups(&record, &args)?,
    };
    let entered = Entered { id: &args.id, target: &target, preserve, no_new_keyring: false };
    let plan = plan_exec(&config, &process, &entered, &facts).during("invalid configuration")?;
    // All that the host has is opened before the container's file system is entered.
    let console = args.console_socket.as_deref().map(Socket::open).transpose()?;
    let pidfd_socket = args.pidfd_socket.as_deref().map(Socket::open).transpose()?;
    let pid_file = args.pid_file.as_deref().map(PidFile::open).transpose()?;
    global.log.hold()?;
    tell(global, &process, &target);
    let asks = plan.steps.iter().any(|s| matches!(s, Step::Bundle(OciStep::Filter { listener: true, .. })));
    let answers = if asks { listener::socket(&config)? } else { None };
    let message = if asks { listener::message(&config, &record, Status::Running)? } else { serde_json::Value::Null };
    let stdio = streams::own(process.terminal);
    let first = process.args.first().map_or("", String::as_str);
    if facts.privileged || facts.nested {
        ids::set_dumpable(false).during("forbid being traced")?;
    }
    rdt::join(&record.rdt).during("enter the class of linux.intelRdt")?;
    let mut prepared = join(&plan, stdio).map_err(|e| streams::program_error(&e, first))?;
    global.log.debug(|| format!("child process in init(): {} is in the container", prepared.pid()));
    let terminal = console::hand_over(prepared.take_terminal(), &process, console.as_ref())?;
    let own = prepared.pid();
    // Before the program runs: what fails here ends the process, and callers never see a program without its pid.
    if let Some(socket) = &pidfd_socket {
        socket.send_pidfd(prepared.pidfd())?;
    }
    if let Some(file) = &pid_file {
        file.write(own)?;
    }
    let mut deliver = |asking| match &answers {
        Some(to) => listener::send(to, message.clone(), own, &asking).map_err(|e| e.to_string()),
        None => Err("listenerPath is missing".to_owned()),
    };
    global.log.debug(|| format!("setns_init: about to exec {first:?}"));
    let running = prepared.exec_asking(&mut deliver).map_err(|e| streams::program_error(&e, first))?;
    if args.detach {
        return Ok(0);
    }
    foreground::wait(running.pid, running.pidfd, terminal)
}

/// What is going to be done, in words that readers of other runtimes' logs look for.
fn tell(global: &Global, process: &Process, target: &Target) {
    global.log.debug(|| {
        let names = streams::namespaces(target.namespaces);
        format!("nsexec container setup: enters the namespaces [{names}] of process {}", target.pid)
    });
    let Some(affinity) = &process.exec_cpu_affinity else { return };
    for (word, list) in [("affinity", &affinity.initial), ("final affinity", &affinity.last)] {
        if !list.is_empty() {
            global.log.debug(|| format!("nsexec: {word}: {}", streams::mask(list)));
        }
    }
}

/// The process of the file, or the container's own with what the flags say.
fn wanted(config: &Config, args: &ExecArgs) -> Result<Process, RuncError> {
    if let Some(path) = &args.process {
        let what = || format!("read {}", path.display());
        let bytes = std::fs::File::open(path).and_then(limited).during_with(what)?;
        return serde_json::from_slice(&bytes).during_with(what);
    }
    let mut process = config.process.clone().unwrap_or_default();
    process.args.clone_from(&args.args);
    process.terminal = args.tty;
    process.console_size = None;
    process.env.extend(args.env.iter().cloned());
    if let Some(cwd) = &args.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some((uid, gid)) = args.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&args.additional_gids);
    if let Some(label) = &args.process_label {
        process.selinux_label.clone_from(label);
    }
    if let Some(profile) = &args.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(on) = args.no_new_privs {
        process.no_new_privileges = on;
    }
    if !args.caps.is_empty() {
        let caps = process.capabilities.get_or_insert_default();
        for cap in &args.caps {
            // Not inheritable: a set that is not empty gives capabilities back through files (CVE-2022-29162).
            for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
                set.push(cap.clone());
            }
            // One that the config has made inheritable can be ambient too.
            if caps.inheritable.contains(cap) {
                caps.ambient.push(cap.clone());
            }
        }
    }
    Ok(process)
}

/// `CLONE_NEW*` bits of the namespaces that process `pid` does not share with this one.
fn differing(pid: i32) -> Result<u64, RuncError> {
    let mut bits = 0;
    for (_, name, bit) in KINDS {
        let look = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/{name}"));
        let Ok(own) = look("self") else { continue };
        let theirs = look(&pid.to_string()).during(format_args!("look at the {name} namespace of the container"))?;
        if own != theirs {
            bits |= bit;
        }
    }
    Ok(bits)
}

/// A group of version 2 that passes controllers on takes no processes itself (`cgroups(7)`, "no internal processes"): where
/// the container's first process has gone below it, another comes to its side.
fn beside_first(group: &Path, pid: i32) -> Option<PathBuf> {
    let passed_on = bulkhead_sys::fd::text(group.join("cgroup.subtree_control")).ok()?;
    if passed_on.trim().is_empty() {
        return None;
    }
    let own = bulkhead_sys::fd::text(format!("/proc/{pid}/cgroup")).ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let hierarchies = Own::read().hierarchies;
    let hierarchy = hierarchies.iter().find(|h| h.unified && group.starts_with(&h.mount))?;
    Some(hierarchy.directory(path)).filter(|below| below.starts_with(group) && below.is_dir())
}

/// The container's group, or one below it.
fn groups(record: &Record, args: &ExecArgs) -> Result<Vec<PathBuf>, RuncError> {
    let mut groups = record.cgroups.clone();
    if let ([group], []) = (groups.as_mut_slice(), args.cgroups.as_slice())
        && let Some(below) = beside_first(group, record.pid.unwrap_or_default())
    {
        *group = below;
    }
    let hierarchies = if args.cgroups.is_empty() { Vec::new() } else { Own::read().hierarchies };
    let known = |name: &String| hierarchies.iter().any(|h| h.controllers.contains(name));
    for sub in &args.cgroups {
        if let Some(unknown) = sub.controllers.iter().find(|name| !known(name)) {
            return Err(RuncError::new(format!(
                "invalid value {unknown:?} for --cgroup: unknown controller {unknown:?}"
            )));
        }
        let mut found = false;
        for (group, original) in groups.iter_mut().zip(&record.cgroups) {
            let here = |h: &&Hierarchy| original.starts_with(&h.mount);
            let of = |controller: &String| hierarchies.iter().filter(here).any(|h| h.controllers.contains(controller));
            // Beside version 1 the other one has no controller, and need not have such a group.
            let bare = record.cgroups.len() > 1 && !original.join("tasks").exists();
            if bare && !original.join(sub.path.trim_start_matches('/')).is_dir() {
                continue;
            }
            if sub.controllers.is_empty() || sub.controllers.iter().any(of) {
                *group = original.join(sub.path.trim_start_matches('/'));
                found = true;
                if !group.is_dir() {
                    return Err(RuncError::new(format!(
                        "invalid value {:?} for --cgroup: adding pid of the new process to {}: no such file or directory",
                        sub.path,
                        group.display()
                    )));
                }
            }
        }
        if !found {
            let named = sub.controllers.join(",");
            return Err(RuncError::new(format!(
                "invalid value {named:?} for --cgroup: the container has no such group"
            )));
        }
    }
    Ok(groups)
}
