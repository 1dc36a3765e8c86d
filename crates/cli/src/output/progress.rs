//! How far something is that takes longer than a second: a bar on a terminal, a line now and then elsewhere; on stderr,
//! so that nobody who reads the output sees it.

use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bulkhead_engine::Progress;

use super::human;

/// Nothing is shown before.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two pictures of the bar.
const FRAME: Duration = Duration::from_millis(100);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// Characters of the bar.
const BAR: usize = 24;

/// Shows the progress of one operation until it is dropped.
#[derive(Debug)]
pub struct Bar {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// What is being done: `loading alpine.tar`.
    what: String,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    done: u64,
    total: Option<u64>,
    input: Option<OwnedFd>,
    over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Shared {
    fn expect(&self, bytes: u64) {
        self.state().total = Some(bytes);
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.state();
        state.done = state.done.saturating_add(bytes);
    }

    fn follow(&self, input: OwnedFd) {
        // A pipe has no position: then only the time is shown.
        let size = rustix::fs::fstat(&input).ok().and_then(|stat| u64::try_from(stat.st_size).ok());
        let mut state = self.state();
        if rustix::fs::tell(&input).is_ok() {
            state.total = size.filter(|size| *size > 0);
            state.input = Some(input);
        }
    }
}

impl State {
    fn done(&self) -> u64 {
        self.input.as_ref().and_then(|input| rustix::fs::tell(input).ok()).unwrap_or(self.done)
    }
}

impl Bar {
    /// Begins; `what` says what is being done. `None` when no thread can be started: then nothing is shown.
    pub fn start(what: impl Into<String>) -> Option<Bar> {
        let shared = Arc::new(Shared { what: what.into(), state: Mutex::default(), wake: Condvar::new() });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || show(&theirs)).ok()?;
        Some(Bar { shared, thread: Some(thread) })
    }

    /// To whom the engine reports.
    #[must_use]
    pub fn reports(&self) -> Arc<dyn Progress> {
        Arc::<Shared>::clone(&self.shared)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but what it wrote.
            drop(thread.join());
        }
    }
}

/// Draws until the operation is over, and leaves a terminal as it was.
fn show(shared: &Shared) {
    let terminal = std::io::stderr().is_terminal();
    let begun = Instant::now();
    let mut wait = PATIENCE;
    let mut drawn = false;
    loop {
        let state = shared.state();
        let not_over = |state: &mut State| !state.over;
        let (state, _) = shared.wake.wait_timeout_while(state, wait, not_over).unwrap_or_else(PoisonError::into_inner);
        if state.over {
            break;
        }
        let (done, total) = (state.done(), state.total);
        drop(state);
        let line = line(&shared.what, done, total, begun.elapsed(), terminal);
        let text = if terminal {
            format!("\r{}\x1b[K", human::ellipsis(&line, columns().saturating_sub(1)))
        } else {
            format!("{line}\n")
        };
        // Whoever closed stderr does not want to know.
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
        drawn = terminal;
        wait = if terminal { FRAME } else { LINE };
    }
    if drawn {
        drop(std::io::stderr().lock().write_all(b"\r\x1b[K"));
    }
}

/// Columns of the terminal that stderr is.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}

fn line(what: &str, done: u64, total: Option<u64>, since: Duration, bar: bool) -> String {
    let what = super::escape::cell(what);
    let seconds = since.as_secs();
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let part = |of: usize| {
                let of = u128::try_from(of).unwrap_or_default();
                usize::try_from(u128::from(done.min(total)) * of / u128::from(total)).unwrap_or_default()
            };
            let full = part(BAR);
            let bar = if bar { format!("[{}{}] ", "=".repeat(full), " ".repeat(BAR - full)) } else { String::new() };
            let (so_far, all) = (human::size(done), human::size(total));
            format!("{what}: {bar}{}% ({so_far} of {all}), {seconds}s", part(100))
        }
        None if done > 0 => format!("{what}: {}, {seconds}s", human::size(done)),
        None => format!("{what}: {seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, SeekFrom};

    #[test]
    fn lines_tell_what_is_known() {
        let after = Duration::from_secs(3);
        assert_eq!(line("loading a.tar", 0, None, after, true), "loading a.tar: 3s");
        assert_eq!(line("saving", 2_000_000, None, after, false), "saving: 2MB, 3s");
        assert_eq!(line("loading", 250, Some(1000), after, false), "loading: 25% (250B of 1kB), 3s");
        let drawn = line("loading", 500, Some(1000), after, true);
        assert_eq!(drawn, format!("loading: [{}{}] 50% (500B of 1kB), 3s", "=".repeat(12), " ".repeat(12)));
        assert!(line("x", 5000, Some(1000), after, true).contains("100%"));
        assert_eq!(line("a\x1bb", 0, None, after, true), "a\\x1bb: 3s");
    }

    #[test]
    fn a_file_that_is_read_elsewhere_is_followed() {
        let mut file = tempfile();
        let shared = Shared { what: String::new(), state: Mutex::default(), wake: Condvar::new() };
        shared.follow(file.try_clone().unwrap().into());
        file.read_exact(&mut [0; 30]).unwrap();
        let state = shared.state();
        assert_eq!((state.done(), state.total), (30, Some(100)));
    }

    #[test]
    fn what_is_reported_adds_up() {
        let bar = Bar::start("x").unwrap();
        let reports = bar.reports();
        reports.expect(10);
        reports.advance(3);
        reports.advance(4);
        let state = bar.shared.state();
        assert_eq!((state.done(), state.total), (7, Some(10)));
        drop(state);
        let before = Instant::now();
        drop(bar);
        assert!(before.elapsed() < PATIENCE, "an operation must not wait for its bar");
    }

    fn tempfile() -> std::fs::File {
        let fd = rustix::fs::memfd_create("progress", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(fd);
        file.write_all(&[7; 100]).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }
}
