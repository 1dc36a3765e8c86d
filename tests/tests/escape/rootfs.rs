//! Root file systems that lie about `/proc`, `/sys` and `/dev`.

use bulkhead_tests::canary::{Canary, SONG, host_mounts, host_settings};
use bulkhead_tests::probe::{Entry, Kind, Lab, dir, entry, file, link, value};

/// The file system that a path of the container lies on: the longest mount point above it, the last one if several.
fn mounted<'a>(state: &'a str, path: &str) -> Option<&'a str> {
    let mut mounts = state.lines().filter_map(|l| l.strip_prefix("mount ")).filter_map(|l| {
        let (left, right) = l.split_once(" - ")?;
        Some((left.split(' ').nth(4)?, right.split(' ').next()?))
    });
    mounts.rfind(|(at, _)| *at == path).map(|(_, kind)| kind)
}

/// A container of a strange image is as confined as any: its kernel files are the kernel's, and the filter is on.
fn assert_confined(what: &str, state: &str) {
    for (path, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "tmpfs"), ("/dev/null", "devtmpfs")] {
        assert_eq!(mounted(state, path), Some(kind), "{what}: {path}: {state}");
    }
    assert!(state.contains("status NoNewPrivs:\t1") && state.contains("status Seccomp:\t2"), "{what}: {state}");
    assert!(state.contains("dev /dev/null 20666 1:3"), "{what}: {state}");
    assert!(!state.contains(SONG), "{what}: {state}");
}

/// `/proc`, `/sys` or `/dev` that is a link, a file or a FIFO (CVE-2019-19921, CVE-2023-27561, CVE-2025-54867,
/// CVE-2026-41579, CVE-2026-47766): refused, or covered by the real thing; never followed.
#[test]
fn kernel_directories_that_are_links_are_not_followed() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let (mounts, settings) = (host_mounts(), host_settings());
    let absolute = canary.text();
    let relative = format!("../../../../../../../..{absolute}");
    // Control: joined strings do follow such a link.
    let naive = lab.bench.path("naive");
    std::fs::create_dir(&naive).unwrap();
    std::os::unix::fs::symlink(&relative, naive.join("dev")).unwrap();
    let own = Canary::new(lab.bench.dir.path(), "own");
    std::os::unix::fs::symlink(&own.path, naive.join("proc")).unwrap();
    std::fs::remove_file(naive.join("proc/ptmx")).unwrap();
    assert!(naive.join("dev/ptmx").exists() && !own.changes().is_empty(), "the canaries are blind");

    let (mut ran, mut refused) = (0, 0);
    for name in ["proc", "sys", "dev"] {
        let cases: Vec<Vec<Entry>> = vec![
            vec![link(name, &absolute)],
            vec![link(name, &relative)],
            vec![link(name, "one"), link("one", "/two"), link("two", &absolute)],
            vec![link(name, if name == "sys" { "/proc" } else { "/sys" })],
            vec![link(name, "etc")],
            vec![file(name, "file")],
            vec![entry(name, Kind::Fifo)],
            vec![dir(&absolute[1..]), link(name, &absolute)],
        ];
        for (n, case) in cases.iter().enumerate() {
            let image = format!("bad-{name}-{n}");
            lab.image(&image, case).done();
            for flags in [&[][..], &["--read-only", "-w", "/tmp"]] {
                let said = lab.run(flags, &image, &["state"]);
                match said.code {
                    0 => {
                        ran += 1;
                        assert_confined(&image, &said.out);
                    }
                    125 => refused += 1,
                    _ => panic!("{image}: {said:?}"),
                }
            }
        }
    }
    eprintln!("{ran} ran, {refused} were refused");
    canary.assert_untouched("a link for a kernel directory");
    assert_eq!((host_mounts(), host_settings()), (mounts, settings));
}

/// What an image has inside `/dev`, `/proc` and `/sys` takes no part: not its `/dev/null` (CVE-2025-31133), not its
/// `/proc/self/fd` (CVE-2026-115521), not its `/proc/self/attr` (CVE-2019-16884).
#[test]
fn content_below_kernel_directories_takes_no_part() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let settings = host_settings();
    let null = [
        link("dev/null", "/proc/sys/kernel/core_pattern"),
        link("dev/null", &canary.text()),
        file("dev/null", "file"),
        entry("dev/null", Kind::Fifo),
        entry("dev/null", Kind::Device(1, 5)),
        dir("dev/null"),
    ];
    for (n, null) in null.into_iter().enumerate() {
        let image = format!("null-{n}");
        let more = [
            null,
            link("dev/pts", &canary.text()),
            link("dev/console", &canary.path.join("canary").to_string_lossy()),
            link("dev/ptmx", &canary.path.join("ptmx").to_string_lossy()),
            link("dev/shm", &canary.text()),
            dir("proc/self"),
            link("proc/self/fd", &canary.path.join("self/fd").to_string_lossy()),
            link("proc/self/attr", &canary.path.join("self/attr").to_string_lossy()),
            dir("proc/sys"),
            link("proc/sys/kernel", &canary.text()),
            link("proc/kcore", &canary.path.join("canary").to_string_lossy()),
        ];
        let made = lab.image(&image, &more);
        if made.code != 0 {
            // Devices are refused by the unpacker of an ordinary user.
            assert!(image == "null-4" && !bulkhead_tests::is_root(), "{made:?}");
            continue;
        }
        assert_confined(&image, &lab.run(&["-t"], &image, &["state"]).ok().replace('\r', ""));
        let masked =
            lab.run(&[], &image, &["open-write", "/proc/keys", "/proc/timer_list", "/proc/sys/kernel/core_pattern"]);
        let masked = masked.ok();
        for line in masked.lines().filter(|l| l.starts_with("write") || l.starts_with("append")) {
            assert!(line.ends_with("EACCES") || line.ends_with("EROFS") || line.ends_with("EPERM"), "{masked}");
        }
    }
    canary.assert_untouched("content below kernel directories");
    assert_eq!(host_settings(), settings);
}

