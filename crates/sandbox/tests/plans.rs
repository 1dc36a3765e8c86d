//! Plans as text, and the invariants over generated specs and hosts.
//!
//! `UPDATE_GOLDEN=1 cargo test -p bulkhead-sandbox` rewrites the files; a change of them is a change of what a container
//! gets, and is reviewed as one.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use bulkhead_sandbox::facts::{CgroupLayout, HostFacts, Reserve};
use bulkhead_sandbox::plan::plan;
use bulkhead_sandbox::spec::{
    Caps, Device, DeviceRule, Grant, IdMaps, IdRange, Identity, MapWriter, Mount, MountFlags, Process, Resources,
    Rlimit, Rootfs, SandboxSpec, Seccomp, Share, Text,
};
use bulkhead_sandbox::step::Step;
use bulkhead_sandbox::verify::verify;
use bulkhead_seccomp::{Arch, Context, compile, defaults::default_profile};
use proptest::prelude::*;

fn facts(v2: bool, privileged: bool) -> HostFacts {
    let names = ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"];
    let v1 = names.map(|n| (n.to_owned(), PathBuf::from(format!("/sys/fs/cgroup/{n}"))));
    HostFacts {
        privileged,
        nested: false,
        uid: if privileged { 0 } else { 1000 },
        gid: if privileged { 0 } else { 1000 },
        kernel: (6, 12),
        landlock_abi: 6,
        namespaces: ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"].map(str::to_owned).to_vec(),
        cgroup: match (v2, privileged) {
            (true, _) => CgroupLayout::V2 {
                base: PathBuf::from("/sys/fs/cgroup"),
                controllers: ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec(),
            },
            (false, true) => CgroupLayout::V1 { controllers: v1.into_iter().collect() },
            (false, false) => CgroupLayout::None,
        },
        kernel_mounts: vec!["/proc".to_owned(), "/sys".to_owned()],
        below_sys: vec!["/sys/fs/cgroup".to_owned(), "/sys/kernel/debug".to_owned()],
        swap_accounting: true,
        apparmor: true,
        selinux: false,
        keyrings: true,
        hard_limits: BTreeMap::from([("nofile".to_owned(), 4096)]),
        may_raise_limits: privileged,
        memory: 8 << 30,
        pid_max: 32_768,
        cpus: 4,
        oom_score_adj: 0,
        reserve: Reserve::default(),
    }
}

