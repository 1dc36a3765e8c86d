//! Flags of `run`, end to end: what was asked is what the container has, and what cannot be is refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure is the result of the test")]

use std::path::Path;

use bulkhead_tests::{Bench, eventually, is_root};

#[test]
fn files_of_labels_variables_and_ids() {
    let bench = Bench::new();
    let write = |name: &str, text: &str| {
        std::fs::write(bench.path(name), text).unwrap();
        bench.path(name).display().to_string()
    };
    let labels = write("labels", "# ours\na=1\nbare\n");
    let env = write("env", "A=1\n# B=2\n  C=x y # z\nNOT_SET_ANYWHERE\n");
    let id_file = bench.path("id").display().to_string();
    let flags = [
        "--name",
        "one",
        "--label-file",
        &labels,
        "-l",
        "b=2",
        "--env-file",
        &env,
        "-e",
        "A=9",
        "--cidfile",
        &id_file,
        "--annotation",
        "note=x",
        "--stop-signal",
        "USR1",
        "--stop-timeout",
        "7",
        "--platform",
        "linux",
    ];
    let id = bench.start(&flags, "env; sleep 100");
    assert_eq!(std::fs::read_to_string(&id_file).unwrap(), id, "the id, without a line end");
    let labels = bench.look("one", "/Config/Labels");
    assert_eq!(labels, serde_json::json!({"a": "1", "b": "2", "bare": ""}));
    assert_eq!(bench.look("one", "/HostConfig/Annotations/note"), "x");
    assert_eq!(bench.look("one", "/Config/StopTimeout"), 7);
    assert!(eventually(5, || bench.say(&["logs", "one"]).out.contains("C=x y # z")));
    let env = bench.say(&["logs", "one"]).ok();
    assert!(
        env.contains("A=9\n") && !env.contains("A=1\n") && !env.contains("B=") && !env.contains("NOT_SET"),
        "{env}"
    );
    // The file is another container's now.
    let error = bench.sh(&["--cidfile", &id_file], "true").fails(125);
    assert!(error.contains("--cidfile") && error.contains("container ID file found"), "{error}");
    assert_eq!(std::fs::read_to_string(&id_file).unwrap(), id);
    bench.say(&["rm", "-f", "one"]).done();
    // One that does not start leaves no file: refused before, and failed after the container was made.
    let other = bench.path("other").display().to_string();
    bench.say(&["run", "--cidfile", &other, "--device", "/dev/none", "host", "true"]).done_with(125);
    assert!(!Path::new(&other).exists());
    bench.say(&["run", "--rm", "--cidfile", &other, "host", "/nonexistent"]).done_with(127);
    assert!(!Path::new(&other).exists());
    bench.say(&["run", "-d", "--cidfile", &other, "host", "/nonexistent"]).done_with(127);
    assert!(!Path::new(&other).exists());
    let error = bench.sh(&["--cidfile", "/nonexistent/x"], "true").fails(125);
    assert!(error.contains("/nonexistent/x"), "{error}");
    for id in bench.say(&["ps", "-aq"]).ok().split_whitespace() {
        bench.say(&["rm", "-f", id]).done();
    }
    bench.assert_empty();
}

