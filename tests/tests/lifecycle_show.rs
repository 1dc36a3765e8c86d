//! What is shown: `ps`, `logs`, `inspect`, `images`, `explain`.

use std::time::Instant;

use bulkhead_tests::life::tar;
use bulkhead_tests::{Bench, eventually};

#[test]
fn ps_lists_what_runs_and_with_a_what_ran() {
    let bench = Bench::new();
    assert!(bench.say(&["ps"]).ok().starts_with("CONTAINER ID"));
    let first = bench.start(&["--name", "first", "-l", "tier=web"], "sleep 100");
    let second = bench.start(&["--name", "second"], "exit 3");
    assert!(eventually(5, || bench.state("second").0 == "exited"));
    assert_eq!(bench.say(&["ps", "-q"]).ok(), format!("{}\n", &first[..12]));
    assert_eq!(bench.say(&["ps", "-q", "--no-trunc"]).ok(), format!("{first}\n"));
    assert_eq!(bench.say(&["ps", "-aq"]).ok(), format!("{}\n{}\n", &second[..12], &first[..12]));
    let table = bench.say(&["ps", "-a"]).ok();
    assert!(table.contains("Exited (3)") && table.contains("Up ") && table.contains("\"sh -c"), "{table}");
    let names = |filter: &str| bench.say(&["ps", "-a", "-f", filter, "--format", "{{.Names}}"]).ok();
    assert_eq!(names("status=exited"), "second\n");
    assert_eq!(names("status=running"), "first\n");
    assert_eq!(names("name=sec"), "second\n");
    assert_eq!(names("label=tier"), "first\n");
    assert_eq!(names("label=tier=db"), "");
    assert_eq!(names(&format!("id={}", &second[..8])), "second\n");
    assert_eq!(names("ancestor=host"), "second\nfirst\n");
    let json = bench.say(&["ps", "-a", "--format", "json"]).ok();
    for line in json.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["ID"].is_string() && value["State"].is_string(), "{value}");
    }
    assert_eq!(json.lines().count(), 2);
    let wrong = bench.say(&["ps", "-f", "colour=red"]).fails(1);
    assert!(wrong.contains("colour"), "{wrong}");
}

#[test]
fn a_container_is_found_by_name_id_and_start_of_id() {
    let bench = Bench::new();
    let id = bench.start(&["--name", "one"], "sleep 100");
    for query in ["one", &id, &id[..12], &id[..3]] {
        assert_eq!(bench.look(query, "/Id"), id.as_str());
    }
    let unknown = bench.say(&["inspect", "none"]).fails(1);
    assert!(unknown.contains("none"), "{unknown}");
}

#[test]
fn logs_keep_streams_apart_and_count_from_the_end() {
    let bench = Bench::new();
    bench.start(&["--name", "one"], "for i in 1 2 3 4 5; do echo out$i; echo err$i >&2; done; printf 'no end'");
    assert!(eventually(5, || bench.state("one").0 == "exited"));
    let all = bench.say(&["logs", "one"]);
    assert_eq!(all.out, "out1\nout2\nout3\nout4\nout5\nno end");
    assert_eq!(all.err, "err1\nerr2\nerr3\nerr4\nerr5\n");
    let tail = bench.say(&["logs", "--tail", "1", "one"]);
    assert_eq!((tail.out.as_str(), tail.err.as_str()), ("no end", ""));
    assert_eq!(bench.say(&["logs", "--tail", "0", "one"]).out, "");
    let timed = bench.say(&["logs", "-t", "--tail", "2", "one"]).ok();
    let (stamp, text) = timed.lines().last().unwrap().split_once(' ').unwrap();
    assert!(stamp.starts_with("20") && stamp.ends_with('Z') && stamp.contains('T') && text == "no end", "{timed}");
    assert_eq!(bench.say(&["logs", "--since", "2099-01-01T00:00:00Z", "one"]).out, "");
    assert!(bench.say(&["logs", "nobody"]).fails(1).contains("No such container"));
}

