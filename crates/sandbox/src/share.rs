//! Entering namespaces of another sandbox on the way to a first process of one's own.
//!
//! Namespaces can only be entered by a process that holds every right in the user namespace that owns them, so the new
//! sandbox lives in the other's user namespace, with the other's ids. The supervisor must not: whoever is in there can
//! be reached from there. A go-between enters instead, makes the child as the supervisor's own, and ends.
//!
//! ```text
//!     supervisor ──clone3──► go-between ──setns──► in the other's user namespace
//!         │                       └──clone3(CLONE_PARENT)──► child, of the supervisor
//!         └── same channel, same protocol ─────────────────────┘
//! ```
//!
//! Before it enters, the go-between forbids being traced, and its child inherits that until it has become the program:
//! where processes are shared, others see it while it still holds descriptors of the host (CVE-2016-9962).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::mount::{NODEV, NOEXEC, NOSUID};
use bulkhead_sys::root::Root;
use bulkhead_sys::{Errno, ids, mount, signal};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::StartError;
use crate::join::Target;
use crate::nest::{Maps, Parent};
use crate::plan::SandboxPlan;
use crate::protocol::{Channel, Message};
use crate::supervise::start_time;

/// `TMPFS_MAGIC` of `statfs(2)`.
const TMPFS: i64 = 0x0102_1994;

/// What the go-between needs.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The other sandbox's first process, or the file of a user namespace.
    pub(crate) other: OwnedFd,
    /// What is entered.
    enter: u64,
    /// What is made.
    make: u64,
    /// Id maps that the go-between writes: it enters only to make a user namespace there.
    maps: Option<Maps>,
}

fn ended() -> StartError {
    StartError::Vanished("the container whose namespaces it shares has ended".to_owned())
}

impl Entry {
    /// Of a plan that shares; nothing when it does not.
    ///
    /// # Errors
    /// When the other sandbox does not run (any more).
    pub(crate) fn of(plan: &SandboxPlan, target: Option<&Target>) -> Result<Option<Self>, StartError> {
        if let Some(user) = plan.enter.iter().find(|e| e.kind == clone::NEWUSER) {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let other = rustix::fs::open(user.path.c(), flags, Mode::empty())
                .map_err(StartError::parent(format!("open the user namespace {:?}", user.path.show())))?;
            return Ok(Some(Self { other, enter: clone::NEWUSER, make: plan.namespaces, maps: None }));
        }
        let Some(share) = &plan.share else { return Ok(None) };
        let target = target.ok_or_else(ended)?;
        let pid = Pid::from_raw(target.pid).ok_or_else(ended)?;
        let other = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| ended())?;
        // Looked at after it is held: the number may have been given to another meanwhile.
        if start_time(target.pid) != Some(target.started) {
            return Err(ended());
        }
        Ok(Some(Self { other, enter: share.bits(), make: plan.namespaces, maps: None }))
    }

    /// Of a plan with a user namespace of its own, which is made in another one.
    ///
    /// # Errors
    /// Ids that the other one has not.
    pub(crate) fn below(plan: &SandboxPlan, parent: &Parent) -> Result<Self, StartError> {
        let other = parent.namespace.try_clone().map_err(|e| StartError::Parent {
            what: "keep hold of a user namespace".to_owned(),
            source: Errno::from_io_error(&e).unwrap_or(Errno::MFILE),
        })?;
        let maps = Some(Maps::new(&plan.ids, parent)?);
        Ok(Self { other, enter: clone::NEWUSER, make: plan.namespaces, maps })
    }

    /// Whether the user namespace is made in another one; else it is somebody else's.
    pub(crate) fn is_below(&self) -> bool {
        self.maps.is_some()
    }

    /// What the go-between does, for messages.
    fn what(&self) -> &'static str {
        if self.is_below() {
            "make a user namespace in the user's own"
        } else {
            "enter the other container's namespaces"
        }
    }

    /// In the go-between: enters, makes the child, and ends. Returns in the child only. Child-safe.
    pub(crate) fn pass(&self, single: &SingleThreaded, channel: &Channel) {
        // The parent sets limits first, where they are to be inherited.
        if !matches!(channel.recv(&mut Vec::new()), Ok(Some(Message::Proceed))) {
            clone::exit_now(125);
        }
        // Nobody else is in a namespace that others are only made in, and files of /proc are to be written.
        let hidden = if self.is_below() { Ok(()) } else { ids::set_dumpable(false) };
        let made = hidden
            .and_then(|()| clone::join(self.other.as_fd(), self.enter))
            .and_then(|()| clone::sibling(single, self.make));
        match made {
            Ok(Fork::Child) => return,
            Ok(Fork::Parent { pid, pidfd }) => match self.maps.as_ref().map_or(Ok(()), |maps| maps.write(pid)) {
                // The parent notices when this does not arrive.
                Ok(()) => channel.send(Message::Born, &[pidfd.as_fd()]).unwrap_or_default(),
                Err(e) => {
                    // It may have ended by itself.
                    signal::send(pidfd.as_fd(), 9).unwrap_or_default();
                    channel.send(Message::Outside { errno: e.raw_os_error() }, &[]).unwrap_or_default();
                }
            },
            Err(e) => channel.send(Message::Outside { errno: e.raw_os_error() }, &[]).unwrap_or_default(),
        }
        clone::exit_now(0)
    }
}

