//! One file of credentials, as Docker writes it.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{DOCKER_KEY, Login, Secret};
use crate::error::{RegistryError, Result};
use crate::settings::DOCKER;

/// More is no such file.
const LARGEST: u64 = 4 << 20;

/// A file of credentials. What is not known in it stays as it is.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    document: Map<String, Value>,
}

impl AuthFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), document: Map::new() }
    }

    /// Reads it; nothing when it is not there, or empty.
    ///
    /// # Errors
    /// One that cannot be read or used. Its text is not repeated.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(RegistryError::file("open", path)(e)),
        };
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(RegistryError::file("read", path))?;
        Self::parse(path, &bytes)
    }

    /// As [`AuthFile::read`], of these bytes.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let wrong = |reason: String| RegistryError::settings(format!("the file {path:?}"), reason);
        let document: Value = serde_json::from_slice(bytes)
            .map_err(|e| wrong(format!("it is not JSON (line {}, column {})", e.line(), e.column())))?;
        match document {
            Value::Object(document) => Ok(Some(Self { path: path.to_path_buf(), document })),
            _ => Err(wrong("it is not a JSON object".to_owned())),
        }
    }

    /// The helper that keeps the credentials of this registry, if one does.
    pub(super) fn helper_of(&self, host: &str) -> Option<String> {
        let text = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        let own = self.document.get("credHelpers").and_then(Value::as_object);
        let of = |name: &str| own.and_then(|map| map.get(name)).and_then(text);
        let aliases: &[&str] = if host == DOCKER { &[DOCKER_KEY, "index.docker.io"] } else { &[] };
        of(host)
            .or_else(|| aliases.iter().find_map(|alias| of(alias)))
            .or_else(|| self.document.get("credsStore").and_then(text))
    }

    /// Credentials in the file itself: for the repository, for what is above it, or for the whole registry.
    ///
    /// # Errors
    /// An entry that cannot be read.
    pub(super) fn find(&self, host: &str, repository: &str) -> Result<Option<Login>> {
        let Some(auths) = self.document.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let mut name = format!("{host}/{repository}");
        loop {
            for (key, entry) in auths {
                if normal(key) == name
                    && let Some(login) = self.login(key, entry)?
                {
                    return Ok(Some(login));
                }
            }
            match name.rfind('/') {
                Some(at) => name.truncate(at),
                None => return Ok(None),
            }
        }
    }

    fn login(&self, key: &str, entry: &Value) -> Result<Option<Login>> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Login::Identity(Secret::new(token.to_owned()))));
        }
        if let Some(token) = text("registrytoken") {
            return Ok(Some(Login::Bearer(Secret::new(token.to_owned()))));
        }
        if let Some(auth) = text("auth") {
            let pair = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
            let Some((user, password)) = pair else {
                let what = format!("the entry {key:?} of {:?}", self.path);
                return Err(RegistryError::settings(what, "its \"auth\" is not USER:PASSWORD in base64"));
            };
            // Docker's old files have a zero at the end.
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Login::Password(user.to_owned(), Secret::new(password))));
        }
        Ok(text("username")
            .zip(text("password"))
            .map(|(user, password)| Login::Password(user.to_owned(), Secret::new(password.to_owned()))))
    }

    /// Puts user and password in.
    ///
    /// # Errors
    /// A file whose `auths` is something else.
    pub(super) fn put(&mut self, key: &str, user: &str, password: &Secret) -> Result<()> {
        let auth = STANDARD.encode(format!("{user}:{}", password.reveal()));
        let auths = self.document.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(auths) = auths else {
            return Err(RegistryError::settings(format!("the file {:?}", self.path), "its \"auths\" is not an object"));
        };
        auths.insert(key.to_owned(), serde_json::json!({ "auth": auth }));
        Ok(())
    }

    /// Takes every entry of the whole registry out; whether there was one.
    pub(super) fn remove(&mut self, host: &str) -> bool {
        let Some(Value::Object(auths)) = self.document.get_mut("auths") else { return false };
        let before = auths.len();
        auths.retain(|key, _| normal(key) != host);
        auths.len() != before
    }

    /// Writes it, for its owner alone; it is the old one or the new one at any moment.
    ///
    /// # Errors
    /// The file operation that failed.
    pub(super) fn write(&self) -> Result<()> {
        // A link to where somebody keeps his settings stays one.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let parent = path.parent().unwrap_or(Path::new("."));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(parent).map_err(RegistryError::file("make", parent))?;
        let mut text = serde_json::to_string_pretty(&self.document)
            .map_err(|e| RegistryError::settings(format!("the file {path:?}"), e.to_string()))?;
        text.push('\n');
        let next = path.with_extension(format!("json.{}", std::process::id()));
        let fill = || {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&next, &path)
        };
        fill().map_err(|e| {
            drop(std::fs::remove_file(&next));
            RegistryError::file("write", &path)(e)
        })
    }
}

