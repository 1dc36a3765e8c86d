//! The shortest way through everything.

use bulkhead_tests::Bench;

#[test]
fn a_container_of_the_embedded_image_runs_and_is_gone() {
    let bench = Bench::new();
    assert_eq!(bench.sh(&[], "echo hello").ok(), "hello\n");
    assert!(bench.left_overs().is_empty(), "{:?}", bench.left_overs());
}

/// A mount left behind on the way to the new root once made `cd ..` a way out.
#[test]
fn the_root_has_nothing_above_it() {
    let bench = Bench::new();
    let out = bench.sh(&[], "stat -c '%d %i' / /.. /../..; cd ..; pwd; test -e /work && echo OUT || true").ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], lines[1]);
    assert_eq!(lines[0], lines[2]);
    assert_eq!(lines[3..], ["/"]);
}
