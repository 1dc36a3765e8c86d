//! The command line of an OCI runtime, called by its own name: version, help, errors, log, `spec`, `features`, `list`,
//! `state`, `ps`. What acts on containers has tests of its own.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bulkhead_tests::{Said, binary};
use serde_json::{Value, json};

/// A directory with the program under its other name, a state root and a working directory.
struct Runtime {
    dir: tempfile::TempDir,
}

impl Runtime {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().unwrap();
        symlink(binary(), dir.path().join("bulkhead-runc")).unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program without a state root of the test's own.
    fn bare(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("bulkhead-runc"));
        command.args(words).current_dir(self.path("work")).stdin(Stdio::null());
        command
    }

    fn say(&self, words: &[&str]) -> Said {
        let root = self.path("root").to_string_lossy().into_owned();
        self.bare(&[&["--root", root.as_str()], words].concat()).output().unwrap().into()
    }

    /// A container's directory as the program makes it, with a record of this process.
    fn record(&self, id: &str, pid: Option<u32>, change: impl FnOnce(&mut Value)) {
        let root = self.path("root");
        std::fs::create_dir_all(root.join(id)).unwrap();
        for dir in [&root, &root.join(id)] {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let start = pid.and_then(|pid| bulkhead_sandbox::supervise::start_time(i32::try_from(pid).unwrap()));
        let mut record = json!({
            "version": 1, "id": id, "bundle": "/bundle", "rootfs": "/bundle/rootfs", "created": 1_700_000_000_000_000_005_i64,
            "owner": rustix::process::geteuid().as_raw(), "pid": pid, "start_time": start, "namespaces": 0, "cgroups": [],
            "annotations": {"org.example": "yes"}, "oci_version": "1.2.0", "systemd": false, "rootless": false,
            "grants": ["mounts"], "started": true,
        });
        change(&mut record);
        std::fs::write(root.join(id).join("record.json"), record.to_string()).unwrap();
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.say(&["state", id]).ok()).unwrap()
    }
}

/// A process that ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("300").stdin(Stdio::null()).spawn().unwrap())
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn version_and_help_have_the_lines_that_callers_read() {
    let runtime = Runtime::new();
    for words in [&["--version"][..], &["-v"]] {
        let said: Said = runtime.bare(words).output().unwrap().into();
        let text = said.ok();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("bulkhead-runc version 0."), "{text}");
        assert!(lines[1].starts_with("commit: ") && lines[2].starts_with("spec: 1."), "{text}");
    }
    let oci = |words: &[&str]| Said::from(Command::new(binary()).arg("oci").args(words).output().unwrap());
    assert_eq!(oci(&["--version"]), runtime.say(&["--version"]));
    assert_eq!(runtime.say(&[]).ok(), runtime.say(&["--help"]).ok());
    assert!(runtime.say(&["create", "-h"]).ok().starts_with("NAME:\n   bulkhead-runc create - "));
    assert!(runtime.say(&["foo", "-h"]).fails(1).contains("No help topic for 'foo'"));
}

#[test]
fn errors_are_said_and_logged() {
    let runtime = Runtime::new();
    let err = runtime.say(&["state", "none"]).fails(1);
    assert!(err.starts_with("time=\"20") && err.ends_with(" level=error msg=\"container does not exist\"\n"), "{err}");
    for (words, part) in [
        (&["--bogus"][..], "--bogus"),
        (&["state"], "exactly 1 argument"),
        (&["state", "a", "b"], "exactly 1 argument"),
        (&["state", "a/b"], "invalid container ID format"),
        (&["list", "--format", "xml"], "xml"),
        (&["checkpoint", "--image-path", "x", "web"], "not supported"),
        (&["--log-format", "xml", "list"], "xml"),
        (&["--log", "/nowhere/log", "list"], "/nowhere/log"),
        (&["update", "--memory", "12q", "web"], "12q"),
    ] {
        let said = runtime.say(words);
        assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (1, "", 1), "{words:?} {}", said.err);
        assert!(said.err.contains(part), "{words:?}: {}", said.err);
    }
    let log = runtime.path("work/log.json");
    let words = ["--log", "log.json", "--log-format", "json", "state", "none"];
    assert_eq!(runtime.say(&words).fails(1), "container does not exist\n");
    assert_eq!(runtime.say(&words[..4]).code, 0);
    assert!(runtime.say(&["--log", "log.json", "--log-format=json", "nothing"]).fails(1).contains("nothing"));
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!((&lines[0]["level"], &lines[0]["msg"]), (&json!("error"), &json!("container does not exist")));
    assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
    let fails = runtime.say(&["exec", "none"]).fails(1);
    assert!(fails.contains("requires a command"), "{fails}");
    // A failure of exec itself has a code that no program's end is taken for.
    assert!(runtime.say(&["exec", "none", "true"]).fails(255).contains("exec failed: "));
}

