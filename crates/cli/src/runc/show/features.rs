//! `features`: what this program carries out, in the shape of the OCI runtime specification (`features.md`).
//!
//! Nothing is claimed that is not so: what concerns system call filters is asked of the reader of profiles itself.

use bulkhead_sandbox::oci;
use bulkhead_seccomp::{FilterFlag, Words, caps};
use bulkhead_sys::seccomp;
use serde_json::{Value, json};

use super::pretty;
use crate::runc::SPEC_VERSION;
use crate::runc::error::RuncError;

/// Moments at which hooks run.
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Prints what is supported.
///
/// # Errors
///
/// Standard output that cannot be written to.
pub fn execute() -> Result<u8, RuncError> {
    pretty(&features(), "    ")?;
    Ok(0)
}

fn features() -> Value {
    let enabled = json!({"enabled": true});
    let mut namespaces = oci::KINDS.map(|(kind, _, _)| kind);
    namespaces.sort_unstable();
    let (modes, flags) = oci::tune::memory_policies();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": HOOKS,
        "mountOptions": oci::options::known(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": caps::names().to_vec(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": filters(),
            "apparmor": enabled,
            "selinux": enabled,
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "memoryPolicy": {"modes": modes, "flags": flags},
            "mountExtensions": {"idmap": enabled},
            "netDevices": {"enabled": true},
        },
        "annotations": {
            "io.bulkhead.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    })
}

fn filters() -> Value {
    let words = Words::known();
    let flags = |wanted: fn(&FilterFlag) -> bool| -> Vec<&str> {
        words.flags.iter().filter(|(_, flag)| wanted(flag)).map(|(word, _)| *word).collect()
    };
    json!({
        "enabled": true,
        "actions": words.actions,
        "operators": words.operators,
        "archs": words.architectures,
        "knownFlags": flags(|_| true),
        "supportedFlags": flags(|flag| seccomp::knows(oci::flag_bit(*flag))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_say_what_is_read() {
        let shown = features();
        let list = |path: &str| shown.pointer(path).and_then(Value::as_array).unwrap().clone();
        for path in ["/mountOptions", "/linux/namespaces", "/linux/seccomp/archs", "/linux/seccomp/actions"] {
            assert!(list(path).is_sorted_by_key(|word| word.as_str().unwrap().to_owned()), "{path}");
        }
        assert_eq!((list("/mountOptions").len(), list("/linux/namespaces").len()), (62, 8));
        assert_eq!((list("/linux/memoryPolicy/modes").len(), list("/linux/memoryPolicy/flags").len()), (7, 3));
        assert_eq!(list("/linux/seccomp/operators").len(), 7);
        assert_eq!(list("/linux/seccomp/actions").len(), 9);
        assert!(list("/linux/seccomp/supportedFlags").contains(&json!("SECCOMP_FILTER_FLAG_TSYNC")));
        assert!(list("/linux/seccomp/archs").contains(&json!("SCMP_ARCH_X86_64")));
        assert!(list("/linux/seccomp/knownFlags").contains(&json!("SECCOMP_FILTER_FLAG_LOG")));
        assert_eq!(list("/linux/capabilities").len(), 41);
        // Each word is one that a profile may really have.
        for action in list("/linux/seccomp/actions") {
            let text = serde_json::from_value(json!({ "defaultAction": action })).unwrap();
            assert!(bulkhead_seccomp::Profile::from_text(&text).is_ok(), "{action}");
        }
    }
}
