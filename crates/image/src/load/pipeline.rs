//! Decoding beside unpacking: two threads and a few buffers that go round.
//!
//! Inflating and hashing take a processor as much time as the system calls of unpacking do, so a second one halves the
//! wait. Where the process may not have a second thread, the same work is done by one.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::BUFFER;
use crate::digest::{Digest, Hasher};

/// Buffers under way; also the most memory that a fast decoder can fill ahead, in units of [`BUFFER`].
const BUFFERS: usize = 4;

/// The bytes of a reader, buffer by buffer, hashed as they come by.
#[derive(Debug)]
pub(crate) struct Chunks<'a, R> {
    feed: Feed<'a, R>,
    current: Vec<u8>,
    at: usize,
    hasher: Option<Hasher>,
}

#[derive(Debug)]
enum Feed<'a, R> {
    Thread { full: Receiver<io::Result<Vec<u8>>>, empty: Sender<Vec<u8>> },
    Inline(&'a mut R),
}

/// Runs `work` on the bytes of `reader`, read by a thread of its own if `threaded` and possible. The digest is that of all
/// bytes that `work` took, if `hash`.
pub(crate) fn run<R: Read + Send, T>(
    reader: &mut R,
    threaded: bool,
    hash: bool,
    work: impl FnOnce(&mut Chunks<'_, R>) -> T,
) -> (T, Option<Digest>) {
    if !threaded {
        return attend(Feed::Inline(reader), hash, work);
    }
    let (full_in, full) = sync_channel(BUFFERS);
    let (empty, empty_out) = channel();
    for _ in 0..BUFFERS {
        // The other end is in this function, so there is somebody to take it.
        empty.send(Vec::new()).unwrap_or_default();
    }
    let tried = thread::scope(|scope| {
        let reader = &mut *reader;
        let pumping = move || pump(reader, &full_in, &empty_out);
        match thread::Builder::new().name("decode".into()).spawn_scoped(scope, pumping) {
            // On an error in `work` this drops the receiver, which ends the thread at its next buffer.
            Ok(_) => Ok(attend(Feed::Thread { full, empty }, hash, work)),
            Err(_) => Err(work),
        }
    });
    tried.unwrap_or_else(|work| attend(Feed::Inline(reader), hash, work))
}

fn attend<R, T>(feed: Feed<'_, R>, hash: bool, work: impl FnOnce(&mut Chunks<'_, R>) -> T) -> (T, Option<Digest>) {
    let mut chunks = Chunks { feed, current: Vec::new(), at: 0, hasher: hash.then(Hasher::new) };
    let result = work(&mut chunks);
    (result, chunks.hasher.map(Hasher::finish))
}

/// The thread: fills buffers until the end, an error, or nobody wants them any more.
fn pump(reader: &mut impl Read, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    while let Ok(mut buffer) = empty.recv() {
        match fill(reader, &mut buffer) {
            Ok(()) if buffer.is_empty() => return,
            Ok(()) => {
                if full.send(Ok(buffer)).is_err() {
                    return;
                }
            }
            Err(e) => {
                // What was decoded before the error goes first, so that errors are found where they are.
                if buffer.is_empty() || full.send(Ok(buffer)).is_ok() {
                    full.send(Err(e)).unwrap_or_default();
                }
                return;
            }
        }
    }
}

/// Reads until the buffer is full or the input at its end.
fn fill(reader: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(BUFFER, 0);
    let mut filled = 0;
    let result = loop {
        match reader.read(buffer.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break Ok(()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => break Err(e),
        }
    };
    buffer.truncate(filled);
    result
}

impl<R: Read> Chunks<'_, R> {
    fn next(&mut self) -> io::Result<()> {
        self.at = 0;
        match &mut self.feed {
            Feed::Thread { full, empty } => {
                let used = std::mem::take(&mut self.current);
                // The thread may have ended; then nobody wants the buffer back.
                if used.capacity() != 0 {
                    empty.send(used).unwrap_or_default();
                }
                match full.recv() {
                    Ok(next) => self.current = next?,
                    Err(_) => return Ok(()),
                }
            }
            Feed::Inline(reader) => {
                self.current.resize(BUFFER, 0);
                let read = reader.read(&mut self.current);
                self.current.truncate(*read.as_ref().unwrap_or(&0));
                read?;
            }
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.current);
        }
        Ok(())
    }
}

impl<R: Read> BufRead for Chunks<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.current.len() {
            self.next()?;
        }
        Ok(self.current.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.at = self.at.saturating_add(n).min(self.current.len());
    }
}

impl<R: Read> Read for Chunks<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buf)?;
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect<R: Read>(chunks: &mut Chunks<'_, R>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        chunks.read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn bytes_and_digest_are_those_of_the_reader() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        for threaded in [false, true] {
            let (out, digest) = run(&mut &*bytes, threaded, true, collect);
            assert!(out.unwrap() == bytes);
            assert_eq!(digest, Some(Digest::of(&bytes)));
            let (out, digest) = run(&mut io::empty(), threaded, false, collect);
            assert!(out.unwrap().is_empty() && digest.is_none());
        }
    }

    #[test]
    fn errors_come_after_the_bytes_before_them() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("failed"))
            }
        }
        for threaded in [false, true] {
            let mut reader = Read::chain(&b"before"[..], Failing);
            let (seen, _) = run(&mut reader, threaded, false, |chunks| {
                let mut head = [0; 6];
                chunks.read_exact(&mut head).map(|()| (head, chunks.read(&mut [0]).unwrap_err().to_string()))
            });
            assert_eq!(seen.unwrap(), (*b"before", "failed".to_owned()));
        }
    }

    #[test]
    fn giving_up_early_ends_the_thread() {
        let (first, _) = run(&mut io::repeat(7), true, false, |chunks| chunks.fill_buf().map(|b| b.first().copied()));
        assert_eq!(first.unwrap(), Some(7));
    }
}
