//! Whom to trust: the system's authorities, and those of a registry's own directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::error::{RegistryError, Result};
use crate::url::Url;

/// Where systems keep the authorities that they trust, in one file.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Most bytes of a file of certificates.
const LARGEST: u64 = 16 << 20;

/// Directories of this host's own certificates that are there.
pub(super) fn directories<'a>(all: &'a [PathBuf], url: &Url) -> impl Iterator<Item = PathBuf> + use<'a> {
    let names = [url.authority(), url.shown()];
    all.iter().flat_map(move |dir| names.clone().map(|name| dir.join(name))).filter(|dir| dir.is_dir())
}

/// What is needed to speak to this host.
///
/// # Errors
/// A file of certificates that cannot be used; no authority at all.
pub(super) fn config(certificates: &[PathBuf], url: &Url) -> Result<TlsConfig> {
    let mut roots = Vec::new();
    let mut client = None;
    let mut seen = std::collections::HashSet::new();
    for dir in directories(certificates, url).filter(|dir| seen.insert(dir.clone())) {
        own(&dir, &mut roots, &mut client)?;
    }
    match system() {
        Some(path) => roots.extend(read(&path)?.0),
        None if roots.is_empty() => {
            return Err(RegistryError::settings(
                "TLS",
                format!(
                    "no authority is trusted: {} is missing; install ca-certificates, or name a file in \
                         SSL_CERT_FILE",
                    BUNDLES.first().copied().unwrap_or_default()
                ),
            ));
        }
        None => {}
    }
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .build())
}

fn system() -> Option<PathBuf> {
    match std::env::var_os("SSL_CERT_FILE").filter(|value| !value.is_empty()) {
        Some(chosen) => Some(PathBuf::from(chosen)),
        None => BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()),
    }
}

/// Authorities (`*.crt`) and our own certificate (`*.cert` with its `*.key`) of one registry.
fn own(dir: &Path, roots: &mut Vec<Certificate<'static>>, client: &mut Option<ClientCert>) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(RegistryError::file("read", dir))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.extension().and_then(|e| e.to_str()) {
            Some("crt") => roots.extend(read(&path)?.0),
            Some("cert") => {
                let chain = read(&path)?.0;
                let keys = path.with_extension("key");
                let key = read(&keys)?.1.ok_or_else(|| wrong(&keys, "it has no private key"))?;
                *client = Some(ClientCert::new_with_certs(&chain, key));
            }
            _ => {}
        }
    }
    Ok(())
}

fn wrong(path: &Path, reason: &str) -> RegistryError {
    RegistryError::settings(format!("the file {path:?}"), format!("{reason}; PEM is expected"))
}

/// Certificates of a file, and a key.
fn read(path: &Path) -> Result<(Vec<Certificate<'static>>, Option<PrivateKey<'static>>)> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(RegistryError::file("open", path))?;
    file.take(LARGEST).read_to_end(&mut bytes).map_err(RegistryError::file("read", path))?;
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(one)) => certificates.push(one),
            Ok(PemItem::PrivateKey(one)) => key = Some(one),
            Ok(_) => {}
            Err(_) => return Err(wrong(path, "it is damaged")),
        }
    }
    if certificates.is_empty() && key.is_none() {
        return Err(wrong(path, "it has no certificate"));
    }
    Ok((certificates, key))
}

/// An error of TLS in words of people.
pub(super) fn told(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "its certificate is of an authority that is not trusted".to_owned(),
            Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "its certificate is not valid yet".to_owned(),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            other => format!("its certificate is not valid: {other:?}"),
        },
        other => crate::error::show(&other.to_string()),
    }
}
