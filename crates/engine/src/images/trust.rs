//! What the rules say of an image: when it comes, when it is given a name, and when it is to be started.

use bulkhead_image::{Digest, Reference};
use bulkhead_registry::{Resolved, Signature, Source};
use bulkhead_trust::{Accept, Envelope, Evidence, Name, PublicKey, Rule, Subject, check};

use super::Platform;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::now;
use crate::store::Verification;

/// Most reasons in one error.
const REASONS: usize = 3;

/// What `image verify` tells of one name of an image.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// `REGISTRY/PATH`; empty for an image without a name.
    pub name: String,
    /// Digests that it was pulled as.
    pub digests: Vec<String>,
    /// Who has signed it.
    pub signers: Vec<Verification>,
    /// The rules about it, and what they miss.
    pub rules: Vec<JudgedRule>,
}

/// A rule, and what it says.
#[derive(Debug, Clone, Default)]
pub struct JudgedRule {
    /// What it is about.
    pub images: String,
    /// What it accepts.
    pub accept: String,
    /// `FILE:LINE`.
    pub origin: String,
    /// What is missing; nothing when it is satisfied.
    pub problem: Option<String>,
}

/// What `image verify` tells.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// As written.
    pub reference: String,
    /// Image id, with `sha256:`.
    pub id: String,
    /// Its names.
    pub names: Vec<Judged>,
    /// Signatures that do not count, and why.
    pub refused: Vec<String>,
}

impl Verified {
    /// Whether it would run.
    #[must_use]
    pub fn trusted(&self) -> bool {
        self.names.iter().all(|name| name.rules.iter().all(|rule| rule.problem.is_none()))
    }
}

fn untrusted(image: &str, reason: String, hint: impl Into<String>) -> EngineError {
    EngineError::Untrusted { image: format!("{image:?}"), reason, hint: hint.into() }
}

/// What signatures at a registry tell.
#[derive(Default)]
struct Found {
    evidence: Evidence,
    signers: Vec<Verification>,
    refused: Vec<String>,
}

/// Refuses a reference that no rule would ever take, before a registry is asked.
///
/// # Errors
/// [`EngineError::Untrusted`].
pub(super) fn before(engine: &Engine, reference: &Reference) -> Result<(), EngineError> {
    for rule in engine.config.trust.rules(Some(&Name::of(reference))) {
        rule.admits_reference(reference.digest().is_some())
            .map_err(|reason| untrusted(&reference.familiar(), reason, "'bulkhead config show' lists the rules"))?;
    }
    Ok(())
}

/// Judges what a registry has, before a layer of it is fetched; what there is to remember.
///
/// # Errors
/// [`EngineError::Untrusted`].
pub(super) fn arriving(
    engine: &Engine,
    reference: &Reference,
    source: &Source<'_>,
    resolved: &Resolved,
) -> Result<Vec<Verification>, EngineError> {
    let name = Name::of(reference);
    let rules = engine.config.trust.rules(Some(&name));
    let found = look(&name, &rules, source, resolved);
    for rule in &rules {
        if let Err(missing) = rule.judge(&found.evidence) {
            let because = match (rule.accept, found.refused.is_empty()) {
                (Accept::Signed, true) => ", and there is none".to_owned(),
                (Accept::Signed, false) => format!(": {}", found.refused.join("; ")),
                _ => String::new(),
            };
            let shown = format!("{}@{}", reference.familiar_name(), resolved.digest);
            let hint = format!("'bulkhead image verify --remote {}' says what was found", reference.familiar());
            return Err(untrusted(&shown, format!("{missing}{because}"), hint));
        }
    }
    if found.signers.is_empty() {
        let rule = rules.iter().map(|rule| rule.shown()).collect::<Vec<_>>().join(", ");
        return Ok(vec![Verification { rule, ..row(&name, resolved) }]);
    }
    Ok(found.signers)
}

fn row(name: &Name, resolved: &Resolved) -> Verification {
    Verification {
        name: name.to_string(),
        digest: resolved.digest.to_string(),
        manifest: resolved.manifest_digest.to_string(),
        time: now(),
        ..Verification::default()
    }
}

