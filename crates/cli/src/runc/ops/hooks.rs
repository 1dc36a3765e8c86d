//! Programs that a config has run around the life of its container.
//!
//! Each gets the container's state on its standard input. What it says on standard error is the reason when it fails.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulkhead_sandbox::oci::config::{Config, Hook};
use bulkhead_sandbox::oci::hook::{self, Inside};
use bulkhead_sys::fd;

use crate::runc::args::Global;
use crate::runc::error::{During, RuncError};

/// When hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Moment {
    fn word(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// Longest time that a hook may be given, in seconds: thirty years.
const LONGEST: i64 = 1_000_000_000;

/// Most bytes of what a hook says that go into an error.
const SAID: usize = 4096;

/// Checks what the kernel would only say at the moment when a hook runs.
pub(super) fn check(config: &Config) -> Result<(), RuncError> {
    let Some(hooks) = &config.hooks else { return Ok(()) };
    let all = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (name, hooks) in all {
        for (index, hook) in hooks.iter().enumerate() {
            let field = format!("hooks.{name}[{index}]");
            if !hook.path.starts_with('/') {
                return Err(RuncError::new(format!(
                    "invalid {field}.path {:?}: an absolute path is needed",
                    hook.path
                )));
            }
            if let Some(timeout) = hook.timeout.filter(|t| !(1..=LONGEST).contains(t)) {
                return Err(RuncError::new(format!(
                    "invalid {field}.timeout {timeout}: 1 to {LONGEST} seconds are possible"
                )));
            }
            if let Some(entry) = hook.env.iter().find(|e| !e.contains('=')) {
                return Err(RuncError::new(format!("invalid {field}.env {entry:?}: NAME=VALUE is needed")));
            }
        }
    }
    Ok(())
}

/// Those of the moment before the root is changed.
pub(super) fn creating(config: &Config, bundle: &Path, state: &[u8], pid: i32, bits: u64) -> Result<(), RuncError> {
    let Some(hooks) = &config.hooks else { return Ok(()) };
    outside(Moment::Prestart, &hooks.prestart, bundle, state)?;
    outside(Moment::CreateRuntime, &hooks.create_runtime, bundle, state)?;
    let own: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value.to_str()?)))
        .collect();
    // Mounts are made, and the root is not changed yet: hooks find the container's files here.
    let rootfs = bundle.join(config.root.as_ref().map_or("", |r| r.path.as_str()));
    for (index, hook) in hooks.create_container.iter().enumerate() {
        let (moment, what) = (Moment::CreateContainer, || format!("hook createContainer[{index}] {:?}", hook.path));
        let input = fd::sealed(c"state", state).during_with(what)?;
        let said = rustix::fs::memfd_create(c"said", rustix::fs::MemfdFlags::CLOEXEC).during_with(what)?;
        let inside = Inside {
            pid,
            namespaces: bits,
            path: &hook.path,
            args: &hook.args,
            env: if hook.env.is_empty() { &own } else { &hook.env },
            directory: &rootfs,
            input: input.as_fd(),
            output: said.as_fd(),
            timeout: hook.timeout,
        };
        let ended = hook::run(&inside).during_with(what)?;
        judge(moment, index, hook, ended, &said)?;
    }
    Ok(())
}