#[test]
fn names_and_name_servers_are_written() {
    let bench = Bench::new();
    // With networks the container has its own address there, and the host's servers.
    let alone = ["--network", "none"];
    let flags = [
        "--network",
        "none",
        "--hostname",
        "box",
        "--domainname",
        "example.org",
        "--add-host",
        "db:10.0.0.2",
        "--add-host",
        "six:[fd00::2]",
        "--dns",
        "10.0.0.53",
        "--dns-search",
        "example.org",
        "--dns-search",
        "b.c",
        "--dns-option",
        "ndots:2",
    ];
    let script = "hostname; cat /proc/sys/kernel/domainname /etc/hosts /etc/resolv.conf";
    let text = bench.sh(&flags, script).ok();
    assert!(text.starts_with("box\nexample.org\n"), "{text}");
    for line in [
        "127.0.1.1\tbox.example.org box\n",
        "10.0.0.2\tdb\n",
        "fd00::2\tsix\n",
        "nameserver 10.0.0.53\n",
        "search example.org b.c\n",
        "options ndots:2\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    // The control: without a flag there is no name server and no such name.
    let text = bench.sh(&alone, script).ok();
    assert!(!text.contains("nameserver") && !text.contains("10.0.0.2"), "{text}");
    for (flag, value) in [
        ("--add-host", "db"),
        ("--add-host", "db:1.2.3.4\n9.9.9.9 x"),
        ("--add-host", "x:host-gateway"),
        ("--dns", "one"),
        ("--dns-search", "a\nnameserver 9.9.9.9"),
        ("--dns-option", "a b"),
        ("--domainname", "a b"),
    ] {
        let error = bench.sh(&[flag, value], "true").fails(125);
        assert!(error.contains(flag), "{error}");
    }
}

#[test]
fn memory_file_systems_have_their_options() {
    let bench = Bench::new();
    let many = bench.sh(&["-u", "1"], "true").code == 0;
    let owner = if many { "5:6" } else { "0:0" };
    let (uid, gid) = owner.split_once(':').unwrap();
    let spec = format!("/m:size=1m,mode=0750,uid={uid},gid={gid},nr_inodes=9");
    let script = "stat -c '%a %u:%g' /m; stat -fc '%c' /m; grep -c ' /m .*noexec' /proc/self/mountinfo; \
                  for i in 1 2 3 4 5 6 7 8 9; do echo > /m/$i; done 2>&1 | grep -c 'No space'";
    let text = bench.sh(&["--tmpfs", &spec], script).out;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[1], lines[2]), (format!("750 {owner}").as_str(), "9", "1"), "{text}");
    assert_eq!(bench.sh(&["--tmpfs", "/m:exec"], "grep -c ' /m .*noexec' /proc/self/mountinfo").out, "0\n");
    for options in ["suid", "dev", "uid=root", "uid=4000000000", "nr_inodes=1", "size=9q"] {
        let error = bench.sh(&["--tmpfs", &format!("/m:{options}")], "true").fails(125);
        assert!(error.contains("--tmpfs"), "{error}");
    }
}

#[test]
fn the_image_is_for_the_platform_that_was_asked() {
    let bench = Bench::new();
    bench.sh(&["--platform", "linux"], "true").done();
    let own = if cfg!(target_arch = "x86_64") { "linux/amd64" } else { "linux/arm64" };
    bench.sh(&["--platform", own], "true").done();
    for other in ["linux/s390x", "windows/amd64", "linux/riscv64"] {
        let error = bench.sh(&["--platform", other], "true").fails(125);
        assert!(error.contains("--platform") && error.contains(other) && error.contains(own), "{error}");
    }
    let error = bench.sh(&["--platform", "a/b/c/d"], "true").fails(125);
    assert!(error.contains("OS/ARCHITECTURE"), "{error}");
}

#[test]
fn cpu_quota_and_period_reach_the_kernel() {
    let bench = Bench::new();
    let error = bench.sh(&["--cpus", "1", "--cpu-quota", "50000"], "true").fails(125);
    assert!(error.contains("--cpu"), "{error}");
    if bench.sh(&["--cpu-quota", "50000"], "true").code != 0 {
        assert!(!is_root(), "root can limit");
        let error = bench.sh(&["--cpu-quota", "50000"], "true").fails(125);
        assert!(error.contains("cannot be enforced"), "{error}");
        return;
    }
    let read = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us 2>/dev/null || \
                tr ' ' '\\n' < /sys/fs/cgroup/cpu.max";
    assert_eq!(bench.sh(&["--cpu-quota", "20000", "--cpu-period", "40000"], read).ok(), "20000\n40000\n");
}

#[test]
fn only_settings_of_the_containers_own_namespaces_are_written() {
    let bench = Bench::new();
    let flags = [
        "--sysctl",
        "net.ipv4.ip_default_ttl=77",
        "--sysctl",
        "kernel.msgmax=9000",
        "--sysctl",
        "fs.mqueue.msg_max=11",
    ];
    let files = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max";
    assert_eq!(bench.sh(&flags, files).ok(), "77\n9000\n11\n");
    for setting in [
        "kernel.core_pattern=|/x",
        "vm.swappiness=1",
        "kernel.hostname=x",
        "net.ipv4.../../kernel/x=1",
        "net.core.somaxconn=",
    ] {
        let error = bench.sh(&["--sysctl", setting], "true").fails(125);
        assert!(error.contains("--sysctl"), "{error}");
    }
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), "9000\n", "the host's own is untouched");
}

// ---- devices --------------------------------------------------------------------------------------------------------

/// A device that everybody may open and that does nothing by itself.
const DEVICE: &str = "/dev/fuse";

