//! Whole images: every form they come in, and every way to lie about them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    reason = "a test that fails should stop with the value it found"
)]

mod common;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use bulkhead_image::archive::Compression;
use bulkhead_image::testing::{
    EntrySpec, Files, ImageSpec, TarBuilder, docker_archive, docker_archive_files, gzip, oci_files,
    oci_in_docker_files, write_files, zstd,
};
use bulkhead_image::{
    Budget, Digest, ImportOptions, LoadOptions, LoadReport, Platform, Result, import, load, load_layout,
};
use common::{Lab, ids, options};
use serde_json::{Value, json};

fn layers() -> Vec<Vec<u8>> {
    vec![
        TarBuilder::new().dir("etc", 0o755).file("etc/a", 0o644, "lower").file("etc/b", 0o644, "b").finish(),
        TarBuilder::new().file("etc/.wh.a", 0o644, "").file("etc/c", 0o755, vec![b'c'; 300_000]).finish(),
    ]
}

fn image() -> ImageSpec {
    let mut image = ImageSpec::new("docker.io/library/test:1.0", layers());
    image.config = json!({ "Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "HOME"], "User": "1000" });
    image
}

fn load_files(lab: &Lab, files: &Files) -> Result<LoadReport> {
    load(&*docker_archive(files), lab.staging(), &Budget::default(), &options())
}

fn from_dir(lab: &Lab, files: &Files, options: &LoadOptions) -> Result<LoadReport> {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path(), files).unwrap();
    load_layout(File::open(dir.path()).unwrap().as_fd(), lab.staging(), &Budget::default(), options)
}

fn check(lab: &Lab, report: &LoadReport, names: usize) {
    assert_eq!(report.images.len(), 1);
    let image = &report.images[0];
    assert_eq!(
        image.references.iter().map(ToString::to_string).collect::<Vec<_>>(),
        vec!["docker.io/library/test:1.0"; names]
    );
    assert_eq!(image.config_digest, Digest::of(image.config_json.as_bytes()));
    assert_eq!((image.config.user.as_str(), image.config.dropped_env), ("1000", 1));
    assert_eq!(image.config.env, ["PATH=/bin"]);
    let diffs: Vec<_> = layers().iter().map(|layer| Digest::of(layer)).collect();
    assert_eq!(image.layers[0].chain_id, diffs[0]);
    assert_eq!(image.layers[1].chain_id, Digest::chain(Some(&diffs[0]), &diffs[1]));
    assert_eq!((image.layers[1].bytes_unpacked, image.layers[1].entries, image.layers[1].new), (300_000, 2, true));
    assert_eq!(image.size, 300_006);
    let dir = lab.root().join("layers");
    let (low, high) = (dir.join(image.layers[0].chain_id.hex()), dir.join(image.layers[1].chain_id.hex()));
    assert_eq!(std::fs::read(low.join("etc/a")).unwrap(), b"lower");
    assert_eq!(std::fs::read(high.join("etc/c")).unwrap().len(), 300_000);
    assert!(high.join("etc/a").symlink_metadata().is_ok(), "the whiteout");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    assert!(!lab.root().join("spool").exists() && !lab.root().join("partial").exists());
    let json = serde_json::to_string(report).unwrap();
    assert_eq!(serde_json::from_str::<LoadReport>(&json).unwrap(), *report);
}

#[test]
fn all_forms_give_the_same_image() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let spec = ImageSpec { compression, ..image() };
        for files in [
            docker_archive_files(std::slice::from_ref(&spec)),
            oci_files(std::slice::from_ref(&spec)),
            oci_in_docker_files(std::slice::from_ref(&spec)),
        ] {
            let archive = docker_archive(&files);
            for whole in [archive.clone(), gzip(&archive), zstd(&archive)] {
                let lab = Lab::new();
                let report = load(&*whole, lab.staging(), &Budget::default(), &options()).unwrap();
                check(&lab, &report, 1);
                assert!(!lab.root().join("blobs").exists());
                let has_manifest = files.contains_key("index.json");
                assert_eq!(report.images[0].manifest_digest.is_some(), has_manifest);
                lab.assert_untouched();
            }
        }
        let lab = Lab::new();
        check(&lab, &from_dir(&lab, &oci_files(&[spec]), &options()).unwrap(), 1);
    }
}

