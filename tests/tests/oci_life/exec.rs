//! `exec`: users, rights, terminals, descriptors.

use std::os::fd::AsRawFd;

use bulkhead_tests::console::{Socket, expect};
use bulkhead_tests::oci::Runtime;
use bulkhead_tests::{eventually, is_root};
use serde_json::json;

fn running() -> Runtime {
    let runtime = Runtime::new();
    runtime.bundle("web", "exec sleep 300", |config| config["root"]["readonly"] = json!(false));
    runtime.create("web", &[]).ok();
    runtime.on("start", "web", &[]).ok();
    runtime
}

/// `exec` with flags before the id and the script of a shell.
fn exec(runtime: &Runtime, flags: &[&str], script: &str) -> bulkhead_tests::Said {
    runtime.say(&[&["exec"], flags, &[&runtime.id("web"), "sh", "-c", script]].concat())
}

#[test]
fn a_process_is_what_flags_and_file_say() {
    let runtime = running();
    let said = exec(&runtime, &["--env", "A=B", "--cwd", "/data"], "echo $A; pwd; echo e >&2; exit 9");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (9, "B\n/data\n", "e\n"));
    // All namespaces and the group of the first process.
    let script = "for n in mnt pid net ipc uts; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done; \
        cmp /proc/1/cgroup /proc/self/cgroup";
    assert_eq!(exec(&runtime, &[], script).ok(), "");
    let caps = |flags: &[&str]| exec(&runtime, flags, "grep CapEff /proc/self/status").ok();
    assert_eq!(caps(&[]), "CapEff:\t0000000020000420\n");
    assert_eq!(caps(&["--cap", "CAP_CHOWN"]), "CapEff:\t0000000020000421\n");
    let ambient = |flags: &[&str]| exec(&runtime, flags, "grep CapAmb /proc/self/status").ok();
    assert_eq!(ambient(&["--cap", "CAP_CHOWN"]), "CapAmb:\t0000000000000000\n");
    let file = runtime.path("process.json");
    let process = json!({"args": ["sh", "-c", "id -u; ulimit -n; pwd; grep NoNew /proc/self/status; umask"], "cwd": "/tmp", "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0, "umask": 0o77}, "noNewPrivileges": true, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]});
    std::fs::write(&file, process.to_string()).unwrap();
    let said = runtime.say(&["exec", "--process", &file.to_string_lossy(), &runtime.id("web")]).ok();
    assert_eq!(said, "0\n77\n/tmp\nNoNewPrivs:\t1\n0077\n");
    if is_root() {
        let said = exec(
            &runtime,
            &["--user", "7:8", "--additional-gids", "9"],
            "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status",
        );
        assert_eq!(said.ok(), "Uid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t9 \nCapEff:\t0000000000000000\n");
    }
    // The specification: an unknown one is told of and left out.
    let said = exec(&runtime, &["--cap", "CAP_NONE"], "grep CapEff /proc/self/status");
    assert_eq!((said.code, said.out.as_str()), (0, "CapEff:\t0000000020000420\n"));
    assert!(said.err.contains("CAP_NONE") && said.err.lines().count() == 1, "{}", said.err);
    let said = runtime.say(&["exec", &runtime.id("web"), "nosuch"]);
    assert!(said.fails(255).contains("executable file not found in $PATH"));
}

#[test]
fn a_capability_that_the_config_lets_be_inherited_becomes_ambient() {
    let runtime = Runtime::new();
    runtime.bundle("web", "exec sleep 300", |config| {
        config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SYSLOG"],
            "inheritable": ["CAP_CHOWN", "CAP_SYSLOG"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "ambient": ["CAP_CHOWN"]});
    });
    runtime.create("web", &[]).ok();
    runtime.on("start", "web", &[]).ok();
    let ambient = |flags: &[&str]| exec(&runtime, flags, "grep CapAmb /proc/self/status").ok();
    assert_eq!(ambient(&[]), "CapAmb:\t0000000000000001\n");
    assert_eq!(ambient(&["--cap", "CAP_SYSLOG"]), "CapAmb:\t0000000400000001\n");
}

#[test]
fn a_failure_is_in_the_log_that_was_named() {
    let runtime = running();
    let log = runtime.path("log.json").to_string_lossy().into_owned();
    let _ = runtime.say(&["--log", &log, "--log-format", "json", "exec", &runtime.id("web"), "nosuch"]).fails(255);
    let text = std::fs::read_to_string(&log).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(line["level"] == "error" && line["msg"].as_str().unwrap().contains("not found in $PATH"), "{text}");
}

