//! Names of entries, taken apart once and never joined to anything.

use crate::budget::Meter;
use crate::error::{ImageError, Result};

/// Longest component the kernel takes, in bytes.
const COMPONENT: usize = 255;

/// A checked path: the parent as `a/b/c` without `.`, `..`, empty components or a leading slash, and the last component.
/// For the root of the layer both are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryPath {
    pub(crate) parent: Vec<u8>,
    pub(crate) name: Vec<u8>,
}

impl EntryPath {
    /// Normalises `raw`. A leading slash means the root of the layer, as tar and Docker have it; `..` is refused, also
    /// where it would stay inside, because readers differ in what it means behind a link.
    pub(crate) fn parse(raw: &[u8], meter: &Meter) -> Result<Self> {
        meter.check_path(crate::len64(raw.len()), 0)?;
        if raw.is_empty() {
            return Err(ImageError::entry(raw, "name is empty"));
        }
        if raw.contains(&0) {
            return Err(ImageError::entry(raw, "name contains NUL"));
        }
        let mut parent = Vec::with_capacity(raw.len());
        let mut name: &[u8] = &[];
        let mut depth = 0_u64;
        for component in raw.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(ImageError::entry(raw, "name contains `..`")),
                _ => {}
            }
            if component.len() > COMPONENT {
                return Err(ImageError::entry(raw, format!("a component is longer than {COMPONENT} bytes")));
            }
            if !name.is_empty() {
                if !parent.is_empty() {
                    parent.push(b'/');
                }
                parent.extend_from_slice(name);
            }
            name = component;
            depth += 1;
        }
        meter.check_path(0, depth)?;
        Ok(Self { parent, name: name.to_vec() })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.name.is_empty()
    }

    /// All of it, with slashes between components.
    pub(crate) fn full(&self) -> Vec<u8> {
        let mut out = self.parent.clone();
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(&self.name);
        out
    }
}

/// What a name says about the layers below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Marker<'a> {
    /// Nothing.
    None,
    /// The named entry of lower layers is gone.
    Whiteout(&'a [u8]),
    /// Everything that lower layers have in this directory is gone.
    Opaque,
}

const PREFIX: &[u8] = b".wh.";

impl<'a> Marker<'a> {
    /// Reads the marker out of `path`, refusing names that are reserved and mean nothing.
    pub(crate) fn of(path: &'a EntryPath) -> Result<Self> {
        let refuse = |reason| Err(ImageError::entry(&path.full(), reason));
        if path.parent.split(|byte| *byte == b'/').any(|component| component.starts_with(PREFIX)) {
            return refuse("a directory of the path has a name reserved for whiteouts (`.wh.`)");
        }
        match path.name.strip_prefix(PREFIX) {
            None => Ok(Self::None),
            Some(b".wh..opq") => Ok(Self::Opaque),
            Some(b"" | b"." | b"..") => refuse("whiteout of no name"),
            Some(name) if name.starts_with(PREFIX) => refuse("whiteout of a whiteout"),
            Some(name) => Ok(Self::Whiteout(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;

    fn parse(raw: &[u8]) -> Result<EntryPath> {
        EntryPath::parse(raw, &Meter::new(&Budget::default()))
    }

    #[test]
    fn normal_forms() {
        for (raw, parent, name) in [
            (&b"a"[..], &b""[..], &b"a"[..]),
            (b"./a//b/./c/", b"a/b", b"c"),
            (b"/etc/passwd", b"etc", b"passwd"),
            (b"...", b"", b"..."),
            (b"a\nb/\xff", b"a\nb", b"\xff"),
            (b".", b"", b""),
            (b"./", b"", b""),
            (b"/", b"", b""),
        ] {
            let path = parse(raw).unwrap();
            assert_eq!((&*path.parent, &*path.name), (parent, name));
        }
        for bad in [&b""[..], b"..", b"a/..", b"../a", b"a/../b", b"/..", b"a\0b", &[b'a'; 256], &[b'a'; 4096]] {
            assert!(parse(bad).is_err());
        }
        assert!(parse(&b"a/".repeat(129)).unwrap_err().to_string().contains("`depth`"));
    }

    #[test]
    fn markers() {
        let of = |raw: &[u8]| Marker::of(&parse(raw).unwrap()).map(|m| format!("{m:?}")).map_err(|e| e.to_string());
        assert_eq!(of(b"a/b").unwrap(), "None");
        assert_eq!(of(b"a/.wh.b").unwrap(), format!("{:?}", Marker::Whiteout(b"b")));
        assert_eq!(of(b"a/.wh..wh..opq").unwrap(), "Opaque");
        assert_eq!(of(b".wh...x").unwrap(), format!("{:?}", Marker::Whiteout(b"..x")));
        for bad in [
            &b".wh."[..],
            b".wh..",
            b".wh...",
            b".wh..wh.",
            b".wh..wh.x",
            b".wh..wh.plnk/x",
            b".wh.a/b",
            b"a/.wh..wh..opq/b",
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
