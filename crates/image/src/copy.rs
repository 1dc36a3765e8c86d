//! What `cp` means: where a source lands, as Docker's users know it.

use std::io::BufRead;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::archive::{Entry, EntryKind, TarReader};
use crate::budget::Meter;
use crate::error::{ImageError, Result};
use crate::unpack::{Landing, OwnIds, Rename, UnpackReport, unpack_copy};

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// One thing, packed under any one name.
    Named {
        /// The last component of its path.
        base: String,
        /// It was written as `DIR/.`: what is in the directory, without itself.
        content: bool,
    },
    /// An archive as it is.
    Archive,
}

/// What is at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Something is.
    pub exists: bool,
    /// It is a directory.
    pub directory: bool,
    /// It was written as a directory: with `/` or `/.` at its end.
    pub asserted: bool,
}

/// Where a source comes to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the destination, which is a directory.
    Inside(Rename),
    /// Beside the destination's siblings, under its name.
    Itself,
}

/// Decides by what the source is and what is at its destination.
///
/// # Errors
/// Docker's own refusals, in its words.
pub fn place(source: &Source, is_directory: bool, to: Destination) -> std::result::Result<Place, &'static str> {
    let Source::Named { base, content } = source else {
        return if to.directory { Ok(Place::Inside(Rename::Keep)) } else { Err("the destination must be a directory") };
    };
    match (to.exists, to.directory) {
        (true, true) if *content && is_directory => Ok(Place::Inside(Rename::Strip)),
        (true, true) => Ok(Place::Inside(Rename::To(base.clone().into_bytes()))),
        (true, false) if is_directory => Err("cannot copy directory"),
        (true, false) if to.asserted => Err("not a directory"),
        (true, false) => Ok(Place::Itself),
        (false, _) if !is_directory && to.asserted => Err("no such directory"),
        (false, _) => Ok(Place::Itself),
    }
}

/// The first entry of a copy, which says what the source is; `None` for an archive without any.
///
/// # Errors
/// A damaged archive.
pub fn first<R: BufRead>(tar: &mut TarReader<R>) -> Result<Option<Entry>> {
    tar.next_entry()
}

/// Whether an entry is a directory.
#[must_use]
pub fn is_directory(entry: &Entry) -> bool {
    entry.kind == EntryKind::Directory
}

/// Unpacks a copy beneath `root`, whose first entry was read already.
///
/// # Errors
/// What is wrong with the archive, what is in its way, limits, and system calls that fail.
pub fn receive<R: BufRead>(
    tar: &mut TarReader<R>,
    first: Option<Entry>,
    root: BorrowedFd<'_>,
    ids: OwnIds,
    landing: Landing,
    meter: &mut Meter,
) -> Result<UnpackReport> {
    unpack_copy(tar, first, root, ids, landing, meter)
}

/// Splits a path into the directory and the last component; both are clean, without `.`, `..` and repeated slashes, and
/// relative to the root.
///
/// # Errors
/// A NUL, or more than 4,095 bytes.
pub fn split(path: &str) -> Result<(String, String)> {
    let clean = crate::config::clean_path("path", "/", path)?;
    let (directory, name) = clean.rsplit_once('/').unwrap_or(("", ""));
    Ok((directory.trim_start_matches('/').to_owned(), name.to_owned()))
}

/// Whether a path is written as a directory, and whether it ends with `/.`.
#[must_use]
pub fn asserts(path: &str) -> (bool, bool) {
    let dot = path == "." || path.ends_with("/.");
    (dot || path.ends_with('/') || path == ".." || path.ends_with("/.."), dot)
}

/// Refuses what no entry can be.
///
/// # Errors
/// Always.
pub fn refuse<T>(path: &str, reason: &str) -> Result<T> {
    Err(ImageError::Entry { entry: crate::error::show(path.as_bytes()), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_table() {
        let source = |content| Source::Named { base: "src".into(), content };
        let to = |exists, directory, asserted| Destination { exists, directory, asserted };
        let inside = |rename| Ok(Place::Inside(rename));
        let named = || Rename::To(b"src".to_vec());
        for (content, is_dir, to, wanted) in [
            // SRC is a file.
            (false, false, to(false, false, false), Ok(Place::Itself)),
            (false, false, to(false, false, true), Err("no such directory")),
            (false, false, to(true, false, false), Ok(Place::Itself)),
            (false, false, to(true, false, true), Err("not a directory")),
            (false, false, to(true, true, false), inside(named())),
            (false, false, to(true, true, true), inside(named())),
            // SRC is a directory.
            (false, true, to(false, false, false), Ok(Place::Itself)),
            (false, true, to(false, false, true), Ok(Place::Itself)),
            (false, true, to(true, false, false), Err("cannot copy directory")),
            (false, true, to(true, true, false), inside(named())),
            // SRC/. is what is in it.
            (true, true, to(false, false, false), Ok(Place::Itself)),
            (true, true, to(true, false, false), Err("cannot copy directory")),
            (true, true, to(true, true, false), inside(Rename::Strip)),
        ] {
            assert_eq!(place(&source(content), is_dir, to), wanted, "{content} {is_dir} {to:?}");
        }
        assert_eq!(place(&Source::Archive, true, to(true, true, false)), inside(Rename::Keep));
        assert!(place(&Source::Archive, true, to(true, false, false)).is_err());
        assert!(place(&Source::Archive, true, to(false, false, false)).is_err());
    }

    #[test]
    fn paths_are_split_clean() {
        for (path, parts) in [
            ("/", ("", "")),
            ("/etc", ("", "etc")),
            ("etc/../../a//b/.", ("a", "b")),
            ("/a/b/../../..", ("", "")),
            ("a b/\n", ("a b", "\n")),
        ] {
            let (directory, name) = split(path).unwrap();
            assert_eq!((directory.as_str(), name.as_str()), parts, "{path}");
        }
        assert!(split("a\0").is_err());
        assert_eq!(asserts("a/."), (true, true));
        assert_eq!(asserts("a/"), (true, false));
        assert_eq!(asserts("a."), (false, false));
        assert_eq!(asserts("."), (true, true));
    }
}
