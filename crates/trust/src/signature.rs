//! Signatures in the two forms that cosign stores: a signed text about an image ("simple signing"), and a bundle (sigstore
//! bundle v0.3) with a signature of the manifest itself or of an in-toto statement about it.
//!
//! Sources: cosign's `SIGNATURE_SPEC.md` and `BUNDLE_SPEC.md`, `sigstore_bundle.proto`, the DSSE protocol, in-toto's
//! Statement v1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_image::{Digest, Reference};
use serde::Deserialize;
use serde_json::Value;

use crate::key::PublicKey;
use crate::name::Name;

/// The type that a signed text about an image has: what was signed for another purpose is no signature.
const SIMPLE: &str = "cosign container image signature";
/// The type of a statement that says "signed", and no more: a scan's result is signed too, whatever it says.
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const BUNDLES: [&str; 2] =
    ["application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.3"];
const STATEMENT: &str = "application/vnd.in-toto+json";
const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];
/// Longest text and bundle, in bytes.
const LIMIT: usize = 1 << 20;
/// Most signatures of an envelope, and subjects of a statement.
const MANY: usize = 64;

/// What a signature has to be of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What the user calls it.
    pub name: &'a Name,
    /// Digest of the index or manifest.
    pub digest: Digest,
    /// The document of that digest.
    pub document: &'a [u8],
}

/// How a signature is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A layer of the tag `sha256-DIGEST.sig`.
    Tag,
    /// A bundle that refers to the image.
    Bundle,
}

impl Form {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Bundle => "bundle",
        }
    }
}

/// A signature as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// A signed text, and its signature in base64.
    Simple {
        /// The text.
        payload: Vec<u8>,
        /// Base64.
        signature: String,
    },
    /// A bundle, in JSON.
    Bundle(Vec<u8>),
}

impl Envelope {
    /// How it is stored.
    #[must_use]
    pub fn form(&self) -> Form {
        match self {
            Self::Simple { .. } => Form::Tag,
            Self::Bundle(_) => Form::Bundle,
        }
    }
}

/// The key that has signed `subject` here.
///
/// # Errors
/// Why it is no signature of that, as the end of a sentence.
pub fn check<'k>(envelope: &Envelope, keys: &[&'k PublicKey], subject: &Subject<'_>) -> Result<&'k PublicKey, String> {
    match envelope {
        Envelope::Simple { payload, signature } => simple(payload, signature, keys, subject),
        Envelope::Bundle(bytes) => bundle(bytes, keys, subject),
    }
}

fn show(text: &str) -> String {
    let mut out: String = text.chars().take(120).flat_map(char::escape_debug).collect();
    if text.chars().nth(120).is_some() {
        out.push('…');
    }
    out
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text.trim()).map_err(|_| format!("its {what} is not base64"))
}

fn signer<'k>(keys: &[&'k PublicKey], message: &[u8], signature: &[u8]) -> Result<&'k PublicKey, String> {
    let found = keys.iter().find(|key| key.verifies(message, signature));
    found.copied().ok_or_else(|| "it was not made with one of the keys".to_owned())
}

/// `{"critical":{"identity":…,"image":…,"type":…},"optional":…}`.
#[derive(Deserialize)]
struct Simple {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(default)]
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    reference: Option<String>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

fn simple<'k>(
    payload: &[u8],
    signature: &str,
    keys: &[&'k PublicKey],
    subject: &Subject<'_>,
) -> Result<&'k PublicKey, String> {
    if payload.len() > LIMIT {
        return Err("its text is longer than 1 MiB".to_owned());
    }
    let key = signer(keys, payload, &decode("signature", signature)?)?;
    let Simple { critical } =
        serde_json::from_slice(payload).map_err(|_| "what was signed is no text about an image".to_owned())?;
    if critical.kind != SIMPLE {
        return Err(format!("what was signed is of type \"{}\"", show(&critical.kind)));
    }
    of_digest(&critical.image.digest, subject)?;
    match critical.identity.reference.filter(|text| !text.is_empty()) {
        Some(text) => of_name(&text, subject).map(|()| key),
        None => Ok(key),
    }
}

fn of_digest(text: &str, subject: &Subject<'_>) -> Result<(), String> {
    if text.parse::<Digest>().is_ok_and(|digest| digest == subject.digest) {
        return Ok(());
    }
    Err(format!("it is of another image, {}", show(text)))
}

