//! `cp`, `diff` and `export`: what Docker's users expect of them, for containers that run and for those that do not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use bulkhead_tests::life::tar;
use bulkhead_tests::{Bench, Said, eventually, is_root};

/// A container that has run `script` and then runs on, or has ended.
fn container(bench: &Bench, name: &str, flags: &[&str], script: &str, runs: bool) {
    let script = format!("set -e; {script}; touch /srv/.ready; exec sleep 1000");
    bench.start(&[&["--name", name], flags].concat(), &script);
    let ready = || bench.say(&["exec", name, "test", "-e", "/srv/.ready"]).code == 0;
    assert!(eventually(20, ready), "{name} never came so far: {:?}", bench.say(&["logs", name]));
    bench.say(&["exec", name, "rm", "/srv/.ready"]).done();
    if !runs {
        bench.say(&["stop", "-t", "0", name]).done();
    }
}

fn both(bench: &Bench, flags: &[&str], script: &str, test: impl Fn(&str)) {
    for (name, runs) in [("runs", true), ("ended", false)] {
        container(bench, name, flags, script, runs);
        test(name);
        bench.say(&["rm", "-f", name]).done();
    }
}

/// What a container has at a path: names and contents, by way of an archive.
fn archive(bench: &Bench, from: &str) -> (Vec<u8>, Said) {
    bench.feed(&["cp", from, "-"], b"")
}

fn names(bytes: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.tar"), bytes).unwrap();
    let listed = std::process::Command::new("tar").arg("-tf").arg(dir.path().join("a.tar")).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

fn source(bench: &Bench) -> String {
    let dir = bench.path("src");
    if !dir.exists() {
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("a"), "a of the host\n").unwrap();
        fs::write(dir.join("sub/b"), "b").unwrap();
        symlink("a", dir.join("link")).unwrap();
    }
    dir.to_str().unwrap().to_owned()
}

fn text(bench: &Bench, from: &str) -> String {
    let to = bench.path("read-back");
    bench.say(&["cp", "-q", from, to.to_str().unwrap()]).done();
    let text = fs::read_to_string(&to).unwrap();
    fs::remove_file(to).unwrap();
    text
}

#[test]
fn dockers_table_into_a_container() {
    let bench = Bench::new();
    let src = source(&bench);
    both(
        &bench,
        &[],
        "mkdir -p /srv/dir; echo old > /srv/file; ln -s /srv/dir /srv/to-dir; ln -s file /srv/to-file",
        |c| {
            let into = |from: &str, to: &str| bench.say(&["cp", from, &format!("{c}:{to}")]);
            let (file, content) = (format!("{src}/a"), format!("{src}/."));
            let said = into(&file, "/srv/new");
            assert!(
                said.err.starts_with("Successfully copied ") && said.err.ends_with(&format!(" to {c}:/srv/new\n")),
                "{said:?}"
            );
            assert_eq!((said.code, said.out.as_str()), (0, ""));
            assert_eq!(text(&bench, &format!("{c}:/srv/new")), "a of the host\n");
            into(&file, "/srv/file").done();
            into(&file, "/srv/dir").done();
            into(&file, "srv/dir/").done();
            assert_eq!(text(&bench, &format!("{c}:/srv/file")), "a of the host\n");
            into(&src, "/srv/dir").done();
            into(&src, "/srv/made").done();
            into(&content, "/srv/dir").done();
            into(&content, "/srv/made-too").done();
            into(&file, "/srv/to-dir").done();
            into(&file, "/srv/to-file").done();
            let (bytes, _) = archive(&bench, &format!("{c}:/srv"));
            let mut found = names(&bytes);
            found.sort();
            let mut wanted: Vec<String> =
                ["", "dir/", "file", "made/", "made-too/", "new", "to-dir", "to-file"].map(str::to_owned).into();
            for dir in ["dir/", "dir/src/", "made/", "made-too/"] {
                wanted.extend(["a", "link", "sub/", "sub/b"].map(|name| format!("{dir}{name}")));
            }
            wanted.push("dir/src/".to_owned());
            let mut wanted: Vec<String> = wanted.iter().map(|name| format!("srv/{name}")).collect();
            wanted.sort();
            assert_eq!(found, wanted);
            for (from, to, words) in [
                (&file, "/none/x", format!("Could not find the file /none in container {c}")),
                (&file, "/srv/none/", "no such directory".to_owned()),
                (&file, "/srv/file/", "not a directory".to_owned()),
                (&file, "/srv/file/x", "not a directory".to_owned()),
                (&src, "/srv/file", "cannot copy directory".to_owned()),
                (&file, "/srv/dir/sub/..", String::new()),
            ] {
                let said = into(from, to);
                if words.is_empty() {
                    said.done();
                } else {
                    let error = said.fails(1);
                    assert!(error.contains(&words), "{from} to {to}: {error}");
                }
            }
            // A directory is never replaced by a file, nor a file by a directory.
            into(&file, "/srv/dir/clash").done();
            fs::create_dir_all(bench.path("other/clash")).unwrap();
            let error = into(&format!("{}/.", bench.path("other").display()), "/srv/dir").fails(1);
            assert!(error.contains("cannot overwrite non-directory with directory"), "{error}");
        },
    );
}