#[test]
fn a_detached_process_outlives_its_caller() {
    let runtime = running();
    let file = runtime.path("exec.pid");
    exec(&runtime, &["--detach", "--pid-file", &file.to_string_lossy()], "echo on > /tmp/on; exec sleep 299").ok();
    let pid = std::fs::read_to_string(&file).unwrap();
    let line = || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(eventually(5, || line().contains("299")), "{pid}: {}", line());
    let all: Vec<i64> = serde_json::from_str(&runtime.say(&["ps", "-f", "json", &runtime.id("web")]).ok()).unwrap();
    assert!(!is_root() || all.contains(&pid.parse().unwrap()), "{pid} is not in {all:?}");
    runtime.on("delete", "web", &["--force"]).ok();
    assert!(eventually(5, || line().is_empty()));
}

#[test]
fn terminals_arrive_at_the_socket() {
    let runtime = Runtime::new();
    runtime.bundle("web", "tty; stty size; read line; echo got $line; exec sleep 300", |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 33, "width": 97});
    });
    assert!(runtime.create("web", &[]).fails(1).contains("--console-socket"));
    let socket = Socket::at(&runtime.path("tty"));
    let (_, master) = std::thread::scope(|scope| {
        let taken = scope.spawn(|| socket.take());
        runtime.create("web", &["--console-socket", &socket.path()]).ok();
        taken.join().unwrap()
    });
    runtime.on("start", "web", &[]).ok();
    expect(&master, "/dev/pts/0\r\n33 97\r\n");
    rustix::io::write(&master, b"word\n").unwrap();
    expect(&master, "got word");
    let (_, second) = std::thread::scope(|scope| {
        let taken = scope.spawn(|| socket.take());
        exec(&runtime, &["--tty", "--detach", "--console-socket", &socket.path()], "tty; exec sleep 300").ok();
        taken.join().unwrap()
    });
    expect(&second, "/dev/pts/1");
    if is_root() {
        // The user's, with the group that the config gives its terminals.
        let (_, third) = std::thread::scope(|scope| {
            let taken = scope.spawn(|| socket.take());
            let flags = ["--tty", "--detach", "--user", "7:8", "--console-socket", &socket.path()];
            exec(&runtime, &flags, "stat -c owner=%u:%g $(tty); exec sleep 300").ok();
            taken.join().unwrap()
        });
        expect(&third, "owner=7:5");
    }
    assert!(exec(&runtime, &["--detach", "--console-socket", &socket.path()], "").fails(255).contains("terminal"));
}

#[test]
fn descriptors_are_passed_by_number_and_no_others() {
    let runtime = running();
    let file = std::fs::File::create(runtime.path("passed")).unwrap();
    let other = std::fs::File::create(runtime.path("other")).unwrap();
    // A shell gives them the numbers 3 and 4, open over `exec`.
    let run = |words: &str| -> bulkhead_tests::Said {
        let line = format!(
            "exec 3>/proc/{0}/fd/{1} 4>/proc/{0}/fd/{2}; exec \"$0\" --root \"$1\" {words}",
            std::process::id(),
            file.as_raw_fd(),
            other.as_raw_fd()
        );
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &line]).arg(runtime.path("bulkhead-runc")).arg(runtime.path("state"));
        command.stdin(std::process::Stdio::null()).output().unwrap().into()
    };
    let id = runtime.id("web");
    let script = "'echo three >&3; ls /proc/self/fd | wc -l; echo four 2>/dev/null >&4; :'";
    // Streams, the one that is passed, and the directory that is being listed.
    assert_eq!(run(&format!("exec --preserve-fds 1 {id} sh -c {script} 2>/dev/null")).out, "5\n");
    assert_eq!(std::fs::read_to_string(runtime.path("passed")).unwrap(), "three\n");
    assert_eq!(std::fs::read_to_string(runtime.path("other")).unwrap(), "");
    let bundle =
        runtime.bundle("fds", "echo from-create >&3; ls /proc/self/fd | wc -l", |_| {}).to_string_lossy().into_owned();
    let said = run(&format!("run --preserve-fds 1 --bundle {bundle} {}", runtime.id("fds")));
    assert_eq!((said.code, said.out.as_str()), (0, "5\n"), "{}", said.err);
    assert!(std::fs::read_to_string(runtime.path("passed")).unwrap().contains("from-create"));
    assert!(run(&format!("exec --preserve-fds 9 {id} true")).fails(255).contains("no open descriptor 5"));
}
