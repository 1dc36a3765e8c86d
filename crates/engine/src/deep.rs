//! Removing trees that a container filled: as deep as it liked.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Removes a directory with everything in it. The usual way holds a descriptor for each level, and a container decides how
/// many levels there are: when they run out, directories are brought to the top one by one, with two descriptors.
///
/// # Errors
/// What could not be removed; what was before it is gone.
pub(crate) fn remove_dir_all(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(e) if e.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {}
        other => return other,
    }
    empty(directory)?;
    std::fs::remove_dir(directory)
}

fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())
        }
        other => other,
    }
}

/// Names in a directory, without itself and the one above.
pub(crate) fn names(directory: impl AsFd) -> Result<Vec<CString>, Errno> {
    let mut all = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            all.push(entry.file_name().to_owned());
        }
    }
    Ok(all)
}

/// Removes everything in a directory.
fn empty(directory: &Path) -> Result<(), Errno> {
    let top = rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut waiting = names(&top)?;
    let mut number = 0_u64;
    while let Some(name) = waiting.pop() {
        match unlinkat(&top, &name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            other => {
                other?;
                continue;
            }
        }
        let one = open(top.as_fd(), &name)?;
        for child in names(&one)? {
            match unlinkat(&one, &child, AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => {}
                other => {
                    other?;
                    continue;
                }
            }
            let free = loop {
                number += 1;
                let free = CString::new(format!("bulkhead-remove-{number}")).map_err(|_| Errno::INVAL)?;
                if matches!(rustix::fs::statat(&top, &free, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)) {
                    break free;
                }
            };
            renameat(&one, &child, &top, &free)?;
            waiting.push(free);
        }
        unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{empty, names};

    #[test]
    fn a_tree_of_any_depth_and_shape_is_emptied() {
        let top = std::env::temp_dir().join(format!("bulkhead-deep-{}", std::process::id()));
        let deep = top.join(vec!["d"; 300].join("/"));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "x").unwrap();
        std::fs::create_dir_all(top.join("bulkhead-remove-1/bulkhead-remove-2/x")).unwrap();
        std::os::unix::fs::symlink("/etc", top.join("d/link")).unwrap();
        empty(&top).unwrap();
        let fd = rustix::fs::open(&top, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        assert_eq!(names(&fd).unwrap(), Vec::<std::ffi::CString>::new());
        assert!(std::path::Path::new("/etc/passwd").exists());
        std::fs::remove_dir(&top).unwrap();
    }
}
