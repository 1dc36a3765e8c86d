//! The store as a whole: info, df, prune, fsck, restore.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use bulkhead_tests::life::{signal, tar};
use bulkhead_tests::{Bench, eventually, is_root, skip};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// An image with one file, and the given name; returns its id.
fn import(bench: &Bench, name: &str, content: &str) -> String {
    let dir = bench.path("tree");
    std::fs::create_dir_all(dir.join("bin")).unwrap();
    std::fs::write(dir.join("file"), content).unwrap();
    let archive = bench.path("tree.tar");
    tar(&dir, &archive, &[]);
    bench.say(&["import", archive.to_str().unwrap(), name]).ok().trim().trim_start_matches("sha256:").to_owned()
}

fn fsck(bench: &Bench, words: &[&str]) -> (i32, Vec<(String, bool)>) {
    let mut all = vec!["system", "fsck", "--format", "json"];
    all.extend(words);
    let said = bench.say(&all);
    let value = json(&said.out);
    let findings = value["Findings"].as_array().unwrap().iter();
    let mut found: Vec<_> =
        findings.map(|f| (f["Code"].as_str().unwrap().to_owned(), !f["Repaired"].is_null())).collect();
    found.sort();
    (said.code, found)
}

fn codes(found: &[&str], repaired: bool) -> Vec<(String, bool)> {
    let mut all: Vec<_> = found.iter().map(|code| ((*code).to_owned(), repaired)).collect();
    all.sort();
    all
}

