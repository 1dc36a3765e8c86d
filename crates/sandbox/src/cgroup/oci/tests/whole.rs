//! Groups that are made: on temporary directories, and as root on this machine's own hierarchies.

use std::process::{Child, Command};

use super::*;
use crate::cgroup::CgroupHandle;

fn facts(cgroup: CgroupLayout) -> HostFacts {
    HostFacts { cgroup, ..HostFacts::gather().unwrap() }
}

fn layout(own: &Own) -> CgroupLayout {
    let v1 = own.hierarchies.iter().filter(|h| !h.unified);
    let controllers: BTreeMap<String, PathBuf> =
        v1.flat_map(|h| h.controllers.iter().map(|c| (c.clone(), h.mount.clone()))).collect();
    if controllers.is_empty() {
        let base = own.hierarchies.first().map(|h| h.mount.clone()).unwrap_or_default();
        return CgroupLayout::V2 { base, controllers: Vec::new() };
    }
    CgroupLayout::V1 { controllers }
}

fn ask<'a>(own: &'a Own, path: &'a str, resources: Option<&'a LinuxResources>) -> Ask<'a> {
    const NONE: &BTreeMap<String, String> = &BTreeMap::new();
    Ask { id: "box", path, resources, systemd: false, annotations: NONE, rootless: false, own }
}

/// A directory of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bulkhead-oci-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap().trim().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn unified(mount: &std::path::Path) -> Own {
    let hierarchy = Hierarchy {
        mount: mount.to_path_buf(),
        root: "/".into(),
        own: "/me/here".into(),
        unified: true,
        ..Hierarchy::default()
    };
    Own { hierarchies: vec![hierarchy] }
}

#[test]
fn nothing_is_forgiven_but_to_whom_nothing_was_asked() {
    let own = Own::default();
    let none = facts(CgroupLayout::None);
    let limit = resources(r#"{"memory":{"limit":4096}}"#);
    let rootless = |path, resources| Ask { rootless: true, ..ask(&own, path, resources) };
    assert_eq!(plan(&rootless("", None), &none), Ok(CgroupPlan::None));
    let error = |ask: &Ask<'_>, facts| plan(ask, facts).unwrap_err().limit;
    assert_eq!(error(&rootless("", Some(&limit)), &none), "linux.resources.memory.limit");
    assert!(error(&rootless("/a", None), &none).starts_with("linux.cgroupsPath"));
    assert!(error(&ask(&own, "", None), &none).starts_with("linux.cgroupsPath"));
    let own = unified(std::path::Path::new("/nowhere"));
    let v2 = facts(CgroupLayout::V2 { base: "/nowhere".into(), controllers: Vec::new() });
    let rootless = Ask { rootless: true, ..ask(&own, "", None) };
    assert_eq!(plan_with(&rootless, &v2, &|_| false), Ok(CgroupPlan::None));
    assert!(matches!(plan_with(&rootless, &v2, &|_| true), Ok(CgroupPlan::Oci(_))));
}

#[test]
fn systemd_makes_what_its_path_says() {
    let mut own = unified(std::path::Path::new("/m"));
    own.hierarchies[0].own = "/user.slice/user-5.slice/session-1.scope".into();
    let systemd = |path, rootless| Ask { systemd: true, rootless, ..ask(&own, path, None) };
    let place = |ask: &Ask<'_>, layout| {
        let Ok(CgroupPlan::Oci(group)) = plan_with(ask, &facts(layout), &|_| false) else { panic!("no group") };
        (group.unit.clone().unwrap().name, group.directories())
    };
    let v2 = CgroupLayout::V2 { base: "/m".into(), controllers: Vec::new() };
    let (name, directories) = place(&systemd("a-b.slice:p:n", false), v2);
    assert_eq!((name.as_str(), directories), ("p-n.scope", vec!["/m/a.slice/a-b.slice/p-n.scope".into()]));
    // Nothing is delegated here, but systemd may.
    let (_, directories) = place(&systemd("", true), CgroupLayout::None);
    let wanted = "/m/user.slice/user-5.slice/user@5.service/user.slice/bulkhead-box.scope";
    assert_eq!(directories, [PathBuf::from(wanted)]);
    let own = Own::of("1 2 0:1 / /d rw - cgroup cgroup rw,devices\n", "");
    let error = plan(&Ask { systemd: true, rootless: true, ..ask(&own, "", None) }, &facts(layout(&own))).unwrap_err();
    assert!(error.limit.starts_with("linux.cgroupsPath"), "{error}");
}

