//! One blob into one file: verified, bounded, and taken up again where it was cut.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Instant;

use bulkhead_image::{Digest, Hasher};

use crate::client::{Ask, Repository};
use crate::error::{RegistryError, Result, show};
use crate::http::Reply;
use crate::limits::Limits;

/// Size of the buffer, in bytes.
const BUFFER: usize = 256 << 10;

/// A blob to be fetched.
pub struct Fetch<'a> {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, which is binding.
    pub size: u64,
    /// Where to, a file that is not there yet.
    pub path: &'a Path,
    /// Told how many bytes are there, now and then.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl std::fmt::Debug for Fetch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch").field("digest", &self.digest).field("size", &self.size).finish_non_exhaustive()
    }
}

/// What is there of a blob.
struct Partial {
    file: File,
    hasher: Hasher,
    done: u64,
}

impl Partial {
    /// Begins again from nothing.
    fn reset(&mut self, path: &Path) -> Result<()> {
        let fail = RegistryError::file("begin again", path);
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(fail)?;
        self.hasher = Hasher::new();
        self.done = 0;
        Ok(())
    }
}

/// Bytes over time.
struct Pace<'a> {
    limits: &'a Limits,
    since: Instant,
    bytes: u64,
}

impl<'a> Pace<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, since: Instant::now(), bytes: 0 }
    }

    /// Takes `n` bytes; false when it is too slow.
    fn take(&mut self, n: u64) -> bool {
        self.bytes += n;
        let elapsed = self.since.elapsed();
        if elapsed < self.limits.silence {
            return true;
        }
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let fast = self.bytes.saturating_mul(1000) / millis >= self.limits.least_speed;
        (self.since, self.bytes) = (Instant::now(), 0);
        fast
    }
}

/// Why a piece ended before the end.
enum Cut {
    /// The connection did: worth another try.
    Lost(String),
    /// For good.
    Wrong(RegistryError),
}

