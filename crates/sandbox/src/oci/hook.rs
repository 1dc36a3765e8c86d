//! Running a program of the host in a container's namespaces (`createContainer` hooks).

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::exec::{ArgVec, exec_first};
use bulkhead_sys::{Errno, fd, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::StartError;
use crate::protocol::{Channel, Message};

/// What [`run`] returns for a program that took longer than it may; no exit code is negative.
pub const TIMED_OUT: i32 = -1;

/// A program, and where it runs.
#[derive(Debug)]
pub struct Inside<'a> {
    /// First process of the container, on the host.
    pub pid: i32,
    /// `CLONE_NEW*` bits of the namespaces that are entered.
    pub namespaces: u64,
    /// Path of the program; in the mount namespace the host's files are still there.
    pub path: &'a str,
    /// Arguments, the name first; none means the path alone.
    pub args: &'a [String],
    /// `NAME=VALUE`.
    pub env: &'a [String],
    /// Working directory.
    pub directory: &'a Path,
    /// Standard input.
    pub input: BorrowedFd<'a>,
    /// Standard output and error.
    pub output: BorrowedFd<'a>,
    /// Seconds after which it is ended.
    pub timeout: Option<i64>,
}

fn owned(texts: &[String]) -> Result<Vec<CString>, StartError> {
    let refuse = |_| StartError::Hook("a word of a hook holds a NUL".to_owned());
    texts.iter().map(|t| CString::new(t.as_str()).map_err(refuse)).collect()
}

/// Runs it to its end and returns its exit code, or [`TIMED_OUT`].
///
/// # Errors
/// What kept it from running.
pub fn run(inside: &Inside<'_>) -> Result<i32, StartError> {
    let single = SingleThreaded::check().map_err(StartError::parent("clone a process that has one thread"))?;
    let path = owned(&[inside.path.to_owned()])?;
    let args = if inside.args.is_empty() { path.clone() } else { owned(inside.args)? };
    let (args, env) = (ArgVec::new(args), ArgVec::new(owned(inside.env)?));
    let directory = CString::new(inside.directory.as_os_str().as_bytes()).unwrap_or_default();
    let gone = || StartError::Vanished("the container has ended".to_owned());
    let target = pidfd_open(Pid::from_raw(inside.pid).ok_or_else(gone)?, PidfdFlags::empty()).map_err(|_| gone())?;
    let (ours, theirs) = Channel::pair().map_err(StartError::parent("make a channel"))?;
    let between = match clone::clone3(&single, 0, None).map_err(StartError::parent("make a process"))? {
        Fork::Child => {
            drop(ours);
            enter(inside, &single, &theirs, &target, (&path, &args, &env), &directory)
        }
        Fork::Parent { pidfd, .. } => pidfd,
    };
    drop(theirs);
    let mut fds: Vec<OwnedFd> = Vec::with_capacity(1);
    let born = ours.recv_in_time(&mut fds).map_err(StartError::parent("hear from the hook"))?;
    signal::wait(between.as_fd()).map_err(StartError::parent("collect the go-between"))?;
    let child = match (born, fds.pop()) {
        (Some(Message::Born), Some(child)) => child,
        (Some(Message::Outside { errno }), _) => {
            return Err(StartError::Parent {
                what: "enter the container's namespaces".to_owned(),
                source: Errno::from_raw_os_error(errno),
            });
        }
        _ => return Err(gone()),
    };
    // It closes its end when it becomes the program.
    if let Some(Message::Failed { errno, .. }) =
        ours.recv_in_time(&mut fds).map_err(StartError::parent("hear from the hook"))?
    {
        signal::wait(child.as_fd()).map_err(StartError::parent("collect the hook"))?;
        return Err(StartError::Parent { what: "start it".to_owned(), source: Errno::from_raw_os_error(errno) });
    }
    if !ended_in_time(&child, inside.timeout) {
        signal::send(child.as_fd(), 9).unwrap_or_default();
        signal::wait(child.as_fd()).map_err(StartError::parent("collect the hook"))?;
        return Ok(TIMED_OUT);
    }
    Ok(signal::wait(child.as_fd()).map_err(StartError::parent("collect the hook"))?.code())
}

fn ended_in_time(child: &OwnedFd, timeout: Option<i64>) -> bool {
    let Some(seconds) = timeout else { return true };
    let end = Instant::now() + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(child, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut polled, Some(&wait)) {
            Ok(0) => return false,
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return true,
        }
    }
}

/// In the go-between, then in the process that becomes the program. Child-safe.
fn enter(
    inside: &Inside<'_>,
    single: &SingleThreaded,
    channel: &Channel,
    target: &OwnedFd,
    (path, args, env): (&[CString], &ArgVec, &ArgVec),
    directory: &CString,
) -> ! {
    let entered = clone::join(target.as_fd(), inside.namespaces).and_then(|()| clone::sibling(single, 0));
    match entered {
        Err(e) => channel.send(Message::Outside { errno: e.raw_os_error() }, &[]).unwrap_or_default(),
        Ok(Fork::Parent { pidfd, .. }) => {
            channel.send(Message::Born, &[pidfd.as_fd()]).unwrap_or_default();
        }
        Ok(Fork::Child) => {
            let ready = || -> Result<(), Errno> {
                signal::reset_all()?;
                rustix::process::chdir(directory.as_c_str())?;
                fd::place(inside.input, 0)?;
                fd::place(inside.output, 1)?;
                fd::place(inside.output, 2)?;
                fd::cloexec_from(3)
            };
            let error = match ready() {
                Ok(()) => exec_first(path, args, env),
                Err(e) => e,
            };
            channel.send(Message::Failed { step: 0, errno: error.raw_os_error() }, &[]).unwrap_or_default();
        }
    }
    clone::exit_now(127)
}