#[test]
fn info_counts_and_names_what_holds_containers() {
    let bench = Bench::new();
    bench.start(&["--name", "runs"], "sleep 1000");
    bench.say(&["create", "--name", "idle", "host", "true"]).done();
    for words in [["info", "-f", "json"].as_slice(), &["system", "info", "--format", "{{json .}}"]] {
        let info = json(&bench.say(words).ok());
        assert_eq!((info["Containers"].as_u64(), info["ContainersRunning"].as_u64()), (Some(2), Some(1)));
        assert_eq!((info["ContainersStopped"].as_u64(), info["ContainersPaused"].as_u64()), (Some(1), Some(0)));
        assert_eq!(info["Rootless"].as_bool(), Some(!is_root()));
        let options: Vec<&str> = info["SecurityOptions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(options.contains(&"name=seccomp,profile=default") && options.contains(&"name=userns"), "{options:?}");
        assert_eq!(options.contains(&"name=rootless"), !is_root());
        assert!(info["MemTotal"].as_u64().unwrap() > 1 << 20 && info["NCPU"].as_u64().unwrap() > 0);
    }
    let text = bench.say(&["system", "info"]).ok();
    assert!(text.starts_with("Containers: 2\n Running: 1\n Paused: 0\n Stopped: 1\nImages: 0\n"), "{text}");
    assert!(text.contains("\nTotal Memory: ") && text.contains("\nKernel Version: "), "{text}");
    assert!(text.contains(&format!("\nRoot Dir: {}\n", bench.path("root").display())), "{text}");
}

#[test]
fn paused_containers_are_counted() {
    let bench = Bench::new();
    bench.start(&["--name", "runs"], "sleep 1000");
    let said = bench.say(&["pause", "runs"]);
    if !is_root() && said.code != 0 {
        return skip("paused_containers_are_counted", "a control group");
    }
    said.done();
    let info = bench.say(&["info", "-f", "{{.ContainersPaused}} {{.ContainersRunning}}"]).ok();
    bench.say(&["unpause", "runs"]).done();
    assert_eq!(info, "1 0\n");
}

#[test]
fn df_counts_each_layer_and_file_once() {
    let bench = Bench::new();
    import(&bench, "one:1", &"x".repeat(200_000));
    import(&bench, "two:1", &"y".repeat(400_000));
    bench.say(&["create", "--name", "idle", "one:1", "/bin/x"]).done();
    let script = "head -c 3000000 /dev/zero > /opt/f; ln /opt/f /opt/g; sleep 1000";
    bench.start(&["--name", "runs"], script);
    let line = |kind: &str| {
        let text = bench.say(&[
            "system",
            "df",
            "--format",
            "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}",
        ]);
        let text = text.ok();
        text.lines().find(|l| l.starts_with(kind)).unwrap().to_owned()
    };
    assert!(eventually(5, || line("Containers").contains("3.0")), "{}", line("Containers"));
    assert!(line("Containers").starts_with("Containers|2|1|3.0"), "{}", line("Containers"));
    assert_eq!(line("Images"), "Images|2|1|600kB|400kB (66%)");
    assert_eq!(line("Build Cache"), "Build Cache|0|0|0B|0B");
    let table = bench.say(&["system", "df"]).ok();
    assert!(table.starts_with("TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n"), "{table}");
    let verbose = bench.say(&["system", "df", "-v"]).ok();
    assert!(verbose.contains("Images space usage:") && verbose.contains("Local Volumes space usage:"), "{verbose}");
    let two = verbose.lines().find(|l| l.starts_with("two ")).unwrap();
    let words: Vec<&str> = two.split_whitespace().collect();
    assert_eq!(words[words.len() - 4..], ["400kB", "0B", "400kB", "0"], "{two}");
    let all = json(&bench.say(&["system", "df", "-v", "--format", "json"]).ok());
    assert_eq!(all["Containers"].as_array().unwrap().len(), 2);
}

#[test]
fn prune_asks_and_takes_what_does_not_run() {
    let bench = Bench::new();
    bench.start(&["--name", "runs"], "sleep 1000");
    let id = bench.start(&["--name", "ended", "-l", "keep=no"], "head -c 500000 /dev/zero > /opt/f");
    bench.say(&["wait", "ended"]).done();
    bench.say(&["create", "--name", "kept", "-l", "keep=yes", "host", "true"]).done();
    let names = || {
        let mut names: Vec<_> =
            bench.say(&["ps", "-a", "--format", "{{.Names}}"]).ok().lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    let question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
    for answer in ["n\n", "", "\n", "yes\n"] {
        let (_, said) = bench.feed(&["container", "prune"], answer.as_bytes());
        assert_eq!((said.code, said.out), (0, format!("{question}Total reclaimed space: 0B\n")), "{answer:?}");
    }
    assert_eq!(names().len(), 3);
    assert_eq!(bench.say(&["container", "prune", "-f", "--filter", "until=1h"]).ok(), "Total reclaimed space: 0B\n");
    bench.say(&["container", "prune", "-f", "--filter", "color=red"]).done_with(1);
    let (_, said) = bench.feed(&["container", "prune", "--filter", "label!=keep=yes"], b"y\n");
    let start = format!("{question}Deleted Containers:\n{id}\n\nTotal reclaimed space: 50");
    assert!(said.out.starts_with(&start) && said.out.ends_with("kB\n"), "{}", said.out);
    assert_eq!(names(), ["kept", "runs"]);
    bench.say(&["system", "prune", "-f"]).done();
    assert_eq!(names(), ["runs"]);
    assert_eq!(fsck(&bench, &[]), (0, vec![]));
}

#[test]
fn images_are_pruned_when_nobody_uses_them() {
    let bench = Bench::new();
    let old = import(&bench, "web:1", "old");
    let new = import(&bench, "web:1", "new content");
    let used = import(&bench, "used:1", "in use");
    bench.say(&["create", "--name", "user", "used:1", "/bin/x"]).done();
    let out = bench.say(&["image", "prune", "-f"]).ok();
    assert!(out.starts_with(&format!("Deleted Images:\ndeleted: sha256:{old}\ndeleted: sha256:")), "{out}");
    assert!(out.ends_with("\n\nTotal reclaimed space: 3B\n"), "{out}");
    assert_eq!(bench.say(&["image", "prune", "-f"]).ok(), "Total reclaimed space: 0B\n");
    let (_, said) = bench.feed(&["system", "prune", "-a", "--volumes"], b"n\n");
    assert!(said.out.contains("  - all images without at least one container associated to them\n"), "{}", said.out);
    let out = bench.say(&["image", "prune", "-a", "-f", "--filter", "label=none"]).ok();
    assert_eq!(out, "Total reclaimed space: 0B\n");
    let out = bench.say(&["image", "prune", "-a", "-f"]).ok();
    assert!(out.contains(&format!("untagged: web:1\ndeleted: sha256:{new}\n")) && !out.contains(&used), "{out}");
    assert_eq!(bench.say(&["images", "--format", "{{.Repository}}"]).ok(), "used\n");
    assert_eq!(std::fs::read_dir(bench.path("root/layers")).unwrap().count(), 1);
    assert_eq!(fsck(&bench, &[]), (0, vec![]));
    let out = bench.say(&["system", "prune", "-a", "-f"]).ok();
    assert!(out.contains("Deleted Containers:\n") && out.contains("untagged: used:1\n"), "{out}");
    assert_eq!(bench.say(&["images", "-q"]).ok(), "");
}

#[test]
fn prune_beside_commands_that_start_and_remove_takes_nothing_that_runs() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        let starters: Vec<_> = (0..3)
            .map(|n| {
                let bench = &bench;
                scope.spawn(move || {
                    for i in 0..6 {
                        let name = format!("s{n}-{i}");
                        bench.say(&["run", "-d", "--name", &name, "host", "sleep", "1000"]).done();
                        assert_eq!(bench.state(&name).0, "running");
                        bench.say(&["run", "--rm", "host", "true"]).done();
                    }
                })
            })
            .collect();
        while !starters.iter().all(|s| s.is_finished()) {
            bench.say(&["system", "prune", "-f"]).done();
        }
    });
    assert_eq!(bench.say(&["ps", "-q"]).ok().lines().count(), 18);
    let names = bench.say(&["ps", "--format", "{{.Names}}"]).ok();
    let mut words = vec!["rm", "-f"];
    words.extend(names.lines());
    bench.say(&words).done();
    bench.assert_empty();
}

