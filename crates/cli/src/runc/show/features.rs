//! `features`: what this program carries out, in the shape of the OCI runtime specification (`features.md`).
//!
//! Nothing is claimed that is not so: what concerns system call filters is asked of the reader of profiles itself.

use bulkhead_seccomp::{Profile, caps};
use bulkhead_sys::seccomp;
use serde_json::{Value, json};

use super::pretty;
use crate::runc::SPEC_VERSION;
use crate::runc::error::RuncError;

/// Moments at which hooks run.
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// Options of a mount that are not the file system's own, sorted.
pub const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Names of `linux.memoryPolicy.mode`.
const MEMORY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
/// Names of `linux.memoryPolicy.flags`.
const MEMORY_FLAGS: [&str; 3] = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

/// Names that the specification has; those that the reader takes are shown.
const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];
const ARCHES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];
const FILTER_FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", seccomp::LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", seccomp::SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", seccomp::TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", seccomp::WAIT_KILLABLE_RECV),
];

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
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": HOOKS,
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": NAMESPACES,
            "capabilities": caps::names().to_vec(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": filters(),
            "apparmor": enabled,
            "selinux": enabled,
            "intelRdt": {"enabled": false},
            "memoryPolicy": {"modes": MEMORY_MODES, "flags": MEMORY_FLAGS},
            "mountExtensions": {"idmap": enabled},
            "netDevices": {"enabled": false},
        },
        "annotations": {
            "io.bulkhead.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    })
}

fn filters() -> Value {
    let flags =
        known(&FILTER_FLAGS.map(|(name, _)| name), |name| json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [name]}));
    json!({
        "enabled": true,
        "actions": known(&ACTIONS, |name| json!({"defaultAction": name})),
        "operators": known(&OPERATORS, |name| {
            let args = json!([{"index": 0, "value": 1, "valueTwo": 1, "op": name}]);
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args}],
            })
        }),
        "archs": known(&ARCHES, |name| json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [name]})),
        "knownFlags": flags,
        "supportedFlags": FILTER_FLAGS.iter().filter(|(_, bit)| seccomp::knows(*bit)).map(|(name, _)| *name).collect::<Vec<_>>(),
    })
}

/// Those of `names` with which a profile can be read.
fn known(names: &[&'static str], profile: impl Fn(&str) -> Value) -> Vec<&'static str> {
    let reads = |name: &str| serde_json::from_value(profile(name)).is_ok_and(|text| Profile::from_text(&text).is_ok());
    names.iter().copied().filter(|name| reads(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_say_what_is_read() {
        let shown = features();
        assert!(MOUNT_OPTIONS.is_sorted() && NAMESPACES.is_sorted() && ARCHES.is_sorted());
        let list = |path: &str| shown.pointer(path).and_then(Value::as_array).unwrap().clone();
        assert_eq!(list("/linux/seccomp/operators").len(), 7);
        assert_eq!(list("/linux/seccomp/actions").len(), ACTIONS.len());
        assert!(list("/linux/seccomp/supportedFlags").contains(&json!("SECCOMP_FILTER_FLAG_TSYNC")));
        assert!(list("/linux/seccomp/archs").contains(&json!("SCMP_ARCH_X86_64")));
        assert!(list("/linux/seccomp/knownFlags").contains(&json!("SECCOMP_FILTER_FLAG_LOG")));
        assert_eq!(list("/linux/capabilities").len(), 41);
        assert_eq!(known(&["SCMP_ACT_MAYBE"], |name| json!({"defaultAction": name})), Vec::<&str>::new());
    }
}
