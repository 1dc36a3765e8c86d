//! One command's dealings with registries: who answers where, who we are there, and requests with all their troubles.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::address::Reach;
use crate::answer::{rate_note, refusal, retry_after};
use crate::auth::{self, Challenge, Grant, Scheme};
use crate::credentials::{Keyring, Login};
use crate::error::{RegistryError, Result, show};
use crate::http::{Call, Failure, Http, Payload, Reply};
use crate::limits::Limits;
use crate::settings::{Endpoint, Settings};
use crate::url::{Url, authority_parts};

/// Speaks to registries for one command. Tokens and connections are kept as long as it lives.
#[derive(Debug)]
pub struct Client {
    pub(crate) settings: Settings,
    pub(crate) http: Http,
    keyring: Keyring,
    bases: Mutex<HashMap<String, Base>>,
    grants: Mutex<HashMap<(String, String), Grant>>,
    logins: Mutex<HashMap<(String, String), Login>>,
    notes: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

/// Where a registry is.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) url: Url,
    pub(crate) reach: Reach,
}

/// A repository at one place.
#[derive(Debug)]
pub struct Repository<'a> {
    pub(crate) client: &'a Client,
    /// The place.
    pub endpoint: Endpoint,
    pub(crate) base: Base,
    /// Its path there; empty for the registry as a whole.
    pub path: String,
    pub(crate) scopes: Vec<String>,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) bytes: Option<&'a [u8]>,
    /// What it is about, for errors.
    pub(crate) what: &'a str,
    /// Statuses beside successes that are no error here.
    pub(crate) also: &'a [u16],
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// With these settings and credentials.
    #[must_use]
    pub fn new(settings: Settings, keyring: Keyring) -> Self {
        let http = Http::new(&settings.agent, &settings.limits, &settings.certificates);
        Self {
            settings,
            http,
            keyring,
            bases: Mutex::default(),
            grants: Mutex::default(),
            logins: Mutex::default(),
            notes: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Ends everything that is under way, as soon as it looks up.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// What is to be told to the user beside the result; each once.
    pub fn notes(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.notes))
    }

    /// Layers at a time.
    #[must_use]
    pub fn parallel(&self) -> usize {
        self.limits().parallel.max(1)
    }

    /// Where the registry of this name is.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn source(&self, registry: &str) -> Result<Endpoint> {
        self.settings.source(registry)
    }

    /// Who we are to the registry of this name, by the files and helpers of the user.
    ///
    /// # Errors
    /// A file or helper that cannot be used.
    pub fn kept_login(&self, registry: &str) -> Result<Login> {
        self.keyring.get(registry, "")
    }

    pub(crate) fn note(&self, text: String) {
        let mut notes = locked(&self.notes);
        if !notes.contains(&text) {
            notes.push(text);
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Fails once [`Client::stop`] was called.
    pub(crate) fn check(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) { Err(RegistryError::GivenUp) } else { Ok(()) }
    }

    /// Waits, but not beyond the end.
    pub(crate) fn rest(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// A repository at a place, for reading it, or for writing too.
    ///
    /// # Errors
    /// A place that does not answer, when it has to be asked how.
    pub fn repository(&self, endpoint: Endpoint, path: &str, write: bool) -> Result<Repository<'_>> {
        let base = self.base(&endpoint)?;
        let path = if path.is_empty() { String::new() } else { endpoint.path(path) };
        let actions = if write { "pull,push" } else { "pull" };
        let scopes = if path.is_empty() { Vec::new() } else { vec![format!("repository:{path}:{actions}")] };
        Ok(Repository { client: self, endpoint, base, path, scopes })
    }

    /// How a place is spoken to. Encrypted; where plain HTTP is taken and nobody has said how to trust it, it is asked.
    fn base(&self, endpoint: &Endpoint) -> Result<Base> {
        if let Some(base) = locked(&self.bases).get(&endpoint.host) {
            return Ok(base.clone());
        }
        let (host, port) = authority_parts(&endpoint.host).ok_or_else(|| {
            RegistryError::settings(format!("the registry {:?}", show(&endpoint.host)), "expected HOST[:PORT]")
        })?;
        let secure = Url { secure: true, host, port: port.unwrap_or(443), path: "/v2/".to_owned() };
        let plain = Url { secure: false, port: port.unwrap_or(80), ..secure.clone() };
        let may_be_plain = (endpoint.insecure || plain.is_loopback()) && !self.http.has_certificates(&secure);
        let url = if may_be_plain && self.speaks_plain(&secure, port.is_some())? { plain } else { secure };
        let base = Base { reach: self.http.reach(&url)?, url };
        locked(&self.bases).insert(endpoint.host.clone(), base.clone());
        Ok(base)
    }

    fn speaks_plain(&self, url: &Url, has_port: bool) -> Result<bool> {
        let call = Call { method: "GET", url, headers: &[], from: None };
        match self.http.send(&call, Payload::None) {
            Ok(_) => Ok(false),
            Err(Failure::Plain(_) | Failure::Ended(_)) => Ok(true),
            // Nobody at the usual port of HTTPS; perhaps at that of HTTP.
            Err(Failure::Other(RegistryError::Unreachable { .. })) if !has_port => Ok(true),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    fn login(&self, endpoint: &Endpoint, path: &str) -> Result<Login> {
        let key = (endpoint.account.clone(), path.to_owned());
        if let Some(login) = locked(&self.logins).get(&key) {
            return Ok(login.clone());
        }
        let login = self.keyring.get(&endpoint.account, path)?;
        locked(&self.logins).insert(key, login.clone());
        Ok(login)
    }

    /// Uses these credentials instead of those in the files, for a registry as a whole.
    pub fn use_login(&self, endpoint: &Endpoint, login: Login) {
        locked(&self.logins).insert((endpoint.account.clone(), String::new()), login);
    }
}

impl Repository<'_> {
    /// Name of the host, for errors.
    #[must_use]
    pub fn host(&self) -> String {
        self.base.url.shown()
    }

    /// An address below the repository.
    pub(crate) fn url(&self, below: &str) -> Url {
        let path = if self.path.is_empty() { format!("/v2/{below}") } else { format!("/v2/{}/{below}", self.path) };
        Url { path, ..self.base.url.clone() }
    }

    fn grant_key(&self) -> (String, String) {
        (self.endpoint.host.clone(), self.scopes.join(" "))
    }

    pub(crate) fn known(&self) -> bool {
        let key = (self.endpoint.account.clone(), self.path.clone());
        locked(&self.client.logins).get(&key).is_some_and(|login| *login != Login::None)
    }

    /// Forgets the token of this repository: the next request gets another.
    pub(crate) fn forget_token(&self) {
        locked(&self.client.grants).remove(&self.grant_key());
    }

    /// Whether the registry is there and lets us in.
    ///
    /// # Errors
    /// That it is not, or does not.
    pub fn ping(&self) -> Result<()> {
        let url = self.url("");
        self.ask(&Ask { method: "GET", url, headers: Vec::new(), bytes: None, what: "its entrance", also: &[] })
            .map(drop)
    }

    /// Makes a request as often as it takes, within bounds.
    ///
    /// # Errors
    /// The last failure.
    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Reply> {
        let mut failures = 0;
        loop {
            self.client.check()?;
            let (error, again) = match self.once(ask, None) {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            failures += 1;
            if !error.passes() || failures >= self.client.limits().attempts {
                return Err(error);
            }
            // To wait for longer than this is for the user to decide.
            if again.is_some_and(|wait| wait > self.client.limits().longest_wait) {
                return Err(error);
            }
            self.client.rest(self.client.limits().wait(failures, again))?;
        }
    }

    /// Makes a request once: with credentials where they belong, along redirects. `stream` is sent as its body, and then
    /// nothing is asked twice.
    ///
    /// # Errors
    /// What failed, and how long the other side asks to wait.
    pub(crate) fn once(
        &self,
        ask: &Ask<'_>,
        mut stream: Option<(&mut dyn std::io::Read, u64)>,
    ) -> std::result::Result<Reply, (RegistryError, Option<Duration>)> {
        let fatal = |error: RegistryError| (error, None);
        let mut url = self.secured(ask.url.clone());
        let (mut renewed, mut redirects) = (false, 0);
        loop {
            let home = url.same_origin(&self.base.url);
            let mut headers = ask.headers.clone();
            if home && let Some(grant) = locked(&self.client.grants).get(&self.grant_key()) {
                headers.push(("authorization", grant.header()));
            }
            let from = (url.host != self.base.url.host).then_some(self.base.reach);
            let call = Call { method: ask.method, url: &url, headers: &headers, from };
            let streams = stream.is_some();
            let payload = match (&mut stream, ask.bytes) {
                (Some((reader, size)), _) => Payload::Stream(&mut **reader, *size),
                (None, Some(bytes)) => Payload::Bytes(bytes),
                (None, None) => Payload::None,
            };
            let reply = self.client.http.send(&call, payload).map_err(|failure| fatal(self.failed(&url, failure)))?;
            match reply.status {
                200..=299 => {
                    if let Some(note) = rate_note(&reply, &self.host()) {
                        self.client.note(note);
                    }
                    return Ok(reply);
                }
                401 if home && !renewed && !streams => {
                    self.renew(&reply).map_err(fatal)?;
                    renewed = true;
                }
                401 if !home => {
                    return Err(fatal(
                        self.astray(&url, "it asks for credentials, and those of a registry go nowhere else"),
                    ));
                }
                301 | 302 | 303 | 307 | 308 if matches!(ask.method, "GET" | "HEAD") => {
                    redirects += 1;
                    url = self.next(&url, &reply, redirects).map_err(fatal)?;
                }
                status if ask.also.contains(&status) => return Ok(reply),
                _ => {
                    let again = retry_after(&reply);
                    let most = self.client.limits().message;
                    return Err((refusal(reply, &url.shown(), ask.what, self.known(), most), again));
                }
            }
        }
    }

    /// A place on the registry's own host is spoken to as the registry is: those behind something that decrypts for them
    /// do not know that they are encrypted.
    fn secured(&self, url: Url) -> Url {
        let base = &self.base.url;
        if base.secure && !url.secure && url.host == base.host { Url { path: url.path, ..base.clone() } } else { url }
    }

    fn astray(&self, url: &Url, reason: &str) -> RegistryError {
        RegistryError::Astray { host: self.host(), target: url.shown(), reason: reason.to_owned() }
    }

    fn failed(&self, url: &Url, failure: Failure) -> RegistryError {
        match failure {
            Failure::Other(RegistryError::Astray { target, reason, .. }) => {
                RegistryError::Astray { host: self.host(), target, reason }
            }
            Failure::Other(error) => error,
            Failure::Plain(reason) => {
                RegistryError::Untrusted { host: url.shown(), reason: format!("it does not speak TLS ({reason})") }
            }
            Failure::Ended(reason) => RegistryError::Cut { host: url.shown(), reason },
        }
    }

    /// Where a redirect leads.
    fn next(&self, url: &Url, reply: &Reply, redirects: u32) -> Result<Url> {
        let most = self.client.limits().redirects;
        if redirects > most {
            return Err(RegistryError::lie(&self.host(), "a request", format!("it redirects more than {most} times")));
        }
        let location = reply
            .header("location")
            .ok_or_else(|| RegistryError::lie(&self.host(), "a request", "it redirects to nowhere"))?;
        let next = self.secured(url.join(location).map_err(|_| RegistryError::Astray {
            host: self.host(),
            target: show(location),
            reason: "it is no address of https or http".to_owned(),
        })?);
        if url.secure && !next.secure {
            return Err(self.astray(&next, "it is not encrypted, as what led there was"));
        }
        Ok(next)
    }

    /// Gets what the registry asks for.
    fn renew(&self, reply: &Reply) -> Result<()> {
        let challenges: Vec<Challenge> =
            reply.all("www-authenticate").iter().flat_map(|h| Challenge::parse(h)).collect();
        let login = self.client.login(&self.endpoint, &self.path)?;
        let denied = |reason: String| RegistryError::Denied {
            host: self.host(),
            what: if self.path.is_empty() { "its entrance".to_owned() } else { self.path.clone() },
            reason,
            known: login != Login::None,
        };
        let of = |scheme: Scheme| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let grant = if let Login::Bearer(token) = &login {
            Grant::Bearer(token.clone())
        } else if let Some(challenge) = of(Scheme::Bearer) {
            let asked = auth::Asked {
                registry: &self.base.url,
                reach: self.base.reach,
                challenge,
                scopes: &self.scopes,
                login: &login,
                message: self.client.limits().message,
            };
            Grant::Bearer(auth::fetch(&self.client.http, &asked)?)
        } else if of(Scheme::Basic).is_some() {
            match &login {
                Login::Password(user, password) => Grant::Basic(user.clone(), password.clone()),
                Login::Identity(_) => {
                    return Err(denied("it asks for a password, and there is a token only".to_owned()));
                }
                _ => return Err(denied("authentication is required".to_owned())),
            }
        } else {
            let names: Vec<String> = challenges
                .iter()
                .filter_map(|c| if let Scheme::Other(name) = &c.scheme { Some(show(name)) } else { None })
                .collect();
            let asks =
                if names.is_empty() { "does not say how".to_owned() } else { format!("asks for {}", names.join(", ")) };
            return Err(denied(format!("authentication is required, and it {asks}; bearer and basic are known here")));
        };
        locked(&self.client.grants).insert(self.grant_key(), grant);
        Ok(())
    }
}
