//! `create`: a container up to its program.

use std::os::fd::OwnedFd;
use std::path::Path;

use bulkhead_sandbox::cgroup::oci as cgroup;
use bulkhead_sandbox::facts::HostFacts;
use bulkhead_sandbox::mountinfo::Seen;
use bulkhead_sandbox::oci::config::{Config, Process};
use bulkhead_sandbox::oci::step::OciStep;
use bulkhead_sandbox::oci::{Ask, plan};
use bulkhead_sandbox::plan::SandboxPlan;
use bulkhead_sandbox::rdt;
use bulkhead_sandbox::step::Step;
use bulkhead_sandbox::supervise::{Extras, Prepared, prepare_bundle, start_time_in};
use bulkhead_sys::{ids, proc::Proc};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::console::Socket;
use super::hooks;
use super::{SOCKET, address, console, listener, mounted, pid_file, protect, streams};
use crate::runc::args::{CreateArgs, Global, limited};
use crate::runc::error::{During, RuncError};
use crate::runc::show::state::State;
use crate::runc::state::{Lock, Place, Record, ScopeName, Status, Use};

/// A container that is made and not yet let go of: dropped, nothing of it is left.
pub(super) struct Made {
    pub(super) place: Place,
    pub(super) record: Record,
    pub(super) config: Config,
    pub(super) prepared: Option<Prepared>,
    /// Master side of a terminal that no socket was given for.
    pub(super) terminal: Option<OwnedFd>,
    lock: Option<Lock>,
    /// Its process waits for its start by another call.
    pub(super) waits: bool,
    kept: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.kept {
            // First the process and its group.
            self.prepared = None;
            mounted::take_off(&self.record).unwrap_or_default();
            rdt::remove(&self.record.rdt_own);
            // What cannot be removed is found by the next `delete --force`.
            self.place.remove().unwrap_or_default();
        }
    }
}

impl Made {
    /// The container goes on without this process.
    ///
    /// # Errors
    /// When it is gone already.
    pub(super) fn keep(&mut self) -> Result<OwnedFd, RuncError> {
        let prepared = self.prepared.take().ok_or_else(|| RuncError::new("the container has ended"))?;
        let (config, record) = (&self.config, &self.record);
        let mut deliver = |asking| deliver(config, record, Status::Creating, &asking);
        let pidfd = prepared.leave(&mut deliver).map_err(|e| streams::program_error(&e, ""))?;
        self.kept = true;
        Ok(pidfd)
    }

    /// Starts the program of one that does not wait, which then goes on without this process.
    ///
    /// # Errors
    /// When it cannot be started; nothing is left of the container when this is dropped.
    pub(super) fn exec(&mut self) -> Result<OwnedFd, RuncError> {
        let prepared = self.prepared.take().ok_or_else(|| RuncError::new("the container has ended"))?;
        let running = prepared.exec().map_err(|e| streams::program_error(&e, ""))?;
        self.kept = true;
        Ok(running.into_kept())
    }

    /// Others may change it from here on.
    pub(super) fn unlock(&mut self) {
        self.lock = None;
    }
}

/// Gives the descriptor of a system call filter that asks to whoever answers.
pub(super) fn deliver(config: &Config, record: &Record, status: Status, asking: &OwnedFd) -> Result<(), String> {
    let to = listener::socket(config).map_err(|e| e.to_string())?;
    let to = to.ok_or_else(|| "listenerPath is missing".to_owned())?;
    let message = listener::message(config, record, status).map_err(|e| e.to_string())?;
    listener::send(&to, message, record.pid.unwrap_or_default(), asking).map_err(|e| e.to_string())
}

/// Makes a container up to its program.
///
/// # Errors
///
/// What is wrong with the config, by field; the step that failed. Nothing is left of the container then.
pub fn create(global: &Global, args: CreateArgs) -> Result<u8, RuncError> {
    let how = How { detached: true, waits: true };
    make(global, &args, how).map_err(|e| streams::failed(e, "create"))?.keep()?;
    Ok(0)
}

/// Reads a bundle's config.
pub(super) fn read(bundle: &Path) -> Result<(Config, Vec<u8>), RuncError> {
    let path = bundle.join("config.json");
    let what = || format!("read {}", path.display());
    let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).during_with(what)?;
    let bytes = limited(std::fs::File::from(file)).during_with(what)?;
    let config = Config::read(&bytes).during_with(what)?;
    Ok((config, bytes))
}

/// How a container is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// Nobody stays to hold its terminal.
    pub(super) detached: bool,
    /// It waits for its start by another call.
    pub(super) waits: bool,
}

