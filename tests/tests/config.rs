//! Configuration files of the built program: what they say counts, where it came from is told, and what is wrong stops it.
//!
//! The system's file of a test lies over `/etc` in a mount namespace of the test's own; the machine's is never touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure is the result of the test")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use bulkhead_tests::configured::Configured;
use bulkhead_tests::{Said, binary, is_root};

#[test]
fn values_of_a_file_count_and_flags_come_before_them() {
    let text = "[container]\nshm_size = \"1m\"\nulimits = [\"nofile=100:200\"]\nstop_timeout = 3\n\
                [log]\nmax_size = \"8k\"\nmax_file = 2\n";
    let configured = Configured::new(text);
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; stat -fc '%b %S' /dev/shm | awk '{ print $1 * $2 }'";
    assert_eq!(configured.sh(&[], script).ok(), "100\n200\n0\n1048576\n");
    let flags = ["--shm-size", "2m", "--ulimit", "nofile=50"];
    assert_eq!(configured.sh(&flags, script).ok(), "50\n50\n0\n2097152\n");
    // The control: the same without a file.
    assert_ne!(configured.bench.sh(&[], script).ok(), "100\n200\n0\n1048576\n");
    // The log is kept in the bounds.
    configured
        .say(&[
            "run",
            "--name",
            "one",
            "host",
            "sh",
            "-c",
            "for i in $(seq 400); do echo 0123456789012345678901234567890; done",
        ])
        .done();
    assert_eq!(configured.bench.look("one", "/Config/StopTimeout"), 3);
    let log = configured.bench.look("one", "/LogPath").as_str().unwrap().to_owned();
    let files: Vec<u64> = std::fs::read_dir(std::path::Path::new(&log).parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .collect();
    assert!(files.len() == 2 && files.iter().all(|size| *size <= 8192), "{files:?}");
    configured.say(&["rm", "one"]).done();
}

#[test]
fn the_default_profile_can_be_chosen() {
    let configured = Configured::new("[container]\nprofile = \"strict\"\n");
    let error = configured.sh(&[], "true").fails(125);
    assert!(error.contains("strict profile needs a user"), "{error}");
    configured.sh(&["--profile", "default"], "true").done();
}

#[test]
fn every_value_tells_where_it_came_from() {
    let configured = Configured::new("\n[container]\npids_limit = 77\n");
    let row = configured.row("container.pids_limit");
    assert_eq!(row["Value"], "77");
    assert_eq!(row["Default"], "1024");
    assert_eq!(row["Source"], format!("{}:3", configured.name()));
    assert_eq!(configured.row("log.max_file")["Source"], "default");
    // Places that a variable moved are told to be so.
    let root = configured.row("storage.root");
    assert_eq!(
        (root["Source"].as_str(), root["Value"].as_str()),
        (Some("$BULKHEAD_ROOT"), configured.bench.path("root").to_str())
    );
    let table = configured.say(&["config", "show"]).ok();
    assert!(table.starts_with("KEY"), "{table}");
    assert!(table.contains(&format!("{}:3", configured.name())) && table.contains(": read"), "{table}");
    assert_eq!(
        configured.say(&["config", "show", "--format", "{{.Key}}"]).ok().lines().next(),
        Some("container.profile")
    );
    // Without a file.
    let plain =
        configured.bench.command(&["config", "show"]).env("XDG_CONFIG_HOME", configured.bench.path("none")).output();
    let plain = Said::from(plain.unwrap());
    if !std::path::Path::new("/etc/bulkhead/config.toml").exists() {
        assert!(plain.ok().contains("not there"));
    }
    configured.say(&["config", "hide"]).done_with(125);
}

#[test]
fn a_file_with_a_mistake_stops_every_command() {
    for (text, line, wanted, hint) in [
        (
            "[container]\npid_limit = 5\n",
            2,
            "unknown key \"container.pid_limit\"",
            "did you mean container.pids_limit?",
        ),
        ("[container]\n\npids_limit = \"many\"\n", 3, "a whole number from 1, or -1", ""),
        ("[contaner]\nx = 1\n", 1, "unknown section \"contaner\"", "container, log"),
        ("[container]\nprofile = \"loose\"\n", 2, "\"strict\", \"default\", \"compat\"", ""),
        ("[container\n", 1, "not TOML", ""),
    ] {
        let configured = Configured::new(text);
        for (words, code) in [(&["ps"][..], 1), (&["config", "show"], 1), (&["run", "--rm", "host", "true"], 1)] {
            let error = configured.say(words);
            assert!(error.code == code || error.code == 125, "{error:?}");
            assert!(error.err.contains(&format!("{}:{line}: ", configured.name())), "{error:?}");
            assert!(error.err.contains(wanted) && error.err.contains(hint), "{error:?}");
            assert_eq!(error.out, "");
        }
    }
}

#[test]
fn a_file_that_others_could_write_is_refused() {
    let configured = Configured::new("[container]\ninit = true\n");
    configured.say(&["config", "show"]).done();
    for mode in [0o666, 0o664, 0o646] {
        std::fs::set_permissions(configured.file(), std::fs::Permissions::from_mode(mode)).unwrap();
        let error = configured.say(&["ps"]).fails(1);
        assert!(error.contains("may write it") && error.contains("hint: "), "{error}");
    }
    std::fs::set_permissions(configured.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
    configured.say(&["ps"]).done();
    if is_root() {
        rustix::fs::chown(configured.file(), Some(rustix::fs::Uid::from_raw(12_345)), None).unwrap();
        let error = configured.say(&["ps"]).fails(1);
        assert!(error.contains("belongs to user 12345"), "{error}");
    }
    let parent = configured.file().parent().unwrap().to_path_buf();
    std::fs::set_permissions(&parent, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(configured.say(&["ps"]).code == 1);
}

#[test]
fn a_limit_that_cannot_be_enforced_names_its_line() {
    let configured = Configured::new("[container]\nmemory = \"64m\"\n");
    let said = configured.sh(&[], "true");
    if said.code == 0 {
        assert_eq!(configured.row("container.memory")["Value"], "64m");
        return;
    }
    let error = said.fails(125);
    assert!(
        error.contains("--memory") && error.contains(&format!("container.memory is set by {}:2", configured.name())),
        "{error}"
    );
}

/// What the administrator pins holds for an ordinary user's file and flags; root is not bound.
#[test]
fn what_is_pinned_holds_for_ordinary_users() {
    if !is_root() {
        return;
    }
    let text = "locked = [\"container.pids_limit\"]\n[container]\npids_limit = 50\n";
    let configured = Configured::new(text);
    assert_eq!(configured.row("container.pids_limit")["Locked"], "/etc/bulkhead/config.toml:1");
    configured.sh(&["--pids-limit", "60"], "true").done();
    // As somebody who has nothing, in the same mount namespace.
    let home = configured.bench.path("home");
    std::fs::create_dir_all(home.join(".config/bulkhead")).unwrap();
    let own = home.join(".config/bulkhead/config.toml");
    let as_user = |words: &[&str]| {
        let uid = rustix::fs::Uid::from_raw(54_321);
        for path in [&home, &home.join(".config"), &home.join(".config/bulkhead"), &own] {
            if path.exists() {
                rustix::fs::chown(path, Some(uid), Some(rustix::fs::Gid::from_raw(54_321))).unwrap();
            }
        }
        // All at places where this user can go, wherever the test and the program lie.
        let script = "mount --bind \"$1/etc/bulkhead\" /etc/bulkhead; mkdir /etc/home; touch /etc/program; \
                      mount --bind \"$1/home\" /etc/home; mount --bind \"$2\" /etc/program; shift 2; \
                      exec setpriv --reuid=54321 --regid=54321 --clear-groups --inh-caps=-all \
                      env -i HOME=/etc/home XDG_RUNTIME_DIR=/etc/home /etc/program \"$@\"";
        let dir = configured.bench.dir.path();
        let over = "mount -t tmpfs none \"$1/over\" && mkdir \"$1/over/up\" \"$1/over/work\" && chmod 755 \"$1/over/up\" && \
                    mount -t overlay -o \"lowerdir=/etc,upperdir=$1/over/up,workdir=$1/over/work\" none /etc && \
                    mkdir -p /etc/bulkhead; ";
        std::fs::create_dir_all(configured.bench.path("over")).unwrap();
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &format!("{over}{script}"), "sh"])
            .arg(dir)
            .arg(binary())
            .args(words)
            .output();
        Said::from(output.unwrap())
    };
    let shown = as_user(&["config", "show"]);
    assert!(shown.ok().contains("pinned by /etc/bulkhead/config.toml:1"));
    let error = as_user(&["run", "--rm", "--pids-limit", "60", "host", "true"]).fails(125);
    assert!(error.contains("--pids-limit 60") && error.contains("pinned to 50"), "{error}");
    // Nor later: a change is held to the same.
    as_user(&["create", "--name", "one", "--pids-limit", "40", "host", "true"]).done();
    let error = as_user(&["update", "--pids-limit", "60", "one"]).fails(1);
    assert!(error.contains("--pids-limit 60") && error.contains("pinned to 50"), "{error}");
    as_user(&["update", "--pids-limit", "45", "one"]).done();
    assert!(as_user(&["inspect", "-f", "{{.HostConfig.PidsLimit}}", "one"]).ok().contains("45"));
    as_user(&["rm", "one"]).done();
    std::fs::write(&own, "[container]\npids_limit = 60\n").unwrap();
    let error = as_user(&["config", "show"]).fails(1);
    assert!(error.contains("config.toml:2: container.pids_limit is pinned by /etc/bulkhead/config.toml:1"), "{error}");
    // The control: a key that is not pinned is his own.
    std::fs::write(&own, "[container]\nmemory = \"1g\"\n").unwrap();
    assert!(as_user(&["config", "show"]).ok().contains("1g"));
    drop(std::fs::remove_dir_all(home));
}
