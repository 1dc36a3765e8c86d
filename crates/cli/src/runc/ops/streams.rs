//! What a program gets from its caller: standard streams and further descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sandbox::StartError;
use bulkhead_sandbox::Stdio;
use bulkhead_sandbox::oci::config::Process;
use bulkhead_sys::Errno;

use crate::runc::error::{During, RuncError};

/// The caller's own standard streams, or a terminal to be made.
pub(super) fn own(terminal: bool) -> Result<Stdio, RuncError> {
    if terminal {
        return Ok(Stdio::Terminal);
    }
    let copy = |number: i32| -> Result<OwnedFd, RuncError> {
        let stream: BorrowedFd<'_> = match number {
            0 => rustix::stdio::stdin(),
            1 => rustix::stdio::stdout(),
            _ => rustix::stdio::stderr(),
        };
        rustix::io::fcntl_dupfd_cloexec(stream.as_fd(), 3).during(format!("use descriptor {number}"))
    };
    Ok(Stdio::Files([copy(0)?, copy(1)?, copy(2)?]))
}

/// How many sockets systemd has passed (`sd_listen_fds(3)`).
fn listeners() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).filter(|n| *n <= 1024).unwrap_or(0)
}

/// How many descriptors from 3 on the program gets: each must be there before this program opens its own.
pub(super) fn preserved(wanted: u32) -> Result<u32, RuncError> {
    let all = wanted.saturating_add(listeners());
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

/// Tells the program of the sockets it gets: it is the first process of its pid namespace.
pub(super) fn pass_listeners(process: Option<&mut Process>) {
    if let (Some(process), count @ 1..) = (process, listeners()) {
        process.env.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]);
    }
}

/// Callers look for these words to tell a missing program from a broken runtime: Docker makes exit codes 127 and 126 of
/// them.
pub(super) fn program_error(error: &StartError) -> RuncError {
    if let StartError::Step { description, exec, source, .. } = error {
        let found = description.strip_prefix("find the program ").zip(match *source {
            Errno::NOENT => Some("executable file not found in $PATH"),
            Errno::ACCESS => Some("permission denied"),
            _ => None,
        });
        let begun = description.strip_prefix("start ").filter(|_| *exec).zip(match *source {
            Errno::NOENT => Some("no such file or directory"),
            Errno::ACCESS => Some("permission denied"),
            Errno::NOEXEC => Some("exec format error"),
            Errno::ISDIR => Some("is a directory"),
            _ => None,
        });
        if let Some((program, words)) = found.or(begun) {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            return RuncError::new(format!("exec: {program}: {words}{hint}"));
        }
    }
    let plain = RuncError::chain(error);
    match error.hint() {
        Some(hint) => RuncError::new(format!("{plain} ({hint})")),
        None => plain,
    }
}