#[test]
fn dockers_table_out_of_a_container() {
    let bench = Bench::new();
    both(&bench, &[], "mkdir -p /srv/d/sub; echo x > /srv/d/f; ln -s d /srv/l; ln -s d/f /srv/lf", |c| {
        let out = bench.path(&format!("out-{c}"));
        fs::create_dir_all(out.join("dir")).unwrap();
        fs::write(out.join("file"), "old").unwrap();
        let at = |name: &str| out.join(name);
        let take = |from: &str, to: &Path| bench.say(&["cp", &format!("{c}:{from}"), to.to_str().unwrap()]);
        take("/srv/d/f", &at("new")).done();
        take("/srv/d/f", &at("file")).done();
        take("/srv/d/f", &at("dir")).done();
        take("/srv/d", &at("dir")).done();
        take("/srv/d", &at("copy")).done();
        take("/srv/d/.", &at("dir")).done();
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "x\n");
        for name in ["new", "dir/f", "dir/d/f", "copy/f", "dir/sub", "dir/d/sub"] {
            assert!(at(name).exists(), "{name}");
        }
        // A link is copied as what it is, and followed when asked.
        take("/srv/lf", &at("as-link")).done();
        assert_eq!(fs::read_link(at("as-link")).unwrap(), Path::new("d/f"));
        bench.say(&["cp", "-L", &format!("{c}:/srv/lf"), at("followed").to_str().unwrap()]).done();
        assert_eq!(fs::read_to_string(at("followed")).unwrap(), "x\n");
        take("/srv/l/.", &at("through")).done();
        assert!(at("through/f").exists());
        for (from, to, words) in [
            ("/none", at("x"), format!("Could not find the file /none in container {c}")),
            ("/srv/d/f/", at("x"), "not a directory".to_owned()),
            ("/srv/d", at("file"), "cannot copy directory".to_owned()),
            ("/srv/d/f", at("none/x"), "does not exist".to_owned()),
        ] {
            let error = take(from, &to).fails(1);
            assert!(error.contains(&words), "{from}: {error}");
        }
        assert!(!at("x").exists());
    });
    bench.say(&["cp", "nobody:/x", "y"]).done_with(1);
    for words in [["cp", "a:/x", "b:/y"], ["cp", "./x", "/y"]] {
        bench.say(&words).done_with(1);
    }
}

