//! The real `docker` and its daemon, with everything of their own: nothing of the machine's docker is touched.
//!
//! The daemon has a mount, a network and a pid namespace to itself, so no mount and no process outlives the test, even
//! one that is killed. Its control groups are below one directory, which is removed at the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::session::Engine;
use crate::{eventually, is_root};

/// Debian's programs; a `docker` that comes first in the path can be of another version than the daemon.
const CLIENT: &str = "/usr/bin/docker";
const DAEMON: &str = "/usr/sbin/dockerd";

/// A running daemon, ended and removed when it is dropped.
#[derive(Debug)]
pub struct Daemon {
    dir: tempfile::TempDir,
    child: Child,
    group: String,
}

impl Daemon {
    /// What is missing for it on this machine; `None` when it can be started.
    #[must_use]
    pub fn missing() -> Option<&'static str> {
        let there = |path: &str| Path::new(path).exists();
        if !is_root() {
            Some("root: the daemon runs as root")
        } else if !there(CLIENT) || !there(DAEMON) {
            Some("the package docker.io")
        } else {
            None
        }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with further words for the daemon.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn with(more: &[String]) -> Self {
        // Short, because the paths of sockets are below it.
        let dir = tempfile::Builder::new().prefix("dkr").tempdir().expect("a scratch directory");
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let group = format!("bulkhead-session-{}", dir.path().file_name().unwrap_or_default().to_string_lossy());
        for name in ["config", "home"] {
            std::fs::create_dir(path(name)).expect("a directory");
        }
        std::fs::write(path("daemon.json"), "{}").expect("a file");
        let log = std::fs::File::create(path("log")).expect("a log");
        let words = [
            format!("--host=unix://{}", path("sock")),
            format!("--data-root={}", path("data")),
            format!("--exec-root={}", path("exec")),
            format!("--pidfile={}", path("pid")),
            format!("--config-file={}", path("daemon.json")),
            format!("--cgroup-parent=/{group}"),
            "--storage-driver=overlay2".to_owned(),
        ];
        let fixed =
            ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--userland-proxy=false"];
        // In its own network namespace it may forward, and does not warn of what it cannot do.
        let script = "echo 1 > /proc/sys/net/ipv4/ip_forward; exec \"$@\"";
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", script, "sh", DAEMON])
            .args(words)
            .args(fixed)
            .args(more)
            .env_remove("DOCKER_HOST")
            .env("HOME", path("home"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("setpriv starts");
        let mut daemon = Self { dir, child, group };
        let engine = daemon.engine();
        let answers = eventually(60, || {
            let ended = daemon.child.try_wait().expect("a child").is_some();
            ended || engine.bash(Path::new("/"), "E version").code == 0
        });
        let alive = daemon.child.try_wait().expect("a child").is_none();
        let log = std::fs::read_to_string(daemon.dir.path().join("log")).unwrap_or_default();
        assert!(answers && alive, "dockerd does not answer:\n{log}");
        daemon
    }

    /// Its client.
    #[must_use]
    pub fn engine(&self) -> Engine {
        let path = |name: &str| self.dir.path().join(name);
        let host = PathBuf::from(format!("unix://{}", path("sock").display()));
        Engine {
            name: "docker",
            command: vec![CLIENT.to_owned()],
            env: vec![("DOCKER_HOST", host), ("DOCKER_CONFIG", path("config"))],
            scratch: path("home"),
        }
    }

    /// Control groups that were made for it.
    fn groups(&self) -> Vec<PathBuf> {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
        let places = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|h| h.join(&self.group));
        places.filter(|p| p.is_dir()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Asked first; its containers are ended in order. Its first process is the child of the child.
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero()));
        let daemon = children.ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
        if let Some(daemon) = daemon.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(daemon, rustix::process::Signal::TERM);
        }
        let ended = eventually(20, || matches!(self.child.try_wait(), Ok(Some(_))));
        if !ended {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        let gone = eventually(10, || {
            for group in self.groups() {
                remove_groups(&group);
            }
            self.groups().is_empty()
        });
        if !std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let last = log.lines().rev().take(5).collect::<Vec<_>>();
            assert!(ended, "dockerd did not end when it was asked: {last:#?}");
            assert!(gone, "left behind: {:?}", self.groups());
        }
    }
}

/// Removes empty groups, the deepest first.
fn remove_groups(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    drop(std::fs::remove_dir(path));
}
