//! `HOME` for a program whose environment has none: engines leave it to the runtime, which alone sees the container's own
//! `/etc/passwd`.
//!
//! Runs in the child: the file is the container's, so it is read in pieces on the stack, and at most a megabyte of it.

use std::ffi::CStr;

use bulkhead_sys::Result;
use bulkhead_sys::root::Root;
use rustix::fs::{FileType, Mode, OFlags};

/// Longest directory that is taken, in bytes.
const LONGEST: usize = 1024;
/// Most bytes of the file that are read.
const MOST: usize = 1024 * 1024;
const NAME: &[u8] = b"HOME=";

/// An entry of an environment.
pub(super) struct Home {
    buffer: [u8; NAME.len() + LONGEST + 1],
}

impl Home {
    fn new(directory: &[u8]) -> Self {
        let mut buffer = [0; NAME.len() + LONGEST + 1];
        let text = NAME.iter().chain(directory.iter().take(LONGEST));
        for (to, from) in buffer.iter_mut().zip(text) {
            *to = *from;
        }
        Self { buffer }
    }

    /// Of user `uid`: what `/etc/passwd` below `root` says, else `/`. Child-safe.
    ///
    /// # Errors
    /// None: what cannot be read says nothing.
    pub(super) fn of(root: &Root, uid: u32) -> Self {
        let mut found = Line::new(uid);
        // A file that is none, or is not there, has no lines.
        read(root, &mut found).unwrap_or_default();
        match found.answer() {
            Some(home) => Self::new(home),
            None => Self::new(b"/"),
        }
    }

    pub(super) fn text(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.buffer).unwrap_or(c"HOME=/")
    }
}

fn read(root: &Root, found: &mut Line) -> Result<()> {
    let file = root.open(c"/etc/passwd", OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    let mut buffer = [0; 4096];
    let mut all = 0;
    while all < MOST {
        let read = rustix::io::read(&file, &mut buffer)?;
        if read == 0 {
            break;
        }
        all += read;
        for byte in buffer.get(..read).unwrap_or_default() {
            if found.take(*byte) {
                return Ok(());
            }
        }
    }
    found.take(b'\n');
    Ok(())
}

/// A line as far as it has come: `name:password:uid:gid:comment:home:shell` (`passwd(5)`).
struct Line {
    wanted: u32,
    field: u8,
    uid: Option<u32>,
    home: [u8; LONGEST],
    length: usize,
    whole: bool,
}

impl Line {
    fn new(wanted: u32) -> Self {
        Self { wanted, field: 0, uid: None, home: [0; LONGEST], length: 0, whole: false }
    }

    /// Takes one byte; whether the line that was looked for has come to its end.
    fn take(&mut self, byte: u8) -> bool {
        match (byte, self.field) {
            (b'\n', _) => {
                self.whole = self.field >= 5 && self.uid == Some(self.wanted);
                if !self.whole {
                    *self = Self::new(self.wanted);
                }
                return self.whole;
            }
            (b':', 2) if self.uid.is_none() => self.field = u8::MAX,
            (b':', field) => self.field = field.saturating_add(1),
            (digit @ b'0'..=b'9', 2) => {
                let more = self.uid.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(u32::from(digit - b'0')));
                // A number that is none spoils the line.
                match more {
                    Some(_) => self.uid = more,
                    None => self.field = u8::MAX,
                }
            }
            (_, 2) => self.field = u8::MAX,
            (byte, 5) => {
                match self.home.get_mut(self.length) {
                    Some(place) => *place = byte,
                    None => self.field = u8::MAX,
                }
                self.length += 1;
            }
            _ => {}
        }
        false
    }

    fn answer(&self) -> Option<&[u8]> {
        let home = self.home.get(..self.length).filter(|h| self.whole && h.first() == Some(&b'/'))?;
        (!home.contains(&0)).then_some(home)
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Line};

    fn home(text: &str, uid: u32) -> Option<String> {
        let mut line = Line::new(uid);
        for byte in text.bytes().chain([b'\n']) {
            if line.take(byte) {
                break;
            }
        }
        line.answer().map(|h| String::from_utf8_lossy(h).into_owned())
    }

    #[test]
    fn the_line_of_the_user_is_found() {
        let text =
            "root:x:0:0:root:/root:/bin/sh\n# note\nweb:x:1000:1000::/home/web:/bin/sh\nx:x:10:1:::\nlast:x:7:7::/l";
        assert_eq!(home(text, 0).as_deref(), Some("/root"));
        assert_eq!(home(text, 1000).as_deref(), Some("/home/web"));
        assert_eq!(home(text, 7).as_deref(), Some("/l"));
        for uid in [1, 10, 100, u32::MAX] {
            assert_eq!(home(text, uid), None, "{uid}");
        }
    }

    #[test]
    fn hostile_lines_say_nothing() {
        let long = format!("a:x:5:5::/{}:/bin/sh", "h".repeat(LONGEST));
        assert_eq!(home(&long, 5), None);
        assert_eq!(home("a:x:99999999999:5::/a:", 1_215_752_191), None);
        assert_eq!(home("a:x::5::/a:", 0), None);
        assert_eq!(home("a:x:-1:5::/a:", 1), None);
        assert_eq!(home("a:x:5:5::relative:", 5), None);
        assert_eq!(home("a:x:5:5::/a\0b:", 5), None);
        assert_eq!(home(":::::::\n\n\n", 0), None);
    }
}
