//! System call filters of bundles that ask: the listener goes to a socket, and what it answers holds. As root and as an
//! ordinary user; the program is the one that callers use, under its other name.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bulkhead_tests::{Said, binary, eventually, is_root};
use serde_json::{Value, json};

/// A bundle of busybox, and whoever answers.
struct Stage {
    dir: tempfile::TempDir,
}

/// The container's own program, and its id, which no other container of this machine has.
fn id(name: &str) -> String {
    format!("bulkhead-test-{name}-{}", std::process::id())
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().unwrap();
        symlink(binary(), dir.path().join("bulkhead-runc")).unwrap();
        let rootfs = dir.path().join("rootfs");
        for name in ["bin", "proc", "dev", "tmp"] {
            std::fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for name in ["sh", "mkdir", "sleep", "true", "grep"] {
            symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the config: the program's own default one with this filter and this command.
    fn config(&self, script: &str, seccomp: Value, no_new_privileges: bool) {
        let path = self.path("config.json");
        drop(std::fs::remove_file(&path));
        let bundle = self.dir.path().to_string_lossy().into_owned();
        let words = if is_root() { vec!["spec", "-b", &bundle] } else { vec!["spec", "--rootless", "-b", &bundle] };
        Said::from(Command::new(self.path("bulkhead-runc")).args(words).output().unwrap()).ok();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["process"]["cwd"] = json!("/tmp");
        config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        config["root"]["readonly"] = json!(false);
        config["linux"]["seccomp"] = seccomp;
        std::fs::write(&path, config.to_string()).unwrap();
    }

    fn say(&self, words: &[&str]) -> Said {
        let root = self.path("root").to_string_lossy().into_owned();
        let mut command = Command::new(self.path("bulkhead-runc"));
        command.args([&["--root", root.as_str()], words].concat()).current_dir(self.dir.path()).stdin(Stdio::null());
        command.output().unwrap().into()
    }

    fn run(&self, name: &str) -> Said {
        let said = self.say(&["run", &id(name)]);
        assert_eq!(self.say(&["list", "-q"]).ok(), "", "nothing is left of it");
        said
    }
}

/// The program in `agent/`, compiled, running, and ended with the test.
struct Agent {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Agent {
    fn new(dir: &Path) -> Self {
        let program = dir.join("agent");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent/agent.c");
        let made = Command::new("cc").args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(source).output();
        Said::from(made.unwrap()).ok();
        let mut child = Command::new(program)
            .arg(dir.join("asks.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "listening");
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// The next message about a container.
    fn container(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(line.strip_prefix("container ").unwrap_or_else(|| panic!("{line:?}"))).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn asking(stage: &Stage, calls: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": stage.path("asks.sock"), "listenerMetadata": "from the test",
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": calls, "action": "SCMP_ACT_NOTIFY"}],
    })
}

#[test]
fn what_the_listener_answers_holds() {
    let stage = Stage::new();
    let mut agent = Agent::new(stage.dir.path());
    // Before capabilities are given up, and after.
    for no_new_privileges in [true, false] {
        let script = "mkdir yes && echo made; mkdir no || echo refused; grep Seccomp: /proc/self/status";
        stage.config(script, asking(&stage, &["mkdir", "mkdirat"]), no_new_privileges);
        drop(std::fs::remove_dir(stage.path("rootfs/tmp/yes")));
        let said = stage.run("answers");
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.out, "made\nrefused\nSeccomp:\t2\n", "{said:?}");
        assert!(said.err.contains("Operation not permitted"), "{said:?}");
        let told = agent.container();
        assert_eq!((&told["fds"], &told["metadata"]), (&json!(["seccompFd"]), &json!("from the test")));
        assert_eq!((&told["state"]["id"], &told["state"]["status"]), (&json!(id("answers")), &json!("creating")));
        assert!(told["pid"].as_i64().unwrap() > 1 && told["pid"] == told["state"]["pid"], "{told}");
        assert_eq!([agent.line(), agent.line()], ["asked mkdir yes", "asked mkdir no"]);
    }
}

/// As other runtimes do: whoever answers need not wait for the start.
#[test]
fn the_listener_comes_when_the_container_is_made() {
    let stage = Stage::new();
    let mut agent = Agent::new(stage.dir.path());
    stage.config("mkdir no", asking(&stage, &["mkdir", "mkdirat"]), true);
    let id = id("early");
    let bundle = stage.dir.path().to_string_lossy().into_owned();
    let mut command = Command::new(stage.path("bulkhead-runc"));
    command.args(["--root", &stage.path("root").to_string_lossy(), "create", "-b", &bundle, &id]);
    let made = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let told = made.success().then(|| agent.container());
    let started = stage.say(&["start", &id]);
    let asked = (started.code == 0).then(|| agent.line());
    stage.say(&["delete", "--force", &id]).ok();
    assert_eq!(told.expect("it is made")["state"]["id"], json!(id));
    assert_eq!(asked.as_deref(), Some("asked mkdir no"), "{started:?}");
    assert!(eventually(5, || stage.say(&["list", "-q"]).out.is_empty()));
}

/// Whoever answers hears of the start of the program itself.
#[test]
fn the_start_of_the_program_can_be_asked_about() {
    let stage = Stage::new();
    let mut agent = Agent::new(stage.dir.path());
    stage.config("true", asking(&stage, &["execve", "close_range", "openat", "close"]), true);
    assert_eq!(stage.run("start").ok(), "");
    // The filter asks about what waiting needs, so it is loaded when the program starts.
    assert_eq!(agent.container()["state"]["status"], json!("created"));
    // What the runtime itself closes comes first.
    assert_eq!(agent.line(), "asked other ");
    while agent.line() != "asked execve " {}
}

#[test]
fn a_process_that_joins_asks_too() {
    let stage = Stage::new();
    let mut agent = Agent::new(stage.dir.path());
    stage.config("sleep 60", asking(&stage, &["mkdir", "mkdirat"]), true);
    let id = id("joins");
    let bundle = stage.dir.path().to_string_lossy().into_owned();
    // Its streams are the caller's: nobody may wait for their end.
    let mut command = Command::new(stage.path("bulkhead-runc"));
    command.args(["--root", &stage.path("root").to_string_lossy(), "run", "-d", "-b", &bundle, &id]);
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let first = started.success().then(|| agent.container());
    let said = stage.say(&["exec", &id, "mkdir", "no"]);
    let second = (said.code == 1).then(|| agent.container());
    stage.say(&["delete", "--force", &id]).ok();
    let (first, second) = (first.expect("it starts"), second.unwrap_or_else(|| panic!("{said:?}")));
    assert!(said.err.contains("Operation not permitted"), "{said:?}");
    assert_eq!((&second["state"]["status"], &second["state"]["pid"]), (&json!("running"), &first["pid"]));
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!(agent.line(), "asked mkdir no");
    assert!(eventually(5, || stage.say(&["list", "-q"]).out.is_empty()));
}

#[test]
fn nobody_to_answer_is_an_error_and_leaves_nothing() {
    let stage = Stage::new();
    let refuse = |seccomp: Value, words: &[&str]| {
        stage.config("true", seccomp, true);
        let said = stage.run("nobody");
        assert_eq!(said.code, 1, "{said:?}");
        for word in words {
            assert!(said.err.contains(word), "{word}: {}", said.err);
        }
    };
    let path = stage.path("asks.sock").to_string_lossy().into_owned();
    refuse(asking(&stage, &["mkdir"]), &["linux.seccomp", "listenerPath", &path]);
    let mut without = asking(&stage, &["mkdir"]);
    without["listenerPath"] = json!("");
    refuse(without, &["linux.seccomp.listenerPath", "SCMP_ACT_NOTIFY"]);
    refuse(asking(&stage, &["sendmsg"]), &["linux.seccomp.syscalls", "sendmsg", "SCMP_ACT_NOTIFY"]);
    refuse(asking(&stage, &["write"]), &["linux.seccomp.syscalls", "write"]);
    refuse(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": path}), &["linux.seccomp.defaultAction"]);
}

/// As other runtimes take it: an empty object is no filter, a name that no kernel has is nothing, a listener's path
/// without a question is not looked at, and flags that need a listener do without one.
#[test]
fn what_is_no_question_needs_no_answer() {
    let stage = Stage::new();
    let loaded = |seccomp: Value| {
        stage.config("grep Seccomp: /proc/self/status; mkdir x 2>&1; true", seccomp, true);
        drop(std::fs::remove_dir(stage.path("rootfs/tmp/x")));
        stage.run("plain").ok()
    };
    assert_eq!(loaded(json!({})), "Seccomp:\t0\n");
    assert_eq!(loaded(Value::Null), "Seccomp:\t0\n");
    assert_eq!(loaded(json!({"defaultAction": "SCMP_ACT_ALLOW"})), "Seccomp:\t2\n");
    let rule = json!([
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122},
        {"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"},
    ]);
    let flags = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ]);
    let said = loaded(json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nobody/here", "flags": flags, "syscalls": rule,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    }));
    assert_eq!(said, "Seccomp:\t2\nmkdir: can't create directory 'x': Disk quota exceeded\n");
}
