//! A group that systemd makes: see [`crate::systemd`].

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::signal;

use crate::cgroup::handle::CgroupError;
use crate::systemd::{self, Bus, Unit};

/// The process that holds the scope open until the container's own is in it.
#[derive(Debug)]
struct Idle {
    pid: i32,
    pidfd: OwnedFd,
}

impl Drop for Idle {
    fn drop(&mut self) {
        // It is a child of this process and so there until it is waited for.
        signal::send(self.pidfd.as_fd(), 9).unwrap_or_default();
        let _ended = signal::wait(self.pidfd.as_fd());
    }
}

fn idle() -> Result<Idle, bulkhead_sys::Errno> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let parent = rustix::process::getpid();
    let single = SingleThreaded::check()?;
    match clone::clone3(&single, 0, None)? {
        Fork::Parent { pid, pidfd } => Ok(Idle { pid, pidfd }),
        Fork::Child => {
            let bound = set_parent_process_death_signal(Some(Signal::KILL));
            // Its end may have come before it was waited for.
            if bound.is_ok() && getppid() == Some(parent) {
                // Longer than systemd may take.
                let patience = rustix::thread::Timespec { tv_sec: 120, tv_nsec: 0 };
                drop(rustix::thread::nanosleep(&patience));
            }
            clone::exit_now(0)
        }
    }
}

/// A scope. Dropped before [`Scope::keep`], it is stopped.
#[derive(Debug)]
pub(in crate::cgroup) struct Scope {
    unit: Option<Unit>,
    idle: Option<Idle>,
}

impl Scope {
    /// Has it made.
    ///
    /// # Errors
    /// What systemd says; a scope that is not where it was to be.
    pub(in crate::cgroup) fn start(unit: &Unit) -> Result<Self, CgroupError> {
        let name = Path::new(&unit.name);
        let fail = |e: std::io::Error| CgroupError::new("have systemd make", name, e);
        let mut bus = Bus::open(unit.user).map_err(|e| fail(std::io::Error::other(e)))?;
        let idle = idle().map_err(|e| fail(e.into()))?;
        let pid = u32::try_from(idle.pid).map_err(|e| fail(std::io::Error::other(e)))?;
        systemd::start(&mut bus, unit, pid).map_err(|e| fail(std::io::Error::other(e)))?;
        let scope = Self { unit: Some(unit.clone()), idle: Some(idle) };
        // Its word is not enough: limits and processes are about to be put there.
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(fail)?;
        if !lies_in(&text, unit) {
            let reason = format!("the scope is not at {:?}", unit.path);
            return Err(fail(std::io::Error::other(reason)));
        }
        Ok(scope)
    }

    /// The container's own process is in it.
    pub(in crate::cgroup) fn entered(&mut self) {
        self.idle = None;
    }

    /// It stays.
    pub(in crate::cgroup) fn keep(&mut self) {
        self.unit = None;
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.idle = None;
        if let Some(unit) = &self.unit {
            // Nobody is left to tell.
            drop(Bus::open(unit.user).and_then(|mut bus| systemd::stop(&mut bus, &unit.name)));
        }
    }
}

/// Whether a process with this `/proc/PID/cgroup` is in the unit's group.
fn lies_in(text: &str, unit: &Unit) -> bool {
    let hierarchy = if unit.unified { "0::" } else { ":name=systemd:" };
    text.lines().any(|line| line.split_once(hierarchy).is_some_and(|(_, path)| path == unit.path))
}

/// The group of the user's manager, from the caller's own, `/user.slice/user-1000.slice/session-1.scope` or below the
/// manager already.
pub(super) fn manager(own: &str, uid: u32) -> String {
    let names: Vec<&str> = own.split('/').collect();
    if let Some(at) = names.iter().position(|n| n.starts_with("user@") && n.ends_with(".service")) {
        return names.get(..=at).unwrap_or_default().join("/");
    }
    let slice = |n: &&&str| n.strip_prefix("user-").and_then(|n| n.strip_suffix(".slice")).is_some();
    let number = names.iter().find(slice).and_then(|n| n.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok());
    let number: u32 = number.unwrap_or(uid);
    format!("/user.slice/user-{number}.slice/user@{number}.service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_manager_is_found_from_anywhere() {
        let at = "/user.slice/user-1000.slice/user@1000.service";
        for own in [format!("{at}/app.slice/x.scope"), "/user.slice/user-1000.slice/session-2.scope".into(), at.into()]
        {
            assert_eq!(manager(&own, 0), at, "{own}");
        }
        assert_eq!(manager("/", 7), "/user.slice/user-7.slice/user@7.service");
    }

    #[test]
    fn a_scope_somewhere_else_is_noticed() {
        let none = crate::oci::config::LinuxResources::default();
        let unit =
            |unified| Unit::of("b", "", &none, &std::collections::BTreeMap::new(), (false, unified, "/")).unwrap();
        assert!(lies_in("0::/system.slice/bulkhead-b.scope\n", &unit(true)));
        assert!(!lies_in("0::/system.slice/bulkhead-b.scope/in\n1:name=systemd:/x\n", &unit(true)));
        assert!(lies_in("5:memory:/\n1:name=systemd:/system.slice/bulkhead-b.scope\n0::/\n", &unit(false)));
        assert!(!lies_in("1:name=systemd:/\n0::/system.slice/bulkhead-b.scope\n", &unit(false)));
    }
}
