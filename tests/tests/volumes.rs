//! Volumes: kept when their container goes, shared, limited, refused when they are in use.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use bulkhead_tests::{Bench, is_root};

fn names(bench: &Bench, filters: &[&str]) -> Vec<String> {
    let words: Vec<&str> = ["volume", "ls", "-q"].iter().copied().chain(filters.iter().copied()).collect();
    bench.say(&words).ok().lines().map(str::to_owned).collect()
}

/// Directories of volumes on disk.
fn directories(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.path("root/volumes")).into_iter().flatten().flatten();
    let mut all: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

fn prune(bench: &Bench) {
    bench.say(&["volume", "prune", "-af"]).done();
    assert_eq!(names(bench, &[]), [""; 0]);
    assert_eq!(directories(bench), [""; 0]);
    bench.assert_empty();
}

#[test]
fn a_volume_stays_when_its_container_goes() {
    let bench = Bench::new();
    assert_eq!(bench.say(&["volume", "create", "--label", "tier=low", "data"]).ok(), "data\n");
    // Once more is no error, and changes nothing.
    assert_eq!(bench.say(&["volume", "create", "data"]).ok(), "data\n");
    bench.sh(&["-v", "data:/d"], "echo kept > /d/f; chmod 640 /d/f").done();
    assert_eq!(bench.sh(&["--mount", "source=data,target=/other"], "cat /other/f").ok(), "kept\n");
    bench.sh(&["-v", "made:/d"], "echo too > /d/f").done();
    assert_eq!(names(&bench, &[]), ["data", "made"]);
    let place = bench.path("root/volumes/data/data");
    let said = bench.say(&["volume", "inspect", "data"]).ok();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said.pointer("/0/Mountpoint").unwrap().as_str().unwrap(), place.to_str().unwrap());
    assert_eq!(said.pointer("/0/Labels/tier").unwrap(), "low");
    assert_eq!(said.pointer("/0/Driver").unwrap(), "local");
    assert_eq!(bench.say(&["volume", "inspect", "-f", "{{.Name}} {{.Scope}}", "data"]).ok(), "data local\n");
    assert_eq!(bench.say(&["inspect", "-f", "{{.Name}}", "data"]).ok(), "data\n");
    assert_eq!(fs::read_to_string(place.join("f")).unwrap(), "kept\n");
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(bench.path(path)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(
        (mode("root/volumes"), mode("root/volumes/data"), mode("root/volumes/data/data")),
        (0o700, 0o700, 0o755)
    );
    assert_eq!(bench.say(&["volume", "rm", "data"]).ok(), "data\n");
    assert!(bench.say(&["volume", "inspect", "data"]).fails(1).contains("get data: no such volume"));
    assert!(bench.say(&["volume", "rm", "data"]).fails(1).contains("no such volume"));
    assert_eq!(bench.say(&["volume", "rm", "-f", "data"]).ok(), "data\n");
    assert_eq!(directories(&bench), ["made"]);
    let log = fs::read_to_string(bench.path("root/events.log")).unwrap();
    for action in ["create", "mount", "destroy"] {
        let found = log.lines().any(|l| {
            l.contains("\"Type\":\"volume\"")
                && l.contains(&format!("\"Action\":\"{action}\""))
                && l.contains("\"data\"")
        });
        assert!(found, "{action}: {log}");
    }
    prune(&bench);
}

