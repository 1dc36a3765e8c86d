//! Mounts of the config.

use bulkhead_tests::is_root;
use bulkhead_tests::oci::Runtime;
use serde_json::{Value, json};

fn bind(source: &std::path::Path, destination: &str, options: &[&str]) -> Value {
    json!({"type": "bind", "source": source, "destination": destination, "options": options})
}

fn with(mounts: Vec<Value>) -> impl FnOnce(&mut Value) {
    move |config| config["mounts"].as_array_mut().unwrap().extend(mounts)
}

#[test]
fn binds_are_read_only_where_they_are_asked_to_be() {
    let runtime = Runtime::new();
    let own = runtime.path("own");
    std::fs::create_dir(&own).unwrap();
    let script = "echo a > /tmp/rw/a; echo b > /tmp/ro/b; cat /tmp/ro/a";
    let mounts = vec![
        json!({"type": "tmpfs", "source": "tmpfs", "destination": "/tmp", "options": ["nosuid", "size=1m"]}),
        bind(&own, "/tmp/rw", &["rbind", "rw"]),
        bind(&own, "/tmp/ro", &["rbind", "ro", "nosuid", "nodev", "noexec"]),
    ];
    let said = runtime.sh(script, with(mounts));
    assert_eq!((said.code, said.out.as_str()), (0, "a\n"), "{}", said.err);
    assert!(said.err.contains("/tmp/ro/b: Read-only file system"), "{}", said.err);
    let file = runtime.path("file");
    std::fs::write(&file, "file\n").unwrap();
    let said =
        runtime.sh("cat /etc/passwd; echo > /etc/passwd", with(vec![bind(&file, "/etc/passwd", &["bind", "ro"])]));
    assert_eq!((said.code, said.out.as_str()), (1, "file\n"), "{}", said.err);
    let none = runtime.path("none");
    let err = runtime.sh("", with(vec![bind(&none, "/data", &["bind"])])).err;
    assert!(err.contains("none") && err.contains("No such file"), "{err}");
}

#[test]
fn a_tree_is_read_only_with_what_is_mounted_in_it() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    let own = runtime.path("own");
    std::fs::create_dir_all(own.join("below")).unwrap();
    // A mount below it, in a namespace that ends with the runtime's call.
    let run = |options: &[&str]| {
        let bundle =
            runtime.bundle("once", "echo > /data/below/x && echo written", with(vec![bind(&own, "/data", options)]));
        let line = format!(
            "mount -t tmpfs none {}/below && exec {} --root {} run --bundle {} {}",
            own.display(),
            runtime.path("bulkhead-runc").display(),
            runtime.path("state").display(),
            bundle.display(),
            runtime.id("once")
        );
        let mut command = std::process::Command::new("unshare");
        bulkhead_tests::Said::from(command.args(["--mount", "sh", "-c", &line]).output().unwrap())
    };
    assert_eq!(run(&["rbind", "ro"]).ok(), "written\n");
    let said = run(&["rbind", "rro"]);
    assert!(said.code == 1 && said.err.contains("Read-only file system"), "{said:?}");
}

#[test]
fn a_memory_file_system_takes_over_what_was_there() {
    let runtime = Runtime::new();
    std::fs::write(runtime.path("rootfs/data/seed"), "seed\n").unwrap();
    std::fs::set_permissions(runtime.path("rootfs/data"), std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    let memory = |options: &[&str]| {
        let mount = json!({"type": "tmpfs", "source": "tmpfs", "destination": "/data", "options": options});
        runtime.sh("cat /data/seed; stat -c %a /data; echo > /data/new", with(vec![mount]))
    };
    assert_eq!(memory(&["tmpcopyup", "size=1m"]).ok(), "seed\n750\n");
    assert!(memory(&["size=1m"]).err.contains("/data/seed"));
    assert!(!runtime.path("rootfs/data/new").exists());
}

#[test]
fn ids_of_a_mount_are_shifted() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    let own = runtime.path("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("file"), "").unwrap();
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
    let mut mount = bind(&own, "/data", &["bind", "idmap"]);
    mount["uidMappings"] = map.clone();
    mount["gidMappings"] = map;
    let said = runtime.sh("stat -c %u:%g /data/file", with(vec![mount]));
    let plain = runtime.sh("stat -c %u:%g /data/file", with(vec![bind(&own, "/data", &["bind"])]));
    assert_eq!(plain.ok(), "0:0\n");
    if said.err.contains("Invalid argument") {
        // The file system below has no such mounts; it must be told, not passed over.
        assert_ne!(said.code, 0);
        return;
    }
    assert_eq!(said.ok(), "5000:5000\n");
}

#[test]
fn propagation_is_what_the_config_says() {
    let runtime = Runtime::new();
    let own = runtime.path("own");
    std::fs::create_dir(&own).unwrap();
    let script = "grep ' /data ' /proc/self/mountinfo | sed 's/.* rw[^ ]* //; s/ - .*//; s/:[0-9]*//g'";
    for (option, wanted) in [("private", ""), ("shared", "shared"), ("rprivate", ""), ("unbindable", "unbindable")] {
        let said = runtime.sh(script, with(vec![bind(&own, "/data", &["rbind", "rw", option])]));
        assert!(said.code == 0 && said.out.contains(wanted), "{option}: {said:?}");
        assert!(!wanted.is_empty() || !said.out.contains("shared"), "{option}: {said:?}");
    }
    for (word, wanted) in [
        ("private", ""),
        ("rprivate", ""),
        ("slave", ""),
        ("rslave", ""),
        ("shared", "shared"),
        ("unbindable", "unbindable"),
    ] {
        let said = runtime.sh("grep ' / / \\| / [^ ]* / ' /proc/self/mountinfo; grep -E '^[0-9]+ [0-9]+ [^ ]+ [^ ]+ / ' /proc/self/mountinfo", |config| {
            config["linux"]["rootfsPropagation"] = json!(word);
        });
        assert!(said.code == 0 && said.out.contains(wanted), "{word}: {said:?}");
    }
    let said = runtime.sh("", |config| config["linux"]["rootfsPropagation"] = json!("sideways"));
    assert!(said.err.contains("linux.rootfsPropagation") && said.err.contains("sideways"), "{said:?}");
}