#[test]
fn pipes_are_read_once() {
    struct Trickle(Vec<u8>, usize);
    impl Read for Trickle {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = buf.len().min(self.0.len() - self.1).min(777);
            buf[..n].copy_from_slice(&self.0[self.1..self.1 + n]);
            self.1 += n;
            Ok(n)
        }
    }
    let lab = Lab::new();
    let archive = gzip(&docker_archive(&docker_archive_files(&[image()])));
    check(&lab, &load(Trickle(archive, 0), lab.staging(), &Budget::default(), &options()).unwrap(), 1);
}

#[test]
fn blobs_are_kept_when_asked_for() {
    let options = LoadOptions { keep_blobs: true, ..options() };
    let spec = image();
    let files = oci_files(std::slice::from_ref(&spec));
    let expected: HashSet<String> =
        files.keys().filter_map(|name| name.strip_prefix("blobs/sha256/")).map(str::to_owned).collect();
    let kept = |lab: &Lab| -> HashSet<String> {
        let dir = lab.root().join("blobs/sha256");
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(Digest::of(&std::fs::read(&path).unwrap()).hex(), path.file_name().unwrap().to_str().unwrap());
        }
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let lab = Lab::new();
    from_dir(&lab, &files, &options).unwrap();
    assert_eq!(kept(&lab), expected);
    let lab = Lab::new();
    load(&*docker_archive(&files), lab.staging(), &Budget::default(), &options).unwrap();
    assert_eq!(kept(&lab), expected);
    let lab = Lab::new();
    let old = docker_archive_files(&[spec]);
    let report = load(&*docker_archive(&old), lab.staging(), &Budget::default(), &options).unwrap();
    assert_eq!(kept(&lab).len(), 3, "two layers and the configuration");
    assert!(kept(&lab).contains(&report.images[0].layers[1].blob_digest.unwrap().hex()));
}

#[test]
fn known_layers_are_reported_and_not_unpacked() {
    let first = Digest::of(&layers()[0]);
    let options = LoadOptions { known: HashSet::from([first]), ..options() };
    for archive in [docker_archive(&docker_archive_files(&[image()])), docker_archive(&oci_files(&[image()]))] {
        let lab = Lab::new();
        let report = load(&*archive, lab.staging(), &Budget::default(), &options).unwrap();
        let layers = &report.images[0].layers;
        assert_eq!((layers[0].new, layers[0].entries, layers[0].chain_id), (false, 0, first));
        assert!(layers[1].new);
        assert_eq!(std::fs::read_dir(lab.root().join("layers")).unwrap().count(), 1);
    }
}

#[test]
fn images_share_layers_and_names_are_merged() {
    let other = ImageSpec { name: "example.com/b:2".into(), layers: layers()[..1].to_vec(), ..image() };
    let again = ImageSpec { name: "docker.io/library/alias:latest".into(), ..image() };
    let specs = [image(), other, again];
    for files in [oci_files(&specs), docker_archive_files(&specs), oci_in_docker_files(&specs)] {
        let lab = Lab::new();
        let report = load_files(&lab, &files).unwrap();
        assert_eq!(report.images.len(), 2);
        assert_eq!(report.images[0].references.len(), 2);
        assert_eq!(report.images[1].layers[0], report.images[0].layers[0]);
        assert_eq!(std::fs::read_dir(lab.root().join("layers")).unwrap().count(), 2);
    }
    let clash = [image(), ImageSpec { config: json!({}), ..image() }];
    for files in [oci_files(&clash), docker_archive_files(&clash), oci_in_docker_files(&clash)] {
        assert!(load_files(&Lab::new(), &files).unwrap_err().to_string().contains("name"));
    }
}

