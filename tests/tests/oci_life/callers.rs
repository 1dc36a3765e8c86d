//! What callers rely on that have known other runtimes: the words of the log, sources and targets in the root file system,
//! the caller's own mount namespace, network devices.

use std::process::Command;

use bulkhead_tests::oci::Runtime;
use bulkhead_tests::{Said, is_root};
use serde_json::{Value, json};

fn with(mounts: Vec<Value>) -> impl FnOnce(&mut Value) {
    move |config: &mut Value| config["mounts"].as_array_mut().unwrap().extend(mounts)
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    json!({"type": "bind", "source": source, "destination": destination, "options": options})
}

#[test]
fn the_debug_log_tells_what_is_done() {
    let runtime = Runtime::new();
    let bundle = runtime.bundle("web", "exec sleep 300", |config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    });
    let log = runtime.path("log").to_string_lossy().into_owned();
    let words = ["--debug", "--log", &log, "--log-format", "json"];
    let id = runtime.id("web");
    let said = runtime.say(&[&words[..], &["run", "-d", "--bundle", &bundle.to_string_lossy(), &id]].concat());
    assert!(said.code == 0 && said.err.is_empty(), "{said:?}");
    let messages = || -> Vec<String> {
        let text = std::fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        lines.filter(|l| l["level"] == "debug").map(|l| l["msg"].as_str().unwrap().to_owned()).collect()
    };
    let told = |words: &[&str]| {
        let all = messages();
        for word in words {
            assert!(all.iter().any(|m| m.contains(word)), "{word}: {all:#?}");
        }
    };
    told(&[
        "nsexec container setup",
        "mount",
        "child process in init()",
        "init: closing the pipe",
        // Without a list of flags.
        "seccomp filter flags: 4",
    ]);
    let process = runtime.path("process");
    let cpus = json!({"initial": "0", "final": "0"});
    let process_text = json!({"args": ["/bin/true"], "cwd": "/", "user": {}, "execCPUAffinity": cpus}).to_string();
    std::fs::write(&process, process_text).unwrap();
    let file = process.to_string_lossy().into_owned();
    runtime.say(&[&words[..], &["exec", "--process", &file, &id]].concat()).ok();
    told(&["nsexec: affinity: 0x1", "nsexec: final affinity: 0x1", "setns_init: about to exec", "is in the container"]);
    // The program's own failure is a line by itself, and nothing else is said of it.
    std::fs::write(runtime.path("rootfs/bin/odd"), "#!/nosuch\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(runtime.path("rootfs/bin/odd"), mode).unwrap();
    let said = runtime.sh("", |config| config["process"]["args"] = json!(["/bin/odd"]));
    assert_eq!((said.code, said.err.as_str()), (1, "exec /bin/odd: no such file or directory\n"));
    if is_root() {
        let said = runtime.on("exec", "web", &[]);
        assert!(said.code != 0, "{said:?}");
        let said = runtime.say(&["exec", "--cgroup", "nosuch", &id, "true"]);
        assert!(said.err.contains(" adding pid ") && said.err.contains("no such file or directory"), "{said:?}");
        let said = runtime.say(&["exec", "--cgroup", "whaat:/", &id, "true"]);
        assert!(said.err.contains("unknown controller"), "{said:?}");
    }
    runtime.on("delete", "web", &["--force"]).ok();
}

#[test]
fn a_target_behind_a_dangling_link_is_made_inside() {
    let runtime = Runtime::new();
    let file = runtime.path("file").to_string_lossy().into_owned();
    std::fs::write(&file, "mine\n").unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, runtime.path(name)).unwrap();
    link("/jump/deep/hosts", "rootfs/etc/hosts");
    link("/tmp/none/../made", "rootfs/jump");
    link("../../../../../../tmp/out", "rootfs/etc/out");
    let mounts = vec![bind(&file, "/etc/hosts", &["bind"]), bind("/", "/etc/out", &["rbind", "ro"])];
    let said = runtime.sh("cat /tmp/made/deep/hosts /etc/hosts; ls -d /tmp/out/etc", with(mounts));
    assert_eq!(said.ok(), "mine\nmine\n/tmp/out/etc\n");
    assert!(!runtime.path("out").exists() && !std::path::Path::new("/tmp/out").exists());
}

