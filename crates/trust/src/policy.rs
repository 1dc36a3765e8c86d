//! Rules, and what they say of an image.

use bulkhead_image::Digest;

use crate::key::PublicKey;
use crate::name::{Name, Scope};

/// What a rule accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Anything.
    Any,
    /// What one of its keys has signed, and what is listed.
    Signed,
    /// What is listed.
    Listed,
    /// Nothing.
    Nothing,
}

impl Accept {
    /// Its word in a file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Signed => "signed",
            Self::Listed => "listed",
            Self::Nothing => "none",
        }
    }

    /// Of a word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Any, Self::Signed, Self::Listed, Self::Nothing].into_iter().find(|one| one.word() == word)
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which images it is about.
    pub scope: Scope,
    /// The same as it is written.
    pub images: String,
    /// What it accepts.
    pub accept: Accept,
    /// Whose signatures count.
    pub keys: Vec<PublicKey>,
    /// Digests of indexes or manifests that are listed.
    pub digests: Vec<Digest>,
    /// Only references with a digest are taken.
    pub pinned: bool,
    /// `FILE:LINE`.
    pub origin: String,
}

/// What is known of an image under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What it was pulled as: the digest of the index, and of the manifest.
    pub digests: Vec<Digest>,
    /// Fingerprints of keys that have signed one of those.
    pub signers: Vec<Digest>,
}

impl Rule {
    /// For errors.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("the rule for {:?} ({})", self.images, self.origin)
    }

    /// Whether a name can be asked for at all; `digest`: the reference has one.
    ///
    /// # Errors
    /// Why not, as the end of a sentence.
    pub fn admits_reference(&self, digest: bool) -> Result<(), String> {
        if self.accept == Accept::Nothing {
            return Err(format!("{} accepts none", self.shown()));
        }
        if self.pinned && !digest {
            return Err(format!("{} asks for a reference with a digest, NAME@sha256:…", self.shown()));
        }
        Ok(())
    }

    /// Whether what is known is enough.
    ///
    /// # Errors
    /// What is missing, as the end of a sentence.
    pub fn judge(&self, evidence: &Evidence) -> Result<(), String> {
        let listed = evidence.digests.iter().any(|digest| self.digests.contains(digest));
        let signed = evidence.signers.iter().any(|signer| self.keys.iter().any(|key| key.fingerprint == *signer));
        match self.accept {
            Accept::Any => Ok(()),
            Accept::Nothing => Err(format!("{} accepts none", self.shown())),
            Accept::Listed if listed => Ok(()),
            Accept::Signed if listed || signed => Ok(()),
            Accept::Listed => Err(format!("{} does not list its digest", self.shown())),
            Accept::Signed => Err(format!("{} asks for a signature of one of its keys", self.shown())),
        }
    }
}

/// The rules of all files. Each file has its say, so that one adds to another and takes nothing from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    files: Vec<Vec<Rule>>,
}

impl Policy {
    /// Takes in the rules of one more file.
    pub fn add(&mut self, rules: Vec<Rule>) {
        if !rules.is_empty() {
            self.files.push(rules);
        }
    }

    /// No file has a rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Every rule, file by file.
    pub fn all(&self) -> impl Iterator<Item = &Rule> {
        self.files.iter().flatten()
    }

    /// The rules that are about a name, of each file the most exact; without a name those about everything.
    #[must_use]
    pub fn rules(&self, name: Option<&Name>) -> Vec<&Rule> {
        let best = |rules: &'_ Vec<Rule>| {
            let fitting = rules.iter().enumerate().filter_map(|(at, rule)| rule.scope.fits(name).map(|n| (n, at)));
            // Of equals the first.
            fitting.max_by_key(|(exact, at)| (*exact, std::cmp::Reverse(*at))).map(|(_, at)| at)
        };
        self.files.iter().filter_map(|rules| rules.get(best(rules)?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(images: &str, accept: Accept) -> Rule {
        Rule {
            scope: Scope::parse(images).unwrap(),
            images: images.to_owned(),
            accept,
            keys: Vec::new(),
            digests: vec![Digest::of(b"listed")],
            pinned: false,
            origin: "f:1".to_owned(),
        }
    }

    #[test]
    fn each_file_has_its_say() {
        let mut policy = Policy::default();
        policy.add(vec![
            rule("*", Accept::Nothing),
            rule("docker.io", Accept::Any),
            rule("docker.io/a", Accept::Listed),
        ]);
        policy.add(vec![rule("docker.io/a", Accept::Any)]);
        let of = |text: &str| {
            let name = Name::of(&text.parse().unwrap());
            policy.rules(Some(&name)).iter().map(|r| r.accept).collect::<Vec<_>>()
        };
        assert_eq!(of("a/b"), [Accept::Listed, Accept::Any]);
        assert_eq!(of("b/a"), [Accept::Any]);
        assert_eq!(of("quay.io/x"), [Accept::Nothing]);
        assert_eq!(policy.rules(None).iter().map(|r| r.accept).collect::<Vec<_>>(), [Accept::Nothing]);
    }

    #[test]
    fn what_is_known_has_to_be_enough() {
        let known = Evidence { digests: vec![Digest::of(b"listed")], signers: Vec::new() };
        let other = Evidence { digests: vec![Digest::of(b"other")], signers: vec![Digest::of(b"k")] };
        for accept in [Accept::Listed, Accept::Signed] {
            rule("*", accept).judge(&known).unwrap();
            rule("*", accept).judge(&other).unwrap_err();
            rule("*", accept).judge(&Evidence::default()).unwrap_err();
        }
        rule("*", Accept::Any).judge(&Evidence::default()).unwrap();
        rule("*", Accept::Nothing).judge(&known).unwrap_err();
        let pinned = Rule { pinned: true, ..rule("*", Accept::Any) };
        assert!(pinned.admits_reference(true).is_ok() && pinned.admits_reference(false).is_err());
    }
}
