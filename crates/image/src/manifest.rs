//! Manifests and indexes: what an image is made of, as a layout or a registry has it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::budget::Meter;
use crate::digest::Digest;
use crate::error::{ImageError, Result, show};
use crate::json;
use crate::load::Platform;
use crate::reference::Reference;

/// Media types of indexes.
pub const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// Media types of manifests.
pub const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// Media types of configurations.
pub const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// Media types of layers.
pub const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
/// Most indexes inside one another.
pub const NESTING: u32 = 4;
/// Most entries of one index.
const ENTRIES: usize = 4096;

/// What a document names: type, digest and size of another one.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is, when it is no image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    #[serde(default)]
    platform: Option<Box<WirePlatform>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize)]
struct WirePlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
struct WireManifest {
    config: Descriptor,
    layers: Option<Vec<Descriptor>>,
}

/// One image.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The document itself.
    pub bytes: Vec<u8>,
}

/// A document that was read.
#[derive(Debug)]
pub enum Document {
    /// Of several images.
    Index(Vec<Descriptor>),
    /// Of one.
    Manifest(Manifest),
}

impl Descriptor {
    /// What the image is for, if that is said here.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        self.platform.as_ref().map(|platform| Platform {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
        })
    }

    /// What is noted on it under this key.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Build records stand beside images as if they were images for no platform.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
            || self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }

    /// The name of the image, if the layout gives it a full one; a bare tag names nothing.
    pub(crate) fn references(&self) -> Result<Vec<Reference>> {
        let full = self
            .annotation("io.containerd.image.name")
            .or_else(|| self.annotation("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':'])));
        full.map(Reference::parse).transpose().map(|name| name.into_iter().collect())
    }
}

impl Manifest {
    /// Refuses kinds of configurations and layers that are not known, and too many layers. `name` is the manifest's.
    ///
    /// # Errors
    /// [`ImageError`] naming the kind, or the limit.
    pub fn check(&self, name: &str, meter: &Meter) -> Result<()> {
        meter.check_layers(crate::len64(self.layers.len()))?;
        let refuse = |what: &str, kind: &str| {
            let kind = show(kind.as_bytes());
            Err(ImageError::document(name, format!("{what} of media type {kind} is not supported")))
        };
        if !CONFIGS.contains(&self.config.media_type.as_str()) {
            return refuse("a configuration", &self.config.media_type);
        }
        match self.layers.iter().find(|layer| !LAYERS.contains(&layer.media_type.as_str())) {
            Some(layer) => refuse("a layer", &layer.media_type),
            None => Ok(()),
        }
    }
}

/// Whether this is a media type of an index or a manifest.
#[must_use]
pub fn is_document(kind: &str) -> bool {
    INDEXES.contains(&kind) || MANIFESTS.contains(&kind)
}

/// A document that is one thing only, and the one it was announced as.
///
/// # Errors
/// [`ImageError::Document`] with what is wrong.
pub fn parse(name: &str, bytes: &[u8], announced: Option<&str>) -> Result<Document> {
    let value = json::value(name, bytes)?;
    let refuse = |reason: String| Err(ImageError::document(name, reason));
    let has = |key: &str| value.get(key).is_some();
    if value.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
        return refuse(
            "schemaVersion 1 is not accepted, expected 2: Docker's schema 1 does not name its configuration by a digest; \
             push the image again with a newer program"
                .into(),
        );
    }
    if value.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
        return refuse("expected schemaVersion 2".into());
    }
    if has("manifests") && (has("layers") || has("config") || has("fsLayers")) {
        return refuse("has the fields of an index and of a manifest".into());
    }
    let own = match value.get("mediaType") {
        None => None,
        Some(Value::String(own)) => Some(own.clone()),
        Some(_) => return refuse("mediaType is not text".into()),
    };
    if let (Some(own), Some(announced)) = (own.as_deref(), announced)
        && own != announced
    {
        let (own, announced) = (show(own.as_bytes()), show(announced.as_bytes()));
        return refuse(format!("says that it is {own}, was announced as {announced}"));
    }
    let kind = own.as_deref().or(announced);
    let is_index = has("manifests");
    let expected = if is_index { INDEXES } else { MANIFESTS };
    if kind.is_some_and(|kind| !expected.contains(&kind)) {
        let what = if is_index { "an index" } else { "a manifest" };
        return refuse(format!(
            "has the fields of {what} and the media type {}",
            show(kind.unwrap_or_default().as_bytes())
        ));
    }
    let parsed = |e: serde_json::Error| {
        ImageError::document(name, e.to_string().chars().take(240).flat_map(char::escape_debug).collect::<String>())
    };
    if is_index {
        let index: Index = serde_json::from_value(value).map_err(parsed)?;
        let entries = index.manifests.unwrap_or_default();
        if entries.len() > ENTRIES {
            let allowed = crate::len64(ENTRIES);
            return Err(ImageError::Limit { limit: "manifests", allowed, unit: "manifests in an index" });
        }
        return Ok(Document::Index(entries));
    }
    let WireManifest { config, layers } = serde_json::from_value(value).map_err(parsed)?;
    Ok(Document::Manifest(Manifest { config, layers: layers.unwrap_or_default(), bytes: bytes.to_vec() }))
}

/// The entries of an index that fit `wanted`, the best first. What fits not is added to `available`.
#[must_use]
pub fn candidates<'a>(
    children: &'a [Descriptor],
    wanted: &Platform,
    available: &mut Vec<String>,
) -> Vec<&'a Descriptor> {
    let mut fitting: Vec<(u32, &Descriptor)> = Vec::new();
    for child in children.iter().filter(|child| !child.is_attestation()) {
        match child.platform() {
            // Without a platform the document itself has to say, or it fits all.
            None => fitting.push((0, child)),
            Some(platform) => match wanted.rank(&platform) {
                Some(rank) => fitting.push((rank + 1, child)),
                None => available.push(platform.to_string()),
            },
        }
    }
    // Stable: of equals the first.
    fitting.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    fitting.into_iter().map(|(_, child)| child).collect()
}

/// Platforms that a document offers, for an error.
#[must_use]
pub fn shown_platforms(available: &[String]) -> String {
    let mut available = available.to_vec();
    available.dedup();
    available.truncate(32);
    let shown: Vec<String> = available.iter().map(|name| show(name.as_bytes()).replace('"', "")).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let one = parse("m", br#"{"schemaVersion":1,"fsLayers":[]}"#, None).unwrap_err().to_string();
        assert!(one.contains("schemaVersion 1"), "{one}");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let text = |config: &str, layer: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"sha256:{hex}","size":1}},
                "layers":[{{"mediaType":"{layer}","digest":"sha256:{hex}","size":1}}]}}"#
            )
        };
        let check = |config: &str, layer: &str| {
            let Document::Manifest(manifest) = parse("m", text(config, layer).as_bytes(), Some(MANIFESTS[0])).unwrap()
            else {
                panic!("a manifest")
            };
            manifest.check("m", &Meter::new(&crate::Budget::default())).map_err(|e| e.to_string())
        };
        check(CONFIGS[0], LAYERS[1]).unwrap();
        let helm = check("application/vnd.cncf.helm.config.v1+json", LAYERS[0]).unwrap_err();
        assert!(helm.contains("vnd.cncf.helm.config.v1+json"), "{helm}");
        let foreign = check(CONFIGS[0], "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip").unwrap_err();
        assert!(foreign.contains("foreign"), "{foreign}");
    }
}