#[test]
fn owners_modes_and_times() {
    let bench = Bench::new();
    let src = source(&bench);
    let me = rustix::process::geteuid().as_raw();
    fs::set_permissions(bench.path("src/a"), fs::Permissions::from_mode(0o4751)).unwrap();
    both(&bench, &[], "echo s > /srv/suid; chmod 6755 /srv/suid; touch -d '2001-02-03 04:05:06.789' /srv/suid", |c| {
        bench.say(&["cp", "-q", &format!("{src}/a"), &format!("{c}:/srv/plain")]).done();
        bench.say(&["cp", "-q", "-a", &format!("{src}/a"), &format!("{c}:/srv/kept")]).done();
        let (bytes, _) = archive(&bench, &format!("{c}:/srv/."));
        fs::write(bench.path("a.tar"), bytes).unwrap();
        let listed = std::process::Command::new("tar")
            .args(["--numeric-owner", "--full-time", "-tvf"])
            .arg(bench.path("a.tar"))
            .output()
            .unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let line = |name: &str| listed.lines().find(|l| l.ends_with(name)).unwrap_or_default().to_owned();
        // Into a container: of root inside, whoever copies.
        assert!(line("/plain").starts_with("-rwsr-x--x 0/0"), "{listed}");
        let kept = format!("-rwsr-x--x {me}/{}", rustix::process::getegid().as_raw());
        assert!(line("/kept").starts_with(&kept), "{listed}");
        // As an archive everything is what it is.
        assert!(line("/suid").starts_with("-rwsr-sr-x 0/0"), "{listed}");
        // On the host it is the caller's, and its set-id bits are gone, with -a too.
        for (flags, name) in [(&["-q"][..], "one"), (&["-q", "-a"], "two")] {
            if name == "two" && !is_root() {
                continue;
            }
            let to = bench.path(name);
            let from = format!("{c}:/srv/suid");
            bench.say(&[&["cp"], flags, &[&from, to.to_str().unwrap()]].concat()).done();
            let meta = fs::metadata(&to).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime_nsec()), (0o755, me, 789_000_000), "{name}");
            fs::remove_file(to).unwrap();
        }
    });
    if is_root() {
        std::os::unix::fs::chown(bench.path("src/sub/b"), Some(1234), Some(4321)).unwrap();
        container(&bench, "own", &[], "true", true);
        let b = format!("{src}/sub/b");
        bench.say(&["cp", "-q", &b, "own:/srv/plain"]).done();
        bench.say(&["cp", "-q", "-a", &b, "own:/srv/kept"]).done();
        let seen = bench.say(&["exec", "own", "stat", "-c", "%u:%g", "/srv/plain", "/srv/kept"]).ok();
        assert_eq!(seen, "0:0\n1234:4321\n");
        bench.say(&["cp", "-q", "-a", "own:/srv/kept", bench.path("back").to_str().unwrap()]).done();
        assert_eq!(fs::metadata(bench.path("back")).unwrap().uid(), 1234);
        // An id that no container has is refused by its number, not cut.
        std::os::unix::fs::chown(bench.path("src/sub/b"), Some(70_000), None).unwrap();
        let error = bench.say(&["cp", "-a", &b, "own:/srv/far"]).fails(1);
        assert!(error.contains("70000"), "{error}");
    }
}

#[test]
fn archives_go_both_ways() {
    let bench = Bench::new();
    let src = source(&bench);
    tar(Path::new(&src), &bench.path("in.tar"), &[]);
    let packed = fs::read(bench.path("in.tar")).unwrap();
    let zipped = std::process::Command::new("gzip").arg("-c").arg(bench.path("in.tar")).output().unwrap().stdout;
    both(&bench, &[], "mkdir /srv/d /srv/z; touch /srv/f \"$(printf '/srv/d/two\\nlines\\033[31m')\"", |c| {
        for (to, bytes) in [("d", &packed), ("z", &zipped)] {
            let (_, said) = bench.feed(&["cp", "-", &format!("{c}:/srv/{to}")], bytes);
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{to}");
            assert_eq!(text(&bench, &format!("{c}:/srv/{to}/a")), "a of the host\n");
        }
        let (bytes, said) = archive(&bench, &format!("{c}:/srv/d"));
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        assert!(bytes.windows(15).any(|w| w == b"two\nlines\x1b[31m\0"), "the name is not as it is");
        let (_, said) = bench.feed(&["cp", "-", &format!("{c}:/srv/f")], &packed);
        assert!(said.fails(1).contains("must be a directory"));
        let (_, said) = bench.feed(&["cp", "-", &format!("{c}:/srv/d")], b"no archive");
        assert!(said.fails(1).contains("archive"));
        // Cut in the middle.
        let (_, said) = bench.feed(&["cp", "-", &format!("{c}:/srv/d")], &packed[..1024]);
        assert!(said.fails(1).contains("truncated"));
    });
}

