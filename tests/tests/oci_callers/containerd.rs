//! containerd by its own client: `ctr run --runc-binary`, which is `BinaryName` of its shim's options.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use bulkhead_tests::session::Engine;
use bulkhead_tests::{Said, eventually, is_root, skip};

use super::{Line, TTY, Text, both, image, runtime};

/// A daemon with a mount, a network and a pid namespace to itself; all of it ends with its first process.
struct Containerd {
    dir: tempfile::TempDir,
    child: Child,
}

impl Containerd {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("ctd").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            path("root"),
            path("run"),
            path("sock"),
            path("ttrpc")
        );
        std::fs::write(path("config.toml"), config).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let words =
            ["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let child = Command::new("setpriv")
            .args(words)
            .args(["containerd", "--config", &path("config.toml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Self { dir, child };
        let engine = daemon.engine();
        let answers = eventually(30, || engine.bash(Path::new("/"), "E version").code == 0);
        assert!(answers, "{}", std::fs::read_to_string(daemon.dir.path().join("log")).unwrap_or_default());
        daemon
    }

    fn engine(&self) -> Engine {
        let scratch = self.dir.path().join("home");
        std::fs::create_dir_all(&scratch).unwrap();
        let socket = self.dir.path().join("sock").to_string_lossy().into_owned();
        Engine { name: "ctr", command: vec!["ctr".to_owned(), "-a".to_owned(), socket], env: Vec::new(), scratch }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The directory above the containers' own groups, which runtimes leave; removed after the daemon has ended.
struct Groups(String);

impl Groups {
    fn find(&self) -> String {
        let line = format!("find /sys/fs/cgroup -depth -type d -path '*/{}*'", self.0);
        Said::from(Command::new("sh").args(["-c", &line]).output().unwrap()).out
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let gone = eventually(10, || {
            for directory in self.find().lines() {
                drop(std::fs::remove_dir(directory));
            }
            self.find().is_empty()
        });
        assert!(gone || std::thread::panicking(), "left behind: {}", self.find());
    }
}

const LINES: &[Line] = &[
    ("E run --rm $R $I one echo hello", Text("hello\n-> 0")),
    ("E run --rm $R $I one sh -c 'exit 4'", Text("-> 4")),
    (
        "E run --rm $R $I one nosuch 2>&1 | grep -c 'OCI runtime create failed.*executable file not found in $PATH'",
        Text("1\n-> 1"),
    ),
    ("E run --rm $R --memory-limit 50000000 $I one true", Text("-> 0")),
    ("E run --detach $R --memory-limit 50000000 $I one sleep 300", Text("-> 0")),
    ("E task exec --exec-id two one sh -c 'echo in; exit 6'", Text("in\n-> 6")),
    ("E task exec --exec-id three one nosuch 2>&1 | grep -c 'exec failed.*executable file not found'", Text("1\n-> 1")),
    (
        "E task pause one; E task ls | grep -o PAUSED; E task resume one; E task ls | grep -o RUNNING",
        Text("PAUSED\nRUNNING\n-> 0"),
    ),
    ("E task ps one | sed 1d | wc -l", Text("1\n-> 0")),
    (
        "E task metrics one | awk '/^memory.(limit_in_bytes|usage_limit|max)|^pids.current/ { print $1, ($2 > 0) }' | grep -c ' 1'",
        Text("2\n-> 0"),
    ),
    (
        "E task kill -s KILL one; for i in $(seq 100); do E task ls | grep -o STOPPED && break; sleep 0.1; done; \
         E task delete one 2>/dev/null; E container delete one",
        Text("STOPPED\n-> 0"),
    ),
    ("E task ls -q; E container ls -q", Text("-> 0")),
];

#[test]
fn containerd_calls_it() {
    let there = |path: &str| Path::new(path).exists();
    if !is_root() || !there("/usr/bin/containerd") || !there("/usr/bin/ctr") {
        skip("containerd_calls_it", "root and the package containerd");
        return;
    }
    let groups = Groups(format!("bulkhead-callers-{}", std::process::id()));
    let daemon = Containerd::start();
    let mut engine = daemon.engine();
    let image = image(&engine.scratch);
    let native = "--snapshotter native";
    engine.bash(&engine.scratch, &format!("E image import {native} {}", image.display())).ok();
    engine.env.push(("I", "localhost/box:latest".into()));
    let ours = runtime(daemon.dir.path());
    let flags = |binary: &str| format!("{native} --runc-binary {binary} --cgroup /{}/one", groups.0);
    let runtimes = [flags("runc"), flags(&ours.to_string_lossy())];
    let runtimes = [runtimes[0].as_str(), runtimes[1].as_str()];
    both(&engine, runtimes, LINES);
    let terminals = [
        (
            format!("{TTY}tty E run --rm -t $R $I one sh -c \"'tty; exit 2'\"; exit ${{PIPESTATUS[0]}}"),
            "/dev/pts/0\n-> 2",
        ),
        (
            format!(
                "{TTY}E run --detach $R $I one sleep 300; tty E task exec -t --exec-id two one tty | grep -o /dev/pts/0; \
                 E task kill -s KILL one; sleep 0.5; E task delete one 2>/dev/null; E container delete one"
            ),
            "/dev/pts/0\n-> 0",
        ),
    ];
    let terminals: Vec<Line> = terminals.into_iter().map(|(line, text)| (line.leak() as &str, Text(text))).collect();
    both(&engine, runtimes, &terminals);
}