fn spec() -> SandboxSpec {
    let range = vec![IdRange { inside: 0, outside: 0x7000_0000, count: 65_536 }];
    let profile = default_profile();
    let context = Context { arch: Arch::X86_64, caps: Caps::DEFAULT.0, kernel: (6, 12) };
    let program = compile(&profile.resolve(&context).unwrap()).unwrap();
    SandboxSpec {
        id: "0123456789ab".to_owned(),
        hostname: "web".to_owned(),
        ids: IdMaps { uids: range.clone(), gids: range, writer: MapWriter::Direct },
        rootfs: Rootfs::Overlay {
            lowers: vec!["/store/layers/aa".into(), "/store/layers/bb".into()],
            writable: "/store/containers/c/fs".into(),
            volatile: false,
        },
        read_only_root: false,
        mounts: vec![
            Mount::Bind {
                source: "/srv/data".into(),
                below: None,
                expected: None,
                target: "/data".to_owned(),
                directory: true,
                recursive: true,
                exact: true,
                shift_ids: true,
                flags: MountFlags { read_only: true, exec: false },
            },
            Mount::Tmpfs {
                target: "/tmp".to_owned(),
                size: 64 << 20,
                mode: 0o1777,
                owner: (0, 0),
                inodes: 65_536,
                flags: MountFlags { read_only: false, exec: false },
                directories: Vec::new(),
            },
        ],
        devices: Vec::new(),
        share: None,
        shm_size: 64 << 20,
        proc_pid_only: false,
        masked_paths: ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger", "/sys/firmware"].map(str::to_owned).to_vec(),
        read_only_paths: vec!["/proc/sys".to_owned()],
        sysctls: vec![("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())],
        process: Process {
            args: vec!["nginx".to_owned(), "-g".to_owned(), "daemon off;".to_owned()],
            env: vec!["PATH=/usr/sbin:/usr/bin".to_owned(), "HOME=/root".to_owned()],
            cwd: "/srv".to_owned(),
            identity: Identity { uid: 0, gid: 0, groups: vec![0] },
            umask: 0o022,
            terminal: false,
            caps: Caps::DEFAULT,
            bounding: Caps::DEFAULT,
            no_new_privileges: true,
            rlimits: vec![Rlimit { name: "nofile".to_owned(), soft: Some(1024), hard: Some(65_536), required: false }],
            oom_score_adj: 0,
            init: false,
            apparmor: None,
            selinux: None,
        },
        seccomp: Seccomp::Filter { name: "default".to_owned(), program },
        resources: Resources {
            pids: Some(1024),
            memory: Some(256 << 20),
            swap: Some(0),
            milli_cpus: Some(1500),
            ..Resources::default()
        },
        grants: Vec::new(),
    }
}

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(format!("{name}.plan.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        wanted == text,
        "the plan {name} has changed; if that is meant, run with UPDATE_GOLDEN=1 and review the diff\n--- now:\n{text}"
    );
}

#[test]
fn root_on_v1() {
    golden("root-v1", &plan(&spec(), &facts(false, true)).unwrap().describe());
}

#[test]
fn root_on_v2_with_a_terminal_and_another_user() {
    let mut spec = spec();
    spec.process.terminal = true;
    spec.process.identity = Identity { uid: 1000, gid: 1000, groups: vec![1000] };
    spec.process.caps = Caps::EMPTY;
    spec.process.bounding = Caps::EMPTY;
    spec.read_only_root = true;
    spec.process.apparmor = Some("bulkhead-web".to_owned());
    golden("root-v2-tty-user", &plan(&spec, &facts(true, true)).unwrap().describe());
}

#[test]
fn an_ordinary_user_without_delegation() {
    let mut spec = spec();
    spec.resources = Resources { pids: Some(1024), ..Resources::default() };
    spec.ids = IdMaps {
        uids: vec![
            IdRange { inside: 0, outside: 1000, count: 1 },
            IdRange { inside: 1, outside: 100_000, count: 65_536 },
        ],
        gids: vec![
            IdRange { inside: 0, outside: 1000, count: 1 },
            IdRange { inside: 1, outside: 100_000, count: 65_536 },
        ],
        writer: MapWriter::Helpers,
    };
    golden("user", &plan(&spec, &facts(false, false)).unwrap().describe());
}

#[test]
fn privileges_that_may_be_gained_move_the_filter_before_the_capabilities() {
    let mut spec = spec();
    spec.process.no_new_privileges = false;
    spec.grants = vec![Grant::NewPrivileges];
    let plan = plan(&spec, &facts(true, true)).unwrap();
    let at = |wanted: &Step| plan.steps.iter().position(|s| s == wanted).unwrap();
    let caps = plan.steps.iter().position(|s| matches!(s, Step::Caps { .. })).unwrap();
    assert!(at(&Step::Seccomp) < caps);
    assert!(!plan.steps.contains(&Step::NoNewPrivileges));
    verify(&plan).unwrap();
}

/// The verifier must be able to say no: each of these plans was good and had one thing taken from it.
#[test]
fn a_plan_that_lost_its_protection_is_refused() {
    let good = plan(&spec(), &facts(true, true)).unwrap();
    verify(&good).unwrap();
    let without = |wanted: &dyn Fn(&Step) -> bool| {
        let mut plan = good.clone();
        plan.steps.retain(|s| !wanted(s));
        assert!(plan.steps.len() < good.steps.len());
        verify(&plan).unwrap_err().to_string()
    };
    assert!(without(&|s| *s == Step::NoNewPrivileges).contains("no_new_privs"));
    assert!(without(&|s| *s == Step::Seccomp).contains("filter"));
    assert!(without(&|s| matches!(s, Step::Bounding { .. })).contains("bounding"));
    assert!(without(&|s| matches!(s, Step::Caps { .. })).contains("capability"));
    assert!(without(&|s| matches!(s, Step::Identity { .. })).contains("user"));
    assert!(without(&|s| *s == Step::PrivateMounts).contains("mounts"));
    assert!(without(&|s| *s == Step::Pivot).contains("root"));
    assert!(without(&|s| matches!(s, Step::Mask { target } if target.show() == "/proc/kcore")).contains("kcore"));
    assert!(without(&|s| matches!(s, Step::ReadOnly { .. })).contains("/proc/sys"));
    let changed = |change: &dyn Fn(&mut bulkhead_sandbox::plan::SandboxPlan)| {
        let mut plan = good.clone();
        change(&mut plan);
        verify(&plan).unwrap_err().to_string()
    };
    assert!(changed(&|p| p.namespaces &= !0x1000_0000).contains("user namespace"));
    assert!(changed(&|p| p.filter.clear()).contains("filter"));
    assert!(
        changed(&|p| {
            let ready = p.steps.iter().position(|s| *s == Step::Ready).unwrap();
            p.steps.swap(ready, ready + 1);
        })
        .contains("later phase")
    );
    assert!(changed(&|p| p.ids.uids[0].outside = 0).contains("host"));
    assert!(
        changed(&|p| {
            for step in &mut p.steps {
                if let Step::Caps { set } = step {
                    *set |= 1 << 21;
                }
            }
        })
        .contains("SYS_ADMIN")
    );
    assert!(
        changed(&|p| {
            for step in &mut p.steps {
                if let Step::Bind { attributes, .. } = step {
                    *attributes = 0;
                }
            }
        })
        .contains("nodev")
    );
}

#[test]
fn what_cannot_be_is_refused_with_the_field_and_the_value() {
    let refused = |change: &dyn Fn(&mut SandboxSpec)| {
        let mut spec = spec();
        change(&mut spec);
        plan(&spec, &facts(true, true)).unwrap_err().to_string()
    };
    let bind = |target: &str| Mount::Tmpfs {
        target: target.to_owned(),
        size: 1,
        mode: 0o755,
        owner: (0, 0),
        inodes: 1,
        flags: MountFlags { read_only: false, exec: false },
        directories: Vec::new(),
    };
    for target in
        ["/proc", "/proc/self/attr", "//proc", "/x/../proc", "/sys/fs/cgroup", "/dev", "/dev/null", "/", "/dev/pts/x"]
    {
        let text = refused(&|s| s.mounts = vec![bind(target)]);
        assert!(text.contains(target), "{text}");
    }
    for (name, value) in [
        ("kernel.core_pattern", "|/x"),
        ("net.ipv4.ip_forward", "1\n2"),
        ("net.ipv4.ip_forward", ""),
        ("net..x", "1"),
        ("net.ipv4.../../kernel.core_pattern", "1"),
        ("vm.overcommit_memory", "1"),
    ] {
        let text = refused(&|s| s.sysctls = vec![(name.to_owned(), value.to_owned())]);
        assert!(text.contains("--sysctl"), "{text}");
    }
    assert!(refused(&|s| s.hostname = "a b".to_owned()).contains("--hostname"));
    assert!(refused(&|s| s.process.identity.uid = 65_536).contains("65535"));
    assert!(refused(&|s| s.process.args.clear()).contains("command"));
    assert!(refused(&|s| s.process.args[0] = "a\0b".to_owned()).contains("NUL"));
    assert!(refused(&|s| s.process.selinux = Some("x:y:z:s0".to_owned())).contains("SELinux"));
    assert!(refused(&|s| s.process.oom_score_adj = 2000).contains("--oom-score-adj"));
    assert!(refused(&|s| s.ids.uids[0].count = u32::MAX).contains("uid map"));
    assert!(refused(&|s| s.resources.hugetlb = vec![("2MB".to_owned(), 1)]).contains("hugetlb"));
}

#[test]
fn a_limit_that_cannot_be_enforced_is_an_error() {
    let mut spec = spec();
    let error = plan(&spec, &facts(false, false)).unwrap_err().to_string();
    assert!(error.contains("--memory"), "{error}");
    spec.resources = Resources { unified: vec![("memory.high".to_owned(), "1".to_owned())], ..Resources::default() };
    let error = plan(&spec, &facts(false, true)).unwrap_err().to_string();
    assert!(error.contains("memory.high"), "{error}");
    spec.resources = Resources::default();
    spec.process.rlimits[0].required = true;
    let error = plan(&spec, &facts(false, false)).unwrap_err().to_string();
    assert!(error.contains("--ulimit nofile"), "{error}");
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let one = prop_oneof![
        Just(Grant::NewPrivileges),
        Just(Grant::SeccompUnconfined),
        Just(Grant::SeccompCustom),
        Just(Grant::Capabilities(vec!["NET_RAW".to_owned(), "SYS_ADMIN".to_owned()])),
        Just(Grant::KernelPaths),
        Just(Grant::Mounts),
        Just(Grant::Privileged),
        Just(Grant::Compat),
    ];
    proptest::collection::vec(one, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is granted, a plan that the planner makes passes the verifier, and what is not granted is in force.
    #[test]
    fn every_plan_is_verified(
        grants in grants(), v2: bool, privileged: bool, landlock in 0u32..8, kernel in (5u32..7, 0u32..20),
        terminal: bool, read_only: bool, uid in prop_oneof![Just(0u32), 1u32..65_536], layers in 1usize..60,
    ) {
        let mut host = facts(v2, privileged);
        host.landlock_abi = landlock;
        host.kernel = kernel;
        let mut wanted = spec();
        let has = |g: &Grant| grants.contains(g);
        wanted.process.no_new_privileges = !has(&Grant::NewPrivileges);
        if has(&Grant::SeccompUnconfined) {
            wanted.seccomp = Seccomp::Unconfined;
        }
        wanted.resources = Resources { pids: Some(10), ..Resources::default() };
        wanted.process.terminal = terminal;
        wanted.read_only_root = read_only;
        wanted.process.identity = Identity { uid, gid: uid, groups: vec![uid] };
        wanted.rootfs = Rootfs::Overlay {
            lowers: (0..layers).map(|i| PathBuf::from(format!("/l/{i}"))).collect(),
            writable: "/w".into(),
            volatile: read_only,
        };
        wanted.grants.clone_from(&grants);
        let plan = plan(&wanted, &host).unwrap();
        prop_assert_eq!(verify(&plan), Ok(()));
        prop_assert_eq!(plan.steps.contains(&Step::NoNewPrivileges), !has(&Grant::NewPrivileges));
        prop_assert_eq!(plan.steps.contains(&Step::Seccomp), !has(&Grant::SeccompUnconfined));
        let masks = plan.steps.iter().any(|s| matches!(s, Step::Mask { .. }));
        prop_assert_eq!(masks, !has(&Grant::KernelPaths) && !has(&Grant::Privileged));
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<bulkhead_sandbox::plan::SandboxPlan>(&text).unwrap(), plan);
    }
}

fn fuse() -> Device {
    Device {
        source: "/dev/fuse".into(),
        target: "/dev/fuse".to_owned(),
        rule: DeviceRule { block: false, major: 10, minor: 229, read: true, write: true },
        mode: 0o666,
    }
}

fn granted(device: &Device) -> Grant {
    Grant::Device { target: device.target.clone(), rule: device.rule }
}

fn sharing() -> SandboxSpec {
    let mut spec = spec();
    let share = Share { with: "fedcba9876543210".to_owned(), ipc: true, pid: true, uts: true, network: false };
    spec.grants = vec![Grant::Shared { with: share.with.clone(), namespaces: share.names() }];
    spec.share = Some(share);
    spec
}

#[test]
fn a_device_by_grant() {
    let mut spec = spec();
    spec.devices = vec![fuse()];
    spec.grants = vec![granted(&fuse())];
    for (name, v2) in [("device-v1", false), ("device-v2", true)] {
        golden(name, &plan(&spec, &facts(v2, true)).unwrap().describe());
    }
}

fn in_hosts_network() -> SandboxSpec {
    let mut spec = spec();
    spec.grants = vec![Grant::Host(vec!["network".to_owned()])];
    spec.sysctls.retain(|(name, _)| !name.starts_with("net."));
    spec
}

#[test]
fn the_hosts_network_by_grant() {
    for (name, v2, privileged) in [("host-network", true, true), ("host-network-rootless", false, false)] {
        let mut wanted = in_hosts_network();
        if !privileged {
            wanted.resources = Resources::default();
        }
        let made = plan(&wanted, &facts(v2, privileged)).unwrap();
        assert!(made.in_hosts_network());
        golden(name, &made.describe());
    }
    let made = plan(&in_hosts_network(), &facts(true, true)).unwrap();
    verify(&made).unwrap();
    // A kernel whose Landlock knows no scopes.
    let old = HostFacts { landlock_abi: 5, ..facts(true, true) };
    assert!(!plan(&in_hosts_network(), &old).unwrap().steps.contains(&Step::OwnSockets));
    assert!(!plan(&spec(), &facts(true, true)).unwrap().steps.contains(&Step::OwnSockets));
}

#[test]
fn the_hosts_network_is_never_given_without_its_grant_nor_changed() {
    let good = plan(&in_hosts_network(), &facts(true, true)).unwrap();
    let refused = |change: &dyn Fn(&mut bulkhead_sandbox::plan::SandboxPlan)| {
        let mut bad = good.clone();
        change(&mut bad);
        verify(&bad).unwrap_err().to_string()
    };
    assert!(refused(&|p| p.grants.clear()).contains("network namespace is missing"));
    assert!(refused(&|p| p.grants = vec![Grant::Host(vec!["ipc".to_owned()])]).contains("nothing of the host's but"));
    let several = vec![Grant::Host(vec!["network".to_owned(), "pid".to_owned()])];
    assert!(refused(&|p| p.grants.clone_from(&several)).contains("nothing of the host's but"));
    assert!(refused(&|p| p.namespaces |= bulkhead_sys::clone::NEWNET).contains("is there, and a grant says"));
    assert!(refused(&|p| p.namespaces &= !bulkhead_sys::clone::NEWPID).contains("pid namespace is missing"));
    assert!(refused(&|p| p.steps.insert(1, Step::Loopback)).contains("loopback"));
    let setting = Step::Sysctl { path: Text::new("sys/net/ipv4/ip_forward").unwrap(), value: Text::new("1").unwrap() };
    assert!(refused(&|p| p.steps.insert(9, setting.clone())).contains("ip_forward"));
    let open = |p: &mut bulkhead_sandbox::plan::SandboxPlan| {
        for step in &mut p.steps {
            if let Step::Bind { target, attributes, .. } = step
                && target.show() == "/sys"
            {
                *attributes &= !1;
            }
        }
    };
    assert!(refused(&open).contains("sysfs"));
    let mut asked = in_hosts_network();
    for name in ["net.ipv4.ip_forward", "net/core/somaxconn"] {
        asked.sysctls = vec![(name.to_owned(), "1".to_owned())];
        let text = plan(&asked, &facts(true, true)).unwrap_err().to_string();
        assert!(text.contains("--sysctl") && text.contains(name) && text.contains("--network host"), "{text}");
    }
    asked.sysctls = vec![("kernel.shmmax".to_owned(), "1".to_owned())];
    verify(&plan(&asked, &facts(true, true)).unwrap()).unwrap();
}

#[test]
fn namespaces_of_another_container() {
    let plan = plan(&sharing(), &facts(true, true)).unwrap();
    verify(&plan).unwrap();
    golden("shared", &plan.describe());
}

#[test]
fn a_device_or_a_namespace_without_a_grant_is_refused() {
    let mut with_device = spec();
    with_device.devices = vec![fuse()];
    let refused = |spec: &SandboxSpec| verify(&plan(spec, &facts(false, true)).unwrap()).unwrap_err().to_string();
    assert!(refused(&with_device).contains("10:229"));
    // A grant for less than what is given.
    let mut less = fuse();
    less.rule.write = false;
    with_device.grants = vec![granted(&less)];
    assert!(refused(&with_device).contains("10:229"));
    with_device.grants = vec![granted(&fuse())];
    verify(&plan(&with_device, &facts(false, true)).unwrap()).unwrap();
    // A rule of the control group that no grant names, and a usual device that is none.
    let good = plan(&with_device, &facts(false, true)).unwrap();
    let mut bad = good.clone();
    if let bulkhead_sandbox::cgroup::CgroupPlan::V1 { granted, .. } = &mut bad.cgroup {
        granted.push(DeviceRule { minor: 1, major: 1, ..fuse().rule });
    }
    assert!(verify(&bad).unwrap_err().to_string().contains("1:1"));
    let mut bad = good;
    for step in &mut bad.steps {
        if let Step::Device { minor, .. } = step {
            *minor = 1;
        }
    }
    assert!(verify(&bad).unwrap_err().to_string().contains("usual"));
    let mut without = sharing();
    without.grants.clear();
    assert!(refused(&without).contains("shared"));
    let mut other = sharing();
    other.grants = vec![Grant::Shared { with: "1".to_owned(), namespaces: vec!["ipc".to_owned()] }];
    assert!(refused(&other).contains("shared"));
}

#[test]
fn what_would_change_the_other_container_is_refused() {
    let refused = |change: &dyn Fn(&mut SandboxSpec), host: &HostFacts| {
        let mut spec = sharing();
        change(&mut spec);
        plan(&spec, host).unwrap_err().to_string()
    };
    let host = facts(true, true);
    assert!(refused(&|s| s.process.init = true, &host).contains("--init"));
    for name in ["kernel.shmmax", "fs.mqueue.msg_max", "kernel.domainname", "kernel/sem"] {
        let text = refused(&|s| s.sysctls = vec![(name.to_owned(), "1".to_owned())], &host);
        assert!(text.contains("--sysctl") && text.contains("shared"), "{text}");
    }
    let bare = |s: &mut SandboxSpec| s.resources = Resources::default();
    assert!(refused(&bare, &facts(false, false)).contains("--pid"));
    for target in ["/dev/null", "/dev/pts/0", "/dev/shm/x", "/dev/", "/etc/x", "/dev/../etc/x", "/dev/fd/3"] {
        let text = refused(&|s| s.devices = vec![Device { target: target.to_owned(), ..fuse() }], &host);
        assert!(text.contains("--device"), "{text}");
    }
}

/// A worker that has a container's files: confined like any, nothing writable unless asked, no fresh memory shown.
#[test]
fn workers_with_a_containers_files_hold_the_invariants() {
    use bulkhead_sandbox::files::{View, plan_files};
    use bulkhead_sandbox::verify::joined_worker;
    use bulkhead_sandbox::worker::WorkerSpec;
    const READ_ONLY: u64 = 1;
    let container = spec();
    let Seccomp::Filter { program, .. } = &container.seccomp else { unreachable!() };
    let worker = WorkerSpec {
        id: "worker-0123456789abcdef".to_owned(),
        ids: container.ids.clone(),
        directory: "/store/staging/x".into(),
        input: None,
        image: None,
        args: vec!["bulkhead".to_owned(), "files".to_owned(), "{}".to_owned()],
        filter: program.insns().to_vec(),
    };
    let writable_mounts = |steps: &[Step]| {
        let attributes = |s: &Step| match s {
            Step::Overlay { attributes, .. }
            | Step::LayersRoot { attributes, .. }
            | Step::JoinedView { attributes, .. }
            | Step::Bind { attributes, .. }
            | Step::BindExisting { attributes, .. }
            | Step::Mount { attributes, .. } => Some(*attributes),
            _ => None,
        };
        steps.iter().filter(|s| attributes(s).is_some_and(|a| a & READ_ONLY == 0)).count()
    };
    for host in [facts(true, true), facts(false, true)] {
        for (writable, mounts) in [(false, true), (false, false), (true, true)] {
            let plan = plan_files(&worker, &View::Stopped { spec: &container, writable, mounts }, &host).unwrap();
            verify(&plan).unwrap();
            // The bind of the container is read-only as it is.
            assert_eq!(writable_mounts(&plan.steps), usize::from(writable), "{}", plan.describe());
            let upper = plan.trees.iter().any(|t| t.place.show().ends_with("/fs/upper"));
            assert_eq!(upper, !writable, "what is only read is no upper directory");
            let plan = plan_files(&worker, &View::Running { writable, mounts }, &host).unwrap();
            joined_worker(&plan).unwrap();
            assert!(verify(&plan).is_err(), "it has no user namespace of its own");
            assert_eq!(writable_mounts(&plan.steps), usize::from(writable));
            assert!(plan.trees.is_empty());
            let mut bad = plan.clone();
            bad.steps.retain(|s| *s != Step::Seccomp);
            assert!(joined_worker(&bad).is_err());
            let mut bad = plan;
            bad.namespaces = 0;
            assert!(joined_worker(&bad).is_err());
        }
        let directories = vec![("/store/layers/aa".into(), true), ("/store/containers/c/fs/upper".into(), false)];
        let plan = plan_files(&worker, &View::Layers { directories }, &host).unwrap();
        verify(&plan).unwrap();
        assert_eq!(plan.trees.iter().map(|t| t.shift_ids).collect::<Vec<_>>(), [true, false]);
    }
}
