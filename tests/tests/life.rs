//! A container's life beyond its first run: made, started, stopped, started again by itself, attached to, waited for.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bulkhead_tests::life::{pid_of, read_until, rest, signal};
use bulkhead_tests::{Bench, eventually, is_root, skip};
use serde_json::Value;

/// Lines of the file of events that have this action.
fn events(bench: &Bench, action: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path("root/events.log")).unwrap_or_default();
    let all = text.lines().map(|l| serde_json::from_str::<Value>(l).expect("an event is JSON"));
    all.filter(|e| e["Action"].as_str().is_some_and(|a| a == action || a.starts_with(&format!("{action}: ")))).collect()
}

fn restarts(bench: &Bench, name: &str) -> i64 {
    bench.look(name, "/RestartCount").as_i64().expect("a number")
}

#[test]
fn a_container_is_made_started_and_started_again() {
    let bench = Bench::new();
    let id = bench
        .say(&[
            "create",
            "--name",
            "job",
            "host",
            "sh",
            "-c",
            "date +%s%N >> /var/lib/runs; cat /var/lib/runs | wc -l; exit 4",
        ])
        .ok();
    assert_eq!(id.trim().len(), 64);
    assert_eq!(bench.state("job"), ("created".to_owned(), 0));
    assert_eq!(bench.say(&["ps", "-q"]).ok(), "");
    assert_eq!(bench.say(&["ps", "-aq"]).ok().trim(), &id[..12]);
    // Its writable layer stays from run to run.
    for run in 1..=3 {
        let said = bench.say(&["start", "-a", "job"]);
        assert_eq!((said.code, said.out.as_str()), (4, format!("{run}\n").as_str()), "{}", said.err);
        assert_eq!(bench.state("job"), ("exited".to_owned(), 4));
    }
    assert_eq!(bench.say(&["start", "job"]).ok(), "job\n");
    assert_eq!(bench.say(&["wait", "job"]).ok(), "4\n");
    assert_eq!(bench.say(&["logs", "job"]).ok(), "1\n2\n3\n4\n");
    bench.say(&["rm", "job"]).done();
    let actions: Vec<String> =
        ["create", "start", "die", "destroy"].iter().map(|a| format!("{a} {}", events(&bench, a).len())).collect();
    assert_eq!(actions, ["create 1", "start 4", "die 4", "destroy 1"]);
    bench.assert_empty();
}

#[test]
fn a_start_that_fails_leaves_the_container_as_it_was() {
    let bench = Bench::new();
    bench.say(&["create", "--name", "bad", "host", "/no/such/program"]).done();
    bench.say(&["start", "bad"]).done_with(1);
    bench.say(&["start", "-a", "bad"]).done_with(1);
    assert_eq!(bench.state("bad"), ("created".to_owned(), 127));
    let why = bench.look("bad", "/State/Error");
    assert!(why.as_str().is_some_and(|text| text.contains("/no/such/program")), "{why}");
    bench.say(&["create", "--name", "worse", "no-such-image"]).done_with(1);
    bench.say(&["create", "--name", "bad", "host"]).done_with(1);
    bench.say(&["start", "nobody"]).done_with(1);
    bench.say(&["start", "-a", "bad", "bad"]).done_with(1);
    bench.say(&["rm", "bad"]).done();
    bench.assert_empty();
}

#[test]
fn a_container_that_was_made_to_be_removed_is_removed_after_its_run() {
    let bench = Bench::new();
    for attached in [true, false] {
        bench.say(&["create", "--rm", "--name", "once", "host", "sh", "-c", "exit 5"]).done();
        assert_eq!(bench.state("once").0, "created");
        if attached {
            assert_eq!(bench.say(&["start", "-a", "once"]).code, 5);
        } else {
            bench.say(&["start", "once"]).done();
        }
        bench.assert_empties();
    }
    bench.say(&["run", "--rm", "--restart", "always", "host", "true"]).done_with(125);
    bench.assert_empty();
}

