//! The program as an OCI runtime: bundles of a test's own, and nothing left of their containers.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{Said, binary, is_root};

/// A directory with the program under its other name, a state root, a root file system of busybox, and bundles. Removed
/// when it is dropped, with all its containers.
#[derive(Debug)]
pub struct Runtime {
    dir: tempfile::TempDir,
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime {
    /// # Panics
    /// When a file cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().expect("a scratch directory");
        // Users of containers come through it.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), mode).expect("a mode");
        symlink(binary(), dir.path().join("bulkhead-runc")).expect("a link");
        let script = "set -e; mkdir -p rootfs/bin rootfs/etc rootfs/tmp rootfs/proc rootfs/sys rootfs/dev rootfs/data; \
            cp \"$(command -v busybox)\" rootfs/bin/busybox; chmod 755 rootfs/bin/busybox; \
            for a in $(rootfs/bin/busybox --list); do [ $a = busybox ] || ln -s busybox rootfs/bin/$a; done; \
            printf 'root:x:0:0:root:/:/bin/sh\\n' > rootfs/etc/passwd; echo data > rootfs/bin/data; chmod 644 rootfs/bin/data; \
            chmod 1777 rootfs/tmp";
        let made: Said = Command::new("sh").args(["-ec", script]).current_dir(&dir).output().expect("sh starts").into();
        made.ok();
        Self { dir }
    }

    /// Path of something in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Something that is in the directory's name alone, and may be in the name of a container.
    #[must_use]
    pub fn unique(&self) -> String {
        self.dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The id of a container: no other test's control group has its name.
    #[must_use]
    pub fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.unique())
    }

    /// The program with its own state root and these words.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("bulkhead-runc"));
        command.arg("--root").arg(self.path("state")).args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end; what it prints goes to files, which a container that stays may keep open.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn say(&self, words: &[&str]) -> Said {
        let (out, err) =
            (tempfile::NamedTempFile::new().expect("a file"), tempfile::NamedTempFile::new().expect("a file"));
        let mut command = self.command(words);
        command.stdout(out.reopen().expect("a file")).stderr(err.reopen().expect("a file"));
        let status = command.status().expect("the program starts");
        let read = |file: &tempfile::NamedTempFile| std::fs::read(file.path()).expect("a file");
        std::process::Output { status, stdout: read(&out), stderr: read(&err) }.into()
    }

    /// Writes the bundle `name`: the config of `spec` without a terminal, with the script as its program, and changed.
    ///
    /// # Panics
    /// When a file cannot be made.
    pub fn bundle(&self, name: &str, script: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.path(name);
        std::fs::create_dir_all(&bundle).expect("a directory");
        let file = bundle.join("config.json");
        drop(std::fs::remove_file(&file));
        let path = bundle.to_string_lossy().into_owned();
        let words = ["spec", "--bundle", &path, "--rootless"];
        self.say(if is_root() { &words[..3] } else { &words }).ok();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).expect("a config")).expect("JSON");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        config["root"]["path"] = json!(self.path("rootfs"));
        change(&mut config);
        std::fs::write(&file, config.to_string()).expect("a file");
        bundle
    }

    /// Runs a script in a container of a changed config to its end.
    #[must_use]
    pub fn sh(&self, script: &str, change: impl FnOnce(&mut Value)) -> Said {
        let bundle = self.bundle("once", script, change);
        self.say(&["run", "--bundle", &bundle.to_string_lossy(), &self.id("once")])
    }

    /// Creates a container of the bundle `name`.
    #[must_use]
    pub fn create(&self, name: &str, flags: &[&str]) -> Said {
        let bundle = self.path(name).to_string_lossy().into_owned();
        let id = self.id(name);
        self.say(&[&["create", "--bundle", &bundle], flags, &[&id]].concat())
    }

    /// A command about the container of the bundle `name`, with further words.
    #[must_use]
    pub fn on(&self, command: &str, name: &str, words: &[&str]) -> Said {
        let id = self.id(name);
        self.say(&[&[command, &id], words].concat())
    }

    /// What `state` says of it.
    ///
    /// # Panics
    /// When it says no JSON.
    #[must_use]
    pub fn state(&self, name: &str) -> Value {
        serde_json::from_str(&self.on("state", name, &[]).ok()).expect("JSON")
    }

    /// Its status.
    #[must_use]
    pub fn status(&self, name: &str) -> String {
        self.state(name)["status"].as_str().unwrap_or_default().to_owned()
    }

    /// What is left of containers: state, control groups, mounts, processes that have the root file system.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for entry in std::fs::read_dir(self.path("state")).into_iter().flatten().flatten() {
            left.push(format!("state {}", entry.file_name().to_string_lossy()));
        }
        groups(Path::new("/sys/fs/cgroup"), &self.unique(), 6, &mut left);
        let here = self.dir.path().to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(mounts.lines().filter(|l| l.contains(&here)).map(|l| format!("mount {l}")));
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            if mounts.contains(&here) {
                let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                left.push(format!("process {pid} {}", comm.trim()));
            }
        }
        left
    }
}

/// Control groups below `directory` whose name begins with `prefix`.
fn groups(directory: &Path, prefix: &str, depth: usize, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(format!("group {}", entry.path().display()));
        } else if depth > 0 {
            groups(&entry.path(), prefix, depth - 1, found);
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let entries = std::fs::read_dir(self.path("state")).into_iter().flatten().flatten();
        let ids: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        for id in &ids {
            drop(self.say(&["delete", "--force", id]));
        }
        if !std::thread::panicking() {
            let left = self.left();
            assert!(left.is_empty(), "left behind: {left:#?}");
        }
    }
}
