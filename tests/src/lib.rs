//! What the tests of the built program share: a store of their own, the program, and skips that are told.
//!
//! `BULKHEAD_BIN` names the program under test; `make test` sets it. Every test has a store and a run directory of its
//! own, and its guard fails the test when anything is left behind.

pub mod canary;
pub mod configured;
pub mod console;
pub mod debian;
pub mod dockerd;
pub mod fill;
pub mod fuzz;
pub mod kill;
pub mod life;
pub mod net;
pub mod oci;
pub mod probe;
pub mod registry;
pub mod session;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A store of a test's own, removed at its end.
#[derive(Debug)]
pub struct Bench {
    /// Scratch directory, world-searchable; `root` and `run` are in it.
    pub dir: tempfile::TempDir,
}

/// Output of a command as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Standard output of a command that must have succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// Standard error of a command that must have failed with this code.
    #[must_use]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self.err
    }
}

/// The program under test. As root the calling thread has a network namespace of its own from then on: what the program
/// makes for containers is never the machine's.
#[must_use]
pub fn binary() -> PathBuf {
    if is_root() {
        net::apart();
    }
    let path = std::env::var_os("BULKHEAD_BIN").map(PathBuf::from).expect("BULKHEAD_BIN names the program under test");
    assert!(path.is_file(), "BULKHEAD_BIN is not a file: {}", path.display());
    path
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// A fresh store below `TMPDIR` (or `/tmp`).
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().expect("a scratch directory");
        // Before anything listens in this thread.
        let _: PathBuf = binary();
        Self { dir }
    }

    /// Path of something in the scratch directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Environment that points the program at this store.
    #[must_use]
    pub fn env(&self) -> [(&'static str, PathBuf); 2] {
        [("BULKHEAD_ROOT", self.path("root")), ("BULKHEAD_RUN", self.path("run"))]
    }

    /// The program with these words, not yet started.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(words).envs(self.env()).stdin(Stdio::null());
        command
    }

    /// Runs the program with these words to its end.
    #[must_use]
    pub fn say(&self, words: &[&str]) -> Said {
        self.command(words).output().expect("the program starts").into()
    }

    /// Runs a shell script in a fresh container of the image `host` with these flags.
    #[must_use]
    pub fn sh(&self, flags: &[&str], script: &str) -> Said {
        let mut words = vec!["run", "--rm"];
        words.extend(flags);
        words.extend(["host", "sh", "-c", script]);
        self.say(&words)
    }

    /// Host pid of the first process of a running container.
    #[must_use]
    pub fn pid_of(&self, name: &str) -> i32 {
        let text = self.say(&["inspect", name]).ok();
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let pid = value.pointer("/0/State/Pid").and_then(serde_json::Value::as_i64).expect("a pid");
        i32::try_from(pid).expect("a pid fits")
    }

    /// Everything that this store's containers could have left: run directories, container files, control groups,
    /// processes whose executable or arguments name this store.
    #[must_use]
    pub fn left_overs(&self) -> Vec<String> {
        let mut left = Vec::new();
        for place in ["root/containers", "root/staging", "run/containers"] {
            for entry in std::fs::read_dir(self.path(place)).into_iter().flatten().flatten() {
                left.push(format!("{place}/{}", entry.file_name().to_string_lossy()));
            }
        }
        let store = self.dir.path().to_string_lossy().into_owned();
        for line in std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            if line.contains(&store) {
                left.push(format!("mount {line}"));
            }
        }
        left
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Containers that a failed test left must not outlive it.
        let ids = self.command(&["ps", "-aq", "--no-trunc"]).output();
        let ids = ids.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        for id in ids.split_whitespace() {
            drop(self.command(&["rm", "-f", id]).output());
        }
        let images = self.command(&["images", "-aq", "--no-trunc"]).output();
        let images = images.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        for id in images.split_whitespace() {
            drop(self.command(&["rmi", "-f", id]).output());
        }
        drop(self.command(&["volume", "prune", "-af"]).output());
        if !std::thread::panicking() {
            let left = self.left_overs();
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}

/// Waits until `holds`, for at most `seconds`.
#[must_use]
pub fn eventually(seconds: u64, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says that a test is skipped and why; a skip that `skips.txt` does not allow fails.
pub fn skip(test: &str, missing: &str) {
    let list = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("skips.txt")).unwrap_or_default();
    let allowed = list.lines().any(|l| l.split_once(char::is_whitespace).is_some_and(|(name, _)| name == test));
    assert!(allowed, "{test} needs {missing}, and skips.txt does not allow this skip");
    eprintln!("SKIPPED {test}: needs {missing}");
}