#[test]
fn a_devices_hierarchy_is_needed() {
    let own = Own::of("1 2 0:1 / /m rw - cgroup cgroup rw,memory\n", "");
    let v1 = facts(layout(&own));
    let error = plan(&ask(&own, "/a", None), &v1).unwrap_err();
    assert_eq!(error.limit, "linux.resources.devices");
    let hole = resources(
        r#"{"devices":[{"allow":true,"type":"c","access":"r"},
                                        {"allow":false,"type":"c","major":7,"minor":7,"access":"r"}]}"#,
    );
    let own = Own::of("1 2 0:1 / /d rw - cgroup cgroup rw,devices\n", "");
    let error = plan(&ask(&own, "/a", Some(&hole)), &facts(layout(&own))).unwrap_err();
    assert_eq!(error.limit, "linux.resources.devices[1]");
}

#[test]
fn the_controllers_are_passed_down_and_only_what_was_made_is_removed() {
    let folder = Folder::new("v2");
    folder.put("cgroup.controllers", "memory pids\n");
    folder.put("cgroup.subtree_control", "memory\n");
    folder.put("there/cgroup.controllers", "memory\n");
    folder.put("there/cgroup.type", "domain\n");
    let own = unified(&folder.0);
    let limit = resources(r#"{"pids":{"limit":5}}"#);
    let group = plan(&ask(&own, "/there/new/box", Some(&limit)), &facts(layout(&own))).unwrap();
    // These directories are no control groups, so the limit's file is missing.
    let error = CgroupHandle::create(&group).unwrap_err().to_string();
    assert!(error.contains("linux.resources.pids.limit") && error.contains("pids.max"), "{error}");
    assert_eq!(folder.get("cgroup.subtree_control"), "+pids");
    assert_eq!(folder.get("there/cgroup.subtree_control"), "+memory");
    assert!(folder.0.join("there").is_dir() && !folder.0.join("there/new").exists());
    folder.put("there/cgroup.type", "threaded\n");
    let error = CgroupHandle::create(&group).unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("threaded"), "{reason}");
}