#[test]
fn a_user_without_a_place_is_told_which_variable() {
    let runtime = Runtime::new();
    if rustix::process::geteuid().is_root() {
        // Root has a place without any variable, and need not have used it.
        assert_eq!(Said::from(runtime.bare(&["spec", "--help"]).env_clear().output().unwrap()).code, 0);
        return;
    }
    let said: Said = runtime.bare(&["list"]).env_remove("XDG_RUNTIME_DIR").output().unwrap().into();
    assert!(said.fails(1).contains("XDG_RUNTIME_DIR"));
    let said: Said = runtime.bare(&["list"]).env("XDG_RUNTIME_DIR", runtime.path("work")).output().unwrap().into();
    assert_eq!(said.ok(), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
}

#[test]
fn spec_writes_a_config_once() {
    let runtime = Runtime::new();
    assert_eq!(runtime.say(&["spec"]).ok(), "");
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let config = read(&runtime.path("work/config.json"));
    assert_eq!((&config["process"]["args"], &config["process"]["terminal"]), (&json!(["sh"]), &json!(true)));
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": true}));
    assert_eq!(config["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]));
    assert!(runtime.say(&["spec"]).fails(1).contains("exists. Remove it first"));
    assert_eq!(read(&runtime.path("work/config.json")), config);
    std::fs::create_dir(runtime.path("bundle")).unwrap();
    let bundle = runtime.path("bundle").to_string_lossy().into_owned();
    assert_eq!(runtime.say(&["spec", "--rootless", "-b", &bundle]).ok(), "");
    let config = read(&runtime.path("bundle/config.json"));
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(config["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": uid, "size": 1}]));
    assert!(runtime.say(&["spec", "--bundle", "/nowhere"]).fails(1).contains("/nowhere"));
}

#[test]
fn features_are_json_of_the_known_shape() {
    let runtime = Runtime::new();
    let features: Value = serde_json::from_str(&runtime.say(&["features"]).ok()).unwrap();
    for (path, word) in [
        ("/hooks", "createContainer"),
        ("/mountOptions", "rro"),
        ("/linux/namespaces", "time"),
        ("/linux/capabilities", "CAP_SYS_ADMIN"),
        ("/linux/seccomp/actions", "SCMP_ACT_ERRNO"),
        ("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ"),
        ("/linux/seccomp/archs", "SCMP_ARCH_AARCH64"),
    ] {
        assert!(features.pointer(path).unwrap().as_array().unwrap().contains(&json!(word)), "{path}");
    }
    for field in ["intelRdt", "netDevices"] {
        assert_eq!(features["linux"][field]["enabled"], json!(true), "{field}");
    }
    assert_eq!(features["linux"]["cgroup"]["v2"], json!(true));
    assert!(features["ociVersionMax"].as_str().unwrap() >= "1.2");
}

#[test]
fn states_follow_the_process() {
    let runtime = Runtime::new();
    let mut sleeper = Sleeper::new();
    let pid = sleeper.0.id();
    runtime.record("web", Some(pid), |_| {});
    let state = runtime.state("web");
    let keys: Vec<&String> = state.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 9, "{keys:?}");
    assert_eq!((&state["status"], &state["pid"], &state["id"]), (&json!("running"), &json!(pid), &json!("web")));
    assert_eq!(state["created"], json!("2023-11-14T22:13:20.000000005Z"));
    assert_eq!(state["annotations"], json!({"org.example": "yes", "io.bulkhead.grants": "mounts"}));
    runtime.record("waiting", Some(pid), |record| record["started"] = json!(false));
    assert_eq!(runtime.state("waiting")["status"], json!("created"));
    // A group that says it is frozen.
    std::fs::create_dir(runtime.path("group")).unwrap();
    std::fs::write(runtime.path("group/freezer.state"), "FROZEN\n").unwrap();
    let group = runtime.path("group");
    runtime.record("cold", Some(pid), |record| record["cgroups"] = json!([group]));
    assert_eq!(runtime.state("cold")["status"], json!("paused"));
    // Another process has the pid.
    runtime.record("old", Some(pid), |record| record["start_time"] = json!(1));
    assert_eq!((&runtime.state("old")["status"], &runtime.state("old")["pid"]), (&json!("stopped"), &json!(0)));
    runtime.record("early", None, |_| {});
    assert_eq!(runtime.state("early")["status"], json!("creating"));
    assert_eq!(runtime.say(&["ps", "-f", "json", "web"]).ok(), format!("[{pid}]\n"));
    let table = runtime.say(&["ps", "web"]).ok();
    assert!(table.lines().count() == 2 && table.contains("PID") && table.contains("sleep 300"), "{table}");
    assert!(runtime.say(&["ps", "web", "-o", "pid,comm"]).ok().contains(&format!("{pid} sleep")));
    assert!(runtime.say(&["ps", "web", "-o", "comm"]).fails(1).contains("PID"));
    sleeper.end();
    assert_eq!(runtime.state("web")["status"], json!("stopped"));
    assert!(runtime.say(&["events", "--stats", "web"]).fails(1).contains("is not running"));
    assert_eq!(runtime.say(&["ps", "--format=json", "web"]).ok(), "null\n");
}

