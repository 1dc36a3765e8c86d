//! Looking at what containers do: processes, figures, events, logs, ports.

use bulkhead_tests::life::{pid_of, read_until, rest, signal};
use bulkhead_tests::{Bench, eventually, is_root, skip};

fn row<'a>(table: &'a str, word: &str) -> Vec<&'a str> {
    let line = table.lines().find(|l| l.contains(word)).unwrap_or_else(|| panic!("no {word:?} in:\n{table}"));
    line.split_whitespace().collect()
}

#[test]
fn top_shows_the_processes_by_the_hosts_pids() {
    let bench = Bench::new();
    bench.start(&["--name", "web"], "sleep 1001 & sleep 1002 & wait");
    // The shell's own words name them too.
    let has = |command: &str| bench.say(&["top", "web"]).out.lines().any(|l| l.ends_with(&format!("   {command}")));
    assert!(eventually(5, || has("sleep 1001") && has("sleep 1002")));
    let table = bench.say(&["top", "web"]).ok();
    assert!(table.starts_with("UID                 PID                 PPID                C  "), "{table}");
    assert_eq!(row(&table, "UID"), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    let first = bench.pid_of("web").to_string();
    let shell = row(&table, "sh -c");
    assert_eq!((shell[0], shell[1]), ("root", first.as_str()));
    let sleep = row(&table, "   sleep 1001");
    assert_eq!((sleep[0], sleep[2]), ("root", first.as_str()), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
    // A program that joined is one of them.
    let mut joined = bench.spawn(&["exec", "web", "sleep", "1003"]);
    assert!(eventually(5, || has("sleep 1003")));
    joined.kill().unwrap();
    joined.wait().unwrap();
    let other = bench.say(&["top", "web", "-o", "pid,args"]).ok();
    assert_eq!(row(&other, "PID"), ["PID", "COMMAND"]);
    assert_eq!(row(&other, "sh -c")[0], first);
    assert!(!other.contains("observe"), "{other}");
    let aux = bench.say(&["container", "top", "web", "aux"]).ok();
    assert!(aux.lines().skip(1).all(|l| l.contains("sleep")), "{aux}");
    bench.say(&["top", "web", "-o", "pid=X"]).done_with(1);
    bench.say(&["top", "web", "-o", "args"]).done_with(1);
    bench.say(&["top", "web", "--nonsense"]).done_with(1);
    bench.say(&["rm", "-f", "web"]).done();
    bench.say(&["create", "--name", "idle", "host", "true"]).done();
    let error = bench.say(&["top", "idle"]).fails(1);
    assert!(error.contains("not running"), "{error}");
    assert!(bench.say(&["top", "none"]).fails(1).contains("No such container"));
}

#[test]
fn what_a_process_calls_itself_does_not_reach_the_terminal() {
    let bench = Bench::new();
    let script = "sh -c 'sleep 1000; :' \"$(printf 'a\\033[2Jb\\nroot 1')\" & wait";
    bench.start(&["--name", "evil", "-u", "nobody"], script);
    assert!(eventually(5, || bench.say(&["top", "evil"]).out.contains("a\\x1b[2Jb")));
    let table = bench.say(&["top", "evil"]).ok();
    assert!(table.contains("a\\x1b[2Jb\\nroot 1") && !table.contains('\x1b'), "{table}");
    assert!(table.lines().skip(1).all(|l| l.starts_with("nobody ")), "{table}");
}

#[test]
fn stats_are_dockers_columns() {
    let bench = Bench::new();
    bench.start(&["--name", "busy"], "while :; do :; done");
    bench.say(&["create", "--name", "idle", "host", "true"]).done();
    let table = bench.say(&["stats", "--no-stream"]).ok();
    let words = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
    assert!(words.iter().all(|w| table.contains(w)) && !table.contains("idle"), "{table}");
    let format = "{{.Name}}|{{.CPUPerc}}|{{.NetIO}}|{{.PIDs}}|{{.MemUsage}}";
    let line = bench.say(&["stats", "--no-stream", "--format", format, "busy"]).ok();
    let parts: Vec<&str> = line.trim().split('|').collect();
    let cpu: f64 = parts[1].trim_end_matches('%').parse().unwrap();
    assert!(cpu > 3.0 && cpu < 150.0, "{line}");
    assert_eq!((parts[0], parts[2], parts[3]), ("busy", "0B / 0B", "1"));
    assert!(parts[4].contains("iB / ") && parts[4].ends_with("GiB") || parts[4].ends_with("MiB"), "{line}");
    let all = bench.say(&["stats", "-a", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.PIDs}}"]).ok();
    assert!(all.contains("idle 0.00% 0\n"), "{all}");
    assert!(bench.say(&["stats", "--no-stream", "none"]).fails(1).contains("No such container"));
    let json = bench.say(&["stats", "--no-stream", "--format", "json", "--no-trunc", "busy"]).ok();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["ID"].as_str().unwrap().len(), 64);
}

#[test]
fn figures_of_the_control_group() {
    let bench = Bench::new();
    let said = bench.say(&["run", "-d", "--name", "small", "-m", "64m", "host", "sleep", "1000"]);
    if !is_root() && said.code != 0 {
        return skip("figures_of_the_control_group", "a control group");
    }
    said.done();
    let format = "{{.MemUsage}}|{{.MemPerc}}|{{.BlockIO}}";
    let line = bench.say(&["stats", "--no-stream", "--format", format, "small"]).ok();
    let parts: Vec<&str> = line.trim().split('|').collect();
    assert!(parts[0].ends_with(" / 64MiB"), "{line}");
    let share: f64 = parts[1].trim_end_matches('%').parse().unwrap();
    assert!(share > 0.0 && share < 50.0, "{line}");
}

#[test]
fn live_stats_go_on_until_they_are_interrupted() {
    let bench = Bench::new();
    bench.start(&["--name", "web"], "sleep 1000");
    let mut child = bench.spawn(&["stats", "--format", "{{.Name}} again"]);
    let mut out = child.stdout.take().unwrap();
    read_until(&mut out, "web again\nweb again\n");
    signal(pid_of(&child), 2);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn events_are_told_as_docker_tells_them() {
    let bench = Bench::new();
    let id = bench.start(&["--name", "web", "-l", "tier=front"], "exit 3");
    assert_eq!(bench.say(&["wait", "web"]).ok(), "3\n");
    let told = |more: &[&str]| {
        let mut words = vec!["events", "--since", "10m", "--until", "0s"];
        words.extend(more);
        bench.say(&words).ok()
    };
    let all = told(&[]);
    let of = |action: &str| all.lines().position(|l| l.contains(&format!(" container {action} {id} ")));
    assert!(of("create") < of("start") && of("start") < of("die") && of("create").is_some(), "{all}");
    let die = all.lines().find(|l| l.contains(" die ")).unwrap();
    assert!(die.ends_with("(exitCode=3, image=host, name=web, tier=front)"), "{die}");
    assert!(die.starts_with("20") && die.as_bytes()[10] == b'T' && die.contains("Z container die "), "{die}");
    assert_eq!(told(&["-f", "event=die"]).lines().count(), 1);
    assert_eq!(told(&["-f", "event=die", "-f", "event=start", "-f", "container=web"]).lines().count(), 2);
    assert_eq!(told(&["-f", "container=other"]), "");
    assert_eq!(told(&["-f", "type=image"]), "");
    assert_eq!(
        told(&["-f", "label=tier=front", "-f", "event=start", "--format", "{{.Type}} {{.Action}} {{.Actor.ID}}"]),
        format!("container start {id}\n")
    );
    let json: serde_json::Value = serde_json::from_str(&told(&["-f", "event=die", "--format", "json"])).unwrap();
    assert_eq!((json["status"].as_str(), json["Actor"]["Attributes"]["exitCode"].as_str()), (Some("die"), Some("3")));
    assert_eq!(bench.say(&["events", "--since", "10m", "--until", "9m"]).ok(), "");
    bench.say(&["events", "-f", "colour=red"]).done_with(1);
    bench.say(&["events", "--since", "whenever"]).done_with(1);
}

#[test]
fn events_are_followed_until_the_time_or_an_interrupt() {
    let bench = Bench::new();
    bench.say(&["ps"]).done();
    let mut child = bench.spawn(&["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
    let mut out = child.stdout.take().unwrap();
    // It begins a moment after it was started.
    let seen = std::thread::spawn(move || (read_until(&mut out, "destroy w"), out));
    let mut n = 0;
    while !seen.is_finished() && n < 100 {
        bench.say(&["run", "--rm", "--name", &format!("w{n}"), "host", "true"]).done();
        n += 1;
    }
    let (text, mut out) = seen.join().unwrap();
    assert!(text.contains("start w") && text.contains("die w"), "{text}");
    signal(pid_of(&child), 2);
    assert!(!child.wait().unwrap().success());
    drop(rest(&mut out));
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 2;
    assert_eq!(bench.say(&["events", "--until", &until.to_string(), "-f", "container=none"]).ok(), "");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now >= until && now < until + 30);
}

#[test]
fn a_log_is_followed_across_restarts_and_ends_with_the_last() {
    let bench = Bench::new();
    bench.start(&["--name", "again", "--restart", "on-failure:2"], "echo run; sleep 0.3; exit 1");
    let out = bench.say(&["logs", "-f", "again"]).ok();
    assert_eq!(out, "run\nrun\nrun\n");
    assert_eq!(bench.state("again"), ("exited".to_owned(), 1));
}

#[test]
fn a_log_has_two_ends_and_several_files() {
    let bench = Bench::new();
    let script = "for i in $(seq 1 400); do echo \"line $i\"; done";
    bench.start(&["--name", "many", "--log-opt", "max-size=4k", "--log-opt", "max-file=9"], script);
    assert_eq!(bench.say(&["wait", "many"]).ok(), "0\n");
    let files =
        std::fs::read_dir(bench.path("root/containers").join(bench.look("many", "/Id").as_str().unwrap()).join("log"));
    assert!(files.unwrap().count() > 4);
    let all: String = (1..=400).map(|i| format!("line {i}\n")).collect();
    assert_eq!(bench.say(&["logs", "many"]).ok(), all);
    assert_eq!(bench.say(&["logs", "-f", "many"]).ok(), all);
    assert_eq!(bench.say(&["logs", "-n", "2", "many"]).ok(), "line 399\nline 400\n");
    assert_eq!(bench.say(&["logs", "--details", "-n", "1", "many"]).ok(), " line 400\n");
    assert_eq!(bench.say(&["logs", "--until", "1h", "many"]).ok(), "");
    let stamped = bench.say(&["logs", "-t", "many"]).ok();
    let at = stamped.lines().nth(29).unwrap().split_once(' ').unwrap().0.to_owned();
    let early = bench.say(&["logs", "--until", &at, "many"]).ok();
    let late = bench.say(&["logs", "--since", &at, "many"]).ok();
    assert!(early.starts_with("line 1\n") && early.contains("line 30\n"), "{early}");
    assert!(late.contains("line 30\n") && late.ends_with("line 400\n"), "{late}");
    assert!(early.lines().count() + late.lines().count() >= 401);
    assert_eq!(bench.say(&["logs", "-n", "1", "--until", &at, "many"]).ok().lines().count(), 1);
}

#[test]
fn output_that_is_not_kept_cannot_be_shown() {
    let bench = Bench::new();
    bench.start(&["--name", "quiet", "--log-driver", "none"], "echo lost; sleep 1000");
    let error = bench.say(&["logs", "quiet"]).fails(1);
    assert!(error.contains("configured logging driver does not support reading"), "{error}");
}

#[test]
fn a_follower_ends_when_the_monitor_was_killed() {
    let bench = Bench::new();
    let id = bench.start(&["--name", "web"], "echo up; sleep 1000");
    let mut child = bench.spawn(&["logs", "-f", "web"]);
    let mut out = child.stdout.take().unwrap();
    read_until(&mut out, "up\n");
    let state = std::fs::read_to_string(bench.path("run/containers").join(&id).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    signal(i32::try_from(state["monitor"].as_i64().unwrap()).unwrap(), 9);
    assert!(eventually(10, || child.try_wait().unwrap().is_some()));
    assert_eq!(bench.state("web"), ("exited".to_owned(), 137));
}

#[test]
fn no_port_is_published() {
    let bench = Bench::new();
    bench.say(&["create", "--name", "web", "host", "true"]).done();
    assert_eq!(bench.say(&["port", "web"]).ok(), "");
    let error = bench.say(&["port", "web", "80"]).fails(1);
    assert!(error.contains("no public port '80/tcp' published for web"), "{error}");
    bench.say(&["port", "web", "http"]).done_with(1);
    bench.say(&["port", "none"]).done_with(1);
}