/// Makes it. One with hooks, or with a filter that asks, waits in any case: they are told of a container that is there
/// and does not run.
pub(super) fn make(global: &Global, args: &CreateArgs, how: How) -> Result<Made, RuncError> {
    let preserve = streams::preserved(args.preserve_fds, true)?;
    let protected = protect::early()?;
    let (mut config, bytes) = read(&args.bundle)?;
    streams::pass_listeners(config.process.as_mut());
    hooks::check(&config)?;
    let terminal = config.process.as_ref().is_some_and(|p| p.terminal);
    console::check(terminal, how.detached, args.console_socket.as_deref())?;
    protect::before(protected, &config.linux())?;
    // Once: before that line this program may begin anew.
    global.log.debug(|| format!("{args:?}"));
    protect::tell(global, protected);
    let proc = Proc::host().during("open /proc as a procfs")?;
    // All mounts are asked for where those that are left below a root are to be taken away, or another file system is
    // to be found.
    let all = args.no_pivot || config.linux().intel_rdt.is_some();
    let seen = Seen::look(all).during("read /proc/self/mountinfo")?;
    let facts = HostFacts::gather_for_bundle(&proc, &seen.mountinfo).during("look at this host")?;
    if let Some(process) = &config.process {
        streams::warn_of_capabilities(global, process);
    }
    // Modes are given whole: what the caller has cut from new files must not be cut from the container's.
    let mask = rustix::process::umask(Mode::empty());
    let own = cgroup::Own::seen(&seen.mountinfo, &seen.cgroup);
    let place = Place::make(global, &args.id)?;
    let mut made = Made {
        lock: Some(place.lock(Use::Exclusive)?),
        record: Record::new(&args.id),
        config,
        prepared: None,
        terminal: None,
        waits: how.waits,
        kept: false,
        place,
    };
    made.waits |= made.config.hooks.is_some() || listener::is_asked(&made.config);
    let linux = made.config.linux().into_owned();
    let resctrl = linux.intel_rdt.as_ref().and_then(|_| rdt::mounted(&seen.mountinfo));
    let rootless = global.rootless.unwrap_or(!facts.privileged);
    let ask = cgroup::Ask {
        id: &args.id,
        path: &linux.cgroups_path,
        resources: linux.resources.as_ref(),
        systemd: global.systemd_cgroup,
        annotations: &made.config.annotations,
        rootless,
        own: &own,
    };
    let ask = Ask {
        id: &args.id,
        bundle: &args.bundle,
        cgroup: cgroup::plan(&ask, &facts).during("invalid configuration")?,
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve,
        resctrl: resctrl.as_deref(),
        waits: made.waits,
    };
    let plan = plan(&made.config, &ask, &facts).during("invalid configuration")?;
    tell(global, &plan);
    describe(&mut made, args, &plan);
    if plan.entered() & bulkhead_sys::clone::NEWNS == 0 {
        made.record.mounted = Some(mounted::before(&made.record.rootfs)?);
    }
    made.place.write_config(&bytes)?;
    write_early(&mut made)?;
    let done = carry_out(&mut made, args, &plan, (&facts, &proc), mask);
    rustix::process::umask(mask);
    done?;
    // Everything but the program: what it says from here on is by the start.
    global
        .log
        .debug(|| format!("child process in init(): {} waits for its start", made.record.pid.unwrap_or_default()));
    Ok(made)
}

/// What is going to be done, in words that readers of other runtimes' logs look for.
fn tell(global: &Global, plan: &SandboxPlan) {
    global.log.debug(|| {
        let names = |bits: u64| streams::namespaces(bits);
        let entered = plan.enter.iter().fold(0, |bits, e| bits | e.kind);
        format!(
            "nsexec container setup: makes the namespaces [{}], enters [{}]",
            names(plan.namespaces),
            names(entered)
        )
    });
    for step in &plan.steps {
        if let Step::Bundle(OciStep::Filter { flags, listener }) = step {
            let all = if *listener { flags | bulkhead_sys::seccomp::NEW_LISTENER } else { *flags };
            global.log.debug(|| format!("seccomp filter flags: {all}"));
        }
    }
}

/// From now on `delete --force` finds what is made, even if this process is killed. A group in which somebody is must
/// not be ended by it: that one is refused when the groups are made. Hooks are told of a container whose group is known,
/// so for them it is looked at twice.
fn write_early(made: &mut Made) -> Result<(), RuncError> {
    let record = &mut made.record;
    if made.config.hooks.is_some() {
        let free = cgroup::processes(&record.cgroups).is_empty();
        return if free { record.write(&made.place) } else { Ok(()) };
    }
    record.pending = std::mem::take(&mut record.cgroups);
    let written = record.write(&made.place);
    record.cgroups = std::mem::take(&mut record.pending);
    written
}