#[test]
fn fsck_finds_what_is_wrong_and_repairs_it_without_loss() {
    let bench = Bench::new();
    import(&bench, "web:1", "content");
    let id = bench.start(&["--name", "ended"], "exit 0");
    bench.say(&["wait", "ended"]).done();
    bench.start(&["--name", "runs"], "sleep 1000");
    assert_eq!(bench.say(&["system", "fsck"]).ok(), "nothing is wrong\n");
    let root = |name: &str| bench.path("root").join(name);
    let stray = "d".repeat(64);
    let make = |path: PathBuf| std::fs::create_dir_all(path).unwrap();
    make(root("containers").join(&stray).join("fs/upper"));
    std::fs::write(root("containers").join(&stray).join("fs/upper/precious"), "data").unwrap();
    make(root("layers").join("e".repeat(64)).join("fs"));
    make(root("staging/0123456789abcdef/layers"));
    std::fs::write(root("containers").join(&id).join("exit.json"), "{\"code\":").unwrap();
    std::fs::remove_dir_all(root("containers").join(&id).join("log")).unwrap();
    std::fs::set_permissions(root("containers"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(root("bulkhead.db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let all = [
        "container-end",
        "container-log",
        "container-stray",
        "directory-mode",
        "file-mode",
        "layer-stray",
        "staging-stray",
    ];
    assert_eq!(fsck(&bench, &[]), (1, codes(&all, false)));
    let text = bench.say(&["system", "fsck"]);
    assert!(
        text.out.contains("layer-stray: ") && text.out.ends_with("--repair' puts right what it can\n"),
        "{}",
        text.out
    );
    assert_eq!(text.code, 1);
    assert_eq!(fsck(&bench, &["--repair"]), (0, codes(&all, true)));
    assert_eq!(fsck(&bench, &[]), (0, vec![]));
    let kept = root("lost").join(&stray).join("fs/upper/precious");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "data");
    assert_eq!(bench.state("runs").0, "running");
    bench.say(&["start", "ended"]).done();
    assert_eq!(bench.say(&["system", "fsck", "--format", "xml"]).code, 125);
}

#[test]
fn fsck_tells_what_cannot_be_repaired() {
    let bench = Bench::new();
    import(&bench, "web:1", "content");
    let id = bench.say(&["create", "--name", "idle", "web:1", "/bin/x"]).ok().trim().to_owned();
    let layers = bench.path("root/layers");
    let layer = std::fs::read_dir(&layers).unwrap().next().unwrap().unwrap().path();
    let aside = bench.path("aside");
    std::fs::rename(&layer, &aside).unwrap();
    // A link out of the store is no layer.
    symlink("/nonexistent", &layer).unwrap();
    assert_eq!(fsck(&bench, &["--repair"]), (1, codes(&["layer-missing"], false)));
    std::fs::remove_file(&layer).unwrap();
    std::fs::rename(&aside, &layer).unwrap();
    assert_eq!(fsck(&bench, &[]), (0, vec![]));
    let db = rusqlite::Connection::open(bench.path("root/bulkhead.db")).unwrap();
    db.execute("UPDATE images SET config_json = config_json || ' '", []).unwrap();
    assert_eq!(fsck(&bench, &["--repair"]), (1, codes(&["image-digest"], false)));
    db.execute("UPDATE images SET config_json = rtrim(config_json)", []).unwrap();
    db.execute("UPDATE containers SET request = '{' || request", []).unwrap();
    assert_eq!(fsck(&bench, &["--repair"]), (1, codes(&["container-request"], false)));
    db.execute("UPDATE containers SET request = substr(request, 2)", []).unwrap();
    std::fs::remove_dir_all(bench.path("root/containers").join(&id)).unwrap();
    assert_eq!(fsck(&bench, &["--repair"]), (1, codes(&["container-files-missing"], false)));
    bench.say(&["rm", "idle"]).done();
    assert_eq!(fsck(&bench, &[]), (0, vec![]));
}

#[test]
fn fsck_finds_the_control_group_of_a_container_that_has_gone() {
    if !is_root() {
        return skip("fsck_finds_the_control_group_of_a_container_that_has_gone", "root's control groups");
    }
    let bench = Bench::new();
    let id = bench.say(&["create", "host", "true"]).ok().trim().to_owned();
    bench.say(&["rm", &id]).done();
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path());
    let parents = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|h| h.join("bulkhead"));
    // The parents are there after the first start.
    assert_eq!(bench.sh(&[], "exit 0").code, 0);
    let parent = parents.into_iter().find(|p| p.join("cgroup.procs").exists()).unwrap();
    std::fs::create_dir(parent.join(&id)).unwrap();
    // One of another store is none of our business.
    let foreign = parent.join("f".repeat(64));
    std::fs::create_dir(&foreign).unwrap();
    let found = fsck(&bench, &[]);
    let repaired = fsck(&bench, &["--repair"]);
    let (left, kept) = (parent.join(&id).exists(), foreign.exists());
    drop(std::fs::remove_dir(parent.join(&id)));
    std::fs::remove_dir(&foreign).unwrap();
    assert_eq!(found, (1, codes(&["cgroup-stray"], false)));
    assert_eq!(repaired, (0, codes(&["cgroup-stray"], true)));
    assert!(!left && kept);
}

