//! Deletion markers: what overlayfs will make of the unpacked tree.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "a test that fails should stop with the value it found"
)]

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use bulkhead_image::testing::{EntrySpec, TarBuilder};
use bulkhead_image::unpack::Whiteouts;
use common::Lab;

fn is_whiteout(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::getxattr(path, "user.overlay.opaque", &mut value).is_ok_and(|n| value[..n] == *b"y")
}

#[test]
fn markers_become_overlay_entries() {
    let lab = Lab::new();
    let tar = TarBuilder::new()
        .dir("etc", 0o755)
        .file("etc/.wh.passwd", 0o644, "")
        .dir("var", 0o755)
        .file("var/.wh..wh..opq", 0o644, "")
        .file("var/new", 0o644, "x")
        .file("opt/deep/.wh.gone", 0o644, "")
        .file(".wh.top", 0o644, "");
    let report = lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap();
    let root = lab.root();
    assert!(is_whiteout(&root.join("etc/passwd")) && is_whiteout(&root.join("opt/deep/gone")));
    assert!(is_whiteout(&root.join("top")));
    assert!(is_opaque(&root.join("var")) && !is_opaque(&root.join("etc")));
    assert!(root.join("var/new").is_file());
    assert!(!root.join("etc/.wh.passwd").exists());
    assert_eq!((report.implied_directories, report.skipped.whiteouts), (2, 0));
}

/// A marker speaks of the layers below only, wherever it stands in the archive.
#[test]
fn order_in_the_layer_does_not_matter() {
    for before in [true, false] {
        let lab = Lab::new();
        let marked =
            |tar: TarBuilder| tar.file(".wh.dir", 0o644, "").file(".wh.file", 0o644, "").file(".wh.implied", 0o644, "");
        let mut tar = TarBuilder::new();
        if before {
            tar = marked(tar);
        }
        tar = tar.dir("dir", 0o755).file("dir/in", 0o644, "x").file("file", 0o644, "x").file("implied/in", 0o644, "x");
        if !before {
            tar = marked(tar);
        }
        lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap();
        let root = lab.root();
        assert!(is_opaque(&root.join("dir")) && is_opaque(&root.join("implied")), "before: {before}");
        assert!(root.join("dir/in").is_file() && root.join("file").is_file() && root.join("implied/in").is_file());
    }
}

#[test]
fn nothing_below_means_nothing_to_hide() {
    let lab = Lab::new();
    let tar = TarBuilder::new().file("a/.wh.b", 0o644, "").file("a/.wh..wh..opq", 0o644, "").file("c", 0o644, "");
    let report = lab.unpack(&tar.finish(), Whiteouts::NoLower).unwrap();
    assert_eq!(report.skipped.whiteouts, 2);
    assert!(!lab.root().join("a").exists() && lab.root().join("c").exists());
}

#[test]
fn odd_markers_are_refused() {
    let devices = |flag| TarBuilder::new().entry(EntrySpec { link: b"x".to_vec(), ..EntrySpec::new(flag, ".wh.a") });
    let name = |name: &str| TarBuilder::new().file(name, 0o644, "");
    for (what, tar) in [
        ("no name", name(".wh.")),
        ("dot", name("a/.wh..")),
        ("dotdot", name(".wh...")),
        ("nested", name(".wh..wh.x")),
        ("nested opaque", name(".wh..wh..wh..opq")),
        ("old metadata", name(".wh..wh.plnk/1.2")),
        ("with a path", name(".wh.a/b")),
        ("absolute", name(".wh./etc/passwd")),
        ("directory", TarBuilder::new().dir(".wh.a", 0o755)),
        ("link", devices(b'2')),
        ("hard link", devices(b'1')),
        ("device", devices(b'3')),
        ("content", TarBuilder::new().file(".wh.a", 0o644, "x")),
        ("linked to", TarBuilder::new().file("f", 0o644, "").hardlink("g", ".wh.f")),
        ("parent is a dangling link", TarBuilder::new().symlink("l", "../scratch/none").file("l/.wh.a", 0o644, "")),
    ] {
        let lab = Lab::new();
        let error = lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap_err().to_string();
        assert!(error.contains("entry"), "{what}: {error}");
        lab.assert_untouched();
    }
}

/// Overlay entries that the image brings itself never arrive: they would hide or redirect what it does not own.
#[test]
fn overlay_entries_of_the_image_are_dropped() {
    let lab = Lab::new();
    let tar = TarBuilder::new().entry(EntrySpec::new(b'3', "null-device")).entry(
        EntrySpec { mode: 0o755, ..EntrySpec::new(b'5', "d") }
            .pax("SCHILY.xattr.trusted.overlay.opaque", "y")
            .pax("SCHILY.xattr.user.overlay.opaque", "y")
            .pax("SCHILY.xattr.user.overlay.whiteout", "")
            .pax("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
    );
    let report = lab.unpack(&tar.finish(), Whiteouts::Overlay).unwrap();
    assert_eq!((report.skipped.devices, report.skipped.xattrs), (1, 4));
    assert!(!lab.root().join("null-device").exists() && !is_opaque(&lab.root().join("d")));
}

#[test]
fn archives_that_are_not_layers_keep_the_names() {
    let lab = Lab::new();
    let tar = TarBuilder::new().file("d/.wh.a", 0o644, "text").dir(".wh..wh..opq", 0o755);
    lab.unpack(&tar.finish(), Whiteouts::Literal).unwrap();
    assert_eq!(std::fs::read(lab.root().join("d/.wh.a")).unwrap(), b"text");
}

/// The kernel is the judge, where the test may mount.
#[test]
fn overlayfs_agrees() {
    let lab = Lab::new();
    let root = lab.root();
    for dir in ["lower/dir", "lower/other", "upper", "merged"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in ["lower/gone", "lower/kept", "lower/dir/old", "lower/other/old"] {
        std::fs::write(root.join(file), "x").unwrap();
    }
    let tar = TarBuilder::new()
        .file(".wh.gone", 0o644, "")
        .dir("dir", 0o755)
        .file("dir/.wh..wh..opq", 0o644, "")
        .file("dir/new", 0o644, "")
        .file(".wh.other", 0o644, "");
    let upper = std::fs::File::open(root.join("upper")).unwrap();
    let budget = bulkhead_image::Budget::default();
    bulkhead_image::unpack::unpack(
        &mut bulkhead_image::archive::TarReader::new(&*tar.finish(), &budget),
        std::os::fd::AsFd::as_fd(&upper),
        bulkhead_image::unpack::UnpackOptions { ids: common::ids(), whiteouts: Whiteouts::Overlay },
        &mut bulkhead_image::Meter::new(&budget),
    )
    .unwrap();
    let script = "mount -t overlay overlay -o ro,userxattr,lowerdir=upper:lower merged && cd merged && find . | sort";
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .current_dir(&root)
        .output();
    let Ok(output) = output.as_ref().map(|o| String::from_utf8_lossy(&o.stdout).into_owned()) else {
        eprintln!("skipped: no unshare program");
        return;
    };
    if output.is_empty() {
        eprintln!("skipped: this machine does not mount overlayfs in a user namespace");
        return;
    }
    assert_eq!(output, ".\n./dir\n./dir/new\n./kept\n");
}
