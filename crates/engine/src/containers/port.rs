//! `port`: where a container's ports are reached.

use crate::engine::Engine;
use crate::error::EngineError;

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// In the container, as `80/tcp`.
    pub inside: String,
    /// On the host, as `127.0.0.1:8080`.
    pub host: String,
}

/// The published ports of a container; with `only` (`80/tcp`) those of one.
///
/// # Errors
/// An unknown container; a port that is not published.
pub fn port(engine: &Engine, query: &str, only: Option<&str>) -> Result<Vec<Published>, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let ports = engine.store()?.ports_of(&record.id)?;
    let all = ports.into_iter().map(|p| Published {
        inside: format!("{}/{}", p.inner, p.protocol),
        host: crate::networks::shown(p.address, p.port),
    });
    match only {
        None => Ok(all.collect()),
        Some(wanted) => {
            let found: Vec<Published> = all.filter(|p| p.inside == wanted).collect();
            if found.is_empty() {
                return Err(EngineError::Reported {
                    message: format!("no public port '{wanted}' published for {}", record.name),
                    hint: None,
                    exit: 1,
                });
            }
            Ok(found)
        }
    }
}