/// Docker once saved a layer that two images share as a link.
#[test]
fn old_archives_with_linked_layers() {
    let files = docker_archive_files(&[image()]);
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let layer = manifest[0]["Layers"][0].as_str().unwrap();
    let link = format!("{}/layer.tar", "ab".repeat(32));
    let mut linked = manifest.clone();
    linked[0]["Layers"][0] = json!(link);
    let build = |target: &str, name: &str| {
        let mut files = files.clone();
        files.insert("manifest.json".into(), linked.to_string().into_bytes());
        let tar =
            files.iter().fold(TarBuilder::new().symlink(name, target), |tar, (name, data)| tar.file(name, 0o644, data));
        tar.finish()
    };
    let lab = Lab::new();
    let good = build(&format!("../{layer}"), &link);
    check(&lab, &load(&*good, lab.staging(), &Budget::default(), &options()).unwrap(), 1);
    let canary = lab.scratch().join("canary");
    for target in [
        canary.to_str().unwrap(),
        "../../scratch/canary",
        "../x/../layer.tar",
        "/etc/passwd",
        "layer.tar",
        "../a/b/layer.tar",
    ] {
        let lab = Lab::new();
        assert!(load(&*build(target, &link), lab.staging(), &Budget::default(), &options()).is_err(), "{target}");
        lab.assert_empty();
        lab.assert_untouched();
    }
    // Podman: layers by their digest, and a link at the old place that nothing needs.
    let mut files = files.clone();
    let mut manifest = manifest;
    let mut tar = TarBuilder::new();
    for (index, layer) in layers().into_iter().enumerate() {
        let name = format!("{}.tar", Digest::of(&layer).hex());
        tar = tar.symlink(manifest[0]["Layers"][index].as_str().unwrap(), format!("../{name}"));
        files.remove(manifest[0]["Layers"][index].as_str().unwrap());
        files.insert(name.clone(), layer);
        manifest[0]["Layers"][index] = json!(name);
    }
    files.insert("manifest.json".into(), manifest.to_string().into_bytes());
    let podman = files.iter().fold(tar, |tar, (name, data)| tar.file(name, 0o644, data)).finish();
    let lab = Lab::new();
    check(&lab, &load(&*podman, lab.staging(), &Budget::default(), &options()).unwrap(), 1);
    let chain = build(&format!("../{}/layer.tar", "cd".repeat(32)), &link);
    assert!(load(&*chain, Lab::new().staging(), &Budget::default(), &options()).is_err());
}

/// Replaces what `edit` changes in a JSON document of a layout, keeping digests right all the way up.
fn edit_manifest(files: &mut Files, edit: impl Fn(&mut Value)) {
    let mut index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let mut manifest: Value = serde_json::from_slice(&files[&digest]).unwrap();
    edit(&mut manifest);
    let bytes = manifest.to_string().into_bytes();
    let digest = Digest::of(&bytes);
    index["manifests"][0]["digest"] = json!(digest);
    index["manifests"][0]["size"] = json!(bytes.len());
    files.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
    files.insert("index.json".into(), index.to_string().into_bytes());
}

fn refused(files: &Files, word: &str) {
    let lab = Lab::new();
    let error = load_files(&lab, files).unwrap_err().to_string();
    assert!(error.contains(word), "archive, {word}: {error}");
    lab.assert_empty();
    lab.assert_untouched();
    if files.contains_key("oci-layout") && !files.contains_key("manifest.json") {
        let error = from_dir(&lab, files, &options()).unwrap_err().to_string();
        assert!(error.contains(word), "directory, {word}: {error}");
        lab.assert_empty();
        lab.assert_untouched();
    }
}

