//! Excess, bounded by the test, and by the engine.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bulkhead_tests::probe::Lab;
use bulkhead_tests::{is_root, skip};

fn size(path: &Path) -> u64 {
    let Ok(m) = std::fs::symlink_metadata(path) else { return 0 };
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    m.blocks() * 512 + if m.is_dir() { below.map(|e| size(&e.path())).sum() } else { 0 }
}

fn forked(text: &str) -> u32 {
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A fork bomb stops at the limit, and the engine still answers.
#[test]
fn a_fork_bomb_stops_at_the_limit() {
    let lab = Lab::new();
    // Refused, where nobody has given the user control groups: never ignored.
    if !is_root() && lab.probe(&["--pids-limit", "64"], &["true"]).code == 125 {
        return skip("a_fork_bomb_stops_at_the_limit", "control groups for an ordinary user");
    }
    let bomb = lab.probe(&["--pids-limit", "64"], &["fork-bomb", "200"]).ok();
    assert!(bomb.contains("EAGAIN") && forked(&bomb) < 64, "{bomb}");
    // Control: with room it goes through.
    let free = lab.probe(&["--pids-limit", "256"], &["fork-bomb", "200"]).ok();
    assert_eq!(forked(&free), 200, "{free}");
    // The default has a limit as well.
    lab.start("bomb", &[], &["fork-bomb", "5000"]);
    let begin = Instant::now();
    lab.bench.say(&["ps"]).done();
    assert!(begin.elapsed() < Duration::from_secs(1), "ps took {:?}", begin.elapsed());
    assert!(bulkhead_tests::eventually(20, || lab.bench.say(&["logs", "bomb"]).ok().contains("EAGAIN")));
    let all = lab.bench.say(&["logs", "bomb"]).ok();
    assert!(forked(&all) < 1024, "{all}");
    lab.remove("bomb");
}

/// Memory beyond the limit ends what took it, inside only, and is told.
#[test]
fn memory_beyond_the_limit_is_the_containers_loss() {
    let lab = Lab::new();
    // Refused, where nobody has given the user control groups: never ignored.
    if !is_root() && lab.probe(&["-m", "32m"], &["true"]).code == 125 {
        return skip("memory_beyond_the_limit_is_the_containers_loss", "control groups for an ordinary user");
    }
    let flags = ["-m", "32m", "--name", "eater"];
    let said = lab.bench.say(&[&["run"][..], &flags, &["probe", "/probe", "eat", "96"]].concat());
    assert!(said.out.contains("eater ended by signal 9") || said.code == 137, "{said:?}");
    let told = lab.bench.say(&["inspect", "-f", "{{.State.OOMKilled}}", "eater"]).ok();
    assert_eq!(told.trim(), "true", "the loss was not told: {said:?}");
    lab.remove("eater");
    // Memory file systems are charged too.
    let script = "head -c 60000000 /dev/zero > /dev/shm/x; echo $?";
    let shm = lab.bench.say(&["run", "--name", "shm", "-m", "32m", "host", "sh", "-c", script]);
    assert!(shm.code == 137 || shm.out.trim() != "0", "{shm:?}");
    lab.remove("shm");
    // Control: with room nothing happens.
    let said = lab.bench.say(&["run", "-m", "256m", "--name", "eater", "probe", "/probe", "eat", "96"]);
    assert_eq!(said.out, "eater ended with 0\n", "{said:?}");
    assert_eq!(lab.bench.say(&["inspect", "-f", "{{.State.OOMKilled}}", "eater"]).ok().trim(), "false");
    lab.remove("eater");
}

/// Output without end is bounded on disk, in lines and in one line, and the monitor's memory stays small.
#[test]
fn a_flood_of_output_is_bounded_on_disk() {
    let lab = Lab::new();
    // Control: what was written is far more than what may stay.
    let written = lab.outside(&["flood", "64", "lines"]).ok().len();
    assert_eq!(written, 64 << 20);
    for kind in ["lines", "one"] {
        lab.bench.say(&["run", "-d", "--name", "flood", "probe", "/probe", "flood", "64", kind]).done();
        let id = lab.bench.say(&["inspect", "-f", "{{.Id}}", "flood"]).ok();
        let mut most = 0;
        let ended = bulkhead_tests::eventually(60, || {
            most = most.max(size(&lab.bench.path("root/containers").join(id.trim())));
            std::thread::sleep(Duration::from_millis(100));
            lab.bench.say(&["inspect", "-f", "{{.State.Running}}", "flood"]).ok().trim() == "false"
        });
        assert!(ended, "{kind}: it is still writing");
        let left = size(&lab.bench.path("root/containers").join(id.trim()));
        // Three files of ten megabytes, and what belongs to a container otherwise.
        assert!(most.max(left) < 36 << 20, "{kind}: {most} bytes on disk, {left} at the end");
        assert!(left > 1 << 20, "{kind}: nothing was kept");
        let tail = lab.bench.say(&["logs", "--tail", "1", "flood"]);
        assert_eq!(tail.code, 0, "{kind}");
        lab.remove("flood");
    }
}
