//! What a program gets from its caller: standard streams and further descriptors.

use bulkhead_sandbox::StartError;
use bulkhead_sandbox::Stdio;
use bulkhead_sandbox::oci::config::Process;
use bulkhead_sandbox::oci::{idle_ambient, unknown_capabilities};
use bulkhead_sys::Errno;

use crate::runc::args::Global;
use crate::runc::error::RuncError;

/// The caller's own standard streams, or a terminal to be made.
pub(super) fn own(terminal: bool) -> Stdio {
    if terminal { Stdio::Terminal } else { Stdio::Own }
}

/// How many sockets systemd has passed (`sd_listen_fds(3)`).
fn listeners() -> u32 {
    // They are meant for the process of this number: a variable that was left behind means nothing.
    let meant = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    if !meant {
        return 0;
    }
    std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).filter(|n| *n <= 1024).unwrap_or(0)
}

/// How many descriptors from 3 on the program gets: each must be there before this program opens its own.
pub(super) fn preserved(wanted: u32, with_listeners: bool) -> Result<u32, RuncError> {
    let all = wanted.saturating_add(if with_listeners { listeners() } else { 0 });
    for number in 3..3_u32.saturating_add(all) {
        let there =
            rustix::fs::statat(rustix::fs::CWD, format!("/proc/self/fd/{number}"), rustix::fs::AtFlags::empty());
        if there.is_err() {
            return Err(RuncError::new(format!(
                "invalid value {wanted} for --preserve-fds: the caller has no open descriptor {number}"
            )));
        }
    }
    Ok(all)
}

/// Names of namespaces for people.
pub(super) fn namespaces(bits: u64) -> String {
    let named = bulkhead_sandbox::oci::KINDS.iter().filter(|(_, _, bit)| bits & bit != 0);
    named.map(|(name, _, _)| *name).collect::<Vec<_>>().join(" ")
}

/// Tells the program of the sockets it gets: it is the first process of its pid namespace.
pub(super) fn pass_listeners(process: Option<&mut Process>) {
    if let (Some(process), count @ 1..) = (process, listeners()) {
        process.env.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]);
    }
}

/// A list of CPUs as the number whose bits they are.
pub(super) fn mask(list: &str) -> String {
    let words = bulkhead_sandbox::oci::bits("process.execCPUAffinity.initial", list).unwrap_or_default();
    let text: String = words.iter().rev().map(|word| format!("{word:016x}")).collect();
    let text = text.trim_start_matches('0');
    format!("0x{}", if text.is_empty() { "0" } else { text })
}

/// The specification: a capability that nobody knows is told of and left out.
pub(super) fn warn_of_capabilities(global: &Global, process: &Process) {
    let unknown = unknown_capabilities(process);
    if !unknown.is_empty() {
        // These words are looked for by public test suites.
        global.log.warn(&format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
    for name in idle_ambient(process) {
        global.log.warn(&format!(
            "process.capabilities.ambient: can't raise ambient capability CAP_{name}: it is not permitted and inheritable"
        ));
    }
}

/// Callers look for these words to tell a missing program from a broken runtime: Docker makes exit codes 127 and 126 of
/// them.
pub(super) fn program_error(error: &StartError, name: &str) -> RuncError {
    let words = match error {
        StartError::Step { description, source, .. } => match (description.as_str(), *source) {
            ("find the program", Errno::NOENT) => Some("executable file not found in $PATH"),
            ("find the program", Errno::ACCESS) => Some("permission denied"),
            _ => None,
        },
        _ => None,
    };
    if let StartError::Step { description, source: Errno::LOOP, .. } = error
        && ["\"/proc\"", "\"/sys\"", "\"/dev\""].iter().any(|place| description.ends_with(place))
    {
        return RuncError::new(format!("{description}: it must be mounted on ordinary directory, and a link is there"));
    }
    if let StartError::Step { exec: true, description, source, .. } = error {
        let words = match *source {
            Errno::NOENT | Errno::NOTDIR => "no such file or directory".to_owned(),
            Errno::ACCESS => "permission denied".to_owned(),
            Errno::NOEXEC => "exec format error".to_owned(),
            other => other.to_string(),
        };
        let program = description.trim_start_matches("start ").trim_matches('"');
        return RuncError { plain: true, ..RuncError::new(format!("exec {program}: {words}")) };
    }
    match words {
        Some(words) if name.contains('/') => {
            let words = if words.starts_with("exec") { "no such file or directory" } else { words };
            RuncError::new(format!("exec: {name:?}: stat {name}: {words}"))
        }
        Some(words) => RuncError::new(format!("exec: {name:?}: {words}")),
        None => {
            let plain = RuncError::chain(error);
            let plain = match error.hint() {
                Some(hint) => RuncError::new(format!("{plain} ({hint})")),
                None => plain,
            };
            match error {
                StartError::Step { description, .. } => plain.during(in_init(description)),
                _ => plain,
            }
        }
    }
}

/// What every step of the new process is a part of, in the words that callers show and look for.
fn in_init(step: &str) -> &'static str {
    if step.starts_with("bind ") || step.starts_with("mount ") {
        "unable to start container process: error during container init: error mounting"
    } else {
        "unable to start container process: error during container init"
    }
}

/// Puts the command before a failure of the new process.
pub(super) fn failed(error: RuncError, command: &str) -> RuncError {
    if error.message.starts_with("unable to start") {
        return error.during(format!("{} {command} failed", crate::runc::NAME));
    }
    error
}
