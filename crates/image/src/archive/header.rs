//! The 512 byte tar header.

/// Size of a tar block, in bytes.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Another name of a file earlier in the archive.
    HardLink,
    /// Symbolic link.
    Symlink,
    /// Directory.
    Directory,
    /// Named pipe.
    Fifo,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

/// Modification time: seconds since 1970, which may be negative, and nanoseconds after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mtime {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What the type byte of a header means to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Entry(EntryKind),
    /// `0`, in old archives also a directory when the name ends with a slash.
    OldFile,
    Pax,
    PaxGlobal,
    LongName,
    LongLink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Gnu,
}

/// A header with a good checksum, fields not yet looked at.
pub(crate) struct Header<'a> {
    block: &'a [u8; BLOCK],
    format: Format,
}

type Checked<T> = std::result::Result<T, String>;

impl<'a> Header<'a> {
    /// Checks sum and magic.
    pub(crate) fn new(block: &'a [u8; BLOCK]) -> Checked<Self> {
        let stored = match number(field(block, 148, 8)) {
            Ok(Some(Number::Positive(sum))) => sum,
            _ => return Err("header has no valid checksum; this is not a tar archive, or it is damaged".into()),
        };
        let mut unsigned = 0_u64;
        let mut signed = 0_i64;
        for (at, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += u64::from(byte);
            // Some old writers summed signed characters.
            signed += i64::from(i8::from_ne_bytes([byte]));
        }
        if stored != unsigned && i64::try_from(stored) != Ok(signed) {
            return Err(format!("header checksum is {stored}, its content sums to {unsigned}"));
        }
        let format = match field(block, 257, 8) {
            b"ustar\x0000" => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            [0, 0, 0, 0, 0, 0, 0, 0] => Format::V7,
            // Seen from writers that fill the version with zeros or blanks.
            [b'u', b's', b't', b'a', b'r', 0, _, _] => Format::Ustar,
            _ => return Err("header has an unknown magic number".into()),
        };
        if format == Format::Ustar && field(block, 508, 4) == b"tar\0" {
            return Err("star archives are not supported; repack with tar --format=pax".into());
        }
        Ok(Self { block, format })
    }

    pub(crate) fn flag(&self) -> Checked<Flag> {
        use EntryKind::{BlockDevice, CharDevice, Directory, Fifo, File, HardLink, Symlink};
        let refuse = |what: &str| Err(format!("{what} entries are not supported"));
        match self.block.get(156).copied().unwrap_or(0) {
            0 => Ok(Flag::OldFile),
            b'0' | b'7' => Ok(Flag::Entry(File)),
            b'1' => Ok(Flag::Entry(HardLink)),
            b'2' => Ok(Flag::Entry(Symlink)),
            b'3' => Ok(Flag::Entry(CharDevice)),
            b'4' => Ok(Flag::Entry(BlockDevice)),
            b'5' => Ok(Flag::Entry(Directory)),
            b'6' => Ok(Flag::Entry(Fifo)),
            b'x' => Ok(Flag::Pax),
            b'g' => Ok(Flag::PaxGlobal),
            b'L' => Ok(Flag::LongName),
            b'K' => Ok(Flag::LongLink),
            b'S' => refuse("GNU sparse file"),
            b'D' => refuse("GNU incremental directory"),
            b'M' => refuse("GNU multi-volume continuation"),
            b'V' => refuse("GNU volume label"),
            b'X' => refuse("Solaris extended header"),
            other => Err(format!("unknown entry type {:?}", char::from(other))),
        }
    }

