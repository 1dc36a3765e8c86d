//! Images from registries and to them. The network is spoken to here, in the process of the command; what comes is
//! unpacked by the confined process that `load` uses, which has no network.

mod login;
mod pull;
mod push;
mod remote;

use std::path::PathBuf;

use bulkhead_image::Reference;
use bulkhead_registry::credentials::Keyring;
use bulkhead_registry::{Client, Settings};

pub use self::login::{Stored, has_login, login, logout};
pub use self::pull::{PullRequest, Pulled, pull, pull_all};
pub use self::push::{Pushed, push};
pub use self::remote::{Remote, manifest, remote};
use super::Platform;
use crate::engine::Engine;
use crate::error::EngineError;

/// What happens on the way, for who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A line about the whole: what is pulled or pushed.
    Said(String),
    /// Something to know that is no failure.
    Note(String),
    /// The layers, lowest first: a short name, and the bytes that will go over the network (`None`: none, it is there).
    Layers(Vec<(String, Option<u64>)>),
    /// So many bytes of this layer have gone over the network.
    Moved(usize, u64),
    /// What became of a layer.
    Became(usize, &'static str),
    /// Time went by.
    Tick,
}

/// Who watches. Called from the thread that calls the engine.
pub type Watch<'a> = &'a mut dyn FnMut(&Step);

/// First 12 digits, as Docker shows digests.
fn short(digest: &bulkhead_image::Digest) -> String {
    digest.hex().chars().take(12).collect()
}

/// Where certificates of registries are looked for: ours, Docker's and Podman's, and a user's own.
fn certificate_directories(uid: u32) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        ["/etc/bulkhead", "/etc/containers", "/etc/docker"].map(|dir| PathBuf::from(dir).join("certs.d")).into();
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    if let Some(own) = own.filter(|_| uid != 0) {
        all.extend(["bulkhead", "containers", "docker"].map(|dir| own.join(dir).join("certs.d")));
    }
    all
}

/// The platform that was asked for; this machine's when nothing was said.
fn meant(on: Option<&Platform>) -> bulkhead_image::Platform {
    on.map_or_else(bulkhead_image::Platform::current, |p| bulkhead_image::Platform {
        os: p.os.clone(),
        architecture: p.architecture.clone(),
        variant: p.variant.clone(),
    })
}

/// What is needed to ask for an image: its reference, a client, and the platform that is meant.
pub(super) fn asked(
    engine: &Engine,
    written: &str,
    on: Option<&Platform>,
) -> Result<(Reference, Client, bulkhead_image::Platform), EngineError> {
    Ok((pull::parse(written)?, client(engine), meant(on)))
}

/// A client with the settings and credentials of this user.
fn client(engine: &Engine) -> Client {
    Client::new(settings(engine), Keyring::from_environment())
}

fn settings(engine: &Engine) -> Settings {
    Settings {
        hosts: engine.config.registries(),
        certificates: certificate_directories(engine.config.uid),
        agent: format!("bulkhead/{}", env!("CARGO_PKG_VERSION")),
        limits: engine.config.registry_limits(),
    }
}
