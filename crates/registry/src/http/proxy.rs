//! Proxies, as `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name them.

use std::net::IpAddr;

use crate::error::{RegistryError, Result};
use crate::url::{Url, authority_parts};

/// What the environment says.
#[derive(Clone, Default)]
pub(super) struct Proxies {
    secure: Option<String>,
    plain: Option<String>,
    none: String,
}

impl Proxies {
    pub(super) fn from_environment() -> Self {
        Self::of_variables(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    fn of_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str| get(upper).or_else(|| get(&upper.to_ascii_lowercase()));
        let all = either("ALL_PROXY");
        Self {
            secure: either("HTTPS_PROXY").or_else(|| all.clone()),
            plain: either("HTTP_PROXY").or(all),
            none: either("NO_PROXY").unwrap_or_default(),
        }
    }

    /// The proxy for this address; none for this machine and for what `NO_PROXY` names.
    ///
    /// # Errors
    /// One that cannot be used. Its user and password are not repeated.
    pub(super) fn of(&self, url: &Url) -> Result<Option<ureq::Proxy>> {
        let Some(text) = (if url.secure { &self.secure } else { &self.plain }) else { return Ok(None) };
        if url.is_loopback() || self.is_excepted(url) {
            return Ok(None);
        }
        let name = if url.secure { "HTTPS_PROXY" } else { "HTTP_PROXY" };
        let wrong = || RegistryError::settings(name, "expected http://[USER:PASSWORD@]HOST[:PORT]");
        let scheme = text.split_once("://").map_or("http", |(scheme, _)| scheme);
        if !matches!(scheme, "http" | "https") {
            return Err(wrong());
        }
        ureq::Proxy::new(text.trim()).map(Some).map_err(|_| wrong())
    }

    fn is_excepted(&self, url: &Url) -> bool {
        self.none.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            if entry == "*" {
                return true;
            }
            if let (Some(ip), Some((net, bits))) = (url.ip(), entry.split_once('/'))
                && let (Ok(net), Ok(bits)) = (net.parse(), bits.parse())
            {
                return within(ip, net, bits);
            }
            let entry = entry.strip_prefix('*').unwrap_or(entry);
            let bare = entry.strip_prefix('.').unwrap_or(entry);
            let Some((host, port)) =
                authority_parts(bare).or_else(|| Some((bare.parse::<IpAddr>().ok()?.to_string(), None)))
            else {
                return false;
            };
            let below = url.host.strip_suffix(&host).is_some_and(|before| before.ends_with('.'));
            let same = url.host == host && !entry.starts_with('.');
            port.is_none_or(|port| port == url.port) && (same || (below && url.ip().is_none()))
        })
    }
}

fn within(ip: IpAddr, net: IpAddr, bits: u32) -> bool {
    let cut = |value: u128, width: u32| (bits <= width).then(|| value.checked_shr(width - bits).unwrap_or(0));
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let (a, b) = (cut(u128::from(a.to_bits()), 32), cut(u128::from(b.to_bits()), 32));
            a.is_some() && a == b
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let (a, b) = (cut(a.to_bits(), 128), cut(b.to_bits(), 128));
            a.is_some() && a == b
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_proxy_and_who_has_none() {
        let of = |none: &'static str, url: &str| {
            let proxies = Proxies::of_variables(|name| match name {
                "https_proxy" => Some("http://user:secret@proxy.example:3128".to_owned()),
                "NO_PROXY" => Some(none.to_owned()),
                _ => None,
            });
            proxies.of(&Url::parse(url).unwrap()).unwrap().is_some()
        };
        assert!(of("", "https://a.example/") && !of("", "http://a.example/"));
        for alone in ["https://localhost:5000/", "https://127.0.0.1/", "https://[::1]/"] {
            assert!(!of("", alone), "{alone}");
        }
        for (none, url, proxied) in [
            ("a.example", "https://a.example/", false),
            ("a.example", "https://b.a.example/", false),
            (".a.example", "https://a.example/", true),
            (".a.example", "https://b.a.example/", false),
            ("*.a.example", "https://b.a.example/", false),
            ("a.example:5000", "https://a.example:5000/", false),
            ("a.example:5000", "https://a.example/", true),
            ("xa.example", "https://a.example/", true),
            ("example", "https://aexample/", true),
            ("10.0.0.0/8, x", "https://10.1.2.3/", false),
            ("10.0.0.0/8", "https://11.1.2.3/", true),
            ("10.1.2.3", "https://10.1.2.3/", false),
            ("fd00::/8", "https://[fd00::1]/", false),
            ("*", "https://a.example/", false),
        ] {
            assert_eq!(of(none, url), proxied, "{none} {url}");
        }
    }

    #[test]
    fn a_wrong_proxy_is_told_without_its_password() {
        for bad in ["socks5://user:secret@x:1", "http://user:secret@"] {
            let proxies = Proxies { secure: Some(bad.to_owned()), ..Proxies::default() };
            let error = proxies.of(&Url::parse("https://a.example/").unwrap()).unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
        }
    }
}
