//! On a host whose mounts are shared, as systemd makes them, nothing that a sandbox mounts appears on the host.

use std::process::Command;

use bulkhead_tests::oci::Runtime;
use bulkhead_tests::{Bench, Said, binary, is_root, skip};
use serde_json::json;

/// Runs a script where every mount is shared, in a mount namespace that has no peer on the host.
fn shared(script: &str, variables: &[(&str, &str)]) -> Said {
    let whole = format!("set -e; mount --make-rshared /; {script}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &whole]);
    command.env("BULKHEAD", binary()).envs(variables.iter().copied()).output().expect("unshare starts").into()
}

fn by_user(test: &str) -> bool {
    if !is_root() {
        // The kernel parts the mounts of a user namespace from those they were copied from (`mount_namespaces(7)`).
        skip(test, "root");
    }
    !is_root()
}

#[test]
fn mounts_of_a_container_stay_its_own() {
    if by_user("mounts_of_a_container_stay_its_own") {
        return;
    }
    let bench = Bench::new();
    let directory = bench.path("data");
    std::fs::create_dir(&directory).unwrap();
    let bind = format!("{}:/data", directory.display());
    let variables = bench.env().map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    let mut variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.push(("BIND", &bind));
    let script = "cat /proc/self/mountinfo > $BULKHEAD_RUN.before
        $BULKHEAD sandbox / true
        $BULKHEAD run --rm -v $BIND host true
        cat /proc/self/mountinfo > $BULKHEAD_RUN.after
        $BULKHEAD run --rm -v $BIND host cat /proc/self/mountinfo
        diff $BULKHEAD_RUN.before $BULKHEAD_RUN.after";
    let seen = shared(script, &variables).ok();
    let data = seen.lines().find(|line| line.contains(" /data ")).expect("the bind");
    assert!(!data.contains("shared:") && !data.contains("master:"), "{data}");
    bench.assert_empty();
}

#[test]
fn root_of_a_user_namespace_mounts_nothing_on_the_host() {
    if by_user("root_of_a_user_namespace_mounts_nothing_on_the_host") {
        return;
    }
    let runtime = Runtime::new();
    let (id, data) = (runtime.id("a"), runtime.path("rootfs/data"));
    let bundle = runtime.bundle("a", "mount -t tmpfs none /data && exec sleep 1000", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 0x6f00_0000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
        }
        let bind = json!({"destination": "/data", "type": "bind", "source": data, "options": ["rbind"]});
        config["mounts"].as_array_mut().unwrap().push(bind);
    });
    let root = runtime.path("state");
    let variables = [("STATE", root.as_path()), ("BUNDLE", bundle.as_path()), ("DATA", data.as_path())];
    let variables = variables.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    let mut variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.push(("ID", &id));
    let script = "runc() { command=$1; shift; $RUNC --root $STATE $command \"$@\"; }
        runc run -d --bundle $BUNDLE $ID </dev/null >/dev/null
        for i in 1 2 3 4 5 6 7 8 9 10; do runc exec $ID grep -q 'none /data tmpfs' /proc/mounts && break; sleep 0.2; done
        runc exec $ID grep ' /data ' /proc/mounts
        grep -F \"$DATA \" /proc/self/mountinfo && echo ON THE HOST
        runc delete --force $ID";
    let runc = runtime.path("bulkhead-runc").to_string_lossy().into_owned();
    variables.push(("RUNC", &runc));
    let said = shared(script, &variables).ok();
    assert!(said.contains("none /data tmpfs") && !said.contains("ON THE HOST"), "{said}");
}
