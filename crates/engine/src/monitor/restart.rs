//! Whether a container is started again, and after how long.

use std::time::Duration;

use crate::request::RestartPolicy;

/// Before the first restart, as Docker has it.
const FIRST: Duration = Duration::from_millis(100);
/// Never longer than this.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length was a success: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(10);

/// Counts restarts and doubles the pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pause: Duration,
    /// Restarts so far.
    pub(crate) restarts: u32,
    /// Failures in a row, for `on-failure:N`.
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: Duration::ZERO, restarts: 0, failures: 0 }
    }
}

impl Backoff {
    /// The pause before the next run, or nothing when there is none. `ran`: how long the last one was.
    pub(crate) fn next(&mut self, policy: RestartPolicy, code: u32, ran: Duration) -> Option<Duration> {
        let again = match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure(most) => code != 0 && (most == 0 || self.failures < most),
        };
        if !again {
            return None;
        }
        self.pause = match ran >= GOOD || self.pause.is_zero() {
            true => FIRST,
            false => (self.pause * 2).min(LONGEST),
        };
        self.failures = if code == 0 { 0 } else { self.failures.saturating_add(1) };
        self.restarts = self.restarts.saturating_add(1);
        Some(self.pause)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, LONGEST};
    use crate::request::RestartPolicy;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_good_run() {
        let mut backoff = Backoff::default();
        let mut next = |ran| backoff.next(RestartPolicy::Always, 1, Duration::from_secs(ran)).unwrap();
        let pauses: Vec<u128> = (0..4).map(|_| next(0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800]);
        assert_eq!(next(10).as_millis(), 100);
        let last = (0..30).map(|_| next(0)).last().unwrap();
        assert_eq!(last, LONGEST);
    }

    #[test]
    fn failures_are_counted_and_successes_are_not_restarted() {
        let mut backoff = Backoff::default();
        let policy = RestartPolicy::OnFailure(2);
        assert!(backoff.next(policy, 1, Duration::ZERO).is_some());
        assert!(backoff.next(policy, 1, Duration::ZERO).is_some());
        assert_eq!(backoff.next(policy, 1, Duration::ZERO), None);
        assert_eq!(Backoff::default().next(policy, 0, Duration::ZERO), None);
        assert_eq!(Backoff::default().next(RestartPolicy::No, 1, Duration::ZERO), None);
        assert!(Backoff::default().next(RestartPolicy::UnlessStopped, 0, Duration::ZERO).is_some());
        assert_eq!(backoff.restarts, 2);
    }
}
