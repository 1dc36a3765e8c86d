//! `logs`: what a container wrote.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::{Layout, now};
use crate::monitor::log::{Entry, current, rotated};

/// What is to be shown.
#[derive(Debug, Clone, Default)]
pub struct LogsRequest {
    /// Name, id or unique start of an id.
    pub container: String,
    /// Go on until the container ends for good.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Nothing older: nanoseconds since 1970.
    pub since: Option<i64>,
    /// Nothing newer: nanoseconds since 1970.
    pub until: Option<i64>,
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

/// Reads whole entries from a file; a line that is still being written is left for the next time.
struct Reader {
    file: BufReader<File>,
    /// Device and inode: the name changes when the log is rotated.
    id: (u64, u64),
    path: PathBuf,
    partial: Vec<u8>,
}

impl Reader {
    fn open(path: PathBuf) -> Result<Option<Self>, EngineError> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(EngineError::io("read the log", &path)(e)),
        };
        let meta = file.metadata().map_err(EngineError::io("read the log", &path))?;
        let id = (meta.dev(), meta.ino());
        Ok(Some(Self { file: BufReader::new(file), id, path, partial: Vec::new() }))
    }

    fn next(&mut self) -> Result<Option<Entry>, EngineError> {
        loop {
            let read = self.file.read_until(b'\n', &mut self.partial);
            let read = read.map_err(EngineError::io("read the log", &self.path))?;
            if read == 0 || !self.partial.ends_with(b"\n") {
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

/// The files of a log, the oldest first. They are opened before one is read, so that none is missed or read twice when
/// the log is rotated meanwhile.
fn open_all(layout: &Layout) -> Result<Vec<Reader>, EngineError> {
    const ATTEMPTS: u32 = 20;
    let dir = layout.log();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut all = Vec::new();
        for path in (1..64).map(|n| rotated(&dir, n)).take_while(|p| p.exists()) {
            all.extend(Reader::open(path)?);
        }
        all.reverse();
        all.extend(Reader::open(current(&dir))?);
        let there = |one: &Reader| std::fs::metadata(&one.path).is_ok_and(|m| (m.dev(), m.ino()) == one.id);
        if attempt == ATTEMPTS || all.iter().all(there) {
            return Ok(all);
        }
    }
}

/// Hands the log to `sink`, piece by piece, until it says no.
///
/// # Errors
/// An unknown container, one whose output is not kept, or a log that cannot be read.
pub fn logs(
    engine: &Engine,
    request: &LogsRequest,
    sink: &mut dyn FnMut(Piece<'_>) -> bool,
) -> Result<(), EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(&request.container)?;
    if record.request.log.none {
        return Err(EngineError::State {
            name: record.name.clone(),
            state: "without a log: configured logging driver does not support reading".to_owned(),
            hint: "it was made with --log-driver none, which keeps no output".to_owned(),
        });
    }
    let layout = Layout::new(&engine.paths, &record.id);
    let mut show = |e: &Entry| {
        let wanted = request.since.is_none_or(|s| e.time >= s);
        // Entries are in the order of time, but for a clock that was set.
        let over = request.until.is_some_and(|u| e.time > u);
        !over && (!wanted || sink(Piece { stderr: e.stream == "stderr", time: e.time, bytes: e.log.as_bytes() }))
    };
    let mut files = open_all(&layout)?;
    match request.tail {
        None => {
            for file in &mut files {
                while let Some(entry) = file.next()? {
                    if !show(&entry) {
                        return Ok(());
                    }
                }
            }
        }
        Some(tail) => {
            let inside =
                |e: &Entry| request.since.is_none_or(|s| e.time >= s) && request.until.is_none_or(|u| e.time <= u);
            if !last(&mut files, tail, inside)?.iter().all(&mut show) {
                return Ok(());
            }
        }
    }
    match request.follow {
        true => follow(engine, &layout, files.pop(), request.until, &mut show),
        false => Ok(()),
    }
}

/// The last entries that are wanted.
fn last(files: &mut [Reader], tail: u64, inside: impl Fn(&Entry) -> bool) -> Result<VecDeque<Entry>, EngineError> {
    let mut last = VecDeque::new();
    for file in files {
        while let Some(entry) = file.next()? {
            if inside(&entry) {
                last.push_back(entry);
            }
            while u64::try_from(last.len()).unwrap_or(u64::MAX) > tail {
                last.pop_front();
            }
        }
    }
    Ok(last)
}

/// Goes on until the container has ended for good: between two runs of one that is started again it does not end.
fn follow(
    engine: &Engine,
    layout: &Layout,
    mut reader: Option<Reader>,
    until: Option<i64>,
    show: &mut dyn FnMut(&Entry) -> bool,
) -> Result<(), EngineError> {
    const PAUSE: Duration = Duration::from_millis(50);
    const SETTLE: Duration = Duration::from_secs(1);
    let mut settled = Instant::now();
    loop {
        // Looked at before reading: what was written before the end is then read for certain.
        let running = layout.read_state().is_some();
        let over = until.is_some_and(|u| now() > u);
        if !drain(&mut reader, show)? {
            return Ok(());
        }
        if let Some(next) = newer(layout, reader.as_ref())? {
            // What was written before the file was moved away is in it still.
            if !drain(&mut reader, show)? {
                return Ok(());
            }
            reader = Some(next);
            continue;
        }
        if !running || over {
            return Ok(());
        }
        if settled.elapsed() > SETTLE {
            // A monitor that was killed writes no end: this does.
            engine.recover()?;
            settled = Instant::now();
        }
        std::thread::sleep(PAUSE);
    }
}

/// Shows what is in a file; false when no more is wanted.
fn drain(reader: &mut Option<Reader>, show: &mut dyn FnMut(&Entry) -> bool) -> Result<bool, EngineError> {
    while let Some(entry) = reader.as_mut().map(Reader::next).transpose()?.flatten() {
        if !show(&entry) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The file after the one that is being read, when there is one: the log may have been rotated several times. When the
/// own one is gone, the oldest that is left.
fn newer(layout: &Layout, reader: Option<&Reader>) -> Result<Option<Reader>, EngineError> {
    let Some(reader) = reader else { return Reader::open(current(&layout.log())) };
    let here = std::fs::metadata(current(&layout.log())).ok().map(|m| (m.dev(), m.ino()));
    if here == Some(reader.id) {
        return Ok(None);
    }
    let mut all = open_all(layout)?;
    let next = all.iter().position(|one| one.id == reader.id).map_or(0, |at| at + 1);
    Ok((next < all.len()).then(|| all.swap_remove(next)))
}

#[cfg(test)]
mod tests {
    use super::{Reader, newer, open_all};
    use crate::layout::Layout;
    use crate::monitor::log::{LogLimits, LogWriter, Stream, current};

    fn layout(dir: &std::path::Path) -> Layout {
        std::fs::create_dir_all(dir.join("c/log")).unwrap();
        Layout { dir: dir.join("c"), run: dir.join("r") }
    }

    #[test]
    fn a_follower_goes_through_all_files_of_several_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let limits = LogLimits { size: 300, files: 10 };
        let mut log = LogWriter::new(&layout.log(), limits).unwrap();
        log.push(Stream::Out, b"line 0\n").unwrap();
        let mut reader = Reader::open(current(&layout.log())).unwrap();
        for n in 1..20 {
            log.push(Stream::Out, format!("line {n}\n").as_bytes()).unwrap();
        }
        assert!(open_all(&layout).unwrap().len() > 3, "it was rotated");
        let mut seen = Vec::new();
        loop {
            super::drain(&mut reader, &mut |e| {
                seen.push(e.log.clone());
                true
            })
            .unwrap();
            match newer(&layout, reader.as_ref()).unwrap() {
                Some(next) => reader = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, (0..20).map(|n| format!("line {n}\n")).collect::<Vec<_>>());
    }
}