#[test]
fn a_running_container_is_started_once_and_restarted_on_demand() {
    let bench = Bench::new();
    bench.start(&["--name", "web"], "exec sleep 600");
    let first = bench.pid_of("web");
    assert_eq!(bench.say(&["start", "web"]).ok(), "web\n");
    assert_eq!(bench.pid_of("web"), first);
    assert_eq!(bench.say(&["restart", "-t", "0", "web"]).ok(), "web\n");
    let second = bench.pid_of("web");
    assert_ne!(second, first);
    bench.say(&["stop", "-t", "0", "web"]).done();
    assert_eq!(bench.say(&["restart", "web"]).ok(), "web\n");
    assert_eq!(bench.state("web").0, "running");
    bench.say(&["restart", "-t", "never", "web"]).done_with(125);
    bench.say(&["restart", "nobody"]).done_with(1);
    bench.say(&["rm", "-f", "web"]).done();
    bench.start(&["--name", "once", "--rm"], "exec sleep 600");
    bench.say(&["restart", "once"]).done_with(1);
    assert_eq!(bench.state("once").0, "running", "a refused restart stops nothing");
    bench.say(&["rm", "-f", "once"]).done();
    bench.assert_empty();
}

#[test]
fn a_restart_policy_counts_failures_and_leaves_successes_alone() {
    let bench = Bench::new();
    bench.start(&["--name", "failing", "--restart", "on-failure:3"], "echo run; exit 7");
    bench.start(&["--name", "working", "--restart", "on-failure"], "echo run");
    assert_eq!(bench.say(&["wait", "failing"]).ok(), "7\n");
    assert_eq!(restarts(&bench, "failing"), 3);
    assert_eq!(bench.say(&["logs", "failing"]).ok(), "run\n".repeat(4));
    assert_eq!(bench.say(&["wait", "working"]).ok(), "0\n");
    assert_eq!((restarts(&bench, "working"), bench.state("working")), (0, ("exited".to_owned(), 0)));
    let policy = bench.look("failing", "/HostConfig/RestartPolicy");
    assert_eq!((policy["Name"].as_str(), policy["MaximumRetryCount"].as_i64()), (Some("on-failure"), Some(3)));
    bench.say(&["rm", "failing", "working"]).done();
    for wrong in ["sometimes", "always:3", "on-failure:x", "no:1"] {
        let said = bench.say(&["run", "--restart", wrong, "host", "true"]).fails(125);
        assert!(said.contains("--restart") && said.contains(wrong), "{said}");
    }
    bench.assert_empty();
}

#[test]
fn a_container_that_is_stopped_stays_stopped_whatever_its_policy() {
    let bench = Bench::new();
    // While it runs, while it waits for its next run, and by a signal that ends it.
    bench.start(&["--name", "runs", "--restart", "always"], "exec sleep 600");
    bench.start(&["--name", "waits", "--restart", "always"], "exit 1");
    bench.start(&["--name", "killed", "--restart", "unless-stopped"], "exec sleep 600");
    assert!(eventually(30, || restarts(&bench, "waits") >= 4 && bench.state("waits").0 == "restarting"));
    let shown = bench.say(&["ps", "--filter", "name=waits"]).ok();
    assert!(shown.contains("Restarting (1)"), "{shown}");
    bench.say(&["exec", "waits", "true"]).done_with(1);
    bench.say(&["rm", "waits"]).done_with(1);
    bench.say(&["stop", "-t", "0", "runs", "waits"]).done();
    bench.say(&["kill", "killed"]).done();
    assert!(eventually(10, || bench.state("killed").0 == "exited"));
    std::thread::sleep(Duration::from_millis(500));
    for name in ["runs", "waits", "killed"] {
        assert_eq!(bench.state(name).0, "exited", "{name}");
    }
    // A signal that is not meant to end it is no stop: the program's own end is followed by the next run.
    bench.start(&["--name", "signalled", "--restart", "always"], "trap 'exit 3' HUP; while :; do sleep 0.05; done");
    std::thread::sleep(Duration::from_millis(300));
    bench.say(&["kill", "-s", "HUP", "signalled"]).done();
    assert!(eventually(20, || restarts(&bench, "signalled") == 1 && bench.state("signalled").0 == "running"));
    bench.say(&["rm", "-f", "runs", "waits", "killed", "signalled"]).done();
    bench.assert_empty();
}