#[test]
fn binds_get_what_is_theirs_and_read_only_is_kept() {
    let bench = Bench::new();
    let src = source(&bench);
    let (file, dir) = (format!("{src}/a"), bench.path("bind"));
    fs::create_dir_all(dir.join("sub")).unwrap();
    let (rw, ro) = (format!("{}:/data", dir.display()), format!("{}:/ro:ro", dir.display()));
    both(&bench, &["-v", &rw, "-v", &ro], "true", |c| {
        bench.say(&["cp", "-q", &file, &format!("{c}:/data/sub/{c}")]).done();
        let meta = fs::metadata(dir.join("sub").join(c)).unwrap();
        assert_eq!(meta.uid(), rustix::process::geteuid().as_raw(), "root inside is the caller on a bind");
        assert_eq!(text(&bench, &format!("{c}:/ro/sub/{c}")), "a of the host\n");
        let error = bench.say(&["cp", &file, &format!("{c}:/ro/x")]).fails(1);
        assert!(error.contains("mounted volume is marked read-only"), "{error}");
        let error = bench.say(&["cp", &file, &format!("{c}:/usr/x")]).fails(1);
        assert!(error.contains("read-only"), "{error}");
        // What a container keeps in memory is gone with it: nothing is written where nobody would see it.
        let said = bench.say(&["cp", &file, &format!("{c}:/tmp/x")]);
        if c == "runs" {
            said.done();
            assert_eq!(bench.say(&["exec", c, "cat", "/tmp/x"]).ok(), "a of the host\n");
        } else {
            let error = said.fails(1);
            assert!(error.contains("start the container first"), "{error}");
        }
    });
    assert!(!dir.join("x").exists());
    bench.start(&["--name", "sealed", "--read-only"], "exec sleep 1000");
    for round in ["runs", "ended"] {
        let error = bench.say(&["cp", &file, "sealed:/srv/x"]).fails(1);
        assert!(error.contains("container rootfs is marked read-only"), "{round}: {error}");
        bench.say(&["stop", "-t", "0", "sealed"]).done();
    }
    bench.say(&["rm", "sealed"]).done();
}

#[test]
fn nothing_waits_for_a_pipe_and_giants_are_refused_by_name() {
    let bench = Bench::new();
    both(&bench, &[], "mkdir /srv/d; mkfifo /srv/d/fifo; echo x > /srv/d/x; truncate -s 9T /srv/giant", |c| {
        let out = bench.path(&format!("out-{c}"));
        let since = Instant::now();
        bench.say(&["cp", "-q", &format!("{c}:/srv/d"), out.to_str().unwrap()]).done();
        assert_eq!(fs::read_to_string(out.join("x")).unwrap(), "x\n");
        let error = bench.say(&["cp", &format!("{c}:/srv/giant"), out.join("giant").to_str().unwrap()]).fails(1);
        assert!(error.contains("`bytes`"), "{error}");
        assert!(!out.join("giant").exists());
        assert!(since.elapsed() < Duration::from_secs(30));
        let to = bench.path("giant.tar");
        let error = bench.say(&["export", "-o", to.to_str().unwrap(), c]).fails(1);
        assert!(error.contains("`bytes`") && !to.exists(), "{error}");
    });
}

