//! Names of images, as Docker reads and writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::digest::Digest;
use crate::error::{ImageError, Result};

const DOCKER: &str = "docker.io";
const OFFICIAL: &str = "library/";
const LATEST: &str = "latest";
/// Longest name without tag and digest, in bytes.
const NAME_MAX: usize = 255;

/// A parsed image reference: `[REGISTRY[:PORT]/]PATH[:TAG][@DIGEST]`.
///
/// Displayed in full (`docker.io/library/nginx:latest`); [`Reference::familiar`] is what people type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Reference {
    registry: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses `text`. Without tag and digest the tag is `latest`.
    ///
    /// # Errors
    /// [`ImageError::Invalid`], repeating the value and naming what is accepted.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &str| Err(ImageError::invalid("image reference", text, reason));
        if text.is_empty() {
            return refuse("it is empty; expected [REGISTRY/]NAME[:TAG][@DIGEST]");
        }
        // 255 for the name, 128 for the tag, 71 for the digest, and separators.
        if text.len() > 456 {
            return refuse("it is longer than 456 bytes");
        }
        if text.len() == 64 && Digest::from_hex(text).is_ok() {
            return refuse("64 hex digits are an image id, not a name");
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (registry, rest) = split_registry(rest);
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_registry(registry) {
            return refuse("its registry is malformed; expected HOST[:PORT]");
        }
        let path = if registry == DOCKER && !path.contains('/') && !path.is_empty() {
            format!("{OFFICIAL}{path}")
        } else {
            path.to_owned()
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return refuse("the name of a repository must be lower case");
        }
        if !path.split('/').all(is_path_component) {
            return refuse("each part of its name must be of a-z and 0-9, with `.`, `_`, `__` or dashes between them");
        }
        if registry.len() + 1 + path.len() > NAME_MAX {
            return refuse("its name is longer than 255 bytes");
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return refuse(
                "a tag has 1 to 128 of A-Z, a-z, 0-9, `_`, `.` and `-`, and begins with neither `.` nor `-`",
            );
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(LATEST.to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), path, tag, digest })
    }

    /// Host and port of the registry; `docker.io` when none was given.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path on the registry, with `library/` for Docker's official images.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; `None` only when there is a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference is pinned.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and path: the full name without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// The short form that Docker prints: without `docker.io/` and `library/`, with tag and digest if any.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The short form without tag and digest.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.registry != DOCKER {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    fn suffix(&self) -> String {
        let mut out = String::new();
        if let Some(tag) = &self.tag {
            out.push(':');
            out.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            out.push('@');
            out.push_str(&digest.to_string());
        }
        out
    }
}

/// The first part is a registry when it could not be a user name on Docker's.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (if first == "index.docker.io" { DOCKER } else { first }, rest)
        }
        _ => (DOCKER, text),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) => {
            if v6.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", port.strip_prefix(':').or(port.is_empty().then_some("0")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("0")),
        },
    };
    let Some(port) = port else { return false };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && (1..=5).contains(&port.len()) && port.parse::<u16>().is_ok() && !port.starts_with('+')
}

fn is_path_component(text: &str) -> bool {
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(*first) || !alnum(*last) {
        return false;
    }
    bytes
        .split(|byte| alnum(*byte))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.path, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn docker_forms() {
        let pinned = format!("nginx@sha256:{HEX}");
        let both = format!("a/b:1@sha256:{HEX}");
        for (text, full, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.2", "docker.io/library/nginx:1.2", "nginx:1.2"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
            ("ghcr.io/a/b/c__d.e--f:V_1.0-x", "ghcr.io/a/b/c__d.e--f:V_1.0-x", "ghcr.io/a/b/c__d.e--f:V_1.0-x"),
            ("HOST/x", "HOST/x:latest", "HOST/x:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            (&pinned, &format!("docker.io/library/{pinned}"), &pinned),
            (&both, &format!("docker.io/{both}"), &both),
        ] {
            let parsed = Reference::parse(text).unwrap();
            assert_eq!(parsed.to_string(), full, "{text}");
            assert_eq!(parsed.familiar(), familiar, "{text}");
            assert_eq!(Reference::parse(full).unwrap(), parsed);
            assert_eq!(Reference::parse(familiar).unwrap(), parsed);
        }
    }

    #[test]
    fn refused_with_the_value_in_the_error() {
        let long = "a".repeat(300);
        for bad in [
            "",
            ":",
            "/",
            "a/",
            "/a",
            "a//b",
            "Nginx",
            "a/B",
            "a:",
            "a:.x",
            "a:-x",
            "a@",
            "a@sha256:x",
            "a@sha512:00",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a_.b",
            "../x",
            "a/../b",
            "a b",
            "a\n",
            "a:b c",
            "https://x/y",
            "x.y:99999/a",
            "x.y:+1/a",
            "[::1/a",
            "[zz]:1/a",
            "-x.y/a",
            "é",
            HEX,
            &long,
            &"a".repeat(5000),
        ] {
            let error = Reference::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("invalid "), "{bad}: {error}");
        }
        assert!(
            Reference::parse("a/B")
                .unwrap_err()
                .to_string()
                .contains("\"a/B\": the name of a repository must be lower case")
        );
    }
}
