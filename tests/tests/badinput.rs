//! Wrong input: one error each that names what was attempted on what and the way out, exit code 125, and nothing made.

use bulkhead_tests::{Bench, is_root};

/// Runs it; the one error must hold all these words, and nothing may be left.
fn refused(bench: &Bench, words: &[&str], wanted: &[&str]) -> String {
    let error = bench.say(words).fails(125);
    check(bench, words, &error, wanted);
    error
}

fn check(bench: &Bench, words: &[&str], error: &str, wanted: &[&str]) {
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines[0].starts_with("bulkhead: "), "{words:?}: {error}");
    assert!(lines.len() <= 2 && lines.iter().skip(1).all(|l| l.starts_with("hint: ")), "{words:?}: {error}");
    for part in wanted {
        assert!(error.to_lowercase().contains(&part.to_lowercase()), "{words:?}: no {part:?} in {error}");
    }
    assert_eq!(bench.say(&["ps", "-aq"]).ok(), "", "{words:?}");
    let left = bench.left_overs();
    assert!(left.is_empty(), "{words:?}: {left:#?}");
}

/// `run` with these flags of a program that would work.
fn run(bench: &Bench, flags: &[&str], wanted: &[&str]) -> String {
    let words = [&["run", "--rm"], flags, &["host", "true"]].concat();
    refused(bench, &words, wanted)
}

#[test]
fn an_unknown_image_is_named_with_the_ways_to_get_one() {
    let bench = Bench::new();
    refused(
        &bench,
        &["run", "--pull", "never", "nosuch:1"],
        &["no such image", "nosuch:1", "hint:", "bulkhead load", "host"],
    );
    refused(&bench, &["run", "--pull", "never", "UPPER/case"], &["UPPER/case"]);
    refused(&bench, &["run", "-d", "--pull", "never", "0123456789ab"], &["0123456789ab"]);
    refused(&bench, &["run", ""], &["IMAGE", "empty"]);
    let nobody = "127.0.0.1:1/nosuch:1";
    refused(&bench, &["run", "-q", nobody], &["cannot reach 127.0.0.1:1", "hint:", "bulkhead load", "host"]);
    refused(&bench, &["run", "-q", "--pull", "always", nobody], &["cannot reach 127.0.0.1:1", "hint:"]);
}

#[test]
fn malformed_limits_name_flag_value_and_form() {
    let bench = Bench::new();
    for (flags, wanted) in [
        (&["-m", "12q"][..], &["--memory", "12q", "512m"][..]),
        (&["-m", "1k"], &["--memory", "1k", "6m"]),
        (&["-m", "-1"], &["--memory"]),
        (&["--memory-swap", "1g"], &["--memory-swap", "--memory is needed"]),
        (&["--cpus", "0"], &["--cpus", "\"0\"", "0.5"]),
        (&["--cpus", "two"], &["--cpus", "two"]),
        (&["--pids-limit", "x"], &["--pids-limit", "\"x\""]),
        (&["--pids-limit", "0"], &["--pids-limit", "\"0\""]),
        (&["--cpu-shares", "1"], &["--cpu-shares", "\"1\"", "262144"]),
        (&["--cpuset-cpus", "3-1"], &["--cpuset-cpus", "3-1", "0-1,3"]),
        (&["--ulimit", "nofile"], &["--ulimit", "nofile"]),
        (&["--ulimit", "nofile=2:1"], &["--ulimit", "nofile=2:1"]),
        (&["--ulimit", "colour=1"], &["--ulimit", "colour"]),
        (&["--shm-size", "0"], &["--shm-size", "\"0\""]),
        (&["--oom-score-adj", "2000"], &["--oom-score-adj", "2000", "1000"]),
        (&["--device-read-bps", "/dev/null:1m"], &["device", "/dev/null", "block device"]),
        (&["--stop-timeout", "soon"], &["--stop-timeout", "soon"]),
        (&["--stop-signal", "NOSUCH"], &["--stop-signal", "NOSUCH"]),
    ] {
        run(&bench, flags, wanted);
    }
}

