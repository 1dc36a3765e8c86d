//! The three profiles, and system call filters of one's own.

use bulkhead_tests::{Bench, is_root};

const CAPS: &str = "grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status | awk '{ print $2 }'";

fn figures(bench: &Bench, flags: &[&str]) -> Vec<String> {
    bench.sh(flags, CAPS).ok().lines().map(str::to_owned).collect()
}

#[test]
fn strict_takes_everything_away() {
    let bench = Bench::new();
    let root = bench.sh(&["--profile", "strict"], "true").fails(125);
    assert!(root.contains("--user") && root.contains("strict"), "{root}");
    let strict = ["--profile", "strict", "-u", "nobody"];
    assert_eq!(figures(&bench, &strict), ["0000000000000000", "0000000000000000", "1", "2"]);
    let script = "touch /opt/x 2>/dev/null || echo ro; touch /tmp/x && echo tmp; ls -d /proc/self >/dev/null && ls /proc | grep -cv '^[0-9]'";
    let out = bench.sh(&strict, script).ok();
    assert!(out.starts_with("ro\ntmp\n"), "{out}");
}

#[test]
fn default_has_no_new_privileges_and_few_capabilities() {
    let bench = Bench::new();
    let root = figures(&bench, &[]);
    assert_eq!(root[0], root[1]);
    assert_eq!(u64::from_str_radix(&root[0], 16).unwrap().count_ones(), 8, "{root:?}");
    assert_eq!(root[2..], ["1", "2"]);
    assert_eq!(figures(&bench, &["-u", "nobody"])[..2], ["0000000000000000", "0000000000000000"]);
    let fewer = figures(&bench, &["--cap-drop", "ALL", "--cap-add", "CHOWN"]);
    assert_eq!(fewer[0], "0000000000000001");
    assert_eq!(figures(&bench, &["--cap-drop", "all"])[0], "0000000000000000");
}

#[test]
fn compat_is_what_docker_gives() {
    let bench = Bench::new();
    let compat = figures(&bench, &["--profile", "compat"]);
    // Docker's fourteen.
    assert_eq!(compat, ["00000000a80425fb", "00000000a80425fb", "0", "2"]);
    let out = bench.sh(&["--profile", "compat"], "mknod /opt/n c 1 3 2>/dev/null; echo data > /tmp/x; cat /tmp/x").ok();
    assert_eq!(out, "data\n");
}

#[test]
fn a_filter_of_ones_own_decides() {
    let bench = Bench::new();
    let file = bench.path("profile.json");
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
                    { "architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"] }],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    });
    std::fs::write(&file, profile.to_string()).unwrap();
    let option = format!("seccomp={}", file.display());
    let script = "mkdir /opt/d 2>&1 | grep -o 'Operation not permitted'; touch /opt/f && echo made";
    assert_eq!(bench.sh(&["--security-opt", &option], script).ok(), "Operation not permitted\nmade\n");
    // The control: without it the directory is made.
    assert_eq!(bench.sh(&[], script).ok(), "made\n");
    let missing = bench.sh(&["--security-opt", "seccomp=/no/such.json"], "true").fails(125);
    assert!(missing.contains("/no/such.json"), "{missing}");
    std::fs::write(&file, "{ \"defaultAction\": \"SCMP_ACT_PERHAPS\" }").unwrap();
    let wrong = bench.sh(&["--security-opt", &option], "true").fails(125);
    assert!(wrong.contains("SCMP_ACT_PERHAPS") && wrong.contains("seccomp"), "{wrong}");
    bench.assert_empty();
}

#[test]
fn unconfined_is_unfiltered_and_told() {
    let bench = Bench::new();
    let flags = ["--security-opt", "seccomp=unconfined"];
    assert_eq!(figures(&bench, &flags)[3], "0");
    // A call that the default filter answers with an error: a user namespace of its own.
    let script = "unshare -U true 2>/dev/null && echo yes || echo no";
    assert_eq!(bench.sh(&[], script).ok(), "no\n");
    assert_eq!(bench.sh(&flags, script).ok(), "yes\n");
}

#[test]
fn privileged_is_all_of_its_own_namespace_and_nothing_of_the_hosts() {
    let bench = Bench::new();
    let all = figures(&bench, &["--privileged"]);
    assert!(u64::from_str_radix(&all[0], 16).unwrap().count_ones() >= 38, "{all:?}");
    let out = bench
        .sh(
            &["--privileged"],
            "mount -t tmpfs none /mnt && echo mounted; awk '{ print $1, $2 != 0 || 1, $3 }' /proc/self/uid_map",
        )
        .ok();
    assert!(out.starts_with("mounted\n0 1 "), "{out}");
    if is_root() {
        let map = bench.sh(&["--privileged"], "cat /proc/self/uid_map").ok();
        let fields: Vec<&str> = map.split_whitespace().collect();
        assert!(fields[1].parse::<u32>().unwrap() >= 65_536, "{map}");
    }
}
