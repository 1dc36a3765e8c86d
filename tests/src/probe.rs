//! A small program in C that tries things, inside a container and, as a control, outside; and images made to order.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Bench, Said};

const SOURCES: [&str; 6] = ["main.c", "state.c", "verdict.c", "attempt.c", "race.c", "play.c"];

/// One entry of an image's archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path without a leading slash.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: u32,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file with this content.
    File(Vec<u8>),
    /// A symbolic link with this content.
    Link(String),
    /// A FIFO.
    Fifo,
    /// A character device.
    Device(u32, u32),
}

/// An entry with the usual mode, owned by root.
#[must_use]
pub fn entry(path: &str, kind: Kind) -> Entry {
    let mode = if matches!(kind, Kind::Directory) { 0o755 } else { 0o644 };
    Entry { path: path.to_owned(), kind, mode, owner: 0 }
}

/// A directory.
#[must_use]
pub fn dir(path: &str) -> Entry {
    entry(path, Kind::Directory)
}

/// A text file.
#[must_use]
pub fn file(path: &str, text: &str) -> Entry {
    entry(path, Kind::File(text.as_bytes().to_vec()))
}

/// A symbolic link.
#[must_use]
pub fn link(path: &str, content: &str) -> Entry {
    entry(path, Kind::Link(content.to_owned()))
}

fn field(header: &mut [u8; 512], at: usize, size: usize, value: u64) {
    let text = format!("{value:0width$o}", width = size - 1);
    header[at..at + text.len()].copy_from_slice(text.as_bytes());
}

/// An archive of these entries, in ustar form.
///
/// # Panics
/// On a path of more than 100 bytes.
#[must_use]
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for e in entries {
        let mut header = [0_u8; 512];
        let path = if matches!(e.kind, Kind::Directory) { format!("{}/", e.path) } else { e.path.clone() };
        assert!(path.len() <= 100, "{path}");
        header[..path.len()].copy_from_slice(path.as_bytes());
        let (flag, content): (u8, &[u8]) = match &e.kind {
            Kind::File(content) => (b'0', content),
            Kind::Link(target) => {
                assert!(target.len() <= 100, "{target}");
                header[157..157 + target.len()].copy_from_slice(target.as_bytes());
                (b'2', &[])
            }
            Kind::Device(major, minor) => {
                field(&mut header, 329, 8, u64::from(*major));
                field(&mut header, 337, 8, u64::from(*minor));
                (b'3', &[])
            }
            Kind::Directory => (b'5', &[]),
            Kind::Fifo => (b'6', &[]),
        };
        field(&mut header, 100, 8, u64::from(e.mode));
        field(&mut header, 108, 8, u64::from(e.owner));
        field(&mut header, 116, 8, u64::from(e.owner));
        field(&mut header, 124, 12, content.len().try_into().unwrap_or(u64::MAX));
        field(&mut header, 136, 12, 1_700_000_000);
        header[156] = flag;
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|b| u64::from(*b)).sum();
        field(&mut header, 148, 7, sum);
        out.extend(header);
        out.extend(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("probe")
}

fn compile(to: &Path) -> Result<(), String> {
    let said: Said = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(to)
        .args(SOURCES.map(|s| sources().join(s)))
        .output()
        .map_err(|e| format!("cannot start cc: {e}"))?
        .into();
    if said.code == 0 { Ok(()) } else { Err(said.err) }
}

/// The compiled probe: beside the test program, named after its sources.
fn compiled() -> &'static [u8] {
    static PROBE: OnceLock<Vec<u8>> = OnceLock::new();
    PROBE.get_or_init(|| {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        for source in SOURCES.iter().chain(&["probe.h"]) {
            std::fs::read(sources().join(source)).unwrap_or_default().hash(&mut hasher);
        }
        let name = format!("bulkhead-probe-{:x}", hasher.finish());
        let own = std::env::current_exe().unwrap_or_default();
        let kept = own.parent().unwrap_or(Path::new("/")).join(&name);
        if let Ok(program) = std::fs::read(&kept) {
            return program;
        }
        let scratch = tempfile::tempdir().unwrap_or_else(|e| panic!("a scratch directory: {e}"));
        let made = scratch.path().join("probe");
        compile(&made).unwrap_or_else(|e| panic!("the probe cannot be compiled: {e}"));
        let program = std::fs::read(&made).unwrap_or_else(|e| panic!("{}: {e}", made.display()));
        // Kept for the next test program, where that is possible.
        let part = kept.with_extension(std::process::id().to_string());
        if std::fs::write(&part, &program).and_then(|()| std::fs::rename(&part, &kept)).is_err() {
            drop(std::fs::remove_file(&part));
        }
        program
    })
}

