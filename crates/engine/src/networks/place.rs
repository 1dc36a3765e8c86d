//! Where the networks of containers are: in the host's own network namespace, or in that of an ordinary user.
//!
//! An ordinary user has no right over the host's. His is made for him, with a user namespace in which he has every right;
//! whoever acts there is a process that goes in and does not come back.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sandbox::StartError;
use bulkhead_sys::clone::{self, Fork, SingleThreaded};
use bulkhead_sys::{Errno, ids, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::EngineError;
use crate::monitor::Failure;

/// Where the networks of containers are.
#[derive(Debug)]
pub(crate) enum Place {
    /// In the network namespace of the caller, who is root.
    Host,
    /// In that of the user.
    User(UserNetwork),
    /// Nowhere: no container of this user has a network.
    Nowhere,
}

/// The namespaces of a user's networks, for as long as this is held: what holds them ends when nobody does any more.
#[derive(Debug)]
pub(crate) struct UserNetwork {
    /// The user namespace, with every right over the other.
    pub(crate) user: OwnedFd,
    /// The network namespace.
    pub(crate) net: OwnedFd,
    /// A shared lock that says that they are used.
    pub(crate) used: OwnedFd,
}

pub(super) fn failed(what: &str) -> impl Fn(Errno) -> EngineError {
    move |source| EngineError::Start(StartError::Parent { what: what.to_owned(), source })
}

thread_local! {
    /// Processes that had given their answer and were not gone yet.
    static ENDING: RefCell<Vec<OwnedFd>> = const { RefCell::new(Vec::new()) };
}

/// Collects processes that have given their answer. The end of one that has removed rules waits some 10 ms for the kernel:
/// nobody waits with it.
fn collect(child: OwnedFd) {
    ENDING.with(|ending| {
        let Ok(mut ending) = ending.try_borrow_mut() else { return };
        ending.push(child);
        ending.retain(|child| {
            let moment = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let ended = poll(&mut [PollFd::new(child, PollFlags::IN)], Some(&moment)).is_ok_and(|ready| ready > 0);
            if ended {
                // It is a child of this process, and nobody else's to collect.
                signal::wait(child.as_fd()).map(drop).unwrap_or_default();
            }
            !ended
        });
    });
}

impl UserNetwork {
    /// Of the descriptors that a process was started with.
    pub(crate) fn adopt([user, net, used]: [OwnedFd; 3]) -> Self {
        Self { user, net, used }
    }

    /// Its descriptors, in the order of [`UserNetwork::adopt`].
    pub(crate) fn descriptors(&self) -> [&OwnedFd; 3] {
        [&self.user, &self.net, &self.used]
    }

    /// Enters both. There is no way back.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn enter(&self) -> Result<(), Errno> {
        clone::join(self.user.as_fd(), clone::NEWUSER)?;
        clone::join(self.net.as_fd(), clone::NEWNET)
    }

    /// Acts there, by a process that ends with it; the caller has one thread.
    ///
    /// # Errors
    /// What `act` says; what the kernel says about the way there.
    pub(crate) fn act<T: Serialize + DeserializeOwned>(
        &self,
        act: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let single = SingleThreaded::check().map_err(failed("clone a process that has one thread"))?;
        let (answer, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
        let made = clone::clone3(&single, 0, None).map_err(failed("make a process for the user's network"))?;
        let child = match made {
            Fork::Child => {
                drop(answer);
                clone::exit_now(self.answer(theirs, act))
            }
            Fork::Parent { pidfd, .. } => pidfd,
        };
        drop(theirs);
        let mut text = Vec::new();
        let read = std::fs::File::from(answer).read_to_end(&mut text);
        collect(child);
        let lost = |e: String| EngineError::refused("the process in the user's network", e);
        read.map_err(|e| lost(e.to_string()))?;
        let answer: Result<T, Failure> =
            serde_json::from_slice(&text).map_err(|_| lost("it ended without a word".to_owned()))?;
        answer.map_err(|f| EngineError::Reported { message: f.message, hint: f.hint, exit: f.exit })
    }

    /// In the process: the single thread of a copy of this one, which may do what this one could.
    fn answer<T: Serialize>(&self, to: OwnedFd, act: impl FnOnce() -> Result<T, EngineError>) -> i32 {
        let there = ids::die_with_parent().and_then(|()| self.enter());
        let done = there.map_err(failed("enter the user's network")).and_then(|()| {
            // A panic must not go on as the caller.
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(act))
                .unwrap_or_else(|_| Err(EngineError::refused("the process in the user's network", "it has panicked")))
        });
        let answer = done.map_err(|e| Failure::from(&e));
        let text = serde_json::to_vec(&answer).unwrap_or_default();
        // Without a word it is heard that it has ended.
        i32::from(std::fs::File::from(to).write_all(&text).is_err())
    }
}

impl Place {
    /// Of what a monitor was started with.
    pub(crate) fn of(user: Option<UserNetwork>) -> Self {
        user.map_or(Self::Host, Self::User)
    }

    /// The user's, where they are there.
    pub(crate) fn user(&self) -> Option<&UserNetwork> {
        match self {
            Self::User(user) => Some(user),
            Self::Host | Self::Nowhere => None,
        }
    }

    /// Acts there. Where there are none, nothing is done, and that is what is said.
    ///
    /// # Errors
    /// As [`UserNetwork::act`].
    pub(crate) fn act<T: Serialize + DeserializeOwned + Default>(
        &self,
        act: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match self {
            Self::Host => act(),
            Self::User(user) => user.act(act),
            Self::Nowhere => Ok(T::default()),
        }
    }
}
