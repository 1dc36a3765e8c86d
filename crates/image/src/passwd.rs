//! Users and groups from the files of an image: hostile text, read with bounded memory.
//!
//! A number is matched with the number field only, a name with the name field only.

use std::collections::BTreeSet;
use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::config::UserRef;
use crate::error::{ImageError, Result};

/// Longest line that is looked at, in bytes; longer ones are skipped.
pub const LINE_MAX: usize = 64 << 10;
/// Most bytes read of one file.
pub const FILE_MAX: u64 = 8 << 20;
/// Most supplementary groups, the kernel's own limit.
pub const GROUPS_MAX: usize = 65_536;
/// Highest id taken from a file; lines with others are skipped.
const ID_MAX: u32 = 0x7fff_ffff;

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswdEntry {
    /// Login name.
    pub name: String,
    /// Numeric user.
    pub uid: u32,
    /// Numeric primary group.
    pub gid: u32,
    /// Home directory as written; free of control characters, otherwise not checked.
    pub home: String,
    /// Shell as written; free of control characters, otherwise not checked.
    pub shell: String,
}

/// The first line for `user`, by name or by number. `None` when there is none.
///
/// # Errors
/// Reading fails, or the line was not found within the first 8 MiB ([`ImageError::Limit`]).
pub fn lookup_user(file: &mut impl Read, user: &UserRef) -> Result<Option<PasswdEntry>> {
    lines(file, "passwd", |line| {
        let mut fields = line.split(':');
        let mut next = || fields.next();
        let (Some(name), Some(_), Some(uid), Some(gid), Some(_)) = (next(), next(), next(), next(), next()) else {
            return Step::Next;
        };
        let home = next().unwrap_or_default();
        let shell = next().unwrap_or_default();
        let (Some(uid), Some(gid)) = (id(uid), id(gid)) else { return Step::Next };
        let matches = match user {
            UserRef::Id(wanted) => *wanted == uid,
            UserRef::Name(wanted) => wanted == name,
        };
        if !matches {
            return Step::Next;
        }
        Step::Found(PasswdEntry { name: name.into(), uid, gid, home: home.into(), shell: shell.into() })
    })
}

/// The number of the first group of that name; a number is its own answer and the file is not read.
///
/// # Errors
/// As [`lookup_user`].
pub fn lookup_group(file: &mut impl Read, group: &UserRef) -> Result<Option<u32>> {
    let wanted = match group {
        UserRef::Id(id) => return Ok(Some(*id)),
        UserRef::Name(name) => name,
    };
    lines(file, "group", |line| match group_line(line) {
        Some((name, gid, _)) if name == wanted => Step::Found(gid),
        _ => Step::Next,
    })
}

/// Groups that list `user` as a member, ascending, each once, without `primary`.
///
/// # Errors
/// Reading fails, the file is longer than 8 MiB, or there are more than 65,536 groups ([`ImageError::Limit`]).
pub fn groups_of(file: &mut impl Read, user: &str, primary: u32) -> Result<Vec<u32>> {
    let mut groups = BTreeSet::new();
    let full: Option<()> = lines(file, "group", |line| {
        if let Some((_, gid, members)) = group_line(line)
            && gid != primary
            && members.split(',').any(|member| member == user)
        {
            groups.insert(gid);
        }
        if groups.len() > GROUPS_MAX { Step::Found(()) } else { Step::Next }
    })?;
    if full.is_some() {
        return Err(ImageError::Limit { limit: "groups", allowed: crate::len64(GROUPS_MAX), unit: "groups of a user" });
    }
    Ok(groups.into_iter().collect())
}

