//! The directory of one container, held open: no path is walked twice, and no link is followed in it.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::runc::args::{Global, check_id};
use crate::runc::error::{During, RuncError};

/// Name of the record in it.
pub const RECORD: &str = "record.json";
/// Name of the copy of the config in it.
pub const CONFIG: &str = "config.json";

/// The text by which callers know that an id is taken.
const TAKEN: &str = "container with given ID already exists";

/// The directory of a container.
#[derive(Debug)]
pub struct Place {
    fd: OwnedFd,
    root: OwnedFd,
    id: String,
    path: PathBuf,
}

/// How a container is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is looked at, together with others.
    Shared,
    /// It is changed, alone.
    Exclusive,
}

/// The right to use a container; it ends when this is dropped, also where a child still has the descriptor.
#[derive(Debug)]
pub struct Lock {
    fd: OwnedFd,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The last descriptor of it gives it back too.
        rustix::fs::flock(&self.fd, FlockOperation::Unlock).unwrap_or_default();
    }
}

fn open_below(root: BorrowedFd<'_>, id: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(root, id, flags, Mode::empty())
}

impl Place {
    /// Makes the directory of a new container. Of two that make one id, one has it and the other is told.
    ///
    /// # Errors
    ///
    /// `container with given ID already exists`; a root that cannot be made or used.
    pub fn make(global: &Global, id: &str) -> Result<Self, RuncError> {
        check_id(id)?;
        let root = global.make_root()?;
        let path = root.join(id);
        let failed = || format!("make {}", path.display());
        let root = super::root::open(&root).during(format_args!("open {}", root.display()))??;
        match rustix::fs::mkdirat(&root, id, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(RuncError::new(TAKEN)),
            Err(error) => return Err(RuncError::chain(&error).during(failed())),
        }
        let fd = open_below(root.as_fd(), id).during_with(failed)?;
        // A umask may have taken bits from the owner.
        rustix::fs::fchmod(&fd, Mode::RWXU).during_with(failed)?;
        Ok(Self { fd, root, id: id.to_owned(), path })
    }