#[test]
fn fsck_is_calm_while_others_work() {
    let bench = Bench::new();
    bench.sh(&[], "exit 0").done();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|n| {
                let bench = &bench;
                scope.spawn(move || {
                    for i in 0..10 {
                        let name = format!("w{n}-{i}");
                        bench.say(&["run", "--rm", "host", "true"]).done();
                        bench.say(&["create", "--name", &name, "host", "true"]).done();
                        bench.say(&["start", &name]).done();
                        bench.say(&["rm", "-f", &name]).done();
                    }
                })
            })
            .collect();
        while !workers.iter().all(|w| w.is_finished()) {
            assert_eq!(bench.say(&["system", "fsck", "--repair"]).ok(), "nothing is wrong\n");
        }
    });
    bench.assert_empty();
}

/// What a power cut leaves: no process, no run directory.
fn power_cut(bench: &Bench) {
    for entry in std::fs::read_dir(bench.path("run/containers")).unwrap().flatten() {
        let state = std::fs::read_to_string(entry.path().join("state.json")).unwrap_or_default();
        if let Ok(state) = serde_json::from_str::<Value>(&state) {
            signal(i32::try_from(state["monitor"].as_i64().unwrap()).unwrap(), 9);
        }
    }
    assert!(eventually(10, || bench.processes().is_empty()), "{:?}", bench.processes());
    std::fs::remove_dir_all(bench.path("run")).unwrap();
}