#[test]
fn a_policy_can_be_changed_while_it_is_in_force() {
    let bench = Bench::new();
    bench.start(&["--name", "web"], "sleep 1; exit 1");
    bench.say(&["update", "--restart", "always", "web"]).done();
    assert!(eventually(20, || restarts(&bench, "web") >= 1));
    bench.say(&["update", "--restart", "no", "web"]).done();
    assert!(eventually(20, || bench.state("web").0 == "exited"));
    bench.say(&["update", "web"]).done_with(1);
    bench.say(&["update", "--restart", "maybe", "web"]).done_with(1);
    bench.say(&["rm", "-f", "web"]).done();
    bench.assert_empty();
}

#[test]
fn limits_are_changed_while_it_runs() {
    let bench = Bench::new();
    bench.start(&["--name", "web"], "exec sleep 600");
    let said = bench.say(&["update", "-m", "64m", "--pids-limit", "33", "web"]);
    if said.code != 0 && !is_root() {
        bench.say(&["rm", "-f", "web"]).done();
        return skip("limits_are_changed_while_it_runs", "control groups that an ordinary user may make");
    }
    said.done();
    let read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max \
                2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";
    assert_eq!(bench.say(&["exec", "web", "sh", "-c", read]).ok(), "67108864\n33\n");
    // What cannot be leaves what is there.
    bench.say(&["update", "-m", "1k", "web"]).done_with(1);
    bench.say(&["update", "-m", "32m", "--cpuset-cpus", "4000", "web"]).done_with(1);
    assert_eq!(bench.say(&["exec", "web", "sh", "-c", read]).ok(), "67108864\n33\n");
    // The next run has them too.
    bench.say(&["restart", "-t", "0", "web"]).done();
    assert_eq!(bench.say(&["exec", "web", "sh", "-c", read]).ok(), "67108864\n33\n");
    bench.say(&["rm", "-f", "web"]).done();
    bench.assert_empty();
}

#[test]
fn waiting_ends_with_the_container_and_not_before() {
    let bench = Bench::new();
    let begun = Instant::now();
    bench.start(&["--name", "kept"], "sleep 1; exit 9");
    bench.start(&["--name", "gone", "--rm"], "sleep 2; exit 8");
    let gone = bench.spawn(&["wait", "gone"]);
    assert_eq!(bench.say(&["wait", "kept", "kept"]).ok(), "9\n9\n");
    assert!(begun.elapsed() > Duration::from_millis(900));
    let gone = gone.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&gone.stdout), "8\n", "one that is removed at its end is waited for too");
    bench.say(&["wait", "nobody"]).done_with(1);
    // A wait that is given up disturbs nobody.
    bench.start(&["--name", "long"], "exec sleep 600");
    let mut waiting = bench.spawn(&["wait", "long"]);
    std::thread::sleep(Duration::from_millis(200));
    signal(pid_of(&waiting), 2);
    waiting.wait().expect("it ends");
    assert_eq!(bench.state("long").0, "running");
    bench.say(&["rm", "-f", "kept", "long"]).done();
    bench.assert_empty();
}

#[test]
fn several_commands_attach_and_each_gets_everything() {
    let bench = Bench::new();
    bench
        .say(&["run", "-di", "--name", "echo", "host", "sh", "-c", "while read line; do echo \"got $line\"; done"])
        .done();
    let mut first = bench.spawn(&["attach", "echo"]);
    let mut second = bench.spawn(&["attach", "--no-stdin", "--sig-proxy=false", "echo"]);
    let mut input = first.stdin.take().expect("piped");
    let (mut out, mut other) = (first.stdout.take().expect("piped"), second.stdout.take().expect("piped"));
    // Both are there before anything is said: a line is told until it is heard by both.
    std::thread::sleep(Duration::from_millis(500));
    input.write_all(b"one\n").expect("it reads");
    assert!(read_until(&mut out, "got one\n").contains("got one\n"));
    assert!(read_until(&mut other, "got one\n").contains("got one\n"));
    // The end of one command's input is not the end of the program's: it was asked for in the background.
    drop(input);
    signal(pid_of(&second), 2);
    second.wait().expect("it ends");
    assert_eq!(bench.state("echo").0, "running");
    let mut third = bench.spawn(&["attach", "echo"]);
    let mut third_out = third.stdout.take().expect("piped");
    std::thread::sleep(Duration::from_millis(500));
    third.stdin.take().expect("piped").write_all(b"two\n").expect("it reads");
    assert!(read_until(&mut third_out, "got two\n").contains("got two\n"));
    // Its end is everybody's, with its exit code.
    bench.say(&["kill", "-s", "KILL", "echo"]).done();
    assert_eq!(third.wait().expect("it ends").code(), Some(137));
    assert_eq!(first.wait().expect("it ends").code(), Some(137));
    assert!(rest(&mut out).contains("got two\n"));
    bench.say(&["attach", "echo"]).done_with(1);
    bench.say(&["rm", "echo"]).done();
    bench.assert_empty();
}

