//! A configuration file for one test: the system's file of a test lies over `/etc` in a mount namespace of the test's own;
//! the machine's is never touched.

#![allow(clippy::missing_panics_doc, reason = "a failure is the result of the test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::{Bench, Said, binary, is_root};

/// A store with a configuration file: the system's as root, the user's own else.
#[derive(Debug)]
pub struct Configured {
    /// The store.
    pub bench: Bench,
}

impl Configured {
    /// With a file of this text.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let one = Self { bench: Bench::new() };
        std::fs::create_dir_all(one.file().parent().unwrap()).unwrap();
        std::fs::write(one.file(), text).unwrap();
        let mode = |path: PathBuf, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(one.file(), 0o644);
        mode(one.file().parent().unwrap().to_path_buf(), 0o755);
        one
    }

    /// Where the test has it.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.bench.path("etc/bulkhead/config.toml")
    }

    /// What the program calls it.
    #[must_use]
    pub fn name(&self) -> String {
        if is_root() { "/etc/bulkhead/config.toml".to_owned() } else { self.file().display().to_string() }
    }

    /// The program with these words, under the file.
    #[must_use]
    pub fn say(&self, words: &[&str]) -> Said {
        self.command(words).output().unwrap().into()
    }

    /// The same, not yet started.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = if is_root() {
            // Everything of the machine's /etc, with ours over it.
            let script = "mount -t tmpfs none \"$1/over\" && mkdir \"$1/over/up\" \"$1/over/work\" && \
                          mount -t overlay -o \"lowerdir=/etc,upperdir=$1/over/up,workdir=$1/over/work\" none /etc && \
                          mkdir -p /etc/bulkhead && mount --bind \"$1/etc/bulkhead\" /etc/bulkhead && shift && exec \"$@\"";
            std::fs::create_dir_all(self.bench.path("over")).unwrap();
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(self.bench.dir.path());
            command.arg(binary());
            command
        } else {
            let mut command = Command::new(binary());
            command.env("XDG_CONFIG_HOME", self.bench.path("etc"));
            command
        };
        command.args(words).envs(self.bench.env()).stdin(std::process::Stdio::null());
        command
    }

    /// A shell script in a fresh container of the image `host`.
    #[must_use]
    pub fn sh(&self, flags: &[&str], script: &str) -> Said {
        let mut words = vec!["run", "--rm"];
        words.extend(flags);
        words.extend(["host", "sh", "-c", script]);
        self.say(&words)
    }

    /// The row of one key as JSON.
    #[must_use]
    pub fn row(&self, key: &str) -> serde_json::Value {
        let text = self.say(&["config", "show", "--format", "json"]).ok();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        rows.into_iter().find(|row| row["Key"] == key).unwrap()
    }
}
