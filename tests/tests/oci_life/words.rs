//! `create`, `start`, `state`, `kill`, `pause`, `resume`, `delete`, `run`: texts and exit codes.

use bulkhead_tests::oci::Runtime;
use bulkhead_tests::{eventually, is_root};
use serde_json::json;

#[test]
fn a_life_from_create_to_delete() {
    let runtime = Runtime::new();
    runtime.bundle("web", "exec sleep 300", |config| config["annotations"] = json!({"org.example": "yes"}));
    let pid_file = runtime.path("pid");
    runtime.create("web", &["--pid-file", &pid_file.to_string_lossy()]).ok();
    let state = runtime.state("web");
    assert_eq!((&state["status"], &state["annotations"]["org.example"]), (&json!("created"), &json!("yes")), "{state}");
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), state["pid"].to_string());
    // The program has not begun.
    let line = || std::fs::read(format!("/proc/{}/cmdline", state["pid"])).unwrap();
    assert!(!String::from_utf8_lossy(&line()).contains("sleep"));
    assert!(runtime.create("web", &[]).fails(1).contains("exist"));
    assert!(runtime.on("resume", "web", &[]).fails(1).contains("not paused"));
    runtime.on("start", "web", &[]).ok();
    assert_eq!(runtime.status("web"), "running");
    assert!(eventually(5, || String::from_utf8_lossy(&line()).contains("sleep")));
    assert!(runtime.on("start", "web", &[]).fails(1).contains("already running"));
    assert!(runtime.on("delete", "web", &[]).fails(1).contains("not stopped"));
    runtime.on("kill", "web", &["0"]).ok();
    assert!(runtime.on("kill", "web", &["NOSIG"]).fails(1).contains("NOSIG"));
    runtime.on("kill", "web", &["SIGKILL"]).ok();
    assert!(eventually(5, || runtime.status("web") == "stopped"));
    assert_eq!(runtime.state("web")["pid"], json!(0));
    assert!(runtime.on("kill", "web", &["KILL"]).fails(1).contains("container not running"));
    assert!(runtime.on("start", "web", &[]).fails(1).contains("cannot start a container that has stopped"));
    assert!(runtime.on("exec", "web", &["true"]).fails(255).contains("stopped"));
    runtime.on("delete", "web", &[]).ok();
    assert_eq!(runtime.left(), [""; 0]);
    for command in ["state", "start", "kill", "delete", "pause", "resume"] {
        assert!(runtime.on(command, "web", &[]).fails(1).contains("container does not exist"), "{command}");
    }
}

#[test]
fn run_ends_with_the_code_of_the_program() {
    let runtime = Runtime::new();
    assert_eq!(runtime.sh("echo out; echo err >&2; exit 7", |_| {}), said(7, "out\n", "err\n"));
    assert_eq!(runtime.left(), [""; 0]);
    // The first process of a namespace is safe from its own signals: another runtime gives the same code.
    assert_eq!(runtime.sh("sh -c 'kill -KILL $$'; exit $?", |_| {}).code, 137);
    for (program, words) in [
        ("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/bin/data", "exec: \"/bin/data\": stat /bin/data: permission denied"),
    ] {
        let said = runtime.sh("", |config| config["process"]["args"] = json!([program]));
        assert!(said.err.contains(&words.replace('"', "\\\"")) && said.code != 0, "{said:?}");
    }
    // A working directory that is not there is made, as other runtimes do; a file is none.
    assert_eq!(runtime.sh("pwd", |config| config["process"]["cwd"] = json!("/made")).ok(), "/made\n");
    let said = runtime.sh("", |config| config["process"]["cwd"] = json!("/bin/data"));
    assert!(said.code == 1 && said.err.contains("/bin/data"), "{said:?}");
    let said = runtime.sh("", |config| config["process"]["args"] = json!([]));
    assert!(said.code == 1 && said.err.contains("process.args"), "{said:?}");
    assert_eq!(runtime.left(), [""; 0]);
    // It goes on without its caller, and is kept.
    let bundle = runtime.bundle("web", "exec sleep 300", |_| {}).to_string_lossy().into_owned();
    runtime.say(&["run", "--detach", "--bundle", &bundle, &runtime.id("web")]).ok();
    assert_eq!(runtime.status("web"), "running");
    runtime.on("delete", "web", &["--force"]).ok();
    runtime
        .say(&["run", "--keep", "--bundle", &runtime.bundle("kept", "", |_| {}).to_string_lossy(), &runtime.id("kept")])
        .ok();
    assert_eq!(runtime.status("kept"), "stopped");
    runtime.on("delete", "kept", &[]).ok();
}