#[test]
fn sources_and_targets_may_be_named_by_the_path_of_the_root() {
    let runtime = Runtime::new();
    let own = runtime.path("own");
    std::fs::create_dir_all(own.join("below")).unwrap();
    std::fs::write(own.join("below/file"), "mounted\n").unwrap();
    let root = runtime.path("rootfs").to_string_lossy().into_owned();
    let mounts = || {
        vec![
            bind(&own.to_string_lossy(), "/data", &["rbind"]),
            bind(&format!("{root}/data/below"), &format!("{root}/tmp/again"), &["rbind"]),
        ]
    };
    assert_eq!(runtime.sh("cat /tmp/again/file", with(mounts())).ok(), "mounted\n");
    if !is_root() {
        return;
    }
    // What is mounted in the container shows, though its ids are shifted by who has no part in it.
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    for userns in [false, true] {
        let said = runtime.sh("cat /tmp/again/file; stat -c %u /tmp/again/file", |config| {
            let mut mounts = mounts();
            let shifted = json!([{"containerID": 0, "hostID": 100_007, "size": 1}]);
            mounts[1]["uidMappings"] =
                if userns { shifted } else { json!([{"containerID": 0, "hostID": 7, "size": 1}]) };
            mounts[1]["gidMappings"] = mounts[1]["uidMappings"].clone();
            if userns {
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map.clone();
                config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            }
            with(mounts)(config);
        });
        assert_eq!(said.ok(), "mounted\n7\n", "userns {userns}");
    }
}

/// Runs a script in a mount namespace and a network namespace that end with it; `rt` is the program with its root.
fn apart(runtime: &Runtime, script: &str) -> Said {
    let rt = format!("{} --root {}", runtime.path("bulkhead-runc").display(), runtime.path("state").display());
    let script = script.replace("RT", &rt);
    Said::from(Command::new("unshare").args(["--mount", "--net", "sh", "-ec", &script]).output().unwrap())
}

#[test]
fn the_callers_mount_namespace_is_left_as_it_was() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    let no_mounts = |config: &mut Value| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "mount");
    };
    let bundle = runtime.bundle("web", "readlink /proc/self/ns/mnt; cat /bin/data; exec sleep 300", no_mounts);
    let id = runtime.id("web");
    let root = runtime.path("rootfs");
    let script = format!(
        "readlink /proc/self/ns/mnt; mounts() {{ grep -c {root} /proc/self/mountinfo || :; }}; mount --bind {root} {root}; mounts
         RT run -d --bundle {bundle} {id} >{out}; timeout 20 sh -c 'until grep -q data {out}; do sleep 0.1; done'; RT exec {id} cat /bin/data; mounts
         RT delete --force {id}; mounts; cat {out}
         ! RT run --bundle {failing} {id} 2>/dev/null; mounts",
        root = root.display(),
        bundle = bundle.display(),
        out = runtime.path("out").display(),
        failing = runtime.bundle("failing", "", |config| {
            no_mounts(config);
            config["process"]["args"] = json!(["/nosuch"]);
        }).display(),
    );
    let said = apart(&runtime, &script);
    let text = said.ok();
    let lines: Vec<&str> = text.lines().collect();
    let [own, before, exec, during, after, theirs, data, last] = lines[..] else { panic!("{text}") };
    assert_eq!((before, exec, after, last, data), ("1", "data", "1", "1", "data"), "{text}");
    assert_eq!(own, theirs);
    assert!(during.parse::<u32>().unwrap() > 5, "{text}");
    let said = runtime.sh("", |config| {
        no_mounts(config);
        config["linux"]["rootfsPropagation"] = json!("shared");
    });
    assert!(said.code == 1 && said.err.contains("linux.rootfsPropagation"), "{said:?}");
}

