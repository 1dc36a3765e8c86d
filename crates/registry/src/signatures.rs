//! What is signed: the places where a registry keeps the signatures of an image. They are only fetched here; who made them
//! is for others to find out.
//!
//! Sources: cosign's `SIGNATURE_SPEC.md` (the tag `sha256-DIGEST.sig`), and the referrers of the OCI distribution
//! specification 1.1 with the tag `sha256-DIGEST` for registries that do not know them.

use bulkhead_image::Digest;
use bulkhead_image::manifest::{self, Descriptor, Document, Manifest};

use crate::client::{Ask, Repository};
use crate::error::{RegistryError, Result, show};
use crate::pull::Source;

/// Most signatures of one image that are looked at.
const MANY: usize = 64;
/// Longest signed text or bundle, in bytes.
const LIMIT: u64 = 1 << 20;
/// A layer that is a signed text.
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Where its signature stands.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// A layer that is a bundle.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A signature as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// A signed text, and its signature in base64.
    Simple {
        /// The text.
        payload: Vec<u8>,
        /// Base64.
        signature: String,
    },
    /// A sigstore bundle, in JSON.
    Bundle(Vec<u8>),
}

/// The signatures that one place has of an image.
#[derive(Debug, Default)]
pub struct Signatures {
    /// `HOST/PATH`.
    pub place: String,
    /// All that could be fetched.
    pub found: Vec<Signature>,
    /// What could not.
    pub failed: Vec<RegistryError>,
}

impl Source<'_> {
    /// Looks for signatures of this digest, at the place that had the image and, while `enough` says no, at those behind it.
    pub fn signatures(&self, digest: &Digest, mut enough: impl FnMut(Signatures) -> bool) {
        for repository in &self.repositories {
            if enough(repository.signatures(digest)) {
                return;
            }
        }
    }
}

impl Repository<'_> {
    /// Every signature of this digest here.
    fn signatures(&self, digest: &Digest) -> Signatures {
        let mut all = Signatures { place: self.place(), ..Signatures::default() };
        let hex = digest.hex();
        match self.document(&format!("sha256-{hex}.sig"), None) {
            Ok(found) => match self.manifest(&found.bytes, found.media_type.as_deref(), "the signatures") {
                Ok(manifest) => self.collect(&manifest, &mut all),
                Err(error) => all.failed.push(error),
            },
            Err(RegistryError::Missing { .. }) => {}
            Err(error) => all.failed.push(error),
        }
        match self.referrers(digest) {
            Ok(entries) => {
                for entry in entries.iter().take(MANY) {
                    let read = self.document(&entry.digest.to_string(), Some(entry.size)).and_then(|found| {
                        self.manifest(&found.bytes, found.media_type.as_deref(), "what refers to the image")
                    });
                    match read {
                        Ok(manifest) => self.collect(&manifest, &mut all),
                        Err(error) => all.failed.push(error),
                    }
                }
            }
            Err(error) => all.failed.push(error),
        }
        all
    }

    fn manifest(&self, bytes: &[u8], media_type: Option<&str>, what: &str) -> Result<Manifest> {
        match manifest::parse(what, bytes, media_type)? {
            Document::Manifest(found) => Ok(found),
            Document::Index(_) => Err(RegistryError::lie(&self.host(), what, "it is an index, not a manifest")),
        }
    }

    /// The signatures among the layers of a manifest.
    fn collect(&self, manifest: &Manifest, all: &mut Signatures) {
        for layer in &manifest.layers {
            if all.found.len() >= MANY {
                let reason = format!("there are more than {MANY}");
                all.failed.push(RegistryError::lie(&self.host(), "the signatures", reason));
                return;
            }
            let note = layer.annotation(SIGNATURE);
            let fetch = || self.small(&layer.digest, layer.size, LIMIT, "a signature");
            let fetched = match (layer.media_type.as_str(), note) {
                (SIMPLE, Some(signature)) => {
                    fetch().map(|payload| Signature::Simple { payload, signature: signature.to_owned() })
                }
                (SIMPLE, None) => {
                    Err(RegistryError::lie(&self.host(), "a signature", "it is not there, only its text"))
                }
                (BUNDLE, _) => fetch().map(Signature::Bundle),
                _ => continue,
            };
            match fetched {
                Ok(signature) => all.found.push(signature),
                Err(error) => all.failed.push(error),
            }
        }
    }

    /// Manifests that refer to this digest and are bundles; those of a registry that does not know such a question are
    /// under a tag.
    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let what = "what refers to the image";
        let ask = Ask {
            method: "GET",
            url: self.url(&format!("referrers/{digest}")),
            headers: vec![("accept", manifest::INDEXES.join(", "))],
            bytes: None,
            what,
            // Older ones have no such place, and some do not take the question.
            also: &[400, 404, 405, 501],
        };
        let reply = self.ask(&ask)?;
        let (bytes, media_type) = if (200..300).contains(&reply.status) {
            let bytes = reply.read(self.client.limits().manifest);
            (bytes.map_err(|e| RegistryError::lie(&self.host(), what, show(&e.to_string())))?, None)
        } else {
            match self.document(&format!("sha256-{}", digest.hex()), None) {
                Ok(found) => (found.bytes, found.media_type),
                Err(RegistryError::Missing { .. }) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        };
        match manifest::parse(what, &bytes, media_type.as_deref())? {
            // A list may leave the type out of an entry; then the manifest tells.
            Document::Index(all) => {
                Ok(all.into_iter().filter(|one| one.artifact_type.as_deref().is_none_or(|t| t == BUNDLE)).collect())
            }
            Document::Manifest(_) => Err(RegistryError::lie(&self.host(), what, "it is a manifest, not an index")),
        }
    }
}
