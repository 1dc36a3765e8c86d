//! The engine's own program, as a container sees it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bulkhead_tests::probe::{Kind, Lab, entry, link, value};
use bulkhead_tests::{binary, eventually};
use rustix::fs::{Mode, OFlags};

use super::descriptors::parent;

fn identity(path: &Path) -> Option<(u64, u64)> {
    let m = std::fs::metadata(path).ok()?;
    Some((m.dev(), m.ino()))
}

/// Which of the ways to open a process's program for writing work, from outside, with the rights of the test.
fn writable(pid: i32) -> bool {
    let link = format!("/proc/{pid}/exe");
    let again = rustix::fs::open(&link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let direct = rustix::fs::open(&link, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).is_ok();
    let detour = again.is_ok_and(|fd| {
        use std::os::fd::AsRawFd;
        rustix::fs::open(format!("/proc/self/fd/{}", fd.as_raw_fd()), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .is_ok()
    });
    direct || detour
}

/// An entry point that leads to `/proc/self/exe` runs whatever entered the container (CVE-2019-5736); that is a copy
/// which cannot be opened for writing, and the installed program stays as it is.
#[test]
fn an_entry_point_cannot_reach_the_engine_program() {
    let lab = Lab::new();
    let before = std::fs::read(binary()).unwrap();
    let mut script = entry("script", Kind::File(b"#!/proc/self/exe\n".to_vec()));
    script.mode = 0o755;
    lab.image("exe", &[link("entry", "/proc/self/exe"), link("via", "/proc/1/exe"), script]).done();
    // Control: a program that may be written while it does not run.
    let open = lab.outside(&["open-write", &lab.bench.path("probe.tar").to_string_lossy()]).ok();
    assert!(open.lines().filter(|l| l.ends_with(" ok")).count() == 3, "the probe is blind: {open}");

    for start in ["/entry", "/via", "/script"] {
        for flags in [&["--entrypoint", start][..], &["--init", "--entrypoint", start]] {
            let said = lab.bench.say(&[&["run", "--rm"], flags, &["exe", "version"]].concat());
            assert!([0, 1, 2, 125, 126, 127].contains(&said.code), "{start}: {said:?}");
        }
    }
    // Process 1 that is the engine's copy, by the container's own wish and by --init.
    for flags in [&["--entrypoint", "/entry", "exe", "init"][..], &["--init", "exe"]] {
        let words = [&["run", "-d", "--name", "xx"], flags, &["/probe", "sleep", "60"]].concat();
        let started = lab.bench.say(&words);
        let alive = started.code == 0 && lab.bench.say(&["exec", "xx", "/probe", "true"]).code == 0;
        if alive {
            let tried = lab.exec(&[], "xx", &["open-write", "/proc/1/exe"]).ok();
            for way in ["write", "append", "reopen"] {
                let said = value(&tried, &format!("{way} /proc/1/exe")).unwrap();
                assert!(["ETXTBSY", "EACCES", "EROFS", "EPERM", "ENOENT"].contains(&said), "{words:?}: {tried}");
            }
        } else {
            assert!(!flags.contains(&"--init"), "{started:?}");
        }
        drop(lab.bench.say(&["rm", "-f", "xx"]));
    }
    assert!(std::fs::read(binary()).unwrap() == before, "the installed program was changed");
}

/// Monitor and joiner run from other pages than the installed file (CVE-2022-0847 wrote to read-only files in memory).
#[test]
fn helpers_run_from_a_copy() {
    let lab = Lab::new();
    // Control: an ordinary process runs from the file that was installed.
    let mut plain = std::process::Command::new(lab.bench.path("probe")).args(["sleep", "30"]).spawn().unwrap();
    let pid = i32::try_from(plain.id()).unwrap();
    let own = identity(&lab.bench.path("probe"));
    assert!(eventually(5, || identity(Path::new(&format!("/proc/{pid}/exe"))) == own));
    plain.kill().unwrap();
    plain.wait().unwrap();

    lab.start("mm", &["--init"], &["sleep", "60"]);
    lab.bench.say(&["exec", "-d", "mm", "/probe", "sleep", "61"]).done();
    let joined = || {
        std::fs::read_dir("/proc").unwrap().flatten().find_map(|e| {
            let pid: i32 = e.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(e.path().join("cmdline")).ok()?;
            let first = std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
            let container = std::fs::read_link(format!("/proc/{}/ns/pid", lab.bench.pid_of("mm"))).ok()?;
            (line == b"/probe\0sleep\x0061\0" && first == container).then_some(pid)
        })
    };
    let first = lab.bench.pid_of("mm");
    let second = joined().expect("the program that joined");
    let installed = identity(&binary());
    assert!(installed.is_some() && own.is_some());
    let mut seen = 0;
    for (what, pid) in [("monitor", parent(first)), ("joiner", parent(second)), ("init", first)] {
        let exe = format!("/proc/{pid}/exe");
        // One that cannot even be looked at by its own user is safe too.
        seen += i32::from(identity(Path::new(&exe)).is_some());
        assert_ne!(identity(Path::new(&exe)), installed, "the {what} runs from the installed file");
        assert!(!writable(pid), "the {what} at {exe} can be written");
    }
    assert!(seen > 0, "none could be looked at");
    lab.remove("mm");
}
