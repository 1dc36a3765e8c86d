//! The default container as it is, held against files in `golden/`: a change of a default is a reviewed diff.
//!
//! `UPDATE_GOLDEN=1` rewrites the files. What depends on the kernel (names of masked files, control groups, the walk) is
//! compared line by line on the kernel it was recorded on, which the file names; on another one, against `allowed.txt`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure is the result of the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bulkhead_seccomp::{Arch, Context, Program, SyscallData, caps, compile, defaults, syscall_name, vm};
use bulkhead_tests::probe::{Lab, value};
use bulkhead_tests::{is_root, skip};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim().to_owned()
}

/// Compares lines with a file, or rewrites it; the message shows what to look at.
fn check(name: &str, now: &[String]) {
    let path = golden(name);
    let text: String = now.iter().map(|l| format!("{l}\n")).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let was = std::fs::read_to_string(&path).unwrap_or_default();
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (was.lines().collect(), now.iter().map(String::as_str).collect());
    let mut diff = String::new();
    for line in old.difference(&new) {
        writeln!(diff, "- {line}").unwrap();
    }
    for line in new.difference(&old) {
        writeln!(diff, "+ {line}").unwrap();
    }
    assert!(
        diff.is_empty(),
        "the default container is not the recorded one ({}):\n{diff}If this is meant, run the test with \
         UPDATE_GOLDEN=1 and explain the change where it is reviewed.",
        path.display()
    );
}

/// Whether a file was recorded on this kernel; when it is rewritten, it is.
fn recorded_here(name: &str) -> bool {
    let was = std::fs::read_to_string(golden(name)).unwrap_or_default();
    std::env::var_os("UPDATE_GOLDEN").is_some() || was.lines().next() == Some(&format!("# kernel {}", kernel()))
}

/// Ids of a container as offsets from its first.
fn relative(options: &str, base: u64) -> String {
    let one = |o: &str| {
        let id = o.split_once('=').filter(|(k, _)| matches!(*k, "uid" | "gid"));
        let offset = id.and_then(|(k, v)| Some((k, v.parse::<u64>().ok()?.checked_sub(base)?)));
        offset.map_or_else(|| o.to_owned(), |(k, v)| format!("{k}=+{v}"))
    };
    options.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// One mount: place, flags, propagation, type, and options where they are the engine's; `true` when which there are
/// depends on the kernel.
fn mount(line: &str, base: u64) -> (String, bool) {
    let (left, right) = line.split_once(" - ").unwrap();
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let (root, at, flags) = (left[3], left[4], left[5]);
    let shared: Vec<&str> = left[6..].iter().map(|f| f.split(':').next().unwrap()).collect();
    let (kind, options) = (right[0], right[2]);
    let kernel = at.starts_with("/proc/") || at.starts_with("/sys/");
    let what = match kind {
        "tmpfs" if root == "/empty" || root == "/void" => "mask".to_owned(),
        "proc" if root != "/" => "part of proc".to_owned(),
        "devtmpfs" => format!("device {root}"),
        "overlay" => "overlay".to_owned(),
        "tmpfs" | "devpts" | "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2" => {
            format!("{kind} {}", relative(options, base))
        }
        // A file system of the host, whichever it is.
        _ => format!("bind of …/{}", root.rsplit('/').next().unwrap_or("")),
    };
    (format!("mount {at} {flags} {} {what}", shared.join(",")).replace("  ", " "), kernel)
}

/// What the probe said, without what changes from start to start; and apart what depends on the kernel.
fn normal(text: &str) -> (Vec<String>, Vec<String>) {
    let map = value(text, "uid_map").unwrap();
    let base: u64 = map.split_whitespace().nth(1).unwrap().parse().unwrap();
    let own_limits: BTreeMap<String, [String; 2]> =
        std::fs::read_to_string("/proc/self/limits").unwrap().lines().skip(1).map(limit).collect();
    let (mut fixed, mut varying) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match key {
            "mount" => {
                let (shown, kernel) = mount(rest, base);
                if kernel {
                    varying.insert(shown)
                } else {
                    fixed.insert(shown)
                };
            }
            "uid_map" | "gid_map" => {
                fixed.insert(format!("{key} {} of its own, {} ids", words[0], words[2]));
            }
            "rlimit" => {
                let own = own_limits.get(words[0]);
                let set = matches!(words[0], "core" | "memlock" | "rtprio");
                let show = |n: usize| {
                    let same = own.is_some_and(|o| o[n] == words[n + 1]) && !set;
                    let soft = words[0] == "nofile" && n == 0;
                    if same && !soft { "the caller's".to_owned() } else { words[n + 1].to_owned() }
                };
                fixed.insert(format!("rlimit {} {} {}", words[0], show(0), show(1)));
            }
            "ns" => {
                let name = rest.split(':').next().unwrap();
                let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
                let whose = if host.to_str() == Some(rest) { "THE HOST'S" } else { "own" };
                fixed.insert(format!("ns {name} {whose}"));
            }
            "cgroup" => {
                fixed.insert(format!("cgroup seen as {}", rest.rsplit(':').next().unwrap()));
            }
            _ => {
                fixed.insert([key].iter().chain(&words).copied().collect::<Vec<_>>().join(" "));
            }
        }
    }
    (fixed.into_iter().collect(), varying.into_iter().collect())
}

