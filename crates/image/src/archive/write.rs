//! The writer: one canonical form, so that the same tree gives the same bytes.

use std::fmt::Write as _;
use std::io::Write;

use super::header::{BLOCK, EntryKind, Mtime, OCTAL_MAX};
use crate::error::{ImageError, Result};

/// Largest owner that fits the octal field.
const ID_MAX: u64 = 0o777_7777;
/// Bytes of a name or a link target in the header itself.
const NAME: usize = 100;

/// An entry to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Name; a directory needs no slash at its end.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of data that follow; 0 for everything but a file.
    pub size: u64,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time.
    pub mtime: Mtime,
    /// Target of a link, else empty.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl NewEntry {
    /// A file of root with mode 0644 and time 0, as the documents of an image archive are.
    #[must_use]
    pub fn document(path: impl Into<Vec<u8>>, size: u64) -> Self {
        Self {
            path: path.into(),
            kind: EntryKind::File,
            size,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }
}

/// Writes an archive in one pass: ustar headers, and PAX records for what does not fit them.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    left: u64,
    padding: u64,
}

impl<W: Write> TarWriter<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out, left: 0, padding: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| ImageError::io("writing the archive", e))
    }

    /// Begins an entry; for a file, exactly `size` bytes of [`TarWriter::data`] follow.
    ///
    /// # Errors
    /// A stream that takes no more.
    pub fn entry(&mut self, entry: &NewEntry) -> Result<()> {
        self.fill()?;
        let mut path = entry.path.clone();
        if entry.kind == EntryKind::Directory && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
        let records = records(entry, &path, size);
        if !records.is_empty() {
            let header = header(b"PaxHeaders/0", b'x', crate::len64(records.len()), 0o644, 0, 0, 0, b"", (0, 0));
            self.put(&header)?;
            self.put(&records)?;
            self.put(zeros(padding(crate::len64(records.len()))))?;
        }
        let id = |id: u64| if id > ID_MAX { 0 } else { id };
        let secs = u64::try_from(entry.mtime.secs).unwrap_or(0);
        let block = header(
            &path,
            flag(entry.kind),
            if size > OCTAL_MAX { 0 } else { size },
            entry.mode & 0o7777,
            id(entry.uid),
            id(entry.gid),
            if secs > OCTAL_MAX { 0 } else { secs },
            &entry.link,
            entry.device,
        );
        self.put(&block)?;
        self.left = size;
        self.padding = padding(size);
        Ok(())
    }

    /// Data of the entry begun last. What goes beyond its size is cut.
    ///
    /// # Errors
    /// As [`TarWriter::entry`].
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.get(..room).unwrap_or_default();
        self.put(bytes)?;
        self.left -= crate::len64(bytes.len());
        Ok(())
    }

    /// Bytes that the entry begun last still wants.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.left
    }

    /// Completes the entry: what is missing of its data (a file that became shorter meanwhile) is zeros.
    fn fill(&mut self) -> Result<()> {
        while self.left > 0 {
            let piece = zeros(self.left);
            self.left -= crate::len64(piece.len());
            self.put(piece)?;
        }
        let rest = zeros(self.padding);
        self.padding = 0;
        self.put(rest)
    }

    /// Ends the archive and gives the stream back.
    ///
    /// # Errors
    /// As [`TarWriter::entry`].
    pub fn finish(mut self) -> Result<W> {
        self.fill()?;
        self.put(zeros(2 * crate::len64(BLOCK)))?;
        self.out.flush().map_err(|e| ImageError::io("writing the archive", e))?;
        Ok(self.out)
    }
}

/// Up to 4,096 zeros.
fn zeros(count: u64) -> &'static [u8] {
    const ZEROS: [u8; 4096] = [0; 4096];
    ZEROS.get(..usize::try_from(count).unwrap_or(usize::MAX)).unwrap_or(&ZEROS)
}

fn padding(size: u64) -> u64 {
    let block = crate::len64(BLOCK);
    (block - size % block) % block
}

fn flag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

