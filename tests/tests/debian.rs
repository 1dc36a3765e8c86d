//! Real software: a root file system of Debian with nginx and redis, as its packages configure them.

use std::time::{Duration, Instant};

use bulkhead_tests::debian::archive;
use bulkhead_tests::life::tar;
use bulkhead_tests::{Bench, eventually, skip};

fn imported(test: &str) -> Option<Bench> {
    let Some(archive) = archive("nginx-light-redis-server-1", "nginx-light,redis-server", &[]) else {
        skip(test, "the archive that root's run of this test makes with debootstrap");
        return None;
    };
    let bench = Bench::new();
    bench.say(&["import", archive.to_str().unwrap(), "debian:web"]).done();
    Some(bench)
}

const SERVE: &str = "exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' >&3 && cat <&3";

fn serves(bench: &Bench) -> bool {
    let answer = bench.say(&["exec", "web", "bash", "-c", SERVE]).out;
    answer.starts_with("HTTP/1.1 200 OK") && answer.contains("Welcome to nginx!")
}

/// Stops it, which must not take the time after which it would be killed.
fn stop(bench: &Bench, name: &str) {
    let before = Instant::now();
    bench.say(&["stop", name]).done();
    assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
    assert_eq!(bench.state(name), ("exited".to_owned(), 0), "{:?}", bench.say(&["logs", name]));
    bench.say(&["rm", name]).done();
}

#[test]
fn nginx_serves_with_the_default_profile() {
    let Some(bench) = imported("nginx_serves_with_the_default_profile") else { return };
    bench.say(&["run", "-d", "--name", "web", "debian:web", "nginx", "-g", "daemon off;"]).done();
    assert!(eventually(20, || serves(&bench)), "{:?}", bench.say(&["logs", "web"]));
    // Its workers run as the package's user, which the master became root for.
    let users = bench.say(&["exec", "web", "bash", "-c", "stat -c %U /proc/[0-9]* | sort -u"]).ok();
    assert_eq!(users, "root\nwww-data\n");
    let weak = bench.say(&["explain", "web"]).ok();
    assert!(weak.contains("nothing: it has the hardened defaults"), "{weak}");
    // The port is the container's own: nothing of it is on the host.
    let listening = std::fs::read_to_string("/proc/net/tcp").unwrap();
    assert!(!listening.contains("0100007F:0050"), "{listening}");
    // Reload by signal, as its package does it.
    bench.say(&["kill", "-s", "HUP", "web"]).done();
    assert!(eventually(10, || serves(&bench)));
    stop(&bench, "web");
    bench.assert_empty();
    bench.say(&["rmi", "debian:web"]).done();
    assert_eq!(std::fs::read_dir(bench.path("root/layers")).unwrap().count(), 0);
}

#[test]
fn redis_answers_with_the_default_profile() {
    let Some(bench) = imported("redis_answers_with_the_default_profile") else { return };
    let words = ["run", "-d", "--name", "db", "-u", "redis", "-w", "/var/lib/redis", "debian:web"];
    bench.say(&[&words[..], &["redis-server", "--save", "60 1"]].concat()).done();
    let cli = |args: &[&str]| bench.say(&[&["exec", "db", "redis-cli"], args].concat()).out;
    assert!(eventually(20, || cli(&["ping"]) == "PONG\n"), "{:?}", bench.say(&["logs", "db"]));
    assert_eq!(cli(&["set", "key", "value"]), "OK\n");
    // It forks to save, and writes as its own user to a directory that the package gave it.
    assert_eq!(cli(&["bgsave"]), "Background saving started\n");
    assert!(eventually(10, || bench.say(&["exec", "db", "test", "-s", "/var/lib/redis/dump.rdb"]).code == 0));
    stop(&bench, "db");
    // With the configuration of its package, as root that becomes nobody else.
    bench
        .say(&["run", "-d", "--name", "db", "debian:web", "redis-server", "/etc/redis/redis.conf", "--daemonize", "no"])
        .done();
    assert!(eventually(20, || cli(&["ping"]) == "PONG\n"), "{:?}", bench.say(&["logs", "db"]));
    stop(&bench, "db");
    bench.assert_empty();
}

/// The entry points of the official images: root gives the data directory away, then becomes the service's user.
#[test]
fn an_entry_point_that_changes_owners_and_drops_privileges_works() {
    let Some(bench) = imported("an_entry_point_that_changes_owners_and_drops_privileges_works") else { return };
    let script = "mkdir -p /data && chown -R redis:redis /data && cd /data && \
        exec setpriv --reuid=redis --regid=redis --init-groups redis-server --dir /data";
    bench.say(&["run", "-d", "--name", "db", "debian:web", "sh", "-c", script]).done();
    let cli = |args: &[&str]| bench.say(&[&["exec", "db", "redis-cli"], args].concat()).out;
    assert!(eventually(20, || cli(&["ping"]) == "PONG\n"), "{:?}", bench.say(&["logs", "db"]));
    let user = bench.say(&["exec", "db", "stat", "-c", "%U", "/proc/1", "/data"]).ok();
    assert_eq!(user, "redis\nredis\n");
    let caps = bench.say(&["exec", "db", "grep", "CapEff", "/proc/1/status"]).ok();
    assert!(caps.contains("0000000000000000"), "{caps}");
    stop(&bench, "db");
    // `su`, as older entry points do it.
    let out = bench.say(&["run", "--rm", "debian:web", "su", "-s", "/bin/sh", "www-data", "-c", "id -un"]).ok();
    assert_eq!(out, "www-data\n");
    bench.assert_empty();
}

/// What packages did to the root file system arrives: owners, modes, links, and programs that run.
#[test]
fn the_root_file_system_is_as_it_was_packed() {
    let Some(bench) = imported("the_root_file_system_is_as_it_was_packed") else { return };
    let script = "stat -c '%U:%G %a' /var/lib/redis /etc/shadow /tmp /usr/bin/passwd; readlink /bin; dpkg --verify nginx-light redis-server base-files && echo verified";
    let out = bench.say(&["run", "--rm", "debian:web", "sh", "-c", script]).ok();
    assert!(out.starts_with("redis:redis 750\nroot:shadow 640\nroot:root 1777\nroot:root 4755\nusr/bin\n"), "{out}");
    assert!(out.ends_with("verified\n"), "{out}");
    // The package tool itself works inside.
    let out = bench.say(&[
        "run",
        "--rm",
        "debian:web",
        "sh",
        "-c",
        "dpkg --purge redis-server >/dev/null 2>&1; dpkg -l redis-server 2>/dev/null | grep -c '^ii'",
    ]);
    assert_eq!(out.out, "0\n", "{}", out.err);
    // A small one beside it shares nothing with it.
    let dir = bench.path("small");
    std::fs::create_dir_all(dir.join("opt")).unwrap();
    tar(&dir, &bench.path("small.tar"), &[]);
    bench.say(&["import", bench.path("small.tar").to_str().unwrap(), "small"]).done();
    assert_eq!(bench.say(&["images", "-q"]).ok().lines().count(), 2);
}
