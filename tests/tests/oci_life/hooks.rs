//! Hooks: their order, what they read, where they run, and what becomes of a container whose hook fails.

use std::time::{Duration, Instant};

use bulkhead_tests::oci::Runtime;
use serde_json::{Value, json};

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn hook(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "KIND=hook"]}])
}

#[test]
fn all_six_run_in_order_and_read_the_state() {
    let runtime = Runtime::new();
    let at = |name: &str| runtime.path(name).to_string_lossy().into_owned();
    runtime.bundle("web", "echo program >> /data/log; exec sleep 300", |config| {
        config["root"]["readonly"] = json!(false);
        for kind in KINDS {
            // That of the program runs where the program does.
            let (state, log) = if kind == "startContainer" {
                (format!("/data/{kind}"), "/data/log".to_owned())
            } else {
                (at(kind), at("rootfs/data/log"))
            };
            config["hooks"][kind] =
                hook(&format!("cat > {state}; echo {kind} $KIND >> {log}; readlink /proc/self/ns/mnt > {state}.ns"));
        }
    });
    runtime.create("web", &[]).ok();
    let log = || std::fs::read_to_string(at("rootfs/data/log")).unwrap();
    assert_eq!(log(), "prestart hook\ncreateRuntime hook\ncreateContainer hook\n");
    let pid = runtime.state("web")["pid"].clone();
    runtime.on("start", "web", &[]).ok();
    assert!(bulkhead_tests::eventually(5, || log().lines().count() == 6), "{}", log());
    let mut after: Vec<String> = log().lines().skip(3).map(str::to_owned).collect();
    assert_eq!(after.remove(0), "startContainer hook");
    after.sort();
    // Which of these two writes first is not said.
    assert_eq!(after, ["poststart hook", "program"]);
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap().to_string_lossy().into_owned();
    runtime.on("delete", "web", &["--force"]).ok();
    assert!(log().ends_with("poststop hook\n"), "{}", log());
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap().to_string_lossy().into_owned();
    let statuses = ["creating", "creating", "creating", "created", "running", "stopped"];
    for (kind, status) in KINDS.into_iter().zip(statuses) {
        let file = if kind == "startContainer" { at("rootfs/data/startContainer") } else { at(kind) };
        let state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let wanted = if kind == "poststop" { json!(0) } else { pid.clone() };
        assert_eq!(
            (&state["status"], &state["pid"], &state["id"]),
            (&json!(status), &wanted, &json!(runtime.id("web"))),
            "{kind}"
        );
        let namespace = std::fs::read_to_string(format!("{file}.ns")).unwrap();
        let inside = matches!(kind, "createContainer" | "startContainer");
        assert_eq!(namespace.trim(), if inside { &theirs } else { &own }, "{kind}");
    }
}

#[test]
fn a_hook_of_the_program_has_the_rights_of_the_program() {
    let runtime = Runtime::new();
    let said = runtime.sh(
        "cat /data/rights; grep -E '^(CapEff|CapBnd|NoNewP|Seccomp:)' /proc/self/status | cmp - /data/rights",
        |config| {
            config["root"]["readonly"] = json!(false);
            config["hooks"]["startContainer"] =
                hook("grep -E '^(CapEff|CapBnd|NoNewP|Seccomp:)' /proc/self/status > /data/rights");
        },
    );
    assert_eq!(said.ok(), "CapEff:\t0000000020000420\nCapBnd:\t0000000020000420\nNoNewPrivs:\t1\nSeccomp:\t0\n");
}

#[test]
fn a_hook_before_the_root_is_changed_stands_in_the_containers_files() {
    let runtime = Runtime::new();
    let said = runtime.sh("cat /data/from-hook", |config| {
        config["root"]["readonly"] = json!(false);
        config["hooks"]["createContainer"] = hook("pwd > ./data/from-hook");
    });
    assert_eq!(said.ok(), format!("{}\n", runtime.path("rootfs").display()));
}

#[test]
fn a_hook_that_its_filter_ends_is_told_so() {
    let runtime = Runtime::new();
    let said = runtime.sh("true", |config| {
        config["hooks"]["startContainer"] = hook("exec mkdir /tmp/x");
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    });
    let err = said.fails(1);
    assert!(err.contains("startContainer") && err.contains("bad system call"), "{err}");
}

#[test]
fn a_hook_that_fails_or_takes_too_long_ends_the_container() {
    let runtime = Runtime::new();
    let create = |kind: &str, hooks: Value| {
        runtime.bundle("web", "exec sleep 300", |config| config["hooks"][kind] = hooks);
        let created = runtime.create("web", &[]);
        if created.code == 0 { runtime.on("start", "web", &[]) } else { created }
    };
    for kind in &KINDS[..5] {
        let said = create(kind, hook("echo because >&2; exit 3"));
        let err = said.fails(1);
        // The log puts a backslash before each quotation mark.
        let wanted = format!("{kind} hook #0: \\\"/bin/sh\\\" ended with code 3: because");
        assert!(err.contains(&wanted), "{err}");
        runtime.on("delete", "web", &["--force"]).ok();
        assert_eq!(runtime.left(), [""; 0], "{kind}");
        let began = Instant::now();
        let mut slow = hook("sleep 31");
        slow[0]["timeout"] = json!(1);
        let err = create(kind, slow).fails(1);
        assert!(err.contains("ended after 1 seconds"), "{err}");
        assert!(began.elapsed() < Duration::from_secs(8), "{kind}: {:?}", began.elapsed());
        runtime.on("delete", "web", &["--force"]).ok();
        assert_eq!(runtime.left(), [""; 0], "{kind}");
    }
    // The last one is told of and stops nothing.
    runtime.bundle("web", "", |config| config["hooks"]["poststop"] = hook("exit 3"));
    runtime.create("web", &[]).ok();
    let said = runtime.on("delete", "web", &["--force"]);
    assert!(said.code == 0 && said.err.contains("poststop"), "{said:?}");
    assert_eq!(runtime.left(), [""; 0]);
}
