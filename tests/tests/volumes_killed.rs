//! Operations on volumes that are killed at each of their steps: after the next command a volume is there as a whole, or
//! not at all.

use std::fs;
use std::time::Instant;

use bulkhead_tests::kill::{Point, assert_settled, kill_at, points};
use bulkhead_tests::life::pid_of;
use bulkhead_tests::probe::{Lab, dir, file};
use bulkhead_tests::{Bench, is_root, skip};

const FILES: usize = 12;

/// Volumes that are listed are exactly those on disk, and each has nothing but its data, empty or whole. Then there are
/// none.
fn assert_whole(bench: &Bench, what: &str) {
    let listed = bench.say(&["volume", "ls", "-q"]).ok();
    let listed: Vec<&str> = listed.lines().collect();
    let mut found: Vec<String> = Vec::new();
    for entry in fs::read_dir(bench.path("root/volumes")).unwrap().flatten() {
        let inside: Vec<_> = fs::read_dir(entry.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(inside, ["data"], "{what}");
        found.push(entry.file_name().to_string_lossy().into_owned());
    }
    found.sort();
    assert_eq!(found, listed, "{what}");
    if listed.contains(&"filled") {
        let script = "ls /x | wc -l";
        let count = bench.sh(&["-v", "filled:/x:nocopy"], script).ok();
        assert!(["0", &FILES.to_string()].contains(&count.trim()), "{what}: {count}");
    }
    if !listed.is_empty() {
        let removed = bench.say(&[&["volume", "rm"], listed.as_slice()].concat());
        assert_eq!(removed.code, 0, "{what}: {}", removed.err);
    }
    assert_eq!(fs::read_dir(bench.path("root/volumes")).unwrap().count(), 0, "{what}");
    let left = bench.left_overs();
    assert!(left.is_empty(), "{what}: {left:#?}");
}

fn lab() -> Lab {
    let lab = Lab::new();
    let mut content = vec![dir("data")];
    content.extend((0..FILES).map(|i| file(&format!("data/f{i}"), "x\n")));
    lab.image("full", &content).done();
    lab
}

/// Processes of the worker make many calls of the same kind at its start; a few of each name will do.
fn chosen(points: Vec<Point>) -> Vec<Point> {
    let keep = |(name, _): &Point| {
        !matches!(name.as_str(), "prctl" | "prlimit64" | "fsconfig" | "dup2" | "umask" | "close_range" | "capset")
    };
    points.into_iter().filter(keep).collect()
}

fn sweep(test: &str, each: usize, prepare: impl Fn(&Bench), words: &[&str]) {
    if !is_root() {
        skip(test, "root: newuidmap gets no privilege under ptrace");
        return;
    }
    let lab = lab();
    let bench = &lab.bench;
    prepare(bench);
    let points = chosen(points(bench, words, each));
    assert_settled(bench, &Default::default(), "before");
    bench.say(&["volume", "prune", "-af"]).done();
    assert!(points.len() > 8, "{points:?}");
    let before = Instant::now();
    for point in &points {
        prepare(bench);
        let ids = kill_at(bench, point, words);
        let what = format!("{words:?} killed at {point:?}");
        assert_settled(bench, &ids, &what);
        assert_whole(bench, &what);
    }
    eprintln!("{} points in {:?}", points.len(), before.elapsed());
}

#[test]
fn a_volume_create_that_is_killed() {
    sweep("a_volume_create_that_is_killed", 6, |_| (), &["volume", "create", "made"]);
}

#[test]
fn a_volume_removal_that_is_killed() {
    let prepare = |bench: &Bench| {
        bench.sh(&["-v", "filled:/d"], "for i in 1 2 3 4 5 6 7 8 9 a b c; do echo > /d/$i; done").done()
    };
    sweep("a_volume_removal_that_is_killed", 5, prepare, &["volume", "rm", "filled"]);
}

#[test]
fn a_prune_that_is_killed() {
    let prepare = |bench: &Bench| {
        for name in ["one", "two", "three"] {
            bench.say(&["volume", "create", name]).done();
        }
    };
    sweep("a_prune_that_is_killed", 4, prepare, &["volume", "prune", "-af"]);
}

#[test]
fn a_start_that_fills_a_volume_is_killed() {
    let words = ["run", "--rm", "-v", "filled:/data", "-v", "/a", "full", "/probe", "state"];
    sweep("a_start_that_fills_a_volume_is_killed", 3, |_| (), &words);
}

/// The way that an ordinary user's commands, too, can be tried: moments that only the clock chooses.
#[test]
fn volumes_killed_at_any_moment() {
    let lab = lab();
    let bench = &lab.bench;
    // Not --rm: it would go by itself while it is looked at.
    let words = ["run", "-v", "filled:/data", "-v", "/a", "full", "/probe", "state"];
    let before = Instant::now();
    bench.say(&words).done();
    let whole = before.elapsed();
    assert_settled(bench, &Default::default(), "before");
    assert_whole(bench, "before");
    for step in 0..16_u32 {
        let mut child = bench.command(&words).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * step / 16);
        let pid = rustix::process::Pid::from_raw(pid_of(&child)).unwrap();
        // It may have ended.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
        child.wait().unwrap();
        let what = format!("killed after {step}/16 of {whole:?}");
        assert_settled(bench, &Default::default(), &what);
        assert_whole(bench, &what);
    }
}
