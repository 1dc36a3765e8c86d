//! Addresses of HTTP, as much of them as registries use.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::error::{RegistryError, Result, show};

/// Longest address, in bytes: those of signed storage are long.
const LONGEST: usize = 16 << 10;

/// An `http` or `https` address without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) secure: bool,
    /// Lower case; a version 6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query, from `/`.
    pub(crate) path: String,
}

impl Url {
    /// # Errors
    /// What is no such address.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &str| RegistryError::settings(format!("the address {:?}", show(text)), reason);
        if text.len() > LONGEST {
            return Err(refuse("it is too long"));
        }
        if text.bytes().any(|b| !(0x21..0x7f).contains(&b) || matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`')) {
            return Err(refuse("it has characters that have to be escaped"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("it has no scheme; expected https://…"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(refuse("its scheme is neither https nor http")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(refuse("it has a user name in it"));
        }
        let (host, port) = authority_parts(authority).ok_or_else(|| refuse("its host is malformed"))?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, host, port, path })
    }

    /// Where `location`, found in an answer of this address, leads.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub(crate) fn join(&self, location: &str) -> Result<Self> {
        let location = location.trim();
        let scheme = if self.secure { "https" } else { "http" };
        let before = location.split(['/', '?', '#']).next().unwrap_or_default();
        if before.contains(':') {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let own = self.path.split('?').next().unwrap_or("/");
        let path = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{own}{location}")
        } else {
            format!("{}/{location}", own.rsplit_once('/').map_or("", |(dir, _)| dir))
        };
        Self::parse(&format!("{scheme}://{}{path}", self.authority()))
    }

    /// With one more parameter, whose value is escaped.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(name);
        self.path.push('=');
        self.path.push_str(&escaped(value));
        self
    }

    /// Host and port, the port also when it is the usual one.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Host and port as people write them.
    pub(crate) fn shown(&self) -> String {
        let usual = self.port == if self.secure { 443 } else { 80 };
        match (usual, self.host.contains(':')) {
            (true, true) => format!("[{}]", self.host),
            (true, false) => self.host.clone(),
            (false, _) => self.authority(),
        }
    }

    /// The address that the host is, if it is no name.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the host is this machine, by its name alone.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }
}

/// Host and port of `HOST[:PORT]`.
pub(crate) fn authority_parts(text: &str) -> Option<(String, Option<u16>)> {
    let port = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten().filter(|port| *port > 0)
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let v6 = inside.parse::<Ipv6Addr>().ok()?;
        return match after.strip_prefix(':') {
            Some(digits) => Some((v6.to_string(), Some(port(digits)?))),
            None => after.is_empty().then(|| (v6.to_string(), None)),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, Some(port(digits)?)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let good = host.len() < 254 && host.strip_suffix('.').unwrap_or(host).split('.').all(label);
    good.then(|| (host.to_ascii_lowercase(), port))
}

/// Everything but unreserved characters (RFC 3986) as `%XX`.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "https" } else { "http" }, self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_where_they_lead() {
        let url = Url::parse("https://Registry.example/v2/a/blobs/x?y=1#z").unwrap();
        assert_eq!(url.to_string(), "https://registry.example:443/v2/a/blobs/x?y=1");
        assert_eq!((url.shown().as_str(), url.port), ("registry.example", 443));
        for (location, leads) in [
            ("/x?a=b", "https://registry.example:443/x?a=b"),
            ("//other/x", "https://other:443/x"),
            ("http://[::1]:5000", "http://[::1]:5000/"),
            ("z", "https://registry.example:443/v2/a/blobs/z"),
            ("?q", "https://registry.example:443/v2/a/blobs/x?q"),
        ] {
            assert_eq!(url.join(location).unwrap().to_string(), leads);
        }
        assert_eq!(url.with("digest", "sha256:ab").path, "/v2/a/blobs/x?y=1&digest=sha256%3Aab");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "x",
            "ftp://x/",
            "file:///etc",
            "https://",
            "https://a@b/",
            "https://a b/",
            "https://[::1/",
            "https://a:0/",
            "https://a:99999/",
            "https://a:+1/",
            "https://a..b/",
            "https://a/\n",
            "https://a/\u{e9}",
            "javascript:x",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        let base = Url::parse("https://a/").unwrap();
        assert!(base.join("data:text/plain,x").is_err() && base.join("http://u:p@x/").is_err());
    }
}