/// What the header has no room for, or cannot say exactly.
fn records(entry: &NewEntry, path: &[u8], size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut names_in_records = Vec::new();
    if path.len() > NAME {
        names_in_records.push((&b"path"[..], path));
    }
    if entry.link.len() > NAME {
        names_in_records.push((b"linkpath", &entry.link));
    }
    if names_in_records.iter().any(|(_, name)| std::str::from_utf8(name).is_err()) {
        record(&mut out, b"hdrcharset", b"BINARY");
    }
    for (key, name) in names_in_records {
        record(&mut out, key, name);
    }
    if size > OCTAL_MAX {
        record(&mut out, b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if id > ID_MAX {
            record(&mut out, key, id.to_string().as_bytes());
        }
    }
    let in_field = u64::try_from(entry.mtime.secs).is_ok_and(|secs| secs <= OCTAL_MAX);
    if entry.mtime.nanos != 0 || !in_field {
        record(&mut out, b"mtime", time(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        // A record's key ends at the first `=`.
        if !name.contains(&b'=') {
            record(&mut out, &[b"SCHILY.xattr.", &**name].concat(), value);
        }
    }
    out
}

/// Seconds with a fraction; before 1970 both parts count backwards from it.
fn time(mtime: Mtime) -> String {
    let (sign, secs, nanos) = match (mtime.secs < 0, mtime.nanos) {
        (true, 0) => ("-", mtime.secs.unsigned_abs(), 0),
        (true, nanos) => ("-", (mtime.secs + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (false, nanos) => ("", mtime.secs.unsigned_abs(), nanos),
    };
    let mut text = format!("{sign}{secs}");
    if nanos != 0 {
        // Writing to a string cannot fail.
        write!(text, ".{nanos:09}").unwrap_or_default();
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[expect(clippy::too_many_arguments, reason = "the fields of a header, each once")]
fn header(
    name: &[u8],
    flag: u8,
    size: u64,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: u64,
    link: &[u8],
    device: (u32, u32),
) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in block.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(0, name.get(..NAME).unwrap_or(name));
    put(100, format!("{mode:07o}").as_bytes());
    put(108, format!("{uid:07o}").as_bytes());
    put(116, format!("{gid:07o}").as_bytes());
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{mtime:011o}").as_bytes());
    put(148, b"        ");
    put(156, &[flag]);
    put(157, link.get(..NAME).unwrap_or(link));
    put(257, b"ustar\x0000");
    if matches!(flag, b'3' | b'4') {
        put(329, format!("{:07o}", device.0 & 0o777_7777).as_bytes());
        put(337, format!("{:07o}", device.1 & 0o777_7777).as_bytes());
    }
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    for (to, from) in block.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").as_bytes()) {
        *to = *from;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;
    use crate::archive::TarReader;

    #[test]
    fn what_was_written_is_read_back() {
        let long = [b"d/".repeat(80), b"name\n\xff".to_vec()].concat();
        let mut entries = vec![
            NewEntry { size: 5, ..NewEntry::document("plain", 5) },
            NewEntry { kind: EntryKind::Directory, mode: 0o1777, ..NewEntry::document("dir/", 0) },
            NewEntry { kind: EntryKind::Symlink, link: b"x".repeat(300), ..NewEntry::document(&*long, 0) },
            NewEntry { kind: EntryKind::HardLink, link: b"plain".to_vec(), ..NewEntry::document("hard", 0) },
            NewEntry { kind: EntryKind::Fifo, uid: 65_535, gid: 3_000_000_000, ..NewEntry::document("f\x1b[0m", 0) },
            NewEntry { kind: EntryKind::CharDevice, device: (1, 3), ..NewEntry::document("null", 0) },
        ];
        for (secs, nanos) in [(0, 1), (-2, 499_999_900), (-5, 0), (1_700_000_000, 123_456_789), (1 << 40, 0)] {
            entries.push(NewEntry {
                mtime: Mtime { secs, nanos },
                xattrs: vec![(b"user.k".to_vec(), b"v\0\nw=".to_vec()), (b"user.a=b".to_vec(), b"x".to_vec())],
                ..NewEntry::document(format!("t{secs}"), 0)
            });
        }
        let mut writer = TarWriter::new(Vec::new());
        for entry in &entries {
            writer.entry(entry).unwrap();
            if entry.size > 0 {
                // Too much is cut, too little is filled up.
                writer.data(b"hello and more").unwrap();
            }
        }
        writer.entry(&NewEntry::document("short", 700)).unwrap();
        writer.data(b"x").unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let mut reader = TarReader::new(&*bytes, &Budget::default());
        for entry in &entries {
            let read = reader.next_entry().unwrap().unwrap();
            let mut path = entry.path.clone();
            if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
                path.push(b'/');
            }
            assert_eq!((&read.path, read.kind, read.size), (&path, entry.kind, entry.size));
            assert_eq!((read.uid, read.gid, read.mode), (entry.uid, entry.gid, entry.mode));
            assert_eq!((read.mtime, &read.link), (entry.mtime, &entry.link));
            let kept: Vec<_> = entry.xattrs.iter().filter(|(name, _)| !name.contains(&b'=')).cloned().collect();
            assert_eq!(read.xattrs, kept);
            if entry.size > 0 {
                assert_eq!(reader.read_data(100).unwrap(), b"hello");
            }
        }
        assert_eq!(reader.next_entry().unwrap().unwrap().size, 700);
        assert_eq!(reader.read_data(1000).unwrap(), [&b"x"[..], &[0; 699]].concat());
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn a_size_beyond_octal_is_a_record() {
        let mut writer = TarWriter::new(Vec::new());
        writer.entry(&NewEntry::document("big", OCTAL_MAX + 1)).unwrap();
        let head = writer.out;
        let mut reader = TarReader::new(&*head, &Budget::default());
        assert_eq!(reader.next_entry().unwrap().unwrap().size, OCTAL_MAX + 1);
    }
}
