//! Credentials of registries, where Docker and Podman keep them: `config.json`, `auth.json`, and helper programs.

mod file;
mod helper;

use std::path::{Path, PathBuf};

use self::file::AuthFile;
use crate::error::{RegistryError, Result};
use crate::settings::DOCKER;

/// The name under which Docker keeps the credentials of its own registry.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// Text that is neither printed nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes it over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Who we are to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nobody.
    None,
    /// User and password.
    Password(String, Secret),
    /// A token with which others are fetched.
    Identity(Secret),
    /// A token that is sent as it is.
    Bearer(Secret),
}

/// Where credentials were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this file, as text that everybody can read who can read the file.
    File(PathBuf),
    /// By this helper program.
    Helper(String),
}

/// The places of one user's credentials.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// In the order in which they are asked.
    files: Vec<PathBuf>,
    /// The one that is written to; none for who has no home.
    own: Option<PathBuf>,
}

impl Keyring {
    /// As the environment has it: `REGISTRY_AUTH_FILE` alone if it is set, else Podman's file of this session and
    /// Docker's own (`DOCKER_CONFIG`, or `.docker` in the home directory), which is the one that is written to.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_lookup(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
    }

    fn from_lookup(get: impl Fn(&str) -> Option<PathBuf>) -> Self {
        if let Some(only) = get("REGISTRY_AUTH_FILE") {
            return Self { files: vec![only.clone()], own: Some(only) };
        }
        let docker = get("DOCKER_CONFIG").or_else(|| get("HOME").map(|home| home.join(".docker")));
        let own = docker.map(|dir| dir.join("config.json"));
        let session = get("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        Self { files: session.into_iter().chain(own.clone()).collect(), own }
    }

    /// A keyring of one file.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self { files: vec![path.to_path_buf()], own: Some(path.to_path_buf()) }
    }

    /// Who we are to the registry of this name (as references have it), for this repository there.
    ///
    /// # Errors
    /// A file or helper that cannot be used.
    pub fn get(&self, host: &str, repository: &str) -> Result<Login> {
        for path in &self.files {
            let Some(file) = AuthFile::read(path)? else { continue };
            if let Some(helper) = file.helper_of(host) {
                match helper::get(&helper, key_of(host))? {
                    Login::None => {}
                    login => return Ok(login),
                }
            }
            if let Some(login) = file.find(host, repository)? {
                return Ok(login);
            }
        }
        Ok(Login::None)
    }

    /// Keeps user and password for a registry.
    ///
    /// # Errors
    /// A file or helper that cannot be used.
    pub fn store(&self, host: &str, user: &str, password: &Secret) -> Result<Kept> {
        let own = self.own.as_deref();
        let own = own.ok_or_else(|| RegistryError::settings("HOME", "it is not set; set it, or REGISTRY_AUTH_FILE"))?;
        let mut file = AuthFile::read(own)?.unwrap_or_else(|| AuthFile::new(own));
        if let Some(helper) = file.helper_of(host) {
            helper::store(&helper, key_of(host), user, password)?;
            return Ok(Kept::Helper(helper));
        }
        file.put(key_of(host), user, password)?;
        file.write()?;
        Ok(Kept::File(own.to_path_buf()))
    }

    /// Forgets a registry; whether there was anything.
    ///
    /// # Errors
    /// A file or helper that cannot be used.
    pub fn erase(&self, host: &str) -> Result<bool> {
        let mut found = false;
        for path in &self.files {
            let Some(mut file) = AuthFile::read(path)? else { continue };
            if let Some(helper) = file.helper_of(host)
                && helper::get(&helper, key_of(host))? != Login::None
            {
                helper::erase(&helper, key_of(host))?;
                found = true;
            }
            if file.remove(host) {
                file.write()?;
                found = true;
            }
        }
        Ok(found)
    }
}

