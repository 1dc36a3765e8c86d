//! A sandbox whose user namespace is a child of another one, not of the caller's.
//!
//! Where links of a sandbox lead into a network namespace of an ordinary user, the kernel asks that one's owner for the right
//! over the sandbox's: the user namespace that has the network must be above that of the sandbox. So a go-between enters it,
//! makes the child there, and writes the id maps, which only somebody in there may. No set-user-id helper is needed: the ids
//! are those that the upper namespace has already.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use bulkhead_sys::Errno;
use bulkhead_sys::proc::Proc;

use crate::error::StartError;
use crate::maps::map_text;
use crate::spec::{IdMaps, IdRange};

/// The user namespace that those of sandboxes are made in. Every right in it is the caller's.
#[derive(Debug)]
pub struct Parent {
    /// Refers to it.
    pub namespace: OwnedFd,
    /// Ids that it has.
    pub ids: IdMaps,
}

/// Id maps as the upper namespace writes them.
#[derive(Debug)]
pub(crate) struct Maps {
    proc: Proc,
    uids: Vec<u8>,
    gids: Vec<u8>,
}

impl Maps {
    /// Ids of the host as the upper namespace has them.
    ///
    /// # Errors
    /// An id that it has not.
    pub(crate) fn new(ids: &IdMaps, parent: &Parent) -> Result<Self, StartError> {
        let text = |ranges: &[IdRange], upper: &[IdRange]| {
            let seen = seen_from(ranges, upper).ok_or_else(|| {
                StartError::parent(format!(
                    "map the ids {:?} in a namespace with {:?}: the user's subordinate ids were changed while containers \
                     of his ran; stop them all",
                    map_text(ranges).trim_end(),
                    map_text(upper).trim_end()
                ))(Errno::RANGE)
            })?;
            Ok::<_, StartError>(map_text(&seen).into_bytes())
        };
        let proc = Proc::host().map_err(StartError::parent("open /proc as a procfs"))?;
        Ok(Self { proc, uids: text(&ids.uids, &parent.ids.uids)?, gids: text(&ids.gids, &parent.ids.gids)? })
    }

    /// Writes them for a process, by one that is in the upper namespace. Child-safe.
    pub(crate) fn write(&self, pid: i32) -> Result<(), Errno> {
        let mut room = [0_u8; 24];
        self.proc.write(path(&mut room, pid, b"/uid_map")?, &self.uids)?;
        self.proc.write(path(&mut room, pid, b"/gid_map")?, &self.gids)
    }
}

/// `PID/NAME`, made without allocating.
fn path<'a>(room: &'a mut [u8; 24], pid: i32, name: &[u8]) -> Result<&'a CStr, Errno> {
    let mut left = pid.unsigned_abs();
    let mut digits = [0_u8; 10];
    let mut first = digits.len();
    loop {
        first -= 1;
        let digit = u8::try_from(left % 10).unwrap_or(0);
        *digits.get_mut(first).ok_or(Errno::RANGE)? = b'0' + digit;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    *room = [0; 24];
    let bytes = digits.iter().skip(first).chain(name);
    // The last byte stays a zero.
    for (to, from) in room.iter_mut().take(23).zip(bytes) {
        *to = *from;
    }
    CStr::from_bytes_until_nul(room).map_err(|_| Errno::RANGE)
}

/// Ranges whose outside is the host's, with an outside that is the inside of `upper`.
fn seen_from(ranges: &[IdRange], upper: &[IdRange]) -> Option<Vec<IdRange>> {
    let mut seen = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut done = 0;
        while done < range.count {
            let outside = range.outside.checked_add(done)?;
            let holds = |u: &&IdRange| outside.checked_sub(u.outside).is_some_and(|at| at < u.count);
            let at = upper.iter().find(holds)?;
            let skipped = outside - at.outside;
            let count = (at.count - skipped).min(range.count - done);
            seen.push(IdRange { inside: range.inside + done, outside: at.inside + skipped, count });
            done += count;
        }
    }
    Some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange { inside, outside, count }
    }

    #[test]
    fn ids_of_the_host_are_those_of_the_namespace_above() {
        let upper = [range(0, 1000, 1), range(1, 100_000, 65_535)];
        let own = [range(0, 1000, 1), range(1, 100_000, 65_535)];
        assert_eq!(seen_from(&own, &upper).unwrap(), [range(0, 0, 1), range(1, 1, 65_535)]);
        assert_eq!(seen_from(&[range(0, 100_004, 10)], &upper).unwrap(), [range(0, 5, 10)]);
        // One range may lie in several.
        let upper = [range(10, 500, 5), range(0, 505, 5)];
        assert_eq!(seen_from(&[range(7, 503, 4)], &upper).unwrap(), [range(7, 13, 2), range(9, 0, 2)]);
        for other in [range(0, 999, 1), range(0, 1001, 1), range(0, 165_534, 2), range(0, u32::MAX, 2)] {
            assert_eq!(seen_from(&[other], &[range(0, 1000, 1), range(1, 100_000, 65_535)]), None, "{other:?}");
        }
    }

    #[test]
    fn paths_are_made_of_numbers() {
        let mut room = [0; 24];
        for (pid, wanted) in [(1, "1/uid_map"), (4_194_304, "4194304/uid_map"), (i32::MAX, "2147483647/uid_map")] {
            assert_eq!(path(&mut room, pid, b"/uid_map").unwrap().to_str(), Ok(wanted));
        }
    }
}