#[test]
fn every_flipped_blob_is_found() {
    let files = oci_files(&[image()]);
    for name in files.keys().filter(|name| name.starts_with("blobs/")) {
        let mut bad = files.clone();
        let blob = bad.get_mut(name).unwrap();
        let middle = blob.len() / 2;
        blob[middle] ^= 1;
        let lab = Lab::new();
        assert!(load_files(&lab, &bad).unwrap_err().to_string().contains("expected sha256:"), "{name}");
        lab.assert_empty();
        // In a directory the damage may meet the decoder before the digest is known; refused all the same.
        assert!(from_dir(&lab, &bad, &options()).is_err(), "{name}");
        lab.assert_empty();
        let mut short = files.clone();
        short.get_mut(name).unwrap().pop();
        assert!(load_files(&lab, &short).is_err() && from_dir(&lab, &short, &options()).is_err());
        let mut gone = files.clone();
        gone.remove(name);
        refused(&gone, "does not have");
    }
    // A compressed layer that is what the manifest says, and not what the configuration says.
    let mut other = image();
    other.layers[1] = TarBuilder::new().file("etc/c", 0o755, "other").finish();
    let mut files = oci_files(&[image()]);
    let foreign = gzip(&other.layers[1]);
    files.insert(format!("blobs/sha256/{}", Digest::of(&foreign).hex()), foreign.clone());
    edit_manifest(&mut files, |manifest| {
        manifest["layers"][1]["digest"] = json!(Digest::of(&foreign));
        manifest["layers"][1]["size"] = json!(foreign.len());
    });
    refused(&files, "digest of an uncompressed layer");
    // The old form has no digest but the configuration's.
    let mut files = docker_archive_files(&[image()]);
    let layer = files.iter_mut().find(|(name, _)| name.ends_with("/layer.tar")).unwrap().1;
    *layer = other.layers[1].clone();
    refused(&files, "digest of an uncompressed layer");
    let mut files = docker_archive_files(&[image()]);
    let config = files.iter_mut().find(|(name, _)| name.len() == 69).unwrap().1;
    config.push(b' ');
    refused(&files, "content of a configuration");
}

