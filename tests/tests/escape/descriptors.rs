//! Descriptors and directories that the engine or its caller had open.

use std::process::Command;

use bulkhead_tests::canary::{Canary, SONG};
use bulkhead_tests::probe::{Lab, link};
use bulkhead_tests::{Said, binary};

/// Starts the engine with 20 descriptors of the canary tree open, its working directory in that tree.
fn burdened(lab: &Lab, canary: &Canary, words: &[&str]) -> Said {
    let mut command = Command::new(lab.bench.path("probe"));
    command.args(["with-fds", "20", &canary.path.join("canary").to_string_lossy(), &canary.text()]);
    command.arg(binary()).args(words).envs(lab.bench.env()).current_dir(&canary.path);
    command.stdin(std::process::Stdio::null()).output().unwrap().into()
}

fn numbers(text: &str) -> Vec<u32> {
    text.lines().filter_map(|l| l.strip_prefix("fd ")?.split(' ').next()?.parse().ok()).collect()
}

/// Descriptors that the caller left open reach no process of the container (class of the fix for CVE-2024-21626).
#[test]
fn inherited_descriptors_end_at_the_engine() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    // Control: without an engine in between they are all there.
    let mut plain = Command::new(lab.bench.path("probe"));
    let file = canary.path.join("canary");
    plain.args(["with-fds", "20", &file.to_string_lossy(), &canary.text()]).arg(lab.bench.path("probe")).arg("fds");
    let seen = Said::from(plain.output().unwrap()).ok();
    assert!(numbers(&seen).len() >= 23 && seen.contains(&canary.text()), "the probe is blind: {seen}");

    let run = burdened(&lab, &canary, &["run", "--rm", "probe", "/probe", "fds"]).ok();
    assert_eq!(numbers(&run), [0, 1, 2], "{run}");
    let init = burdened(&lab, &canary, &["run", "--rm", "--init", "probe", "/probe", "fds"]).ok();
    assert_eq!(numbers(&init), [0, 1, 2], "{init}");
    burdened(&lab, &canary, &["run", "-d", "--name", "dd", "probe", "/probe", "sleep", "60"]).done();
    let exec = burdened(&lab, &canary, &["exec", "dd", "/probe", "fds"]).ok();
    assert_eq!(numbers(&exec), [0, 1, 2], "{exec}");
    let links = |pid: i32| -> Vec<String> {
        let dir = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        dir.filter_map(|e| Some(std::fs::read_link(e.path()).ok()?.to_string_lossy().into_owned())).collect()
    };
    // A container in the background, and the monitor that outlives the caller.
    let pid = lab.bench.pid_of("dd");
    let monitor = parent(pid);
    assert!(!links(monitor).is_empty());
    for process in [pid, monitor] {
        let held = links(process);
        assert!(!held.iter().any(|l| l.contains(&canary.text())), "{process} holds {held:?}");
    }
    let cwd = std::fs::read_link(format!("/proc/{monitor}/cwd")).unwrap();
    assert_eq!(cwd.to_str(), Some("/"));
    lab.remove("dd");
    canary.assert_untouched("an engine with inherited descriptors");
}

/// Parent of a process.
pub(crate) fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The first process watches every process that enters (CVE-2016-9962, CVE-2019-5736): none shows a file of the host, an
/// executable that can be written, or a descriptor of the engine.
#[test]
fn an_entering_process_shows_nothing_of_the_host() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let store = lab.bench.dir.path().to_string_lossy().into_owned();
    // Control: a process that holds a canary, watched without a container.
    let mut holder = Command::new(lab.bench.path("probe"));
    holder.args(["with-fds", "3", &canary.path.join("canary").to_string_lossy(), &canary.text()]);
    let mut holder = holder.arg(lab.bench.path("probe")).args(["sleep", "30"]).spawn().unwrap();
    let seen = lab.outside(&["watch", "1000", &canary.text()]).ok();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(seen.contains("HIT descriptor"), "the probe is blind: {seen}");

    lab.start("ww", &[], &["watch", "5000", &store, "bulkhead", "binary-", "memfd", "deleted"]);
    let mut entered = 0;
    while lab.bench.say(&["inspect", "-f", "{{.State.Running}}", "ww"]).ok().trim() == "true" {
        entered += i32::from(burdened(&lab, &canary, &["exec", "ww", "/probe", "hold", "30"]).code == 0);
    }
    let log = lab.bench.say(&["logs", "ww"]).ok();
    lab.remove("ww");
    assert!(!log.contains("HIT"), "{log}");
    assert!(entered >= 10, "only {entered} processes entered");
    let watched: i64 = log.lines().find_map(|l| l.strip_prefix("watched ")?.split(' ').next()?.parse().ok()).unwrap();
    assert!(watched >= 5, "{log}, {entered} entered");
    canary.assert_untouched("entering");
}

/// A working directory that is a descriptor of the engine would be a way to the host (CVE-2024-21626), directly or
/// through a link of the image.
#[test]
fn the_working_directory_is_never_on_the_host() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    // Control: what a directory on the host looks like.
    let mut outside = Command::new(lab.bench.path("probe"));
    let seen = Said::from(outside.args(["look", "2"]).current_dir(&canary.path).output().unwrap()).ok();
    assert!(seen.contains(". canary") && seen.contains("./.. probe.tar"), "{seen}");

    let mut links = vec![link("one", "/proc/1/cwd"), link("up", "../../../../../.."), link("abs", &canary.text())];
    links.extend((3..12).map(|n| link(&format!("fd{n}"), &format!("/proc/self/fd/{n}"))));
    lab.image("links", &links).done();
    let mut places: Vec<String> =
        ["/proc/self/cwd", "/proc/1/cwd", "/proc/self/root", "/one", "/up", "/abs", "/abs/a/b"]
            .map(str::to_owned)
            .into();
    for n in 3..12 {
        places.extend([format!("/proc/self/fd/{n}"), format!("/proc/thread-self/fd/{n}"), format!("/fd{n}")]);
    }
    places.extend(["/proc/self/fd/7/../..", "/proc/self/fd/515", "/proc/1/fd/8/.."].map(str::to_owned));
    burdened(&lab, &canary, &["run", "-d", "--name", "ll", "links", "/probe", "sleep", "120"]).done();
    let mut started = 0;
    for place in &places {
        for words in [
            &["run", "--rm", "-w", place, "links", "/probe", "look", "6"][..],
            &["exec", "-w", place, "ll", "/probe", "look", "6"],
        ] {
            let said = burdened(&lab, &canary, words);
            assert!([0, 1, 125, 126, 127].contains(&said.code), "{words:?}: {said:?}");
            started += i32::from(said.code == 0);
            for sign in ["canary", "probe.tar", " work", "(unreachable)", SONG] {
                // A path of the same name is made inside; what is in it is what counts.
                let inside = said.out.lines().filter(|l| !l.starts_with("cwd "));
                assert!(!inside.clone().any(|l| l.ends_with(sign)), "{words:?} shows the host: {}", said.out);
            }
        }
    }
    assert!(started > 0, "every start was refused");
    lab.remove("ll");
    canary.assert_untouched("a working directory");
}
