//! A start that is killed at each of its steps: after the next command nothing of it is left.

use std::time::{Duration, Instant};

use bulkhead_tests::kill::{Point, assert_no_range_is_held, assert_settled, kill_at, points};
use bulkhead_tests::life::pid_of;
use bulkhead_tests::{Bench, is_root, skip};

/// Ways to start, by turns.
const WAYS: [&[&str]; 4] = [
    &["run", "-d", "host", "true"],
    &["run", "--rm", "host", "true"],
    &["run", "host", "sh", "-c", "echo out; exec sleep 0.05"],
    &["run", "-d", "--rm", "-t", "--init", "--tmpfs", "/m", "host", "sleep", "0.05"],
];

fn sweep(points: &[Point], warm: bool) {
    let mut bench = Bench::new();
    bench.sh(&[], "true").done();
    let before = Instant::now();
    for (index, point) in points.iter().enumerate() {
        if !warm {
            bench = Bench::new();
        }
        let words = WAYS[index % WAYS.len()];
        let ids = kill_at(&bench, point, words);
        assert_settled(&bench, &ids, &format!("{words:?} killed at {point:?}"));
    }
    assert_no_range_is_held(&bench);
    eprintln!("{} points in {:?}", points.len(), before.elapsed());
}

/// Splits among the threads that run tests.
fn share(points: &[Point], part: usize) -> Vec<Point> {
    points.iter().skip(part).step_by(2).cloned().collect()
}

fn all(test: &str) -> Option<Vec<Point>> {
    if !is_root() {
        skip(test, "root: newuidmap gets no privilege under ptrace");
        return None;
    }
    let bench = Bench::new();
    bench.sh(&[], "true").done();
    Some(points(&bench, &["run", "--rm", "-d", "--init", "host", "true"], 9))
}

#[test]
fn killed_at_every_kind_of_step_first_half() {
    let Some(points) = all("killed_at_every_kind_of_step_first_half") else { return };
    assert!(points.len() > 100, "{points:?}");
    sweep(&share(&points, 0), true);
}

#[test]
fn killed_at_every_kind_of_step_second_half() {
    let Some(points) = all("killed_at_every_kind_of_step_second_half") else { return };
    sweep(&share(&points, 1), true);
}

/// The first start of a store makes more: the database, the copy of the program, the layer of the image `host`.
#[test]
fn killed_at_the_very_first_start() {
    if !is_root() {
        skip("killed_at_the_very_first_start", "root: newuidmap gets no privilege under ptrace");
        return;
    }
    let bench = Bench::new();
    let points = points(&bench, &["run", "--rm", "-d", "host", "true"], 3);
    let first = [
        "write",
        "rename",
        "symlink",
        "mkdir",
        "pwrite64",
        "fchown",
        "fchmod",
        "chmod",
        "fdatasync",
        "sendfile",
        "copy_file_range",
        "linkat",
    ];
    let points: Vec<Point> = points.into_iter().filter(|(name, _)| first.contains(&name.as_str())).collect();
    assert!(points.len() > 10, "{points:?}");
    sweep(&points, false);
}

/// Children of a process, from its own list.
fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

/// The command, its monitor, and the container's first process are killed at moments that only the clock chooses; this
/// is the way that an ordinary user's starts, too, can be tried.
#[test]
fn killed_at_any_moment() {
    let bench = Bench::new();
    let wall = Instant::now();
    bench.sh(&[], "true").done();
    let before = Instant::now();
    bench.sh(&[], "true").done();
    let whole = before.elapsed();
    for generation in 0..3 {
        for step in 0..16_u32 {
            let mut child = bench.command(&["run", "-d", "host", "sleep", "100"]).spawn().unwrap();
            let mut victim = vec![pid_of(&child)];
            let deadline = Instant::now() + Duration::from_secs(2);
            for _ in 0..generation {
                let mut next = Vec::new();
                while next.is_empty() && Instant::now() < deadline {
                    next = victim.iter().flat_map(|pid| children(*pid)).collect();
                }
                victim = next;
            }
            std::thread::sleep(whole * step / 16);
            for pid in victim.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
                // It may have ended.
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
            }
            child.wait().unwrap();
            let what = format!("generation {generation} killed after {step}/16 of {whole:?}");
            assert_settled(&bench, &Default::default(), &what);
        }
    }
    assert_no_range_is_held(&bench);
    eprintln!("48 points in {:?}", wall.elapsed());
}