#[test]
fn lies_in_documents_are_refused() {
    let edited = |edit: fn(&mut Value)| {
        let mut files = oci_files(&[image()]);
        edit_manifest(&mut files, edit);
        files
    };
    refused(&edited(|m| m["manifests"] = json!([])), "index and of a manifest");
    refused(&edited(|m| m["mediaType"] = json!("application/vnd.oci.image.index.v1+json")), "announced as");
    refused(&edited(|m| m["mediaType"] = json!(7)), "mediaType");
    refused(&edited(|m| m["schemaVersion"] = json!(1)), "schemaVersion");
    refused(&edited(|m| m["layers"][0]["size"] = json!(1)), "size of blob");
    refused(&edited(|m| m["layers"][0]["size"] = json!(-1)), "document");
    refused(
        &edited(|m| m["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.nondistributable.v1.tar")),
        "not supported",
    );
    refused(&edited(|m| m["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json")), "not supported");
    refused(&edited(|m| m["layers"] = json!([])), "names 2 layers, the manifest 0");
    for digest in ["sha256:../../../scratch/canary", "sha512:00", "", "../x", "SHA256:00"] {
        let mut files = oci_files(&[image()]);
        edit_manifest(&mut files, |m| m["config"]["digest"] = json!(digest));
        refused(&files, "digest");
        let mut files = oci_files(&[image()]);
        files.insert("index.json".into(), json!({"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":digest,"size":1}]}).to_string().into_bytes());
        refused(&files, "digest");
    }
    let raw = |name: &str, text: &str| {
        let mut files = oci_files(&[image()]);
        files.insert(name.into(), text.as_bytes().to_vec());
        files
    };
    refused(&raw("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#), "1.0.0");
    refused(&raw("index.json", r#"{"schemaVersion":2,"schemaVersion":2,"manifests":[]}"#), "twice");
    refused(&raw("index.json", r#"{"schemaVersion":2,"manifests":[],"Manifests":[]}"#), "two spellings");
    refused(&raw("index.json", r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#), "index and of a manifest");
    refused(&raw("index.json", r#"{"schemaVersion":2,"manifests":[]}"#), "names no image");
    refused(
        &raw(
            "index.json",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
        ),
        "media type",
    );
    refused(&raw("index.json", &" ".repeat(5 << 20)), "`document`");
    let name = |name: &str| {
        let mut files = oci_files(&[ImageSpec { name: name.into(), ..image() }]);
        files.remove("x");
        files
    };
    refused(&name("../../etc/passwd"), "invalid image reference");
    refused(&name("UPPER/Case:1"), "invalid image reference");
    // The two documents of one archive disagree.
    let other = ImageSpec { config: json!({"Cmd":["other"]}), ..image() };
    let mut files = oci_in_docker_files(&[image()]);
    let theirs = oci_in_docker_files(std::slice::from_ref(&other));
    files.extend(theirs.iter().filter(|(name, _)| name.starts_with("blobs/")).map(|(k, v)| (k.clone(), v.clone())));
    files.insert("manifest.json".into(), theirs["manifest.json"].clone());
    refused(&files, "index.json");
    let mut files = oci_in_docker_files(&[image()]);
    let mut manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    manifest[0]["Layers"].as_array_mut().unwrap().reverse();
    files.insert("manifest.json".into(), manifest.to_string().into_bytes());
    refused(&files, "other layers");
}

#[test]
fn index_that_contains_itself_or_nests_too_deeply() {
    // A digest can not contain itself; a chain is as close as a file can come.
    let mut files = oci_files(&[image()]);
    let mut index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    for depth in 0..8 {
        let bytes = index.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            { "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": bytes.len() } ] });
        files.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
        files.insert("index.json".into(), index.to_string().into_bytes());
        if depth == 0 {
            assert_eq!(load_files(&Lab::new(), &files).unwrap().images.len(), 1);
        }
    }
    refused(&files, "nested too deeply");
    let layers = vec![TarBuilder::new().finish(); 200];
    refused(&oci_files(&[ImageSpec { layers: layers.clone(), ..image() }]), "`layers`");
    refused(&docker_archive_files(&[ImageSpec { layers, ..image() }]), "`layers`");
}

#[test]
fn platforms() {
    let foreign = ImageSpec { architecture: "s390x".into(), ..image() };
    let riscv = ImageSpec { architecture: "riscv64".into(), ..image() };
    let lab = Lab::new();
    let error = load_files(&lab, &oci_files(&[foreign.clone(), riscv.clone()])).unwrap_err().to_string();
    assert!(
        error.contains("linux/s390x, linux/riscv64") && error.contains(&Platform::current().to_string()),
        "{error}"
    );
    let report = load_files(&lab, &oci_files(&[foreign.clone(), image(), riscv])).unwrap();
    assert_eq!(report.images.len(), 1);
    assert_eq!(report.images[0].platform.architecture, Platform::current().architecture);
    let lab = Lab::new();
    let wanted = LoadOptions {
        platform: Platform { os: "linux".into(), architecture: "s390x".into(), variant: String::new() },
        ..options()
    };
    let archive = docker_archive(&oci_files(&[foreign, image()]));
    let report = load(&*archive, lab.staging(), &Budget::default(), &wanted).unwrap();
    assert_eq!(report.images[0].platform.architecture, "s390x");
}

#[test]
fn names_in_the_archive_never_become_paths() {
    for name in [
        "../scratch/new",
        "/etc/x",
        "blobs/sha256/../../../x",
        "blobs/sha512/aa",
        "blobs/sha256/AA",
        "blobs/x",
        "blobs/sha256/aa/bb",
        "a/../../scratch/new",
        &"n".repeat(3000),
    ] {
        let lab = Lab::new();
        let mut files = oci_files(&[image()]);
        files.insert(name.to_owned(), b"x".to_vec());
        assert!(load_files(&lab, &files).is_err(), "{name}");
        lab.assert_empty();
        lab.assert_untouched();
    }
    let good = docker_archive(&oci_files(&[image()]));
    let lab = Lab::new();
    let canary = lab.scratch().join("canary");
    let canary = canary.to_str().unwrap();
    for first in [
        TarBuilder::new().symlink("index.json", canary),
        TarBuilder::new().symlink("blobs", lab.scratch().to_str().unwrap()),
        TarBuilder::new().hardlink("x", canary),
        TarBuilder::new().entry(EntrySpec::new(b'6', "index.json")),
        TarBuilder::new().file("./index.json", 0o644, "{}"),
    ] {
        let archive = [first.unfinished(), good.clone()].concat();
        assert!(load(&*archive, lab.staging(), &Budget::default(), &options()).is_err());
        lab.assert_empty();
        lab.assert_untouched();
    }
}

#[test]
fn links_in_a_layout_directory_are_refused() {
    let files = oci_files(&[image()]);
    let outside = tempfile::tempdir().unwrap();
    write_files(outside.path(), &files).unwrap();
    let blob = files.keys().find(|name| name.starts_with("blobs/")).unwrap();
    for name in ["blobs", "blobs/sha256", "index.json", "oci-layout", blob.as_str()] {
        let lab = Lab::new();
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), &files).unwrap();
        let path = dir.path().join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap()
        } else {
            std::fs::remove_file(&path).unwrap()
        }
        symlink(outside.path().join(name), &path).unwrap();
        let handle = File::open(dir.path()).unwrap();
        let error = load_layout(handle.as_fd(), lab.staging(), &Budget::default(), &options()).unwrap_err().to_string();
        assert!(error.contains("links are not accepted"), "{name}: {error}");
        lab.assert_empty();
        if !path.is_dir() {
            // A pipe in its place must not hold us.
            std::fs::remove_file(&path).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
            assert!(load_layout(handle.as_fd(), lab.staging(), &Budget::default(), &options()).is_err());
        }
    }
}

#[test]
fn what_is_not_an_image_says_so() {
    let lab = Lab::new();
    let rootfs = TarBuilder::new().file("etc/passwd", 0o644, "x").finish();
    let error = load(&*rootfs, lab.staging(), &Budget::default(), &options()).unwrap_err().to_string();
    assert!(error.contains("imported, not loaded"), "{error}");
    let old = TarBuilder::new().file("repositories", 0o644, "{}").finish();
    assert!(
        load(&*old, lab.staging(), &Budget::default(), &options()).unwrap_err().to_string().contains("before 1.10")
    );
    std::fs::create_dir(lab.root().join("layers")).unwrap();
    let archive = docker_archive(&oci_files(&[image()]));
    assert!(
        load(&*archive, lab.staging(), &Budget::default(), &options()).unwrap_err().to_string().contains("not empty")
    );
    assert!(lab.root().join("layers").exists(), "what was there before is left alone");
}

#[test]
fn imports() {
    let tar = TarBuilder::new()
        .dir("etc", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0::/:")
        .file("etc/.wh.x", 0o644, "")
        .finish();
    for packed in [tar.clone(), gzip(&tar), zstd(&tar)] {
        let lab = Lab::new();
        let options = ImportOptions {
            ids: ids(),
            changes: vec!["CMD [\"/bin/sh\"]".into(), "ENV A=1".into()],
            created: Some("2026-01-01T00:00:00Z".into()),
            message: "imported".into(),
            ..ImportOptions::default()
        };
        let report = import(&*packed, lab.staging(), &Budget::default(), &options).unwrap();
        let diff = Digest::of(&tar);
        assert_eq!((report.image.layers[0].chain_id, report.image.layers[0].diff_id), (diff, diff));
        assert_eq!(report.image.layers[0].blob_digest, Some(Digest::of(&packed)));
        assert_eq!(report.image.config_digest, Digest::of(report.image.config_json.as_bytes()));
        assert_eq!(report.image.config.cmd, ["/bin/sh"]);
        assert!(report.image.config_json.contains("\"imported\""));
        assert_eq!(report.skipped.whiteouts, 1);
        assert!(lab.root().join("layers").join(diff.hex()).join("etc/passwd").exists());
        let bad = ImportOptions { changes: vec!["RUN x".into()], ..options };
        assert!(
            import(&*packed, Lab::new().staging(), &Budget::default(), &bad).unwrap_err().to_string().contains("RUN x")
        );
    }
}

/// Variables of the host never appear, whatever the image writes.
#[test]
fn environment_of_the_host_stays_on_the_host() {
    let config = json!({ "Env": ["PATH", "*", "HOME", "=x", "P*", "A=$HOME", "B=${PATH}"] });
    let lab = Lab::new();
    let report = load_files(&lab, &oci_files(&[ImageSpec { config, ..image() }])).unwrap();
    assert_eq!(report.images[0].config.env, ["A=$HOME", "B=${PATH}"]);
    assert_eq!(report.images[0].config.dropped_env, 5);
    let text = serde_json::to_string(&report.images[0].config).unwrap();
    assert!(!text.contains(&std::env::var("PATH").unwrap()));
}