#[test]
fn only_the_streams_that_were_asked_for_are_connected() {
    let bench = Bench::new();
    let script = "echo out; echo err >&2";
    let said = bench.say(&["run", "--rm", "-a", "stderr", "host", "sh", "-c", script]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", "err\n"));
    let said = bench.say(&["run", "--rm", "-a", "stdout", "host", "sh", "-c", script]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "out\n", ""));
    bench.say(&["run", "--rm", "-a", "stdnone", "host", "true"]).done_with(125);
    bench.say(&["run", "--rm", "-d", "-a", "stdout", "host", "true"]).done_with(1);
    bench.assert_empty();
}

#[test]
fn a_paused_container_does_nothing_until_it_is_let_go() {
    let bench = Bench::new();
    bench.start(&["--name", "clock"], "while :; do date +%s%N > /run/now; sleep 0.05; done");
    let said = bench.say(&["pause", "clock"]);
    if said.code != 0 && !is_root() {
        bench.say(&["rm", "-f", "clock"]).done();
        return skip(
            "a_paused_container_does_nothing_until_it_is_let_go",
            "control groups that an ordinary user may make",
        );
    }
    said.done();
    assert_eq!(bench.state("clock").0, "paused");
    assert!(bench.say(&["ps"]).ok().contains("(Paused)"));
    let file = format!("/proc/{}/root/run/now", bench.pid_of("clock"));
    let before = std::fs::read(&file).expect("the clock's file");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(std::fs::read(&file).expect("the clock's file"), before);
    bench.say(&["pause", "clock"]).done_with(1);
    bench.say(&["exec", "clock", "true"]).done_with(1);
    bench.say(&["start", "clock"]).done_with(1);
    bench.say(&["attach", "clock"]).done_with(1);
    bench.say(&["rm", "clock"]).done_with(1);
    bench.say(&["unpause", "clock"]).done();
    assert!(eventually(5, || std::fs::read(&file).expect("the clock's file") != before), "the control: it goes on");
    bench.say(&["unpause", "clock"]).done_with(1);
    // One that is frozen can be stopped, killed and removed.
    bench.say(&["pause", "clock"]).done();
    bench.say(&["stop", "-t", "1", "clock"]).done();
    assert_eq!(bench.state("clock").0, "exited");
    bench.say(&["pause", "clock"]).done_with(1);
    bench.say(&["start", "clock"]).done();
    bench.say(&["pause", "clock"]).done();
    bench.say(&["rm", "-f", "clock"]).done();
    bench.assert_empty();
}

#[test]
fn names_can_be_changed_and_are_taken_once() {
    let bench = Bench::new();
    bench.start(&["--name", "one"], "exec sleep 600");
    bench.start(&["--name", "two"], "exec sleep 600");
    bench.say(&["rename", "one", "uno"]).done();
    bench.say(&["rename", "uno", "two"]).done_with(1);
    bench.say(&["rename", "uno", "uno"]).done_with(1);
    bench.say(&["rename", "uno", "no/slash"]).done_with(1);
    bench.say(&["rename", "nobody", "somebody"]).done_with(1);
    assert_eq!(bench.look("uno", "/Name"), "/uno");
    bench.say(&["stop", "-t", "0", "uno"]).done();
    let last = events(&bench, "die").pop().expect("an event");
    assert_eq!(last.pointer("/Actor/Attributes/name").and_then(Value::as_str), Some("uno"));
    let renamed = events(&bench, "rename").pop().expect("an event");
    assert_eq!(renamed.pointer("/Actor/Attributes/oldName").and_then(Value::as_str), Some("/one"));
    bench.say(&["rm", "-f", "uno", "two"]).done();
    bench.assert_empty();
}

