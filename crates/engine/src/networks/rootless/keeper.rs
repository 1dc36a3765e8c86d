//! The keeper of a user's network: two processes and `pasta`.
//!
//! ```text
//!   keeper, in the host's network ──clone3──► holder, in both namespaces: waits until nobody uses them
//!      │ follows changes of the host's addresses
//!      └──────────────────────────────starts──► pasta
//! ```
//!
//! The three end together: the others by the death of the keeper, the keeper by the end of the holder.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::Duration;

use bulkhead_net::user;
use bulkhead_sandbox::maps::map_ids;
use bulkhead_sandbox::spec::IdMaps;
use bulkhead_sandbox::supervise::start_time;
use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::proc::Proc;
use bulkhead_sys::{Errno, caps, fd, ids, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::super::place::{UserNetwork, failed};
use super::pasta::{self, Pasta};
use super::{Files, State, lock_file, number};
use crate::error::EngineError;
use crate::frame::kind;
use crate::layout::{is_at, write_json};
use crate::monitor::{Failure, begin, read_order, tell};

/// The verb of the hidden command.
pub(super) const VERB: &str = "network-keeper";

/// How long the network stays when nobody uses it: a command that starts one container after another does not wait for a
/// new one each time.
const LINGER: Duration = Duration::from_secs(10);

/// The least time between two starts of pasta.
const PAUSE: Duration = Duration::from_secs(2);

/// What a keeper is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) files: Files,
    pub(super) ids: IdMaps,
    pub(super) pasta: Option<std::path::PathBuf>,
}

/// Runs the keeper, by the numbers of its descriptors: the order, the socket to the command, perhaps a user namespace and a
/// network namespace that are there already, the lock of whoever makes a network, and the protected binary.
///
/// # Errors
/// What could not be told to the command either.
pub fn main(numbers: &[RawFd]) -> Result<(), EngineError> {
    let wrong = || EngineError::refused("this hidden command", "it is started by bulkhead itself");
    let mut all = begin(numbers)?.into_iter();
    let (Some(order), Some(client)) = (all.next(), all.next()) else { return Err(wrong()) };
    // The last is the binary, which is needed no more.
    let left: Vec<OwnedFd> = all.collect();
    let mut left = left.into_iter();
    let before = match left.len() {
        4 => left.next().zip(left.next()),
        2 => None,
        _ => return Err(wrong()),
    };
    // The command may be ended before this is ready: nobody else begins until the state is written.
    let making = left.next();
    drop(left);
    let order: Order = read_order(order)?;
    rustix::thread::set_name(c"bulkhead-net").unwrap_or_default();
    match Keeper::new(&order, before) {
        Ok(keeper) => {
            tell(&client, kind::STARTED, &[]);
            drop((client, making));
            keeper.follow();
        }
        Err(e) => tell(&client, kind::ERROR, &serde_json::to_vec(&Failure::from(&e)).unwrap_or_default()),
    }
    Ok(())
}

struct Keeper<'a> {
    order: &'a Order,
    network: UserNetwork,
    holder: OwnedFd,
    state: State,
    changes: user::Changes,
    pasta: Option<Pasta>,
    /// The host has addresses that the user's network has not: there is no way out until it has.
    unheld: bool,
}

impl<'a> Keeper<'a> {
    fn new(order: &'a Order, before: Option<(OwnedFd, OwnedFd)>) -> Result<Self, EngineError> {
        // Before the addresses are read: none is missed.
        let changes = user::Changes::new()?;
        let (pid, holder) = hold(order, before)?;
        let proc = Proc::host().map_err(failed("open /proc as a procfs"))?;
        let of = |kind: &std::ffi::CStr| proc.namespace(pid, kind).map_err(failed("open the user's network"));
        let used = lock_file(&order.files.used())?;
        let network = UserNetwork { user: of(c"user")?, net: of(c"net")?, used };
        let state = State {
            pid,
            started: start_time(pid).unwrap_or(0),
            ids: order.ids.clone(),
            user: number(&network.user)?,
            net: number(&network.net)?,
            closed: None,
        };
        let mut keeper = Self { order, network, holder, state, changes, pasta: None, unheld: false };
        keeper.open();
        keeper.write()?;
        Ok(keeper)
    }

    fn write(&self) -> Result<(), EngineError> {
        write_json(&self.order.files.state(), &self.state, false)
    }

    /// Every address of the host is the user's network's own too: nothing that is sent to one gets out.
    fn hold_addresses(&self) -> Result<(), EngineError> {
        let all = user::addresses()?;
        self.network.act(|| Ok(user::hold(&all)?))
    }

    /// Opens the way out, or says why there is none.
    fn open(&mut self) {
        // First, so that no address of the host is reached through it.
        let held = self.hold_addresses().map_err(|e| e.chain());
        self.unheld = held.is_err();
        let opened = held
            .and_then(|()| pasta::usable(self.order.pasta.as_deref()))
            .and_then(|program| Pasta::start(program, self.state.pid, &self.network));
        self.state.closed = opened.as_ref().err().cloned();
        self.pasta = opened.ok();
    }