/// A store with the image `probe`, which holds nothing but the probe and the usual empty directories.
#[derive(Debug)]
pub struct Lab {
    /// The store.
    pub bench: Bench,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// A fresh store with its image.
    #[must_use]
    pub fn new() -> Self {
        let lab = Self { bench: Bench::new() };
        lab.install(&lab.bench.path("probe"), 0o755);
        lab.image("probe", &[]).done();
        lab
    }

    /// Writes the probe to a file of the host.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn install(&self, to: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let written = std::fs::write(to, compiled())
            .and_then(|()| std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode)));
        written.unwrap_or_else(|e| panic!("{}: {e}", to.display()));
    }

    /// Entries of the plain image, without those that `instead` names or replaces.
    #[must_use]
    pub fn entries(&self, instead: &[Entry]) -> Vec<Entry> {
        let mut probe = entry("probe", Kind::File(compiled().to_vec()));
        probe.mode = 0o755;
        let mut temporary = dir("tmp");
        temporary.mode = 0o1777;
        let mut entries = vec![probe, temporary];
        entries.extend(["etc", "proc", "sys", "dev", "run", "var", "root"].map(dir));
        entries.push(file("etc/passwd", "root:x:0:0:root:/root:/probe\nuser:x:1000:1000::/:/probe\n"));
        entries.push(file("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"));
        let replaced = |e: &Entry| {
            instead.iter().any(|i| {
                let below = !matches!(i.kind, Kind::Directory) && e.path.starts_with(&format!("{}/", i.path));
                i.path == e.path || below
            })
        };
        entries.retain(|e| !replaced(e));
        entries.extend(instead.iter().cloned());
        entries
    }

    /// Imports an image: the plain one with these entries instead of, or beside, its own.
    #[must_use]
    pub fn image(&self, name: &str, instead: &[Entry]) -> Said {
        let tar = self.bench.path(&format!("{name}.tar"));
        if let Err(e) = std::fs::write(&tar, archive(&self.entries(instead))) {
            panic!("{}: {e}", tar.display());
        }
        self.bench.say(&["import", &tar.to_string_lossy(), name])
    }

    /// Runs the probe with these words in a fresh container of an image with these flags.
    #[must_use]
    pub fn run(&self, flags: &[&str], image: &str, words: &[&str]) -> Said {
        self.bench.say(&[&["run", "--rm"], flags, &[image, "/probe"], words].concat())
    }

    /// Runs the probe in the plain image.
    #[must_use]
    pub fn probe(&self, flags: &[&str], words: &[&str]) -> Said {
        self.run(flags, "probe", words)
    }

    /// Starts a container of the plain image in the background.
    pub fn start(&self, name: &str, flags: &[&str], words: &[&str]) {
        self.bench.say(&[&["run", "-d", "--name", name], flags, &["probe", "/probe"], words].concat()).done();
    }

    /// Runs the probe in a running container.
    #[must_use]
    pub fn exec(&self, flags: &[&str], name: &str, words: &[&str]) -> Said {
        self.bench.say(&[&["exec"], flags, &[name, "/probe"], words].concat())
    }

    /// Ends and removes a container.
    pub fn remove(&self, name: &str) {
        self.bench.say(&["rm", "-f", name]).done();
    }

    /// Whether a container here has more ids than the one of its root: always for root, and for an ordinary user with
    /// subordinate ids.
    #[must_use]
    pub fn many_ids(&self) -> bool {
        let state = self.probe(&[], &["state"]).ok();
        let counts =
            state.lines().filter_map(|l| l.strip_prefix("uid_map ")?.split_whitespace().nth(2)?.parse::<u64>().ok());
        counts.sum::<u64>() > 1
    }

    /// Runs the probe outside of any container: the control that shows what it can see.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn outside(&self, words: &[&str]) -> Said {
        match Command::new(self.bench.path("probe")).args(words).output() {
            Ok(output) => output.into(),
            Err(e) => panic!("the probe: {e}"),
        }
    }
}

/// The rest of the first line that begins with `key` and a space.
#[must_use]
pub fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '))
}