#[test]
fn malformed_mounts_name_what_is_wrong() {
    let bench = Bench::new();
    let missing = bench.path("missing");
    let missing = missing.to_str().unwrap();
    let bind = format!("type=bind,src={missing},dst=/x");
    for (flags, wanted) in [
        (&["--mount", bind.as_str()][..], &["bind source", missing, "No such file"][..]),
        (&["--mount", "type=bind,dst=/x"], &["--mount", "source=PATH"]),
        (&["--mount", "type=bind,src=/etc"], &["--mount", "target=PATH"]),
        (&["--mount", "type=nfs,dst=/x"], &["--mount", "nfs", "bind, volume and tmpfs"]),
        (&["--mount", "type=bind,src=/etc,dst=/x,color=red"], &["--mount", "color"]),
        (&["-v", "/etc:relative"], &["--volume", "relative"]),
        (&["-v", "/etc:/x:rx"], &["--volume", "rx"]),
        (&["-v", "/etc:/x/../../y"], &["--volume", ".."]),
        (&["-v", "/:/x"], &["refused", "root of the host"]),
        (&["-v", "/proc:/x"], &["refused", "kernel"]),
        (&["-v", "/sys/fs/cgroup:/x"], &["refused", "kernel"]),
        (&["-v", "/etc:/proc"], &["mount target", "/proc"]),
        (&["-v", "/etc:/dev/null"], &["mount target", "/dev/null"]),
        (&["--tmpfs", "/m:size=lots"], &["--tmpfs", "lots"]),
        (&["--tmpfs", "m"], &["--tmpfs", "\"m\""]),
        (&["-w", "relative"], &["--workdir", "relative", "absolute"]),
    ] {
        run(&bench, flags, wanted);
    }
}

