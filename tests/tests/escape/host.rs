//! Traces on the host: mounts and settings.

use bulkhead_tests::canary::{Canary, host_mounts, host_settings};
use bulkhead_tests::eventually;
use bulkhead_tests::probe::Lab;

use super::descriptors::parent;

/// The host's mount table and settings are the same before, during and after, also after the supervisor was killed.
#[test]
fn mounts_do_not_propagate_to_the_host() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let before = (host_mounts(), host_settings());
    // Control: a mount in a namespace that shares with its origin is seen there.
    let mut seen = std::process::Command::new("unshare");
    let script = "mount --make-rshared / 2>/dev/null; cd \"$0\" && mkdir -p m && unshare -m --propagation unchanged \
                  mount -t tmpfs none m && grep -c \"$0/m \" /proc/self/mountinfo; umount m; rmdir m";
    seen.args(if bulkhead_tests::is_root() { &["-m"][..] } else { &["-Urm"] });
    let seen = seen.args(["sh", "-c", script]).arg(lab.bench.dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "1", "{seen:?}");

    let bind = format!("{}:/data", canary.path.display());
    let flags = ["-v", &bind, "--tmpfs", "/memory", "--shm-size", "1m"];
    for (name, how) in [("one", "rm"), ("two", "kill the container"), ("three", "kill the monitor")] {
        lab.start(name, &flags, &["sleep", "60"]);
        assert_eq!((host_mounts(), host_settings()), before, "while {name} runs");
        lab.exec(&[], name, &["true"]).done();
        let pid = lab.bench.pid_of(name);
        let victim = match how {
            "kill the container" => Some(pid),
            "kill the monitor" => Some(parent(pid)),
            _ => None,
        };
        if let Some(victim) = victim.and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
            let gone = || !std::path::Path::new(&format!("/proc/{pid}")).exists();
            assert!(eventually(10, gone), "{how}: the container lives on");
        }
        assert_eq!((host_mounts(), host_settings()), before, "after: {how}");
        lab.remove(name);
    }
    assert_eq!((host_mounts(), host_settings()), before);
    canary.assert_untouched("propagation");
}

/// A sysctl value that carries a second setting, or a name outside the container's namespaces (CVE-2022-0811):
/// refused, and the host keeps its values.
#[test]
fn sysctls_reach_only_the_containers_own() {
    let lab = Lab::new();
    let before = host_settings();
    for setting in [
        "kernel.core_pattern=|/canary",
        "kernel.modprobe=/canary",
        "kernel.hostname=x",
        "vm.swappiness=1",
        "kernel/core_pattern=x",
        "net.ipv4.ip_forward=1+kernel.core_pattern=x\nkernel.core_pattern=y",
        "net.ipv4.ip_forward=1\nkernel.core_pattern=x",
        "net/../kernel/core_pattern=x",
        "net..ipv4=1",
        "net.ipv4.../../../kernel/core_pattern=x",
        "net=1",
        "",
        "=1",
        "net.ipv4.ip_forward",
        "net.ipv4.ip_forward=",
        "net ipv4=1",
        "/proc/sys/net/ipv4/ip_forward=1",
        "fs.mqueue=1",
        "user.max_user_namespaces=100",
        "kernel.domainname.x=1",
        "net.core.bpf_jit_enable=0",
    ] {
        let said = lab.probe(&["--sysctl", setting], &["true"]);
        assert_eq!(said.code, 125, "--sysctl {setting:?}: {said:?}");
        assert_eq!(host_settings(), before, "--sysctl {setting:?}");
    }
    // Control: one that is the container's own takes effect, there only.
    let own = lab.bench.sh(&["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward").ok();
    assert_eq!(own, "1\n");
    assert_eq!(host_settings(), before);
}
