//! Public keys: one PEM block with a `SubjectPublicKeyInfo` (RFC 5280, 4.1), in the one encoding that DER allows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_image::Digest;
use ring::signature as algorithms;
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};

/// Most bytes of a file with a key.
pub(crate) const LIMIT: usize = 64 << 10;
const BEGIN: &str = "-----BEGIN ";
const LABEL: &str = "PUBLIC KEY";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// id-ecPublicKey with secp256r1 (RFC 5480).
const P256: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// id-ecPublicKey with secp384r1.
const P384: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// id-Ed25519 (RFC 8410).
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// rsaEncryption with its NULL (RFC 3279).
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ECDSA on P-256, with SHA-256.
    P256,
    /// ECDSA on P-384, with SHA-256 or SHA-384: cosign has signed with either.
    P384,
    /// Ed25519 without a hash before it.
    Ed25519,
    /// RSA of so many bits with PKCS #1 v1.5 and SHA-256.
    Rsa(usize),
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// What it is.
    pub kind: Kind,
    /// SHA-256 of its `SubjectPublicKeyInfo`: what a record remembers it by.
    pub fingerprint: Digest,
    /// Where it was read, as the rule has it.
    pub file: String,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// The one key in the text of a file. `file` is its name.
    ///
    /// # Errors
    /// What it is instead, as the end of a sentence.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self, String> {
        let der = pem(text)?;
        let (kind, bytes) = subject(&der)?;
        Ok(Self { kind, fingerprint: Digest::of(&der), file: file.to_owned(), bytes: bytes.to_vec() })
    }

    /// Whether `signature` is one of `message` by this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let by = |algorithm: &'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
        };
        match self.kind {
            Kind::P256 => by(&algorithms::ECDSA_P256_SHA256_ASN1),
            Kind::P384 => by(&algorithms::ECDSA_P384_SHA384_ASN1) || by(&algorithms::ECDSA_P384_SHA256_ASN1),
            Kind::Ed25519 => by(&algorithms::ED25519),
            Kind::Rsa(_) => by(&algorithms::RSA_PKCS1_2048_8192_SHA256),
        }
    }
}

/// The bytes of the one block of a PEM text (RFC 7468).
fn pem(text: &[u8]) -> Result<Vec<u8>, String> {
    let needed = "expected one PEM block \"-----BEGIN PUBLIC KEY-----\"";
    if text.len() > LIMIT {
        return Err(format!("it is larger than 64 KiB; {needed}"));
    }
    let text = std::str::from_utf8(text).map_err(|_| format!("it is not text; {needed}"))?.trim();
    let (label, rest) = text
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.split_once("-----"))
        .ok_or_else(|| format!("it does not begin with a PEM block; {needed}"))?;
    if label.contains("PRIVATE") {
        return Err(format!("it holds a private key, which has no place here; {needed}"));
    }
    if label != LABEL {
        let label: String = label.chars().take(40).flat_map(char::escape_debug).collect();
        return Err(format!("it holds a block \"{label}\"; {needed}"));
    }
    let (body, after) =
        rest.split_once("-----END PUBLIC KEY-----").ok_or_else(|| format!("its block has no end; {needed}"))?;
    if !after.trim().is_empty() {
        return Err(format!("something follows its first block; {needed}"));
    }
    let digits: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(digits).map_err(|_| format!("its block is not base64; {needed}"))
}

/// One value of this type, and what follows. Lengths have to be as short as DER wants them.
fn value(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_at_checked(2)?;
            (length.iter().fold(0, |all, byte| (all << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let shortest = match first {
        0x81 => length > 0x7f,
        0x82 => length > 0xff,
        _ => true,
    };
    (*found == tag && shortest).then(|| rest.split_at_checked(length)).flatten()
}

/// One value of this type, and nothing behind it.
fn only(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    value(tag, bytes).filter(|(_, rest)| rest.is_empty()).map(|(inner, _)| inner)
}

/// What a `SubjectPublicKeyInfo` holds.
fn subject(der: &[u8]) -> Result<(Kind, &[u8]), String> {
    let broken = || "it is not a SubjectPublicKeyInfo in DER".to_owned();
    let inner = only(SEQUENCE, der).ok_or_else(broken)?;
    let (algorithm, rest) = value(SEQUENCE, inner).ok_or_else(broken)?;
    let bits = only(BIT_STRING, rest).and_then(|bits| bits.strip_prefix(&[0])).ok_or_else(broken)?;
    let point = |length: usize| bits.len() == length && bits.first() == Some(&4);
    let curve = || "it is not an uncompressed point of its curve".to_owned();
    match algorithm {
        P256 => point(65).then_some((Kind::P256, bits)).ok_or_else(curve),
        P384 => point(97).then_some((Kind::P384, bits)).ok_or_else(curve),
        ED25519 => (bits.len() == 32).then_some((Kind::Ed25519, bits)).ok_or_else(broken),
        RSA => {
            let size = modulus(bits).ok_or_else(broken)?;
            if !(2048..=8192).contains(&size) {
                return Err(format!("it is an RSA key of {size} bits; 2048 to 8192 are accepted"));
            }
            Ok((Kind::Rsa(size), bits))
        }
        _ => Err("its algorithm is not known here; ECDSA on P-256 or P-384, Ed25519 and RSA are accepted".to_owned()),
    }
}

/// Bits of the modulus of an `RSAPublicKey` (RFC 8017, A.1.1).
fn modulus(bytes: &[u8]) -> Option<usize> {
    let (modulus, rest) = value(INTEGER, only(SEQUENCE, bytes)?)?;
    let exponent = only(INTEGER, rest)?;
    let number = match modulus {
        [0, rest @ ..] if rest.first().is_some_and(|b| *b >= 0x80) => rest,
        [first, ..] if (1..0x80).contains(first) => modulus,
        _ => return None,
    };
    let first = number.first()?;
    exponent.last().filter(|last| **last & 1 == 1)?;
    Some(number.len() * 8 - usize::try_from(first.leading_zeros()).ok()?)
}

#[cfg(test)]
pub(crate) mod tests;
