//! Archives that try to leave the directory they are unpacked into.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "a test that fails should stop with the value it found"
)]

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use bulkhead_image::testing::{EntrySpec, Style, TarBuilder};
use bulkhead_image::unpack::Whiteouts;
use common::{Lab, is_root, naive_unpack};

/// Archives by name; the scratch tree's absolute path is worked into them.
fn corpus(scratch: &str) -> Vec<(&'static str, TarBuilder)> {
    let new = TarBuilder::new;
    let target = format!("{scratch}/tree");
    let canary = format!("{scratch}/canary");
    vec![
        ("dotdot", new().file("../scratch/new", 0o644, "x")),
        ("dotdot inside", new().dir("a", 0o755).file("a/../../scratch/canary", 0o644, "x")),
        ("absolute", new().file(&canary, 0o644, "x")),
        ("link up", new().symlink("a", "..").file("a/scratch/canary", 0o644, "x")),
        ("link up, then new", new().symlink("a", "../scratch").file("a/new", 0o644, "x")),
        ("absolute link", new().symlink("a", &target).file("a/canary", 0o644, "x")),
        ("chmod through link", new().symlink("a", &target).dir("a", 0o777)),
        ("chmod through link, slash", new().symlink("a", &target).dir("a/", 0o777)),
        ("chmod below link", new().symlink("a", scratch).dir("a/tree", 0o777)),
        (
            "chain of links",
            new().symlink("a", "b").symlink("b", "c").symlink("c", "../scratch").file("a/new", 0o644, "x"),
        ),
        ("link as component of link", new().symlink("d", "..").symlink("a", "d/scratch").file("a/canary", 0o644, "x")),
        ("write through file link", new().symlink("a", &canary).file("a", 0o644, "x")),
        ("hard link up", new().hardlink("h", "../scratch/canary").file("h", 0o644, "x")),
        ("hard link absolute", new().hardlink("h", &canary).file("h", 0o644, "x")),
        ("hard link through link", new().symlink("a", scratch).hardlink("h", "a/canary").file("h", 0o600, "x")),
        ("hard link to link", new().symlink("a", &canary).hardlink("h", "a").file("h", 0o644, "x")),
        ("link over directory", new().dir("a", 0o755).symlink("a", scratch).file("a/new", 0o644, "x")),
        ("magic link", new().symlink("a", "/proc/self/cwd").file("a/new", 0o644, "x")),
        ("magic link fd", new().symlink("a", "/proc/self/fd/3").file("a/new", 0o644, "x")),
        ("whiteout of ..", new().file(".wh...", 0o644, "")),
        ("whiteout behind link", new().symlink("a", scratch).file("a/.wh.canary", 0o644, "")),
        ("opaque behind link", new().symlink("a", scratch).file("a/.wh..wh..opq", 0o644, "")),
        ("fifo behind link", new().symlink("a", scratch).entry(EntrySpec::new(b'6', "a/new"))),
        ("link behind link", new().symlink("a", scratch).symlink("a/new", "x")),
        ("hard link behind link", new().file("f", 0o644, "").symlink("a", scratch).hardlink("a/new", "f")),
    ]
}

#[test]
fn nothing_leaves_the_root() {
    for index in 0..corpus("").len() {
        for whiteouts in [Whiteouts::Overlay, Whiteouts::NoLower, Whiteouts::Literal] {
            let lab = Lab::new();
            let scratch = lab.scratch();
            let (name, tar) = corpus(scratch.to_str().unwrap()).swap_remove(index);
            let result = lab.unpack(&tar.finish(), whiteouts);
            lab.untouched().unwrap_or_else(|e| panic!("{name}: {result:?}: {e}"));
            // Where the magic links lead.
            assert!(!std::path::Path::new("new").exists(), "{name}: {result:?}");
        }
    }
}

/// The same check must flag an unpacker that joins strings, or it proves nothing.
#[test]
fn the_check_catches_a_naive_unpacker() {
    let mut caught = Vec::new();
    for index in 0..corpus("").len() {
        let lab = Lab::new();
        let (name, tar) = corpus(lab.scratch().to_str().unwrap()).swap_remove(index);
        // These lead out of the laboratory too, and a naive unpacker would go there.
        if name.starts_with("magic") {
            continue;
        }
        naive_unpack(&tar.finish(), &lab.root());
        if lab.untouched().is_err() {
            caught.push(name);
        }
    }
    for name in ["dotdot", "absolute", "link up", "chmod through link", "hard link up", "write through file link"] {
        assert!(caught.contains(&name), "{name} was not caught, only {caught:?}");
    }
    assert!(caught.len() >= 15, "{caught:?}");
}

