//! Commands of a container's life, killed at each kind of step: the container is as it was, or as it was to be; the
//! store is sound; and every command works afterwards.

use bulkhead_tests::kill::{Point, kill_at, points};
use bulkhead_tests::{Bench, eventually, is_root, skip};

/// What leaves something behind, in the store, in the run directory or in the kernel.
const TELLING: [&str; 18] = [
    "clone3",
    "clone",
    "vfork",
    "execve",
    "exit_group",
    "fchown",
    "fdatasync",
    "mkdir",
    "pidfd_send_signal",
    "pwrite64",
    "rename",
    "rmdir",
    "sendmsg",
    "sendto",
    "unlink",
    "unlinkat",
    "wait4",
    "write",
];

/// A command, the state that it is tried in, and whether it may take the container away.
struct Case {
    name: &'static str,
    prepare: fn(&Bench),
    words: &'static [&'static str],
    removes: bool,
}

fn made(bench: &Bench) {
    bench.say(&["create", "--name", "box", "host", "sleep", "0.5"]).done();
}

/// What a command under `strace` starts is followed to its end, so it ends soon.
fn brief(bench: &Bench) {
    bench.say(&["run", "-d", "--name", "box", "host", "sleep", "0.5"]).done();
}

fn running(bench: &Bench) {
    bench.say(&["run", "-d", "--name", "box", "host", "sleep", "600"]).done();
}

fn restarting(bench: &Bench) {
    bench.say(&["run", "-d", "--name", "box", "--restart", "always", "host", "false"]).done();
    assert!(eventually(20, || bench.look("box", "/RestartCount").as_i64() >= Some(3)));
}

fn ended(bench: &Bench) {
    bench.say(&["run", "--name", "box", "host", "false"]).done_with_code(1);
}

fn paused(bench: &Bench) {
    running(bench);
    bench.say(&["pause", "box"]).done();
}

fn nothing(_: &Bench) {}

trait Code {
    fn done_with_code(self, code: i32);
}

impl Code for bulkhead_tests::Said {
    fn done_with_code(self, code: i32) {
        assert_eq!(self.code, code, "{}", self.err);
    }
}

fn check(bench: &Bench, case: &Case, point: &Point) {
    let what = format!("{} killed at {point:?}", case.name);
    bench.say(&["ps", "-a"]).done();
    let sound = bench.say(&["system", "fsck"]);
    assert_eq!(sound.code, 0, "{what}: {}{}", sound.out, sound.err);
    let listed = bench.say(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    let (known, there) = (["box\n", "other\n", ""], !listed.is_empty());
    assert!(known.contains(&listed.as_str()), "{what}: {listed:?}");
    assert!(there || case.removes, "{what}: the container is lost");
    if there {
        let name = listed.trim();
        if bench.state(name).0 == "paused" {
            bench.say(&["unpause", name]).done();
        }
        // Whatever state it is in, it can be brought to any other.
        let stopped = bench.say(&["stop", "-t", "0", name]);
        assert_eq!(stopped.code, 0, "{what}: {}", stopped.err);
        let started = bench.say(&["start", name]);
        assert_eq!(started.code, 0, "{what}: {}", started.err);
        let removed = bench.say(&["rm", "-f", name]);
        assert_eq!(removed.code, 0, "{what}: {}", removed.err);
    }
    assert!(eventually(5, || bench.processes().is_empty()), "{what}: {:#?}", bench.processes());
    let left = bench.left_overs();
    assert!(left.is_empty(), "{what}: {left:#?}");
}

fn sweep(test: &str, cases: &[Case]) {
    if !is_root() {
        return skip(test, "root: newuidmap gets no privilege under ptrace");
    }
    let bench = Bench::new();
    bench.sh(&[], "true").done();
    let mut count = 0;
    for case in cases {
        (case.prepare)(&bench);
        let all = points(&bench, case.words, 2);
        // One of the two is there, or none.
        drop(bench.say(&["rm", "-f", "box"]));
        drop(bench.say(&["rm", "-f", "other"]));
        let telling = all.into_iter().filter(|(name, _)| TELLING.contains(&name.as_str()));
        for point in telling {
            (case.prepare)(&bench);
            drop(kill_at(&bench, &point, case.words));
            check(&bench, case, &point);
            count += 1;
        }
    }
    assert!(count > 10, "{count} points");
    eprintln!("{count} points");
}

#[test]
fn create_and_start_that_are_killed() {
    sweep(
        "create_and_start_that_are_killed",
        &[
            Case {
                name: "create",
                prepare: nothing,
                words: &["create", "--name", "box", "host", "sleep", "600"],
                removes: true,
            },
            Case { name: "start", prepare: made, words: &["start", "box"], removes: false },
        ],
    );
}

#[test]
fn stop_and_restart_that_are_killed() {
    sweep(
        "stop_and_restart_that_are_killed",
        &[
            Case { name: "stop", prepare: running, words: &["stop", "-t", "0", "box"], removes: false },
            Case { name: "stop between two runs", prepare: restarting, words: &["stop", "box"], removes: false },
            Case { name: "restart", prepare: brief, words: &["restart", "-t", "0", "box"], removes: false },
        ],
    );
}

#[test]
fn changes_that_are_killed() {
    sweep(
        "changes_that_are_killed",
        &[
            Case { name: "rename", prepare: ended, words: &["rename", "box", "other"], removes: false },
            Case {
                name: "update",
                prepare: running,
                words: &["update", "--pids-limit", "50", "--restart", "always", "box"],
                removes: false,
            },
            Case { name: "pause", prepare: running, words: &["pause", "box"], removes: false },
            Case { name: "unpause", prepare: paused, words: &["unpause", "box"], removes: false },
            Case { name: "exec", prepare: running, words: &["exec", "box", "true"], removes: false },
        ],
    );
}

#[test]
fn removals_that_are_killed() {
    sweep(
        "removals_that_are_killed",
        &[
            Case { name: "rm", prepare: ended, words: &["rm", "box"], removes: true },
            Case { name: "rm -f", prepare: running, words: &["rm", "-f", "box"], removes: true },
        ],
    );
}