/// Read-only is read-only from the first moment, whatever the image has at `/proc/self/fd` (CVE-2026-115521).
#[test]
fn read_only_mounts_cannot_be_written() {
    let lab = Lab::new();
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let fds: Vec<Entry> = (0..20).map(|n| link(&format!("proc/self/fd/{n}"), "/tmp")).collect();
    lab.image("fds", &[&[dir("proc/self"), dir("proc/self/fd"), file("etc/x", ""), dir("data")], &fds[..]].concat())
        .done();
    let bind = format!("{}:/data:ro", canary.path.display());
    let out = lab.run(&["--read-only", "-v", &bind], "fds", &["open-write", "/etc/x", "/probe", "/data/canary"]).ok();
    for path in ["/etc/x", "/data/canary"] {
        for way in ["write", "append", "reopen"] {
            assert_eq!(value(&out, &format!("{way} {path}")), Some("EROFS"), "{out}");
        }
    }
    // Control: without the flags they can be.
    let own = Canary::new(lab.bench.dir.path(), "own");
    let bind = format!("{}:/data", own.path.display());
    let out = lab.run(&["-v", &bind], "fds", &["open-write", "/etc/x", "/data/canary"]).ok();
    assert_eq!((value(&out, "write /etc/x"), value(&out, "write /data/canary")), (Some("ok"), Some("ok")), "{out}");
    canary.assert_untouched("a read-only bind");
}

/// Mounts over kernel files hide what protects the container (CVE-2019-16884, CVE-2023-28642): refused however the
/// target is spelt, and without effect when a link of the image leads there.
#[test]
fn nothing_can_be_mounted_over_kernel_files() {
    let lab = Lab::new();
    let fake = lab.bench.path("fake");
    std::fs::create_dir_all(fake.join("self/attr")).unwrap();
    let spellings = [
        "/proc",
        "//proc",
        "/proc/",
        "/./proc",
        "/x/../proc",
        "/proc/self",
        "/proc/self/attr",
        "/proc/sys",
        "/proc/../proc/sys/kernel",
        "/sys",
        "/sys/",
        "//sys//fs",
        "/sys/fs/cgroup",
        "/sys/kernel",
        "/dev",
        "/dev/",
        "/dev/pts",
        "/dev/mqueue",
        "/dev/null",
        "/dev/console",
        "/x/../../sys",
        "/",
        "//",
        "/.",
        "/x/..",
    ];
    for target in spellings {
        let bind = format!("{}:{target}", fake.display());
        let memory = format!("type=tmpfs,target={target}");
        for flags in [&["-v", &bind][..], &["--tmpfs", target], &["--mount", &memory]] {
            let said = lab.probe(flags, &["state"]);
            assert_eq!(said.code, 125, "{flags:?} was not refused: {said:?}");
            assert!(["target", "mount", "volume", "tmpfs"].iter().any(|w| said.err.contains(w)), "{said:?}");
        }
    }
    let canary = Canary::new(lab.bench.dir.path(), "canary");
    let links = [
        link("p", "/proc"),
        link("attr", "/proc/self/attr"),
        link("s", "/sys"),
        link("d", "/dev"),
        link("up", ".."),
        link("c", &canary.text()),
        link("null", "/dev/null"),
        link("ps", "/proc/sys"),
    ];
    lab.image("links", &links).done();
    for target in
        ["/p", "/p/self", "/attr", "/s", "/s/fs", "/d", "/d/pts", "/up/proc", "/c", "/c/deep/er", "/null", "/ps"]
    {
        for flags in [&["-v", &format!("{}:{target}", fake.display())][..], &["--tmpfs", target]] {
            let said = lab.run(flags, "links", &["state"]);
            match said.code {
                0 => assert_confined(&format!("{flags:?}"), &said.out),
                125 => {}
                _ => panic!("{flags:?}: {said:?}"),
            }
        }
    }
    canary.assert_untouched("mount targets that are links");
    // Control: where it is allowed, the mount is seen.
    let seen = lab.probe(&["-v", &format!("{}:/data", fake.display())], &["state"]).ok();
    assert!(mounted(&seen, "/data").is_some(), "{seen}");
}
