//! Limits on what a registry can make this crate do.

use std::time::Duration;

/// Limits of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one manifest or index. 4 MiB, which registries have to take.
    pub manifest: u64,
    /// Bytes of one configuration: as much as the unpacking process takes.
    pub config: u64,
    /// Bytes of one layer as it is stored.
    pub blob: u64,
    /// Bytes of all layers of an image.
    pub total: u64,
    /// Bytes of an answer that is only a message: tokens, errors.
    pub message: u64,
    /// Bytes of the head of an answer.
    pub head: usize,
    /// Redirects of one request.
    pub redirects: u32,
    /// Times that one request is made, when it fails in a way that may pass.
    pub attempts: u32,
    /// Times that one blob is asked for in all, when each brings something.
    pub pieces: u32,
    /// Wait after the first failure; it doubles with each. A server may ask for more, up to [`Limits::longest_wait`].
    pub first_wait: Duration,
    /// Longest wait between two attempts.
    pub longest_wait: Duration,
    /// Longest silence of the other side.
    pub silence: Duration,
    /// Bytes a second that a blob must bring on average over [`Limits::silence`].
    pub least_speed: u64,
    /// Layers at a time.
    pub parallel: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            manifest: 4 * MIB,
            config: 4 * MIB,
            blob: 64 * 1024 * MIB,
            total: 64 * 1024 * MIB,
            message: MIB,
            head: 64 << 10,
            redirects: 5,
            attempts: 5,
            pieces: 100,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_mins(1),
            silence: Duration::from_secs(30),
            least_speed: 1024,
            parallel: 4,
        }
    }
}

impl Limits {
    /// How long to wait after `failures` failures, when the other side asked for `asked`.
    #[must_use]
    pub fn wait(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.first_wait.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        asked.unwrap_or(doubled).max(self.first_wait).min(self.longest_wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let limits = Limits::default();
        let of = |failures, asked: Option<u64>| limits.wait(failures, asked.map(Duration::from_secs)).as_millis();
        assert_eq!([of(1, None), of(2, None), of(3, None), of(40, None)], [500, 1000, 2000, 60_000]);
        assert_eq!([of(1, Some(7)), of(1, Some(100_000)), of(3, Some(0))], [7000, 60_000, 500]);
    }
}
