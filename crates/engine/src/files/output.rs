//! Files that a command writes for its user: whole, or not there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open, rename, unlink};
use rustix::io::Errno;

use crate::error::EngineError;
use crate::store::new_id;

/// A file in the making. It has no name before it is whole, so a command that ends early leaves nothing.
#[derive(Debug)]
pub(crate) struct OutputFile {
    /// Where it is written to.
    pub(crate) file: File,
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// It has no name yet.
    Nameless,
    /// It has a name of its own, where the file system knows no files without one.
    Temporary(PathBuf),
    /// It is what was there before, and no regular file: a pipe, a terminal, `/dev/null`.
    Itself,
}

impl OutputFile {
    /// For the file at `path`, or standard output.
    ///
    /// # Errors
    /// A directory of the path that is not there or takes no file.
    pub(crate) fn new(path: &Path) -> Result<Self, EngineError> {
        let failed = EngineError::io::<std::io::Error>;
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(EngineError::invalid(
                    "--output",
                    path.to_string_lossy(),
                    "a file is needed, not a directory",
                ));
            }
            Ok(meta) if !meta.is_file() => {
                let file = std::fs::OpenOptions::new().write(true).open(path).map_err(failed("open", path))?;
                return Ok(Self { file, path: path.to_path_buf(), place: Place::Itself });
            }
            _ => {}
        }
        // Through a link, as every program writes.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mode = Mode::from_raw_mode(0o600);
        match open(parent, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode) {
            Ok(fd) => return Ok(Self { file: File::from(fd), path, place: Place::Nameless }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            Err(e) => return Err(EngineError::io("write a file in", parent)(e)),
        }
        let temporary = hidden(&path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = open(&temporary, flags, mode).map_err(EngineError::io("make", &temporary))?;
        Ok(Self { file: File::from(fd), path, place: Place::Temporary(temporary) })
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// A disk that is full; what the kernel says.
    pub(crate) fn finish(mut self) -> Result<(), EngineError> {
        self.file.flush().map_err(EngineError::io("write", &self.path))?;
        let temporary = match std::mem::replace(&mut self.place, Place::Itself) {
            Place::Itself => return Ok(()),
            Place::Temporary(path) => path,
            Place::Nameless => {
                let temporary = hidden(&self.path)?;
                let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                linkat(CWD, own, CWD, &temporary, AtFlags::SYMLINK_FOLLOW)
                    .map_err(EngineError::io("name", &self.path))?;
                temporary
            }
        };
        rename(&temporary, &self.path).map_err(|e| {
            unlink(&temporary).unwrap_or_default();
            EngineError::io("name", &self.path)(e)
        })
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Place::Temporary(path) = &self.place {
            unlink(path).unwrap_or_default();
        }
    }
}

fn hidden(path: &Path) -> Result<PathBuf, EngineError> {
    let id: String = new_id()?.chars().take(12).collect();
    let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    let name = String::from_utf8_lossy(name.get(..name.len().min(64)).unwrap_or_default()).into_owned();
    Ok(path.with_file_name(format!(".{name}.{id}")))
}

/// Copies what comes out of a pipe; returns how many bytes.
///
/// # Errors
/// What `to` says; an end of the pipe is an end.
pub(crate) fn copy_stream(from: OwnedFd, to: &mut dyn Write) -> std::io::Result<u64> {
    let mut from = File::from(from);
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0_u64;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return to.flush().map(|()| total),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        to.write_all(buffer.get(..n).unwrap_or_default())?;
        total = total.saturating_add(u64::try_from(n).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut half = OutputFile::new(&path).unwrap();
        half.file.write_all(b"half").unwrap();
        drop(half);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::write(&path, "before").unwrap();
        let mut whole = OutputFile::new(&path).unwrap();
        whole.file.write_all(b"whole").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        whole.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(OutputFile::new(dir.path()).is_err());
        assert!(OutputFile::new(&dir.path().join("none/out")).is_err());
        OutputFile::new(Path::new("/dev/null")).unwrap().finish().unwrap();
        assert!(Path::new("/dev/null").exists());
    }
}
