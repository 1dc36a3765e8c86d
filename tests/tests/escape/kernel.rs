//! Features of the kernel that exploits need, each tried for real inside; and outside, to see that they are there.

use std::collections::BTreeMap;

use bulkhead_tests::probe::{Kind, Lab, dir, entry};
use bulkhead_tests::{is_root, skip};

fn table(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|l| l.rsplit_once(' ')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// What public kernel exploits required, by how many of a hundred, and the probes that show each closed.
const CLASSES: [(u32, &str, &[&str], &[&str]); 7] = [
    (
        67,
        "nested user namespace, CAP_NET_ADMIN",
        &["unshare-user", "unshare-user-high", "clone-user", "clone3-user", "setns-user", "netlink-12", "netlink-6"],
        &["EPERM", "ENOSYS", "EPROTONOSUPPORT"],
    ),
    (5, "io_uring", &["io-uring-setup", "io-uring-enter", "io-uring-register"], &["EPERM", "ENOSYS"]),
    (6, "bpf", &["bpf-map", "bpf-program"], &["EPERM", "ENOSYS"]),
    (3, "perf", &["perf"], &["EPERM", "ENOSYS"]),
    (
        4,
        "socket families",
        &["family-38", "family-high-38", "family-40", "family-high-40", "family-17", "family-high-17", "family-33"],
        &["EAFNOSUPPORT"],
    ),
    (11, "TCP_ULP", &["tcp-ulp", "tcp-ulp-high"], &["ENOPROTOOPT"]),
    (1, "MSG_OOB", &["oob-unix", "oob-unix-high", "oob-sendmsg", "oob-tcp"], &["EOPNOTSUPP"]),
];

/// 97 of 100 counted exploits need something that is closed here; each requirement is tried (CVE-2024-1086,
/// CVE-2022-0185, CVE-2021-22555, CVE-2026-31431 and their kind), as root and as another user, at start and by exec.
#[test]
fn what_kernel_exploits_need_is_closed() {
    let lab = Lab::new();
    lab.start("kk", &[], &["sleep", "120"]);
    let ask = |flags: &[&str], exec: bool| {
        let mut all = BTreeMap::new();
        for words in [&["namespaces"][..], &["attempts"]] {
            let said = if exec { lab.exec(flags, "kk", words) } else { lab.probe(flags, words) };
            all.extend(table(&said.ok()));
        }
        all
    };
    let mut ways = vec![("run", ask(&[], false)), ("exec", ask(&[], true))];
    if lab.many_ids() {
        ways.push(("run as 1000", ask(&["-u", "1000:1000"], false)));
        ways.push(("exec as 1000", ask(&["-u", "1000:1000"], true)));
        ways.push(("run strict", ask(&["--profile", "strict", "-u", "1000"], false)));
    }
    lab.remove("kk");
    // Control: nothing in the way, and the very same probes find what this kernel has.
    let mut open = table(&lab.outside(&["attempts", "control"]).ok());
    open.extend(table(&lab.outside(&["namespaces"]).ok()));
    let mut total = 0;
    for (count, class, probes, refusals) in CLASSES {
        for (way, seen) in &ways {
            for probe in probes {
                let said = seen.get(*probe).unwrap_or_else(|| panic!("{probe} was not tried"));
                assert!(refusals.contains(&said.as_str()), "{way}: {class} is open: {probe} says {said}");
            }
        }
        // As root the control must differ in at least one probe of every class.
        let differs = probes.iter().any(|p| open.get(*p) != ways[0].1.get(*p));
        assert!(differs || !is_root(), "{class}: the control is refused too, {open:?}");
        total += count;
    }
    assert_eq!(total, 97);

    for (way, seen) in &ways {
        for (probe, said) in seen {
            let family = probe.strip_prefix("family-").map(|n| n.trim_start_matches("high-"));
            let expected: &[&str] = match (family, probe.as_str()) {
                (Some("1" | "2" | "10" | "16"), _) | (_, "netlink-0" | "loopback" | "ping-socket") => &["ok"],
                (Some(_), _) => &["EAFNOSUPPORT"],
                (_, p) if p.starts_with("netlink-") => &["EPROTONOSUPPORT"],
                (_, p) if p.starts_with("clone3-") => &["ENOSYS"],
                (_, p) if p.starts_with("oob-") => &["EOPNOTSUPP"],
                (_, p) if p.starts_with("tcp-ulp") => &["ENOPROTOOPT"],
                _ => &["EPERM", "EACCES"],
            };
            assert!(expected.contains(&said.as_str()), "{way}: {probe} says {said}, not {expected:?}");
        }
    }
}

/// No control group hierarchy can be mounted, so there is no release agent to set (CVE-2022-0492); the groups that are
/// shown cannot be written (CVE-2023-25809).
#[test]
fn control_groups_can_be_neither_mounted_nor_written() {
    let lab = Lab::new();
    for flags in [&[][..], &["--profile", "strict", "-u", "1000"], &["--profile", "compat"]] {
        if flags.contains(&"-u") && !lab.many_ids() {
            continue;
        }
        let seen = table(&lab.probe(flags, &["cgroups", "/tmp"]).ok());
        for (probe, said) in &seen {
            // The directory around the groups is no group.
            let refused = ["EPERM", "EACCES", "EROFS", "ENOENT", "ENOSYS", "EINVAL"].contains(&said.as_str());
            assert!(refused || (probe == "make-group" && !is_v2()), "{flags:?}: {probe} says {said}");
            let mount = probe.starts_with("plain") || probe.starts_with("nested");
            assert!(!mount || ["EPERM", "ENOSYS"].contains(&said.as_str()), "{flags:?}: {probe} says {said}");
        }
    }
    let open = table(&lab.outside(&["cgroups", &lab.bench.dir.path().to_string_lossy(), "control"]).ok());
    if open.values().all(|v| v != "ok") {
        assert!(!is_root(), "the control is refused too: {open:?}");
        skip("control_groups_can_be_neither_mounted_nor_written", "a kernel that lets this user mount cgroups");
    }
}

fn is_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Device nodes: not made, and those of an image do not open.
#[test]
fn device_nodes_are_dead() {
    let lab = Lab::new();
    let nodes = [("mem", 1, 1), ("null", 1, 3), ("kmsg", 1, 11), ("tun", 10, 200)];
    let mut entries = vec![dir("nodes")];
    entries.extend(nodes.map(|(name, a, b)| entry(&format!("nodes/{name}"), Kind::Device(a, b))));
    for e in &mut entries[1..] {
        e.mode = 0o666;
    }
    let image = lab.image("nodes", &entries);
    let paths = nodes.map(|(name, ..)| format!("/nodes/{name}"));
    let brought: Vec<&str> = if image.code == 0 { paths.iter().map(String::as_str).collect() } else { Vec::new() };
    let name = if image.code == 0 { "nodes" } else { "probe" };
    for flags in [&[][..], &["--cap-add", "MKNOD"], &["--profile", "compat"]] {
        let text = lab.run(flags, name, &[&["nodes", "/tmp"], &brought[..]].concat()).ok();
        for (probe, said) in table(&text) {
            assert!(["EPERM", "EACCES", "ENOENT"].contains(&said.as_str()), "{flags:?}: {probe} says {said}");
        }
    }
    // Control: a harmless one.
    if is_root() {
        let open = lab.outside(&["nodes", &lab.bench.dir.path().to_string_lossy(), "control"]).ok();
        assert_eq!(open, "mknod-null ok\nopen-null ok\n");
    }
}

/// A file handle opens no file, also with the capability that made it a way out once.
#[test]
fn file_handles_cannot_be_opened() {
    let lab = Lab::new();
    for flags in [&[][..], &["--cap-add", "DAC_READ_SEARCH"]] {
        let share = lab.bench.path("share");
        std::fs::create_dir_all(&share).unwrap();
        let bind = format!("{}:/data", share.display());
        let seen = table(&lab.probe(&[flags, &["-v", &bind]].concat(), &["handles", "/data"]).ok());
        let said = seen.get("open-by-handle").map(String::as_str);
        assert!(matches!(said, Some("EPERM" | "EINVAL" | "ENOSYS")), "{flags:?}: {seen:?}");
    }
    if is_root() {
        let open = table(&lab.outside(&["handles", &lab.bench.dir.path().to_string_lossy()]).ok());
        assert_eq!(open.get("open-by-handle").map(String::as_str), Some("ok"), "{open:?}");
    }
}
