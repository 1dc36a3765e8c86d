//! The scripted sessions in `tests/session`: with this program, and with the real docker and its daemon.
//!
//! What docker does otherwise is written beside each command, under a name that `docs/docker-compatibility.md` explains.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_tests::dockerd::Daemon;
use bulkhead_tests::session::{Docker, Engine, Section, parse};
use bulkhead_tests::{Bench, binary, is_root, skip};

const FILES: [&str; 5] = ["run", "life", "show", "files", "engine"];

fn home() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

fn sections(file: &str) -> Vec<Section> {
    let path = home().join(format!("session/{file}.session"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // One of them by hand: SESSION=cp.
    let only = std::env::var("SESSION").unwrap_or_default();
    parse(&text).into_iter().filter(|s| s.title.contains(&only)).collect()
}

/// Packs the image of the sessions: the static busybox of Debian, two users, and a directory with a file.
fn image(directory: &Path) -> PathBuf {
    let script = "set -e; cp \"$(command -v busybox)\" busybox; mkdir -p r/bin r/etc r/tmp r/root r/data r/home/app \
        r/proc r/sys r/dev r/var r/opt; mv busybox r/bin; for a in $(r/bin/busybox --list); do \
        [ $a = busybox ] || ln -s busybox r/bin/$a; done; \
        printf 'root:x:0:0:root:/root:/bin/sh\\napp:x:1000:1000:app:/home/app:/bin/sh\\n' > r/etc/passwd; \
        printf 'root:x:0:\\napp:x:1000:\\nextra:x:2000:app\\n' > r/etc/group; echo seed > r/data/seed; \
        chmod 755 r/bin/busybox; chmod 1777 r/tmp; tar -C r --sort=name --owner=0 --group=0 --exclude=./home/app -cf box.tar .; \
        tar -C r --owner=1000 --group=1000 -rf box.tar ./home/app; rm -r r";
    let said = Command::new("bash").args(["-c", script]).current_dir(directory).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    directory.join("box.tar")
}

fn check(engine: &Engine, file: &str) {
    let tar = image(&engine.scratch);
    let said = engine.bash(&engine.scratch, &format!("E import {} box", tar.display()));
    assert_eq!(said.code, 0, "{}", said.err);
    let wrong = engine.run(&sections(file), is_root());
    let left = engine.bash(&engine.scratch, "E ps -aq; E volume ls -q; E images -q | wc -l");
    assert!(wrong.is_empty(), "{} of {file} with {}:\n\n{}", wrong.len(), engine.name, wrong.join("\n"));
    assert_eq!(left.out, "1\n", "left by {file}: {}", left.err);
}

fn here(file: &str) {
    let bench = Bench::new();
    let scratch = bench.path("session");
    std::fs::create_dir(&scratch).unwrap();
    let command = vec![binary().to_string_lossy().into_owned()];
    check(&Engine { name: "bulkhead", command, env: bench.env().to_vec(), scratch }, file);
    bench.assert_empty();
}

fn docker(test: &str, file: &str) {
    if let Some(missing) = Daemon::missing() {
        skip(test, missing);
        return;
    }
    let daemon = Daemon::start();
    check(&daemon.engine(), file);
}

#[test]
fn run_is_as_expected() {
    here("run");
}

#[test]
fn life_is_as_expected() {
    here("life");
}

#[test]
fn show_is_as_expected() {
    here("show");
}

#[test]
fn files_are_as_expected() {
    here("files");
}

#[test]
fn engine_is_as_expected() {
    here("engine");
}

#[test]
fn docker_agrees_on_run() {
    docker("docker_agrees_on_run", "run");
}

#[test]
fn docker_agrees_on_life() {
    docker("docker_agrees_on_life", "life");
}

#[test]
fn docker_agrees_on_show() {
    docker("docker_agrees_on_show", "show");
}

#[test]
fn docker_agrees_on_files() {
    docker("docker_agrees_on_files", "files");
}

#[test]
fn docker_agrees_on_engine() {
    docker("docker_agrees_on_engine", "engine");
}

/// Every difference has its reason, every reason its difference, and there are enough commands.
#[test]
fn differences_are_listed_with_reasons() {
    let mut used = BTreeSet::new();
    let (mut asked, mut same) = (0, 0);
    for step in FILES.iter().flat_map(|f| sections(f)).flat_map(|s| s.steps) {
        if step.asks_the_engine() {
            asked += 1;
            same += u32::from(step.docker == Docker::Same);
        }
        if let Docker::Not(id) | Docker::Differs(id, _) = step.docker {
            used.insert(id);
        }
    }
    assert!(asked >= 200 && same >= 200, "{asked} commands, {same} as docker does them");
    let list = home().join("../docs/docker-compatibility.md");
    let Ok(text) = std::fs::read_to_string(&list) else { panic!("{} is missing", list.display()) };
    let rows = text.lines().filter_map(|l| l.strip_prefix("| `")?.split_once("` |"));
    let mut listed = BTreeSet::new();
    for (id, rest) in rows {
        let reason = rest.split('|').nth(1).unwrap_or_default().trim();
        assert!(reason.len() > 10, "{id} has no reason: {rest}");
        assert!(listed.insert(id.to_owned()), "{id} is listed twice");
    }
    assert_eq!(used, listed, "used by the sessions (left), listed in docker-compatibility.md (right)");
}