/// Those of the moment before the program, as processes of the container with no more rights than its program: their
/// programs come from its file system.
pub(super) fn in_container(
    global: &Global,
    config: &Config,
    id: &str,
    hooks: &[Hook],
    state: &[u8],
) -> Result<(), RuncError> {
    let root = global.root()?;
    for (index, hook) in hooks.iter().enumerate() {
        let what = || format!("hook startContainer[{index}] {:?}", hook.path);
        let mut process = config.process.clone().unwrap_or_default();
        process.terminal = false;
        process.args = if hook.args.is_empty() { vec![hook.path.clone()] } else { hook.args.clone() };
        process.program = Some(hook.path.clone());
        if !hook.env.is_empty() {
            process.env.clone_from(&hook.env);
        }
        let process = serde_json::to_vec(&process).during_with(what)?;
        let file = fd::sealed(c"process", &process).during_with(what)?;
        fd::keep_over_exec(&file).during_with(what)?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let exec = Hook {
            path: "/proc/self/exe".to_owned(),
            args: ["bulkhead-runc", "--root", &root.to_string_lossy(), "exec", "--process", &path, id]
                .map(str::to_owned)
                .to_vec(),
            env: Vec::new(),
            timeout: hook.timeout,
        };
        run(Moment::StartContainer, (index, hook), &exec, Path::new("/"), state)?;
    }
    Ok(())
}

/// Runs hooks in the caller's own namespaces, one after another; the first that fails ends it.
pub(super) fn outside(moment: Moment, hooks: &[Hook], bundle: &Path, state: &[u8]) -> Result<(), RuncError> {
    for (index, hook) in hooks.iter().enumerate() {
        one(moment, index, hook, bundle, state)?;
    }
    Ok(())
}

/// Runs one in the caller's own namespaces; `index` tells it apart in an error.
pub(super) fn one(moment: Moment, index: usize, hook: &Hook, bundle: &Path, state: &[u8]) -> Result<(), RuncError> {
    run(moment, (index, hook), hook, bundle, state)
}

/// Runs `hook`; an error is about the one that it stands for.
fn run(
    moment: Moment,
    (index, named): (usize, &Hook),
    hook: &Hook,
    bundle: &Path,
    state: &[u8],
) -> Result<(), RuncError> {
    use std::os::unix::process::CommandExt;
    let what = || format!("hook {}[{index}] {:?}", moment.word(), named.path);
    let input = fd::sealed(c"state", state).during_with(what)?;
    let said = rustix::fs::memfd_create(c"said", rustix::fs::MemfdFlags::CLOEXEC).during_with(what)?;
    let copy = || said.try_clone().during_with(what);
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    if !hook.env.is_empty() {
        // Without any it has the caller's, as with other runtimes.
        command.env_clear().envs(hook.env.iter().filter_map(|e| e.split_once('=')));
    }
    command.current_dir(bundle);
    command.stdin(Stdio::from(input)).stdout(Stdio::from(copy()?)).stderr(Stdio::from(copy()?));
    let mut child = command.spawn().during_with(what)?;
    let end = hook.timeout.map(|t| Instant::now() + Duration::from_secs(u64::try_from(t).unwrap_or(0)));
    loop {
        let done = match end {
            None => Some(child.wait().during_with(what)?),
            Some(_) => child.try_wait().during_with(what)?,
        };
        if let Some(status) = done {
            let code = std::os::unix::process::ExitStatusExt::signal(&status).map_or(status.code(), |s| Some(128 + s));
            return judge(moment, index, named, code.unwrap_or(-1), &said);
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            drop(child.kill());
            drop(child.wait());
            return judge(moment, index, named, hook::TIMED_OUT, &said);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn judge(moment: Moment, index: usize, hook: &Hook, code: i32, said: &std::os::fd::OwnedFd) -> Result<(), RuncError> {
    if code == 0 {
        return Ok(());
    }
    let mut buffer = vec![0; SAID];
    let read = rustix::io::pread(said, &mut buffer, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).trim().to_owned();
    let how = match code {
        hook::TIMED_OUT => format!("was ended after {} seconds", hook.timeout.unwrap_or_default()),
        // As `strsignal(3)` of the one that a system call filter ends a process by.
        code if code == 128 + rustix::process::Signal::SYS.as_raw() => {
            format!("ended with code {code}: bad system call")
        }
        code => format!("ended with code {code}"),
    };
    let said = if text.is_empty() { String::new() } else { format!(": {text}") };
    Err(RuncError::new(format!("error running {} hook #{index}: {:?} {how}{said}", moment.word(), hook.path)))
}
