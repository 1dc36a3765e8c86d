//! From a reference to one image: its manifest, its configuration, and where its layers are.

use bulkhead_image::config::ImageDocument;
use bulkhead_image::manifest::{self, Descriptor, Document, Manifest};
use bulkhead_image::{Budget, Digest, ImageError, Meter, Platform, Reference};

use serde::Deserialize;

use crate::blob::Fetch;
use crate::client::{Ask, Client, Repository};
use crate::error::{RegistryError, Result, show};

/// Most tags of one repository.
const TAGS: usize = 10_000;

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

/// The address of the next page (RFC 8288): `<ADDRESS>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    (rest.contains("rel=\"next\"") || rest.contains("rel=next")).then(|| address.to_owned())
}

/// A document as a registry sent it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// Its media type, as announced.
    pub media_type: Option<String>,
}

/// An image that a reference means, for one platform.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Digest of what the reference names: an index, or the manifest itself.
    pub digest: Digest,
    /// What the reference names.
    pub top: Fetched,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// Media type of the manifest.
    pub media_type: String,
    /// The manifest, checked.
    pub manifest: Manifest,
    /// The configuration, byte for byte.
    pub config: Vec<u8>,
    /// Digests of the layers' uncompressed archives, lowest first.
    pub diff_ids: Vec<Digest>,
    /// What it is for.
    pub platform: Platform,
}

/// The places that have an image, beginning with the one that answered.
#[derive(Debug)]
pub struct Source<'a> {
    pub(crate) repositories: Vec<Repository<'a>>,
}

