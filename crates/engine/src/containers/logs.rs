//! `logs`: what a container wrote.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::monitor::log::{Entry, current, rotated};

/// What is to be shown.
#[derive(Debug, Clone, Default)]
pub struct LogsRequest {
    /// Name, id or unique start of an id.
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Nothing older: nanoseconds since 1970.
    pub since: Option<i64>,
}

/// A piece of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// It was written to standard error.
    pub stderr: bool,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// The bytes, with their line end.
    pub bytes: &'a [u8],
}

/// Files of a log, the oldest first.
fn files(layout: &Layout) -> Vec<PathBuf> {
    let dir = layout.log();
    let mut all: Vec<PathBuf> = (1..64).map(|n| rotated(&dir, n)).take_while(|p| p.exists()).collect();
    all.reverse();
    all.push(current(&dir));
    all
}

/// Reads whole entries from a file; a line that is still being written is left for the next time.
struct Reader {
    file: BufReader<File>,
    partial: Vec<u8>,
}

impl Reader {
    fn next(&mut self) -> std::io::Result<Option<Entry>> {
        loop {
            if self.file.read_until(b'\n', &mut self.partial)? == 0 || !self.partial.ends_with(b"\n") {
                return Ok(None);
            }
            let entry = serde_json::from_slice(&self.partial).ok();
            self.partial.clear();
            // A line that was damaged is passed over; the rest is worth reading.
            if entry.is_some() {
                return Ok(entry);
            }
        }
    }
}

/// Hands the log to `sink`, piece by piece, until it says no.
///
/// # Errors
/// An unknown container, or a log that cannot be read.
pub fn logs(
    engine: &Engine,
    request: &LogsRequest,
    sink: &mut dyn FnMut(Piece<'_>) -> bool,
) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(&request.container)?;
    let layout = Layout::new(&engine.paths, &record.id);
    let wanted = |e: &Entry| request.since.is_none_or(|s| e.time >= s);
    let mut show = |e: &Entry| sink(Piece { stderr: e.stream == "stderr", time: e.time, bytes: e.log.as_bytes() });
    let mut last: VecDeque<Entry> = VecDeque::new();
    let mut reader = None;
    for path in files(&layout) {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(EngineError::io("read the log", &path)(e)),
        };
        let mut one = Reader { file: BufReader::new(file), partial: Vec::new() };
        while let Some(entry) = one.next().map_err(EngineError::io("read the log", &path))? {
            if !wanted(&entry) {
                continue;
            }
            match request.tail {
                None => {
                    if !show(&entry) {
                        return Ok(());
                    }
                }
                Some(tail) => {
                    last.push_back(entry);
                    while u64::try_from(last.len()).unwrap_or(u64::MAX) > tail {
                        last.pop_front();
                    }
                }
            }
        }
        reader = Some(one);
    }
    if !last.iter().all(&mut show) {
        return Ok(());
    }
    if request.follow { follow(&layout, reader, &wanted, &mut show) } else { Ok(()) }
}

fn follow(
    layout: &Layout,
    reader: Option<Reader>,
    wanted: &dyn Fn(&Entry) -> bool,
    show: &mut dyn FnMut(&Entry) -> bool,
) -> Result<(), EngineError> {
    const PAUSE: Duration = Duration::from_millis(50);
    let path = current(&layout.log());
    let failed = || EngineError::io::<std::io::Error>("read the log", &path);
    let open = || File::open(&path).ok().map(|f| Reader { file: BufReader::new(f), partial: Vec::new() });
    let mut reader = reader.or_else(open);
    loop {
        // Looked at before reading: what was written before the end is then read for certain.
        let running = layout.read_state().is_some();
        while let Some(one) = reader.as_mut() {
            match one.next().map_err(failed())? {
                Some(entry) => {
                    if wanted(&entry) && !show(&entry) {
                        return Ok(());
                    }
                }
                None => break,
            }
        }
        let rotated_away = reader.as_ref().is_some_and(|r| !same_file(r.file.get_ref(), &path));
        if rotated_away || reader.is_none() {
            let next = open();
            if next.is_some() {
                reader = next;
                continue;
            }
        }
        if !running {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

fn same_file(file: &File, path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => true,
    }
}