/// A key without scheme, version and the slash at the end: how references spell it.
fn normal(key: &str) -> &str {
    if matches!(key, DOCKER_KEY | "index.docker.io" | "https://index.docker.io" | "registry-1.docker.io") {
        return DOCKER;
    }
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let bare = bare.trim_end_matches('/');
    // Old Docker wrote the version of the interface behind the host.
    if bare == key { bare } else { bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> AuthFile {
        let Value::Object(document) = serde_json::from_str(text).unwrap() else { panic!("an object") };
        AuthFile { path: "/x".into(), document }
    }

    fn user(file: &AuthFile, host: &str, repository: &str) -> Option<String> {
        match file.find(host, repository).unwrap()? {
            Login::Password(user, _) => Some(user),
            Login::Identity(_) => Some("identity".into()),
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn the_nearest_entry_counts() {
        let file = of(r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOng="},"r.example":{"auth":"YWxsOng="},
            "r.example/team":{"auth":"dGVhbTp4"},"https://old.example/v2/":{"auth":"b2xkOng="},
            "id.example":{"auth":"","identitytoken":"t"},"empty.example":{}}}"#);
        for (host, repository, expected) in [
            ("docker.io", "library/alpine", Some("hub")),
            ("r.example", "team/app", Some("team")),
            ("r.example", "teams/app", Some("all")),
            ("old.example", "a", Some("old")),
            ("id.example", "a", Some("identity")),
            ("empty.example", "a", None),
            ("r.example:5000", "team/app", None),
        ] {
            assert_eq!(user(&file, host, repository).as_deref(), expected, "{host} {repository}");
        }
    }

    #[test]
    fn helpers_by_host_and_for_all() {
        let file = of(r#"{"credHelpers":{"gcr.io":"gcloud"},"credsStore":"pass"}"#);
        assert_eq!(file.helper_of("gcr.io").as_deref(), Some("gcloud"));
        assert_eq!(file.helper_of("r.example").as_deref(), Some("pass"));
        assert_eq!(of("{}").helper_of("r.example"), None);
    }

    #[test]
    fn a_damaged_entry_is_told_without_its_content() {
        let file = of(r#"{"auths":{"r.example":{"auth":"c2VjcmV0"}}}"#);
        let error = file.find("r.example", "a").unwrap_err().to_string();
        assert!(error.contains("r.example") && !error.contains("c2VjcmV0") && !error.contains("secret"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, "{\"auths\": s3cret").unwrap();
        let error = AuthFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("config.json") && !error.contains("s3cret"), "{error}");
    }

    proptest! {
        #[test]
        fn any_entry_is_read_without_a_fault(key in "\\PC{0,40}", auth in "\\PC{0,40}", host in "[a-z.:0-9]{1,20}") {
            let mut file = AuthFile::new(Path::new("/x"));
            file.document.insert("auths".into(), serde_json::json!({ key: { "auth": auth } }));
            drop(file.find(&host, "a/b/c"));
            file.remove(&host);
        }

        #[test]
        fn user_and_password_come_back(user_name in "[^:\\x00]{1,20}", password in "[^\\x00]{1,30}") {
            let mut file = AuthFile::new(Path::new("/x"));
            file.put("r.example", &user_name, &Secret::new(password.clone())).unwrap();
            let login = file.find("r.example", "a").unwrap();
            prop_assert_eq!(login, Some(Login::Password(user_name, Secret::new(password))));
        }
    }
}