#[test]
fn a_log_is_bounded_as_asked_and_may_be_none() {
    let bench = Bench::new();
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done";
    bench
        .say(&[
            "run",
            "--name",
            "small",
            "--log-opt",
            "max-size=10k",
            "--log-opt",
            "max-file=2",
            "host",
            "sh",
            "-c",
            script,
        ])
        .done();
    let dir = bench.path("root/containers");
    let logs = std::fs::read_dir(&dir).expect("containers").flatten().next().expect("one").path().join("log");
    let sizes: Vec<u64> =
        std::fs::read_dir(logs).expect("a log").flatten().map(|e| e.metadata().expect("a file").len()).collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|s| *s <= 10 << 10), "{sizes:?}");
    assert!(bench.say(&["logs", "small"]).ok().ends_with("line 2998\nline 2999\n"));
    let said = bench.say(&["run", "--name", "none", "--log-driver", "none", "host", "echo", "shown"]);
    assert_eq!(said.out, "shown\n");
    assert_eq!(bench.look("none", "/HostConfig/LogConfig/Type"), "none");
    for wrong in [
        ["--log-driver", "syslog"],
        ["--log-opt", "max-size=x"],
        ["--log-opt", "max-size=1"],
        ["--log-opt", "max-file=0"],
        ["--log-opt", "tag=x"],
    ] {
        let said = bench.say(&["run", wrong[0], wrong[1], "host", "true"]).fails(125);
        assert!(said.contains(wrong[0]), "{said}");
    }
    bench.say(&["rm", "small", "none"]).done();
    bench.assert_empty();
}

fn health(bench: &Bench, name: &str) -> String {
    bench.look(name, "/State/Health/Status").as_str().unwrap_or_default().to_owned()
}

#[test]
fn health_follows_what_the_check_says() {
    let bench = Bench::new();
    let flags = ["--health-interval", "200ms", "--health-retries", "2", "--health-cmd", "echo looked; test -e /run/ok"];
    bench.start(&[&["--name", "web"], &flags[..]].concat(), "exec sleep 600");
    assert_eq!(health(&bench, "web"), "starting");
    assert!(bench.say(&["ps"]).ok().contains("(health: starting)"));
    assert!(eventually(20, || health(&bench, "web") == "unhealthy"));
    assert!(bench.say(&["ps"]).ok().contains("(unhealthy)"));
    assert!(bench.look("web", "/State/Health/FailingStreak").as_i64() >= Some(2));
    let log = bench.look("web", "/State/Health/Log/0");
    assert_eq!((log["ExitCode"].as_i64(), log["Output"].as_str()), (Some(1), Some("looked\n")));
    bench.say(&["exec", "web", "touch", "/run/ok"]).done();
    assert!(eventually(20, || health(&bench, "web") == "healthy"));
    assert!(eventually(20, || bench.look("web", "/State/Health/Log").as_array().map(Vec::len) == Some(5)));
    let told: Vec<String> =
        events(&bench, "health_status").iter().filter_map(|e| e["Action"].as_str().map(str::to_owned)).collect();
    assert_eq!(told, ["health_status: unhealthy", "health_status: healthy"]);
    bench.say(&["stop", "-t", "0", "web"]).done();
    // A new run begins anew.
    bench.say(&["start", "web"]).done();
    assert_ne!(health(&bench, "web"), "unhealthy");
    bench.say(&["rm", "-f", "web"]).done();
    bench.assert_empty();
}

#[test]
fn failures_do_not_count_while_it_starts_and_a_check_that_hangs_is_ended() {
    let bench = Bench::new();
    let slow = ["--health-interval", "100ms", "--health-start-interval", "100ms", "--health-retries", "1"];
    bench.start(
        &[&["--name", "grace", "--health-start-period", "1h", "--health-cmd", "exit 1"], &slow[..]].concat(),
        "exec sleep 600",
    );
    bench.start(
        &[&["--name", "hangs", "--health-timeout", "300ms", "--health-cmd", "sleep 599"], &slow[..]].concat(),
        "exec sleep 600",
    );
    assert!(eventually(20, || health(&bench, "hangs") == "unhealthy"));
    let log = bench.look("hangs", "/State/Health/Log/0");
    assert_eq!(log["ExitCode"].as_i64(), Some(-1));
    assert!(log["Output"].as_str().is_some_and(|o| o.contains("exceeded timeout (0.3s)")), "{log}");
    assert!(eventually(20, || bench.look("grace", "/State/Health/Log").as_array().map(Vec::len) == Some(5)));
    assert_eq!(health(&bench, "grace"), "starting");
    // At most the one that is being made now.
    let asleep = bench
        .say(&[
            "exec",
            "hangs",
            "sh",
            "-c",
            "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null | grep -c '^sleep 599' || true",
        ])
        .ok();
    assert!(asleep.trim().parse::<u32>().expect("a number") <= 3, "{asleep}");
    bench.say(&["rm", "-f", "grace", "hangs"]).done();
    bench.start(&["--name", "none", "--no-healthcheck"], "exec sleep 600");
    assert_eq!(bench.look("none", "/State/Health"), Value::Null);
    bench.say(&["rm", "-f", "none"]).done();
    for wrong in [["--health-interval", "soon"], ["--health-timeout", "1us"], ["--health-retries", "-1"]] {
        bench.say(&["run", wrong[0], wrong[1], "host", "true"]).done_with(125);
    }
    bench.say(&["run", "--no-healthcheck", "--health-cmd", "true", "host", "true"]).done_with(125);
    bench.assert_empty();
}

