//! Where the entries of an archive that is no layer come to lie: copies into a place that has content already.

use super::path::EntryPath;
use crate::budget::Meter;
use crate::error::Result;

/// What happens to the first component of every name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rename {
    /// It stays.
    #[default]
    Keep,
    /// It becomes this.
    To(Vec<u8>),
    /// It goes: what was in it comes to lie where it would have been.
    Strip,
}

/// How a copy lands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landing {
    /// Directory below the root, clean, without a slash at either end; empty for the root.
    pub prefix: Vec<u8>,
    /// The first component.
    pub rename: Rename,
    /// Set-user-id, set-group-id and capabilities of files arrive. Without, none of the three does.
    pub privileges: bool,
}

impl Landing {
    /// Where an entry comes to lie; `None` for the directory that everything lands in, which stays as it is.
    pub(crate) fn map(&self, path: EntryPath, meter: &Meter) -> Result<Option<EntryPath>> {
        let full = path.full();
        let (first, rest) = match full.iter().position(|byte| *byte == b'/') {
            Some(at) => (full.get(..at).unwrap_or_default(), full.get(at + 1..).unwrap_or_default()),
            None => (&*full, &[][..]),
        };
        let first = match &self.rename {
            Rename::Keep => first,
            Rename::To(name) => name,
            Rename::Strip => &[],
        };
        if first.is_empty() && rest.is_empty() {
            return Ok(None);
        }
        let parts: Vec<&[u8]> = [&*self.prefix, first, rest].into_iter().filter(|part| !part.is_empty()).collect();
        EntryPath::parse(&parts.join(&b'/'), meter).map(Some)
    }

    /// Permission bits as they arrive.
    pub(crate) fn mode(&self, mode: u32) -> u32 {
        if self.privileges { mode } else { mode & 0o1777 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Budget;

    #[test]
    fn names_are_moved_and_never_out() {
        let meter = Meter::new(&Budget::default());
        let land = |prefix: &str, rename: Rename, name: &str| {
            let landing = Landing { prefix: prefix.into(), rename, privileges: false };
            let path = EntryPath::parse(name.as_bytes(), &meter).unwrap();
            landing.map(path, &meter).unwrap().map(|path| String::from_utf8(path.full()).unwrap())
        };
        let to = |name: &str| Rename::To(name.into());
        assert_eq!(land("", Rename::Keep, "./a/b").as_deref(), Some("a/b"));
        assert_eq!(land("etc", Rename::Keep, "./").as_deref(), None);
        assert_eq!(land("etc", Rename::Keep, "a").as_deref(), Some("etc/a"));
        assert_eq!(land("etc/x", to("b"), "a/c/d").as_deref(), Some("etc/x/b/c/d"));
        assert_eq!(land("", to("b"), "a").as_deref(), Some("b"));
        assert_eq!(land("var", Rename::Strip, "a"), None);
        assert_eq!(land("var", Rename::Strip, "a/b").as_deref(), Some("var/b"));
        assert_eq!(Landing::default().mode(0o6755), 0o755);
        assert_eq!(Landing { privileges: true, ..Landing::default() }.mode(0o4755), 0o4755);
    }
}