fn group_line(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    fields.next()?;
    let gid = id(fields.next()?)?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

/// Decimal digits only: neither sign nor blank nor another notation.
fn id(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u32>().ok().filter(|id| plain && *id <= ID_MAX)
}

enum Step<T> {
    Next,
    Found(T),
}

/// Calls `each` for every line that is UTF-8, not too long and free of control characters.
fn lines<T>(file: &mut impl Read, name: &'static str, mut each: impl FnMut(&str) -> Step<T>) -> Result<Option<T>> {
    let mut line: Vec<u8> = Vec::with_capacity(256);
    let mut too_long = false;
    let mut buf = [0_u8; 8192];
    let mut total = 0_u64;
    loop {
        let n = match file.read(&mut buf) {
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ImageError::io(format!("reading the image's {name} file"), e)),
        };
        total = total.saturating_add(crate::len64(n));
        if total > FILE_MAX {
            return Err(ImageError::Limit {
                limit: name,
                allowed: FILE_MAX,
                unit: "bytes in the image's file of that name",
            });
        }
        let mut rest = buf.get(..n).unwrap_or_default();
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if line.len() + piece.len() > LINE_MAX {
                too_long = true;
                line.clear();
            }
            if !too_long {
                line.extend_from_slice(piece);
            }
            // The last line needs no newline.
            if end.is_none() && n != 0 {
                break;
            }
            if !too_long
                && let Ok(text) = std::str::from_utf8(&line)
                && !text.chars().any(char::is_control)
                && let Step::Found(found) = each(text)
            {
                return Ok(Some(found));
            }
            line.clear();
            too_long = false;
            let Some(end) = end else { return Ok(None) };
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, repeat};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:\n4294967296:x:0:0::/:\n0x0:x:0:0::/:\n 0:x:0:0::/:\n\
        neg:x:-1:0::/:\nbig:x:4294967296:0::/:\nblank:x: 0:0::/:\ncr:x:7:7::/home\r:\nshort:x:1\napp:x:1000:1001:App:/app:/bin/app";

    fn by_name(name: &str) -> Option<PasswdEntry> {
        lookup_user(&mut PASSWD.as_bytes(), &UserRef::Name(name.into())).unwrap()
    }

    #[test]
    fn numbers_are_never_names() {
        let user = lookup_user(&mut PASSWD.as_bytes(), &UserRef::Id(1000)).unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.uid, user.gid, user.home.as_str()), ("app", 1000, 1001, "/app"));
        assert_eq!(lookup_user(&mut PASSWD.as_bytes(), &UserRef::Id(5)).unwrap(), None);
        assert_eq!(by_name("root").unwrap().uid, 0);
        for odd in ["neg", "big", "blank", "cr", "short", "none", ""] {
            assert_eq!(by_name(odd), None, "{odd}");
        }
    }

    #[test]
    fn groups() {
        let text =
            "root:x:0:app\nwheel:x:10:x,app,y\napp:x:1001:app\ndup:x:10:app\nbad:x:-1:app\nnone:x:11:apple,xapp\nn\n";
        assert_eq!(groups_of(&mut text.as_bytes(), "app", 1001).unwrap(), [0, 10]);
        assert_eq!(lookup_group(&mut text.as_bytes(), &UserRef::Name("wheel".into())).unwrap(), Some(10));
        assert_eq!(lookup_group(&mut text.as_bytes(), &UserRef::Name("10".into())).unwrap(), None);
        assert_eq!(lookup_group(&mut io::empty(), &UserRef::Id(7)).unwrap(), Some(7));
    }

    #[test]
    fn endless_lines_and_files_end() {
        let wanted = UserRef::Name("app".into());
        let line = repeat(b'a').take(1 << 20);
        let mut skipped = line.chain(&b"\napp:x:1:1::/:"[..]);
        assert_eq!(lookup_user(&mut skipped, &wanted).unwrap().unwrap().uid, 1);
        let error = lookup_user(&mut repeat(b'a'), &wanted).unwrap_err().to_string();
        assert!(error.contains("8388608"), "{error}");
        assert!(groups_of(&mut repeat(b'\n'), "app", 0).is_err());
        let many: String = (0..200_000).map(|n| format!("g:x:{n}:app\n")).collect();
        assert!(groups_of(&mut many.as_bytes(), "app", 0).is_err());
    }
}
