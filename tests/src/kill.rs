//! Killing the program at a chosen system call, and looking at what is left.
//!
//! `strace` counts the calls of each process for itself, so the command, the monitor or the child dies, whichever makes
//! the Nth call first. The call itself is not made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Bench, Said, binary, eventually, is_root};

/// Calls that change something which outlives the caller or is seen by another process.
const CALLS: &str = "\
    capset chmod chown clone clone3 close_range copy_file_range dup2 execve exit_group fadvise64 fchdir fchmod fchmodat \
    fchmodat2 fchown fchownat fdatasync flock fork fsconfig fsmount fsopen fsync ftruncate keyctl \
    landlock_restrict_self link linkat lremovexattr lsetxattr memfd_create mkdir mkdirat mknodat mount_setattr \
    move_mount open_tree openat2 pidfd_send_signal pipe2 pivot_root ppoll prctl prlimit64 pwrite64 recvmsg rename \
    renameat renameat2 rmdir seccomp sendfile sendmsg setgroups sethostname setresgid setresuid setsid setxattr \
    socketpair splice symlink symlinkat umask umount2 unlink unlinkat unshare utimensat vfork wait4 waitid write";

/// The Nth call of a name.
pub type Point = (String, usize);

fn strace(bench: &Bench, log: &PathBuf, options: &[String], words: &[&str]) -> Said {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-s", "200", "-o"]).arg(log).args(options).arg(binary()).args(words);
    command.envs(bench.env()).stdin(Stdio::null());
    command.output().expect("strace is installed").into()
}

/// Runs the program once and finds at most `each` points for every call that it makes, first and last ones included.
///
/// # Panics
/// When the program fails, or `strace` is missing.
#[must_use]
pub fn points(bench: &Bench, words: &[&str], each: usize) -> Vec<Point> {
    let log = bench.path("trace");
    strace(bench, &log, &[], words).done();
    let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for line in std::fs::read_to_string(&log).expect("a trace").lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        if CALLS.split_whitespace().any(|call| call == name) {
            *counts.entry(name.to_owned()).or_default().entry(pid.to_owned()).or_default() += 1;
        }
    }
    let mut found = Vec::new();
    for (name, by_process) in counts {
        let last = by_process.values().copied().max().unwrap_or(0);
        let ends = by_process.values().copied();
        // The ends of each process, and steps between them.
        let mut chosen: BTreeSet<usize> = ends.chain([1]).collect();
        let steps = each.saturating_sub(chosen.len());
        chosen.extend((1..=steps).map(|i| (last * i / (steps + 1)).max(1)));
        found.extend(chosen.into_iter().map(|n| (name.clone(), n)));
    }
    found
}

/// Runs the program and kills whoever makes this call; returns the ids that control groups can have been made for.
#[must_use]
pub fn kill_at(bench: &Bench, point: &Point, words: &[&str]) -> BTreeSet<String> {
    let (name, number) = point;
    let log = bench.path("trace");
    let trace = format!("trace=mkdir,mkdirat,{name}");
    let inject = format!("inject={name}:signal=KILL:when={number}");
    drop(strace(bench, &log, &["-e".to_owned(), trace, "-e".to_owned(), inject], words));
    ids(&std::fs::read_to_string(&log).expect("a trace"))
}

/// Ids of containers and workers in a text: what follows a slash and is one.
fn ids(text: &str) -> BTreeSet<String> {
    let is_id = |word: &str| {
        let hex = word.strip_prefix("worker-").unwrap_or(word);
        (hex.len() == 64 || word.len() == 23) && hex.bytes().all(|b| b.is_ascii_hexdigit())
    };
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|w| is_id(w)).map(str::to_owned).collect()
}

/// Control groups of these ids, in any hierarchy.
#[must_use]
pub fn cgroups(ids: &BTreeSet<String>) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|e| e.path());
    let parents = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|h| h.join("bulkhead"));
    parents.flat_map(|p| ids.iter().map(move |id| p.join(id))).filter(|d| d.exists()).collect()
}

/// What the next command must have put right: containers that are listed are consistent and can be removed, and then
/// there is nothing.
///
/// # Panics
/// When something is left.
pub fn assert_settled(bench: &Bench, ids: &BTreeSet<String>, what: &str) {
    bench.say(&["ps", "-a"]).done();
    let sound = bench.say(&["system", "fsck"]);
    assert_eq!(sound.code, 0, "{what}: {}{}", sound.out, sound.err);
    let listed = || bench.say(&["ps", "-aq", "--no-trunc"]).ok();
    // One that was being made is listed until the lock of whoever made it is free, and then it is gone.
    let settled = || {
        listed().lines().all(|id| {
            let state = bench.say(&["inspect", "-f", "{{.State.Status}}", id]).out;
            matches!(state.trim(), "running" | "exited")
        })
    };
    assert!(eventually(5, settled), "{what}: {}", bench.say(&["ps", "-a"]).out);
    for id in listed().lines() {
        assert!(bench.path("root/containers").join(id).is_dir(), "{what}: the files of {id} are gone");
        if bench.state(id).0 == "running" {
            // It may end in this moment.
            let lives = || bench.say(&["exec", id, "true"]).code == 0 || bench.state(id).0 == "exited";
            assert!(eventually(5, lives), "{what}: {}", bench.say(&["exec", id, "true"]).err);
        } else {
            let places = cgroups(&BTreeSet::from([id.to_owned()]));
            assert!(places.is_empty(), "{what}: {places:?}");
        }
        let removed = bench.say(&["rm", "-f", id]);
        assert_eq!(removed.code, 0, "{what}: {}", removed.err);
    }
    assert_eq!(listed(), "", "{what}");
    assert!(eventually(5, || bench.processes().is_empty()), "{what}: {:#?}", bench.processes());
    let mut left = bench.left_overs();
    left.extend(cgroups(ids).iter().map(|p| p.display().to_string()));
    for place in ["root", "run"] {
        let names = std::fs::read_dir(bench.path(place)).into_iter().flatten().flatten().map(|e| e.file_name());
        let names = names.map(|n| n.to_string_lossy().into_owned());
        left.extend(names.filter(|n| n.contains("new") || n.contains("tmp")).map(|n| format!("{place}/{n}")));
    }
    assert!(left.is_empty(), "{what}: {left:#?}");
}

/// The range of the next container is the first of the pool: none is held by anything that is gone.
///
/// # Panics
/// When it is another one.
pub fn assert_no_range_is_held(bench: &Bench) {
    if is_root() {
        let map = bench.sh(&[], "cat /proc/self/uid_map").ok();
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "1879048192", "65536"]);
    }
}
