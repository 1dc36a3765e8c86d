//! A staging directory beside a scratch tree of canaries, and proof that the scratch tree did not change.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bulkhead_image::archive::TarReader;
use bulkhead_image::unpack::{UnpackOptions, UnpackReport, Whiteouts, unpack};
use bulkhead_image::{Budget, Digest, LoadOptions, Meter, OwnIds, Result};

pub struct Lab {
    dir: tempfile::TempDir,
    staging: File,
    before: BTreeMap<PathBuf, String>,
}

/// Owners can be given by root only.
pub fn ids() -> OwnIds {
    if is_root() { OwnIds::Apply } else { OwnIds::Ignore }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Lab {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scratch = dir.path().join("scratch");
        fs::create_dir_all(scratch.join("tree/deep")).unwrap();
        for name in ["canary", "tree/canary", "tree/deep/canary", "ptmx", "null"] {
            fs::write(scratch.join(name), format!("canary {name}")).unwrap();
            fs::set_permissions(scratch.join(name), fs::Permissions::from_mode(0o640)).unwrap();
        }
        symlink("canary", scratch.join("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            scratch.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        drop(std::os::unix::net::UnixListener::bind(scratch.join("socket")).unwrap());
        fs::create_dir(dir.path().join("staging")).unwrap();
        let staging = File::open(dir.path().join("staging")).unwrap();
        let before = snapshot(&scratch);
        assert!(before.len() >= 10);
        Self { dir, staging, before }
    }

    pub fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("staging")
    }

    pub fn staging(&self) -> BorrowedFd<'_> {
        self.staging.as_fd()
    }

    /// Is the scratch tree what it was, and the staging directory's parent without new names?
    pub fn untouched(&self) -> std::result::Result<(), String> {
        let names = fs::read_dir(self.dir.path()).unwrap().count();
        let after = snapshot(&self.scratch());
        if after == self.before && names == 2 { Ok(()) } else { Err(format!("{names} names, {after:#?}")) }
    }

    pub fn assert_untouched(&self) {
        self.untouched().unwrap();
    }

    pub fn assert_empty(&self) {
        let names: Vec<_> = fs::read_dir(self.root()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.is_empty(), "left in staging: {names:?}");
    }

    /// Unpacks an archive straight into the staging directory.
    pub fn unpack(&self, tar: &[u8], whiteouts: Whiteouts) -> Result<UnpackReport> {
        self.unpack_within(tar, whiteouts, &Budget::default())
    }

    pub fn unpack_within(&self, tar: &[u8], whiteouts: Whiteouts, budget: &Budget) -> Result<UnpackReport> {
        let options = UnpackOptions { ids: ids(), whiteouts };
        let mut meter = Meter::new(budget);
        unpack(&mut TarReader::new(tar, budget), self.staging(), options, &mut meter)
    }
}

pub fn options() -> LoadOptions {
    LoadOptions { ids: ids(), ..LoadOptions::default() }
}

/// Everything about a tree that an unpacker could change, by path.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_file() {
            Digest::of(&fs::read(&path).unwrap()).hex()
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else {
            format!("{} {}", kind.is_fifo(), kind.is_socket())
        };
        let mut xattrs = [0_u8; 4096];
        let listed = rustix::fs::llistxattr(&path, &mut xattrs).unwrap_or(0);
        let text = format!(
            "{:o} {}:{} {}.{} links {} ino {} rdev {} {content} {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.nlink(),
            meta.ino(),
            meta.rdev(),
            xattrs[..listed].escape_ascii(),
        );
        out.insert(path.strip_prefix(root).unwrap().to_path_buf(), text);
        if kind.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    out
}

/// What many tools once did: join the name to the directory and go.
pub fn naive_unpack(tar: &[u8], root: &Path) {
    use bulkhead_image::archive::EntryKind;
    let mut reader = TarReader::new(tar, &Budget::default());
    while let Ok(Some(entry)) = reader.next_entry() {
        let text = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_os_string();
        let path = root.join(text(&entry.path));
        let link = text(&entry.link);
        // Errors do not matter: the question is what it does where it succeeds.
        let _ = match entry.kind {
            EntryKind::File => {
                reader.read_data(entry.size).map_err(drop).and_then(|d| fs::write(&path, d).map_err(drop))
            }
            EntryKind::Directory => {
                let _ = fs::create_dir(&path);
                fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode)).map_err(drop)
            }
            EntryKind::Symlink => symlink(link, &path).map_err(drop),
            EntryKind::HardLink => fs::hard_link(root.join(link), &path).map_err(drop),
            _ => Ok(()),
        };
    }
}
