//! Archives that cannot be used: one error, exit code 1, and no image, no layer, no staging directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_tests::Bench;
use bulkhead_tests::life::tar;

fn nothing_kept(bench: &Bench, what: &str) {
    let left = bench.left_overs();
    assert!(left.is_empty(), "{what}: {left:#?}");
    assert_eq!(bench.say(&["images", "-q"]).ok(), "", "{what}");
    assert_eq!(fs::read_dir(bench.path("root/layers")).unwrap().count(), 0, "{what}");
}

fn refused(bench: &Bench, words: &[&str], wanted: &[&str]) {
    let error = bench.say(words).fails(1);
    assert!(error.starts_with("bulkhead: ") && error.lines().count() <= 2, "{error}");
    for part in wanted {
        assert!(error.contains(part), "{words:?}: no {part:?} in {error}");
    }
    nothing_kept(bench, &error);
}

fn rootfs(bench: &Bench) -> PathBuf {
    let dir = bench.path("rootfs");
    fs::create_dir_all(dir.join("etc")).unwrap();
    for i in 0..20 {
        fs::write(dir.join(format!("etc/file{i}")), vec![b'a'; 3000 * i]).unwrap();
    }
    let archive = bench.path("rootfs.tar");
    tar(&dir, &archive, &[]);
    archive
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_file_that_is_missing_or_no_archive_is_named() {
    let bench = Bench::new();
    refused(&bench, &["import", "/no/such.tar"], &["open the archive", "/no/such.tar", "No such file"]);
    refused(&bench, &["load", "-i", "/no/such.tar"], &["open the archive", "/no/such.tar", "No such file"]);
    let noise = bench.path("noise");
    fs::write(&noise, (0..100_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<_>>())
        .unwrap();
    refused(&bench, &["import", text(&noise)], &[]);
    refused(&bench, &["load", "-i", text(&noise)], &[]);
    let empty = bench.path("empty");
    fs::write(&empty, "").unwrap();
    refused(&bench, &["import", text(&empty)], &[]);
    refused(&bench, &["load", "-i", text(&empty)], &[]);
    refused(&bench, &["import", text(bench.dir.path())], &[]);
    let dir = bench.path("nothing");
    fs::create_dir(&dir).unwrap();
    refused(&bench, &["load", "-i", text(&dir)], &[]);
    let (_, said) = bench.feed(&["import", "-"], b"no archive either");
    assert_eq!(said.code, 1, "{}", said.err);
    // A root file system is no image archive: the error says which command takes it.
    refused(&bench, &["load", "-i", text(&rootfs(&bench))], &["is imported, not loaded"]);
}

#[test]
fn an_unreadable_file_is_named() {
    let bench = Bench::new();
    let archive = rootfs(&bench);
    if bulkhead_tests::is_root() {
        // Root reads every file; what he cannot read is a file with an error in it.
        refused(&bench, &["import", "/proc/self/mem"], &[]);
        return;
    }
    fs::set_permissions(&archive, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    refused(&bench, &["import", text(&archive)], &[text(&archive), "Permission denied"]);
}

#[test]
fn a_cut_archive_is_noticed_wherever_it_was_cut() {
    let bench = Bench::new();
    let archive = rootfs(&bench);
    let whole = fs::read(&archive).unwrap();
    bench.say(&["import", text(&archive), "whole"]).done();
    bench.say(&["rmi", "whole"]).done();
    let cut = bench.path("cut.tar");
    // In a header, in a file, at their borders; what ends with the last file only lacks the mark of the end.
    for at in [1, 100, 511, 512, 513, 1025, 2048, whole.len() / 3, whole.len() / 2, whole.len() - 20_000] {
        fs::write(&cut, &whole[..at]).unwrap();
        refused(&bench, &["import", text(&cut), "cut"], &[]);
    }
    for (program, name) in [("gzip", "gz"), ("zstd", "zst")] {
        let packed = Command::new(program).arg("-qc").arg(&archive).output();
        let Ok(packed) = packed else { continue };
        let cut = bench.path(&format!("cut.tar.{name}"));
        let whole = packed.stdout;
        for at in [3, whole.len() / 2, whole.len() - 4] {
            fs::write(&cut, &whole[..at]).unwrap();
            refused(&bench, &["import", text(&cut), "cut"], &[]);
        }
    }
}

fn oci_layout(bench: &Bench) -> PathBuf {
    let sum = |path: &Path| {
        let out = Command::new("sha256sum").arg(path).output().unwrap().stdout;
        String::from_utf8(out).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let dir = bench.path("layout");
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let temporary = bench.path("blob");
        fs::write(&temporary, bytes).unwrap();
        let digest = sum(&temporary);
        fs::rename(&temporary, blobs.join(&digest)).unwrap();
        (format!("sha256:{digest}"), bytes.len())
    };
    let layer = fs::read(rootfs(bench)).unwrap();
    let (layer, layer_size) = put(&layer);
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let config = serde_json::json!({
        "architecture": arch, "os": "linux", "config": { "Cmd": ["/bin/sh"] },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    });
    let (config, config_size) = put(config.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_size }],
    });
    let (manifest, size) = put(manifest.to_string().as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": size,
            "annotations": { "org.opencontainers.image.ref.name": "shop/web:1" } }],
    });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    dir
}

