//! An import and a removal that are killed at each of their steps: an image is there as a whole or not at all.

use std::path::{Path, PathBuf};

use bulkhead_tests::kill::{Point, assert_settled, kill_at, points};
use bulkhead_tests::life::tar;
use bulkhead_tests::{Bench, eventually, is_root, skip};

fn archive(bench: &Bench) -> PathBuf {
    use std::os::unix::fs::symlink;
    let dir = bench.path("rootfs");
    std::fs::create_dir_all(dir.join("a/b/c")).unwrap();
    for i in 0..10 {
        std::fs::write(dir.join(format!("a/b/file{i}")), vec![b'x'; 10_000]).unwrap();
    }
    symlink("b", dir.join("a/link")).unwrap();
    std::fs::hard_link(dir.join("a/b/file0"), dir.join("a/hard")).unwrap();
    let archive = bench.path("rootfs.tar");
    tar(&dir, &archive, &[]);
    archive
}

fn layers(bench: &Bench) -> Vec<PathBuf> {
    std::fs::read_dir(bench.path("root/layers")).unwrap().map(|e| e.unwrap().path()).collect()
}

fn files(dir: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        count += 1;
        if path.is_dir() && !path.is_symlink() {
            count += files(&path);
        }
    }
    count
}

/// An image that is listed has its one layer, whole; without an image there is no layer. True when it is listed.
fn assert_whole(bench: &Bench, what: &str) -> bool {
    assert_settled(bench, &Default::default(), what);
    let listed = bench.say(&["images", "-q"]).ok();
    let layers = layers(bench);
    assert_eq!(listed.lines().count(), layers.len(), "{what}: {listed:?} {layers:?}");
    for layer in &layers {
        assert_eq!(files(&layer.join("fs")), 15, "{what}: {layer:?}");
    }
    !listed.is_empty()
}

/// Each process of the worker makes its calls by hundreds; a few of each name will do.
fn chosen(points: Vec<Point>) -> Vec<Point> {
    let keep = |(name, _): &Point| !matches!(name.as_str(), "prctl" | "prlimit64" | "fsconfig" | "dup2" | "umask");
    points.into_iter().filter(keep).collect()
}

#[test]
fn an_import_that_is_killed_leaves_all_or_nothing() {
    if !is_root() {
        skip("an_import_that_is_killed_leaves_all_or_nothing", "root: newuidmap gets no privilege under ptrace");
        return;
    }
    let bench = Bench::new();
    let file = archive(&bench);
    let words = ["import", file.to_str().unwrap(), "base:1"];
    bench.sh(&[], "true").done();
    let points = chosen(points(&bench, &words, 4));
    bench.say(&["rmi", "base:1"]).done();
    assert!(points.len() > 40, "{points:?}");
    let mut whole = 0;
    for point in &points {
        let ids = kill_at(&bench, point, &words);
        let what = format!("import killed at {point:?}");
        assert_settled(&bench, &ids, &what);
        if assert_whole(&bench, &what) {
            whole += 1;
            bench.say(&["rmi", "base:1"]).done();
        }
        assert!(!assert_whole(&bench, &what), "{what}: removed and still there");
    }
    assert!(whole < points.len() / 2, "{whole} of {} were not killed early", points.len());
}

#[test]
fn a_removal_that_is_killed_leaves_all_or_nothing() {
    if !is_root() {
        skip("a_removal_that_is_killed_leaves_all_or_nothing", "root: newuidmap gets no privilege under ptrace");
        return;
    }
    let bench = Bench::new();
    let file = archive(&bench);
    let import = ["import", file.to_str().unwrap(), "base:1"];
    let words = ["rmi", "base:1"];
    bench.say(&import).done();
    let points = chosen(points(&bench, &words, 4));
    assert!(points.len() > 10, "{points:?}");
    for point in &points {
        bench.say(&import).done();
        let ids = kill_at(&bench, point, &words);
        let what = format!("rmi killed at {point:?}");
        assert_settled(&bench, &ids, &what);
        if assert_whole(&bench, &what) {
            bench.say(&["run", "--rm", "base:1", "/none"]).done_with(127);
            bench.say(&words).done();
        }
        assert!(!assert_whole(&bench, &what), "{what}: removed and still there");
    }
}

/// Without `strace`, as any user: the command is killed by the clock.
#[test]
fn an_import_that_is_killed_by_the_clock_leaves_all_or_nothing() {
    let bench = Bench::new();
    let file = archive(&bench);
    let words = ["import", file.to_str().unwrap(), "base:1"];
    let before = std::time::Instant::now();
    bench.say(&words).done();
    let whole = before.elapsed();
    bench.say(&["rmi", "base:1"]).done();
    for step in 0..24_u32 {
        let mut child = bench.command(&words).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * step / 22);
        child.kill().unwrap();
        child.wait().unwrap();
        // The confined process ends a moment after its parent, and holds the lock until then.
        assert!(eventually(5, || bench.processes().is_empty()), "{:#?}", bench.processes());
        if assert_whole(&bench, &format!("import killed after {step}/22 of {whole:?}")) {
            bench.say(&["rmi", "base:1"]).done();
        }
    }
}

/// Many imports and removals of the same layer at once: it is never taken away from an image that needs it.
#[test]
fn imports_and_removals_of_one_layer_do_not_hurt_each_other() {
    let bench = Bench::new();
    let file = archive(&bench);
    let file = file.to_str().unwrap();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let bench = &bench;
            scope.spawn(move || {
                let name = format!("base:{worker}");
                let label = format!("LABEL worker={worker}");
                for round in 0..5 {
                    bench.say(&["import", "-c", &label, file, &name]).done();
                    let error = bench.say(&["run", "--rm", &name, "/none"]).fails(127);
                    assert!(error.contains("/none"), "{round}: {error}");
                    bench.say(&["rmi", &name]).done();
                }
            });
        }
    });
    assert!(!assert_whole(&bench, "at the end"));
}
