//! Starting a container: streams, exit codes, what the program gets, and races between starts.

use std::thread;

use bulkhead_tests::life::{pid_of, read_until, rest, signal};
use bulkhead_tests::{Bench, eventually};

#[test]
fn streams_are_apart_and_the_exit_code_is_the_programs() {
    let bench = Bench::new();
    let said = bench.sh(&[], "echo out; echo err >&2; exit 3");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (3, "out\n", "err\n"));
    assert_eq!(bench.sh(&[], "exit 0").code, 0);
    assert_eq!(bench.sh(&[], "exit 255").code, 255);
    // As Docker has them: ours, not executable, not found, and 128 + signal.
    let missing = bench.say(&["run", "--rm", "host", "/no/such/program"]).fails(127);
    assert!(missing.contains("/no/such/program") && missing.contains("hint:"), "{missing}");
    let directory = bench.say(&["run", "--rm", "host", "/etc"]).fails(126);
    assert!(directory.contains("/etc"), "{directory}");
    assert_eq!(bench.say(&["run", "--rm", "host", "/etc/passwd"]).code, 126);
    assert_eq!(bench.say(&["run", "--rm", "host", "sh", "-c", "nosuchprogram"]).code, 127);
    assert_eq!(bench.sh(&["--init"], "kill -9 $$").code, 137);
    assert_eq!(bench.sh(&["--init"], "kill -TERM $$").code, 143);
    bench.assert_empty();
}

#[test]
fn a_program_that_cannot_start_leaves_nothing_detached_either() {
    let bench = Bench::new();
    bench.say(&["run", "-d", "host", "/no/such/program"]).done_with(127);
    bench.say(&["run", "-d", "host", "/etc"]).done_with(126);
    bench.say(&["run", "host", "/no/such/program"]).done_with(127);
    bench.assert_empty();
}

#[test]
fn ten_megabytes_go_through_unchanged() {
    let bench = Bench::new();
    let mut state: u32 = 1;
    let input: Vec<u8> = (0..10 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        })
        .collect();
    let (output, said) = bench.feed(&["run", "--rm", "-i", "host", "cat"], &input);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(output == input, "{} bytes of {} came back", output.len(), input.len());
    // Without -i there is no input at all.
    let (output, said) = bench.feed(&["run", "--rm", "host", "cat"], b"not for it");
    assert_eq!((said.code, output.len()), (0, 0));
    // A program that reads nothing is not waited for.
    let (_, said) = bench.feed(&["run", "--rm", "-i", "host", "true"], &input);
    assert_eq!(said.code, 0, "{}", said.err);
    bench.assert_empty();
}

#[test]
fn output_of_a_program_that_ends_at_once_is_whole() {
    let bench = Bench::new();
    let (output, said) =
        bench.feed(&["run", "--rm", "host", "sh", "-c", "head -c 3000000 /dev/zero; echo end >&2"], b"");
    assert_eq!((output.len(), said.err.as_str()), (3_000_000, "end\n"));
}

#[test]
fn the_environment_is_the_images_and_what_was_asked() {
    let bench = Bench::new();
    let mut command =
        bench.command(&["run", "--rm", "-e", "A=1", "-e", "B", "-e", "C=x=y", "-e", "A=2", "host", "env"]);
    let out = command.env("B", "from here").env("SECRET", "of the host").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let has = |line: &str| text.lines().any(|l| l == line);
    assert!(has("A=2") && has("B=from here") && has("C=x=y") && has("HOME=/root"), "{text}");
    assert!(text.contains("PATH=/usr/local/sbin:") && !text.contains("SECRET") && !text.contains("BULKHEAD"), "{text}");
    std::fs::write(bench.path("file"), "# a comment\nD=4\nE=with space\n").unwrap();
    let file = bench.path("file");
    let out = bench.sh(&["--env-file", file.to_str().unwrap()], "echo \"$D $E\"").ok();
    assert_eq!(out, "4 with space\n");
}