    /// Name, from the prefix field too where the format has one.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = text(field(self.block, 0, 100));
        let prefix = if self.format == Format::Ustar { text(field(self.block, 345, 155)) } else { &[] };
        if prefix.is_empty() {
            return name.to_vec();
        }
        let mut out = prefix.to_vec();
        out.push(b'/');
        out.extend_from_slice(name);
        out
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        text(field(self.block, 157, 100)).to_vec()
    }

    pub(crate) fn size(&self) -> Checked<u64> {
        match number(field(self.block, 124, 12))? {
            Some(Number::Positive(size)) => Ok(size),
            Some(Number::Negative(_)) => Err("size is negative".into()),
            None => Err("size is empty".into()),
        }
    }

    pub(crate) fn mode(&self) -> Checked<u32> {
        let mode = self.unsigned(100, 8, "mode")?;
        // The upper bits repeat the file type in some archives.
        u32::try_from(mode & 0o7777).map_err(|_| "mode is out of range".into())
    }

    pub(crate) fn uid(&self) -> Checked<u64> {
        self.unsigned(108, 8, "uid")
    }

    pub(crate) fn gid(&self) -> Checked<u64> {
        self.unsigned(116, 8, "gid")
    }

    pub(crate) fn mtime(&self) -> Checked<Mtime> {
        let secs = match number(field(self.block, 136, 12))? {
            None => 0,
            Some(Number::Positive(secs)) => i64::try_from(secs).map_err(|_| "mtime is out of range".to_owned())?,
            Some(Number::Negative(secs)) => secs,
        };
        Ok(Mtime { secs, nanos: 0 })
    }

    fn unsigned(&self, at: usize, len: usize, name: &str) -> Checked<u64> {
        match number(field(self.block, at, len)).map_err(|e| format!("{name}: {e}"))? {
            None => Ok(0),
            Some(Number::Positive(value)) => Ok(value),
            Some(Number::Negative(_)) => Err(format!("{name} is negative")),
        }
    }
}

/// Largest size that fits the octal field, in bytes; writers must say larger ones in another way.
pub(crate) const OCTAL_MAX: u64 = 0o777_7777_7777;

#[derive(Debug, PartialEq, Eq)]
enum Number {
    Positive(u64),
    Negative(i64),
}

fn field(block: &[u8; BLOCK], at: usize, len: usize) -> &[u8] {
    block.get(at..at + len).unwrap_or_default()
}

/// Bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits with blanks before, blanks or NULs after; or GNU base-256. `None` when there is nothing but blanks.
fn number(field: &[u8]) -> Checked<Option<Number>> {
    match field.first() {
        Some(0x80) => {
            let mut value = 0_u64;
            for byte in field.iter().skip(1) {
                if value >> 56 != 0 {
                    return Err("number does not fit into 64 bits".into());
                }
                value = (value << 8) | u64::from(*byte);
            }
            Ok(Some(Number::Positive(value)))
        }
        Some(0xff) => {
            let mut value = -1_i64;
            for byte in field.iter().skip(1) {
                if value < i64::MIN >> 8 {
                    return Err("number does not fit into 64 bits".into());
                }
                value = (value << 8) | i64::from(*byte);
            }
            Ok(Some(Number::Negative(value)))
        }
        _ => {
            let body = field.trim_ascii_start();
            let digits = body.iter().take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            let (octal, rest) = body.split_at(digits);
            if rest.iter().any(|byte| *byte != 0 && *byte != b' ') {
                return Err(format!("number {} is malformed", crate::error::show(field)));
            }
            if octal.is_empty() {
                return Ok(None);
            }
            // The widest field has 12 digits, 36 bits.
            Ok(Some(Number::Positive(octal.iter().fold(0, |sum, digit| (sum << 3) | u64::from(digit - b'0')))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Ok(Some(Number::Positive(0o644))));
        assert_eq!(number(b"   644 \0"), Ok(Some(Number::Positive(0o644))));
        assert_eq!(number(b"777777777777"), Ok(Some(Number::Positive((1 << 36) - 1))));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(None));
        assert_eq!(number(b"        "), Ok(None));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]), Ok(Some(Number::Positive(65536))));
        assert_eq!(number(&[0xff; 12]), Ok(Some(Number::Negative(-1))));
        assert!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(number(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        for bad in [&b"12 34\0\0\0"[..], b"-1\0", b"0x10\0", b"8\0", b"1\x002", b"\x81\0\0"] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
    }
}