#[test]
fn a_boot_brings_back_what_its_policy_says() {
    let bench = Bench::new();
    let run = |name: &str, policy: &str| bench.start(&["--name", name, "--restart", policy], "sleep 1000");
    run("always", "always");
    run("always-stopped", "always");
    run("unless", "unless-stopped");
    run("unless-stopped", "unless-stopped");
    run("failure", "on-failure");
    run("no", "no");
    bench.start(&["--name", "broken", "--restart", "always"], "sleep 1000");
    bench.start(&["--rm", "--name", "gone"], "sleep 1000");
    bench.say(&["create", "--name", "never", "--restart", "always", "host", "true"]).done();
    bench.say(&["stop", "-t", "0", "always-stopped", "unless-stopped"]).done();
    let broken = bench.look("broken", "/Id").as_str().unwrap().to_owned();
    power_cut(&bench);
    // Its files were lost with the power.
    let upper = bench.path("root/containers").join(&broken).join("fs");
    std::fs::rename(&upper, bench.path("aside")).unwrap();
    let said = bench.say(&["system", "restore"]);
    assert_eq!(said.code, 1, "{} {}", said.out, said.err);
    let mut started: Vec<&str> = said.out.lines().collect();
    started.sort_unstable();
    assert_eq!(started, ["always", "always-stopped", "failure", "unless"], "{}", said.err);
    assert!(said.err.contains("cannot start broken: "), "{}", said.err);
    std::fs::rename(bench.path("aside"), &upper).unwrap();
    assert_eq!(bench.state("no"), ("exited".to_owned(), 255));
    assert!(bench.look("no", "/State/Error").as_str().unwrap().contains("machine went down"));
    assert_eq!(bench.state("unless-stopped").0, "exited");
    assert_eq!(bench.state("never").0, "created");
    bench.say(&["inspect", "gone"]).done_with(1);
    for name in started {
        assert_eq!(bench.state(name).0, "running", "{name}");
    }
    // Again: only what did not start the last time.
    assert_eq!(bench.say(&["system", "restore"]).ok(), "broken\n");
    assert_eq!(bench.say(&["system", "restore"]).ok(), "");
    assert_eq!(fsck(&bench, &[]), (0, vec![]));
}

#[test]
fn a_shutdown_in_order_is_no_stop() {
    let bench = Bench::new();
    let trap = "trap 'echo ended; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    bench.start(&["--name", "polite", "--restart", "unless-stopped"], trap);
    bench.start(&["--name", "rude", "--restart", "always"], "trap '' TERM; while :; do sleep 0.1; done");
    bench.start(&["--name", "plain"], "sleep 1000");
    assert!(eventually(5, || bench.say(&["logs", "polite"]).out.contains("up")));
    let mut halted: Vec<String> = bench.say(&["system", "halt", "-t", "1"]).ok().lines().map(str::to_owned).collect();
    halted.sort();
    assert_eq!(halted, ["plain", "polite", "rude"]);
    assert_eq!(bench.say(&["ps", "-q"]).ok(), "");
    assert_eq!((bench.state("polite"), bench.state("rude").1), (("exited".to_owned(), 0), 137));
    assert!(bench.say(&["logs", "polite"]).ok().ends_with("ended\n"));
    let mut started: Vec<String> = bench.say(&["system", "restore"]).ok().lines().map(str::to_owned).collect();
    started.sort();
    assert_eq!(started, ["polite", "rude"]);
    bench.say(&["system", "halt", "-t", "soon"]).done_with(125);
    bench.say(&["rm", "-f", "polite", "rude", "plain"]).done();
    assert_eq!(bench.say(&["system", "halt"]).ok(), "");
}

#[test]
fn the_unit_starts_and_stops_with_this_program() {
    let bench = Bench::new();
    let program = std::fs::canonicalize(bulkhead_tests::binary()).unwrap();
    for (words, target) in [(&["system", "unit"][..], "multi-user"), (&["system", "unit", "--user"], "default")] {
        let unit = bench.say(words).ok();
        assert!(unit.contains(&format!("ExecStart={} system restore\n", program.display())), "{unit}");
        assert!(unit.contains(&format!("ExecStop={} system halt\n", program.display())), "{unit}");
        assert!(unit.contains("Type=oneshot\nRemainAfterExit=yes\n"), "{unit}");
        assert!(unit.ends_with(&format!("WantedBy={target}.target\n")), "{unit}");
    }
}