/// Whoever signs one repository has not said yes to another.
fn of_name(text: &str, subject: &Subject<'_>) -> Result<(), String> {
    if text.parse::<Reference>().is_ok_and(|reference| Name::of(&reference) == *subject.name) {
        return Ok(());
    }
    Err(format!("it is for another repository, \"{}\"", show(text)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    message_signature: Option<Message>,
    dsse_envelope: Option<Dsse>,
}

/// Times and entries of logs are not asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<Value>,
    certificate: Option<Value>,
    x509_certificate_chain: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    message_digest: Option<MessageDigest>,
    signature: String,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse {
    payload: String,
    payload_type: String,
    signatures: Vec<DsseSignature>,
}

#[derive(Deserialize)]
struct DsseSignature {
    sig: String,
}

fn bundle<'k>(bytes: &[u8], keys: &[&'k PublicKey], subject: &Subject<'_>) -> Result<&'k PublicKey, String> {
    if bytes.len() > LIMIT {
        return Err("its bundle is longer than 1 MiB".to_owned());
    }
    let bundle: Bundle = serde_json::from_slice(bytes).map_err(|_| "it is no bundle of version 0.3".to_owned())?;
    if !BUNDLES.contains(&bundle.media_type.as_str()) {
        return Err(format!("it is a bundle of type \"{}\", and version 0.3 is read", show(&bundle.media_type)));
    }
    let material = &bundle.verification_material;
    if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
        return Err("it was made with a certificate, which only a root of trust that is asked online can judge; keys \
                    are accepted"
            .to_owned());
    }
    if material.public_key.is_none() {
        return Err("its bundle does not say that a key has made it".to_owned());
    }
    match (bundle.message_signature, bundle.dsse_envelope) {
        (Some(message), None) => of_message(&message, keys, subject),
        (None, Some(envelope)) => of_statement(&envelope, keys, subject),
        _ => Err("its bundle holds not one signature, of a message or a statement".to_owned()),
    }
}

fn of_message<'k>(message: &Message, keys: &[&'k PublicKey], subject: &Subject<'_>) -> Result<&'k PublicKey, String> {
    if let Some(MessageDigest { algorithm, digest }) = &message.message_digest {
        if algorithm != "SHA2_256" {
            return Err(format!("its digest is of kind \"{}\", and SHA2_256 is read", show(algorithm)));
        }
        let hex: String = decode("digest", digest)?.iter().map(|byte| format!("{byte:02x}")).collect();
        of_digest(&format!("sha256:{hex}"), subject)?;
    }
    // The document is what has this digest; nothing else was looked at.
    of_digest(&Digest::of(subject.document).to_string(), subject)?;
    signer(keys, subject.document, &decode("signature", &message.signature)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    digest: std::collections::BTreeMap<String, String>,
}

/// What a signature of an envelope is of (DSSE v1, "PAE").
fn encoding(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut all = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    all.extend_from_slice(payload);
    all
}

fn of_statement<'k>(envelope: &Dsse, keys: &[&'k PublicKey], subject: &Subject<'_>) -> Result<&'k PublicKey, String> {
    if envelope.payload_type != STATEMENT {
        return Err(format!("it is about something of type \"{}\"", show(&envelope.payload_type)));
    }
    if envelope.signatures.len() > MANY {
        return Err(format!("it has more than {MANY} signatures"));
    }
    let payload = decode("statement", &envelope.payload)?;
    let message = encoding(&envelope.payload_type, &payload);
    let made = envelope.signatures.iter().find_map(|one| {
        let signature = STANDARD.decode(one.sig.trim()).ok()?;
        signer(keys, &message, &signature).ok()
    });
    let key = made.ok_or_else(|| "it was not made with one of the keys".to_owned())?;
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|_| "what was signed is no statement".to_owned())?;
    if !STATEMENTS.contains(&statement.kind.as_str()) || statement.predicate_type != SIGN {
        let kind = show(&statement.predicate_type);
        return Err(format!("what was signed is a statement of type \"{kind}\", which is no signature of an image"));
    }
    let hex = subject.digest.hex();
    let mut about = statement.subject.iter().take(MANY).filter(|one| one.digest.get("sha256") == Some(&hex));
    let about = about.next().ok_or_else(|| "it is of another image".to_owned())?;
    match about.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => of_name(name, subject).map(|()| key),
        None => Ok(key),
    }
}

#[cfg(test)]
mod tests;
