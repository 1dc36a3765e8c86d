//! How much is in a directory that a container filled: by descriptor, however deep it is.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens what is `path` below `top`, a name at a time; no link is followed.
fn descend(top: BorrowedFd<'_>, path: &[CString]) -> Result<OwnedFd, Errno> {
    let mut at = openat(top, c".", FLAGS, Mode::empty())?;
    for name in path {
        at = openat(&at, name, FLAGS, Mode::empty())?;
    }
    Ok(at)
}

/// Bytes on disk of everything in `top`, a file with several names once; what is removed meanwhile is not counted.
///
/// # Errors
/// `EACCES` for what belongs to ids that the caller may not look at.
pub(crate) fn bytes(top: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut total = rustix::fs::fstat(top)?.st_blocks.unsigned_abs().saturating_mul(512);
    let mut seen = HashSet::new();
    let mut waiting: Vec<Vec<CString>> = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let dir = match descend(top, &path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            other => other?,
        };
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_dir = FileType::from_raw_mode(stat.st_mode).is_dir();
            if !is_dir && stat.st_nlink > 1 && !seen.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            total = total.saturating_add(stat.st_blocks.unsigned_abs().saturating_mul(512));
            if is_dir {
                waiting.push(path.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
    }
    Ok(total)
}

/// [`bytes`] of each directory in `top`, by name.
///
/// # Errors
/// As [`bytes`].
pub(crate) fn each(top: BorrowedFd<'_>) -> Result<Vec<(String, u64)>, Errno> {
    let mut all = Vec::new();
    for entry in Dir::read_from(top)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        match openat(top, entry.file_name(), FLAGS, Mode::empty()) {
            Ok(dir) => all.push((entry.file_name().to_string_lossy().into_owned(), bytes(dir.as_fd())?)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_nowhere_and_files_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("v/deep");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("f"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(inner.join("f"), dir.path().join("v/g")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("v/l")).unwrap();
        let top = rustix::fs::open(dir.path(), FLAGS, Mode::empty()).unwrap();
        let all = each(top.as_fd()).unwrap();
        assert_eq!(all.len(), 1);
        assert!((1 << 20..(1 << 20) + 65_536).contains(&all[0].1), "{all:?}");
    }
}
