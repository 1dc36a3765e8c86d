//! Frames between a command and a monitor over a stream socket: kind, length (32 bits, little endian), payload.

use bulkhead_sys::Errno;
use std::os::fd::BorrowedFd;

/// Longest payload in bytes.
pub const MAX: usize = 1 << 20;
const HEADER: usize = 5;

/// Kinds of frames.
pub mod kind {
    /// Bytes for standard input.
    pub const STDIN: u8 = 0;
    /// Bytes of standard output.
    pub const STDOUT: u8 = 1;
    /// Bytes of standard error.
    pub const STDERR: u8 = 2;
    /// End of standard input.
    pub const STDIN_END: u8 = 3;
    /// Terminal size: rows and columns, 16 bits each.
    pub const RESIZE: u8 = 4;
    /// Signal for the program: one byte.
    pub const SIGNAL: u8 = 5;
    /// The program runs: its pid on the host, 32 bits.
    pub const STARTED: u8 = 6;
    /// The start failed: JSON with `message`, `hint`, `exit`.
    pub const ERROR: u8 = 7;
    /// The program ended: exit code, 32 bits.
    pub const EXITED: u8 = 8;
    /// The command goes, the program stays.
    pub const DETACH: u8 = 9;
    /// First frame to a monitor that runs: output is wanted; one byte of [`super::attach`] flags.
    pub const ATTACH: u8 = 10;
    /// First frame to a monitor that runs: the end is wanted, and nothing else.
    pub const WAIT: u8 = 11;
    /// The container is to stay stopped when its program ends, or when it is between two runs.
    pub const STOP: u8 = 12;
    /// First frame to a monitor that runs: the container's networks are others, JSON.
    pub const NETWORKS: u8 = 13;
    /// What was asked for is done; else it is [`ERROR`].
    pub const DONE: u8 = 14;
}

/// Flags of [`kind::ATTACH`].
pub mod attach {
    /// Standard input comes too.
    pub const INPUT: u8 = 1;
}

/// A frame as bytes.
#[must_use]
pub fn encode(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.push(kind);
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Bytes that came in and are not yet a whole frame.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// `EPROTO` for a frame longer than [`MAX`].
    pub fn next_frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, Errno> {
        let Some(([kind, a, b, c, d], _)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let (kind, length) = (*kind, u32::from_le_bytes([*a, *b, *c, *d]));
        let length = usize::try_from(length).map_err(|_| Errno::PROTO)?;
        if length > MAX {
            return Err(Errno::PROTO);
        }
        let Some(payload) = self.buffer.get(HEADER..HEADER + length) else { return Ok(None) };
        let payload = payload.to_vec();
        self.buffer.drain(..HEADER + length);
        Ok(Some((kind, payload)))
    }
}

/// Writes all of `bytes` to a blocking descriptor.
///
/// # Errors
/// What the kernel says.
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Decoder, MAX, encode};

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let mut bytes = encode(1, b"hello");
        bytes.extend(encode(3, b""));
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [(1, b"hello".to_vec()), (3, Vec::new())]);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused() {
        let mut decoder = Decoder::default();
        let length = u32::try_from(MAX + 1).unwrap().to_le_bytes();
        decoder.push(&[1, length[0], length[1], length[2], length[3]]);
        assert!(decoder.next_frame().is_err());
    }
}