#[test]
fn a_change_writes_what_is_named_and_takes_it_back_when_it_fails() {
    let folder = Folder::new("change");
    let directories = [folder.0.join("box")];
    let v2 = facts(CgroupLayout::V2 { base: folder.0.clone(), controllers: Vec::new() });
    folder.put("box/memory.max", "1000\n");
    folder.put("box/memory.swap.max", "max\n");
    folder.put("box/pids.max", "7\n");
    change(&directories, &resources(r#"{"memory":{"swap":1500}}"#), &v2).unwrap();
    // A control group's file is written whole; this one is not, so both texts have one length.
    for (before, json, wanted) in [
        ("20000 80000", r#"{"cpu":{"period":50000}}"#, "20000 50000"),
        ("20000 50000", r#"{"cpu":{"quota":30000}}"#, "30000 50000"),
        ("200 50000", r#"{"cpu":{"quota":-1}}"#, "max 50000"),
        ("max 50000", r#"{"cpu":{"period":60000}}"#, "max 60000"),
    ] {
        folder.put("box/cpu.max", before);
        change(&directories, &resources(json), &v2).unwrap();
        assert_eq!(folder.get("box/cpu.max"), wanted, "{json}");
    }
    assert_eq!((folder.get("box/memory.swap.max"), folder.get("box/memory.max")), ("500".into(), "1000".into()));
    // In version 1 they are two files, and systemd hears of both all the same.
    folder.put("v1/cpu.cfs_quota_us", "50000\n");
    folder.put("v1/cpu.cfs_period_us", "100000\n");
    let whole = completed(&[folder.0.join("v1")], &resources(r#"{"cpu":{"period":200000}}"#)).cpu.unwrap();
    assert_eq!((whole.quota, whole.period), (Some(50_000), Some(200_000)));
    let wrong = resources(r#"{"pids":{"limit":9},"cpu":{"shares":3}}"#);
    let error = change(&directories, &wrong, &v2).unwrap_err().to_string();
    assert!(error.contains("linux.resources.cpu.shares"), "{error}");
    assert_eq!(folder.get("box/pids.max"), "7");
    folder.put("box/memory.current", "900\n");
    let tight = resources(r#"{"memory":{"limit":800,"checkBeforeUpdate":true}}"#);
    let error = change(&directories, &tight, &v2).unwrap_err().to_string();
    assert!(error.contains("memory.limit") && error.contains("900"), "{error}");
    assert_eq!(folder.get("box/memory.max"), "1000");
    let nothing = facts(CgroupLayout::None);
    assert!(change(&[], &tight, &nothing).is_err() && change(&[], &resources("{}"), &nothing).is_ok());
}

#[test]
fn figures_have_the_names_that_callers_read() {
    let folder = Folder::new("stats");
    for (name, text) in [
        ("cgroup.controllers", "cpu\n"),
        ("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 1\nnr_throttled 0\nthrottled_usec 2\n"),
        (
            "cpu.pressure",
            "some avg10=0.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        ),
        ("memory.current", "100\n"),
        ("memory.max", "max\n"),
        ("memory.stat", "anon 1\nfile 50\n"),
        ("memory.swap.current", "5\n"),
        ("memory.swap.max", "20\n"),
        ("pids.current", "3\n"),
        ("pids.max", "max\n"),
        ("io.stat", "8:0 rbytes=5 wbytes=0 rios=1 wios=2 dbytes=0\n"),
        ("hugetlb.2MB.current", "0\n"),
        ("hugetlb.2MB.events", "max 4\n"),
    ] {
        folder.put(name, text);
    }
    let wanted: serde_json::Value = serde_json::from_str(
        r#"{"cpu":{"usage":{"total":7000,"kernel":3000,"user":4000},"throttling":{"periods":1,"throttledTime":2000},
             "psi":{"some":{"avg10":0.5,"avg60":0.0,"avg300":0.0,"total":9}}},
            "cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,
             "memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},
            "memory":{"cache":50,"usage":{"limit":18446744073709551615,"usage":100,"failcnt":0},
             "swap":{"limit":18446744073709551615,"usage":105,"failcnt":0},"raw":{"anon":1,"file":50}},
            "pids":{"current":3},
            "blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":5},{"major":8,"op":"Write"}],
             "ioServicedRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write","value":2}]},
            "hugetlb":{"2MB":{"failcnt":4}},"intel_rdt":{},"network_interfaces":null}"#,
    )
    .unwrap();
    assert_eq!(stats(std::slice::from_ref(&folder.0)), wanted);
}

/// A process of the test's own.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}

/// On version 1 as root; elsewhere the other tests have to do.
#[test]
fn a_group_is_made_limited_changed_frozen_and_removed_here() {
    let own = Own::read();
    let host = HostFacts::gather().unwrap();
    let CgroupLayout::V1 { controllers } = &host.cgroup else { return };
    if !host.privileged
        || !["memory", "pids", "devices", "freezer", "cpuset"].iter().all(|c| controllers.contains_key(*c))
    {
        return;
    }
    let top = format!("bulkhead-test-{}", std::process::id());
    let path = format!("/{top}/way/box");
    let at = |controller: &str, file: &str| {
        std::fs::read_to_string(controllers[controller].join(&path[1..]).join(file)).unwrap().trim().to_owned()
    };
    let asked = resources(
        r#"{"memory":{"limit":67108864,"swap":67108864},"pids":{"limit":20},"cpu":{"shares":512,"quota":50000,"period":100000},
            "devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}"#,
    );
    let group = plan(&ask(&own, &path, Some(&asked)), &host).unwrap();
    let mut handle = CgroupHandle::create(&group).unwrap();
    let directories = handle.directories().to_vec();
    // Beside these, the one of version 2 is cloned into.
    let beside = usize::from(handle.into_fd().is_some());
    assert!(directories.len() >= 5 && handle.tasks().len() + beside == directories.len());
    assert_eq!(beside == 1, own.hierarchies.iter().any(|h| h.unified));
    assert!(
        directories.iter().any(|d| d.starts_with("/sys/fs/cgroup/systemd"))
            || !std::path::Path::new("/sys/fs/cgroup/systemd").exists()
    );
    assert_eq!((at("memory", "memory.limit_in_bytes"), at("pids", "pids.max")), ("67108864".into(), "20".into()));
    assert_eq!(at("memory", "memory.memsw.limit_in_bytes"), "67108864");
    assert!(!at("cpuset", "cpuset.cpus").is_empty(), "a cpuset without a list takes nobody");
    let list = at("devices", "devices.list");
    assert!(list.contains("c 10:229 rw") && list.contains("c 1:3 rwm") && !list.contains("a *:*"), "{list}");
    life(&directories, &host, &at);
    // A second one in the same place is refused while somebody is in it.
    let sleeper = Sleeper::new();
    std::fs::write(directories[0].join("cgroup.procs"), sleeper.pid().to_string()).unwrap();
    assert!(CgroupHandle::create(&group).is_err());
    assert!(directories[0].is_dir(), "and what it found stays");
    drop(sleeper);
    // Bounded: a process leaves its group a moment after it was collected.
    for _ in 0..100 {
        if processes(&directories).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    drop(CgroupHandle::create(&group).unwrap());
    assert!(directories.iter().all(|d| d.is_dir()), "an unused group is used and stays");
    handle.entered();
    drop(handle);
    for mount in controllers.values() {
        assert!(!mount.join(&top).exists(), "{} is left", mount.join(&top).display());
    }
}

fn life(directories: &[PathBuf], host: &HostFacts, at: &dyn Fn(&str, &str) -> String) {
    let mut sleeper = Sleeper::new();
    let pid = sleeper.pid();
    for directory in directories {
        std::fs::write(directory.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    assert_eq!(processes(directories), [pid]);
    assert_eq!(frozen(directories), State::Thawed);
    freeze(directories, true).unwrap();
    assert_eq!(frozen(directories), State::Frozen);
    freeze(directories, false).unwrap();
    assert_eq!(frozen(directories), State::Thawed);
    // Both up, then both down: the kernel holds memory at most as large as the sum, so neither order fits both.
    for bytes in ["134217728", "33554432"] {
        let json = format!(r#"{{"memory":{{"limit":{bytes},"swap":{bytes}}},"cpu":{{"period":50000,"quota":20000}}}}"#);
        change(directories, &resources(&json), host).unwrap();
        assert_eq!(at("memory", "memory.limit_in_bytes"), bytes);
        assert_eq!(at("memory", "memory.memsw.limit_in_bytes"), bytes);
    }
    assert_eq!((at("pids", "pids.max"), at("cpu", "cpu.shares")), ("20".into(), "512".into()), "untouched");
    assert!(change(directories, &resources(r#"{"cpu":{"quota":1}}"#), host).is_err());
    assert_eq!(at("cpu", "cpu.cfs_quota_us"), "20000");
    let figures = stats(directories);
    assert_eq!(figures["pids"], serde_json::json!({"current": 1, "limit": 20}));
    assert_eq!(figures["memory"]["usage"]["limit"], 33_554_432);
    assert!(figures["memory"]["raw"]["total_rss"].is_u64() && figures["cpuset"]["cpus"].is_array());
    let mut watch = watch_oom(directories).unwrap();
    assert!(!watch.killed() && !watch.over());
    freeze(directories, true).unwrap();
    kill_all(directories, 9);
    assert!(!sleeper.0.wait().unwrap().success(), "the end reaches what is frozen");
}

/// A group of version 2 needs no controllers for a device filter: on this machine it can be had beside version 1.
#[test]
fn a_device_filter_of_version_2_holds_and_is_replaced() {
    use std::io::Write as _;
    let host = HostFacts::gather().unwrap();
    let own = Own::read();
    let Some(v2) = own.hierarchies.iter().find(|h| h.unified) else { return };
    if !host.privileged {
        return;
    }
    let directory = v2.mount.join(format!("bulkhead-test-filter-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    // `full` is usual, `loop-control` is not.
    let attempt = |device: &str| {
        let script = format!("read go; exec 3<{device}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::fs::write(directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child.wait().unwrap().success()
    };
    let unusual_device = ["/dev/fuse", "/dev/net/tun", "/dev/loop-control"].into_iter().find(|d| attempt(d));
    let list = |json: &str| DeviceList::of(&resources(json).devices).unwrap();
    let deny = list(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#);
    let open =
        list(r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"access":"rw"}]}"#);
    let all = list(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#);
    let mut seen = Vec::new();
    for rules in [&deny, &open, &deny, &all] {
        make::filter(&directory, rules).unwrap();
        seen.push((attempt("/dev/full"), unusual_device.map(&attempt)));
    }
    let removed = CgroupHandle::remove_all(std::slice::from_ref(&directory));
    let unusual = |may| unusual_device.map(|_| may);
    assert_eq!(seen, [(true, unusual(false)), (true, unusual(true)), (true, unusual(false)), (true, unusual(true))]);
    removed.unwrap();
}

/// Containers below one parent that comes and goes with them.
#[test]
fn groups_below_one_new_parent_do_not_disturb_each_other() {
    let host = HostFacts::gather().unwrap();
    let mut own = Own::read();
    own.hierarchies.retain(|h| h.controllers == ["pids"] || h.controllers == ["devices"]);
    if !host.privileged || own.hierarchies.len() != 2 {
        return;
    }
    let top = format!("bulkhead-test-race-{}", std::process::id());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (own, host, top) = (&own, &host, &top);
            scope.spawn(move || {
                for round in 0..50 {
                    let path = format!("/{top}/way/{worker}");
                    let group = plan(&ask(own, &path, None), host).unwrap();
                    let handle = CgroupHandle::create(&group).unwrap_or_else(|e| panic!("{worker} {round}: {e:?}"));
                    assert!(handle.directories().iter().all(|d| d.is_dir()));
                }
            });
        }
    });
    // One that was made by another than the last in it stays, but nobody's own. Without force: what is not empty fails.
    for hierarchy in &own.hierarchies {
        for directory in [hierarchy.mount.join(&top).join("way"), hierarchy.mount.join(&top)] {
            assert!(!directory.exists() || std::fs::remove_dir(&directory).is_ok(), "{}", directory.display());
        }
    }
}

#[test]
fn word_of_memory_that_ran_out_comes_once() {
    let folder = Folder::new("oom");
    folder.put("memory.events", "low 0\noom 0\noom_kill 2\n");
    folder.put("cgroup.events", "populated 1\nfrozen 0\n");
    let mut watch = watch_oom(std::slice::from_ref(&folder.0)).unwrap();
    assert!(!watch.killed(), "what was before is no news");
    folder.put("memory.events", "low 9\noom 0\noom_kill 2\n");
    assert!(!watch.killed() && !watch.over());
    folder.put("memory.events", "low 9\noom 1\noom_kill 3\n");
    let ready = |watch: &OomWatch| {
        let mut fds = [rustix::event::PollFd::new(watch, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
    };
    assert!(ready(&watch) && watch.killed() && !ready(&watch) && !watch.killed());
    folder.put("cgroup.events", "populated 0\nfrozen 0\n");
    assert!(ready(&watch) && watch.over());
    assert!(watch_oom(&[folder.0.join("none")]).is_err());
}
