//! Capabilities, users, groups, and programs that would raise them.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use bulkhead_tests::probe::{Kind, Lab, entry, file, link, value};
use bulkhead_tests::{Said, is_root, skip};

/// Inheritable, permitted, effective, bounding, ambient.
fn sets(state: &str) -> [u64; 5] {
    ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(|name| {
        let line = format!("status Cap{name}:\t");
        let text = state.lines().find_map(|l| l.strip_prefix(&line)).expect("a set");
        u64::from_str_radix(text, 16).unwrap()
    })
}

const DEFAULT: u64 = 0x4fb;
const NET_RAW: u64 = 1 << 13;

/// The five sets in every kind of start: inheritable and ambient are empty, the others what was asked for
/// (CVE-2022-24769, CVE-2022-27649, CVE-2022-29162, CVE-2025-27612, CVE-2018-10856).
#[test]
fn capability_sets_are_computed_from_nothing() {
    let lab = Lab::new();
    let many = lab.many_ids();
    // Control: the test itself, as root, has other sets; an ordinary user in a namespace of his own too.
    let outside = Command::new("unshare").args(["-Ur"]).arg(lab.bench.path("probe")).arg("state").output().unwrap();
    let outside = sets(&Said::from(outside).ok());
    assert!(outside[1] > DEFAULT, "{outside:x?}");

    let cases: [(&[&str], u64, u64); 9] = [
        (&[], DEFAULT, DEFAULT),
        (&["--cap-add", "NET_RAW"], DEFAULT | NET_RAW, DEFAULT | NET_RAW),
        (&["--cap-drop", "ALL"], 0, 0),
        (&["--cap-drop", "ALL", "--cap-add", "CHOWN"], 1, 1),
        (&["--cap-drop", "KILL"], DEFAULT & !(1 << 5), DEFAULT & !(1 << 5)),
        (&["-u", "1000"], 0, 0),
        (&["-u", "1000:1000", "--cap-drop", "ALL"], 0, 0),
        (&["--init"], DEFAULT, DEFAULT),
        (&["--read-only"], DEFAULT, DEFAULT),
    ];
    for (n, (flags, held, bounding)) in cases.into_iter().enumerate() {
        if !many && flags.contains(&"-u") {
            continue;
        }
        let expected = [0, held, held, bounding, 0];
        let run = lab.probe(flags, &["state"]).ok();
        assert_eq!(sets(&run), expected, "run {flags:?}");
        let name = format!("c{n}");
        lab.start(&name, flags, &["sleep", "60"]);
        let exec = lab.exec(&[], &name, &["state"]).ok();
        assert_eq!(sets(&exec), expected, "exec after {flags:?}");
        if many {
            let other = lab.exec(&["-u", "1000"], &name, &["state"]).ok();
            assert_eq!(sets(&other)[..3], [0, 0, 0], "exec -u after {flags:?}");
            assert_eq!(sets(&other)[4], 0, "exec -u after {flags:?}");
        }
        lab.remove(&name);
    }
    // What is asked for in addition never reaches a non-root user's inheritable or ambient set.
    if many {
        let added = sets(&lab.probe(&["-u", "1000", "--cap-add", "NET_RAW"], &["state"]).ok());
        assert_eq!((added[0], added[4]), (0, 0), "{added:x?}");
        assert_eq!(added[3] & !NET_RAW, 0, "{added:x?}");
    } else {
        skip("capability_sets_are_computed_from_nothing", "subordinate ids");
    }
}

