//! What the config makes of the kernel's places: namespaces, settings, clocks, devices, masked paths.

use bulkhead_tests::is_root;
use bulkhead_tests::oci::Runtime;
use serde_json::{Value, json};

/// An ordinary user's config of `spec` has the network of the caller.
fn own_network(config: &mut Value) {
    let all = config["linux"]["namespaces"].as_array_mut().unwrap();
    all.retain(|n| n["type"] != "network");
    all.push(json!({"type": "network"}));
}

#[test]
fn names_settings_and_clocks() {
    let runtime = Runtime::new();
    let uptime: f64 = std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    let script =
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_default_ttl; cut -d. -f1 /proc/uptime";
    let clocks = |config: &mut Value| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
        config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000, "nanosecs": 0}});
    };
    let said = runtime.sh(script, |config| {
        own_network(config);
        config["hostname"] = json!("alpha");
        config["domainname"] = json!("example.org");
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "77"});
        if is_root() {
            clocks(config);
        }
    });
    let text = said.ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..3], ["alpha", "example.org", "77"]);
    if is_root() {
        assert!(lines[3].parse::<f64>().unwrap() >= uptime + 999_999.0, "{text}");
    } else {
        let said = runtime.sh("", clocks);
        assert!(said.code == 1 && said.err.contains("linux.timeOffsets"), "{said:?}");
    }
    let said = runtime.sh("", |config| config["linux"]["sysctl"] = json!({"kernel.panic": "1"}));
    assert!(said.code == 1 && said.err.contains("kernel.panic"), "{said:?}");
}

#[test]
fn namespaces_are_new_or_the_callers() {
    let runtime = Runtime::new();
    let script = "for n in ipc mnt net pid uts; do readlink /proc/self/ns/$n; done";
    let host: Vec<String> = ["ipc", "mnt", "net", "pid", "uts"]
        .map(|n| std::fs::read_link(format!("/proc/self/ns/{n}")).unwrap().to_string_lossy().into_owned())
        .to_vec();
    let same = |text: &str| text.lines().zip(&host).filter(|(a, b)| a == b).count();
    assert_eq!(same(&runtime.sh(script, own_network).ok()), 0);
    let said = runtime.sh(script, |config| {
        own_network(config);
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "uts");
        config.as_object_mut().unwrap().remove("hostname");
    });
    assert_eq!(same(&said.ok()), 1);
}

#[test]
fn namespaces_are_entered_by_path() {
    if !is_root() {
        return;
    }
    let runtime = Runtime::new();
    runtime.bundle("first", "exec sleep 300", |_| {});
    runtime.create("first", &[]).ok();
    let pid = runtime.state("first")["pid"].to_string();
    let script = "for n in ipc net pid uts; do readlink /proc/self/ns/$n; done";
    let said = runtime.sh(script, |config| {
        config.as_object_mut().unwrap().remove("hostname");
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            let file = match namespace["type"].as_str().unwrap() {
                "ipc" => "ipc",
                "network" => "net",
                "pid" => "pid",
                "uts" => "uts",
                _ => continue,
            };
            namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
        }
    });
    let theirs = ["ipc", "net", "pid", "uts"]
        .map(|n| std::fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap().to_string_lossy().into_owned());
    assert_eq!(said.ok().lines().collect::<Vec<_>>(), theirs);
    let wrong = |path: &str| {
        runtime.sh("", |config| {
            let all = config["linux"]["namespaces"].as_array_mut().unwrap();
            all.iter_mut().find(|n| n["type"] == "network").unwrap()["path"] = json!(path);
        })
    };
    assert!(wrong("/nosuch").err.contains("/nosuch"));
    // A namespace of another kind is none of this kind.
    let said = wrong(&format!("/proc/{pid}/ns/uts"));
    assert!(said.code == 1 && said.err.contains("ns/uts"), "{said:?}");
    runtime.on("delete", "first", &["--force"]).ok();
}

#[test]
fn paths_are_masked_and_sealed() {
    let runtime = Runtime::new();
    std::fs::write(runtime.path("rootfs/data/secret"), "secret\n").unwrap();
    std::fs::create_dir(runtime.path("rootfs/data/dir")).unwrap();
    std::fs::write(runtime.path("rootfs/data/dir/secret"), "secret\n").unwrap();
    let change = |masked: &'static str, sealed: &'static str| {
        move |config: &mut Value| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["maskedPaths"] = json!([masked, "/data/dir", "/data/nosuch"]);
            config["linux"]["readonlyPaths"] = json!([sealed, "/data/nosuch"]);
        }
    };
    let script = "cat /data/secret; ls /data/dir; echo > /tmp/x; echo > /data/y; :";
    let said = runtime.sh(script, change("/data/secret", "/tmp"));
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
    assert!(said.err.contains("/tmp/x: Read-only file system") && !said.err.contains("/data/y"), "{}", said.err);
    // The same without.
    assert_eq!(runtime.sh(script, change("/data/other", "/data/other")).ok(), "secret\n");
}

#[test]
fn devices_are_the_usual_and_the_named() {
    let runtime = Runtime::new();
    let script = "for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done; \
        head -c 4 /dev/zero | wc -c; for d in fd stdin ptmx; do readlink /dev/$d; done; ls /dev/more 2>/dev/null; head -c 3 /dev/more 2>/dev/null | wc -c";
    let plain = "4\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n";
    assert_eq!(runtime.sh(script, |_| {}).ok(), format!("{plain}0\n"));
    if !is_root() {
        return;
    }
    let said = runtime.sh(script, |config| {
        config["linux"]["devices"] = json!([{"path": "/dev/more", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 0, "gid": 0}]);
        config["linux"]["resources"]["devices"] =
            json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"}]);
    });
    assert_eq!(said.ok(), format!("{plain}/dev/more\n3\n"));
}