/// Looks for signatures, when a rule asks for one and does not list the image: of what the reference names, then of the
/// manifest.
fn look(name: &Name, rules: &[&Rule], source: &Source<'_>, resolved: &Resolved) -> Found {
    let digests = vec![resolved.digest, resolved.manifest_digest];
    let mut found = Found { evidence: Evidence { digests, signers: Vec::new() }, ..Found::default() };
    let asking: Vec<&Rule> = rules
        .iter()
        .copied()
        .filter(|rule| rule.accept == Accept::Signed && rule.judge(&found.evidence).is_err())
        .collect();
    let keys: Vec<&PublicKey> = asking.iter().flat_map(|rule| &rule.keys).collect();
    let documents = [
        (resolved.digest, resolved.top.bytes.as_slice()),
        (resolved.manifest_digest, resolved.manifest.bytes.as_slice()),
    ];
    for (at, (digest, document)) in documents.into_iter().enumerate() {
        let enough = |found: &Found| asking.iter().all(|rule| rule.judge(&found.evidence).is_ok());
        if enough(&found) || (at > 0 && resolved.digest == digest) {
            break;
        }
        let subject = Subject { name, digest, document };
        source.signatures(&digest, |place| {
            place.failed.iter().for_each(|error| found.refuse(error.to_string()));
            for signature in place.found {
                let envelope = match signature {
                    Signature::Simple { payload, signature } => Envelope::Simple { payload, signature },
                    Signature::Bundle(bytes) => Envelope::Bundle(bytes),
                };
                match check(&envelope, &keys, &subject) {
                    Ok(key) => found.signed(key, &envelope, &asking, row(name, resolved)),
                    Err(reason) => found.refuse(format!("one at {} does not count: {reason}", place.place)),
                }
            }
            enough(&found)
        });
    }
    found
}

impl Found {
    fn refuse(&mut self, reason: String) {
        if self.refused.len() < REASONS && !self.refused.contains(&reason) {
            self.refused.push(reason);
        }
    }

    fn signed(&mut self, key: &PublicKey, envelope: &Envelope, rules: &[&Rule], row: Verification) {
        if self.evidence.signers.contains(&key.fingerprint) {
            return;
        }
        self.evidence.signers.push(key.fingerprint);
        let rule = rules.iter().find(|rule| rule.keys.iter().any(|one| one.fingerprint == key.fingerprint));
        let (key, form) = (key.fingerprint.to_string(), envelope.form().word().to_owned());
        self.signers.push(Verification { key, form, rule: rule.map(|r| r.shown()).unwrap_or_default(), ..row });
    }
}

/// What the store knows of an image under a name.
fn known(rows: &[Verification], name: &Name) -> Evidence {
    let name = name.to_string();
    let own = || rows.iter().filter(|row| row.name == name);
    let digests = own().flat_map(|row| [&row.digest, &row.manifest]).filter_map(|text| text.parse::<Digest>().ok());
    let signers = own().filter_map(|row| row.key.parse::<Digest>().ok());
    Evidence { digests: digests.collect(), signers: signers.collect() }
}

/// Refuses to point a name at an image that its rules do not take: an archive, a container or another name is no way
/// around them. `id` is that of an image that is there, in hex.
///
/// # Errors
/// [`EngineError::Untrusted`].
pub(crate) fn may_name(engine: &Engine, id: Option<&str>, reference: &str) -> Result<(), EngineError> {
    if engine.config.trust.is_empty() {
        return Ok(());
    }
    let Ok(parsed) = reference.parse::<Reference>() else { return Ok(()) };
    let name = Name::of(&parsed);
    let rules = engine.config.trust.rules(Some(&name));
    let rows = id.map_or_else(|| Ok(Vec::new()), |id| engine.store()?.verifications(id).map_err(EngineError::from))?;
    let evidence = known(&rows, &name);
    for rule in rules {
        if let Err(missing) = rule.judge(&evidence) {
            let reason = format!("{missing}, and this image did not come from there with one");
            let hint = "pull it from its registry, or choose a name that another rule is about: images = \"localhost\" \
                        with accept = \"any\" is one for images of this machine";
            return Err(untrusted(&parsed.familiar(), reason, hint));
        }
    }
    Ok(())
}

/// The names that rules see when somebody writes this, and whether a digest was meant.
fn names(
    engine: &Engine,
    written: &str,
    id: &str,
    rows: &[Verification],
) -> Result<Vec<(Option<Name>, bool)>, EngineError> {
    let record = engine.store()?.resolve_image(id, None)?;
    let start = written.strip_prefix("sha256:").unwrap_or(written);
    let by_id = !start.is_empty() && record.id.starts_with(start);
    let reference = written.parse::<Reference>().ok();
    let is_name = |reference: &Reference| !by_id || record.references.contains(&reference.to_string());
    let mut all: Vec<(Option<Name>, bool)> = Vec::new();
    if let Some(reference) = reference.filter(is_name) {
        all.push((Some(Name::of(&reference)), reference.digest().is_some()));
    }
    if by_id {
        // An id is no way around the rules of a name: all that it is known by have a say.
        let pulled = rows.iter().map(|row| row.name.as_str());
        let own = record.references.iter().map(String::as_str).chain(pulled);
        for reference in own.filter_map(|text| text.parse::<Reference>().ok()) {
            let name = Some(Name::of(&reference));
            if !all.iter().any(|(other, _)| *other == name) {
                all.push((name, true));
            }
        }
    }
    if all.is_empty() {
        all.push((None, true));
    }
    Ok(all)
}