#[test]
fn a_device_is_there_by_grant_and_not_without() {
    let bench = Bench::new();
    // Whoever runs this may open it: a device under another name, and the control that without the flag it is not there.
    let read = "head -c 3 /dev/mine 2>/dev/null | wc -c";
    assert_eq!(bench.sh(&["--device", "/dev/zero:/dev/mine"], read).ok(), "3\n");
    assert_eq!(bench.sh(&[], read).ok(), "0\n");
    let mine = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE);
    if mine.is_err() {
        // Not there, or not for this user: then it is not for his containers either.
        assert!(!is_root() || !Path::new(DEVICE).exists(), "{mine:?}");
        let error = bench.sh(&["--device", DEVICE], "true").fails(125);
        assert!(error.contains(DEVICE), "{error}");
        return;
    }
    drop(mine);
    let open = "{ [ -c /dev/fuse ] && : <> /dev/fuse; } 2>/dev/null && echo open || echo closed";
    // The control: without the flag there is no such file, and no way to make one.
    assert_eq!(
        bench.sh(&[], &format!("{open}; mknod /dev/mine c 10 229 2>/dev/null || echo none")).ok(),
        "closed\nnone\n"
    );
    let text = bench.sh(&["--device", DEVICE], &format!("{open}; stat -c %t:%T /dev/fuse")).ok();
    assert_eq!(text, "open\na:e5\n");
    assert_eq!(
        bench
            .sh(&["--device", "/dev/fuse:/dev/sub/other"], "[ -c /dev/sub/other ] && : <> /dev/sub/other && echo open")
            .ok(),
        "open\n"
    );
    // Another number of the same kind stays closed.
    bench.start(&["--name", "one", "--device", DEVICE], "sleep 100");
    assert_eq!(bench.look("one", "/HostConfig/Devices/0/PathInContainer"), DEVICE);
    let text = bench.say(&["explain", "one"]).ok();
    assert!(text.contains("--device /dev/fuse") && text.contains("c 10:229"), "{text}");
    assert!(bench.look("one", "/Bulkhead/Security/Grants/0").as_str().unwrap().starts_with("device(/dev/fuse:rw)"));
    assert_eq!(bench.say(&["exec", "one", "sh", "-c", open]).ok(), "open\n");
    // The next one has none again, also where groups pass their lists on.
    assert_eq!(bench.sh(&[], open).ok(), "closed\n");
}

