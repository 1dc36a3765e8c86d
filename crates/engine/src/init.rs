//! Process 1 of `run --init`: starts the program, passes signals on, collects orphans.

use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use bulkhead_sys::signal::{self, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

/// Signals that are not passed on: they are about init itself, or cannot be.
const OWN: [i32; 6] = [9, 19, 17, 11, 4, 8];

/// Runs `args` as the child of this process until it ends; returns its exit code, or 126 or 127 as a shell does.
#[must_use]
pub fn init(args: &[CString]) -> u8 {
    let words: Vec<std::ffi::OsString> = args
        .iter()
        .map(|a| {
            use std::os::unix::ffi::OsStrExt;
            std::ffi::OsStr::from_bytes(a.to_bytes()).to_owned()
        })
        .collect();
    let Some((program, rest)) = words.split_first() else { return 127 };
    let passed: Vec<i32> = (1..=31).filter(|n| !OWN.contains(n)).chain(34..=64).collect();
    let mut watched = passed;
    watched.push(17);
    let Ok(signals) = SignalFd::new(&watched) else { return 125 };
    let mut command = Command::new(program);
    // A group of its own: signals of the terminal reach it once, from here.
    command.args(rest).process_group(0);
    // This process blocks what it reads from the descriptor; the program blocks nothing.
    signal::reset_in_child(&mut command);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            // Standard error is the container's own; nobody else hears it.
            drop(writeln!(std::io::stderr(), "bulkhead: cannot start {program:?}: {e}"));
            return if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        }
    };
    let Ok(pid) = i32::try_from(child.id()) else { return 125 };
    if let (true, Some(group)) = (rustix::termios::isatty(std::io::stdin()), rustix::process::Pid::from_raw(pid)) {
        // What the terminal's keys say is meant for the program.
        rustix::termios::tcsetpgrp(std::io::stdin(), group).unwrap_or_default();
    }
    loop {
        let mut polled = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        if poll(&mut polled, None).is_err() {
            continue;
        }
        while let Ok(Some(number)) = signals.read() {
            if number != 17 {
                // It may have ended this moment; the loop below sees it.
                signal::kill(pid, number).unwrap_or_default();
            }
        }
        while let Ok(Some((ended, how))) = signal::reap_any() {
            if ended == pid {
                return u8::try_from(how.code()).unwrap_or(255);
            }
        }
    }
}
