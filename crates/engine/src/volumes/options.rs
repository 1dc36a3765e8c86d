//! Options of the driver `local`: what a volume is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::EngineError;

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backing {
    /// A directory of the store.
    Directory {
        /// Most bytes that it may hold.
        size: Option<u64>,
    },
    /// Memory, which lives as long as the container that mounts it.
    Memory {
        /// Most bytes that it may hold.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: Option<u32>,
        /// User and group inside that its root belongs to.
        owner: Option<(u32, u32)>,
        /// No writes.
        read_only: bool,
    },
    /// A directory of the host.
    Bind {
        /// Absolute path.
        device: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// No writes.
        read_only: bool,
    },
}

fn refuse<T>(key: &str, value: &str, accepted: impl Into<String>) -> Result<T, EngineError> {
    Err(EngineError::invalid("--opt", format!("{key}={value}"), accepted))
}

/// A size in Docker's words: `512m`, `2g`, units of 1024.
fn size(key: &str, text: &str) -> Result<u64, EngineError> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let lower = lower.strip_suffix('i').unwrap_or(lower);
    let (digits, shift) = match lower.char_indices().last() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => {
            let shift = match unit {
                'k' => 10,
                'm' => 20,
                'g' => 30,
                't' => 40,
                _ => return refuse(key, text, "a size like 512m or 2g is needed"),
            };
            (lower.get(..at).unwrap_or_default(), shift)
        }
        _ => (lower, 0),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let bytes = digits.parse::<u64>().ok().filter(|_| plain).and_then(|n| n.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes > 0 && i64::try_from(bytes).is_ok() => Ok(bytes),
        _ => refuse(key, text, "a size like 512m or 2g is needed"),
    }
}

/// Understands `--opt`.
///
/// # Errors
/// An option that is unknown, or that cannot be kept to; the sentence says what would be.
pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Backing, EngineError> {
    for (key, value) in options {
        if !matches!(key.as_str(), "type" | "o" | "device" | "size") {
            return refuse(key, value, "type, o, device and size are known");
        }
    }
    let get = |key: &str| options.get(key).map(String::as_str).filter(|v| !v.is_empty());
    let words: Vec<&str> = get("o").unwrap_or_default().split(',').filter(|w| !w.is_empty()).collect();
    match get("type") {
        None | Some("none" | "bind") if words.iter().any(|w| matches!(*w, "bind" | "rbind")) => bind(get, &words),
        None => {
            for key in ["o", "device"] {
                if let Some(value) = get(key) {
                    return refuse(key, value, "type=tmpfs, or type=none with o=bind, is needed beside it");
                }
            }
            Ok(Backing::Directory { size: get("size").map(|s| size("size", s)).transpose()? })
        }
        Some(kind @ ("none" | "bind")) => refuse("type", kind, "o=bind and device=/DIRECTORY are needed beside it"),
        Some("tmpfs") => memory(get, &words),
        Some(kind) => refuse(
            "type",
            kind,
            "tmpfs, and none with o=bind, are known; mount another file system on the host and bind its directory",
        ),
    }
}

fn bind<'a>(get: impl Fn(&str) -> Option<&'a str>, words: &[&str]) -> Result<Backing, EngineError> {
    let device = get("device").unwrap_or_default();
    if !device.starts_with('/') {
        return refuse("device", device, "an absolute path is needed");
    }
    if let Some(size) = get("size") {
        return refuse("size", size, "a directory of the host has no limit of its own; leave size out");
    }
    let (mut recursive, mut read_only) = (false, false);
    for word in words {
        match *word {
            "bind" => {}
            "rbind" => recursive = true,
            "ro" => read_only = true,
            "rw" => read_only = false,
            "nosuid" | "nodev" | "noexec" | "private" | "rprivate" => {}
            other => return refuse("o", other, "bind, rbind, ro and rw are known"),
        }
    }
    Ok(Backing::Bind { device: PathBuf::from(device), recursive, read_only })
}

