//! What was loaded.

use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::reference::Reference;
use crate::unpack::Skipped;

/// Operating system and processor, in Go's spelling as images have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v8`, `v7`, …; empty for the least.
    pub variant: String,
}

impl Platform {
    /// The platform this program was built for.
    #[must_use]
    pub fn current() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// How well an image for `other` runs here: `None` not at all, else the higher the better.
    #[must_use]
    pub fn rank(&self, other: &Self) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let level = |variant: &str| variant.strip_prefix('v').and_then(|level| level.parse::<u32>().ok());
        let other_level = match (other.architecture.as_str(), other.variant.as_str()) {
            ("arm64", "") => 8,
            (_, "") => 0,
            (_, variant) => level(variant)?,
        };
        // A bare x86-64 is level 1.
        let own = level(&self.variant).unwrap_or(u32::from(self.architecture == "amd64"));
        (other_level <= own.max(1)).then_some(other_level)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// All that one operation loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The images, each once.
    pub images: Vec<ImageReport>,
    /// What the new layers have and the unpacked ones have not.
    pub skipped: Skipped,
    /// Owners in the layers were not applied.
    pub ids_ignored: bool,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageReport {
    /// Names the archive gives to the image.
    pub references: Vec<Reference>,
    /// Digest of the manifest; `None` for archives in Docker's own form, which have none.
    pub manifest_digest: Option<Digest>,
    /// Digest of the configuration: the id of the image.
    pub config_digest: Digest,
    /// Platform in the configuration.
    pub platform: Platform,
    /// Settings of the process.
    pub config: ImageConfig,
    /// The configuration document, byte for byte.
    pub config_json: String,
    /// Lowest first.
    pub layers: Vec<LayerReport>,
    /// When the image was made, as in the document.
    pub created: Option<String>,
    /// Sum of the layers' `bytes_unpacked`; too small when some were known before.
    pub size: u64,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Name of the unpacked layer: this layer and all below it.
    pub chain_id: Digest,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Digest of the archive as it was stored; `None` when it was not known and not read because the layer was known.
    pub blob_digest: Option<Digest>,
    /// Bytes of file content; 0 for a known layer.
    pub bytes_unpacked: u64,
    /// Entries of the archive; 0 for a known layer.
    pub entries: u64,
    /// The layer is in `layers/`. False when the store has it.
    pub new: bool,
}

/// An imported root file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportReport {
    /// The image made from it, of one layer.
    pub image: ImageReport,
    /// What the archive has and the layer has not.
    pub skipped: Skipped,
    /// Owners in the archive were not applied.
    pub ids_ignored: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Platform { os: next(), architecture: next(), variant: next() }
    }

    #[test]
    fn ranks() {
        let rank = |own: &str, other: &str| platform(own).rank(&platform(other));
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/amd64/v1"), Some(1));
        assert_eq!(rank("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert_eq!(rank("linux/arm64/v8", "linux/arm64"), Some(8));
        assert!(rank("linux/arm/v7", "linux/arm/v7") > rank("linux/arm/v7", "linux/arm/v6"));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/amd64", "unknown/unknown"), None);
    }
}