#[test]
fn following_a_log_ends_with_the_container() {
    let bench = Bench::new();
    bench.start(&["--name", "one"], "echo first; sleep 0.6; echo second; sleep 0.2; echo last; exit 4");
    let before = Instant::now();
    let followed = bench.say(&["logs", "-f", "one"]);
    assert_eq!((followed.code, followed.out.as_str()), (0, "first\nsecond\nlast\n"));
    assert!(before.elapsed().as_secs() < 10);
    // Of one that has ended: all of it, at once.
    assert_eq!(bench.say(&["logs", "-f", "one"]).ok(), "first\nsecond\nlast\n");
}

/// Escape sequences stay in the log, and do not reach a terminal that shows a table.
#[test]
fn names_in_tables_cannot_drive_a_terminal() {
    let bench = Bench::new();
    bench.say(&["run", "-d", "host", "printf", "\u{1b}]0;owned\u{7}"]).done();
    let table = bench.say(&["ps", "-a", "--no-trunc"]).ok();
    assert!(!table.contains('\u{1b}') && !table.contains('\u{7}'), "{table:?}");
}

#[test]
fn the_log_is_bounded() {
    let bench = Bench::new();
    bench.start(&["--name", "one"], "yes $(printf %08000d 7) | head -c 45000000; echo; echo the end");
    assert!(eventually(60, || bench.state("one").0 == "exited"));
    let dir = bench.path("root/containers").join(bench.look("one", "/Id").as_str().unwrap()).join("log");
    let sizes: Vec<u64> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert!(sizes.iter().all(|s| *s <= 10 << 20), "{sizes:?}");
    assert!(sizes.iter().sum::<u64>() > 20 << 20, "{sizes:?}");
    let out = bench.say(&["logs", "one"]).ok();
    assert!(out.ends_with("\nthe end\n") && out.len() > 20 << 20 && out.len() <= 30 << 20, "{}", out.len());
    assert_eq!(bench.say(&["logs", "--tail", "1", "one"]).ok(), "the end\n");
    assert_eq!(bench.look("one", "/State/Error"), "");
}

#[test]
fn inspect_tells_state_configuration_and_isolation() {
    let bench = Bench::new();
    let id = bench.start(&["--name", "one", "-e", "A=1", "-u", "nobody", "--tmpfs", "/m"], "exit 7");
    assert!(eventually(5, || bench.state("one") == ("exited".to_owned(), 7)));
    let all = bench.look("one", "");
    assert_eq!((all["Name"].as_str(), all["Id"].as_str()), (Some("/one"), Some(id.as_str())));
    assert_eq!(all.pointer("/State/Running"), Some(&false.into()));
    assert_eq!(all.pointer("/Config/User"), Some(&"nobody".into()));
    assert_eq!(all.pointer("/Bulkhead/Security/NoNewPrivileges"), Some(&true.into()));
    assert_eq!(all.pointer("/Bulkhead/Security/Seccomp"), Some(&"default".into()));
    let started = all.pointer("/State/StartedAt").and_then(|t| t.as_str()).unwrap();
    let finished = all.pointer("/State/FinishedAt").and_then(|t| t.as_str()).unwrap();
    assert!(started.starts_with("20") && started <= finished, "{started} {finished}");
    let formatted = bench.say(&["inspect", "-f", "{{.State.ExitCode}} {{.Name}}", "one"]).ok();
    assert_eq!(formatted, "7 /one\n");
}