fn memory<'a>(get: impl Fn(&str) -> Option<&'a str>, words: &[&str]) -> Result<Backing, EngineError> {
    let mut bytes = get("size").map(|s| size("size", s)).transpose()?;
    let (mut mode, mut uid, mut gid, mut read_only) = (None, None, None, false);
    for word in words {
        let id = |value: &str| match value.parse::<u32>() {
            Ok(id) if id < 65_536 => Ok(Some(id)),
            _ => refuse("o", word, "an id from 0 to 65535 is needed"),
        };
        match word.split_once('=') {
            Some(("size", value)) => bytes = Some(size("o=size", value)?),
            Some(("mode", value)) => match u32::from_str_radix(value, 8) {
                Ok(bits) if bits <= 0o7777 && value.bytes().all(|b| b.is_ascii_digit()) => mode = Some(bits),
                _ => return refuse("o", word, "an octal mode like 1777 or 0700 is needed"),
            },
            Some(("uid", value)) => uid = id(value)?,
            Some(("gid", value)) => gid = id(value)?,
            None if *word == "ro" => read_only = true,
            None if *word == "rw" => read_only = false,
            None if matches!(*word, "nosuid" | "nodev" | "noexec") => {}
            _ => return refuse("o", word, "size=, mode=, uid=, gid=, ro and rw are known for type=tmpfs"),
        }
    }
    let owner = (uid.is_some() || gid.is_some()).then(|| (uid.unwrap_or(0), gid.unwrap_or(0)));
    Ok(Backing::Memory { size: bytes, mode, owner, read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<Backing, String> {
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        parse(&map).map_err(|e| e.to_string())
    }

    #[test]
    fn what_a_volume_can_be_made_of() {
        assert_eq!(options(&[]), Ok(Backing::Directory { size: None }));
        assert_eq!(options(&[("size", "1g")]), Ok(Backing::Directory { size: Some(1 << 30) }));
        assert_eq!(options(&[("size", "10MiB")]), Ok(Backing::Directory { size: Some(10 << 20) }));
        let memory = options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=100m,uid=1000,mode=0700")]);
        assert_eq!(
            memory,
            Ok(Backing::Memory { size: Some(100 << 20), mode: Some(0o700), owner: Some((1000, 0)), read_only: false })
        );
        let bind = |recursive, read_only| Ok(Backing::Bind { device: "/srv/x".into(), recursive, read_only });
        assert_eq!(options(&[("type", "none"), ("o", "bind"), ("device", "/srv/x")]), bind(false, false));
        assert_eq!(options(&[("o", "rbind,ro"), ("device", "/srv/x")]), bind(true, true));
    }

    #[test]
    fn what_cannot_be_kept_to_is_refused_by_its_name() {
        for (pairs, named) in [
            (&[("type", "nfs"), ("o", "addr=10.0.0.1"), ("device", ":/x")][..], "type=nfs"),
            (&[("type", "cifs")], "type=cifs"),
            (&[("colour", "red")], "colour=red"),
            (&[("type", "none"), ("device", "/x")], "type=none"),
            (&[("o", "bind"), ("device", "x")], "device=x"),
            (&[("o", "bind"), ("device", "/x"), ("size", "1g")], "size=1g"),
            (&[("o", "bind,shared"), ("device", "/x")], "o=shared"),
            (&[("o", "bind,suid"), ("device", "/x")], "o=suid"),
            (&[("type", "tmpfs"), ("o", "size=50%")], "size=50%"),
            (&[("type", "tmpfs"), ("o", "exec")], "o=exec"),
            (&[("type", "tmpfs"), ("o", "uid=65536")], "uid=65536"),
            (&[("size", "0")], "size=0"),
            (&[("size", "1x")], "size=1x"),
            (&[("size", "99999999t")], "size=99999999t"),
            (&[("device", "/dev/sda1")], "device=/dev/sda1"),
        ] {
            let error = options(pairs).unwrap_err();
            assert!(error.contains(named), "{pairs:?}: {error}");
        }
    }
}