#[test]
fn a_list_passes_over_what_is_no_container() {
    let runtime = Runtime::new();
    let header = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n";
    // A root that was given must be there, as with other runtimes.
    assert!(runtime.say(&["list"]).fails(1).contains("/root"));
    let sleeper = Sleeper::new();
    runtime.record("b", Some(sleeper.0.id()), |_| {});
    runtime.record("a", None, |_| {});
    runtime.record("broken", None, |record| record["version"] = json!(99));
    for name in ["no id", "empty"] {
        std::fs::create_dir(runtime.path("root").join(name)).unwrap();
    }
    std::fs::write(runtime.path("root/file"), "").unwrap();
    let said = runtime.say(&["list"]);
    assert!(
        said.err.contains("broken: ") && said.err.contains("form 99") && said.err.contains("empty: "),
        "{}",
        said.err
    );
    assert!(!said.err.contains("no id") && !said.err.contains("file"), "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((lines.len(), lines[0].split_whitespace().count()), (3, 6), "{}", said.out);
    assert!(
        lines[1].starts_with("a           0           creating    /bundle     2023-11-14T22:13:20"),
        "{}",
        said.out
    );
    assert_eq!(runtime.say(&["list", "-q"]).out, "a\nb\n");
    let all: Value = serde_json::from_str(&runtime.say(&["list", "-f", "json"]).out).unwrap();
    assert_eq!(
        (&all[0]["id"], &all[1]["status"], &all[1]["ociVersion"]),
        (&json!("a"), &json!("running"), &json!("1.2.0"))
    );
    for name in ["a", "b", "broken", "empty"] {
        std::fs::remove_dir_all(runtime.path("root").join(name)).unwrap();
    }
    assert_eq!(runtime.say(&["list"]).ok(), header);
    assert_eq!(runtime.say(&["list", "--format", "json"]).ok(), "null\n");
}

#[test]
fn a_root_of_somebody_else_is_not_used() {
    let runtime = Runtime::new();
    runtime.record("web", None, |_| {});
    std::fs::set_permissions(runtime.path("root"), std::fs::Permissions::from_mode(0o777)).unwrap();
    for words in [&["state", "web"][..], &["list"]] {
        assert!(runtime.say(words).fails(1).contains("can be written by others"), "{words:?}");
    }
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(runtime.path("root"), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(runtime.path("root"), Some(12345), None).unwrap();
        assert_eq!(std::fs::metadata(runtime.path("root")).unwrap().uid(), 12345);
        assert!(runtime.say(&["state", "web"]).fails(1).contains("belongs to user 12345"));
    }
}