#[test]
fn anonymous_volumes_go_when_that_is_asked_for() {
    let bench = Bench::new();
    // --rm takes its own along, and no named one.
    bench.sh(&["-v", "/a", "-v", "named:/n"], "touch /a/f /n/f").done();
    assert_eq!(names(&bench, &[]), ["named"]);
    let run = |name: &str| {
        bench.say(&["run", "--name", name, "-v", "/a", "-v", "named:/n", "host", "touch", "/a/f"]).done();
    };
    run("one");
    let made: Vec<String> = names(&bench, &["-f", "dangling=false"]).into_iter().filter(|n| n != "named").collect();
    assert_eq!(made.len(), 1);
    assert!(made[0].len() == 64 && made[0].bytes().all(|b| b.is_ascii_hexdigit()), "{made:?}");
    let mounts = bench.look("one", "/Mounts");
    let anonymous = mounts.as_array().unwrap().iter().find(|m| m["Destination"] == "/a").unwrap().clone();
    assert_eq!(anonymous["Type"], "volume");
    assert_eq!(anonymous["Name"], made[0].as_str());
    assert_eq!(anonymous["Driver"], "local");
    assert_eq!(anonymous["RW"], true);
    let shown = bench.say(&["ps", "-a", "--no-trunc", "--format", "{{.Mounts}}"]).ok();
    assert_eq!(shown.trim().split(',').collect::<BTreeSet<_>>(), BTreeSet::from([made[0].as_str(), "named"]));
    // Without -v it stays.
    bench.say(&["rm", "one"]).done();
    assert_eq!(names(&bench, &["-f", "dangling=true"]).len(), 2);
    run("two");
    bench.say(&["rm", "-v", "two"]).done();
    let mut expected = vec![made[0].clone(), "named".to_owned()];
    expected.sort();
    assert_eq!(names(&bench, &[]), expected);
    // The prune of volumes without a name.
    let said = bench.say(&["volume", "prune", "-f"]).ok();
    assert!(said.starts_with(&format!("Deleted Volumes:\n{}\n\nTotal reclaimed space: ", made[0])), "{said}");
    assert_eq!(names(&bench, &[]), ["named"]);
    // What is not a yes is a no.
    let (out, said) = bench.feed(&["volume", "prune", "-a"], b"n\n");
    assert_eq!(said.code, 0);
    assert!(String::from_utf8_lossy(&out).contains("Are you sure you want to continue? [y/N]"));
    assert_eq!(names(&bench, &[]), ["named"]);
    let (_, said) = bench.feed(&["volume", "prune", "-a"], b"y\n");
    assert_eq!(said.code, 0);
    prune(&bench);
}

#[test]
fn a_volume_in_use_is_not_removed_and_its_user_is_named() {
    let bench = Bench::new();
    bench.say(&["run", "--name", "first", "-v", "data:/d", "host", "true"]).done();
    let id = bench.look("first", "/Id").as_str().unwrap().to_owned();
    let error = bench.say(&["volume", "rm", "data"]).fails(1);
    assert!(error.contains(&format!("remove data: volume is in use - [{id}]")), "{error}");
    assert!(error.contains("bulkhead rm first"), "{error}");
    bench.say(&["volume", "rm", "-f", "data"]).done_with(1);
    bench.say(&["volume", "prune", "-af"]).done();
    assert_eq!(names(&bench, &[]), ["data"]);
    bench.say(&["rm", "first"]).done();
    bench.say(&["volume", "rm", "data"]).done();
    prune(&bench);
}

#[test]
fn names_and_options_that_cannot_be_are_refused_and_nothing_is_made() {
    let bench = Bench::new();
    let long = "x".repeat(256);
    for name in ["-x", ".x", "a/b", "../x", "a b", "a\nb", "ä", "a:b", long.as_str()] {
        let error = bench.say(&["volume", "create", "--", name]).fails(1);
        assert!(error.contains("volume name"), "{name}: {error}");
    }
    for (options, named) in [
        (&["type=nfs", "o=addr=127.0.0.1", "device=:/x"][..], "type=nfs"),
        (&["type=cifs"], "type=cifs"),
        (&["colour=red"], "colour=red"),
        (&["size=12q"], "size=12q"),
        (&["type=tmpfs", "o=size=50%"], "size=50%"),
        (&["type=none", "o=bind", "device=/proc"], "/proc"),
        (&["type=none", "o=bind", "device=/"], "root of the host"),
        (&["type=none", "o=bind", "device=/no/such"], "/no/such"),
    ] {
        let mut words = vec!["volume", "create"];
        words.extend(options.iter().flat_map(|o| ["--opt", o]));
        words.push("v");
        let said = bench.say(&words);
        assert!(said.code != 0 && said.err.contains(named), "{options:?}: {}", said.err);
    }
    bench.say(&["volume", "create", "-d", "flocker", "v"]).done_with(1);
    for flags in [
        &["-v", "v:/d:suid"][..],
        &["-v", "v:/d:dev"],
        &["-v", "v:/d:shared"],
        &["--mount", "source=v,target=/d,volume-opt=type=nfs"],
        &["--mount", "source=v,target=/d,volume-subpath=../x"],
        &["--mount", "type=bind,source=/srv,target=/d,bind-propagation=rshared"],
        &["-v", "v:/d", "-v", "w:/d"],
        &["-v", "v:/proc"],
        &["--volumes-from", "nobody"],
    ] {
        let said = bench.sh(flags, "true");
        assert_eq!(said.code, 125, "{flags:?}: {}", said.err);
    }
    assert!(bench.sh(&["-v", "v:/d", "--tmpfs", "/d"], "true").fails(125).contains("Duplicate mount point"));
    assert_eq!(names(&bench, &[]), [""; 0]);
    prune(&bench);
}

