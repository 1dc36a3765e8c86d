//! Tokens of a place that a registry names (the distribution project's token specification, and its OAuth 2 form).

use serde::Deserialize;

use super::{Challenge, basic};
use crate::address::Reach;
use crate::credentials::{Login, Secret};
use crate::error::{RegistryError, Result, show};
use crate::http::{Call, Failure, Http, Payload};
use crate::url::{Url, escaped};

/// How we are called where tokens are made.
const CLIENT: &str = "bulkhead";

/// For what a token is asked.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// Where the registry is, and what kind of network it is in.
    pub(crate) registry: &'a Url,
    pub(crate) reach: Reach,
    pub(crate) challenge: &'a Challenge,
    pub(crate) scopes: &'a [String],
    pub(crate) login: &'a Login,
    /// Most bytes of the answer.
    pub(crate) message: u64,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Fetches a token.
///
/// # Errors
/// A place that is not gone to; a refusal; an answer without a token.
pub(crate) fn fetch(http: &Http, asked: &Asked<'_>) -> Result<Secret> {
    let host = asked.registry.shown();
    let realm = asked.challenge.get("realm").unwrap_or_default();
    let url = place(asked, realm)?;
    // The same host was chosen by the user; another one must not be further inside.
    let from = (url.host != asked.registry.host).then_some(asked.reach);
    let service = asked.challenge.get("service").unwrap_or_default();
    let scopes: Vec<String> = match asked.challenge.get("scope") {
        Some(scope) if asked.scopes.is_empty() => vec![scope.to_owned()],
        _ => asked.scopes.to_vec(),
    };
    let reply = match asked.login {
        Login::Identity(token) => {
            let mut form = format!(
                "grant_type=refresh_token&refresh_token={}&client_id={CLIENT}&service={}",
                escaped(token.reveal()),
                escaped(service)
            );
            if !scopes.is_empty() {
                form.push_str(&format!("&scope={}", escaped(&scopes.join(" "))));
            }
            let kind = [("content-type", "application/x-www-form-urlencoded".to_owned())];
            http.send(&Call { method: "POST", url: &url, headers: &kind, from }, Payload::Bytes(form.as_bytes()))
        }
        login => {
            let mut url = url.clone();
            if !service.is_empty() {
                url = url.with("service", service);
            }
            for scope in &scopes {
                url = url.with("scope", scope);
            }
            let mut headers = Vec::new();
            if let Login::Password(user, password) = login {
                url = url.with("account", user);
                headers.push(("authorization", basic(user, password)));
            }
            http.send(&Call { method: "GET", url: &url, headers: &headers, from }, Payload::None)
        }
    };
    let reply = reply.map_err(|failure| match failure {
        Failure::Plain(reason) => {
            RegistryError::Untrusted { host: url.shown(), reason: format!("it does not speak TLS ({reason})") }
        }
        Failure::Ended(reason) => RegistryError::Cut { host: url.shown(), reason },
        Failure::Other(RegistryError::Astray { target, reason, .. }) => {
            RegistryError::Astray { host: host.clone(), target, reason }
        }
        Failure::Other(other) => other,
    })?;
    let status = reply.status;
    let what = "a token";
    if status != 200 {
        let known = !matches!(asked.login, Login::None);
        return Err(crate::answer::refusal(reply, &url.shown(), what, known, asked.message));
    }
    let bytes = reply.read(asked.message).map_err(|e| RegistryError::lie(&url.shown(), what, show(&e.to_string())))?;
    // Its text is a secret: an error must not repeat it.
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| RegistryError::lie(&url.shown(), what, "it is not the JSON of a token"))?;
    let token = answer.token.filter(|t| !t.is_empty()).or(answer.access_token).unwrap_or_default();
    let good = !token.is_empty() && token.bytes().all(|b| (0x21..0x7f).contains(&b));
    if !good {
        return Err(RegistryError::lie(&url.shown(), what, "it has no token that can be sent"));
    }
    Ok(Secret::new(token))
}

/// The place, when it may be gone to.
fn place(asked: &Asked<'_>, realm: &str) -> Result<Url> {
    let host = asked.registry.shown();
    let astray =
        |reason: &str| RegistryError::Astray { host: host.clone(), target: show(realm), reason: reason.to_owned() };
    let url = Url::parse(realm).map_err(|_| astray("it is no address for tokens"))?;
    // Where the registry itself is plain, by being here or by configuration, so may be what it names on the same host.
    let own = !asked.registry.secure && (url.host == asked.registry.host || url.is_loopback());
    if !url.secure && !own {
        return Err(astray("credentials are not sent unencrypted"));
    }
    if let Some(ip) = url.ip()
        && url.host != asked.registry.host
        && !asked.reach.may_lead_to(Reach::of(ip))
    {
        return Err(astray(&format!("{ip} is {}", Reach::of(ip).name())));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(registry: &str, reach: Reach, realm: &str) -> bool {
        let registry = Url::parse(registry).unwrap();
        let challenge = Challenge::parse("Bearer x=y").remove(0);
        let asked =
            Asked { registry: &registry, reach, challenge: &challenge, scopes: &[], login: &Login::None, message: 1 };
        place(&asked, realm).is_ok()
    }

    #[test]
    fn tokens_are_fetched_encrypted_and_not_from_further_inside() {
        let public = |realm: &str| allowed("https://r.example/", Reach::Public, realm);
        assert!(public("https://auth.example/token") && public("https://r.example/token"));
        for bad in [
            "http://auth.example/token",
            "http://r.example/token",
            "http://localhost/token",
            "https://127.0.0.1/token",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/token",
            "https://[::1]/token",
            "file:///etc/passwd",
            "/token",
            "",
            "https://user:pw@auth.example/",
        ] {
            assert!(!public(bad), "{bad}");
        }
        let here = |realm: &str| allowed("http://127.0.0.1:5000/", Reach::Loopback, realm);
        assert!(here("http://127.0.0.1:5001/token") && here("http://localhost/token"));
        assert!(!here("http://10.0.0.1/token") && !here("http://auth.example/token"));
    }
}