#[test]
fn names_that_are_refused_or_kept_as_they_are() {
    let lab = Lab::new();
    let refused: &[&[u8]] = &[b"..", b"a/..", b"../", &[b'a'; 256], &[b'a'; 4096]];
    for name in refused {
        for style in [Style::Pax, Style::Gnu] {
            let spec = EntrySpec { style, ..EntrySpec::new(b'0', name) };
            assert!(lab.unpack(&TarBuilder::new().entry(spec).finish(), Whiteouts::Overlay).is_err());
        }
    }
    let pax_nul = EntrySpec::new(b'0', "x").pax("path", "a\0b");
    assert!(lab.unpack(&TarBuilder::new().entry(pax_nul).finish(), Whiteouts::Overlay).is_err());
    for name in [".", "./", "/"] {
        assert!(lab.unpack(&TarBuilder::new().file(name, 0o644, "").finish(), Whiteouts::Overlay).is_err());
        assert!(lab.unpack(&TarBuilder::new().symlink(name, "x").finish(), Whiteouts::Overlay).is_err());
        assert!(lab.unpack(&TarBuilder::new().dir(name, 0o755).finish(), Whiteouts::Overlay).is_ok());
    }
    let kept = TarBuilder::new()
        .file("new\nline", 0o644, "1")
        .file(b"\xff\xfe", 0o644, "2")
        .file("case", 0o644, "a")
        .file("CASE", 0o644, "b");
    lab.unpack(&kept.finish(), Whiteouts::Overlay).unwrap();
    assert_eq!(std::fs::read(lab.root().join("new\nline")).unwrap(), b"1");
    assert_eq!(std::fs::read(lab.root().join("case")).unwrap(), b"a");
    assert_eq!(std::fs::read(lab.root().join("CASE")).unwrap(), b"b");
    lab.assert_untouched();
}

