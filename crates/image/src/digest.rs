//! SHA-256 content addresses.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::ImageError;

/// A SHA-256 digest. The only way to make one from text is `sha256:` and 64 lower case hex digits, so a digest can be
/// used as a file name without another look at it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// From 64 lower case hex digits without the algorithm's name, as in file names of an OCI layout.
    ///
    /// # Errors
    /// Anything else is refused.
    pub fn from_hex(hex: &str) -> Result<Self, ImageError> {
        let refuse = || ImageError::invalid("digest", hex, "expected 64 hex digits in lower case");
        let bytes = hex.as_bytes();
        if bytes.len() != 64 {
            return Err(refuse());
        }
        let mut out = [0_u8; 32];
        for (slot, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let mut value = 0_u8;
            for digit in pair {
                let nibble = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return Err(refuse()),
                };
                value = (value << 4) | nibble;
            }
            *slot = value;
        }
        Ok(Self(out))
    }

    /// The 64 hex digits, lower case.
    #[must_use]
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0')));
            }
        }
        out
    }

    /// Chain id of a layer: its diff id when it is the lowest one, else the digest of `parent` and `diff`.
    #[must_use]
    pub fn chain(parent: Option<&Self>, diff: &Self) -> Self {
        parent.map_or(*diff, |parent| Self::of(format!("{parent} {diff}").as_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        text.strip_prefix("sha256:")
            .and_then(|hex| Self::from_hex(hex).ok())
            .ok_or_else(|| ImageError::invalid("digest", text, "expected `sha256:` and 64 hex digits in lower case"))
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Digest of bytes that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Reader that hashes what passes through it.
#[derive(Debug)]
pub(crate) struct HashRead<R> {
    inner: R,
    hasher: Option<Hasher>,
}

impl<R> HashRead<R> {
    /// Hashes only when `hash` is set: content that was verified on its way in is not hashed again.
    pub(crate) fn new(inner: R, hash: bool) -> Self {
        Self { inner, hasher: hash.then(Hasher::new) }
    }

    /// Hashes no more; there will be no digest.
    pub(crate) fn stop(&mut self) {
        self.hasher = None;
    }

    pub(crate) fn into_parts(self) -> (R, Option<Digest>) {
        (self.inner, self.hasher.map(Hasher::finish))
    }
}

impl<R: Read> Read for HashRead<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buf.get(..n).unwrap_or_default());
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_answers() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        let mut hasher = Hasher::new();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.finish(), Digest::of(b"abc"));
        let lower: Digest = EMPTY.parse().unwrap();
        assert_eq!(Digest::chain(None, &lower), lower);
        assert_eq!(Digest::chain(Some(&lower), &lower), Digest::of(format!("{EMPTY} {EMPTY}").as_bytes()));
    }

    #[test]
    fn only_one_spelling_is_a_digest() {
        let hex = EMPTY.strip_prefix("sha256:").unwrap();
        let long = "a".repeat(1 << 20);
        for bad in [
            "",
            "sha256:",
            hex,
            &EMPTY.to_uppercase(),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha512:{hex}"),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}", &hex[1..]),
            &format!("sha256:../{}", &hex[3..]),
            &format!("sha256:{}\n", &hex[1..]),
            &format!(" {EMPTY}"),
            &long,
        ] {
            let error = bad.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains("64 hex digits"), "{error}");
            assert!(error.len() < 400);
        }
        let json: Digest = serde_json::from_str(&format!("\"{EMPTY}\"")).unwrap();
        assert_eq!(json.to_string(), EMPTY);
        assert!(serde_json::from_str::<Digest>("\"sha256:../x\"").is_err());
    }
}
