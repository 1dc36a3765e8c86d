//! Control groups that systemd makes: scopes of the system's manager for root, of the user's own for an ordinary user.

use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_tests::oci::Runtime;
use bulkhead_tests::{Said, is_root, skip};
use serde_json::{Value, json};

/// Whether the manager that would be asked is there, with groups of version 2.
fn is_there(test: &str) -> bool {
    let bus = if is_root() {
        Path::new("/run/systemd/system").is_dir()
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|d| Path::new(&d).join("systemd/private").exists())
    };
    let there = bus && Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !there {
        skip(test, "a manager of systemd to ask, and cgroup v2");
    }
    there
}

fn systemctl(words: &[&str]) -> Said {
    let mut command = Command::new("systemctl");
    if !is_root() {
        command.arg("--user");
    }
    command.args(words).output().expect("systemctl starts").into()
}

/// A property of the container's unit, as `systemctl show` prints it.
fn property(runtime: &Runtime, name: &str, property: &str) -> String {
    let unit = unit(runtime, name);
    systemctl(&["show", &unit, "--value", "-p", property]).ok().trim().to_owned()
}

fn unit(runtime: &Runtime, name: &str) -> String {
    format!("bulkhead-{}.scope", runtime.id(name))
}

const SLICE: &str = "bulkheadtest.slice";

/// A bundle whose group systemd makes.
fn bundle(runtime: &Runtime, name: &str, script: &str, change: impl FnOnce(&mut Value)) {
    let path = format!("{SLICE}:bulkhead:{}", runtime.id(name));
    runtime.bundle(name, script, |config| {
        config["linux"]["cgroupsPath"] = json!(path);
        change(config);
    });
}

fn run(runtime: &Runtime, name: &str) -> Said {
    let bundle = runtime.path(name).to_string_lossy().into_owned();
    runtime.say(&["--systemd-cgroup", "run", "--detach", "--bundle", &bundle, &runtime.id(name)])
}

/// The group of the container's first process.
fn group(runtime: &Runtime, name: &str) -> PathBuf {
    let pid = &runtime.state(name)["pid"];
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a group");
    let path = text.lines().find_map(|l| l.strip_prefix("0::/")).expect("version 2");
    Path::new("/sys/fs/cgroup").join(path)
}

fn read(group: &Path, file: &str) -> String {
    std::fs::read_to_string(group.join(file)).unwrap_or_else(|e| panic!("{file}: {e}")).trim().to_owned()
}

