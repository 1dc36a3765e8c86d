//! The dialect of cgroup v2 on the real kernel, also where the host's controllers are on v1: the hierarchy itself, the
//! clone into a group, the device filter and the view inside need no controller.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bulkhead_sandbox::Stdio;
use bulkhead_sandbox::cgroup::CgroupHandle;
use bulkhead_sandbox::facts::{CgroupLayout, HostFacts};
use bulkhead_sandbox::plan::plan;
use bulkhead_sandbox::spec::{
    Caps, DeviceRule, IdMaps, IdRange, Identity, MapWriter, Process, Resources, Rootfs, SandboxSpec, Seccomp,
};
use bulkhead_sandbox::supervise;
use bulkhead_seccomp::{Arch, Context, compile, defaults::default_profile};
use bulkhead_tests::{is_root, skip};

const NAME: &str = "cgroup2";

fn main() {
    println!("\nrunning 1 test");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let base = mounts.lines().find(|l| l.contains(" - cgroup2 ")).and_then(|l| l.split(' ').nth(4)).map(PathBuf::from);
    match base {
        Some(base) if is_root() => works(&base),
        Some(_) => skip(NAME, "root: an ordinary user has no group of his own on this host"),
        None => skip(NAME, "a cgroup v2 hierarchy"),
    }
    println!("test {NAME} ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}

fn spec(id: &str, script: &str) -> SandboxSpec {
    let range = vec![IdRange { inside: 0, outside: 0x6ff0_0000, count: 65_536 }];
    let context = Context { arch: Arch::native().expect("a known machine"), caps: Caps::DEFAULT.0, kernel: (6, 1) };
    let program = compile(&default_profile().resolve(&context).expect("resolves")).expect("compiles");
    SandboxSpec {
        id: id.to_owned(),
        hostname: "v2".to_owned(),
        ids: IdMaps { uids: range.clone(), gids: range, writer: MapWriter::Direct },
        rootfs: Rootfs::Directory { path: "/".into() },
        read_only_root: true,
        mounts: Vec::new(),
        devices: Vec::new(),
        share: None,
        shm_size: 1 << 20,
        proc_pid_only: false,
        masked_paths: ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger", "/sys/firmware"].map(str::to_owned).to_vec(),
        read_only_paths: vec!["/proc/sys".to_owned()],
        sysctls: Vec::new(),
        process: Process {
            args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec!["PATH=/usr/bin:/bin".to_owned()],
            cwd: "/".to_owned(),
            identity: Identity { uid: 0, gid: 0, groups: vec![0] },
            umask: 0o022,
            terminal: false,
            caps: Caps::DEFAULT,
            bounding: Caps::DEFAULT,
            no_new_privileges: true,
            rlimits: Vec::new(),
            oom_score_adj: 0,
            init: false,
            apparmor: None,
            selinux: None,
        },
        seccomp: Seccomp::Filter { name: "default".to_owned(), program },
        resources: Resources::default(),
        grants: Vec::new(),
    }
}

fn works(base: &Path) {
    let mut facts = HostFacts::gather().expect("facts");
    facts.cgroup = CgroupLayout::V2 { base: base.to_path_buf(), controllers: Vec::new() };
    let id = format!("test-{}", std::process::id());
    let script = "cat /proc/self/cgroup | grep ^0:; ls -d /sys/fs/cgroup/cgroup.procs; \
                  mkdir /sys/fs/cgroup/x 2>/dev/null && echo MADE; head -c 3 /dev/zero | wc -c; echo x > /dev/null && echo null";
    let plan = plan(&spec(&id, script), &facts).expect("a plan");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").expect("/dev/null").into();
    let running = supervise::prepare(&plan, Stdio::Files([null(), writer.into(), null()]), None)
        .and_then(supervise::Prepared::exec)
        .expect("it starts");
    let directory = base.join("bulkhead").join(&id);
    assert!(directory.is_dir(), "no group at {}", directory.display());
    let mut out = String::new();
    std::io::BufReader::new(reader).read_to_string(&mut out).expect("output");
    let ended = supervise::wait(&running).expect("an end");
    assert_eq!(ended.code(), 0, "{out}");
    // Its own group is the root of what it sees; it cannot be written; devices of the list work.
    assert_eq!(out, "0::/\n/sys/fs/cgroup/cgroup.procs\n3\nnull\n");
    drop(running);
    assert!(!directory.exists(), "the group was left behind");
    // The parent is this test's alone when nothing else uses version 2 here.
    drop(std::fs::remove_dir(base.join("bulkhead")));
    // The first word is the control: without the filter the device opens.
    assert_eq!(device_filter(base, &[]), "BEFORE\nnull\n");
    let log = DeviceRule { block: false, major: 1, minor: 11, read: true, write: false };
    assert_eq!(device_filter(base, &[log]), "BEFORE\nOPENED\nnull\n");
    assert_eq!(device_filter(base, &[DeviceRule { write: true, ..log }]), "BEFORE\nOPENED\nWRITTEN\nnull\n");
    // What is granted is that one, not its neighbours and not the block device of its number.
    for other in [DeviceRule { minor: 12, ..log }, DeviceRule { major: 2, ..log }, DeviceRule { block: true, ..log }] {
        assert_eq!(device_filter(base, &[other]), "BEFORE\nnull\n", "{other}");
    }
}

/// A device that is neither on the list nor granted cannot be opened in a group with the filter, also by root of the host.
fn device_filter(base: &Path, granted: &[DeviceRule]) -> String {
    use bulkhead_sandbox::cgroup::CgroupPlan;
    let parent = base.join("bulkhead");
    let directory = parent.join(format!("filter-{}", std::process::id()));
    let handle = CgroupHandle::create(&CgroupPlan::V2 {
        parent: parent.clone(),
        reserve: Vec::new(),
        directory: directory.clone(),
        writes: Vec::new(),
        device_filter: true,
        granted: granted.to_vec(),
    })
    .expect("a group");
    let node = std::env::temp_dir().join(format!("bulkhead-node-{}", std::process::id()));
    let script = format!(
        "mknod {0} c 1 11 && head -c 0 {0} && echo BEFORE; echo $$ > {1}/cgroup.procs; \
         (exec 3<{0}) 2>/dev/null && echo OPENED; \
         (exec 3>>{0}) 2>/dev/null && echo WRITTEN; (exec 3</dev/null) && echo null; \
         mknod {0}.2 b 7 0 2>/dev/null && echo MADE; rm -f {0} {0}.2; echo $$ > {2}/cgroup.procs",
        node.display(),
        directory.display(),
        base.display()
    );
    let out = std::process::Command::new("/bin/sh").arg("-c").arg(&script).output().expect("sh");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    drop(handle);
    drop(std::fs::remove_dir(&parent));
    assert!(!directory.exists(), "the group was left behind");
    text
}
