//! The framing of the socket between client and monitor.

use serde::{Deserialize, Serialize};

/// Longest payload in bytes.
pub const LIMIT: u32 = 1 << 20;

/// Bytes before the payload.
const HEADER: usize = 5;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes for the program's standard input.
    Stdin,
    /// Bytes of its standard output (or of its terminal).
    Stdout,
    /// Bytes of its standard error.
    Stderr,
    /// Its standard input ends here.
    StdinEnd,
    /// New size of the terminal: rows and columns, u16 each, little endian.
    Resize,
    /// A signal for it: u8.
    Signal,
    /// It was started: u32 pid, little endian.
    Started,
    /// It was not: JSON of [`Failure`].
    Error,
    /// It ended: u32 exit code, little endian.
    Exited,
    /// The client goes, the container stays.
    Detach,
}

impl Kind {
    /// The number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Kind::Stdin => 0,
            Kind::Stdout => 1,
            Kind::Stderr => 2,
            Kind::StdinEnd => 3,
            Kind::Resize => 4,
            Kind::Signal => 5,
            Kind::Started => 6,
            Kind::Error => 7,
            Kind::Exited => 8,
            Kind::Detach => 9,
        }
    }

    fn from_code(code: u8) -> Option<Kind> {
        Some(match code {
            0 => Kind::Stdin,
            1 => Kind::Stdout,
            2 => Kind::Stderr,
            3 => Kind::StdinEnd,
            4 => Kind::Resize,
            5 => Kind::Signal,
            6 => Kind::Started,
            7 => Kind::Error,
            8 => Kind::Exited,
            9 => Kind::Detach,
            _ => return None,
        })
    }
}

/// Payload of [`Kind::Error`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One sentence.
    pub message: String,
    /// What to do next.
    #[serde(default)]
    pub hint: Option<String>,
    /// Exit code: 125, 126 or 127.
    pub exit: u8,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A number that no kind has.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A payload above [`LIMIT`].
    #[error("frame of {0} bytes, the limit is {LIMIT}")]
    TooLong(u32),
    /// A payload that does not fit its kind.
    #[error("malformed {0:?} frame")]
    Payload(Kind),
    /// A kind that only the client may send.
    #[error("unexpected {0:?} frame")]
    Unexpected(Kind),
}

/// Appends one frame. A payload above [`LIMIT`] is split into several frames, which only [`Kind::Stdin`] needs.
pub fn encode(kind: Kind, payload: &[u8], to: &mut Vec<u8>) {
    let mut rest = payload;
    loop {
        // On every platform we build for, a usize holds the limit.
        let limit = usize::try_from(LIMIT).unwrap_or(usize::MAX);
        let (part, after) = rest.split_at_checked(limit).unwrap_or((rest, &[]));
        let length = u32::try_from(part.len()).unwrap_or(LIMIT);
        to.push(kind.code());
        to.extend_from_slice(&length.to_le_bytes());
        to.extend_from_slice(part);
        rest = after;
        if rest.is_empty() {
            return;
        }
    }
}

/// What the decoder found in the bytes it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing whole yet; everything was taken.
    More,
    /// This many of the bytes that follow those taken are output; the caller takes them off itself. A frame may come in
    /// several of these, so that no frame has to be collected first.
    Output {
        /// Standard error instead of standard output.
        stderr: bool,
        /// Number of bytes.
        length: usize,
    },
    /// A whole frame of another kind.
    Control(Kind, Vec<u8>),
}

/// Takes frames from a stream of bytes, however they were cut.
#[derive(Debug, Default)]
pub struct Decoder {
    header: Vec<u8>,
    kind: Option<Kind>,
    left: usize,
    payload: Vec<u8>,
}

