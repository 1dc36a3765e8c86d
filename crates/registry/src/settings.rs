//! What the configuration says of registries, and the places that a reference leads to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bulkhead_image::Reference;

use crate::error::{RegistryError, Result, show};
use crate::limits::Limits;
use crate::url::authority_parts;

/// What speaks for Docker's own registry.
const DOCKER_HOST: &str = "registry-1.docker.io";
/// Its name in references.
pub(crate) const DOCKER: &str = "docker.io";

/// What the configuration says of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Places that are asked before the registry itself: `HOST[:PORT][/PATH]`.
    pub mirrors: Vec<String>,
    /// Plain HTTP is taken where it does not speak TLS.
    pub insecure: bool,
    /// Where it really is: `HOST[:PORT][/PATH]`.
    pub location: Option<String>,
}

/// What an operation needs to know.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// By the name of the registry as references have it.
    pub hosts: BTreeMap<String, HostSettings>,
    /// Directories with a directory `HOST[:PORT]` of certificates for each registry.
    pub certificates: Vec<PathBuf>,
    /// How we call ourselves.
    pub agent: String,
    /// Limits.
    pub limits: Limits,
}

/// A place that may have what a reference names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host, as in a reference: `HOST[:PORT]`.
    pub host: String,
    /// Before the path of the repository: empty, or a path without slashes around it.
    pub prefix: String,
    /// Plain HTTP is taken.
    pub insecure: bool,
    /// Not the registry itself.
    pub mirror: bool,
    /// Under which name credentials for it are kept.
    pub account: String,
}

impl Endpoint {
    fn parse(what: &str, text: &str, insecure: bool, mirror: bool) -> Result<Self> {
        let refuse = || RegistryError::settings(format!("{what} {:?}", show(text)), "expected HOST[:PORT][/PATH]");
        let (host, prefix) = text.split_once('/').unwrap_or((text, ""));
        let prefix = prefix.trim_end_matches('/');
        let good = prefix.is_empty()
            || prefix.split('/').all(|part| {
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
                !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain)
            });
        if authority_parts(host).is_none() || !good {
            return Err(refuse());
        }
        let account = host.to_owned();
        Ok(Self { host: host.to_owned(), prefix: prefix.to_owned(), insecure, mirror, account })
    }

    /// Path of the repository at this place.
    #[must_use]
    pub fn path(&self, repository: &str) -> String {
        if self.prefix.is_empty() { repository.to_owned() } else { format!("{}/{repository}", self.prefix) }
    }
}

impl Settings {
    /// Looks at the texts of one registry, as they stand in a file.
    ///
    /// # Errors
    /// A place that is none.
    pub fn check(name: &str, host: &HostSettings) -> Result<()> {
        if name != DOCKER && authority_parts(name).is_none() {
            return Err(RegistryError::settings(format!("the registry {:?}", show(name)), "expected HOST[:PORT]"));
        }
        for mirror in &host.mirrors {
            Endpoint::parse("the mirror", mirror, false, true)?;
        }
        host.location.as_deref().map_or(Ok(()), |at| Endpoint::parse("the location", at, false, false).map(drop))
    }

    fn insecure(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|settings| settings.insecure)
    }

    /// The registry of this name itself.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn source(&self, registry: &str) -> Result<Endpoint> {
        let own = self.hosts.get(registry);
        let location = own.and_then(|settings| settings.location.as_deref());
        let at = location.unwrap_or(if registry == DOCKER { DOCKER_HOST } else { registry });
        let insecure = self.insecure(registry) || self.insecure(at.split('/').next().unwrap_or_default());
        let mut endpoint = Endpoint::parse("the registry", at, insecure, false)?;
        // Who logs in to a registry does so by its name. A location elsewhere has credentials of its own.
        if location.is_none() {
            endpoint.account = registry.to_owned();
        }
        Ok(endpoint)
    }

    /// Everything that may have what `reference` names: mirrors in their order, the registry itself last.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let mut all = Vec::new();
        for mirror in self.hosts.get(reference.registry()).into_iter().flat_map(|settings| &settings.mirrors) {
            let host = mirror.split('/').next().unwrap_or_default();
            all.push(Endpoint::parse("the mirror", mirror, self.insecure(host), true)?);
        }
        all.push(self.source(reference.registry())?);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let docker = HostSettings { mirrors: vec!["mirror.example:5000/hub".into()], ..HostSettings::default() };
        let moved =
            HostSettings { location: Some("store.example/team".into()), insecure: true, ..HostSettings::default() };
        let mirror = HostSettings { insecure: true, ..HostSettings::default() };
        let hosts = [("docker.io", docker), ("old.example", moved), ("mirror.example:5000", mirror)];
        Settings { hosts: hosts.map(|(name, host)| (name.to_owned(), host)).into(), ..Settings::default() }
    }

    #[test]
    fn mirrors_come_first_and_the_registry_last() {
        let all = settings().endpoints(&"alpine".parse().unwrap()).unwrap();
        let shown: Vec<_> =
            all.iter().map(|e| (e.host.as_str(), e.path("library/alpine"), e.insecure, e.mirror)).collect();
        assert_eq!(
            shown,
            [
                ("mirror.example:5000", "hub/library/alpine".to_owned(), true, true),
                ("registry-1.docker.io", "library/alpine".to_owned(), false, false)
            ]
        );
        assert_eq!((all[0].account.as_str(), all[1].account.as_str()), ("mirror.example:5000", "docker.io"));
        let moved = settings().endpoints(&"old.example/a".parse().unwrap()).unwrap();
        assert_eq!((moved[0].host.as_str(), moved[0].account.as_str()), ("store.example", "store.example"));
        assert!(moved[0].insecure && moved[0].path("a") == "team/a");
    }

    #[test]
    fn places_that_are_none_are_refused() {
        for bad in ["", "https://x", "x y", "x/../y", "x//y", "x/A", "x:99999", "x/y?z"] {
            let host = HostSettings { mirrors: vec![bad.to_owned()], ..HostSettings::default() };
            assert!(Settings::check("docker.io", &host).is_err(), "{bad}");
        }
        assert!(Settings::check("https://x", &HostSettings::default()).is_err());
        let good = HostSettings { location: Some("x:5000/y/z".into()), ..HostSettings::default() };
        Settings::check("[::1]:5000", &good).unwrap();
    }
}
