//! Limits: what was asked is what the kernel enforces, read inside and outside; what cannot be enforced is refused.

use std::path::{Path, PathBuf};

use bulkhead_tests::{Bench, eventually, is_root};

/// Whether this host has one hierarchy for all controllers.
fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The directory of the control group that a process is in.
fn group(pid: i32, controller: &str) -> PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let fits = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let wanted = if unified() { "" } else { controller };
        controllers.split(',').any(|c| c == wanted).then(|| path.trim_start_matches('/').to_owned())
    };
    let path = text.lines().find_map(fits).unwrap_or_else(|| panic!("no {controller} in {text}"));
    let mount = if unified() { PathBuf::from("/sys/fs/cgroup") } else { Path::new("/sys/fs/cgroup").join(controller) };
    mount.join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path:?}: {e}")).trim().to_owned()
}

/// A limit by its names in both dialects: controller, file of version 1, file of version 2.
type Figure = (&'static str, &'static str, &'static str);

fn outside(bench: &Bench, name: &str, figure: Figure) -> String {
    let (controller, v1, v2) = figure;
    read(&group(bench.pid_of(name), controller).join(if unified() { v2 } else { v1 }))
}

fn inside(bench: &Bench, name: &str, figure: Figure) -> String {
    let (controller, v1, v2) = figure;
    let path = if unified() { format!("/sys/fs/cgroup/{v2}") } else { format!("/sys/fs/cgroup/{controller}/{v1}") };
    bench.say(&["exec", name, "cat", &path]).ok().trim().to_owned()
}

const MEMORY: Figure = ("memory", "memory.limit_in_bytes", "memory.max");
const PIDS: Figure = ("pids", "pids.max", "pids.max");
const QUOTA: Figure = ("cpu", "cpu.cfs_quota_us", "cpu.max");
const SHARES: Figure = ("cpu", "cpu.shares", "cpu.weight");

/// True when limits can be enforced for this user; when not, asking for one must say so.
fn enforceable(bench: &Bench) -> bool {
    if is_root() {
        return true;
    }
    let said = bench.sh(&["-m", "64m"], "true");
    if said.code == 0 {
        return true;
    }
    for (flag, value) in [
        ("--memory", "64m"),
        ("--cpus", "0.5"),
        ("--cpu-shares", "512"),
        ("--cpuset-cpus", "0"),
        ("--pids-limit", "50"),
        ("--blkio-weight", "100"),
        ("--cgroup-conf", "memory.high=1"),
    ] {
        if flag == "--pids-limit" {
            continue;
        }
        let error = bench.sh(&[flag, value], "true").fails(125);
        assert!(
            error.contains(flag) && error.contains("cannot be enforced") && error.contains("run as root"),
            "{error}"
        );
    }
    bench.assert_empty();
    false
}

#[test]
fn memory_cpu_and_processes_are_limited_and_read_back() {
    let bench = Bench::new();
    if !enforceable(&bench) {
        return;
    }
    let flags = ["--name", "one", "-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpu-shares", "512"];
    bench.start(&flags, "sleep 100");
    for (figure, v1, v2) in
        [(MEMORY, "67108864", "67108864"), (PIDS, "50", "50"), (QUOTA, "50000", "50000 100000"), (SHARES, "512", "20")]
    {
        let wanted = if unified() { v2 } else { v1 };
        assert_eq!(outside(&bench, "one", figure), wanted, "{figure:?}");
        assert_eq!(inside(&bench, "one", figure), wanted, "{figure:?}");
    }
    for (pointer, value) in
        [("Memory", 67_108_864_u64), ("NanoCpus", 500_000_000), ("PidsLimit", 50), ("CpuShares", 512)]
    {
        assert_eq!(bench.look("one", &format!("/HostConfig/{pointer}")), value);
    }
    let text = bench.say(&["explain", "one"]).ok();
    assert!(text.contains("50 processes, 64 MiB of memory, 0.500 CPUs"), "{text}");
    // The limits hold for what joins, too.
    let joined = bench.say(&["exec", "one", "cat", "/proc/self/cgroup"]).ok();
    assert_eq!(joined, bench.say(&["exec", "one", "cat", "/proc/1/cgroup"]).ok());
    // They are read-only inside.
    let (_, v1, v2) = PIDS;
    let path = if unified() { format!("/sys/fs/cgroup/{v2}") } else { format!("/sys/fs/cgroup/pids/{v1}") };
    assert_ne!(bench.say(&["exec", "one", "sh", "-c", &format!("echo 9 > {path}")]).code, 0);
}

#[test]
fn a_container_has_limits_without_a_flag() {
    let bench = Bench::new();
    if !enforceable(&bench) {
        return;
    }
    bench.start(&["--name", "one"], "sleep 100");
    assert_eq!(outside(&bench, "one", PIDS), "1024");
    bench.start(&["--name", "two", "--pids-limit", "-1"], "sleep 100");
    assert_eq!(outside(&bench, "two", PIDS), "max");
}

/// All containers together leave the host a fifth of its memory and half of its processes.
#[test]
fn the_host_has_its_reserve() {
    let bench = Bench::new();
    if !is_root() {
        return;
    }
    bench.start(&["--name", "one"], "sleep 100");
    let pid = bench.pid_of("one");
    let parent = |(controller, v1, v2): Figure| {
        let own = group(pid, controller);
        read(&own.parent().unwrap().join(if unified() { v2 } else { v1 }))
    };
    let meminfo = read(Path::new("/proc/meminfo"));
    let total = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")).unwrap();
    let total: u64 = total.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    assert_eq!(parent(MEMORY), (total / 5 * 4 / 4096 * 4096).to_string());
    let pid_max: u64 = read(Path::new("/proc/sys/kernel/pid_max")).parse().unwrap();
    assert_eq!(parent(PIDS), (pid_max / 2).to_string());
    assert_eq!(parent(SHARES), if unified() { "50" } else { "512" });
}

#[test]
fn a_container_stays_on_its_cpus() {
    let bench = Bench::new();
    if !enforceable(&bench) {
        return;
    }
    assert_eq!(
        bench.sh(&["--cpuset-cpus", "0"], "nproc; grep Cpus_allowed_list /proc/self/status").ok(),
        "1\nCpus_allowed_list:\t0\n"
    );
    let error = bench.sh(&["--cpuset-cpus", "4000"], "true").fails(125);
    assert!(error.contains("4000") && error.contains("cpuset"), "{error}");
    bench.assert_empty();
}

#[test]
fn running_out_of_memory_is_told() {
    let bench = Bench::new();
    if !enforceable(&bench) {
        return;
    }
    bench.start(&["--name", "hog", "-m", "32m"], "exec tail /dev/zero");
    assert!(eventually(30, || bench.state("hog").0 == "exited"));
    assert_eq!(bench.state("hog").1, 137);
    assert_eq!(bench.look("hog", "/State/OOMKilled"), true);
    // The control: one that is merely killed is not flagged.
    bench.start(&["--name", "calm", "-m", "32m"], "sleep 100");
    bench.say(&["kill", "calm"]).done();
    assert!(eventually(5, || bench.state("calm").0 == "exited"));
    assert_eq!(bench.look("calm", "/State/OOMKilled"), false);
}

#[test]
fn a_fork_bomb_stays_small_and_is_told() {
    let bench = Bench::new();
    if !enforceable(&bench) {
        return;
    }
    let script = "for i in $(seq 100); do sleep 3 & done; wait";
    bench.start(&["--name", "bomb", "--pids-limit", "20"], script);
    assert!(eventually(20, || bench.state("bomb").0 == "exited"));
    assert_ne!(bench.state("bomb").1, 0);
    assert!(bench.look("bomb", "/State/PidsRefused").as_u64().unwrap() > 0);
    assert!(bench.say(&["logs", "bomb"]).err.to_lowercase().contains("fork"));
}

#[test]
fn process_limits_are_set_and_small_by_default() {
    let bench = Bench::new();
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/1/oom_score_adj";
    let lines: Vec<String> = bench.sh(&[], script).ok().lines().map(str::to_owned).collect();
    assert_eq!((lines[0].as_str(), lines[2].as_str()), ("1024", "0"));
    assert!(lines[1].parse::<u64>().unwrap() <= 65_536, "{lines:?}");
    let flags = ["--ulimit", "nofile=100:200", "--ulimit", "core=1024", "--oom-score-adj", "500"];
    assert_eq!(bench.sh(&flags, script).ok(), "100\n200\n2\n500\n");
    if !is_root() {
        for flags in [&["--oom-score-adj", "-500"][..], &["--ulimit", "nofile=2000000000"]] {
            let error = bench.sh(flags, "true").fails(125);
            assert!(error.contains(flags[1].trim_start_matches("nofile=")) || error.contains("nofile"), "{error}");
        }
    }
    bench.assert_empty();
}

#[test]
fn shared_memory_has_the_size_that_was_asked() {
    let bench = Bench::new();
    let size = "stat -fc '%b %S' /dev/shm | awk '{ print $1 * $2 }'";
    assert_eq!(bench.sh(&[], size).ok(), "67108864\n");
    assert_eq!(bench.sh(&["--shm-size", "1m"], size).ok(), "1048576\n");
    let full = "dd if=/dev/zero of=/dev/shm/x bs=64k count=100 2>&1 | grep -c 'No space left'";
    assert_eq!(bench.sh(&["--shm-size", "1m"], full).ok(), "1\n");
}

#[test]
fn limits_that_this_host_cannot_enforce_are_refused() {
    let bench = Bench::new();
    if !enforceable(&bench) {
        return;
    }
    if unified() {
        bench.start(&["--name", "one", "--cgroup-conf", "memory.high=33554432"], "sleep 100");
        assert_eq!(outside(&bench, "one", ("memory", "", "memory.high")), "33554432");
        return;
    }
    let error = bench.sh(&["--cgroup-conf", "memory.high=33554432"], "true").fails(125);
    assert!(error.contains("memory.high") && error.contains("cgroup v1"), "{error}");
    if !Path::new("/sys/fs/cgroup/blkio/blkio.bfq.weight").exists()
        && !Path::new("/sys/fs/cgroup/blkio/blkio.weight").exists()
    {
        let error = bench.sh(&["--blkio-weight", "100"], "true").fails(125);
        assert!(error.contains("--blkio-weight") && error.contains("cannot be enforced"), "{error}");
    }
    bench.assert_empty();
}