    /// The directory of a container, whether it has a record or not.
    ///
    /// # Errors
    ///
    /// `container does not exist`; a directory that others own or may write to.
    pub fn open(global: &Global, id: &str) -> Result<Self, RuncError> {
        check_id(id)?;
        let root = global.root()?;
        let path = root.join(id);
        let unknown_or = |error: Errno, what: &Path| match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => RuncError::unknown(),
            error => RuncError::chain(&error).during(format!("open {}", what.display())),
        };
        let dir = super::root::open(&root).map_err(|error| unknown_or(error, &root))??;
        let fd = open_below(dir.as_fd(), id).map_err(|error| unknown_or(error, &path))?;
        let found = rustix::fs::fstat(&fd).during(format_args!("look at {}", path.display()))?;
        let user = rustix::process::geteuid().as_raw();
        if found.st_uid != user {
            let owner = found.st_uid;
            return Err(RuncError::new(format!("{} belongs to user {owner}, not to {user}", path.display())));
        }
        if found.st_mode & 0o022 != 0 {
            return Err(RuncError::new(format!("{} can be written by others", path.display())));
        }
        Ok(Self { fd, root: dir, id: id.to_owned(), path })
    }

    /// [`Place::open`], then [`Place::lock`].
    ///
    /// # Errors
    ///
    /// As both.
    pub fn locked(global: &Global, id: &str, with: Use) -> Result<(Self, Lock), RuncError> {
        let place = Self::open(global, id)?;
        let lock = place.lock(with)?;
        Ok((place, lock))
    }

    /// Waits for the right to use it.
    ///
    /// # Errors
    ///
    /// `container does not exist` when it was removed meanwhile.
    pub fn lock(&self, with: Use) -> Result<Lock, RuncError> {
        // A lock belongs to an open file: each has its own.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, c".", flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(RuncError::unknown()),
            opened => opened.during(format_args!("open {}", self.path.display()))?,
        };
        let operation = match with {
            Use::Shared => FlockOperation::LockShared,
            Use::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            match rustix::fs::flock(&fd, operation) {
                Err(Errno::INTR) => {}
                locked => break locked.during(format_args!("lock {}", self.path.display()))?,
            }
        }
        let lock = Lock { fd };
        // Whoever had it may have removed the container, and another may have the id by now.
        let named = rustix::fs::statat(&self.root, self.id.as_str(), AtFlags::SYMLINK_NOFOLLOW);
        let held = rustix::fs::fstat(&self.fd).during(format_args!("look at {}", self.path.display()))?;
        match named {
            Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => Ok(lock),
            Ok(_) | Err(Errno::NOENT) => Err(RuncError::unknown()),
            Err(error) => Err(RuncError::chain(&error).during(format!("look at {}", self.path.display()))),
        }
    }

    /// Id of the container.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Absolute path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a whole file in it; `None` where there is none.
    ///
    /// # Errors
    ///
    /// More than `limit` bytes, anything but a file, and what the kernel says.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, RuncError> {
        let what = || format!("read {}", self.path.join(name).display());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.during_with(what)?,
        };
        let found = rustix::fs::fstat(&fd).during_with(what)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(RuncError::new(format!("{}: it is no file", what())));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.st_size).unwrap_or(0).min(limit));
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::from(fd).take(most).read_to_end(&mut bytes).during_with(what)?;
        if bytes.len() > limit {
            return Err(RuncError::new(format!("{}: it has more than {limit} bytes", what())));
        }
        Ok(Some(bytes))
    }

    /// Writes a file in it that nobody looks for before there is a record, mode 0600.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn write_first(&self, name: &str, bytes: &[u8]) -> Result<(), RuncError> {
        let what = || format!("write {}", self.path.join(name).display());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = std::fs::File::from(made.during_with(what)?);
        file.write_all(bytes).during_with(what)
    }

    /// Writes a whole file in it, mode 0600, in place of what has the name.
    ///
    /// # Errors
    ///
    /// What the kernel says; the old file stays then.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RuncError> {
        let what = || format!("write {}", self.path.join(name).display());
        let fresh = format!(".{name}.{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || rustix::fs::openat(&self.fd, fresh.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let fd = match make() {
            // Of a process that had this number and was killed.
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&self.fd, fresh.as_str(), AtFlags::empty()).during_with(what)?;
                make()
            }
            made => made,
        };
        let mut file = std::fs::File::from(fd.during_with(what)?);
        let written = file
            .write_all(bytes)
            .during_with(what)
            .and_then(|()| rustix::fs::renameat(&self.fd, fresh.as_str(), &self.fd, name).during_with(what));
        if written.is_err() {
            rustix::fs::unlinkat(&self.fd, fresh.as_str(), AtFlags::empty()).unwrap_or_default();
        }
        written
    }

    /// Removes the directory and the files in it, the record last: until then the container can be found and deleted
    /// again.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn remove(&self) -> Result<(), RuncError> {
        let what = || format!("remove {}", self.path.display());
        let mut names = Vec::new();
        let mut room = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
        // It may have been read before.
        rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(0)).during_with(what)?;
        let mut entries = rustix::fs::RawDir::new(&self.fd, &mut room);
        while let Some(entry) = entries.next() {
            let name = entry.during_with(what)?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_by_key(|name| name.to_bytes() == RECORD.as_bytes());
        for name in names {
            match rustix::fs::unlinkat(&self.fd, name.as_c_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => {
                    let name = name.to_string_lossy().into_owned();
                    return Err(RuncError::chain(&error).during(format!("remove {}", self.path.join(name).display())));
                }
            }
        }
        rustix::fs::unlinkat(&self.root, self.id.as_str(), AtFlags::REMOVEDIR).during_with(what)
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests;
