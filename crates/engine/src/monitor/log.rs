//! The container's log: JSON lines as Docker's `json-file` driver writes them, bounded by rotation.
//!
//! Escape sequences are kept as they came; what shows a log to a terminal neutralises them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest piece of a line in one entry, in bytes; a longer line goes on in the next entry, as Docker does it.
pub(crate) const PIECE: usize = 16 * 1024;

/// Bounds of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Bytes of one file.
    pub size: u64,
    /// Files, the current one included.
    pub files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { size: 10 << 20, files: 3 }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What was written, with its line end if it had one; bytes that are no UTF-8 are replaced.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Nanoseconds since 1970.
    pub time: i64,
}

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Out => 0,
            Self::Err => 1,
        }
    }
}

/// Writes a log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    dir: PathBuf,
    limits: LogLimits,
    file: File,
    written: u64,
    /// Begun lines of both streams.
    pending: [Vec<u8>; 2],
    /// Whole entries on their way to the file: one write for all that one read brought.
    ready: Vec<u8>,
}

/// The current file of a log directory.
pub(crate) fn current(dir: &Path) -> PathBuf {
    dir.join("container.log")
}

/// An older file; 1 is the newest of them.
pub(crate) fn rotated(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("container.log.{number}"))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

impl LogWriter {
    pub(crate) fn new(dir: &Path, limits: LogLimits) -> io::Result<Self> {
        let file = open(&current(dir))?;
        let written = file.metadata()?.len();
        Ok(Self { dir: dir.to_path_buf(), limits, file, written, pending: [Vec::new(), Vec::new()], ready: Vec::new() })
    }

    /// Takes bytes of a stream; whole lines and long pieces are written.
    pub(crate) fn push(&mut self, stream: Stream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Some(pending) = self.pending.get_mut(stream.index()) else { return Ok(()) };
            let room = PIECE.saturating_sub(pending.len()).max(1);
            let take = bytes.iter().take(room).position(|b| *b == b'\n').map_or(room.min(bytes.len()), |at| at + 1);
            let (piece, rest) = bytes.split_at(take);
            pending.extend_from_slice(piece);
            bytes = rest;
            if piece.ends_with(b"\n") || pending.len() >= PIECE {
                self.flush(stream)?;
            }
        }
        self.write_ready()
    }

    /// Writes what is left of both streams.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.flush(Stream::Out)?;
        self.flush(Stream::Err)?;
        self.write_ready()
    }

    fn flush(&mut self, stream: Stream) -> io::Result<()> {
        let Some(pending) = self.pending.get_mut(stream.index()) else { return Ok(()) };
        if pending.is_empty() {
            return Ok(());
        }
        let entry = Entry {
            log: String::from_utf8_lossy(pending).into_owned(),
            stream: stream.name().to_owned(),
            time: crate::layout::now(),
        };
        pending.clear();
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.written > 0 && self.written.saturating_add(length) > self.limits.size {
            self.rotate()?;
        }
        self.ready.extend_from_slice(&line);
        self.written = self.written.saturating_add(length);
        Ok(())
    }

    fn write_ready(&mut self) -> io::Result<()> {
        let result = self.file.write_all(&self.ready);
        // What could not be written is lost; the next lines may find room again.
        self.ready.clear();
        result
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.write_ready()?;
        let older = self.limits.files.saturating_sub(1);
        for number in (1..older).rev() {
            match std::fs::rename(rotated(&self.dir, number), rotated(&self.dir, number + 1)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if older == 0 {
            std::fs::remove_file(current(&self.dir))?;
        } else {
            std::fs::rename(current(&self.dir), rotated(&self.dir, 1))?;
        }
        self.file = open(&current(&self.dir))?;
        self.written = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, LogLimits, LogWriter, PIECE, Stream, current, rotated};

    fn lines(path: &std::path::Path) -> Vec<Entry> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("bulkhead-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn lines_are_kept_apart_by_stream_and_long_ones_are_cut() {
        let dir = scratch("lines");
        let mut log = LogWriter::new(&dir, LogLimits::default()).unwrap();
        log.push(Stream::Out, b"he").unwrap();
        log.push(Stream::Err, b"oops\n").unwrap();
        log.push(Stream::Out, b"llo\nrest").unwrap();
        log.push(Stream::Err, &vec![b'x'; PIECE + 1]).unwrap();
        log.finish().unwrap();
        let got: Vec<(String, usize)> = lines(&current(&dir)).into_iter().map(|e| (e.stream, e.log.len())).collect();
        let want = [("stderr", 5), ("stdout", 6), ("stderr", PIECE), ("stdout", 4), ("stderr", 1)];
        assert_eq!(got, want.map(|(s, n)| (s.to_owned(), n)));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_log_never_grows_past_its_bounds() {
        let dir = scratch("rotate");
        let limits = LogLimits { size: 1000, files: 3 };
        let mut log = LogWriter::new(&dir, limits).unwrap();
        for i in 0..200 {
            log.push(Stream::Out, format!("line {i}\n").as_bytes()).unwrap();
        }
        let sizes: Vec<u64> =
            [current(&dir), rotated(&dir, 1), rotated(&dir, 2)].iter().map(|p| p.metadata().unwrap().len()).collect();
        assert!(sizes.iter().all(|s| *s <= 1000), "{sizes:?}");
        assert!(!rotated(&dir, 3).exists());
        assert_eq!(lines(&current(&dir)).last().unwrap().log, "line 199\n");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