/// Waits for the child that the go-between makes: its pid and a descriptor of it.
///
/// # Errors
/// What kept it from being made.
pub(crate) fn await_birth(
    entry: &Entry,
    channel: &Channel,
    between: BorrowedFd<'_>,
) -> Result<(i32, OwnedFd), StartError> {
    channel.send(Message::Proceed, &[]).map_err(StartError::parent("tell the new process to begin"))?;
    let mut fds = Vec::with_capacity(1);
    let answer = channel.recv_in_time(&mut fds).map_err(StartError::parent("hear from the new process"))?;
    match (answer, fds.pop()) {
        (Some(Message::Born), Some(pidfd)) => {
            // Of a go-between in a pid namespace that was entered the number would be the one there.
            let pid = own_number(&pidfd).ok_or_else(ended)?;
            signal::wait(between).map_err(StartError::parent("collect the go-between"))?;
            Ok((pid, pidfd))
        }
        (Some(Message::Outside { errno }), _) => match Errno::from_raw_os_error(errno) {
            Errno::SRCH if !entry.is_below() => Err(ended()),
            source => Err(StartError::Parent { what: entry.what().to_owned(), source }),
        },
        _ => Err(ended()),
    }
}

/// The process of a pidfd by its number in the namespace of the caller's `/proc` (`pidfd_open(2)`).
fn own_number(pidfd: &OwnedFd) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    text.lines().find_map(|l| l.strip_prefix("Pid:")?.trim().parse().ok()).filter(|pid| *pid > 0)
}

/// A detached copy of the other sandbox's `/dev/shm`, taken by a process that looks from inside. Whatever that sandbox
/// has put there is its own: only a memory file system is taken, and nothing in it can be started or is a device.
///
/// # Errors
/// What the kernel says; `ENOTSUP` when something else is there.
pub(crate) fn shared_memory(entry: &Entry) -> Result<OwnedFd, Errno> {
    let single = SingleThreaded::check()?;
    let (ours, theirs) = Channel::pair()?;
    let looker = match clone::clone3(&single, 0, None)? {
        Fork::Child => {
            match look(entry) {
                Ok(tree) => theirs.send(Message::Trees, &[tree.as_fd()]).unwrap_or_default(),
                Err(e) => theirs.send(Message::Outside { errno: e.raw_os_error() }, &[]).unwrap_or_default(),
            }
            clone::exit_now(0)
        }
        Fork::Parent { pidfd, .. } => pidfd,
    };
    drop(theirs);
    let mut fds = Vec::with_capacity(1);
    let answer = ours.recv_in_time(&mut fds);
    // It may have ended by itself.
    signal::send(looker.as_fd(), 9).unwrap_or_default();
    signal::wait(looker.as_fd())?;
    match (answer?, fds.pop()) {
        (Some(Message::Trees), Some(tree)) => Ok(tree),
        (Some(Message::Outside { errno }), _) => Err(Errno::from_raw_os_error(errno)),
        _ => Err(Errno::SRCH),
    }
}

fn look(entry: &Entry) -> Result<OwnedFd, Errno> {
    ids::set_dumpable(false)?;
    clone::join(entry.other.as_fd(), clone::NEWUSER | clone::NEWNS)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = Root::new(rustix::fs::open(c"/", flags, Mode::empty())?);
    let place = root.open(c"/dev/shm", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    if i128::from(rustix::fs::fstatfs(&place)?.f_type) != i128::from(TMPFS) {
        return Err(Errno::NOTSUP);
    }
    let tree = mount::copy_tree(place.as_fd(), c"", false)?;
    mount::set_attributes(tree.as_fd(), NOSUID | NODEV | NOEXEC, false)?;
    Ok(tree)
}