impl Decoder {
    /// Looks at the bytes that came next; returns how many of them were taken, and what they were.
    ///
    /// # Errors
    ///
    /// An unknown kind or a frame that is too long. The stream is of no use after that.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, Event), FrameError> {
        let mut taken = 0;
        let kind = match self.kind {
            Some(kind) => kind,
            None => {
                for byte in bytes.iter().take(HEADER.saturating_sub(self.header.len())) {
                    self.header.push(*byte);
                    taken += 1;
                }
                let &[code, a, b, c, d] = self.header.as_slice() else {
                    return Ok((taken, Event::More));
                };
                let kind = Kind::from_code(code).ok_or(FrameError::Kind(code))?;
                let length = u32::from_le_bytes([a, b, c, d]);
                if length > LIMIT {
                    return Err(FrameError::TooLong(length));
                }
                self.left = usize::try_from(length).map_err(|_| FrameError::TooLong(length))?;
                self.header.clear();
                self.kind = Some(kind);
                kind
            }
        };
        let rest = bytes.get(taken..).unwrap_or_default();
        let here = rest.len().min(self.left);
        if here == 0 && self.left > 0 {
            return Ok((taken, Event::More));
        }
        self.left -= here;
        if self.left == 0 {
            self.kind = None;
        }
        if matches!(kind, Kind::Stdout | Kind::Stderr) {
            return Ok((taken, Event::Output { stderr: kind == Kind::Stderr, length: here }));
        }
        self.payload.extend_from_slice(rest.get(..here).unwrap_or_default());
        taken += here;
        if self.left > 0 {
            return Ok((taken, Event::More));
        }
        Ok((taken, Event::Control(kind, std::mem::take(&mut self.payload))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `bytes` given in pieces of `step`, joining output of the same stream.
    fn decode(bytes: &[u8], step: usize) -> Result<Vec<(Kind, Vec<u8>)>, FrameError> {
        let mut decoder = Decoder::default();
        let mut found: Vec<(Kind, Vec<u8>)> = Vec::new();
        for mut piece in bytes.chunks(step) {
            while !piece.is_empty() {
                let (taken, event) = decoder.next(piece)?;
                piece = &piece[taken..];
                match event {
                    Event::More => assert!(piece.is_empty()),
                    Event::Control(kind, payload) => found.push((kind, payload)),
                    Event::Output { stderr, length } => {
                        let kind = if stderr { Kind::Stderr } else { Kind::Stdout };
                        let (now, later) = piece.split_at(length);
                        piece = later;
                        match found.last_mut() {
                            Some((last, payload)) if *last == kind => payload.extend_from_slice(now),
                            _ => found.push((kind, now.to_vec())),
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = Vec::new();
        encode(Kind::Started, &7u32.to_le_bytes(), &mut bytes);
        encode(Kind::Stdout, b"hello", &mut bytes);
        encode(Kind::Stderr, b"oops", &mut bytes);
        encode(Kind::StdinEnd, b"", &mut bytes);
        encode(Kind::Exited, &3u32.to_le_bytes(), &mut bytes);
        let whole = decode(&bytes, bytes.len()).unwrap();
        assert_eq!(whole[1], (Kind::Stdout, b"hello".to_vec()));
        assert_eq!(whole[3], (Kind::StdinEnd, Vec::new()));
        for step in 1..bytes.len() {
            assert_eq!(decode(&bytes, step).unwrap(), whole, "{step}");
        }
    }

    #[test]
    fn an_empty_output_frame_is_harmless() {
        let mut bytes = Vec::new();
        encode(Kind::Stdout, b"", &mut bytes);
        encode(Kind::Exited, &0u32.to_le_bytes(), &mut bytes);
        assert_eq!(decode(&bytes, 3).unwrap().last().unwrap().0, Kind::Exited);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(decode(&[77, 0, 0, 0, 0], 5), Err(FrameError::Kind(77)));
        assert_eq!(decode(&[1, 1, 0, 16, 0], 5), Err(FrameError::TooLong((1 << 20) + 1)));
    }

    #[test]
    fn a_long_input_is_split() {
        let mut bytes = Vec::new();
        encode(Kind::Stdin, &vec![b'x'; (1 << 20) + 3], &mut bytes);
        let frames = decode(&bytes, 4096).unwrap();
        assert_eq!(frames.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), [1 << 20, 3]);
    }
}