#[test]
fn network_devices_are_moved_and_given_back() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    let take = |name: &str, to: &str| {
        let (name, to) = (name.to_owned(), to.to_owned());
        move |config: &mut Value| config["linux"]["netDevices"] = json!({name: {"name": to}})
    };
    let script = "cat /sys/class/net/box0/mtu /sys/class/net/box0/address; grep -o 'box0.*' /proc/net/dev | cut -c 1-5
        grep -o '192.0.2.9' /proc/net/fib_trie | head -n 1; grep -o '169.254.3.3' /proc/net/fib_trie | head -n 1
        grep box0 /proc/net/if_inet6 | grep -o '^20010db8.*0009' ; ls /sys/class/net | wc -l";
    let bundle = runtime.bundle("web", script, take("wire0", "box0"));
    let failing = runtime.bundle("failing", "", |config| {
        take("wire0", "box0")(config);
        config["process"]["args"] = json!(["/nosuch"]);
    });
    let id = runtime.id("web");
    let addresses = "ip -o addr show dev wire0 | grep -o 'inet6\\? [^ ]*' | grep -v fe80 | sort; ip -o link show dev wire0 | grep -o 'mtu [0-9]*'";
    let script = format!(
        "ip link set lo up
         ip link add wire0 type veth peer name wire1; ip link set wire0 address 02:00:00:00:00:09 mtu 1400
         ip link set wire0 up; ip link set wire1 up
         ip addr add 192.0.2.9/24 dev wire0; ip addr add 169.254.3.3/16 scope link dev wire0
         ip addr add 2001:db8::9/64 dev wire0 nodad
         {addresses}; ! RT run --bundle {} {id} 2>/dev/null; {addresses}; echo --
         RT run --bundle {} {id}; ip link show wire0 2>&1 | grep -o 'does not exist'",
        failing.display(),
        bundle.display(),
    );
    let said = apart(&runtime, &script);
    let text = said.clone().ok();
    let (outside, inside) = text.split_once("--\n").unwrap_or_else(|| panic!("{text}\n{}", said.err));
    // Given back as it was when the start failed, but for what means something in one place alone.
    let given = ["inet 169.254.3.3/16", "inet 192.0.2.9/24", "inet6 2001:db8::9/64", "mtu 1400"];
    let back = ["inet 192.0.2.9/24", "inet6 2001:db8::9/64", "mtu 1400"];
    assert_eq!(outside.lines().collect::<Vec<_>>(), [&given[..], &back[..]].concat(), "{}", said.err);
    let wanted =
        ["1400", "02:00:00:00:00:09", "box0:", "192.0.2.9", "20010db8000000000000000000000009", "2", "does not exist"];
    assert_eq!(inside.lines().collect::<Vec<_>>(), wanted, "{}", said.err);
    for (name, to, words) in
        [("nosuch0", "", "nosuch0"), ("lo", "a/b", "linux.netDevices.lo.name"), ("", "", "netDevices")]
    {
        let said = runtime.sh("", take(name, to));
        assert!(said.code == 1 && said.err.contains(words), "{said:?}");
    }
    let said = runtime.sh("", |config| config["linux"]["intelRdt"] = json!({"closID": "a/b"}));
    assert!(said.code == 1 && said.err.contains("linux.intelRdt"), "{said:?}");
}

#[test]
fn a_start_that_nobody_wrote_down_is_seen() {
    let runtime = Runtime::new();
    runtime.bundle("web", "exec sleep 300", |_| {});
    runtime.create("web", &[]).ok();
    let file = runtime.path("state").join(runtime.id("web")).join("record.json");
    let before = std::fs::read(&file).unwrap();
    runtime.on("start", "web", &[]).ok();
    // As it is when whoever starts is killed at the wrong moment.
    std::fs::write(&file, before).unwrap();
    assert_eq!(runtime.status("web"), "created");
    // The socket is gone by then, or nobody listens on it.
    assert!(runtime.on("start", "web", &[]).fails(1).contains("already running"));
    assert_eq!(runtime.status("web"), "running");
    runtime.on("delete", "web", &["--force"]).ok();
}