#[test]
fn what_a_mount_says_holds() {
    let bench = Bench::new();
    bench.sh(&["-v", "v:/d"], "cp /bin/true /d/true; echo x > /d/f").done();
    bench.sh(&["-v", "v:/d:ro"], "echo y > /d/f").done_with(2);
    // A plain volume is no place for programs; asked for, it is.
    let program = bench.sh(&["-v", "v:/d"], "/d/true");
    assert_eq!(program.code, 126, "{}", program.err);
    bench.sh(&["-v", "v:/d:exec"], "/d/true").done();
    bench.say(&["run", "--name", "cc", "-v", "v:/d:exec,ro", "host", "true"]).done();
    let mounts = bench.look("cc", "/Mounts");
    let mount = mounts.as_array().unwrap().iter().find(|m| m["Destination"] == "/d").unwrap().clone();
    assert_eq!((mount["Mode"].as_str().unwrap(), mount["RW"].as_bool().unwrap()), ("ro,exec", false));
    bench.say(&["rm", "cc"]).done();
    let options = bench.sh(&["-v", "v:/d"], "grep ' /d ' /proc/self/mountinfo").ok();
    for word in ["nosuid", "nodev", "noexec"] {
        assert!(options.contains(word), "{options}");
    }
    prune(&bench);
}

#[test]
fn containers_share_a_volume_with_the_owners_that_they_gave() {
    let bench = Bench::new();
    let many = bench.sh(&[], "cat /proc/self/uid_map | wc -l; awk '{ n += $3 } END { exit n < 2 }' /proc/self/uid_map");
    bench.sh(&["-v", "v:/d"], "chmod 1777 /d; echo root > /d/root").done();
    let user = if many.code == 0 { "1000:2000" } else { "0:0" };
    bench.sh(&["-v", "v:/d", "-u", user], "echo user > /d/user").done();
    let seen = bench.sh(&["-v", "v:/d"], "stat -c '%n %u:%g %a' /d /d/root /d/user").ok();
    assert_eq!(seen, format!("/d 0:0 1777\n/d/root 0:0 644\n/d/user {user} 644\n"));
    if is_root() {
        // Plain owners on disk: no container's range is anywhere in it.
        use std::os::unix::fs::MetadataExt;
        let found = fs::metadata(bench.path("root/volumes/v/data/user")).unwrap();
        assert_eq!((found.uid(), found.gid()), (1000, 2000));
    }
    // Both at once, each from its own range.
    let id = bench.start(&["-v", "v:/d", "-u", user], "while ! [ -e /d/answer ]; do sleep 0.02; done; cat /d/answer");
    bench.sh(&["-v", "v:/d"], "echo heard > /d/answer").done();
    assert!(bulkhead_tests::eventually(10, || bench.state(&id).0 == "exited"));
    assert_eq!(bench.say(&["logs", &id]).ok(), "heard\n");
    bench.say(&["rm", &id]).done();
    // What belongs to others inside goes all the same.
    bench.sh(&["-v", "v:/d"], &format!("mkdir -m 700 /d/closed; touch /d/closed/f; chown -R {user} /d/closed")).done();
    prune(&bench);
}

#[test]
fn volumes_come_from_other_containers_and_lie_in_each_other() {
    let bench = Bench::new();
    bench
        .say(&[
            "run",
            "--name",
            "aa",
            "-v",
            "x:/x",
            "-v",
            "/y",
            "-v",
            "z:/x/z:ro",
            "host",
            "sh",
            "-c",
            "echo 1 > /x/f; echo 2 > /y/f",
        ])
        .done();
    assert_eq!(bench.sh(&["--volumes-from", "aa"], "cat /x/f /y/f; echo 3 > /x/g; ls /x").ok(), "1\n2\nf\ng\nz\n");
    bench.sh(&["--volumes-from", "aa:ro"], "echo 4 > /x/f").done_with(2);
    bench.sh(&["--volumes-from", "aa"], "echo 4 > /x/z/f").done_with(2);
    // What the command line says comes first.
    assert_eq!(bench.sh(&["--volumes-from", "aa", "-v", "other:/y"], "ls /y").ok(), "");
    bench.say(&["run", "--name", "bb", "--volumes-from", "aa", "host", "true"]).done();
    // An anonymous volume goes with the last container that has it.
    bench.say(&["rm", "-v", "aa"]).done();
    assert_eq!(names(&bench, &[]).len(), 4);
    bench.say(&["rm", "-v", "bb"]).done();
    assert_eq!(names(&bench, &[]), ["other", "x", "z"]);
    // A part of a volume.
    bench.sh(&["-v", "x:/x"], "mkdir -p /x/part/in; echo in > /x/part/in/f; ln -s /etc /x/out; ln -s ../.. /x/part/up; ln -s in /x/part/here").done();
    let part = |path: &str| bench.sh(&["--mount", &format!("source=x,target=/p,volume-subpath={path}")], "cat /p/f");
    assert_eq!(part("part/in").ok(), "in\n");
    assert_eq!(part("part/here").ok(), "in\n");
    for out in ["out", "part/up", "nothing"] {
        let error = part(out).fails(125);
        assert!(error.contains("volume-subpath"), "{error}");
    }
    prune(&bench);
}

