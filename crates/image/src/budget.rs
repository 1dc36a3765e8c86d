//! Limits on everything that an input can make this crate do.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::error::{ImageError, Result};

/// Limits of one operation. Every field can be raised by the caller; the errors name the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes written into unpacked files, and separately bytes of blobs kept on the way. Default 64 GiB.
    pub bytes: u64,
    /// Files, directories and links made, and archive entries read. Default 2,000,000.
    pub entries: u64,
    /// Components of one path. Default 128.
    pub depth: u64,
    /// Bytes of one path. Default 4,095, the most that the kernel takes.
    pub path: u64,
    /// Bytes of one JSON document. Default 4 MiB.
    pub document: u64,
    /// Layers of one image. Default 127.
    pub layers: u64,
    /// Bytes of one extended header (PAX record block, GNU long name). Default 1 MiB.
    pub header: u64,
    /// Bytes of all extended headers of one archive. Default 1 GiB.
    pub headers: u64,
    /// Bytes kept in memory about directories until their times can be set. Default 64 MiB.
    pub directories: u64,
    /// Wall clock time of the whole operation. Default 30 minutes.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            bytes: 64 * 1024 * MIB,
            entries: 2_000_000,
            depth: 128,
            path: 4_095,
            document: 4 * MIB,
            layers: 127,
            header: MIB,
            headers: 1024 * MIB,
            directories: 64 * MIB,
            time: Duration::from_mins(30),
        }
    }
}

/// What is left of a [`Budget`].
#[derive(Clone, Debug)]
pub struct Meter {
    budget: Budget,
    bytes: u64,
    spooled: u64,
    entries: u64,
    directories: u64,
    deadline: Instant,
}

impl Meter {
    /// Starts the clock.
    #[must_use]
    pub fn new(budget: &Budget) -> Self {
        let now = Instant::now();
        // A time beyond what the clock can hold is as good as a century.
        let deadline = now.checked_add(budget.time).unwrap_or_else(|| now + Duration::from_secs(3_155_760_000));
        Self { budget: budget.clone(), bytes: 0, spooled: 0, entries: 0, directories: 0, deadline }
    }

    /// The limits this meter was made with.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes `n` bytes of unpacked content, before they are written.
    ///
    /// # Errors
    /// [`ImageError::Limit`] naming `bytes`.
    pub fn take_bytes(&mut self, n: u64) -> Result<()> {
        take(&mut self.bytes, n, self.budget.bytes, "bytes", "unpacked bytes")
    }

    /// Takes `n` bytes of stored blobs, before they are written.
    ///
    /// # Errors
    /// [`ImageError::Limit`] naming `bytes`.
    pub fn take_spool(&mut self, n: u64) -> Result<()> {
        take(&mut self.spooled, n, self.budget.bytes, "bytes", "stored bytes")
    }

    /// Takes one entry, and looks at the clock.
    ///
    /// # Errors
    /// [`ImageError::Limit`] naming `entries` or `time`.
    pub fn take_entry(&mut self) -> Result<()> {
        take(&mut self.entries, 1, self.budget.entries, "entries", "entries")?;
        self.check_time()
    }

    /// Takes `n` bytes of memory for what is remembered about a directory.
    ///
    /// # Errors
    /// [`ImageError::Limit`] naming `directories`.
    pub fn take_directory(&mut self, n: u64) -> Result<()> {
        take(&mut self.directories, n, self.budget.directories, "directories", "bytes of directory names")
    }

    /// Gives back the memory for directories, at the end of a layer.
    pub(crate) fn release_directories(&mut self) {
        self.directories = 0;
    }

    /// Refuses a path that is too long or too deep.
    ///
    /// # Errors
    /// [`ImageError::Limit`] naming `path` or `depth`.
    pub fn check_path(&self, bytes: u64, depth: u64) -> Result<()> {
        below(bytes, self.budget.path, "path", "bytes in a path")?;
        below(depth, self.budget.depth, "depth", "components in a path")
    }

    /// Refuses a document of more than the allowed size, in bytes.
    ///
    /// # Errors
    /// [`ImageError::Limit`] naming `document`.
    pub fn check_document(&self, bytes: u64) -> Result<()> {
        below(bytes, self.budget.document, "document", "bytes in a JSON document")
    }

    /// Refuses an image of too many layers.
    ///
    /// # Errors
    /// [`ImageError::Limit`] naming `layers`.
    pub fn check_layers(&self, layers: u64) -> Result<()> {
        below(layers, self.budget.layers, "layers", "layers in an image")
    }

    /// Looks at the clock.
    ///
    /// # Errors
    /// [`ImageError::Limit`] naming `time`.
    pub fn check_time(&self) -> Result<()> {
        past(self.deadline, self.budget.time)
    }

    /// `inner`, failing once the time is over. A read that blocks in the kernel is not interrupted by this: who runs
    /// the worker must also have a clock.
    pub(crate) fn guard<R>(&self, inner: R) -> Guard<R> {
        Guard { inner, deadline: self.deadline, time: self.budget.time }
    }
}

fn past(deadline: Instant, time: Duration) -> Result<()> {
    if Instant::now() > deadline {
        return Err(ImageError::Limit { limit: "time", allowed: time.as_secs(), unit: "seconds" });
    }
    Ok(())
}

fn below(value: u64, allowed: u64, limit: &'static str, unit: &'static str) -> Result<()> {
    if value > allowed { Err(ImageError::Limit { limit, allowed, unit }) } else { Ok(()) }
}

fn take(used: &mut u64, n: u64, allowed: u64, limit: &'static str, unit: &'static str) -> Result<()> {
    let sum = used.saturating_add(n);
    below(sum, allowed, limit, unit)?;
    *used = sum;
    Ok(())
}

/// Reader with a deadline.
#[derive(Debug)]
pub(crate) struct Guard<R> {
    inner: R,
    deadline: Instant,
    time: Duration,
}

impl<R> Guard<R> {
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        past(self.deadline, self.time).map_err(io::Error::other)?;
        self.inner.read(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_limit_and_value() {
        let mut meter = Meter::new(&Budget { bytes: 10, entries: 1, ..Budget::default() });
        meter.take_bytes(10).unwrap();
        let error = meter.take_bytes(1).unwrap_err().to_string();
        assert!(error.contains("`bytes`") && error.contains("10") && error.contains("raise"), "{error}");
        assert!(meter.take_bytes(u64::MAX).is_err());
        meter.take_entry().unwrap();
        assert!(meter.take_entry().unwrap_err().to_string().contains("`entries`"));
        assert!(meter.check_path(5000, 1).unwrap_err().to_string().contains("`path`"));
        assert!(meter.check_path(5, 1000).unwrap_err().to_string().contains("`depth`"));
    }

    #[test]
    fn time_runs_out_in_the_middle_of_a_stream() {
        let meter = Meter::new(&Budget { time: Duration::ZERO, ..Budget::default() });
        std::thread::sleep(Duration::from_millis(2));
        let error = io::copy(&mut meter.guard(io::repeat(0)), &mut io::sink()).unwrap_err();
        assert!(ImageError::io("reading", error).to_string().contains("`time`"));
    }
}
