//! `exec`: another program in a running container.

use bulkhead_tests::Bench;
use bulkhead_tests::eventually;
use bulkhead_tests::life::{pid_of, read_until, signal};

#[test]
fn exec_has_streams_input_and_exit_codes_of_its_own() {
    let bench = Bench::new();
    bench.start(&["--name", "box"], "sleep 100");
    let said = bench.say(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 4"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (4, "out\n", "err\n"));
    let input: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
    let (output, said) = bench.feed(&["exec", "-i", "box", "cat"], &input);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(output == input, "{} bytes came back", output.len());
    let (output, _) = bench.feed(&["exec", "box", "cat"], b"not for it");
    assert_eq!(output, b"");
    bench.say(&["exec", "box", "/no/such/program"]).done_with(127);
    bench.say(&["exec", "box", "/etc/passwd"]).done_with(126);
    assert_eq!(bench.say(&["exec", "box", "sh", "-c", "kill -9 $$"]).code, 137);
    // What it wrote is no part of the container's log.
    assert_eq!(bench.say(&["logs", "box"]).ok(), "");
    assert_eq!(bench.state("box").0, "running");
}

#[test]
fn exec_takes_user_directory_and_environment() {
    let bench = Bench::new();
    bench.start(&["--name", "box", "-e", "A=1", "-w", "/usr"], "sleep 100");
    assert_eq!(bench.say(&["exec", "box", "sh", "-c", "id -u; pwd; echo $A $HOME"]).ok(), "0\n/usr\n1 /root\n");
    let words = ["exec", "-u", "nobody", "-w", "/opt", "-e", "A=2", "-e", "B=3", "box", "sh", "-c"];
    let out = bench.say(&[&words[..], &["id -un; pwd; echo $A $B $HOME"]].concat()).ok();
    assert_eq!(out, "nobody\n/opt\n2 3 /nonexistent\n");
    assert_eq!(bench.say(&["exec", "-u", "5:6", "box", "id", "-G"]).ok(), "6\n");
    let none = bench.say(&["exec", "-u", "nosuchuser", "box", "true"]).fails(1);
    // `run -w` makes a directory; what joins finds it or does not start.
    let nowhere = bench.say(&["exec", "-w", "/no/such", "box", "pwd"]).fails(126);
    assert!(nowhere.contains("/no/such") && nowhere.contains("hint:"), "{nowhere}");
    bench.say(&["exec", "-d", "-w", "/etc/passwd", "box", "pwd"]).done_with(126);
    bench.say(&["exec", "box", "ls", "/no"]).done_with(2);
    assert!(none.contains("nosuchuser") && none.contains("--user"), "{none}");
}

/// A program that joins has what the container has, and no more.
#[test]
fn exec_is_as_confined_as_the_container() {
    let bench = Bench::new();
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; readlink /proc/self/ns/* | sort; cat /proc/self/cgroup; ulimit -a";
    bench.start(&["--name", "box"], &format!("{{ {status}; }} > /opt/first; sleep 100"));
    let first = || bench.say(&["exec", "box", "cat", "/opt/first"]).out;
    assert!(eventually(5, || first().contains("max user processes") || first().contains("process")));
    let joined = bench.say(&["exec", "box", "sh", "-c", status]).ok();
    assert_eq!(joined, first());
    let refused = bench.say(&["exec", "--privileged", "box", "true"]).fails(1);
    assert!(refused.contains("--privileged"), "{refused}");
}

#[test]
fn exec_detached_goes_on_alone() {
    let bench = Bench::new();
    bench.start(&["--name", "box"], "sleep 100");
    assert_eq!(bench.say(&["exec", "-d", "box", "sh", "-c", "sleep 0.2; echo done > /opt/done"]).ok(), "");
    assert!(eventually(5, || bench.say(&["exec", "box", "cat", "/opt/done"]).out == "done\n"));
    bench.say(&["exec", "-d", "box", "/no/such/program"]).done_with(127);
}

#[test]
fn signals_to_an_attached_exec_reach_its_program() {
    let bench = Bench::new();
    bench.start(&["--name", "box"], "sleep 100");
    let mut child =
        bench.spawn(&["exec", "box", "sh", "-c", "trap 'exit 7' TERM; echo on; while :; do sleep 0.05; done"]);
    read_until(child.stdout.as_mut().unwrap(), "on\n");
    signal(pid_of(&child), 15);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(bench.state("box").0, "running");
}

#[test]
fn the_end_of_the_container_is_the_end_of_what_joined() {
    let bench = Bench::new();
    bench.start(&["--name", "box"], "sleep 100");
    let mut child = bench.spawn(&["exec", "box", "sh", "-c", "echo on; sleep 100"]);
    read_until(child.stdout.as_mut().unwrap(), "on\n");
    bench.say(&["stop", "-t", "0", "box"]).done();
    assert_eq!(child.wait().unwrap().code(), Some(137));
    let ended = bench.say(&["exec", "box", "true"]).fails(1);
    assert!(ended.contains("not running") && ended.contains("bulkhead ps -a"), "{ended}");
    bench.say(&["rm", "box"]).done();
    bench.assert_empty();
    let unknown = bench.say(&["exec", "box", "true"]).fails(1);
    assert!(unknown.contains("No such container") && unknown.contains("box"), "{unknown}");
}

#[test]
fn many_execs_at_once_each_get_their_own_output() {
    let bench = Bench::new();
    bench.start(&["--name", "box"], "sleep 100");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|i| {
                let bench = &bench;
                scope.spawn(move || bench.say(&["exec", "box", "echo", &i.to_string()]).ok())
            })
            .collect();
        for (i, run) in runs.into_iter().enumerate() {
            assert_eq!(run.join().unwrap(), format!("{i}\n"));
        }
    });
}
