//! Many containers: what a command costs does not grow with what does not run, and nothing is lost when many start and
//! end at once.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bulkhead_tests::kill::{assert_no_range_is_held, cgroups};
use bulkhead_tests::{Bench, Said, binary, is_root, skip};

/// System calls that a command and what it starts make, all or these only; SQLite reads each page of its file by one.
fn calls(bench: &Bench, words: &[&str], only: Option<&str>) -> BTreeMap<String, usize> {
    let log = bench.path("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&log);
    command
        .args(only.map(|calls| format!("--trace={calls}")).iter().chain(only.map(|_| "--seccomp-bpf".into()).iter()));
    command.arg(binary()).args(words).envs(bench.env()).stdin(Stdio::null());
    Said::from(command.output().expect("strace is installed")).done();
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(&log).expect("a trace").lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let name = name.split_whitespace().last().unwrap_or_default();
        // How often somebody waits depends on the machine.
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !["futex", "ppoll", "poll", "nanosleep", "clock_nanosleep", "sched_yield"].contains(&name)
        {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The lowest of some counts: a command that meets another does a little more.
fn least(bench: &Bench, words: &[&str]) -> BTreeMap<String, usize> {
    let all = (0..3).map(|_| calls(bench, words, None));
    all.min_by_key(|counts| counts.values().sum::<usize>()).expect("three")
}

#[test]
fn the_work_of_ps_and_of_a_start_does_not_grow_with_the_store() {
    let bench = Bench::new();
    assert_eq!(bench.sh(&[], "echo warm").ok(), "warm\n");
    bench.start(&["--name", "runs"], "sleep 1000");
    let mut commands = vec![vec!["ps"], vec!["inspect", "runs"], vec!["create", "--name", "new", "host", "true"]];
    if is_root() {
        commands.push(vec!["run", "--rm", "host", "true"]);
    } else {
        skip("the_work_of_a_start_does_not_grow_with_the_store", "helpers that work under ptrace");
        commands.truncate(2);
    }
    let look = |words: &Vec<&str>| match words.first() {
        Some(&"create") => {
            let counts = calls(&bench, words, None);
            bench.say(&["rm", "new"]).done();
            counts
        }
        _ => least(&bench, words),
    };
    let before: Vec<_> = commands.iter().map(look).collect();
    let filled = bench.fill(10_000, 1_000);
    // The count sees work that grows: a list of all opens files of each.
    let all = calls(&bench, &["ps", "-aq"], Some("open,openat"));
    let after: Vec<_> = commands.iter().map(look).collect();
    drop(filled);
    assert!(all.values().sum::<usize>() > 10_000, "{all:?}");
    for ((words, before), after) in commands.iter().zip(&before).zip(&after) {
        for name in ["pread64", ""] {
            let sum = |counts: &BTreeMap<String, usize>| -> usize {
                counts.iter().filter(|(call, _)| name.is_empty() || *call == name).map(|(_, n)| n).sum()
            };
            // A tree of pages has a level more, and each look into it one page.
            let (little, much) = (sum(before), sum(after));
            let few = little + (little / 5).max(16);
            assert!(much <= few, "{words:?} {name}: {little} calls, then {much}\n{before:?}\n{after:?}");
        }
    }
    assert!(bench.say(&["ps"]).ok().contains("runs"));
    bench.say(&["rm", "-f", "runs"]).done();
    bench.assert_empty();
    assert_no_range_is_held(&bench);
}

#[test]
fn a_thousand_in_a_row_leave_nothing() {
    let bench = Bench::new();
    let began = Instant::now();
    for n in 0..1000 {
        let said = bench.say(&["run", "--rm", "host", "sh", "-c", "exit 7"]);
        assert_eq!((said.code, said.err.as_str()), (7, ""), "number {n}");
    }
    assert!(began.elapsed() < Duration::from_secs(600), "{:?}", began.elapsed());
    assert_sound(&bench);
}

/// Runs `act` for every number below `count`, sixteen at a time.
fn sixteen_at_a_time(count: usize, act: impl Fn(usize) -> Said + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        break;
                    }
                    let said = act(n);
                    assert_eq!((said.code, said.err.as_str()), (0, ""), "number {n}");
                }
            });
        }
    });
}

#[test]
fn a_hundred_at_once_run_and_end_without_an_error() {
    let bench = Bench::new();
    let began = Instant::now();
    sixteen_at_a_time(100, |n| bench.say(&["run", "-d", "--name", &format!("c{n}"), "host", "sleep", "1000"]));
    assert_eq!(bench.say(&["ps", "-q"]).ok().lines().count(), 100);
    let ids: std::collections::BTreeSet<String> =
        bench.say(&["ps", "-q", "--no-trunc"]).ok().lines().map(str::to_owned).collect();
    assert_eq!(bench.say(&["system", "fsck"]).ok(), "nothing is wrong\n");
    sixteen_at_a_time(100, |n| {
        let name = format!("c{n}");
        match n % 3 {
            0 => bench.say(&["exec", &name, "true"]),
            1 => bench.say(&["inspect", "-f", "{{.State.Status}}", &name]),
            _ => bench.say(&["kill", &name]),
        }
    });
    sixteen_at_a_time(100, |n| bench.say(&["rm", "-f", &format!("c{n}")]));
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
    assert!(cgroups(&ids).is_empty(), "{:?}", cgroups(&ids));
    assert_sound(&bench);
}

fn assert_sound(bench: &Bench) {
    bench.assert_empty();
    assert_eq!(bench.say(&["system", "fsck"]).ok(), "nothing is wrong\n");
    assert_no_range_is_held(bench);
}
