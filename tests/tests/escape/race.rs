//! Links that change while a container starts.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulkhead_tests::canary::{Canary, host_mounts, listing};
use bulkhead_tests::eventually;
use bulkhead_tests::probe::Lab;

const STARTS: usize = 30;

fn swaps(dir: &Path) -> u64 {
    std::fs::read_to_string(dir.join("counter")).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

fn shared(lab: &Lab, name: &str, target: &Path) -> std::path::PathBuf {
    let dir = lab.bench.path(name);
    std::fs::create_dir_all(dir.join("a")).unwrap();
    std::os::unix::fs::symlink(target, dir.join("b")).unwrap();
    dir
}

/// What an engine does that joins strings: looks, then uses the path.
fn naive(dir: &Path, round: usize) {
    let place = dir.join("a");
    if place.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        std::fs::create_dir_all(place.join(format!("deep-{round}"))).unwrap_or_default();
    }
}

/// A container swaps a directory of a shared bind for a link to the host while others start with mounts below it
/// (CVE-2021-30465 for the mount, CVE-2024-45310 for what is made on the way).
#[test]
fn a_swapped_mount_target_never_leaves_the_container() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    // Control: the same swapper against a stub made of path strings.
    let open = Canary::new(lab.bench.dir.path(), "open");
    let weak = shared(&lab, "weak", &open.path);
    let mut swapper = Command::new(lab.bench.path("probe"))
        .args(["swap", &weak.to_string_lossy(), "a", "b", "2000000", "20000", "counter"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut round = 0;
    while open.changes().is_empty() && Instant::now() < deadline {
        for _ in 0..200 {
            naive(&weak, round);
            round += 1;
        }
    }
    swapper.kill().unwrap();
    swapper.wait().unwrap();
    assert!(!open.changes().is_empty(), "the race was never won against a stub, in {round} rounds");

    let dir = shared(&lab, "shared", &canary.path);
    let bind = lab.bench.path("bind");
    std::fs::create_dir(&bind).unwrap();
    std::fs::write(bind.join("mark"), "inside").unwrap();
    let volume = format!("{}:/vol", dir.display());
    let before = host_mounts();
    lab.start("swapper", &["-v", &volume], &["swap", "/vol", "a", "b", "100000000", "90000", "counter"]);
    assert!(eventually(10, || swaps(&dir) > 100), "the swapper does not run");
    let (mut started, mut refused, first) = (0, 0, swaps(&dir));
    for n in 0..STARTS {
        // Existing and missing targets below the name that changes, a directory and a memory file system.
        let target = [format!("/vol/a/b{n}/c"), "/vol/a/deep".to_owned(), "/vol/a".to_owned()][n % 3].clone();
        let mount = format!("{}:{target}", bind.display());
        let said = match n % 2 {
            0 => lab.probe(&["-v", &volume, "-v", &mount], &["state"]),
            _ => lab.probe(&["-v", &volume, "--tmpfs", &target, "-w", "/vol/a/work"], &["state"]),
        };
        match said.code {
            0 => started += 1,
            125 => refused += 1,
            _ => panic!("{said:?}"),
        }
    }
    let during = swaps(&dir) - first;
    assert_eq!(host_mounts(), before, "a mount landed on the host");
    lab.remove("swapper");
    assert!(during > 2000, "only {during} swaps while containers started");
    assert!(started > 0, "none started, {refused} were refused");
    eprintln!("{during} swaps, {started} started, {refused} refused");
    canary.assert_untouched("swapped mount targets");
    let left = listing(&bind);
    assert!(left.contains("mark") && left.lines().count() == 2, "{left}");
}