impl Repository<'_> {
    /// A small blob in memory.
    ///
    /// # Errors
    /// One that is larger than `most`, or not what its digest and size say.
    pub(crate) fn small(&self, digest: &Digest, size: u64, most: u64, what: &str) -> Result<Vec<u8>> {
        let host = self.host();
        if size > most {
            return Err(RegistryError::lie(&host, what, format!("it is {size} bytes long, and {most} are allowed")));
        }
        let mut failures = 0;
        loop {
            let reply = self.ask(&self.blob_ask(digest, 0, what, &[]))?;
            if reply.length().is_some_and(|length| length != size) {
                let length = reply.length().unwrap_or_default();
                return Err(RegistryError::lie(
                    &host,
                    what,
                    format!("it is {length} bytes long, and {size} were announced"),
                ));
            }
            match reply.read(size) {
                Ok(bytes) if u64::try_from(bytes.len()).ok() == Some(size) => {
                    let found = Digest::of(&bytes);
                    if found != *digest {
                        return Err(RegistryError::lie(
                            &host,
                            what,
                            format!("its digest is {found}, and {digest} was announced"),
                        ));
                    }
                    return Ok(bytes);
                }
                Ok(bytes) => {
                    let reason = format!("it ended after {} bytes, and {size} were announced", bytes.len());
                    return Err(RegistryError::lie(&host, what, reason));
                }
                Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => {
                    return Err(RegistryError::lie(
                        &host,
                        what,
                        format!("it is longer than the {size} bytes that were announced"),
                    ));
                }
                Err(e) => {
                    failures += 1;
                    if failures >= self.client.limits().attempts {
                        return Err(RegistryError::Cut { host, reason: show(&e.to_string()) });
                    }
                    self.client.rest(self.client.limits().wait(failures, None))?;
                }
            }
        }
    }

    fn blob_ask<'a>(&self, digest: &Digest, from: u64, what: &'a str, also: &'a [u16]) -> Ask<'a> {
        let mut headers = vec![("accept", "*/*".to_owned())];
        if from > 0 {
            headers.push(("range", format!("bytes={from}-")));
        }
        Ask { method: "GET", url: self.url(&format!("blobs/{digest}")), headers, bytes: None, what, also }
    }

    /// Fetches a blob. What was there before a connection broke is kept, and only the rest is asked for again.
    ///
    /// # Errors
    /// One that is not what its digest and size say; a connection that breaks too often, or is too slow. The file is gone
    /// then.
    pub fn fetch(&self, fetch: &Fetch<'_>) -> Result<()> {
        let opened = File::options().read(true).write(true).create_new(true).open(fetch.path);
        let file = opened.map_err(RegistryError::file("make", fetch.path))?;
        let mut partial = Partial { file, hasher: Hasher::new(), done: 0 };
        let result = self.whole(fetch, &mut partial);
        if result.is_err() {
            // The error that led here matters more.
            drop(std::fs::remove_file(fetch.path));
        }
        result
    }

    fn whole(&self, fetch: &Fetch<'_>, partial: &mut Partial) -> Result<()> {
        let what = format!("blob {}", fetch.digest);
        let limits = self.client.limits();
        let (mut failures, mut pieces) = (0, 0);
        loop {
            let before = partial.done;
            let reason = match self.piece(fetch, &what, partial) {
                Ok(()) => return self.compare(fetch, &what, partial),
                Err(Cut::Wrong(error)) => return Err(error),
                Err(Cut::Lost(reason)) => reason,
            };
            pieces += 1;
            failures = if partial.done > before { 1 } else { failures + 1 };
            if failures >= limits.attempts || pieces >= limits.pieces {
                let reason = format!("{reason} after {} of {} bytes, {pieces} times in all", partial.done, fetch.size);
                return Err(RegistryError::Cut { host: self.host(), reason });
            }
            self.client.rest(limits.wait(failures, None))?;
        }
    }

    fn compare(&self, fetch: &Fetch<'_>, what: &str, partial: &mut Partial) -> Result<()> {
        let found = std::mem::take(&mut partial.hasher).finish();
        if found != fetch.digest {
            return Err(RegistryError::lie(&self.host(), what, format!("its digest is {found}")));
        }
        (fetch.progress)(fetch.size);
        Ok(())
    }

    /// Asks for what is missing and takes what comes.
    fn piece(&self, fetch: &Fetch<'_>, what: &str, partial: &mut Partial) -> std::result::Result<(), Cut> {
        if partial.done == fetch.size && partial.done > 0 {
            return Ok(());
        }
        let asked = self.ask(&self.blob_ask(&fetch.digest, partial.done, what, &[416]));
        let reply = asked.map_err(|error| match error {
            // It was there a moment ago.
            RegistryError::Unreachable { reason, .. } if partial.done > 0 => Cut::Lost(reason),
            error => Cut::Wrong(error),
        })?;
        match (reply.status, partial.done) {
            (206, done) if done > 0 => self.check_range(&reply, fetch, what, done)?,
            // It sends all of it, or cannot send the rest: from the beginning.
            (_, 0) => {}
            (416, _) => {
                partial.reset(fetch.path).map_err(Cut::Wrong)?;
                return Err(Cut::Lost("it does not send the rest".to_owned()));
            }
            _ => partial.reset(fetch.path).map_err(Cut::Wrong)?,
        }
        let rest = fetch.size - partial.done;
        let lie = |reason: String| Cut::Wrong(RegistryError::lie(&self.host(), what, reason));
        if let Some(length) = reply.length()
            && length != rest
        {
            return Err(lie(format!(
                "it is {} bytes long, and {} were announced",
                length.saturating_add(partial.done),
                fetch.size
            )));
        }
        self.take(fetch, what, reply, partial)
    }

    /// An answer with the rest must be the rest.
    fn check_range(&self, reply: &Reply, fetch: &Fetch<'_>, what: &str, done: u64) -> std::result::Result<(), Cut> {
        let range = reply.header("content-range").unwrap_or_default();
        let expected =
            [format!("bytes {done}-{}/{}", fetch.size - 1, fetch.size), format!("bytes {done}-{}/*", fetch.size - 1)];
        if expected.iter().any(|one| one == range.trim()) {
            return Ok(());
        }
        let reason = format!("the rest from byte {done} was asked for, and \"{}\" came", show(range));
        Err(Cut::Wrong(RegistryError::lie(&self.host(), what, reason)))
    }

    fn take(&self, fetch: &Fetch<'_>, what: &str, reply: Reply, partial: &mut Partial) -> std::result::Result<(), Cut> {
        let lie = |reason: String| Cut::Wrong(RegistryError::lie(&self.host(), what, reason));
        let framed = reply.is_framed();
        let mut pace = Pace::new(self.client.limits());
        let mut body = reply.body;
        let mut buffer = vec![0; BUFFER];
        loop {
            self.client.check().map_err(Cut::Wrong)?;
            let n = match body.read(&mut buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Cut::Lost(format!("the connection broke ({})", show(&e.to_string())))),
            };
            let count = u64::try_from(n).unwrap_or(u64::MAX);
            if n == 0 {
                return match partial.done == fetch.size {
                    true => Ok(()),
                    // Without a length an end and a cut look alike.
                    false if !framed => Err(Cut::Lost("the connection ended".to_owned())),
                    false => {
                        Err(lie(format!("it ended after {} bytes, and {} were announced", partial.done, fetch.size)))
                    }
                };
            }
            if count > fetch.size - partial.done {
                return Err(lie(format!("it is longer than the {} bytes that were announced", fetch.size)));
            }
            let bytes = buffer.get(..n).unwrap_or_default();
            partial.hasher.update(bytes);
            let written = partial.file.write_all(bytes).map_err(RegistryError::file("write to", fetch.path));
            written.map_err(Cut::Wrong)?;
            partial.done += count;
            (fetch.progress)(partial.done);
            if !pace.take(count) {
                let least = self.client.limits().least_speed;
                return Err(lie(format!("it comes slower than {least} bytes a second")));
            }
        }
    }
}