/// What the device list of the control group says and does, beneath the file that is or is not there.
#[test]
fn the_device_list_is_longer_by_exactly_the_granted_one() {
    let bench = Bench::new();
    let devices = Path::new("/sys/fs/cgroup/devices");
    if !is_root() || !devices.exists() || !Path::new(DEVICE).exists() {
        return;
    }
    let list = |name: &str| {
        let pid = bench.pid_of(name);
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let group =
            groups.lines().find_map(|l| l.split_once(":devices:")).unwrap().1.trim_start_matches('/').to_owned();
        let text = std::fs::read_to_string(devices.join(group).join("devices.list")).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    bench.start(&["--name", "plain"], "sleep 100");
    bench.start(&["--name", "fuse", "--device", "/dev/fuse:r"], "sleep 100");
    bench.start(&["--name", "after"], "sleep 100");
    let plain = list("plain");
    let mut wanted = plain.clone();
    wanted.push("c 10:229 r".to_owned());
    wanted.sort();
    assert_eq!((list("fuse"), list("after")), (wanted, plain));
    // Reading was given, writing was not.
    let open = |how: &str| bench.say(&["exec", "fuse", "sh", "-c", &format!("( : {how} /dev/fuse ) 2>/dev/null")]).code;
    assert_eq!(open("<"), 0);
    assert_ne!(open(">"), 0);
    // The list itself, tried from outside with nodes of the host: the granted one opens, its neighbour does not.
    let tries = |group: Option<&str>, file: &str| {
        let enter =
            group.map_or_else(String::new, |g| format!("echo $$ > {}/bulkhead/{g}/tasks && ", devices.display()));
        let script = format!("{enter} : < {file}");
        let status =
            std::process::Command::new("sh").args(["-c", &script]).stderr(std::process::Stdio::null()).status();
        status.unwrap().success()
    };
    let id = bench.look("fuse", "/Id").as_str().unwrap().to_owned();
    assert!(tries(Some(&id), DEVICE));
    if Path::new("/dev/net/tun").exists() {
        assert!(tries(None, "/dev/net/tun"), "the control: outside of the group it opens");
        assert!(!tries(Some(&id), "/dev/net/tun"));
    }
}

#[test]
fn devices_that_are_the_host_are_never_given() {
    let bench = Bench::new();
    for (device, why) in [
        ("/dev/mem", "memory"),
        ("/dev/port", "I/O ports"),
        ("/dev/kmsg", "log"),
        ("/dev/tty0", "terminal"),
        ("/dev/console", "console"),
        ("/dev/ptmx", "terminal"),
        ("/dev/loop-control", "block devices"),
    ] {
        if Path::new(device).exists() {
            let error = bench.sh(&["--device", &format!("{device}:/dev/x")], "true").fails(125);
            assert!(error.contains(device) && error.contains(why) && error.contains("refused"), "{error}");
        }
    }
    // The disk of the root file system, by whatever name.
    let info = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in info.lines() {
        let source = line.split(" - ").nth(1).and_then(|r| r.split(' ').nth(1)).unwrap_or_default();
        if source.starts_with("/dev/") && Path::new(source).exists() {
            let error = bench.sh(&["--device", &format!("{source}:/dev/disk")], "true").fails(125);
            assert!(error.contains("mounted on") || error.contains("cannot open"), "{error}");
        }
    }
    for (value, why) in [
        ("/dev/none", "none"),
        ("/dev/net", "directory"),
        ("/etc/passwd", "/dev"),
        ("/dev/../etc/passwd", "/dev"),
        ("/dev/null:/dev/tty", "own devices"),
        ("/dev/null:/dev/pts/0", "own devices"),
        ("/dev/null:/etc/x", "/dev"),
        ("/dev/zero:/dev/x:m", "nodes are never made"),
        ("/dev/shm", "directory"),
    ] {
        if value == "/dev/net" && !Path::new(value).exists() {
            continue;
        }
        let error = bench.sh(&["--device", value], "true").fails(125);
        assert!(error.contains("--device") || error.contains("the device"), "{value}: {error}");
        assert!(error.contains(why), "{value}: {error}");
    }
    bench.assert_empty();
}

// ---- namespaces of another container --------------------------------------------------------------------------------

fn namespace(pid: i32, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

/// Which of the namespaces are the same.
fn same(bench: &Bench, a: &str, b: &str) -> Vec<&'static str> {
    let (a, b) = (bench.pid_of(a), bench.pid_of(b));
    let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
    kinds.into_iter().filter(|kind| namespace(a, kind) == namespace(b, kind)).collect()
}

#[test]
fn ipc_and_host_name_can_be_those_of_another_container() {
    let bench = Bench::new();
    bench.start(&["--name", "one", "--ipc", "shareable", "--hostname", "first"], "echo secret > /dev/shm/x; sleep 100");
    bench.start(&["--name", "two", "--ipc", "container:one", "--uts", "container:one"], "sleep 100");
    assert_eq!(same(&bench, "one", "two"), ["user", "ipc", "uts"]);
    assert!(eventually(5, || bench.say(&["exec", "two", "cat", "/dev/shm/x"]).out == "secret\n"));
    assert_eq!(bench.say(&["exec", "two", "hostname"]).ok(), "first\n");
    assert!(bench.say(&["exec", "two", "cat", "/etc/hosts"]).ok().contains("first"));
    let mount = bench.say(&["exec", "two", "grep", " /dev/shm ", "/proc/self/mountinfo"]).ok();
    assert!(mount.contains("nosuid") && mount.contains("nodev") && mount.contains("noexec"), "{mount}");
    // Each has its own limits, rights and filter.
    let pid = bench.pid_of("two");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(!groups.contains(bench.look("one", "/Id").as_str().unwrap()), "{groups}");
    let text = bench.say(&["explain", "two"]).ok();
    assert!(text.contains("--ipc container:") && text.contains("shared memory"), "{text}");
    assert_eq!(bench.look("two", "/HostConfig/IpcMode"), "container:one");
    // Shared memory outlives the one that brought it, and so does the id range that its files belong to.
    bench.say(&["rm", "-f", "one"]).done();
    assert_eq!(bench.say(&["exec", "two", "cat", "/dev/shm/x"]).ok(), "secret\n");
    bench.start(&["--name", "three"], "sleep 100");
    if is_root() {
        let map = |name: &str| std::fs::read_to_string(format!("/proc/{}/uid_map", bench.pid_of(name))).unwrap();
        assert_ne!(map("two"), map("three"), "a range that is held is not given again");
    }
    bench.say(&["rm", "-f", "two", "three"]).done();
    bench.assert_empty();
}

#[test]
fn processes_can_be_those_of_another_container() {
    let bench = Bench::new();
    bench.start(&["--name", "one"], "sleep 54321");
    let said =
        bench.sh(&["--pid", "container:one"], "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; kill -0 1 && echo reached");
    if said.code == 125 {
        assert!(!is_root() && said.err.contains("--pid") && said.err.contains("control group"), "{said:?}");
        bench.say(&["rm", "-f", "one"]).done();
        bench.assert_empty();
        return;
    }
    let text = said.ok();
    assert!(text.contains("sleep 54321") && text.contains("reached"), "{text}");
    // The control: another one sees none of it.
    let apart = bench.sh(&[], "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").ok();
    assert!(!apart.contains("54321"), "{apart}");
    bench.start(&["--name", "two", "--pid", "container:one"], "sleep 100 & sleep 100");
    assert_eq!(same(&bench, "one", "two"), ["user", "pid"]);
    // What it leaves behind among the other's processes ends with it.
    let count = || {
        bench
            .say(&["exec", "one", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"])
            .ok()
            .matches("sleep 100")
            .count()
    };
    assert!(eventually(5, || count() == 4 || count() == 2), "{}", count());
    bench.say(&["kill", "two"]).done();
    assert!(eventually(10, || bench.state("two").0 == "exited"));
    assert_eq!(count(), 0);
    assert_eq!(bench.state("one").0, "running");
    bench.say(&["rm", "two"]).done();
    // With the owner of process 1 all end.
    bench.start(&["--name", "three", "--pid", "container:one"], "sleep 100");
    bench.say(&["kill", "one"]).done();
    assert!(eventually(10, || bench.state("three") == ("exited".to_owned(), 137)), "{:?}", bench.state("three"));
    bench.say(&["rm", "one", "three"]).done();
    bench.assert_empty();
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let bench = Bench::new();
    bench.start(&["--name", "shy"], "sleep 100");
    bench.start(&["--name", "open", "--ipc", "shareable"], "sleep 100");
    for (flags, why) in [
        (&["--ipc", "container:shy"][..], "--ipc shareable"),
        (&["--ipc", "container:open", "--shm-size", "1m"], "--shm-size"),
        (&["--uts", "container:open", "--hostname", "x"], "hostname and the UTS mode"),
        (&["--ipc", "container:open", "--uts", "container:shy"], "one user namespace"),
        (&["--ipc", "container:nobody"], "nobody"),
        (&["--ipc", "container:open", "--sysctl", "kernel.msgmax=9000"], "set it there"),
        (&["--uts", "container:open", "--domainname", "x"], "UTS mode"),
        (&["--ipc", "host"], "host"),
        (&["--pid", "host"], "host"),
        (&["--uts", "host"], "host"),
    ] {
        let error = bench.sh(flags, "true").fails(125);
        assert!(error.contains(why), "{flags:?}: {error}");
    }
    bench.say(&["kill", "open"]).done();
    assert!(eventually(5, || bench.state("open").0 == "exited"));
    let error = bench.sh(&["--ipc", "container:open"], "true").fails(125);
    assert!(error.contains("not running"), "{error}");
    bench.say(&["rm", "-f", "open", "shy"]).done();
    bench.assert_empty();
}

#[test]
fn no_shared_memory_where_none_was_asked() {
    let bench = Bench::new();
    assert_eq!(bench.sh(&["--ipc", "none"], "test -e /dev/shm || echo none").ok(), "none\n");
    assert_eq!(bench.sh(&["--ipc", "private"], "test -d /dev/shm && echo there").ok(), "there\n");
}

#[test]
fn flags_that_are_refused_start_nothing() {
    let bench = Bench::new();
    for flags in [
        &["--cgroup-parent", "/x"][..],
        &["--userns", "host"],
        &["--cgroupns", "host"],
        &["--gpus", "all"],
        &["--runtime", "x"],
        &["--device-cgroup-rule", "c 1:1 rwm"],
        &["--oom-kill-disable"],
        &["--kernel-memory", "1g"],
        &["--link-local-ip", "169.254.1.1"],
    ] {
        let error = bench.sh(flags, "true").fails(125);
        assert!(error.contains("is refused") && error.contains("hint: "), "{error}");
    }
    bench.assert_empty();
}
