//! What the parent does around the clone so that the child is born where it belongs: namespaces that somebody else has
//! made are entered, and left again.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::proc::Proc;
use bulkhead_sys::{Errno, signal};
use rustix::fs::{Mode, OFlags};

use crate::error::StartError;
use crate::maps::map_text;
use crate::oci::KINDS;
use crate::plan::{OwnIds, SandboxPlan};
use crate::spec::IdRange;
use crate::supervise::HostProc;

/// The way back.
#[derive(Debug)]
pub(crate) struct Excursion {
    own: Vec<(OwnedFd, u64)>,
}

impl Excursion {
    /// Enters what the plan enters, but for a user namespace: nobody comes back from one.
    ///
    /// # Errors
    /// What cannot be entered; the caller is where it was.
    pub(crate) fn begin(plan: &SandboxPlan, proc: &HostProc) -> Result<Self, StartError> {
        let mut away = Self { own: Vec::new() };
        let begun = away.go(plan, proc);
        match begun {
            Ok(()) => Ok(away),
            Err(e) => away.end().and(Err(e)),
        }
    }

    fn go(&mut self, plan: &SandboxPlan, proc: &HostProc) -> Result<(), StartError> {
        let open = |path: &std::ffi::CStr| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let mut others = Vec::new();
        for enter in plan.enter.iter().filter(|e| e.kind != clone::NEWUSER) {
            let shown = enter.path.show();
            let file = open(enter.path.c()).map_err(StartError::parent(format!("open the namespace {shown:?}")))?;
            others.push((file, enter));
        }
        for (file, enter) in others {
            let back = own(proc.get()?, pid, enter.kind)?;
            let shown = enter.path.show();
            clone::join(file.as_fd(), enter.kind)
                .map_err(StartError::parent(format!("enter the namespace {shown:?}")))?;
            // Only now is there a way back to go.
            self.own.push((back, enter.kind));
        }
        if !plan.time_offsets.is_empty() {
            let back = own(proc.get()?, pid, clone::NEWTIME)?;
            // Only before its first process is born can the clocks of a namespace be set (`time_namespaces(7)`).
            clone::unshare(clone::NEWTIME).map_err(StartError::parent("make the time namespace"))?;
            self.own.push((back, clone::NEWTIME));
            let path = std::ffi::CString::new(format!("{pid}/timens_offsets")).unwrap_or_default();
            proc.get()?
                .write(&path, plan.time_offsets.concat().as_bytes())
                .map_err(StartError::parent("set the clocks of the time namespace"))?;
        }
        Ok(())
    }

    /// Back to where the caller was.
    ///
    /// # Errors
    /// When there is no way back; the caller should end.
    pub(crate) fn end(self) -> Result<(), StartError> {
        for (file, kind) in self.own.iter().rev() {
            clone::join(file.as_fd(), *kind).map_err(StartError::parent("go back to the own namespaces"))?;
        }
        Ok(())
    }
}

fn own(proc: &Proc, pid: i32, kind: u64) -> Result<OwnedFd, StartError> {
    let name = KINDS.iter().find(|(_, _, bit)| *bit == kind).map_or("", |(_, name, _)| *name);
    let name = std::ffi::CString::new(name).unwrap_or_default();
    proc.namespace(pid, &name).map_err(StartError::parent("open the own namespaces"))
}

/// A user namespace with these maps, in which nobody is: for the owners of one mount.
///
/// # Errors
/// When the kernel takes no such map.
pub(crate) fn user_namespace(ids: &OwnIds) -> Result<OwnedFd, StartError> {
    let proc = Proc::host().map_err(StartError::parent("open /proc as a procfs"))?;
    let single = SingleThreaded::check().map_err(StartError::parent("clone a process that has one thread"))?;
    let (pid, pidfd) = match clone::clone3(&single, clone::NEWUSER, None)
        .map_err(StartError::parent("make a user namespace for a mount"))?
    {
        Fork::Child => {
            // It must not outlive a parent that is killed: it holds copies of its descriptors.
            if bulkhead_sys::ids::die_with_parent().is_err() {
                clone::exit_now(125);
            }
            // Ended by the parent, or a moment later when that was faster than the line above.
            let patience = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
            rustix::event::poll(&mut [], Some(&patience)).unwrap_or_default();
            clone::exit_now(0)
        }
        Fork::Parent { pid, pidfd } => (pid, pidfd),
    };
    let write = |file: &str, ranges: &[IdRange]| {
        let path = std::ffi::CString::new(format!("{pid}/{file}")).unwrap_or_default();
        proc.write(&path, map_text(ranges).as_bytes())
    };
    let made = write("uid_map", &ids.uids)
        .and_then(|()| write("gid_map", &ids.gids))
        .and_then(|()| proc.namespace(pid, c"user"));
    signal::send(pidfd.as_fd(), 9).unwrap_or_default();
    // It was made by this process, which nobody else collects for.
    signal::wait(pidfd.as_fd()).map(drop).unwrap_or_default();
    made.map_err(|source: Errno| StartError::Parent { what: "map the ids of a mount".to_owned(), source })
}