#[test]
fn what_ran_out_is_named() {
    let bench = Bench::new();
    let eats = "head -c 200m /dev/zero | tail > /dev/null; sleep 2; exit 0";
    let said = bench.say(&["run", "-d", "--name", "eats", "-m", "16m", "host", "sh", "-c", eats]);
    if said.code != 0 && !is_root() {
        return skip("what_ran_out_is_named", "control groups that an ordinary user may make");
    }
    said.done();
    assert!(eventually(20, || !events(&bench, "oom").is_empty()), "told while the container goes on");
    let forks = "i=0; while [ $i -lt 12 ]; do (sleep 2 &) 2>/dev/null; i=$((i+1)); done; sleep 3";
    bench.start(&["--name", "forks", "--pids-limit", "8"], forks);
    assert!(eventually(20, || !events(&bench, "pids-limit").is_empty()));
    bench.say(&["wait", "eats", "forks"]).done();
    assert_eq!(bench.look("eats", "/State/OOMKilled"), true);
    assert!(bench.look("forks", "/State/PidsRefused").as_i64() > Some(0));
    bench.say(&["rm", "-f", "eats", "forks"]).done();
    bench.assert_empty();
}

#[test]
fn a_monitor_that_is_killed_takes_its_container_along_and_nothing_more() {
    let bench = Bench::new();
    let monitor = |id: &str| -> i32 {
        let state = std::fs::read(bench.path("run/containers").join(id).join("state.json")).expect("a state");
        let state: Value = serde_json::from_slice(&state).expect("JSON");
        i32::try_from(state["monitor"].as_i64().expect("a pid")).expect("a pid fits")
    };
    let running = bench.start(&["--name", "runs", "--restart", "always"], "exec sleep 600");
    let waiting = bench.start(&["--name", "waits", "--restart", "always"], "exit 6");
    assert!(eventually(30, || restarts(&bench, "waits") >= 4 && bench.state("waits").0 == "restarting"));
    signal(monitor(&running), 9);
    signal(monitor(&waiting), 9);
    assert!(eventually(10, || bench.state("runs") == ("exited".to_owned(), 137)));
    assert!(eventually(10, || bench.state("waits").0 == "exited"));
    assert_eq!(
        events(&bench, "die").last().and_then(|e| e.pointer("/Actor/Attributes/name").cloned()),
        Some("runs".into())
    );
    // Both can be started again.
    bench.say(&["start", "runs", "waits"]).done();
    bench.say(&["rm", "-f", "runs", "waits"]).done();
    bench.assert_empty();
}

