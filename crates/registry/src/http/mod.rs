//! HTTP over TCP and TLS: the one place that knows which client library there is.
//!
//! No redirect is followed here, no credential is kept, and no status is an error: that is for the callers. Addresses
//! are looked at after their names were looked up, so that a name which changes its mind leads nowhere.

mod proxy;
mod tls;

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::http as types;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, SendBody};

use self::proxy::Proxies;
use crate::address::Reach;
use crate::error::{RegistryError, Result, show};
use crate::limits::Limits;
use crate::url::Url;

/// To make a connection, all addresses of a name together.
const CONNECT: Duration = Duration::from_secs(20);

/// What goes out behind the head.
pub(crate) enum Payload<'a> {
    /// Nothing, and no length: `GET`, `HEAD`, `DELETE`.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many bytes of this.
    Stream(&'a mut dyn Read, u64),
}

/// One request to one address.
pub(crate) struct Call<'a> {
    pub(crate) method: &'static str,
    pub(crate) url: &'a Url,
    pub(crate) headers: &'a [(&'static str, String)],
    /// Only addresses that something here may lead to; any, when the user named the host himself.
    pub(crate) from: Option<Reach>,
}

/// The head of an answer, and its body to be read.
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: types::HeaderMap,
    pub(crate) body: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    /// The first header of this name, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All headers of this name that are text.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    }

    /// The length that it announces.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length").and_then(|text| text.trim().parse().ok())
    }

    /// Whether its end can be told from a cut connection.
    pub(crate) fn is_framed(&self) -> bool {
        self.length().is_some() || self.header("transfer-encoding").is_some()
    }

    /// The body, if it is not longer than `most`.
    pub(crate) fn read(self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {most} bytes")));
        }
        Ok(bytes)
    }
}

/// Why a connection to a host did not come to be.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It speaks, but not TLS.
    Plain(String),
    /// It ended the connection instead of speaking TLS.
    Ended(String),
    /// Anything else.
    Other(RegistryError),
}

type Key = (bool, String, u16, Option<Reach>);

/// Connections that are kept, by where they lead and who led there.
pub(crate) struct Http {
    agent: String,
    limits: Limits,
    certificates: Vec<PathBuf>,
    proxies: Proxies,
    agents: Mutex<HashMap<Key, Agent>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(agent: &str, limits: &Limits, certificates: &[PathBuf]) -> Self {
        Self {
            agent: agent.to_owned(),
            limits: limits.clone(),
            certificates: certificates.to_vec(),
            proxies: Proxies::from_environment(),
            agents: Mutex::new(HashMap::new()),
        }
    }

    /// Whether an administrator has put certificates there for this host.
    pub(crate) fn has_certificates(&self, url: &Url) -> bool {
        tls::directories(&self.certificates, url).next().is_some()
    }

    /// What kind of network a host is in; that of a host behind a proxy is the world.
    pub(crate) fn reach(&self, url: &Url) -> Result<Reach> {
        if self.proxies.of(url)?.is_some() {
            return Ok(Reach::Public);
        }
        let all = lookup(&url.host, url.port).map_err(|e| unreachable(url, &e))?;
        Ok(all.iter().map(|address| Reach::of(address.ip())).min().unwrap_or(Reach::Never))
    }