#[test]
fn user_working_directory_hostname_and_entry_point_are_as_asked() {
    let bench = Bench::new();
    assert_eq!(bench.sh(&[], "id -u; id -g; pwd").ok(), "0\n0\n/\n");
    assert_eq!(bench.sh(&["-u", "nobody"], "id -un; id -g; echo $HOME").ok(), "nobody\n65534\n/nonexistent\n");
    assert_eq!(bench.sh(&["-u", "1234"], "id -u; id -g; echo $HOME").ok(), "1234\n0\n/\n");
    assert_eq!(bench.sh(&["-u", "1234:4321"], "id -u; id -g; id -G").ok(), "1234\n4321\n4321\n");
    assert_eq!(bench.sh(&["-u", "7:tty", "--group-add", "99"], "id -u; id -G").ok(), "7\n5 99\n");
    assert_eq!(bench.sh(&["-w", "/usr/bin"], "pwd").ok(), "/usr/bin\n");
    assert_eq!(bench.sh(&["-w", "/made/for/it"], "pwd").ok(), "/made/for/it\n");
    assert_eq!(bench.sh(&["-h", "box"], "hostname; cat /etc/hostname; grep -c box /etc/hosts").ok(), "box\nbox\n1\n");
    let out = bench.say(&["run", "--rm", "--entrypoint", "echo", "host", "a", "b"]).ok();
    assert_eq!(out, "a b\n");
    let nothing = bench.say(&["run", "--rm", "--entrypoint", "", "host", "echo", "c"]).ok();
    assert_eq!(nothing, "c\n");
}

#[test]
fn a_read_only_root_takes_no_writes_and_tmpfs_does() {
    let bench = Bench::new();
    let script = "touch /opt/x 2>/dev/null && echo root; touch /tmp/x /run/x && echo memory; touch /m/x && echo asked";
    let out = bench.sh(&["--read-only", "--tmpfs", "/m"], script).ok();
    assert_eq!(out, "memory\nasked\n");
    let script = "stat -fc '%b %S' /m | awk '{ print $1 * $2 }'; stat -c %a /m; cp /bin/true /m/t; /m/t 2>/dev/null || echo noexec";
    assert_eq!(bench.sh(&["--tmpfs", "/m:size=1m,mode=700"], script).ok(), "1048576\n700\nnoexec\n");
    assert_eq!(bench.sh(&["--tmpfs", "/m:exec"], "cp /bin/true /m/t; /m/t && echo exec").ok(), "exec\n");
    let full = "dd if=/dev/zero of=/m/f bs=64k count=100 2>&1 | grep -o 'No space left on device'";
    assert_eq!(bench.sh(&["--tmpfs", "/m:size=1m"], full).ok(), "No space left on device\n");
    assert_eq!(bench.sh(&["--tmpfs", "/m:ro"], "touch /m/x 2>/dev/null || echo ro").ok(), "ro\n");
}

#[test]
fn what_is_written_stays_until_the_container_is_removed() {
    let bench = Bench::new();
    bench.start(&["--name", "keeper"], "echo data > /opt/file; sleep 100");
    assert!(eventually(5, || bench.say(&["exec", "keeper", "cat", "/opt/file"]).out == "data\n"));
    bench.say(&["stop", "-t", "0", "keeper"]).done();
    assert!(bench.left_overs().iter().any(|l| l.starts_with("root/containers/")), "its layer is kept");
    bench.say(&["rm", "keeper"]).done();
    bench.assert_empty();
    assert_eq!(bench.sh(&[], "test -e /opt/file || echo fresh").ok(), "fresh\n");
}

/// Zombies of process 1, which only an init collects.
const ORPHANS: &str = "for i in 1 2 3 4 5; do (sleep 0.05 & ) ; done; sleep 0.4; \
    grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l; cat /proc/1/comm";

