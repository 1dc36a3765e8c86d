//! PAX extended headers: `LENGTH KEY=VALUE\n`, repeated.

use std::collections::HashSet;

use super::header::Mtime;
use crate::error::show;

/// What the records of one entry say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Mtime>,
    /// Name and value.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

type Checked<T> = std::result::Result<T, String>;

/// Splits a block of records. Every record must be well formed and every key must be there once.
fn records(mut block: &[u8]) -> Checked<Vec<(&[u8], &[u8])>> {
    let mut out = Vec::new();
    let mut seen = HashSet::new();
    while !block.is_empty() {
        let digits = block.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let bad = || "PAX record is malformed".to_owned();
        // A length of eight digits is beyond every header that is accepted.
        if digits == 0 || digits > 8 || block.first() == Some(&b'0') || block.get(digits) != Some(&b' ') {
            return Err(bad());
        }
        let length = number(block.get(..digits).unwrap_or_default()).ok_or_else(bad)?;
        let length = usize::try_from(length).map_err(|_| bad())?;
        if length <= digits + 1 || length > block.len() {
            return Err(bad());
        }
        let (record, rest) = block.split_at(length);
        let body = record.get(digits + 1..).and_then(|body| body.strip_suffix(b"\n")).ok_or_else(bad)?;
        let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = body.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        if key.is_empty() || key.contains(&0) {
            return Err(bad());
        }
        if !seen.insert(key) {
            return Err(format!("PAX record {} appears twice", show(key)));
        }
        out.push((key, value));
        block = rest;
    }
    Ok(out)
}

impl Pax {
    /// Records of the next entry.
    pub(crate) fn parse(block: &[u8]) -> Checked<Self> {
        let mut pax = Self::default();
        for (key, value) in records(block)? {
            match key {
                b"path" => pax.path = Some(name(key, value)?),
                b"linkpath" => pax.link = Some(name(key, value)?),
                b"size" => pax.size = Some(integer(key, value)?),
                b"uid" => pax.uid = Some(integer(key, value)?),
                b"gid" => pax.gid = Some(integer(key, value)?),
                b"mtime" => pax.mtime = Some(time(value)?),
                b"hdrcharset" if value != b"ISO-IR 10646 2000 UTF-8" && value != b"BINARY" => {
                    return Err(format!("PAX character set {} is not supported", show(value)));
                }
                _ if key.starts_with(b"GNU.sparse.") => return Err("PAX sparse files are not supported".into()),
                _ => {
                    if let Some(xattr) = key.strip_prefix(b"SCHILY.xattr.") {
                        pax.xattrs.push((xattr.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(pax)
    }

    /// Global records may say nothing that changes an entry: readers disagree about whether and how long they hold.
    pub(crate) fn check_global(block: &[u8]) -> Checked<()> {
        for (key, _) in records(block)? {
            let plain: &[&[u8]] = &[
                b"path",
                b"linkpath",
                b"size",
                b"uid",
                b"gid",
                b"uname",
                b"gname",
                b"mtime",
                b"atime",
                b"ctime",
                b"hdrcharset",
                b"charset",
            ];
            if plain.contains(&key) || key.starts_with(b"GNU.") || key.starts_with(b"SCHILY.") {
                return Err(format!("global PAX record {} is not supported", show(key)));
            }
        }
        Ok(())
    }
}

fn name(key: &[u8], value: &[u8]) -> Checked<Vec<u8>> {
    if value.is_empty() || value.contains(&0) {
        return Err(format!("PAX record {} is empty or contains NUL", show(key)));
    }
    Ok(value.to_vec())
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn integer(key: &[u8], value: &[u8]) -> Checked<u64> {
    number(value).ok_or_else(|| format!("PAX record {} has the value {}, not a number", show(key), show(value)))
}

/// Decimal seconds with an optional fraction; digits beyond nanoseconds are cut.
fn time(value: &[u8]) -> Checked<Mtime> {
    let bad = || format!("PAX mtime {} is malformed", show(value));
    let (negative, digits) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let secs = parts.next().and_then(number).and_then(|secs| i64::try_from(secs).ok()).ok_or_else(bad)?;
    let fraction = parts.next().unwrap_or_default();
    if fraction.len() > 64 || !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let digits = fraction.iter().map(|digit| u32::from(digit - b'0'));
    let nanos = digits.chain(std::iter::repeat(0)).take(9).fold(0_u32, |sum, digit| sum * 10 + digit);
    Ok(match (negative, nanos) {
        (false, nanos) => Mtime { secs, nanos },
        (true, 0) => Mtime { secs: -secs, nanos: 0 },
        // Seconds are rounded down, so that the nanoseconds after them are positive.
        (true, nanos) => Mtime { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Vec<u8> {
        crate::testing::pax_record(key.as_bytes(), value.as_bytes())
    }

    #[test]
    fn good_records() {
        let block = [
            record("path", "x"),
            record("linkpath", "a=b\nc"),
            record("mtime", "-1.5000001"),
            record("SCHILY.xattr.user.k", "v\0\nw="),
            record("comment", &"c".repeat(2000)),
        ];
        let pax = Pax::parse(&block.concat()).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"x"[..]));
        assert_eq!(pax.link.as_deref(), Some(&b"a=b\nc"[..]));
        assert_eq!(pax.mtime, Some(Mtime { secs: -2, nanos: 499_999_900 }));
        assert_eq!(pax.xattrs, vec![(b"user.k".to_vec(), b"v\0\nw=".to_vec())]);
        assert!(Pax::check_global(&record("comment", "x")).is_ok());
        assert!(Pax::check_global(&record("size", "1")).is_err());
        for (key, value) in [
            ("size", "-1"),
            ("size", "0x1"),
            ("size", "99999999999999999999"),
            ("size", ""),
            ("path", ""),
            ("path", "a\0b"),
            ("mtime", "1e5"),
            ("mtime", ""),
            ("mtime", "--1"),
            ("GNU.sparse.major", "1"),
            ("hdrcharset", "latin1"),
        ] {
            assert!(Pax::parse(&record(key, value)).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn bad_records() {
        for bad in [
            &b"7 path=x\n"[..],
            b"8 path=x\n",
            b"11 path=x\n",
            b"09 path=x\n",
            b"9 path=x",
            b"8 path=xy",
            b"6 pathx\n",
            b"5 =x\n",
            b"0 \n",
            b"2 \n",
            b"-8 path=x\n",
            b"99999999999999999999 path=x\n",
            b"9 path=x\n9 path=y\n",
            b"9 size=1\n9 size=1\n",
            b"9 path=x\n\0\0\0",
        ] {
            assert!(Pax::parse(bad).is_err(), "{}", show(bad));
        }
    }
}
