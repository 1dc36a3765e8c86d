//! Files whose smallest change shows that something crossed a boundary.

use std::fmt::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes that no file but a canary holds.
pub const SONG: &str = "canary-5f2c9a71";

/// A tree outside of every root file system.
#[derive(Debug)]
pub struct Canary {
    /// Its top.
    pub path: PathBuf,
    before: String,
}

impl Canary {
    /// Makes the tree `name` in a directory: files, directories with names that runtimes like, a FIFO, a link.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(parent: &Path, name: &str) -> Self {
        let path = parent.join(name);
        let make = || -> std::io::Result<()> {
            for dir in
                ["", "a", "a/b", "etc", "pts", "shm", "deep", "self", "self/fd", "self/attr", "tmp", "tmp/secret"]
            {
                std::fs::create_dir_all(path.join(dir))?;
            }
            for file in ["canary", "ptmx", "null", "etc/passwd", "a/canary", "self/attr/exec", "console", "0"] {
                std::fs::write(path.join(file), format!("{SONG}\n"))?;
                std::fs::set_permissions(path.join(file), std::fs::Permissions::from_mode(0o640))?;
            }
            std::os::unix::fs::symlink("canary", path.join("link"))?;
            rustix::fs::mknodat(
                rustix::fs::CWD,
                path.join("fifo"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )?;
            Ok(())
        };
        make().unwrap_or_else(|e| panic!("the canaries at {}: {e}", path.display()));
        let before = listing(&path);
        Self { path, before }
    }

    /// Its path as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// What is different now, as lines; empty when nothing is.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let now = listing(&self.path);
        let mut changes = Vec::new();
        changes.extend(self.before.lines().filter(|l| !now.lines().any(|n| n == *l)).map(|l| format!("- {l}")));
        changes.extend(now.lines().filter(|l| !self.before.lines().any(|b| b == *l)).map(|l| format!("+ {l}")));
        changes
    }

    /// Fails when anything is different.
    ///
    /// # Panics
    /// When it is.
    pub fn assert_untouched(&self, after: &str) {
        let changes = self.changes();
        assert!(changes.is_empty(), "{after} changed the host: {changes:#?}");
    }
}

/// Everything about a tree but access times.
#[must_use]
pub fn listing(path: &Path) -> String {
    let mut out = String::new();
    list(path, &mut out);
    out
}

fn list(path: &Path, out: &mut String) {
    let Ok(m) = std::fs::symlink_metadata(path) else { return };
    let content = if m.is_file() {
        std::fs::read(path).map_or_else(|e| e.to_string(), |c| format!("{:?}", String::from_utf8_lossy(&c)))
    } else if m.is_symlink() {
        format!("{:?}", std::fs::read_link(path))
    } else if m.file_type().is_fifo() {
        "fifo".to_owned()
    } else {
        String::new()
    };
    let (time, nanos) = (m.mtime(), m.mtime_nsec());
    let line =
        format!("{} {} {:o} {}:{} {time}.{nanos} {content}", path.display(), m.ino(), m.mode(), m.uid(), m.gid());
    writeln!(out, "{line}").unwrap_or_default();
    if m.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        names.sort();
        for name in names {
            list(&name, out);
        }
    }
}

/// The host's mount table, without those mounts that the run directories of other tests need.
#[must_use]
pub fn host_mounts() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().map(str::to_owned).collect()
}

/// Host settings that escapes have been after.
#[must_use]
pub fn host_settings() -> Vec<String> {
    ["kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/domainname", "net/ipv4/ip_forward"]
        .map(|name| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default())
        .into()
}
