//! Names that rules speak of: a registry and a path, in one spelling.

use std::fmt;
use std::net::Ipv6Addr;

use bulkhead_image::Reference;

/// Names of Docker's registry, which are one place.
const DOCKER: [&str; 4] = ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// A repository, in the spelling in which rules see it: hosts in lower case and without a port that says nothing. Who
/// could choose the spelling could choose the rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    registry: String,
    path: String,
}

impl Name {
    /// Of what a reference names.
    #[must_use]
    pub fn of(reference: &Reference) -> Self {
        let registry = host(reference.registry());
        let mut path = reference.path().to_owned();
        // As Docker reads it below any of its names.
        if registry == "docker.io" && !path.contains('/') {
            path = format!("library/{path}");
        }
        Self { registry, path }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// A host in the one spelling of rules.
fn host(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let (name, port) = match lower.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let address = address.parse::<Ipv6Addr>().map_or_else(|_| address.to_owned(), |a| a.to_string());
            (format!("[{address}]"), port.strip_prefix(':'))
        }
        None => match lower.split_once(':') {
            Some((name, port)) => (name.to_owned(), Some(port)),
            None => (lower.clone(), None),
        },
    };
    let port = port.and_then(|port| port.parse::<u16>().ok()).filter(|port| !matches!(port, 80 | 443));
    if port.is_none() && DOCKER.contains(&name.as_str()) {
        return "docker.io".to_owned();
    }
    port.map_or(name.clone(), |port| format!("{name}:{port}"))
}

/// Which images a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All, those without a name too.
    All,
    /// Those of a registry, or below a path of it.
    Below {
        /// Host and port.
        registry: String,
        /// Whole components; empty for all of the registry.
        path: Vec<String>,
    },
}

impl Scope {
    /// As it stands in a rule: `*`, `REGISTRY` or `REGISTRY/PATH`.
    ///
    /// # Errors
    /// What would be accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let needed =
            || "a registry like \"docker.io\", a path in it like \"docker.io/library\", or \"*\" is needed".to_owned();
        if text == "*" {
            return Ok(Self::All);
        }
        let (registry, path) = text.split_once('/').map_or((text, ""), |(registry, path)| (registry, path));
        if !registry.contains(['.', ':']) && registry != "localhost" {
            return Err(needed());
        }
        // What is a repository with one more component is a prefix of repositories.
        let below = if path.is_empty() { format!("{registry}/x") } else { format!("{registry}/{path}/x") };
        let plain = below.parse::<Reference>().is_ok_and(|r| r.tag() == Some("latest") && r.digest().is_none());
        if !plain || text.ends_with('/') || path.contains([':', '@']) {
            return Err(needed());
        }
        let path = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Ok(Self::Below { registry: host(registry), path })
    }

    /// How exactly it fits: more is more exact. `None`: it does not.
    #[must_use]
    pub fn fits(&self, name: Option<&Name>) -> Option<usize> {
        let Self::Below { registry, path } = self else { return Some(0) };
        let name = name.filter(|name| name.registry == *registry)?;
        let mut parts = name.path.split('/');
        if path.iter().all(|part| parts.next() == Some(part)) {
            return Some(1 + path.len());
        }
        // "docker.io/alpine" is how many people write docker.io/library/alpine.
        let official = name.path.strip_prefix("library/");
        match path.as_slice() {
            [one] if name.registry == "docker.io" && official == Some(one) => Some(3),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::of(&text.parse().unwrap())
    }

    #[test]
    fn one_place_has_one_spelling() {
        for other in ["GHCR.io/a/b", "ghcr.io:443/a/b:x", "ghcr.io:0443/a/b", "ghcr.io:80/a/b"] {
            assert_eq!(name(other), name("ghcr.io/a/b"), "{other}");
        }
        for other in ["index.docker.io/library/alpine", "registry-1.docker.io/library/alpine", "Docker.io/alpine"] {
            assert_eq!(name(other).to_string(), "docker.io/library/alpine", "{other}");
        }
        assert_eq!(name("[0:0::1]:5000/x").to_string(), "[::1]:5000/x");
        assert_ne!(name("ghcr.io:8443/a"), name("ghcr.io/a"));
    }

    #[test]
    fn whole_components_and_the_longest() {
        let fits = |scope: &str, of: &str| Scope::parse(scope).unwrap().fits(Some(&name(of)));
        assert_eq!(fits("*", "x"), Some(0));
        assert_eq!(fits("docker.io", "alpine"), Some(1));
        assert_eq!(fits("docker.io/library", "alpine:3"), Some(2));
        assert_eq!(fits("docker.io/library/alpine", "alpine"), Some(3));
        assert_eq!(fits("docker.io/alpine", "alpine"), Some(3));
        assert_eq!(fits("docker.io/alpine", "alpine/git"), Some(2));
        assert_eq!(fits("docker.io/lib", "alpine"), None);
        assert_eq!(fits("ghcr.io/team", "ghcr.io/teammate/x"), None);
        assert_eq!(fits("ghcr.io/team/app", "ghcr.io/team"), None);
        assert_eq!(fits("GHCR.io:443/team", "ghcr.io/team/x"), Some(2));
        assert_eq!(Scope::parse("*").unwrap().fits(None), Some(0));
        assert_eq!(Scope::parse("localhost").unwrap().fits(None), None);
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for bad in [
            "",
            "alpine",
            "library/alpine",
            "ghcr.io/",
            "ghcr.io/A",
            "ghcr.io/a:1",
            "ghcr.io//a",
            "**",
            "ghcr.io/*",
            "a b.c",
        ] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
    }
}