#[test]
fn systemd_makes_changes_and_ends_the_group() {
    if !is_there("systemd_makes_changes_and_ends_the_group") {
        return;
    }
    let runtime = Runtime::new();
    bundle(&runtime, "a", "exec sleep 1000", |config| {
        config["linux"]["resources"] = json!({
            "memory": {"limit": 67_108_864}, "pids": {"limit": 33},
            "cpu": {"shares": 2048, "quota": 50_000, "period": 100_000},
        });
        config["annotations"] = json!({"org.systemd.property.TimeoutStopUSec": "uint64 123456789"});
    });
    run(&runtime, "a").done();
    let group = group(&runtime, "a");
    assert!(group.ends_with(format!("{SLICE}/{}", unit(&runtime, "a"))), "{}", group.display());
    assert_eq!(read(&group, "memory.max"), "67108864");
    assert_eq!(read(&group, "pids.max"), "33");
    assert_eq!(read(&group, "cpu.max"), "50000 100000");
    for (name, value) in [
        ("MemoryMax", "67108864"),
        ("TasksMax", "33"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("TimeoutStopUSec", "2min 3.456789s"),
        ("Delegate", "yes"),
        ("Slice", SLICE),
    ] {
        assert_eq!(property(&runtime, "a", name), value, "{name}");
    }
    // Another process comes into the same group.
    let own = runtime.on("exec", "a", &["sh", "-c", "cat /proc/self/cgroup /proc/1/cgroup"]).ok();
    let mut lines = own.lines();
    assert_eq!(lines.next(), lines.next(), "{own}");
    // A change reaches the unit, so that a reload of the manager keeps it.
    runtime.say(&["update", "--memory", "134217728", "--pids-limit", "44", &runtime.id("a")]).done();
    assert_eq!((read(&group, "memory.max"), read(&group, "pids.max")), ("134217728".to_owned(), "44".to_owned()));
    systemctl(&["daemon-reload"]).done();
    assert_eq!((read(&group, "memory.max"), read(&group, "pids.max")), ("134217728".to_owned(), "44".to_owned()));
    assert_eq!(property(&runtime, "a", "MemoryMax"), "134217728");
    runtime.say(&["update", "--cpu-period", "200000", &runtime.id("a")]).done();
    assert_eq!(read(&group, "cpu.max"), "50000 200000");
    assert_eq!(property(&runtime, "a", "CPUQuotaPerSecUSec"), "250ms");
    runtime.on("pause", "a", &[]).done();
    assert_eq!((runtime.status("a").as_str(), read(&group, "cgroup.freeze").as_str()), ("paused", "1"));
    runtime.on("resume", "a", &[]).done();
    assert_eq!(runtime.status("a"), "running");
    runtime.on("delete", "a", &["--force"]).done();
    assert!(!group.exists());
    assert_eq!(property(&runtime, "a", "LoadState"), "not-found");
}

#[test]
fn a_group_of_systemd_that_ends_by_itself_is_deleted() {
    if !is_there("a_group_of_systemd_that_ends_by_itself_is_deleted") {
        return;
    }
    let runtime = Runtime::new();
    bundle(&runtime, "a", "exit 3", |_| {});
    let path = runtime.path("a").to_string_lossy().into_owned();
    assert_eq!(runtime.say(&["--systemd-cgroup", "run", "--bundle", &path, &runtime.id("a")]).code, 3);
    assert_eq!(property(&runtime, "a", "LoadState"), "not-found");
    // The same name again.
    assert_eq!(runtime.say(&["--systemd-cgroup", "run", "--bundle", &path, &runtime.id("a")]).code, 3);
    // Killed from outside; its record is what is left.
    bundle(&runtime, "b", "exec sleep 1000", |_| {});
    run(&runtime, "b").done();
    systemctl(&["kill", "--signal=KILL", &unit(&runtime, "b")]).done();
    assert!(bulkhead_tests::eventually(10, || runtime.status("b") == "stopped"));
    runtime.on("delete", "b", &[]).done();
    assert_eq!(property(&runtime, "b", "LoadState"), "not-found");
}

#[test]
fn devices_are_filtered_in_a_scope() {
    if !is_there("devices_are_filtered_in_a_scope") {
        return;
    }
    if !is_root() {
        return skip(
            "devices_are_filtered_in_a_scope",
            "root: an ordinary user's node is refused by the kernel anyway",
        );
    }
    let runtime = Runtime::new();
    let script = "mknod /tmp/kmsg c 1 11; mknod /tmp/zero c 1 5; head -c 1 /tmp/zero | wc -c; cat /tmp/kmsg";
    bundle(&runtime, "a", script, |config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_MKNOD"));
        }
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    });
    let path = runtime.path("a").to_string_lossy().into_owned();
    let said = runtime.say(&["--systemd-cgroup", "run", "--bundle", &path, &runtime.id("a")]);
    assert_eq!(said.out, "1\n", "{said:?}");
    assert!(said.code != 0 && said.err.contains("Operation not permitted"), "{said:?}");
}

#[test]
fn a_path_that_systemd_has_no_name_for_is_refused() {
    if !is_there("a_path_that_systemd_has_no_name_for_is_refused") {
        return;
    }
    let runtime = Runtime::new();
    for path in ["/a/b", "no-slice:x:y", "a.slice:b"] {
        runtime.bundle("a", "true", |config| config["linux"]["cgroupsPath"] = json!(path));
        let said = run(&runtime, "a");
        assert!(said.code == 1 && said.err.contains("linux.cgroupsPath"), "{path}: {said:?}");
    }
}

#[test]
fn another_process_comes_beside_the_first() {
    if !is_there("another_process_comes_beside_the_first") {
        return;
    }
    let runtime = Runtime::new();
    let script = "cd /sys/fs/cgroup && mkdir below && echo 1 > below/cgroup.procs && echo +pids > cgroup.subtree_control && \
        exec sleep 1000";
    bundle(&runtime, "a", script, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        if namespaces.iter().all(|n| n["type"] != "cgroup") {
            namespaces.push(json!({"type": "cgroup"}));
        }
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|m| m["destination"] != "/sys/fs/cgroup");
        let group =
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "rw"]});
        mounts.push(group);
    });
    run(&runtime, "a").done();
    // Looked at from here: another process in the group would stop the script.
    let top = group(&runtime, "a");
    let top = if top.ends_with("below") { top.parent().expect("a parent").to_path_buf() } else { top };
    assert!(bulkhead_tests::eventually(30, || read(&top, "cgroup.subtree_control") == "pids"));
    assert_eq!(runtime.on("exec", "a", &["cat", "/proc/self/cgroup"]).ok(), "0::/below\n");
    runtime.on("delete", "a", &["--force"]).done();
}
