//! The way out of a user's network: `pasta`, of the package `passt`, between a link there and sockets of the host.
//!
//! It is asked for what the oldest version has that distributions still ship (Debian 12: 2023-03), with nothing forwarded
//! into the namespace, nothing from there to the host's loopback, and no answers to DHCP: the link has its addresses.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulkhead_net::user::{WAY_OUT, leads_out};
use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::{fd, ids, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::super::place::{UserNetwork, failed};
use super::read_now;
use crate::error::EngineError;

/// Bytes of a packet on the way out: the most that it takes. Each is copied by a process, whatever its size.
pub(in super::super) const MTU: u32 = 65_520;

/// What it reads packets from.
const TUN: &str = "/dev/net/tun";

/// How long it may take to make its link, in milliseconds.
const PATIENCE: u32 = 5000;

/// The program, where it is installed.
pub(super) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let places = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("pasta"));
    let usable = |file: &PathBuf| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    places.filter(|file| file.is_file()).find(usable)
}

/// Whether it can be used here.
///
/// # Errors
/// Why not, in words.
pub(super) fn usable(program: Option<&Path>) -> Result<&Path, String> {
    let Some(program) = program else {
        return Err("pasta is not installed; it is in the package passt".to_owned());
    };
    match File::options().read(true).write(true).open(TUN) {
        Ok(_) => Ok(program),
        Err(e) => Err(format!(
            "{TUN} cannot be opened by this user ({e}); the administrator's 'chmod 666 {TUN}' lets \
                               every user open it, as most systems do by themselves"
        )),
    }
}

/// The program while it runs.
#[derive(Debug)]
pub(super) struct Pasta {
    pidfd: OwnedFd,
    said: OwnedFd,
}

impl AsFd for Pasta {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Pasta {
    fn drop(&mut self) {
        // It may have ended by itself.
        signal::send(self.pidfd.as_fd(), 9).unwrap_or_default();
        signal::wait(self.pidfd.as_fd()).map(drop).unwrap_or_default();
    }
}

fn words(pid: i32) -> Vec<String> {
    let mut words: Vec<String> =
        ["--foreground", "--quiet", "--stderr", "--config-net", "--no-map-gw"].map(str::to_owned).into();
    for none in ["-t", "-u", "-T", "-U"] {
        words.extend([none.to_owned(), "none".to_owned()]);
    }
    words.extend(["--no-dhcp", "--no-dhcpv6", "--no-ra", "-I", WAY_OUT, "--mtu"].map(str::to_owned));
    words.extend([MTU.to_string(), pid.to_string()]);
    words
}

impl Pasta {
    /// Starts it for the namespaces of the process `pid`, which are `network`, and waits until it leads out.
    ///
    /// # Errors
    /// In words why it does not.
    pub(super) fn start(program: &Path, pid: i32, network: &UserNetwork) -> Result<Self, String> {
        let text = |e: EngineError| e.chain();
        let (said, theirs) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(failed("make a pipe")).map_err(text)?;
        let single = SingleThreaded::check().map_err(failed("clone a process that has one thread")).map_err(text)?;
        let mut command = Command::new(program);
        command.args(words(pid)).env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        let pidfd = match clone::clone3(&single, 0, None).map_err(failed("start pasta")).map_err(text)? {
            Fork::Child => {
                // It ends with its starter; whatever that has open is closed when the program begins.
                let begun = ids::die_with_parent().and_then(|()| fd::cloexec_from(3));
                if begun.is_ok() {
                    drop(command.stderr(Stdio::from(theirs)).exec());
                }
                clone::exit_now(127)
            }
            Fork::Parent { pidfd, .. } => pidfd,
        };
        drop(theirs);
        let pasta = Self { pidfd, said };
        match network.act(|| Ok(pasta.await_route())) {
            Ok(true) => Ok(pasta),
            Ok(false) => Err(pasta.why()),
            Err(e) => Err(text(e)),
        }
    }

    /// In the user's network: waits until the way out is there; false when the program has ended, or takes too long.
    fn await_route(&self) -> bool {
        for _ in 0..PATIENCE {
            if leads_out() {
                return true;
            }
            let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
            if poll(&mut ended, Some(&pause)).is_ok_and(|ready| ready > 0) {
                return false;
            }
        }
        false
    }

    /// What it has said last.
    pub(super) fn why(&self) -> String {
        let said = read_now(&self.said);
        let line = said.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.contains("syslog"));
        line.map_or_else(|| "pasta has ended without a word".to_owned(), |line| format!("pasta: {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_led_in_and_nothing_to_the_hosts_loopback() {
        let words = words(17).join(" ");
        for wanted in ["-t none -u none -T none -U none", "--no-map-gw", "--mtu 65520 17", "-I out0"] {
            assert!(words.contains(wanted), "{words}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let why = usable(None).unwrap_err();
        assert!(why.contains("pasta") && why.contains("package passt"), "{why}");
    }
}