impl Source<'_> {
    /// The place that answered.
    #[must_use]
    pub fn host(&self) -> String {
        self.repositories.first().map(Repository::host).unwrap_or_default()
    }

    /// Name of the place under which a repository's blobs are remembered: `HOST/PATH`.
    #[must_use]
    pub fn place(&self) -> String {
        self.repositories.first().map(Repository::place).unwrap_or_default()
    }

    /// Fetches a layer, from the next place where one fails.
    ///
    /// # Errors
    /// The failure of the last place.
    pub fn fetch(&self, fetch: &Fetch<'_>) -> Result<()> {
        let mut last = None;
        for repository in &self.repositories {
            match repository.fetch(fetch) {
                Ok(()) => return Ok(()),
                Err(error) if !error.elsewhere() => return Err(error),
                Err(error) => {
                    if repository.endpoint.mirror {
                        repository.client.note(format!("the mirror {} was left: {error}", repository.host()));
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or(RegistryError::GivenUp))
    }
}

impl Client {
    /// What `reference` names, from the first place that has it.
    ///
    /// # Errors
    /// The failure of the last place.
    pub fn document(&self, reference: &Reference) -> Result<Fetched> {
        self.somewhere(reference, |repository| repository.document(&wanted(reference), None)).map(|(found, _)| found)
    }

    /// Every tag of the repository that `reference` is in.
    ///
    /// # Errors
    /// The failure of the last place; more tags than anybody has.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>> {
        self.somewhere(reference, Repository::tags).map(|(tags, _)| tags)
    }

    /// The image that `reference` means on `platform`. `strict`: an image for another platform is refused also when it is
    /// the only one.
    ///
    /// # Errors
    /// The failure of the last place.
    pub fn resolve(&self, reference: &Reference, platform: &Platform, strict: bool) -> Result<(Source<'_>, Resolved)> {
        let (resolved, repositories) =
            self.somewhere(reference, |repository| repository.image(reference, platform, strict))?;
        Ok((Source { repositories }, resolved))
    }

    /// Does something at the first place where it works; that place and those behind it.
    fn somewhere<'a, T>(
        &'a self,
        reference: &Reference,
        act: impl Fn(&Repository<'a>) -> Result<T>,
    ) -> Result<(T, Vec<Repository<'a>>)> {
        let mut endpoints = self.settings.endpoints(reference)?.into_iter();
        let mut last = None;
        while let Some(endpoint) = endpoints.next() {
            let (mirror, host) = (endpoint.mirror, endpoint.host.clone());
            let tried =
                self.repository(endpoint, reference.path(), false).and_then(|r| act(&r).map(|found| (found, r)));
            match tried {
                Ok((found, first)) => {
                    // One that cannot be spoken to now is no reason to leave the one that answered.
                    let more = endpoints.filter_map(|e| self.repository(e, reference.path(), false).ok());
                    return Ok((found, std::iter::once(first).chain(more).collect()));
                }
                Err(error) if !error.elsewhere() => return Err(error),
                Err(error) => {
                    if mirror {
                        self.note(format!("the mirror {host} was left: {error}"));
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or(RegistryError::GivenUp))
    }
}

/// What to ask for: the digest before the tag.
fn wanted(reference: &Reference) -> String {
    let digest = reference.digest().map(ToString::to_string);
    digest.or_else(|| reference.tag().map(str::to_owned)).unwrap_or_default()
}

impl Repository<'_> {
    /// `HOST/PATH`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.endpoint.host, self.path)
    }

    fn tags(&self) -> Result<Vec<String>> {
        let what = format!("the tags of {}", self.path);
        let lie = |reason: String| RegistryError::lie(&self.host(), &what, reason);
        let (mut all, mut next) = (Vec::new(), Some(self.url("tags/list")));
        while let Some(url) = next {
            let ask = Ask { method: "GET", url: url.clone(), headers: Vec::new(), bytes: None, what: &what, also: &[] };
            let reply = self.ask(&ask)?;
            next = match reply.header("link").and_then(next_page) {
                Some(link) => Some(url.join(&link).map_err(|_| lie("it names a next page that is none".to_owned()))?),
                None => None,
            };
            let bytes = reply.read(self.client.limits().manifest).map_err(|e| lie(show(&e.to_string())))?;
            let page: Tags = serde_json::from_slice(&bytes).map_err(|_| lie("it is no list of tags".to_owned()))?;
            let before = all.len();
            all.extend(page.tags.unwrap_or_default());
            if all.len() > TAGS || (all.len() == before && next.is_some()) {
                return Err(lie(format!("they do not end; at most {TAGS} are allowed")));
            }
        }
        Ok(all)
    }

    /// The manifest or index of this tag or digest; `size`, if it was announced, is binding.
    ///
    /// # Errors
    /// One that is too large or not what its digest says.
    pub fn document(&self, wanted: &str, size: Option<u64>) -> Result<Fetched> {
        let limits = self.client.limits();
        let mut failures = 0;
        loop {
            let reason = match self.document_once(wanted, size)? {
                Ok(found) => return Ok(found),
                Err(reason) => reason,
            };
            failures += 1;
            if failures >= limits.attempts {
                return Err(RegistryError::Cut { host: self.host(), reason });
            }
            self.client.rest(limits.wait(failures, None))?;
        }
    }

    /// One try; the inner error is a connection that broke in the middle.
    fn document_once(&self, wanted: &str, size: Option<u64>) -> Result<std::result::Result<Fetched, String>> {
        let accept: Vec<&str> = manifest::MANIFESTS.iter().chain(&manifest::INDEXES).copied().collect();
        let what = if self.path.is_empty() { wanted.to_owned() } else { format!("{}:{wanted}", self.path) };
        let what = if wanted.contains(':') { what.replacen(":sha256", "@sha256", 1) } else { what };
        let ask = Ask {
            method: "GET",
            url: self.url(&format!("manifests/{wanted}")),
            headers: vec![("accept", accept.join(", "))],
            bytes: None,
            what: &what,
            also: &[],
        };
        let reply = self.ask(&ask)?;
        let lie = |reason: String| RegistryError::lie(&self.host(), &what, reason);
        let most = self.client.limits().manifest;
        if reply.length().is_some_and(|length| length > most) {
            return Err(lie(format!("it is longer than {most} bytes")));
        }
        let media_type =
            reply.header("content-type").map(|t| t.split(';').next().unwrap_or_default().trim().to_owned());
        let header = reply.header("docker-content-digest").and_then(|text| text.trim().parse::<Digest>().ok());
        let bytes = match reply.read(most) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => return Err(lie(e.to_string())),
            Err(e) => return Ok(Err(show(&e.to_string()))),
        };
        let digest = Digest::of(&bytes);
        if let Ok(asked) = wanted.parse::<Digest>()
            && asked != digest
        {
            return Err(lie(format!("its digest is {digest}")));
        }
        if let Some(header) = header
            && header != digest
        {
            return Err(lie(format!("its digest is {digest}, and {header} was announced")));
        }
        if let Some(size) = size
            && u64::try_from(bytes.len()).ok() != Some(size)
        {
            return Err(lie(format!("it is {} bytes long, and {size} were announced", bytes.len())));
        }
        // What is only "some JSON" says nothing.
        let media_type = media_type.filter(|kind| !matches!(kind.as_str(), "" | "application/json" | "text/plain"));
        Ok(Ok(Fetched { bytes, digest, media_type }))
    }

    fn image(&self, reference: &Reference, platform: &Platform, strict: bool) -> Result<Resolved> {
        let top = self.document(&wanted(reference), None)?;
        let mut available = Vec::new();
        let found = self.choose(&top, platform, &mut available, 1)?;
        let Some((chosen, manifest)) = found else {
            let available = manifest::shown_platforms(&available);
            return Err(ImageError::Platform { wanted: platform.to_string(), available }.into());
        };
        let name = format!("manifest {}", chosen.digest.hex());
        manifest.check(&name, &Meter::new(&Budget::default()))?;
        self.check_sizes(&manifest, &name)?;
        let what = format!("configuration {}", manifest.config.digest);
        let most = self.client.limits().config;
        let config = self.small(&manifest.config.digest, manifest.config.size, most, &what)?;
        let document = ImageDocument::parse(&what, &config)?;
        if document.diff_ids.len() != manifest.layers.len() {
            let (names, has) = (document.diff_ids.len(), manifest.layers.len());
            return Err(RegistryError::lie(
                &self.host(),
                &what,
                format!("it names {names} layers, the manifest {has}"),
            ));
        }
        let found = Platform { os: document.os, architecture: document.architecture, variant: document.variant };
        if found.os != platform.os || (strict && platform.rank(&found).is_none()) {
            return Err(ImageError::Platform { wanted: platform.to_string(), available: found.to_string() }.into());
        }
        let media_type = chosen.media_type.clone().unwrap_or_else(|| manifest::MANIFESTS[0].to_owned());
        Ok(Resolved {
            digest: top.digest,
            manifest_digest: chosen.digest,
            media_type,
            manifest,
            config,
            diff_ids: document.diff_ids,
            platform: found,
            top,
        })
    }

    fn check_sizes(&self, manifest: &Manifest, name: &str) -> Result<()> {
        let limits = self.client.limits();
        let mut total = 0_u64;
        for layer in &manifest.layers {
            total = total.saturating_add(layer.size);
            if layer.size > limits.blob || total > limits.total {
                let reason = format!("its layers are larger than {} bytes", limits.blob.min(limits.total));
                return Err(RegistryError::lie(&self.host(), name, reason));
            }
        }
        Ok(())
    }

    /// The manifest for a platform, down through indexes.
    fn choose(
        &self,
        fetched: &Fetched,
        platform: &Platform,
        available: &mut Vec<String>,
        depth: u32,
    ) -> Result<Option<(Fetched, Manifest)>> {
        let name = format!("manifest {}", fetched.digest.hex());
        let children: Vec<Descriptor> = match manifest::parse(&name, &fetched.bytes, fetched.media_type.as_deref())? {
            Document::Manifest(found) => {
                let own = if fetched.media_type.is_some() { fetched.clone() } else { typed(fetched) };
                return Ok(Some((own, found)));
            }
            Document::Index(children) => children,
        };
        if depth > manifest::NESTING {
            return Err(RegistryError::lie(&self.host(), &name, "its indexes are nested too deeply"));
        }
        for child in manifest::candidates(&children, platform, available) {
            if !manifest::is_document(&child.media_type) {
                let kind = show(&child.media_type);
                return Err(RegistryError::lie(&self.host(), &name, format!("media type \"{kind}\" is not an image")));
            }
            let mut below = self.document(&child.digest.to_string(), Some(child.size))?;
            below.media_type = Some(child.media_type.clone());
            if let Some(found) = self.choose(&below, platform, available, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// With the media type that the document itself has.
fn typed(fetched: &Fetched) -> Fetched {
    let value: serde_json::Value = serde_json::from_slice(&fetched.bytes).unwrap_or_default();
    let own = value.get("mediaType").and_then(serde_json::Value::as_str).map(str::to_owned);
    Fetched { media_type: own, ..fetched.clone() }
}
