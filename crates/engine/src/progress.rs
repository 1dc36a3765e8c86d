//! Who follows operations that take long.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::Engine;

/// Follows an operation that takes long. Its functions are called often and must be cheap.
pub trait Progress: std::fmt::Debug + Send + Sync {
    /// So many bytes are expected; without this call the end is not known.
    fn expect(&self, bytes: u64);

    /// So many bytes more are done.
    fn advance(&self, bytes: u64);

    /// Somebody else reads this file from now on, on the same open file: its position tells how far he is.
    fn follow(&self, input: OwnedFd);

    /// Time went by. Nobody has a thread for this: a process that starts another must have one thread only.
    fn tick(&self);
}

/// Between two ticks.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

impl Engine {
    /// Names who follows the operations of this engine; the first call counts.
    pub fn set_progress(&self, progress: Arc<dyn Progress>) {
        drop(self.progress.set(progress));
    }

    /// So many bytes are expected.
    pub fn expect(&self, bytes: u64) {
        if let Some(progress) = self.progress.get() {
            progress.expect(bytes);
        }
    }

    /// So many bytes more are done.
    pub fn advance(&self, bytes: u64) {
        if let Some(progress) = self.progress.get() {
            progress.advance(bytes);
        }
    }

    /// A confined process reads this file.
    pub fn follow(&self, input: impl AsFd) {
        if let Some(progress) = self.progress.get()
            && let Ok(same) = rustix::io::fcntl_dupfd_cloexec(input, 3)
        {
            progress.follow(same);
        }
    }

    /// Waits until something can be read, or the other end is closed; who follows hears of the time that goes by.
    pub fn wait_readable(&self, from: impl AsFd) {
        let Some(progress) = self.progress.get() else { return };
        loop {
            let mut fds = [PollFd::new(&from, PollFlags::IN)];
            match poll(&mut fds, Some(&TICK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => progress.tick(),
                // An error is for the read that follows to tell.
                _ => return,
            }
        }
    }
}