#[test]
fn changes_are_the_containers_own() {
    let bench = Bench::new();
    let script = "echo x > /srv/new; mkdir -p /opt/d/e; rm /etc/nsswitch.conf; echo >> /etc/group; touch /tmp/t /run/r";
    let data = bench.path("data");
    fs::create_dir(&data).unwrap();
    let bind = format!("{}:/made/for/it", data.display());
    both(&bench, &["-v", &bind], script, |c| {
        let wanted = "C /etc\nC /etc/group\nD /etc/nsswitch.conf\nC /opt\nA /opt/d\nA /opt/d/e\nC /srv\nA /srv/new\n";
        assert_eq!(bench.say(&["diff", c]).ok(), wanted);
        // Without what is mounted: neither the host's programs nor memory nor binds.
        let to = bench.path("out.tar");
        bench.say(&["export", "--output", to.to_str().unwrap(), c]).done();
        let names = names(&fs::read(&to).unwrap());
        assert!(names.contains(&"srv/new".to_owned()) && names.contains(&"opt/d/e/".to_owned()), "{names:?}");
        assert!(!names.iter().any(|n| n == "etc/nsswitch.conf" || n.contains(".wh.")), "{names:?}");
        assert!(!names.iter().any(|n| n == "tmp/t" || n == "run/r" || n.starts_with("usr/bin/s")), "{names:?}");
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o777, 0o600);
        fs::remove_file(to).unwrap();
    });
    bench.say(&["export", "-o", "/nonexistent/x", "nobody"]).done_with(1);
}

/// A command that is killed at any moment leaves nothing that the next one does not put right.
#[test]
fn killed_at_any_moment_nothing_is_left() {
    let bench = Bench::new();
    let src = source(&bench);
    fs::write(bench.path("src/big"), vec![7; 20 << 20]).unwrap();
    container(&bench, "runs", &[], "dd if=/dev/zero of=/srv/big bs=1M count=20 2>/dev/null", true);
    container(&bench, "ended", &[], "dd if=/dev/zero of=/srv/big bs=1M count=20 2>/dev/null", false);
    let out = bench.path("killed");
    let out = out.to_str().unwrap();
    for c in ["runs", "ended"] {
        let (from, to) = (format!("{c}:/srv"), format!("{c}:/srv/in"));
        for words in [&["cp", &from, out][..], &["cp", &src, &to], &["export", "-o", out, c], &["diff", c]] {
            let since = Instant::now();
            bench.command(words).output().unwrap();
            let whole = since.elapsed();
            drop(fs::remove_dir_all(out).or_else(|_| fs::remove_file(out)));
            for step in 0..6_u32 {
                let mut child = bench.command(words);
                let null = std::process::Stdio::null;
                let mut child = child.stdout(null()).stderr(null()).spawn().unwrap();
                std::thread::sleep(whole * step / 6);
                child.kill().unwrap();
                child.wait().unwrap();
                if words[0] == "export" && Path::new(out).exists() {
                    // Whole, or not there.
                    assert!(names(&fs::read(out).unwrap()).contains(&"srv/big".to_owned()), "half of it at {step}/6");
                }
                drop(fs::remove_dir_all(out).or_else(|_| fs::remove_file(out)));
                let staging = || fs::read_dir(bench.path("root/staging")).unwrap().count();
                let settled = || {
                    bench.say(&["ps", "-aq"]).done();
                    staging() == 0
                };
                assert!(eventually(5, settled), "{words:?} at {step}: {} left", staging());
                assert_eq!(bench.say(&["ps", "-aq"]).ok().lines().count(), 2, "{words:?}");
                assert_eq!(bench.state("ended").0, "exited");
            }
        }
    }
    bench.say(&["exec", "runs", "true"]).done();
    bench.say(&["rm", "-f", "runs", "ended"]).done();
    bench.assert_empty();
}