#[test]
fn parents_that_are_links_inside_work_as_docker_has_it() {
    let lab = Lab::new();
    let tar = TarBuilder::new()
        .dir("usr/bin", 0o755)
        .symlink("bin", "usr/bin")
        .file("bin/foo", 0o755, "foo")
        .symlink("sbin", "/usr/bin")
        .file("sbin/bar", 0o755, "bar")
        .hardlink("bin/baz", "sbin/bar")
        .dir("bin/sub", 0o700);
    lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap();
    let root = lab.root();
    assert_eq!(std::fs::read(root.join("usr/bin/foo")).unwrap(), b"foo");
    assert_eq!(std::fs::read(root.join("usr/bin/baz")).unwrap(), b"bar");
    assert_eq!(std::fs::metadata(root.join("usr/bin/sub")).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(std::fs::symlink_metadata(root.join("bin")).unwrap().is_symlink());
}

#[test]
fn later_entries_replace_earlier_ones() {
    let lab = Lab::new();
    let tar = TarBuilder::new()
        .dir("d", 0o700)
        .file("d/in", 0o644, "kept")
        .dir("d", 0o750)
        .file("was-file", 0o644, "x")
        .dir("was-file", 0o755)
        .dir("was-dir/full/of", 0o755)
        .file("was-dir/full/file", 0o644, "x")
        .file("was-dir", 0o600, "now a file")
        .symlink("was-link", "d")
        .dir("was-link", 0o711)
        .file("a", 0o644, "1")
        .hardlink("b", "a")
        .hardlink("a", "a")
        .file("a", 0o4755, "2")
        .symlink("d2", "d")
        .symlink("d2", "was-link")
        .file("d2/through", 0o644, "x");
    lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap();
    let at = |name: &str| std::fs::symlink_metadata(lab.root().join(name)).unwrap();
    assert_eq!(at("d").mode() & 0o7777, 0o750);
    assert!(at("d/in").is_file() && at("was-file").is_dir() && at("was-dir").is_file());
    assert!(at("was-link").is_dir());
    assert_eq!(at("was-link").mode() & 0o7777, 0o711);
    assert!(at("was-link/through").is_file());
    assert_eq!(std::fs::read(lab.root().join("b")).unwrap(), b"1", "the old file lives on under its other name");
    assert_eq!(std::fs::read(lab.root().join("a")).unwrap(), b"2");
    assert_eq!(at("a").mode() & 0o7777, 0o4755, "set-id bits are kept");
    assert_eq!(at("a").mtime(), 1_000_000_000);
    assert_eq!(at("d").mtime(), 1_000_000_000, "times of directories are set last");
}

#[test]
fn things_that_can_not_be_represented() {
    let lab = Lab::new();
    for (tar, word) in [
        (TarBuilder::new().hardlink("h", "missing"), "does not have"),
        (TarBuilder::new().dir("d", 0o755).hardlink("h", "d"), "directory"),
        (TarBuilder::new().hardlink("h", "/"), "root"),
        (TarBuilder::new().file("f", 0o644, "").file("f/x", 0o644, ""), "something else"),
        (TarBuilder::new().symlink("l", "nowhere").file("l/x", 0o644, ""), "leads to no directory"),
        (TarBuilder::new().symlink("l", "l").file("l/x", 0o644, ""), "directory"),
    ] {
        let error = lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn owners_devices_and_attributes() {
    let lab = Lab::new();
    let long = "n".repeat(256);
    let tar = TarBuilder::new()
        .entry(EntrySpec { uid: 65_535, gid: 12, mode: 0o2755, ..EntrySpec::new(b'0', "own") })
        .entry(EntrySpec { uid: 7, gid: 8, mode: 0o1777, ..EntrySpec::new(b'5', "dir") })
        .entry(EntrySpec { uid: 3, gid: 4, link: b"x".to_vec(), ..EntrySpec::new(b'2', "link") })
        .entry(EntrySpec { mode: 0o622, ..EntrySpec::new(b'6', "fifo") })
        .entry(EntrySpec::new(b'3', "null"))
        .entry(EntrySpec::new(b'4', "sda"))
        .entry(
            EntrySpec::new(b'0', "attributes")
                .pax("SCHILY.xattr.user.mine", "v\0w")
                .pax("SCHILY.xattr.user.overlay.opaque", "y")
                .pax("SCHILY.xattr.user.overlay.redirect", "/etc")
                .pax("SCHILY.xattr.trusted.overlay.opaque", "y")
                .pax("SCHILY.xattr.security.selinux", "x")
                .pax("SCHILY.xattr.system.posix_acl_access", "x")
                .pax("mtime", "1234567890.123456789"),
        );
    let report = lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap();
    assert_eq!((report.skipped.devices, report.skipped.xattrs, report.entries), (2, 5, 7));
    assert_eq!(report.ids_ignored, !is_root());
    let at = |name: &str| std::fs::symlink_metadata(lab.root().join(name)).unwrap();
    if is_root() {
        assert_eq!((at("own").uid(), at("own").gid()), (65_535, 12));
        assert_eq!((at("dir").uid(), at("link").uid(), at("fifo").uid()), (7, 3, 0));
    }
    assert_eq!(at("own").mode() & 0o7777, 0o2755);
    assert_eq!(at("dir").mode() & 0o7777, 0o1777);
    assert!(at("fifo").file_type().is_fifo() && at("fifo").mode() & 0o7777 == 0o622);
    assert_eq!((at("attributes").mtime(), at("attributes").mtime_nsec()), (1_234_567_890, 123_456_789));
    let mut value = [0; 16];
    let n = rustix::fs::getxattr(lab.root().join("attributes"), "user.mine", &mut value).unwrap();
    assert_eq!(&value[..n], b"v\0w");
    let mut names = [0; 512];
    let n = rustix::fs::listxattr(lab.root().join("attributes"), &mut names).unwrap();
    assert!(!names[..n].escape_ascii().to_string().contains("overlay"));

    let bad = TarBuilder::new().entry(EntrySpec::new(b'0', "x").pax(format!("SCHILY.xattr.user.{long}"), "v"));
    assert!(lab.unpack(&bad.finish(), Whiteouts::Overlay).is_err());
    if is_root() {
        let bad = TarBuilder::new().entry(EntrySpec { uid: 65_536, ..EntrySpec::new(b'0', "x") });
        let error = lab.unpack(&bad.finish(), Whiteouts::Overlay).unwrap_err().to_string();
        assert!(error.contains("uid 65536 is above 65535"), "{error}");
    }
}

#[test]
fn capabilities_are_kept() {
    if !is_root() {
        eprintln!("skipped: capabilities of files need root");
        return;
    }
    // cap_net_raw+ep, revision 2.
    let value = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let lab = Lab::new();
    let spec = EntrySpec { uid: 5, mode: 0o755, data: b"x".to_vec(), ..EntrySpec::new(b'0', "ping") };
    let tar = TarBuilder::new().entry(spec.pax("SCHILY.xattr.security.capability", value));
    lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap();
    let mut found = [0; 64];
    let n = rustix::fs::getxattr(lab.root().join("ping"), "security.capability", &mut found).unwrap();
    assert_eq!(found[..n], value);
}