    /// Sends one request and reads the head of its answer.
    pub(crate) fn send(&self, call: &Call<'_>, payload: Payload<'_>) -> std::result::Result<Reply, Failure> {
        let agent = self.agent(call.url, call.from).map_err(Failure::Other)?;
        let mut request = types::Request::builder().method(call.method).uri(call.url.to_string());
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        let length = match &payload {
            Payload::None => None,
            Payload::Bytes(bytes) => Some(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Payload::Stream(_, size) => Some(*size),
        };
        if let Some(length) = length {
            request = request.header("content-length", length.to_string());
        }
        let built = |e: types::Error| {
            Failure::Other(RegistryError::settings(format!("a request to {}", call.url.shown()), show(&e.to_string())))
        };
        let answer = match payload {
            Payload::None => agent.run(request.body(()).map_err(built)?),
            Payload::Bytes(bytes) => agent.run(request.body(bytes).map_err(built)?),
            Payload::Stream(reader, _) => agent.run(request.body(SendBody::from_reader(reader)).map_err(built)?),
        };
        let answer = answer.map_err(|e| self.failed(call.url, e))?;
        let (head, body) = answer.into_parts();
        let body = body.into_with_config().limit(u64::MAX).reader();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: Box::new(body) })
    }

    fn agent(&self, url: &Url, from: Option<Reach>) -> Result<Agent> {
        let key = (url.secure, url.host.clone(), url.port, from);
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let proxy = self.proxies.of(url)?;
        if let (Some(from), Some(ip)) = (from, url.ip())
            && !from.may_lead_to(Reach::of(ip))
        {
            return Err(astray(url, Reach::of(ip)));
        }
        // Behind a proxy the name is looked up there; the proxy itself is wherever it is.
        let resolver = Guarded { from: if proxy.is_some() { None } else { from } };
        let silence = Some(self.limits.silence);
        let long = Some(self.limits.silence.saturating_mul(4));
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(url.secure)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(self.agent.as_str())
            .accept_encoding("identity")
            .max_response_header_size(self.limits.head)
            .input_buffer_size(128 << 10)
            .output_buffer_size(128 << 10)
            .proxy(proxy)
            .timeout_connect(Some(CONNECT.min(self.limits.silence.saturating_mul(2))))
            .timeout_per_read(silence)
            .timeout_per_write(silence)
            .timeout_send_request(long)
            .timeout_recv_response(long);
        if url.secure {
            config = config.tls_config(tls::config(&self.certificates, url)?);
        }
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), resolver);
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    fn failed(&self, url: &Url, error: ureq::Error) -> Failure {
        if let Some(tls) = tls_error(&error) {
            return match tls {
                rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_) => {
                    Failure::Other(RegistryError::Untrusted { host: url.shown(), reason: tls::told(tls) })
                }
                other => Failure::Plain(tls::told(other)),
            };
        }
        let silence = || format!("it was silent for {} seconds", self.limits.silence.as_secs().max(1));
        Failure::Other(match error {
            ureq::Error::Io(e)
                if url.secure && matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                return Failure::Ended(show(&e.to_string()));
            }
            ureq::Error::Io(e) => match e.downcast::<Refused>() {
                Ok(refused) => astray(url, refused.0),
                Err(e) => unreachable(url, &e),
            },
            ureq::Error::Timeout(ureq::Timeout::Connect) => {
                RegistryError::Unreachable { host: url.shown(), reason: "it does not answer".to_owned() }
            }
            ureq::Error::Timeout(_) => RegistryError::Cut { host: url.shown(), reason: silence() },
            ureq::Error::HostNotFound => {
                RegistryError::Unreachable { host: url.shown(), reason: "there is no such host".to_owned() }
            }
            ureq::Error::LargeResponseHeader(_, most) => {
                RegistryError::lie(&url.shown(), "a request", format!("its head is longer than {most} bytes"))
            }
            ureq::Error::Protocol(e) if !url.secure => {
                RegistryError::lie(&url.shown(), "a request", format!("it is not HTTP: {}", show(&e.to_string())))
            }
            ureq::Error::ConnectProxyFailed(why) => {
                RegistryError::Unreachable { host: url.shown(), reason: format!("the proxy refused: {}", show(&why)) }
            }
            other => RegistryError::Unreachable { host: url.shown(), reason: show(&other.to_string()) },
        })
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(e) => Some(e),
        ureq::Error::Io(e) => e.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    }
}

fn astray(url: &Url, reach: Reach) -> RegistryError {
    RegistryError::Astray {
        host: "the registry".to_owned(),
        target: url.shown(),
        reason: format!("{} is {}", url.host, reach.name()),
    }
}

fn unreachable(url: &Url, error: &io::Error) -> RegistryError {
    use io::ErrorKind as Kind;
    let (host, reason) = (url.shown(), show(&error.to_string()));
    let cut = [
        Kind::ConnectionReset,
        Kind::ConnectionAborted,
        Kind::BrokenPipe,
        Kind::UnexpectedEof,
        Kind::TimedOut,
        Kind::WouldBlock,
        Kind::Interrupted,
    ];
    if cut.contains(&error.kind()) {
        return RegistryError::Cut { host, reason };
    }
    RegistryError::Unreachable { host, reason }
}

fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // Names that are this machine's by definition (RFC 6761), whatever a resolver says.
    if host == "localhost" {
        return Ok(vec![SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))]);
    }
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such host"));
    }
    Ok(found)
}

/// Looks names up, and leaves out what is not to be gone to.
#[derive(Debug)]
struct Guarded {
    from: Option<Reach>,
}

/// All addresses of a name are of a kind that is not gone to.
#[derive(Debug)]
struct Refused(Reach);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it is {}", self.0.name())
    }
}

impl std::error::Error for Refused {}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &types::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let found = lookup(bare, uri.port_u16().unwrap_or(usual))?;
        let mut kept = self.empty();
        let mut refused = None;
        // As many as there is room for.
        for address in found.into_iter().take(16) {
            let reach = Reach::of(address.ip());
            match self.from {
                Some(from) if !from.may_lead_to(reach) => refused = Some(reach),
                _ => kept.push(address),
            }
        }
        match refused {
            // One address that leads inwards is reason enough: a name that has both is a trick.
            Some(reach) => Err(ureq::Error::Io(io::Error::other(Refused(reach)))),
            None => Ok(kept),
        }
    }
}