/// A set-uid or set-gid program of an image changes nothing, with and without a user.
#[test]
fn set_uid_programs_have_no_effect() {
    let lab = Lab::new();
    if !lab.many_ids() {
        return skip("set_uid_programs_have_no_effect", "subordinate ids");
    }
    let program = std::fs::read(lab.bench.path("probe")).unwrap();
    let mut suid = entry("suid", Kind::File(program));
    suid.mode = 0o6755;
    lab.image("suid", &[suid]).done();
    // Control: on the host such a program takes effect. Only root can make one.
    if is_root() {
        let canary = lab.bench.path("suid-canary");
        lab.install(&canary, 0o4755);
        std::fs::set_permissions(lab.bench.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut outside = Command::new("setpriv");
        outside.args(["--reuid=1000", "--regid=1000", "--clear-groups"]).arg(&canary).arg("privileges");
        let outside = Said::from(outside.output().unwrap()).ok();
        assert!(outside.starts_with("uid 1000 euid 0 "), "the control needs a place without nosuid: {outside}");
    }

    let run = lab.bench.say(&["run", "--rm", "-u", "1000:1000", "suid", "/suid", "privileges"]).ok();
    assert_eq!(run, "uid 1000 euid 1000 gid 1000 egid 1000\n");
    lab.bench.say(&["run", "-d", "--name", "ss", "suid", "/probe", "sleep", "60"]).done();
    let exec = lab.bench.say(&["exec", "-u", "1000:1000", "ss", "/suid", "privileges"]).ok();
    assert_eq!(exec, "uid 1000 euid 1000 gid 1000 egid 1000\n");
    lab.remove("ss");
}

/// Another user of the machine reaches neither the set-uid files of an image nor the state of containers
/// (CVE-2021-41091, CVE-2021-21284).
#[test]
fn the_store_is_closed_to_others() {
    let lab = Lab::new();
    let mut suid = entry("suid", Kind::File(b"x".to_vec()));
    suid.mode = 0o6755;
    lab.image("suid", &[suid]).done();
    lab.start("ss", &[], &["sleep", "60"]);
    std::fs::set_permissions(lab.bench.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for place in ["root", "run"] {
        let mode = std::fs::metadata(lab.bench.path(place)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{place} is open to others: {mode:o}");
    }
    if is_root() {
        let map = std::fs::read_to_string(format!("/proc/{}/uid_map", lab.bench.pid_of("ss"))).unwrap();
        let mapped = map.split_whitespace().nth(1).unwrap().to_owned();
        for uid in ["1000", &mapped] {
            let walk = |place: &str| {
                let mut c = Command::new("setpriv");
                c.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "ls"]);
                Said::from(c.arg(lab.bench.path(place)).output().unwrap()).code
            };
            assert_eq!(walk(""), 0, "the control");
            assert_ne!(walk("root"), 0, "{uid} reads the store");
            assert_ne!(walk("run"), 0, "{uid} reads the run directory");
        }
    }
    lab.remove("ss");
}

/// Supplementary groups are those of a login, the primary one among them (CVE-2022-36109, CVE-2023-25173).
#[test]
fn groups_are_those_of_a_login() {
    let lab = Lab::new();
    if !lab.many_ids() {
        return skip("groups_are_those_of_a_login", "subordinate ids");
    }
    let groups = |flags: &[&str]| {
        let state = lab.probe(flags, &["state"]).ok();
        let line =
            value(&state, "status Groups:").or_else(|| state.lines().find_map(|l| l.strip_prefix("status Groups:")));
        let mut all: Vec<u32> = line.unwrap_or("").split_whitespace().map(|g| g.parse().unwrap()).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(groups(&["-u", "user"]), [1000, 2000]);
    assert_eq!(groups(&["-u", "user:1000"]), [1000]);
    assert_eq!(groups(&["-u", "1000:2000"]), [2000]);
    assert_eq!(groups(&["-u", "1000", "--group-add", "3000"]), [1000, 2000, 3000]);
    assert_eq!(groups(&["--group-add", "extra"]), [0, 2000]);
}

/// A number is a number: never a name of the image's, never cut to 32 bits (CVE-2024-40635, CVE-2026-46680,
/// CVE-2026-30892).
#[test]
fn numeric_users_are_numbers() {
    let lab = Lab::new();
    if !lab.many_ids() {
        return skip("numeric_users_are_numbers", "subordinate ids");
    }
    let names = ["1000", "4294967296", "0x0", " 0", "-1", "01", "1 ", "+0"];
    let passwd: String = names.iter().map(|n| format!("{n}:x:0:0::/:/probe\n")).collect();
    lab.image("names", &[file("etc/passwd", &passwd), link("x", "y")]).done();
    let uid = |said: &Said| said.out.split(' ').nth(1).and_then(|n| n.parse::<u32>().ok());
    for user in ["1000", "1", "01", "4294967296", "-1", "2147483648", "65536", "65536:65536", "1:4294967296", "0x0"] {
        let said = lab.run(&["-u", user], "names", &["privileges"]);
        let number: Option<u32> = user.split(':').next().unwrap().parse().ok().filter(|n| *n < 65536);
        match said.code {
            0 => assert_eq!(uid(&said), number, "-u {user}: {said:?}"),
            125 => {}
            _ => panic!("-u {user}: {said:?}"),
        }
        assert!(said.code == 125 || !said.out.contains("euid 0"), "-u {user}: {said:?}");
    }
    assert_eq!(uid(&lab.run(&["-u", "1000"], "names", &["privileges"])), Some(1000));
}