#[test]
fn sockets_of_engines_and_our_own_state_are_not_handed_out() {
    let bench = Bench::new();
    let dir = bench.path("run-of-docker");
    std::fs::create_dir(&dir).unwrap();
    let socket = dir.join("docker.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    run(&bench, &["-v", &format!("{}:/var/run/docker.sock", socket.display())], &["refused", "docker.sock", "socket"]);
    run(&bench, &["-v", &format!("{}:/x", dir.display())], &["refused", "socket"]);
    drop(listener);
    run(&bench, &["-v", &format!("{}:/x", bench.dir.path().display())], &["refused", "engine's own files"]);
    let root = bench.path("root");
    run(&bench, &["-v", &format!("{}/layers:/x", root.display())], &["refused", "engine's own files"]);
}

#[test]
fn what_there_is_no_network_for_is_said() {
    let bench = Bench::new();
    run(&bench, &["--network", "none", "-p", "8080:80"], &["--publish 8080:80", "none"]);
    run(&bench, &["--network", "host", "-p", "8080:80"], &["--publish 8080:80", "--network host", "refused"]);
    run(&bench, &["--net", "mine"], &["network mine not found"]);
    bench.say(&["run", "--rm", "--network", "none", "host", "true"]).done();
}

#[test]
fn wrong_users_names_and_privileges_are_named() {
    let bench = Bench::new();
    for (flags, wanted) in [
        (&["-u", "nosuchuser"][..], &["--user", "nosuchuser", "/etc/passwd"][..]),
        (&["-u", "0:nosuchgroup"], &["group", "nosuchgroup", "/etc/group"]),
        (&["-u", "70000"], &["70000"]),
        (&["-u", "4294967295"], &["4294967295"]),
        (&["-u", "99999999999"], &["--user", "99999999999"]),
        (&["-u", "-1"], &["--user"]),
        (&["-u", ""], &["--user"]),
        (&["--cap-add", "FLY"], &["--cap-add", "FLY", "NET_RAW"]),
        (&["--cap-drop", "FLY"], &["--cap-drop", "FLY"]),
        (&["--security-opt", "seccomp=/no/such/file"], &["--security-opt", "/no/such/file", "No such file"]),
        (&["--security-opt", "colour=red"], &["--security-opt", "colour"]),
        (&["--sysctl", "kernel.panic=1"], &["--sysctl", "kernel.panic"]),
        (&["--sysctl", "net.ipv4.ip_forward"], &["--sysctl", "net.ipv4.ip_forward"]),
        (&["--name", "-dash"], &["--name"]),
        (&["--name", "a b"], &["--name", "a b", "a-zA-Z0-9"]),
        (&["--name", "x"], &["--name", "\"x\""]),
        (&["-h", "under_score!"], &["--hostname", "under_score!"]),
        (&["-e", "=x"], &["--env"]),
        (&["--env-file", "/no/such/file"], &["--env-file", "/no/such/file"]),
        (&["--profile", "lax"], &["--profile", "lax", "strict, default or compat"]),
    ] {
        run(&bench, flags, wanted);
    }
    refused(&bench, &["run", "--rm", "--profile", "strict", "host", "true"], &["--user", "strict", "root"]);
}

#[test]
fn unknown_flags_and_commands_get_a_guess() {
    let bench = Bench::new();
    let error = bench.say(&["run", "--privilegd", "host", "true"]).fails(125);
    assert!(error.contains("--privilegd") && error.contains("--privileged"), "{error}");
    // As Docker: 1, because nothing was to be started.
    let error = bench.say(&["rnu", "host"]).fails(1);
    assert!(error.contains("rnu") && error.contains("run"), "{error}");
    let error = bench.say(&["run"]).fails(1);
    assert!(error.contains("IMAGE"), "{error}");
    let error = bench.say(&["ps", "--fliter", "x"]).fails(125);
    assert!(error.contains("--filter"), "{error}");
    assert_eq!(bench.say(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_name_in_use_names_its_holder() {
    let bench = Bench::new();
    let id = bench.start(&["--name", "taken"], "sleep 100");
    let error = bench.say(&["run", "-d", "--name", "taken", "host", "true"]).fails(125);
    assert!(error.contains("taken") && error.contains(&id[..12]) && error.contains("bulkhead rm taken"), "{error}");
    assert_eq!(bench.say(&["ps", "-aq", "--no-trunc"]).ok().trim(), id);
    assert_eq!(std::fs::read_dir(bench.path("root/containers")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(bench.path("run/containers")).unwrap().count(), 1);
}

#[test]
fn a_store_that_cannot_be_used_is_named() {
    let bench = Bench::new();
    let with = |root: &str| {
        let mut command = bench.command(&["ps"]);
        let said: bulkhead_tests::Said = command.env("BULKHEAD_ROOT", root).output().unwrap().into();
        assert_ne!(said.code, 0);
        said.err
    };
    assert!(with("relative").contains("BULKHEAD_ROOT"));
    let file = bench.path("file");
    std::fs::write(&file, "").unwrap();
    let error = with(file.to_str().unwrap());
    assert!(error.contains(file.to_str().unwrap()) && error.contains("hint:"), "{error}");
    let open = bench.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let error = with(open.to_str().unwrap());
    assert!(error.contains("other users may write") && error.contains("chmod 700"), "{error}");
    let torn = bench.path("torn");
    std::fs::create_dir(&torn).unwrap();
    std::fs::set_permissions(&torn, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(torn.join("bulkhead.db"), vec![b'x'; 8192]).unwrap();
    let error = with(torn.to_str().unwrap());
    assert!(error.contains("damaged") && error.contains("bulkhead.db") && error.contains("hint:"), "{error}");
    if !is_root() {
        let error = with("/root/of/somebody/else");
        assert!(error.contains("/root/of") && error.contains("Permission denied"), "{error}");
    }
}