    /// Whether the holder has ended: the files are a successor's then.
    fn is_over(&self) -> bool {
        let now = Timespec::default();
        poll(&mut [PollFd::new(&self.holder, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Until the holder has ended.
    fn follow(mut self) {
        loop {
            let changed = PollFd::new(&self.changes, PollFlags::IN);
            let mut polled = vec![PollFd::new(&self.holder, PollFlags::IN), changed];
            polled.extend(self.pasta.as_ref().map(|pasta| PollFd::from_borrowed_fd(pasta.as_fd(), PollFlags::IN)));
            // What could not be held is tried again.
            let again = self.unheld.then(|| Timespec::try_from(PAUSE).unwrap_or_default());
            match poll(&mut polled, again.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                // It is kept as it is.
                Err(_) => {
                    signal::wait(self.holder.as_fd()).map(drop).unwrap_or_default();
                    return;
                }
            }
            let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
            let is = |at: usize| ready.get(at).copied().unwrap_or(false);
            if is(0) {
                return;
            }
            let (changed, mut ended) = (is(1), is(2));
            if changed {
                let first = self.hold_addresses();
                // More will come with it.
                std::thread::sleep(Duration::from_millis(50));
                self.changes.drain();
                if first.and_then(|()| self.hold_addresses()).is_err() {
                    // No way out is better than one to the host.
                    drop(self.pasta.take());
                    (self.unheld, ended) = (true, false);
                }
            }
            if ended {
                self.state.closed = self.pasta.take().map(|pasta| pasta.why());
                std::thread::sleep(PAUSE);
            }
            if ended || self.unheld || (changed && self.pasta.is_none() && self.order.pasta.is_some()) {
                self.open();
                if self.is_over() {
                    return;
                }
                // Whoever asks finds the last word.
                self.write().unwrap_or_default();
            }
        }
    }
}

/// Makes the process that holds the namespaces: its id, and a descriptor of it.
fn hold(order: &Order, before: Option<(OwnedFd, OwnedFd)>) -> Result<(i32, OwnedFd), EngineError> {
    let used = lock_file(&order.files.used())?;
    let (go, ours_go) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
    let (ours_ready, ready) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
    let single = SingleThreaded::check().map_err(failed("clone a process that has one thread"))?;
    let namespaces = if before.is_none() { clone::NEWUSER | clone::NEWNET } else { 0 };
    let made = clone::clone3(&single, namespaces, None).map_err(failed("make the namespaces of the user's network"))?;
    let (pid, pidfd) = match made {
        Fork::Child => {
            drop((ours_go, ours_ready));
            let holder = Holder { files: &order.files, used };
            clone::exit_now(i32::from(holder.live(before.as_ref(), go, ready).is_err()))
        }
        Fork::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((go, ready));
    let begun = || -> Result<(), EngineError> {
        if before.is_none() {
            map_ids(&order.ids, pid)?;
        }
        rustix::io::write(&ours_go, b"g").map_err(failed("tell the process that holds the user's network to begin"))?;
        let mut word = [0_u8; 1];
        match rustix::io::read(&ours_ready, &mut word).map_err(failed("hear from the process that holds it"))? {
            1 => Ok(()),
            _ => Err(EngineError::refused("the network of this user", "its namespaces cannot be set up")),
        }
    };
    begun().inspect_err(|_| {
        signal::send(pidfd.as_fd(), 9).unwrap_or_default();
        signal::wait(pidfd.as_fd()).map(drop).unwrap_or_default();
    })?;
    Ok((pid, pidfd))
}

/// The process that holds the namespaces.
struct Holder<'a> {
    files: &'a Files,
    used: OwnedFd,
}

impl Holder<'_> {
    fn live(&self, before: Option<&(OwnedFd, OwnedFd)>, go: OwnedFd, ready: OwnedFd) -> Result<(), Errno> {
        ids::die_with_parent()?;
        let mut word = [0_u8; 1];
        if rustix::io::read(&go, &mut word)? != 1 {
            return Err(Errno::CANCELED);
        }
        match before {
            Some((user, net)) => {
                clone::join(user.as_fd(), clone::NEWUSER)?;
                clone::join(net.as_fd(), clone::NEWNET)?;
            }
            None => user::prepare().map_err(|_| Errno::OPNOTSUPP)?,
        }
        // It is only there.
        rustix::thread::set_no_new_privs(true)?;
        caps::drop_bounding(0)?;
        caps::set(0)?;
        rustix::io::write(&ready, b"r")?;
        drop((go, ready));
        fd::close_from_but(3, [self.used.as_fd()])?;
        loop {
            // Until everybody has let go of it.
            self.lock(FlockOperation::LockExclusive)?;
            self.lock(FlockOperation::Unlock)?;
            let pause = Timespec::try_from(LINGER).map_err(|_| Errno::INVAL)?;
            poll(&mut [], Some(&pause)).unwrap_or_default();
            match self.lock(FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return self.leave(),
                Err(Errno::WOULDBLOCK) => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn lock(&self, how: FlockOperation) -> Result<(), Errno> {
        loop {
            match flock(&self.used, how) {
                Err(Errno::INTR) => {}
                done => return done,
            }
        }
    }

    /// With the lock held: whoever comes now finds nothing, and makes it anew. Where the files are another's by now, that
    /// one's are left alone.
    fn leave(&self) -> Result<(), Errno> {
        if is_at(&self.used, &self.files.used()) {
            drop(std::fs::remove_file(self.files.state()));
        }
        Ok(())
    }
}
