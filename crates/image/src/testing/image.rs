//! Images in the forms they come in, as maps from name to content that a test can spoil before writing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::tar::TarBuilder;
use crate::archive::Compression;
use crate::digest::Digest;

/// Files of an archive or a directory, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// An image to make.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Full name with tag.
    pub name: String,
    /// Uncompressed layer archives, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// How layers are stored in an OCI layout.
    pub compression: Compression,
    /// The `config` object of the configuration.
    pub config: Value,
    /// Processor.
    pub architecture: String,
}

impl ImageSpec {
    /// An image for this machine's processor with an empty configuration and gzip layers.
    #[must_use]
    pub fn new(name: &str, layers: Vec<Vec<u8>>) -> Self {
        Self {
            name: name.to_owned(),
            layers,
            compression: Compression::Gzip,
            config: json!({}),
            architecture: crate::Platform::current().architecture,
        }
    }

    /// The configuration document.
    #[must_use]
    pub fn config_json(&self) -> Vec<u8> {
        let diff_ids: Vec<Digest> = self.layers.iter().map(|layer| Digest::of(layer)).collect();
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string()
        .into_bytes()
    }

    fn stored(&self, layer: &[u8]) -> Vec<u8> {
        match self.compression {
            Compression::None => layer.to_vec(),
            Compression::Gzip => super::gzip(layer),
            Compression::Zstd => super::zstd(layer),
        }
    }

    fn layer_type(&self) -> &'static str {
        match self.compression {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

fn add_blob(files: &mut Files, bytes: Vec<u8>) -> (Digest, usize) {
    let digest = Digest::of(&bytes);
    let size = bytes.len();
    files.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
    (digest, size)
}

/// An OCI layout of `images`.
#[must_use]
pub fn oci_files(images: &[ImageSpec]) -> Files {
    let mut files = Files::new();
    let mut manifests = Vec::new();
    for image in images {
        let mut layers = Vec::new();
        for layer in &image.layers {
            let (digest, size) = add_blob(&mut files, image.stored(layer));
            layers.push(json!({ "mediaType": image.layer_type(), "digest": digest, "size": size }));
        }
        let (config, config_size) = add_blob(&mut files, image.config_json());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size,
            },
            "layers": layers,
        });
        let (digest, size) = add_blob(&mut files, manifest.to_string().into_bytes());
        manifests.push(json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": size,
            "platform": { "os": "linux", "architecture": image.architecture },
            "annotations": { "io.containerd.image.name": image.name },
        }));
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    files.insert("index.json".into(), index.to_string().into_bytes());
    files.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files
}

/// What Docker before 25 saves: configurations and layers beside `manifest.json`.
#[must_use]
pub fn docker_archive_files(images: &[ImageSpec]) -> Files {
    let mut files = Files::new();
    let mut items = Vec::new();
    for image in images {
        let config = image.config_json();
        let name = format!("{}.json", Digest::of(&config).hex());
        let mut names = Vec::new();
        for layer in &image.layers {
            let id = Digest::of(&[b"v1", layer.as_slice()].concat()).hex();
            files.insert(format!("{id}/VERSION"), b"1.0".to_vec());
            files.insert(format!("{id}/json"), format!("{{\"id\":\"{id}\"}}").into_bytes());
            files.insert(format!("{id}/layer.tar"), layer.clone());
            names.push(format!("{id}/layer.tar"));
        }
        files.insert(name.clone(), config);
        items.push(json!({ "Config": name, "RepoTags": [image.name], "Layers": names }));
    }
    files.insert("manifest.json".into(), Value::Array(items).to_string().into_bytes());
    files.insert("repositories".into(), b"{}".to_vec());
    files
}

/// What Docker since 25 saves: an OCI layout with a `manifest.json` beside it.
#[must_use]
pub fn oci_in_docker_files(images: &[ImageSpec]) -> Files {
    let mut files = oci_files(images);
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let items: Vec<Value> = images
        .iter()
        .map(|image| {
            let layers: Vec<String> = image.layers.iter().map(|layer| path(&image.stored(layer))).collect();
            json!({ "Config": path(&image.config_json()), "RepoTags": [image.name], "Layers": layers })
        })
        .collect();
    files.insert("manifest.json".into(), Value::Array(items).to_string().into_bytes());
    files
}

/// `files` as one archive, in the order of their names.
#[must_use]
pub fn docker_archive(files: &Files) -> Vec<u8> {
    files.iter().fold(TarBuilder::new(), |tar, (name, data)| tar.file(name, 0o644, data)).finish()
}

/// Writes `files` below `dir`.
///
/// # Errors
/// Those of the file system.
pub fn write_files(dir: &Path, files: &Files) -> io::Result<()> {
    for (name, data) in files {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, data)?;
    }
    Ok(())
}
