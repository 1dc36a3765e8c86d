//! Which ids of the host a container has.

use bulkhead_tests::is_root;
use bulkhead_tests::probe::Lab;

type Range = (u64, u64);

fn ranges(file: &str) -> Vec<Range> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let numbers = |l: &str| l.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u64>>();
    text.lines().map(numbers).filter(|n| n.len() == 3).map(|n| (n[1], n[2])).collect()
}

fn overlap(a: Range, b: Range) -> bool {
    a.0 < b.0 + b.1 && b.0 < a.0 + a.1
}

/// Ids that accounts of this machine hand out to themselves.
fn subordinate() -> Vec<Range> {
    let mut all = Vec::new();
    for file in ["/etc/subuid", "/etc/subgid"] {
        for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
            let parts: Vec<&str> = line.split(':').collect();
            if let [_, start, count] = parts[..] {
                all.extend(start.trim().parse().ok().zip(count.trim().parse().ok()));
            }
        }
    }
    all
}

/// Every container has ids of its own (the class behind shared maps of other engines): two containers share none, and
/// none belongs to an account. For an ordinary user: nothing but what is his.
#[test]
fn id_ranges_are_disjoint_and_nobodys() {
    let lab = Lab::new();
    // Control: two namespaces made without care have the same ids.
    let careless = || {
        let mut c = std::process::Command::new("unshare");
        let mut child = c.args(["-Ur"]).arg(lab.bench.path("probe")).args(["sleep", "5"]).spawn().unwrap();
        let map = format!("/proc/{}/uid_map", child.id());
        assert!(bulkhead_tests::eventually(5, || ranges(&map).iter().any(|r| r.1 == 1)));
        let found = ranges(&map);
        child.kill().unwrap();
        child.wait().unwrap();
        found[0]
    };
    assert!(overlap(careless(), careless()), "the comparison is blind");

    let names: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
    let map = |name: &str, kind: &str| ranges(&format!("/proc/{}/{kind}_map", lab.bench.pid_of(name)));
    for name in &names {
        lab.start(name, &[], &["sleep", "120"]);
    }
    for kind in ["uid", "gid"] {
        let all: Vec<(String, Range)> =
            names.iter().flat_map(|n| map(n, kind).into_iter().map(move |r| (n.clone(), r))).collect();
        assert!(all.len() >= names.len(), "{all:?}");
        let own = if kind == "uid" {
            u64::from(rustix::process::geteuid().as_raw())
        } else {
            u64::from(rustix::process::getegid().as_raw())
        };
        for (n, (name, range)) in all.iter().enumerate() {
            if is_root() {
                assert_eq!(range.1, 65536, "{name}");
                assert!(range.0 >= 65536, "{name} has ids of the host: {range:?}");
                assert!(!subordinate().iter().any(|s| overlap(*s, *range)), "{name} has ids of an account: {range:?}");
                for (other, with) in &all[n + 1..] {
                    assert!(!overlap(*range, *with), "{name} and {other} share ids: {range:?} {with:?}");
                }
            } else {
                let mine = subordinate().iter().any(|s| s.0 <= range.0 && range.0 + range.1 <= s.0 + s.1);
                assert!(*range == (own, 1) || mine, "{name} has ids that are not the caller's: {range:?}");
            }
        }
    }
    for name in &names {
        lab.remove(name);
    }
}

/// Files of a container belong to no account of the host, and two containers' files to different ids.
#[test]
fn files_on_the_host_belong_to_nobody() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    for name in ["one", "two"] {
        lab.bench.say(&["run", "-d", "--name", name, "host", "sh", "-c", "echo x > /root/made; sleep 60"]).done();
    }
    let owner = |name: &str| {
        let id = lab.bench.say(&["inspect", "-f", "{{.Id}}", name]).ok();
        let path = lab.bench.path("root/containers").join(id.trim()).join("fs/upper/root/made");
        let mut owner = None;
        assert!(bulkhead_tests::eventually(5, || {
            owner = std::fs::metadata(&path).ok().map(|m| m.uid());
            owner.is_some()
        }));
        owner.unwrap()
    };
    let (one, two) = (owner("one"), owner("two"));
    assert!(one >= 65536 && two >= 65536 && one != two, "{one} {two}");
    lab.remove("one");
    lab.remove("two");
}