#[test]
fn a_layout_loads_and_a_changed_blob_is_noticed() {
    let bench = Bench::new();
    let layout = oci_layout(&bench);
    let loaded = bench.say(&["load", "-i", text(&layout)]).ok();
    assert!(loaded.contains("shop/web:1"), "{loaded}");
    let archive = bench.path("layout.tar");
    tar(&layout, &archive, &[]);
    bench.say(&["rmi", "shop/web:1"]).done();
    assert!(bench.say(&["load", "-i", text(&archive)]).ok().contains("shop/web:1"));
    bench.say(&["rmi", "shop/web:1"]).done();
    nothing_kept(&bench, "removed");
    for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let blob = entry.unwrap().path();
        let before = fs::read(&blob).unwrap();
        let mut changed = before.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&blob, &changed).unwrap();
        refused(&bench, &["load", "-i", text(&layout)], &[]);
        tar(&layout, &archive, &[]);
        refused(&bench, &["load", "-i", text(&archive)], &[]);
        fs::remove_file(&blob).unwrap();
        refused(&bench, &["load", "-i", text(&layout)], &[]);
        fs::write(&blob, &before).unwrap();
    }
    let whole = fs::read(&archive).unwrap();
    for at in [512, whole.len() / 2, whole.len() * 9 / 10] {
        fs::write(&archive, &whole[..at]).unwrap();
        refused(&bench, &["load", "-i", text(&archive)], &[]);
    }
}

/// An image whose root directory is not the caller's to write, or belongs to somebody else, is an image too.
#[test]
fn odd_roots_are_imported_and_removed() {
    let bench = Bench::new();
    let archive = bench.path("odd.tar");
    let dir = bench.path("odd");
    fs::create_dir_all(dir.join("closed")).unwrap();
    fs::write(dir.join("closed/file"), "x").unwrap();
    for further in [&["--mode=0555"][..], &["--mode=0500"], &["--owner=1000", "--group=1000", "--mode=0700"]] {
        tar(&dir, &archive, further);
        bench.say(&["import", text(&archive), "odd"]).done();
        let error = bench.say(&["run", "--rm", "odd", "/none"]).fails(127);
        assert!(error.contains("/none"), "{error}");
        bench.say(&["rmi", "odd"]).done();
        nothing_kept(&bench, &format!("{further:?}"));
    }
}

#[test]
fn wrong_references_and_changes_are_named() {
    let bench = Bench::new();
    let archive = rootfs(&bench);
    refused(&bench, &["import", text(&archive), "Not A Name"], &["reference", "Not A Name", "shop/web:1.2"]);
    refused(&bench, &["import", "-c", "FROM scratch", text(&archive)], &["FROM"]);
    refused(&bench, &["import", "-c", "ENV", text(&archive)], &["ENV"]);
}