/// What the rules say of an image of the store (`id` in hex) that somebody calls `written`.
fn standing(engine: &Engine, written: &str, id: &str) -> Result<Vec<Judged>, EngineError> {
    let rows = engine.store()?.verifications(id)?;
    let mut all = Vec::new();
    for (name, digest) in names(engine, written, id, &rows)? {
        let evidence = name.as_ref().map(|name| known(&rows, name)).unwrap_or_default();
        let shown = name.as_ref().map(ToString::to_string).unwrap_or_default();
        let signers = rows.iter().filter(|row| row.name == shown && !row.key.is_empty()).cloned().collect();
        let rules = engine.config.trust.rules(name.as_ref());
        let rules = rules.into_iter().map(|rule| {
            let said = rule.admits_reference(digest).and_then(|()| rule.judge(&evidence));
            judged(rule, said.err())
        });
        let digests = evidence.digests.iter().map(ToString::to_string);
        let mut one = Judged { name: shown, digests: digests.collect(), signers, rules: rules.collect() };
        one.digests.sort();
        one.digests.dedup();
        all.push(one);
    }
    Ok(all)
}

fn judged(rule: &Rule, problem: Option<String>) -> JudgedRule {
    let (images, origin) = (rule.images.clone(), rule.origin.clone());
    JudgedRule { images, accept: rule.accept.word().to_owned(), origin, problem }
}

/// Refuses to start an image of the store that the rules do not take by what is known of it. `id`: in hex; nothing for the
/// built-in image, which rules are not about.
///
/// # Errors
/// [`EngineError::Untrusted`].
pub(crate) fn may_start(engine: &Engine, written: &str, id: Option<&str>) -> Result<(), EngineError> {
    let Some(id) = id.filter(|_| !engine.config.trust.is_empty()) else { return Ok(()) };
    for name in standing(engine, written, id)? {
        let problem = name.rules.iter().find_map(|rule| rule.problem.clone());
        if let Some(problem) = problem {
            let shown = if name.name.is_empty() { written.to_owned() } else { name.name };
            let hint = format!(
                "'bulkhead pull' looks for signatures and lists again; 'bulkhead image verify {written}' says what is known"
            );
            return Err(untrusted(
                written,
                format!("{problem}, and nothing that is known of {shown:?} satisfies it"),
                hint,
            ));
        }
    }
    Ok(())
}

/// What the rules say of an image of the store.
///
/// # Errors
/// An unknown image.
pub fn verify(engine: &Engine, written: &str) -> Result<Verified, EngineError> {
    if written == super::HOST {
        return Err(EngineError::refused("verifying the image host", "it is built in, and no rule is about it"));
    }
    let record = engine.store()?.resolve_image(written, super::canonical(written).as_deref())?;
    let names = standing(engine, written, &record.id)?;
    Ok(Verified { reference: written.to_owned(), id: format!("sha256:{}", record.id), names, refused: Vec::new() })
}

/// The same of what a registry has, without fetching a layer.
///
/// # Errors
/// A registry that cannot be reached or does not tell the truth.
pub fn verify_remote(engine: &Engine, written: &str, on: Option<&Platform>) -> Result<Verified, EngineError> {
    let (reference, client, wanted) = super::registry::asked(engine, written, on)?;
    let name = Name::of(&reference);
    let rules = engine.config.trust.rules(Some(&name));
    let (source, resolved) = client.resolve(&reference, &wanted, on.is_some())?;
    let found = look(&name, &rules, &source, &resolved);
    let said = |rule: &&Rule| {
        let admitted = rule.admits_reference(reference.digest().is_some());
        judged(rule, admitted.and_then(|()| rule.judge(&found.evidence)).err())
    };
    let mut digests: Vec<String> = found.evidence.digests.iter().map(ToString::to_string).collect();
    digests.dedup();
    let one =
        Judged { name: name.to_string(), digests, rules: rules.iter().map(said).collect(), signers: found.signers };
    Ok(Verified {
        reference: written.to_owned(),
        id: Digest::of(&resolved.config).to_string(),
        names: vec![one],
        refused: found.refused,
    })
}

/// One record, as `inspect` has it.
#[must_use]
pub fn shown(one: &Verification) -> serde_json::Value {
    serde_json::json!({
        "Name": one.name,
        "Digest": one.digest,
        "Manifest": one.manifest,
        "Key": one.key,
        "Form": one.form,
        "Rule": one.rule,
        "Time": crate::containers::time(one.time),
    })
}
