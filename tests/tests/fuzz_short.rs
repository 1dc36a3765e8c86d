//! The targets of `fuzz/` without a fuzzer: the seeds, and the same few thousand changes of them in every run.

use bulkhead_tests::fuzz::{self, Mutator};

fn short(target: &str, rounds: usize, run: fn(&[u8])) {
    let mut mutator = Mutator::of(target);
    for seed in mutator.seeds() {
        run(seed);
    }
    for round in 0..rounds {
        let input = mutator.input();
        if std::panic::catch_unwind(|| run(&input)).is_err() {
            panic!("{target}, round {round}: {}", String::from_utf8_lossy(&input));
        }
    }
}

#[test]
fn config_to_plan() {
    short("config_to_plan", 20_000, fuzz::config_to_plan);
}

#[test]
fn protocol() {
    short("protocol", 20_000, fuzz::protocol);
}

#[test]
fn seccomp_profile() {
    short("seccomp_profile", 1500, fuzz::seccomp_profile);
}

#[test]
fn cgroup_resources() {
    short("cgroup_resources", 20_000, fuzz::cgroup_resources);
}

#[test]
fn dbus_wire() {
    short("dbus_wire", 100_000, fuzz::dbus_wire);
}

#[test]
fn manifest() {
    short("manifest", 20_000, fuzz::manifest);
}

#[test]
fn registry_words() {
    short("registry_words", 50_000, fuzz::registry_words);
}

#[test]
fn auth_file() {
    short("auth_file", 50_000, fuzz::auth_file);
}
