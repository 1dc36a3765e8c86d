//! How far something is that takes longer than a second: a bar on a terminal, a line now and then elsewhere; on stderr,
//! so that nobody who reads the output sees it.

use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// Shows the progress of one operation until it is dropped. It is drawn when the engine reports something or lets it
/// tick: a thread for it would keep the engine from starting processes.
#[derive(Debug)]
pub struct Bar(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What is being done: `loading alpine.tar`.
    what: String,
    begun: Instant,
    /// Standard error is a terminal.
    terminal: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    done: u64,
    total: Option<u64>,
    input: Option<OwnedFd>,
    /// Not drawn again before.
    next: Instant,
    drawn: bool,
}

impl State {
    fn done(&self) -> u64 {
        self.input.as_ref().and_then(|input| rustix::fs::tell(input).ok()).unwrap_or(self.done)
    }
}

impl Shared {
    fn new(what: String) -> Shared {
        let begun = Instant::now();
        let state = State { done: 0, total: None, input: None, next: begun + PATIENCE, drawn: false };
        Shared { what, begun, terminal: std::io::stderr().is_terminal(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws when it is time.
    fn draw(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        if now < state.next {
            return;
        }
        state.next = now + if self.terminal { FRAME } else { LINE };
        state.drawn = true;
        let line = line(&self.what, state.done(), state.total, now - self.begun, self.terminal);
        let text = if self.terminal {
            format!("\r{}\x1b[K", human::ellipsis(&line, columns().saturating_sub(1)))
        } else {
            format!("{line}\n")
        };
        // Whoever closed stderr does not want to know.
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }
}

impl Progress for Shared {
    fn expect(&self, bytes: u64) {
        self.state().total = Some(bytes);
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.state();
        state.done = state.done.saturating_add(bytes);
        self.draw(state);
    }

    fn follow(&self, input: OwnedFd) {
        let size = rustix::fs::fstat(&input).ok().and_then(|stat| u64::try_from(stat.st_size).ok());
        // A pipe has no position: then only the time is shown.
        if rustix::fs::tell(&input).is_ok() {
            let mut state = self.state();
            state.total = size.filter(|size| *size > 0);
            state.input = Some(input);
        }
    }

    fn tick(&self) {
        self.draw(self.state());
    }
}

impl Bar {
    /// Begins; `what` says what is being done.
    pub fn start(what: impl Into<String>) -> Bar {
        Bar(Arc::new(Shared::new(what.into())))
    }

    /// To whom the engine reports.
    #[must_use]
    pub fn reports(&self) -> Arc<dyn Progress> {
        Arc::<Shared>::clone(&self.0)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let mut state = self.0.state();
        // Who reports later has nobody who looks: a terminal is left as it was.
        state.next += Duration::from_secs(u64::from(u32::MAX));
        if state.drawn && self.0.terminal {
            drop(std::io::stderr().lock().write_all(b"\r\x1b[K"));
        }
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
        let shared = Shared::new(String::new());
        shared.follow(file.try_clone().unwrap().into());
        file.read_exact(&mut [0; 30]).unwrap();
        let state = shared.state();
        assert_eq!((state.done(), state.total), (30, Some(100)));
    }

    #[test]
    fn what_is_reported_adds_up_and_is_not_drawn_at_once() {
        let bar = Bar::start("x");
        let reports = bar.reports();
        reports.expect(10);
        reports.advance(3);
        reports.advance(4);
        reports.tick();
        let state = bar.0.state();
        assert_eq!((state.done(), state.total, state.drawn), (7, Some(10), false));
        drop(state);
        drop(bar);
    }

    fn tempfile() -> std::fs::File {
        let fd = rustix::fs::memfd_create("progress", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(fd);
        file.write_all(&[7; 100]).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    }
}