fn describe(made: &mut Made, args: &CreateArgs, plan: &SandboxPlan) {
    let config = &made.config;
    let record = &mut made.record;
    record.bundle.clone_from(&args.bundle);
    record.rootfs = args.bundle.join(config.root.as_ref().map_or("", |r| r.path.as_str()));
    record.namespaces = plan.entered();
    record.cgroups = plan.cgroup.directories();
    record.annotations.clone_from(&config.annotations);
    record.oci_version.clone_from(&config.oci_version);
    let unit = plan.cgroup.bundle().and_then(|group| group.unit.as_ref());
    if let Some(class) = &plan.rdt {
        record.rdt = rdt::joined(class);
        record.rdt_own = rdt::own_directories(class);
    }
    record.unit = unit.map(|u| ScopeName { name: u.name.clone(), user: u.user, unified: u.unified });
    record.grants.clone_from(&plan.grants);
    let waits = |s: &Step| *s == Step::Bundle(OciStep::AwaitStart);
    record.first_step = plan.steps.iter().position(waits).map_or(0, |at| at + 1);
}

fn carry_out(
    made: &mut Made,
    args: &CreateArgs,
    plan: &SandboxPlan,
    (facts, proc): (&HostFacts, &Proc),
    mask: Mode,
) -> Result<(), RuncError> {
    let process = made.config.process.clone().unwrap_or_default();
    let stdio = streams::own(process.terminal);
    let first = process.args.first().map_or("", String::as_str);
    let listener = if made.waits { Some(listen(&made.place)?) } else { None };
    if facts.privileged || facts.nested {
        // Processes of the container must not look into this one, nor into the child before it is theirs.
        ids::set_dumpable(false).during("forbid being traced")?;
    }
    let (record, config, bundle) = (&mut made.record, &made.config, args.bundle.as_path());
    let bits = plan.entered() | created_late(plan);
    let mut run_hooks = |pid: i32| -> Result<(), String> {
        // The new process is there and has taken the empty mask with it; hooks get the caller's.
        rustix::process::umask(mask);
        record.pid = Some(pid);
        if config.hooks.is_none() {
            return Ok(());
        }
        let state = State::new(record, Status::Creating).to_json().map_err(|e| e.to_string())?;
        hooks::creating(config, bundle, &state, pid, bits).map_err(|e| e.to_string())
    };
    let extras = Extras { listener, hooks: Some(&mut run_hooks) };
    let mut prepared = prepare_bundle(plan, stdio, extras).map_err(|e| streams::program_error(&e, first))?;
    made.terminal = prepared.take_terminal();
    let pid = prepared.pid();
    made.record.pid = Some(pid);
    made.record.start_time = start_time_in(proc, pid);
    mounted::note(&mut made.record);
    made.prepared = Some(prepared);
    hand_out(made, args, &process)?;
    // One that does not wait is started next, by this process and nobody else, and is not written down twice.
    made.record.started = !made.waits;
    made.record.write(&made.place)
}

/// The cgroup namespace of version 1 is made by a step.
fn created_late(plan: &SandboxPlan) -> u64 {
    if plan.steps.contains(&Step::CgroupNamespace) { bulkhead_sys::clone::NEWCGROUP } else { 0 }
}

/// What the caller waits for: terminal, pid, pidfd.
fn hand_out(made: &mut Made, args: &CreateArgs, process: &Process) -> Result<(), RuncError> {
    let console = args.console_socket.as_deref().map(Socket::open).transpose()?;
    made.terminal = console::hand_over(made.terminal.take(), process, console.as_ref())?;
    let Some(prepared) = &made.prepared else { return Ok(()) };
    if let Some(socket) = &args.pidfd_socket {
        Socket::open(socket)?.send_pidfd(prepared.pidfd())?;
    }
    if let Some(path) = &args.pid_file {
        pid_file::PidFile::open(path)?.write(prepared.pid())?;
    }
    Ok(())
}

/// The socket that the new process waits on.
fn listen(place: &Place) -> Result<OwnedFd, RuncError> {
    let what = || format!("make the socket {}", place.path().join(SOCKET).display());
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .during_with(what)?;
    let address = address(place)?;
    rustix::net::bind(&socket, &address).during_with(what)?;
    rustix::net::listen(&socket, 1).during_with(what)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_that_is_not_there_is_named() {
        let error = read(Path::new("/nonexistent/bundle")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/bundle/config.json"), "{error}");
    }
}