#[test]
fn explain_names_the_flag_that_weakens() {
    let bench = Bench::new();
    bench.start(&["--name", "hard"], "sleep 100");
    let hard = bench.say(&["explain", "hard"]).ok();
    assert!(hard.contains("nothing: it has the hardened defaults"), "{hard}");
    assert!(hard.contains("user ids") && hard.contains("no new privileges: yes"), "{hard}");
    for (name, flag) in [
        ("b1", &["--cap-add", "NET_RAW"][..]),
        ("b2", &["--security-opt", "seccomp=unconfined"]),
        ("b3", &["--security-opt", "no-new-privileges=false"]),
        ("b4", &["--security-opt", "systempaths=unconfined"]),
        ("b5", &["--profile", "compat"]),
        ("b6", &["--privileged"]),
    ] {
        bench.start(&[&["--name", name], flag].concat(), "sleep 100");
        let text = bench.say(&["explain", name]).ok();
        assert!(text.contains(&flag.join(" ")), "{flag:?}: {text}");
        let json: serde_json::Value = serde_json::from_str(&bench.say(&["explain", "-f", "json", name]).ok()).unwrap();
        assert!(!json["weakened"].as_array().unwrap().is_empty(), "{json}");
    }
    bench.say(&["stop", "-t", "0", "hard"]).done();
    assert!(bench.say(&["explain", "hard"]).ok().contains("does not run"));
}

#[test]
fn images_come_are_listed_and_go() {
    let bench = Bench::new();
    let dir = bench.path("rootfs");
    std::fs::create_dir_all(dir.join("etc")).unwrap();
    std::fs::write(dir.join("etc/motd"), "hello\n").unwrap();
    let archive = bench.path("rootfs.tar");
    tar(&dir, &archive, &[]);
    let file = archive.to_str().unwrap();
    let id = bench.say(&["import", "-c", "CMD [\"/bin/sh\"]", "-c", "ENV A=1", file, "my/base:1"]).ok();
    let id = id.trim().trim_start_matches("sha256:").to_owned();
    assert_eq!(id.len(), 64, "{id}");
    let table = bench.say(&["images"]).ok();
    assert!(table.contains("my/base") && table.contains(&id[..12]), "{table}");
    assert_eq!(bench.look("my/base:1", "/Config/Cmd"), serde_json::json!(["/bin/sh"]));
    assert_eq!(bench.look("my/base:1", "/Config/Env/0"), "A=1");
    // The program that the image names is not in it: our error, and not a trace.
    bench.say(&["run", "my/base:1"]).done_with(127);
    bench.assert_empty();
    let input = std::fs::read(&archive).unwrap();
    let (_, said) = bench.feed(&["import", "-", "my/base:2"], &input);
    said.done();
    let removed = bench.say(&["rmi", "my/base:1"]).ok();
    assert!(removed.contains("Untagged") && removed.contains("Deleted"), "{removed}");
    bench.say(&["rmi", "my/base:2"]).done();
    assert_eq!(bench.say(&["images", "-q"]).ok(), "");
    assert_eq!(std::fs::read_dir(bench.path("root/layers")).unwrap().count(), 0);
    assert!(bench.say(&["rmi", "my/base:1"]).fails(1).contains("my/base:1"));
    assert!(bench.say(&["rmi", "host"]).fails(1).contains("built in"));
}

#[test]
fn an_image_in_use_stays() {
    let bench = Bench::new();
    let dir = bench.path("rootfs");
    // Programs come from the host by binds of their own.
    std::fs::create_dir_all(dir.join("opt")).unwrap();
    let archive = bench.path("rootfs.tar");
    tar(&dir, &archive, &[]);
    bench.say(&["import", archive.to_str().unwrap(), "base"]).done();
    let mut words = vec!["run", "-d", "--name", "user"];
    let binds = ["/usr", "/bin", "/lib", "/lib64"].map(|d| format!("{d}:{d}:ro,exec"));
    words.extend(binds.iter().flat_map(|b| ["-v", b.as_str()]));
    words.extend(["base", "/bin/sh", "-c", "exec sleep 100"]);
    bench.say(&words).done();
    let refused = bench.say(&["rmi", "base"]).fails(1);
    assert!(refused.contains("user") && refused.contains("hint:"), "{refused}");
    bench.say(&["rm", "-f", "user"]).done();
    bench.say(&["rmi", "base"]).done();
}