/// A line of `/proc/self/limits` under the name that the probe has for it.
fn limit(line: &str) -> (String, [String; 2]) {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "cpu"),
        ("Max file size", "fsize"),
        ("Max data size", "data"),
        ("Max stack size", "stack"),
        ("Max core file size", "core"),
        ("Max resident set", "rss"),
        ("Max processes", "nproc"),
        ("Max open files", "nofile"),
        ("Max locked memory", "memlock"),
        ("Max address space", "as"),
        ("Max file locks", "locks"),
        ("Max pending signals", "sigpending"),
        ("Max msgqueue size", "msgqueue"),
        ("Max nice priority", "nice"),
        ("Max realtime priority", "rtprio"),
        ("Max realtime timeout", "rttime"),
    ];
    let (long, short) = NAMES.into_iter().find(|(long, _)| line.starts_with(long)).unwrap_or(("", ""));
    let mut values = line[long.len()..].split_whitespace().map(|v| v.replace("unlimited", "-1"));
    (short.to_owned(), [values.next().unwrap_or_default(), values.next().unwrap_or_default()])
}

fn prefix() -> Option<&'static str> {
    if is_root() {
        return Some("root-runs");
    }
    None
}

fn state_of(flags: &[&str], who: &str) {
    let lab = Lab::new();
    let text = lab.probe(flags, &["state"]).ok();
    let (fixed, varying) = normal(&text);
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let missing = !Path::new(&format!("/proc/self/ns/{name}")).exists();
        assert!(missing || fixed.contains(&format!("ns {name} own")), "{name} is shared: {fixed:#?}");
    }
    assert!(!fixed.iter().chain(&varying).any(|l| l.contains("shared") || l.contains("master")), "{fixed:#?}");
    // The same from exec: a program that joins is no freer than the first.
    lab.start("golden", flags, &["sleep", "60"]);
    let joined = normal(&lab.exec(&[], "golden", &["state"]).ok());
    lab.remove("golden");
    let differing = |l: &&String| !l.starts_with("session ") && !l.starts_with("group ");
    let both = |a: &[String], b: &[String]| -> Vec<String> {
        let other: BTreeSet<&String> = b.iter().collect();
        a.iter().filter(differing).filter(|l| !other.contains(l)).cloned().collect()
    };
    assert_eq!((both(&fixed, &joined.0), both(&joined.0, &fixed)), (vec![], vec![]), "exec is not like run");
    assert_eq!(varying, joined.1, "exec sees other mounts than run");
    let Some(caller) = prefix() else {
        // The rights are the same, whoever runs the engine; ids and control groups are what he has.
        let recorded = std::fs::read_to_string(golden(&format!("root-runs-{who}.txt"))).unwrap();
        for line in recorded
            .lines()
            .filter(|l| ["status Cap", "status No", "status Sec", "umask", "dev "].iter().any(|p| l.starts_with(p)))
        {
            assert!(fixed.iter().any(|l| l == line), "an ordinary user's container lacks {line:?}: {fixed:#?}");
        }
        return;
    };
    check(&format!("{caller}-{who}.txt"), &fixed);
    let name = format!("{caller}-{who}-kernel.txt");
    let masks = |lines: &[String]| -> BTreeSet<String> {
        let masked = lines.iter().filter(|l| l.ends_with(" mask") || l.ends_with(" part of proc"));
        masked.map(|l| l.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    if recorded_here(&name) {
        check(&name, &[vec![format!("# kernel {}", kernel())], varying].concat());
    } else {
        let recorded = std::fs::read_to_string(golden(&name)).unwrap();
        let recorded: Vec<String> = recorded.lines().map(str::to_owned).collect();
        let now = masks(&varying);
        for path in masks(&recorded).iter().filter(|p| Path::new(p).exists()) {
            assert!(now.contains(path), "{path} exists here and is not covered: {varying:#?}");
        }
    }
}

/// Rights, limits, ids, namespaces, mounts and devices of a container without flags.
#[test]
fn the_default_container_of_root() {
    state_of(&[], "root");
}

/// The same for a program that is not root.
#[test]
fn the_default_container_of_a_user() {
    if !Lab::new().many_ids() {
        return skip("the_default_container_of_a_user", "subordinate ids");
    }
    state_of(&["-u", "1000:1000"], "user");
}

/// Names with numbers of processors and threads taken out.
fn plain(path: &str) -> String {
    let part = |p: &str| {
        let digits = p.strip_prefix("cpu").filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if digits.is_some() { "cpuN".to_owned() } else { p.to_owned() }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn walk_of(flags: &[&str], who: &str) {
    let lab = Lab::new();
    // Control: outside, the walk finds what a container must never have.
    let open: BTreeSet<String> =
        lab.outside(&["walk", "/proc/sys/kernel", "/proc/sys/vm"]).ok().lines().map(plain).collect();
    if is_root() {
        assert!(
            open.contains("F /proc/sys/kernel/core_pattern") && open.contains("F /proc/sys/vm/drop_caches"),
            "{open:?}"
        );
    }
    let text = lab.probe(flags, &["walk", "/proc", "/sys"]).ok();
    let found: BTreeSet<String> = text.lines().map(plain).collect();
    assert!(found.len() > 20, "the walk saw nothing: {found:?}");
    let allowed = std::fs::read_to_string(golden("allowed.txt")).unwrap();
    let allowed: Vec<&str> = allowed.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).collect();
    for line in &found {
        let fits = allowed.iter().any(|a| a.strip_suffix('*').map_or(line == a, |start| line.starts_with(start)));
        assert!(fits, "writable and not on golden/allowed.txt: {line}");
    }
    let name = format!("writable-{who}.txt");
    if is_root() && recorded_here(&name) {
        let lines = [format!("# kernel {}", kernel())].into_iter().chain(found).collect::<Vec<_>>();
        check(&name, &lines);
    }
}

/// Everything in `/proc` and `/sys` that root of a container may open for writing (F) or make files in (D).
#[test]
fn what_root_may_write_in_kernel_files() {
    walk_of(&[], "root");
}

/// The same for a program that is not root.
#[test]
fn what_a_user_may_write_in_kernel_files() {
    if !Lab::new().many_ids() {
        return skip("what_a_user_may_write_in_kernel_files", "subordinate ids");
    }
    walk_of(&["-u", "1000:1000"], "user");
}

fn compiled(granted: &[&str]) -> Program {
    let mut release = kernel().split('.').map(str::to_owned).collect::<Vec<_>>();
    release.truncate(2);
    let version = |n: usize| release[n].parse().unwrap_or(12);
    let context = Context { arch: Arch::X86_64, caps: caps::set(granted), kernel: (version(0), version(1)) };
    compile(&defaults::default_profile().resolve(&context).unwrap()).unwrap()
}

const ROOT: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_NET_BIND_SERVICE",
];

/// Verdict of every system call and of every argument that is filtered, measured in a container without carrying out
/// any; the loaded filter is the compiled one; junk in the upper half of an `int` changes nothing (CVE-2026-123876,
/// CVE-2019-10063).
#[test]
fn verdicts_of_all_system_calls() {
    if cfg!(not(target_arch = "x86_64")) {
        return skip("verdicts_of_all_system_calls", "an x86-64 machine, whose numbers are recorded");
    }
    let lab = Lab::new();
    // Control: the measurement says "allow" where there is no filter.
    let open = lab.probe(&["--security-opt", "seccomp=unconfined"], &["verdicts"]).ok();
    let refused: Vec<&str> = open.lines().filter(|l| !l.ends_with(" allow") && !special(l)).collect();
    assert!(refused.is_empty() && open.lines().count() > 600, "the measurement is wrong: {refused:?}");

    let mut ways = vec![("root", lab.probe(&[], &["verdicts"]).ok(), compiled(&ROOT))];
    lab.start("vv", &[], &["sleep", "60"]);
    ways.push(("exec", lab.exec(&[], "vv", &["verdicts"]).ok(), compiled(&ROOT)));
    lab.remove("vv");
    if lab.many_ids() {
        ways.push(("user", lab.probe(&["-u", "1000:1000"], &["verdicts"]).ok(), compiled(&[])));
    }
    for (who, text, program) in &ways {
        let high: Vec<&str> = text.lines().filter(|l| l.starts_with("high-bits")).collect();
        assert!(high.is_empty(), "{who}: the upper half of an argument matters: {high:#?}");
        for line in text.lines().filter(|l| l.starts_with("call ") && !special(l)) {
            let words: Vec<&str> = line.split(' ').collect();
            let data = SyscallData::new(Arch::X86_64, words[1].parse().unwrap(), [0, 0, 0, 0, 0, 0x5ecc_b001]);
            let should = vm::run(program, &data).unwrap().action.to_string();
            let same = should == words[2] || (should.contains("allow") && words[2] == "allow");
            assert!(same || should.contains(words[2]), "{who}: {line}, but the compiled filter says {should}");
        }
        let lines: Vec<String> =
            text.lines().filter(|l| !special(l) && !l.starts_with("abi i386")).map(named).collect();
        check("verdicts-x86_64.txt", &lines);
        // Without 32-bit support in the kernel there is nothing to refuse.
        for line in text.lines().filter(|l| l.starts_with("abi i386")) {
            assert!(["signal-31", "signal-11", "ENOSYS"].iter().any(|v| line.ends_with(v)), "{who}: {line}");
        }
    }
}

/// Calls that the kernel makes itself, past every filter.
fn special(line: &str) -> bool {
    line.starts_with("call 335 ")
        || line.starts_with("call 336 ")
        || (line.starts_with("abi i386") && line.ends_with("signal-11"))
}

fn named(line: &str) -> String {
    let number = line.strip_prefix("call ").and_then(|l| l.split(' ').next()?.parse().ok());
    let name = number.map(|n| syscall_name(Arch::X86_64, n).unwrap_or("-"));
    name.map_or_else(|| line.to_owned(), |name| format!("{line} {name}"))
}
