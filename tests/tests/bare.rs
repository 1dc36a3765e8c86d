//! `bulkhead sandbox`: a program over a directory, with nothing stored.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bulkhead_tests::{Bench, binary, is_root};

/// A root file system with nothing but a shell, linked to nothing: the host's own directories are not needed.
fn rootfs(bench: &Bench) -> String {
    let root = bench.path("rootfs");
    for name in ["bin", "run", "tmp", "etc"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    // The program itself is static: as `true`, `--version` and so on it is all the userland that is needed.
    fs::copy(binary(), root.join("bin/bulkhead")).unwrap();
    fs::set_permissions(root.join("bin/bulkhead"), fs::Permissions::from_mode(0o755)).unwrap();
    root.to_string_lossy().into_owned()
}

#[test]
fn a_program_runs_and_nothing_is_kept() {
    let bench = Bench::new();
    let root = rootfs(&bench);
    let out = bench.say(&["sandbox", &root, "/bin/bulkhead", "version"]).ok();
    assert!(out.contains("0.1.0"), "{out}");
    let list = bench.say(&["ps", "-aq"]).ok();
    assert_eq!(list, "");
}

#[test]
fn the_hosts_own_root_can_be_looked_at_and_not_written() {
    let bench = Bench::new();
    let script = "id -u; touch /etc/bulkhead-was-here && echo WRITTEN; touch /tmp/x && echo tmp; grep -c . /proc/net/dev; \
                  grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | tr -s '\\t\\n' '  '";
    let said = bench.say(&["sandbox", "/", "/bin/sh", "-c", script]);
    let out = said.ok();
    assert!(out.starts_with("0\ntmp\n3\n"), "{out}");
    assert!(out.contains("NoNewPrivs: 1 Seccomp: 2"), "{out}");
    assert!(!std::path::Path::new("/etc/bulkhead-was-here").exists());
}

#[test]
fn two_sandboxes_of_root_do_not_share_ids() {
    if !is_root() {
        // An ordinary user has one range for all his sandboxes.
        return;
    }
    let bench = Bench::new();
    let start = |wait: &str| {
        let mut command = bench.command(&["sandbox", "/", "/bin/sh", "-c", wait]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let mut first = start("cat /proc/self/uid_map; exec cat");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(first.stdout.take().unwrap()), &mut line).unwrap();
    let second = bench.say(&["sandbox", "/", "/bin/cat", "/proc/self/uid_map"]).ok();
    let start_of = |map: &str| map.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap();
    assert!(start_of(&line).abs_diff(start_of(&second)) >= 65_536, "{line} {second}");
    drop(first.stdin.take());
    assert!(first.wait().unwrap().success());
}

#[test]
fn wrong_words_are_told() {
    let bench = Bench::new();
    let err = bench.say(&["sandbox", "/nowhere", "/bin/true"]).fails(125);
    assert!(err.contains("/nowhere"), "{err}");
    let err = bench.say(&["sandbox", "/", "/no/such/program"]).fails(127);
    assert!(err.contains("/no/such/program"), "{err}");
    let root = rootfs(&bench);
    let err = bench.say(&["sandbox", &root]).fails(1);
    assert!(err.contains("COMMAND"), "{err}");
}

#[test]
fn the_table_beside_docker_names_every_kind_of_isolation() {
    let bench = Bench::new();
    bench.say(&["run", "-d", "--name", "web", "host", "sleep", "100"]).ok();
    let table = bench.say(&["explain", "--compare", "web"]).ok();
    for topic in ["user ids", "namespaces", "capabilities", "system calls", "limits", "Docker by default"] {
        assert!(table.contains(topic), "{topic} is missing:\n{table}");
    }
    let text = bench.say(&["explain", "--format", "json", "web"]).ok();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value.pointer("/weakened").unwrap().as_array().unwrap().len(), 0);
    assert_eq!(value.pointer("/measured/filtered"), Some(&serde_json::Value::Bool(true)));
    bench.say(&["rm", "-f", "web"]).ok();
}