#[test]
fn an_init_reaps_orphans_and_passes_signals_on() {
    let bench = Bench::new();
    // `sleep` as process 1 never waits: the control that the count can see a zombie.
    let without = bench.start(&[], "exec sleep 100");
    bench.say(&["exec", &without, "sh", "-c", "(sleep 0.05 &)"]).done();
    let zombies = "cat /proc/[0-9]*/status | grep -c '^State:.Z'";
    assert!(eventually(5, || bench.say(&["exec", &without, "sh", "-c", zombies]).out == "1\n"));
    let out = bench.sh(&["--init"], ORPHANS).ok();
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("0"), "{out}");
    assert_ne!(lines.next(), Some("sh"), "{out}");
    let mut child = bench.spawn(&[
        "run",
        "--rm",
        "--init",
        "host",
        "sh",
        "-c",
        "trap 'echo got; exit 9' USR1; echo on; while :; do sleep 0.1; done",
    ]);
    let mut out = child.stdout.take().unwrap();
    read_until(&mut out, "on\n");
    signal(pid_of(&child), 10);
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(rest(&mut out), "got\n");
}

#[test]
fn of_two_runs_with_one_name_exactly_one_wins() {
    let bench = Bench::new();
    bench.sh(&[], "true").done();
    for round in 0..3 {
        let name = format!("only{round}");
        let codes: Vec<_> = thread::scope(|scope| {
            let runs: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| bench.say(&["run", "-d", "--name", &name, "host", "sleep", "100"])))
                .collect();
            runs.into_iter().map(|r| r.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = codes.into_iter().partition(|said| said.code == 0);
        assert_eq!(won.len(), 1, "{lost:?}");
        for said in lost {
            let error = said.fails(125);
            assert!(error.contains(&name) && error.contains("in use") && error.contains("hint:"), "{error}");
        }
        assert_eq!(bench.say(&["ps", "-q", "--no-trunc"]).ok().trim(), won[0].out.trim());
        bench.say(&["rm", "-f", &name]).done();
    }
    bench.assert_empty();
}

#[test]
fn eight_runs_at_once_are_eight_containers() {
    let bench = Bench::new();
    let maps: Vec<String> = thread::scope(|scope| {
        let run = |i: usize| {
            let bench = &bench;
            move || bench.sh(&[], &format!("echo {i}; sed 's/  */ /g;s/^ //' /proc/self/uid_map")).ok()
        };
        let runs: Vec<_> = (0..8).map(|i| scope.spawn(run(i))).collect();
        runs.into_iter().map(|r| r.join().unwrap()).collect()
    });
    for (i, text) in maps.iter().enumerate() {
        assert!(text.starts_with(&format!("{i}\n0 ")), "{text}");
    }
    bench.assert_empty();
}

#[test]
fn containers_that_run_together_share_no_host_id() {
    let bench = Bench::new();
    if !bulkhead_tests::is_root() {
        // An ordinary user has one range, which his containers share: `explain` says so.
        let id = bench.start(&[], "sleep 100");
        assert!(bench.say(&["explain", &id]).ok().contains("your containers share"));
        return;
    }
    let ids: Vec<String> = (0..3).map(|_| bench.start(&[], "sleep 100")).collect();
    let starts: std::collections::BTreeSet<u64> =
        ids.iter().map(|id| bench.look(id, "/Bulkhead/Range/start").as_u64().unwrap()).collect();
    assert_eq!(starts.len(), 3);
    let steps: Vec<u64> = starts.iter().zip(starts.iter().skip(1)).map(|(a, b)| b - a).collect();
    assert!(steps.iter().all(|s| *s >= 65_536), "{starts:?}");
}

#[test]
fn a_dry_run_says_the_steps_and_does_none() {
    let bench = Bench::new();
    let plan = bench.say(&["run", "--dry-run", "--name", "never", "host", "true"]).ok();
    assert!(plan.lines().count() > 20, "{plan}");
    bench.assert_empty();
}
