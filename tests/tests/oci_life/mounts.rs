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
    assert!(
        err.contains("none") && err.contains("error mounting") && err.contains("no such file or directory"),
        "{err}"
    );
}

/// Runs a bundle after `prepare`, both in a mount namespace that ends with the runtime's call.
fn run_after(runtime: &Runtime, prepare: &str, bundle: &std::path::Path) -> bulkhead_tests::Said {
    let line = format!(
        "{prepare} && exec {} --root {} run --bundle {} {}",
        runtime.path("bulkhead-runc").display(),
        runtime.path("state").display(),
        bundle.display(),
        runtime.id("once")
    );
    let mut command = std::process::Command::new("unshare");
    bulkhead_tests::Said::from(command.args(["--mount", "sh", "-c", &line]).output().unwrap())
}

#[test]
fn a_tree_is_read_only_with_what_is_mounted_in_it() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    let own = runtime.path("own");
    std::fs::create_dir_all(own.join("below")).unwrap();
    // A mount below it.
    let run = |options: &[&str]| {
        let bundle =
            runtime.bundle("once", "echo > /data/below/x && echo written", with(vec![bind(&own, "/data", options)]));
        run_after(&runtime, &format!("mount -t tmpfs none {}/below", own.display()), &bundle)
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
    // Whoever reads the list of mounts sees it too, and a mode that is named wins.
    let options = |options: &[&str]| {
        let mount = json!({"type": "tmpfs", "source": "tmpfs", "destination": "/data", "options": options});
        runtime.sh("grep ' /data ' /proc/self/mounts; stat -c %a /data", with(vec![mount])).ok()
    };
    assert!(options(&[]).contains("mode=750"), "{}", options(&[]));
    assert!(options(&["mode=711", "ro"]).ends_with("\n711\n"));
}

#[test]
fn restrictions_of_a_source_stay_where_the_kernel_would_lock_them() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    let own = runtime.path("own");
    std::fs::create_dir(&own).unwrap();
    let shown = |userns: bool, options: &[&str]| {
        let change = |config: &mut Value| {
            with(vec![bind(&own, "/data", options)])(config);
            if userns {
                let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
                config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            }
        };
        let bundle = runtime.bundle("once", "grep ' /data ' /proc/self/mounts | cut -d ' ' -f 4", change);
        let own = own.display();
        let prepare = format!("mount -t tmpfs none {own} && mount -o bind,remount,nosuid,nodev,noexec {own}");
        run_after(&runtime, &prepare, &bundle)
    };
    assert_eq!(shown(true, &["bind", "ro"]).ok(), "ro,nosuid,nodev,noexec,relatime\n");
    assert_eq!(shown(true, &["bind"]).ok(), "rw,nosuid,nodev,noexec,relatime\n");
    for word in ["suid", "dev", "exec", "rexec"] {
        let err = shown(true, &["rbind", word]).fails(1);
        assert!(err.contains("/data") && err.contains("not permitted"), "{word}: {err}");
    }
    // Where nothing locks them, naming one word lets go of the others, as with `mount --bind -o`.
    assert_eq!(shown(false, &["bind", "ro"]).ok(), "ro,relatime\n");
    assert_eq!(shown(false, &["bind"]).ok(), "rw,nosuid,nodev,noexec,relatime\n");
}

#[test]
fn no_whole_procfs_is_left_below_a_moved_root() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    let again = |flags: &[&str], masks: bool| {
        let script = "unshare -mrpf sh -c 'mount -t proc none /proc && echo mounted'";
        let bundle = runtime.bundle("once", script, |config| {
            for set in ["bounding", "permitted", "effective"] {
                config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SETFCAP"));
            }
            if !masks {
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
            }
        });
        let (id, bundle) = (runtime.id("once"), bundle.to_string_lossy().into_owned());
        // A second procfs of the host, over the first and elsewhere, as in a directory that somebody uses as a root.
        let other = runtime.path("other");
        std::fs::create_dir_all(&other).unwrap();
        let line = format!("mount -t proc none /proc && mount -t proc none {} && exec \"$@\"", other.display());
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", &line, "sh"]).arg(runtime.path("bulkhead-runc"));
        command.arg("--root").arg(runtime.path("state"));
        bulkhead_tests::Said::from(
            command.args([&["run", "--bundle", &bundle], flags, &[&id]].concat()).output().unwrap(),
        )
    };
    for flags in [&[][..], &["--no-pivot"]] {
        // Without masks there is nothing that a new one would show: the kernel allows it.
        assert_eq!(again(flags, false).ok(), "mounted\n", "{flags:?}");
        let said = again(flags, true);
        assert!(said.code == 1 && said.err.contains("ermission denied"), "{flags:?}: {said:?}");
    }
}

#[test]
fn a_link_at_proc_is_told_in_words() {
    let runtime = Runtime::new();
    std::fs::remove_dir(runtime.path("rootfs/proc")).unwrap();
    std::fs::create_dir(runtime.path("rootfs/elsewhere")).unwrap();
    std::os::unix::fs::symlink("/elsewhere", runtime.path("rootfs/proc")).unwrap();
    let err = runtime.sh("", |_| {}).fails(1);
    assert!(err.contains("/proc") && err.contains("ordinary directory"), "{err}");
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