#[test]
fn after_a_boot_what_was_half_made_is_gone_and_the_rest_is_there() {
    let bench = Bench::new();
    bench.say(&["create", "--name", "made", "host", "true"]).done();
    let kept = bench.start(&["--name", "kept"], "exec sleep 600");
    let once = bench.start(&["--name", "once", "--rm"], "exec sleep 600");
    for id in [&kept, &once] {
        let state = std::fs::read(bench.path("run/containers").join(id).join("state.json")).expect("a state");
        let state: Value = serde_json::from_slice(&state).expect("JSON");
        signal(i32::try_from(state["monitor"].as_i64().expect("a pid")).expect("a pid fits"), 9);
    }
    assert!(eventually(10, || bench.processes().is_empty()));
    std::fs::remove_dir_all(bench.path("run")).expect("the run directory goes with the boot");
    assert_eq!(bench.say(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok().lines().count(), 2);
    assert_eq!(bench.state("made").0, "created");
    bench.say(&["start", "kept"]).done();
    bench.say(&["start", "made"]).done();
    bench.say(&["rm", "-f", "kept", "made"]).done();
    bench.assert_empty();
}

/// A frozen process takes its end when it is let go: whoever cleans up after its monitor lets it go.
#[test]
fn a_paused_container_whose_monitor_is_killed_holds_nobody_up() {
    let bench = Bench::new();
    let id = bench.start(&["--name", "still"], "exec sleep 600");
    let said = bench.say(&["pause", "still"]);
    if said.code != 0 && !is_root() {
        bench.say(&["rm", "-f", "still"]).done();
        return skip(
            "a_paused_container_whose_monitor_is_killed_holds_nobody_up",
            "control groups that an ordinary user may make",
        );
    }
    said.done();
    let state = std::fs::read(bench.path("run/containers").join(&id).join("state.json")).expect("a state");
    let state: Value = serde_json::from_slice(&state).expect("JSON");
    signal(i32::try_from(state["monitor"].as_i64().expect("a pid")).expect("a pid fits"), 9);
    assert!(eventually(10, || bench.state("still") == ("exited".to_owned(), 137)));
    assert!(eventually(10, || bench.processes().is_empty()), "{:#?}", bench.processes());
    bench.say(&["start", "still"]).done();
    bench.say(&["rm", "-f", "still"]).done();
    bench.assert_empty();
}

/// Nobody reads what the first command shows: neither the next run nor a stop waits for that.
#[test]
fn a_command_that_does_not_read_holds_up_no_restart_and_no_stop() {
    let bench = Bench::new();
    let mut stuck = bench.spawn(&["run", "--name", "loud", "--restart", "always", "host", "sh", "-c", "exec yes"]);
    assert!(eventually(10, || bench.say(&["ps", "-q", "--filter", "name=loud"]).ok().lines().count() == 1));
    std::thread::sleep(Duration::from_millis(500));
    signal(bench.pid_of("loud"), 9);
    assert!(eventually(20, || restarts(&bench, "loud") == 1 && bench.state("loud").0 == "running"));
    bench.say(&["stop", "-t", "1", "loud"]).done();
    assert_eq!(bench.state("loud").0, "exited");
    stuck.kill().expect("it is ours");
    stuck.wait().expect("it ends");
    bench.say(&["rm", "loud"]).done();
    bench.assert_empty();
}

/// Many who wait are nobody's trouble.
#[test]
fn a_hundred_waits_keep_nobody_from_stopping_a_container() {
    let bench = Bench::new();
    bench.start(&["--name", "awaited"], "exec sleep 600");
    let mut waits: Vec<_> = (0..100).map(|_| bench.spawn(&["wait", "awaited"])).collect();
    std::thread::sleep(Duration::from_secs(1));
    bench.say(&["stop", "-t", "0", "awaited"]).done();
    for wait in &mut waits {
        assert!(wait.wait().expect("it ends").success());
    }
    bench.say(&["rm", "awaited"]).done();
    bench.assert_empty();
}

/// What checks said of one run says nothing of the next, whoever started it.
#[test]
fn the_health_of_a_run_ends_with_it() {
    let bench = Bench::new();
    let check = ["--health-interval", "200ms", "--health-retries", "1", "--health-cmd", "test -e /var/lib/second"];
    let script = "test -e /var/lib/second && exec sleep 600; while ! test -e /run/go; do sleep 0.05; done; touch /var/lib/second; exit 1";
    bench.start(&[&["--name", "web", "--restart", "always"], &check[..]].concat(), script);
    assert!(eventually(20, || health(&bench, "web") == "unhealthy"));
    bench.say(&["exec", "web", "touch", "/run/go"]).done();
    assert!(eventually(20, || restarts(&bench, "web") == 1 && health(&bench, "web") == "healthy"));
    let log = bench.look("web", "/State/Health/Log");
    let codes: Vec<_> = log.as_array().expect("a list").iter().map(|c| c["ExitCode"].as_i64()).collect();
    assert!(!codes.is_empty() && codes.iter().all(|c| *c == Some(0)), "{log}");
    bench.say(&["rm", "-f", "web"]).done();
    bench.assert_empty();
}
