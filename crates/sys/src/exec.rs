//! Starting a program: `execve(2)` on argument vectors that were prepared before the clone.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Errno, check};

/// A null-terminated vector of C strings, ready for `execve`.
#[derive(Debug)]
pub struct ArgVec {
    /// Owns what `pointers` points to; never changed after construction.
    _strings: Vec<CString>,
    /// The last but one is a place for one more string.
    pointers: Vec<Cell<*const libc::c_char>>,
}

impl ArgVec {
    /// Prepares the vector; allocates, so it is called before a clone.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|s| Cell::new(s.as_ptr())).collect();
        pointers.extend([Cell::new(core::ptr::null()), Cell::new(core::ptr::null())]);
        Self { _strings: strings, pointers }
    }

    /// Adds one string for the time of `then`. Child-safe.
    pub fn with<T>(&self, more: Option<&CStr>, then: impl FnOnce() -> T) -> T {
        let place = self.pointers.len().checked_sub(2).and_then(|at| self.pointers.get(at));
        if let (Some(place), Some(more)) = (place, more) {
            place.set(more.as_ptr());
        }
        let done = then();
        if let Some(place) = place {
            place.set(core::ptr::null());
        }
        done
    }
}

/// Replaces the process by the first of `candidates` that can be started, as `execvp(3)` searches `PATH`. Child-safe.
///
/// Returns only on failure: the first error that says more than "not there", else `ENOENT`.
pub fn exec_first(candidates: &[CString], args: &ArgVec, env: &ArgVec) -> Errno {
    let mut worst = Errno::NOENT;
    for path in candidates {
        let error = exec(path, args, env);
        match error {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS if worst == Errno::NOENT => worst = Errno::ACCESS,
            Errno::ACCESS => {}
            other => return other,
        }
    }
    worst
}

fn exec(path: &CStr, args: &ArgVec, env: &ArgVec) -> Errno {
    // SAFETY: `path` is null-terminated; both vectors are null-terminated arrays of pointers into strings that the
    // `ArgVec`s own and that live until the process image is replaced.
    let value =
        check(unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) });
    value.err().unwrap_or(Errno::NOEXEC)
}

/// Replaces the process by the program that `file` refers to (`execveat(2)`, `AT_EMPTY_PATH`). Child-safe.
///
/// Returns only on failure.
pub fn exec_fd(file: BorrowedFd<'_>, args: &ArgVec, env: &ArgVec) -> Errno {
    // SAFETY: as in `exec`; the empty path is a static null-terminated string.
    let value = check(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.pointers.as_ptr(),
            env.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    });
    value.err().unwrap_or(Errno::NOEXEC)
}