fn said(code: i32, out: &str, err: &str) -> bulkhead_tests::Said {
    bulkhead_tests::Said { code, out: out.to_owned(), err: err.to_owned() }
}

#[test]
fn force_deletes_whatever_there_is() {
    let runtime = Runtime::new();
    runtime.bundle("web", "exec sleep 300", |_| {});
    runtime.on("delete", "web", &["--force"]).ok();
    runtime.create("web", &[]).ok();
    runtime.on("delete", "web", &["--force"]).ok();
    assert_eq!(runtime.left(), [""; 0]);
    runtime.create("web", &[]).ok();
    runtime.on("start", "web", &[]).ok();
    runtime.on("delete", "web", &["-f"]).ok();
    assert_eq!(runtime.left(), [""; 0]);
    if !is_root() {
        return;
    }
    runtime.create("web", &[]).ok();
    runtime.on("start", "web", &[]).ok();
    runtime.on("pause", "web", &[]).ok();
    assert_eq!(runtime.status("web"), "paused");
    assert!(runtime.on("pause", "web", &[]).fails(1).contains("paused"));
    assert!(runtime.on("exec", "web", &["true"]).fails(255).contains("cannot exec in a paused container"));
    runtime.on("resume", "web", &[]).ok();
    assert_eq!((runtime.status("web").as_str(), runtime.on("exec", "web", &["true"]).code), ("running", 0));
    runtime.on("pause", "web", &[]).ok();
    runtime.on("delete", "web", &["--force"]).ok();
    assert_eq!(runtime.left(), [""; 0]);
}

#[test]
fn a_killed_paused_container_ends() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    runtime.bundle("web", "exec sleep 300", |_| {});
    runtime.create("web", &[]).ok();
    runtime.on("start", "web", &[]).ok();
    runtime.on("pause", "web", &[]).ok();
    runtime.on("kill", "web", &["KILL"]).ok();
    assert!(eventually(5, || runtime.status("web") == "stopped"));
    runtime.on("delete", "web", &[]).ok();
}

#[test]
fn of_two_creates_of_one_id_one_wins() {
    let runtime = Runtime::new();
    runtime.bundle("web", "exec sleep 300", |_| {});
    for _ in 0..10 {
        let all = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4).map(|_| scope.spawn(|| runtime.create("web", &[]))).collect();
            tries.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        let (won, lost): (Vec<_>, Vec<_>) = all.into_iter().partition(|said| said.code == 0);
        assert_eq!(won.len(), 1, "{lost:?}");
        assert!(lost.iter().all(|said| said.code == 1 && said.err.contains("exist")), "{lost:?}");
        assert_eq!(runtime.status("web"), "created");
        runtime.on("delete", "web", &["--force"]).ok();
        assert_eq!(runtime.left(), [""; 0]);
    }
}

#[test]
fn limits_are_changed_while_it_runs() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    runtime.bundle("web", "exec sleep 300", |config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 50_000_000}, "pids": {"limit": 20}});
    });
    runtime.create("web", &[]).ok();
    runtime.on("start", "web", &[]).ok();
    let limit = || {
        let text = runtime.say(&["events", "--stats", &runtime.id("web")]).ok();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        (value["data"]["memory"]["usage"]["limit"].as_u64().unwrap(), value["data"]["pids"]["limit"].as_u64().unwrap())
    };
    assert_eq!(limit(), (49_999_872, 20));
    runtime.say(&["update", "--memory", "64M", &runtime.id("web")]).ok();
    assert_eq!(limit(), (67_108_864, 20));
    runtime.say(&["update", "--pids-limit", "30", &runtime.id("web")]).ok();
    assert_eq!(limit(), (67_108_864, 30));
    runtime.on("delete", "web", &["--force"]).ok();
}
