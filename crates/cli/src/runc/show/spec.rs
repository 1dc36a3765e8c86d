//! `spec`: a `config.json` to begin with, equal in meaning to what other runtimes write.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::indented;
use crate::runc::SPEC_VERSION;
use crate::runc::error::{During, RuncError};

/// Writes `config.json` into `bundle`.
///
/// # Errors
///
/// One that is there already; a directory that cannot be written to.
pub fn execute(bundle: &Path, rootless: bool) -> Result<u8, RuncError> {
    let path = bundle.join("config.json");
    let value = if rootless { for_a_user(config()) } else { config() };
    let bytes = indented(&value, "\t")?;
    // The file is made or refused in one step: nothing that appears in between is overwritten.
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(RuncError::new(format!("File {} exists. Remove it first", path.display())));
        }
        opened => opened.during(format_args!("make {}", path.display()))?,
    };
    file.write_all(&bytes).during(format_args!("write {}", path.display()))?;
    Ok(0)
}

fn config() -> Value {
    let caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if is_unified() {
        namespaces.push("cgroup");
    }
    json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "bulkhead",
        "mounts": mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces.iter().map(|kind| json!({"type": kind})).collect::<Vec<_>>(),
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mounts() -> Vec<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        let mut value = json!({"destination": destination, "type": kind, "source": source});
        if let Some(object) = value.as_object_mut()
            && !options.is_empty()
        {
            object.insert("options".to_owned(), json!(options));
        }
        value
    };
    let closed = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&closed[..], more].concat();
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &with(&["mode=1777", "size=65536k"])),
        mount("/dev/mqueue", "mqueue", "mqueue", &closed),
        mount("/sys", "sysfs", "sysfs", &with(&["ro"])),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &with(&["relatime", "ro"])),
    ]
}

/// The same for an ordinary user: a user namespace with one id instead of a network of its own, `/sys` of the host, no
/// ids that are not mapped, and no limits.
fn for_a_user(mut config: Value) -> Value {
    if let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) {
        linux.remove("resources");
        if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
            namespaces.retain(|namespace| namespace["type"] != "network");
            namespaces.push(json!({"type": "user"}));
        }
        let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        linux.insert("uidMappings".to_owned(), map(rustix::process::geteuid().as_raw()));
        linux.insert("gidMappings".to_owned(), map(rustix::process::getegid().as_raw()));
    }
    for mount in config.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        if mount["destination"] == "/sys" {
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            *mount = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options});
        } else if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            let is_id = |option: &Value| {
                option.as_str().is_some_and(|text| text.starts_with("gid=") || text.starts_with("uid="))
            };
            options.retain(|option| !is_id(option));
        }
    }
    config
}

/// Whether the host has version 2 of control groups alone.
fn is_unified() -> bool {
    const CGROUP2: i128 = 0x6367_7270;
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|found| i128::from(found.f_type) == CGROUP2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_sandbox::oci::config::Config;

    fn read(value: &Value) -> Config {
        Config::read(&serde_json::to_vec(value).unwrap()).unwrap()
    }

    #[test]
    fn both_are_configs() {
        let config_ = read(&config());
        let process = config_.process.clone().unwrap();
        assert_eq!((process.args, process.terminal, process.no_new_privileges), (vec!["sh".to_owned()], true, true));
        assert_eq!(process.capabilities.unwrap().bounding.len(), 3);
        assert_eq!((config_.mounts.len(), config_.linux().masked_paths.len()), (7, 10));
        assert!(config_.linux().namespaces.iter().all(|n| n.kind != "user"));
        let user = read(&for_a_user(config()));
        let linux = user.linux();
        let kinds: Vec<&str> = linux.namespaces.iter().map(|n| n.kind.as_str()).collect();
        assert!(kinds.contains(&"user") && !kinds.contains(&"network"), "{kinds:?}");
        assert_eq!(linux.resources, None);
        assert_eq!(
            (linux.uid_mappings[0].host_id, linux.uid_mappings[0].size),
            (rustix::process::geteuid().as_raw(), 1)
        );
        let sys = user.mounts.iter().find(|m| m.destination == "/sys").unwrap();
        assert_eq!((sys.kind.as_str(), sys.options[0].as_str()), ("none", "rbind"));
        assert!(user.mounts.iter().all(|m| m.options.iter().all(|o| !o.starts_with("gid="))));
    }
}
