//! Who follows operations that take long.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::engine::Engine;

/// Follows an operation that takes long. Its functions are called often and must be cheap.
pub trait Progress: std::fmt::Debug + Send + Sync {
    /// So many bytes are expected; without this call the end is not known.
    fn expect(&self, bytes: u64);

    /// So many bytes more are done.
    fn advance(&self, bytes: u64);

    /// Somebody else reads this file from now on, on the same open file: its position tells how far he is.
    fn follow(&self, input: OwnedFd);
}

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
}