#[test]
fn memory_volumes_end_with_their_container_and_keep_their_size() {
    let bench = Bench::new();
    bench.say(&["volume", "create", "--opt", "type=tmpfs", "--opt", "o=size=1m,mode=0750", "m"]).done();
    let said = bench.sh(
        &["-v", "m:/m"],
        "stat -c %a /m; dd if=/dev/zero of=/m/f bs=1k count=900 2>/dev/null && dd if=/dev/zero of=/m/g bs=1k count=900; echo $?",
    );
    assert_eq!(said.out, "750\n1\n");
    assert!(said.err.contains("No space left"), "{}", said.err);
    assert_eq!(bench.sh(&["-v", "m:/m"], "ls /m").ok(), "");
    // It lives in one container.
    bench.say(&["run", "--name", "holder", "-v", "m:/m", "host", "true"]).done();
    let error = bench.sh(&["-v", "m:/m"], "true").fails(125);
    assert!(error.contains("\"holder\""), "{error}");
    bench.say(&["rm", "holder"]).done();
    // A limit on disk holds, or is refused with the way out.
    let said = bench.say(&["volume", "create", "--opt", "size=1m", "small"]);
    if said.code == 0 {
        let full = bench.sh(&["-v", "small:/s"], "dd if=/dev/zero of=/s/f bs=64k count=64");
        assert!(full.code != 0 && full.err.contains("No space left"), "{}", full.err);
    } else {
        assert!(said.err.contains("prjquota") && said.err.contains("type=tmpfs"), "{}", said.err);
        assert_eq!(names(&bench, &[]), ["m"]);
    }
    prune(&bench);
}

#[test]
fn a_volume_may_be_a_directory_of_the_host() {
    let bench = Bench::new();
    let dir = bench.path("given");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("f"), "of the host\n").unwrap();
    let device = format!("device={}", dir.display());
    bench.say(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "h"]).done();
    assert_eq!(bench.sh(&["-v", "h:/h"], "cat /h/f; echo back > /h/g").ok(), "of the host\n");
    assert_eq!(fs::read_to_string(dir.join("g")).unwrap(), "back\n");
    // Another volume under the same name is not taken for it.
    let error = bench.say(&["volume", "create", "-o", "type=tmpfs", "h"]).fails(1);
    assert!(error.contains("other options"), "{error}");
    prune(&bench);
    assert_eq!(fs::read_to_string(dir.join("f")).unwrap(), "of the host\n", "the host's own files stay");
}

#[test]
fn many_commands_at_once_agree() {
    let bench = Bench::new();
    bench.sh(&[], "true").done();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                for round in 0..4 {
                    bench.say(&["volume", "create", "same"]).done();
                    let script = format!("echo {worker} >> /d/log; touch /d/{worker}.{round}");
                    bench.sh(&["-v", "same:/d", "-v", "/a"], &script).done();
                    // It is there or it is not, and may be in use.
                    drop(bench.say(&["volume", "rm", "other"]));
                    drop(bench.say(&["volume", "create", "other"]));
                    bench.say(&["volume", "ls"]).done();
                }
            });
        }
    });
    let seen = bench.sh(&["-v", "same:/d"], "wc -l < /d/log; ls /d | wc -l").ok();
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["16", "17"]);
    prune(&bench);
}

#[test]
fn a_thousand_volumes_are_listed_at_once() {
    let bench = Bench::new();
    bench.say(&["volume", "create", "v0"]).done();
    let one = |bench: &Bench| {
        let before = Instant::now();
        bench.say(&["volume", "ls", "-q"]).done();
        before.elapsed()
    };
    let few = (0..5).map(|_| one(&bench)).min().unwrap();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                for i in 0..250 {
                    bench.say(&["volume", "create", &format!("v{part}.{i}")]).done();
                }
            });
        }
    });
    let many = (0..5).map(|_| one(&bench)).min().unwrap();
    assert_eq!(names(&bench, &[]).len(), 1001);
    assert!(many < few + Duration::from_millis(100), "{few:?} for one, {many:?} for a thousand");
    prune(&bench);
}
