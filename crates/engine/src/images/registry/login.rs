//! `login` and `logout`.

use bulkhead_registry::credentials::{Kept, Keyring, Login, Secret};

use super::client;
use crate::engine::Engine;
use crate::error::EngineError;

/// Where credentials were put.
pub type Stored = Kept;

/// The name of a registry as credentials have it: without scheme and path; Docker's when nothing is said.
fn name(written: Option<&str>) -> Result<String, EngineError> {
    let Some(written) = written.filter(|text| !text.is_empty()) else { return Ok("docker.io".to_owned()) };
    let bare = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://")).unwrap_or(written);
    let bare = bare.split('/').next().unwrap_or_default();
    if matches!(bare, "index.docker.io" | "registry-1.docker.io" | "docker.io") {
        return Ok("docker.io".to_owned());
    }
    let settings = bulkhead_registry::HostSettings::default();
    bulkhead_registry::Settings::check(bare, &settings)
        .map_err(|_| EngineError::invalid("registry", written, "HOST[:PORT] is needed"))?;
    Ok(bare.to_owned())
}

/// Checks user and password with the registry, and keeps them. Without them, those that are kept are checked.
///
/// # Errors
/// A registry that does not accept them; nothing is kept then.
pub fn login(
    engine: &Engine,
    registry: Option<&str>,
    given: Option<(String, String)>,
) -> Result<Option<Stored>, EngineError> {
    let host = name(registry)?;
    let client = client(engine);
    let endpoint = client.source(&host)?;
    let account = endpoint.account.clone();
    let login = match &given {
        Some((user, password)) => Login::Password(user.clone(), Secret::new(password.clone())),
        None => client.kept_login(&account)?,
    };
    if login == Login::None {
        return Err(EngineError::invalid("login", &host, "a user name and a password are needed"));
    }
    client.use_login(&endpoint, login);
    client.repository(endpoint, "", false)?.ping()?;
    match given {
        Some((user, password)) => {
            Ok(Some(Keyring::from_environment().store(&account, &user, &Secret::new(password))?))
        }
        None => Ok(None),
    }
}

/// Whether there are credentials for a registry.
///
/// # Errors
/// A file or helper that cannot be used.
pub fn has_login(engine: &Engine, registry: Option<&str>) -> Result<bool, EngineError> {
    let client = client(engine);
    let account = client.source(&name(registry)?)?.account;
    Ok(client.kept_login(&account)? != Login::None)
}

/// Forgets the credentials of a registry; its name, and whether there were any.
///
/// # Errors
/// A file or helper that cannot be used.
pub fn logout(engine: &Engine, registry: Option<&str>) -> Result<(String, bool), EngineError> {
    let host = name(registry)?;
    let account = client(engine).source(&host)?.account;
    let found = Keyring::from_environment().erase(&account)?;
    Ok((host, found))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_of_registries() {
        for (written, expected) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("r.example:5000"), "r.example:5000"),
            (Some("https://r.example/v2/"), "r.example"),
            (Some("[::1]:5000"), "[::1]:5000"),
        ] {
            assert_eq!(name(written).unwrap(), expected);
        }
        assert!(name(Some("not a host")).is_err());
    }
}
