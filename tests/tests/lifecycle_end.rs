//! The end of a container: asked for, by signals, and with nobody watching.

use std::time::{Duration, Instant};

use bulkhead_tests::life::{pid_of, read_until, rest, signal};
use bulkhead_tests::{Bench, eventually};

const POLITE: &str = "trap 'echo bye; exit 5' TERM; echo on; while :; do sleep 0.05; done";
const DEAF: &str = "trap '' TERM INT HUP; echo on; while :; do sleep 0.05; done";

fn ready(bench: &Bench, name: &str) {
    assert!(eventually(10, || bench.say(&["logs", name]).out == "on\n"), "{:?}", bench.say(&["logs", name]));
}

#[test]
fn stop_is_polite_and_then_not() {
    let bench = Bench::new();
    bench.start(&["--name", "polite"], POLITE);
    bench.start(&["--name", "deaf"], DEAF);
    bench.start(
        &["--name", "other", "--stop-signal", "USR1"],
        "trap 'exit 6' USR1; echo on; while :; do sleep 0.05; done",
    );
    for name in ["polite", "deaf", "other"] {
        ready(&bench, name);
    }
    assert_eq!(bench.say(&["stop", "polite"]).ok(), "polite\n");
    assert_eq!(bench.state("polite"), ("exited".to_owned(), 5));
    assert_eq!(bench.say(&["logs", "polite"]).ok(), "on\nbye\n");
    bench.say(&["stop", "other"]).done();
    assert_eq!(bench.state("other").1, 6);
    let before = Instant::now();
    bench.say(&["stop", "-t", "1", "deaf"]).done();
    assert!((1..8).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    assert_eq!(bench.state("deaf"), ("exited".to_owned(), 137));
    // One that does not run is no error; one that is not there is.
    bench.say(&["stop", "deaf"]).done();
    assert!(bench.say(&["stop", "nobody"]).fails(1).contains("nobody"));
    bench.say(&["rm", "polite", "deaf", "other"]).done();
    bench.assert_empty();
}

#[test]
fn the_stop_timeout_of_the_container_counts() {
    let bench = Bench::new();
    bench.start(&["--name", "deaf", "--stop-timeout", "0"], DEAF);
    ready(&bench, "deaf");
    let before = Instant::now();
    bench.say(&["stop", "deaf"]).done();
    assert!(before.elapsed() < Duration::from_secs(5));
    assert_eq!(bench.state("deaf").1, 137);
}

#[test]
fn kill_sends_any_signal() {
    let bench = Bench::new();
    bench.start(&["--name", "one"], "trap 'echo usr1' USR1; echo on; while :; do sleep 0.05; done");
    ready(&bench, "one");
    bench.say(&["kill", "-s", "USR1", "one"]).done();
    assert!(eventually(5, || bench.say(&["logs", "one"]).out == "on\nusr1\n"));
    bench.say(&["kill", "-s", "SIGUSR1", "one"]).done();
    assert!(eventually(5, || bench.say(&["logs", "one"]).out == "on\nusr1\nusr1\n"));
    assert_eq!(bench.state("one").0, "running");
    bench.say(&["kill", "one"]).done();
    assert!(eventually(5, || bench.state("one") == ("exited".to_owned(), 137)));
    let ended = bench.say(&["kill", "one"]).fails(1);
    assert!(ended.contains("not running") && ended.contains("hint:"), "{ended}");
    let unknown = bench.say(&["kill", "-s", "NOSUCH", "one"]).fails(1);
    assert!(unknown.contains("NOSUCH"), "{unknown}");
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    let bench = Bench::new();
    let id = bench.start(&["--name", "one"], "sleep 100");
    let pid = bench.pid_of("one");
    let refused = bench.say(&["rm", "one"]).fails(1);
    assert!(refused.contains("running") && refused.contains("rm -f"), "{refused}");
    assert_eq!(bench.state(&id[..12]).0, "running");
    assert_eq!(bench.say(&["rm", "-f", "one"]).ok(), "one\n");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    bench.assert_empty();
    assert!(bench.say(&["rm", "one"]).fails(1).contains("No such container"));
    let nothing = bench.say(&["rm", "-f", "one"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (0, ""));
    assert!(nothing.err.contains("No such container"), "{nothing:?}");
}

/// All processes go with the first one, also those that ignore everything.
#[test]
fn nothing_outlives_the_first_process() {
    let bench = Bench::new();
    bench.sh(&[], "trap '' HUP TERM; (setsid sh -c 'trap \"\" HUP TERM; sleep 100') & sleep 0.1; exit 0").done();
    bench.assert_empty();
}

#[test]
fn a_signal_to_the_attached_command_reaches_the_program() {
    let bench = Bench::new();
    for (number, name, code) in [(15, "TERM", 15), (1, "HUP", 1), (2, "INT", 2), (10, "USR1", 10)] {
        let script = format!("trap 'echo {name}; exit {code}' {name}; echo on; while :; do sleep 0.05; done");
        let mut child = bench.spawn(&["run", "--rm", "host", "sh", "-c", &script]);
        let mut out = child.stdout.take().unwrap();
        read_until(&mut out, "on\n");
        signal(pid_of(&child), number);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(rest(&mut out), format!("{name}\n"));
    }
    bench.assert_empty();
}

/// Process 1 takes no signal that it has no handler for: as Docker, the container stays, and `kill` ends it.
#[test]
fn the_exit_code_of_a_killed_container_reaches_the_attached_command() {
    let bench = Bench::new();
    let mut child = bench.spawn(&["run", "--rm", "--name", "one", "host", "sh", "-c", "echo on; sleep 100"]);
    read_until(child.stdout.as_mut().unwrap(), "on\n");
    bench.say(&["kill", "one"]).done();
    assert_eq!(child.wait().unwrap().code(), Some(137));
    bench.assert_empty();
}

#[test]
fn a_container_lives_on_when_its_command_is_killed() {
    let bench = Bench::new();
    let script = "echo on; while [ ! -e /opt/stop ]; do sleep 0.05; done; echo later; echo wrong >&2; exit 8";
    let mut child = bench.spawn(&["run", "-i", "--name", "one", "host", "sh", "-c", script]);
    read_until(child.stdout.as_mut().unwrap(), "on\n");
    signal(pid_of(&child), 9);
    child.wait().unwrap();
    assert_eq!(bench.state("one").0, "running");
    bench.say(&["exec", "one", "touch", "/opt/stop"]).done();
    assert!(eventually(5, || bench.state("one") == ("exited".to_owned(), 8)));
    let logs = bench.say(&["logs", "one"]);
    assert_eq!((logs.out.as_str(), logs.err.as_str()), ("on\nlater\n", "wrong\n"));
    bench.say(&["rm", "one"]).done();
    bench.assert_empty();
}

#[test]
fn rm_holds_also_when_the_command_was_killed() {
    let bench = Bench::new();
    let mut child = bench.spawn(&["run", "--rm", "--name", "one", "host", "sh", "-c", "echo on; sleep 0.5"]);
    read_until(child.stdout.as_mut().unwrap(), "on\n");
    signal(pid_of(&child), 9);
    child.wait().unwrap();
    assert_eq!(bench.state("one").0, "running");
    // No command is needed for it: the monitor sees to it.
    assert!(
        eventually(10, || bench.left_overs().is_empty() && bench.processes().is_empty()),
        "{:?}",
        bench.left_overs()
    );
    bench.assert_empty();
}

#[test]
fn rm_holds_also_detached() {
    let bench = Bench::new();
    bench.start(&["--rm", "--name", "one"], "sleep 0.2; exit 3");
    assert!(
        eventually(10, || bench.left_overs().is_empty() && bench.processes().is_empty()),
        "{:?}",
        bench.left_overs()
    );
    bench.assert_empty();
    bench.start(&["--rm", "--name", "one"], "sleep 100");
    bench.say(&["stop", "-t", "0", "one"]).done();
    assert!(eventually(10, || bench.left_overs().is_empty()), "{:?}", bench.left_overs());
}

/// A reader that goes away stops neither the program nor the log.
#[test]
fn a_closed_output_is_not_the_end() {
    let bench = Bench::new();
    let mut child = bench.spawn(&[
        "run",
        "--name",
        "one",
        "host",
        "sh",
        "-c",
        "i=0; while [ $i -lt 60 ]; do echo $i; i=$((i+1)); sleep 0.02; done",
    ]);
    read_until(child.stdout.as_mut().unwrap(), "0\n");
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert!(eventually(10, || bench.state("one") == ("exited".to_owned(), 0)));
    assert_eq!(bench.say(&["logs", "one"]).ok().lines().count(), 60);
}

#[test]
fn a_killed_monitor_takes_its_container_along() {
    let bench = Bench::new();
    let id = bench.start(&["--name", "one"], "trap '' TERM; sleep 100 & while :; do sleep 0.05; done");
    let state = std::fs::read_to_string(bench.path("run/containers").join(&id).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    signal(i32::try_from(state["monitor"].as_i64().unwrap()).unwrap(), 9);
    assert!(eventually(5, || bench.say(&["ps", "-q"]).out.is_empty()), "{:?}", bench.say(&["ps", "-a"]));
    assert!(eventually(5, || bench.processes().is_empty()), "{:?}", bench.processes());
    assert_eq!(bench.state("one"), ("exited".to_owned(), 137));
    let error = bench.look("one", "/State/Error");
    assert!(error.as_str().unwrap().contains("monitor was killed"), "{error}");
    bench.say(&["rm", "one"]).done();
    bench.assert_empty();
}