/// Whether a file of these bytes keeps what is put into it, and nothing that is taken out.
pub(crate) fn holds_for(bytes: &[u8]) -> bool {
    let path = Path::new("/nonexistent/config.json");
    let Ok(Some(mut file)) = AuthFile::parse(path, bytes) else { return true };
    drop(file.find("r.example", "team/app"));
    drop(file.helper_of("r.example"));
    file.remove("r.example");
    if file.put("r.example", "user", &Secret::new("password".to_owned())).is_err() {
        return true;
    }
    let found = matches!(file.find("r.example", ""), Ok(Some(Login::Password(user, _))) if user == "user");
    found && file.remove("r.example") && !file.remove("r.example")
}

/// Under which name a registry's credentials are written.
fn key_of(host: &str) -> &str {
    if host == DOCKER { DOCKER_KEY } else { host }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn files_in_their_order() {
        let get = |name: &str| match name {
            "HOME" => Some(PathBuf::from("/home/a")),
            "XDG_RUNTIME_DIR" => Some(PathBuf::from("/run/user/1")),
            _ => None,
        };
        let ring = Keyring::from_lookup(get);
        assert_eq!(
            ring.files,
            [Path::new("/run/user/1/containers/auth.json"), Path::new("/home/a/.docker/config.json")]
        );
        let only = Keyring::from_lookup(|name| (name == "REGISTRY_AUTH_FILE").then(|| "/x".into()));
        assert_eq!((only.files.len(), only.own), (1, Some("/x".into())));
        let nobody = Keyring::from_lookup(|_| None);
        assert_eq!(nobody.get("r.example", "a").unwrap(), Login::None);
        assert!(nobody.store("r.example", "me", &secret("x")).unwrap_err().to_string().starts_with("HOME"));
    }

    #[test]
    fn what_is_stored_is_found_and_forgotten_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.json");
        let ring = Keyring::of_file(&path);
        assert_eq!(ring.get("r.example", "a").unwrap(), Login::None);
        assert_eq!(ring.store("r.example:5000", "me", &secret("pass:word")).unwrap(), Kept::File(path.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let mut text: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(text["auths"]["r.example:5000"]["auth"], "bWU6cGFzczp3b3Jk");
        text["psFormat"] = "table".into();
        std::fs::write(&path, text.to_string()).unwrap();
        ring.store("docker.io", "hub", &secret("x")).unwrap();
        let login = Login::Password("me".into(), secret("pass:word"));
        assert_eq!(ring.get("r.example:5000", "a/b").unwrap(), login);
        assert!(ring.erase("r.example:5000").unwrap() && !ring.erase("r.example:5000").unwrap());
        assert_eq!(ring.get("r.example:5000", "a/b").unwrap(), Login::None);
        let text: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(text["psFormat"], "table");
        assert!(text["auths"][DOCKER_KEY]["auth"].is_string());
        assert_eq!(ring.get("docker.io", "library/a").unwrap(), Login::Password("hub".into(), secret("x")));
        let left: Vec<_> =
            std::fs::read_dir(path.parent().unwrap()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["config.json"]);
    }

    #[test]
    fn a_helper_speaks_for_its_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread -r host\ncase $1:$host in\n\
            get:r.example) echo '{\"ServerURL\":\"r.example\",\"Username\":\"me\",\"Secret\":\"s3\"}' ;;\n\
            get:t.example) echo '{\"Username\":\"<token>\",\"Secret\":\"tok\"}' ;;\n\
            get:broken.example) echo oops; exit 2 ;;\n\
            *) echo 'credentials not found in native keychain'; exit 1 ;;\nesac\n";
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let name = helper.to_str().unwrap();
        let got = |host: &str| helper::get_with(name, host);
        assert_eq!(got("r.example").unwrap(), Login::Password("me".into(), secret("s3")));
        assert_eq!(got("t.example").unwrap(), Login::Identity(secret("tok")));
        assert_eq!(got("other").unwrap(), Login::None);
        let error = got("broken.example").unwrap_err().to_string();
        assert!(error.contains("docker-credential-test") && !error.contains("oops"), "{error}");
    }
}
