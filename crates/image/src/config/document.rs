//! The configuration document of an image: parsed, checked, and written for imported images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ImageConfig, clean_path, clean_port, clean_signal, is_env, no_nul};
use crate::digest::Digest;
use crate::error::{ImageError, Result};
use crate::json;

/// What the engine uses of a configuration document.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageDocument {
    /// Processor, in Go's spelling (`amd64`).
    pub architecture: String,
    /// Operating system, in Go's spelling.
    pub os: String,
    /// Variant of the processor, often empty.
    pub variant: String,
    /// When the image was made, RFC 3339, not interpreted.
    pub created: Option<String>,
    /// Settings of the process.
    pub config: ImageConfig,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Default, Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(default)]
    config: Option<WireConfig>,
    rootfs: WireRoot,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    history: Option<Value>,
}

#[derive(Default, Serialize, Deserialize)]
struct WireRoot {
    r#type: String,
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct WireConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<BTreeMap<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<BTreeMap<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_build: Option<Vec<String>>,
}

impl ImageDocument {
    /// Parses the bytes of a configuration document; `name` is for errors.
    ///
    /// # Errors
    /// Malformed or ambiguous JSON, a root file system that is not made of layers, and settings that can not be used,
    /// naming them.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let wire: Wire = json::parse(name, bytes)?;
        if wire.rootfs.r#type != "layers" {
            return Err(ImageError::document(name, "its rootfs is not of type `layers`"));
        }
        Ok(Self {
            architecture: wire.architecture,
            os: wire.os,
            variant: wire.variant.unwrap_or_default(),
            created: wire.created,
            config: wire.config.unwrap_or_default().check()?,
            diff_ids: wire.rootfs.diff_ids.unwrap_or_default(),
        })
    }

    /// The document as JSON, with `comment` as its only line of history.
    ///
    /// # Errors
    /// [`ImageError::Document`] if it can not be written, which values in this type do not cause.
    pub fn to_json(&self, comment: &str) -> Result<String> {
        let created = self.created.clone();
        let history = serde_json::json!([{ "created": created, "comment": comment }]);
        let wire = Wire {
            created,
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: some(&self.variant),
            config: Some(WireConfig::of(&self.config)),
            rootfs: WireRoot { r#type: "layers".into(), diff_ids: Some(self.diff_ids.clone()) },
            history: Some(history),
        };
        serde_json::to_string(&wire).map_err(|e| ImageError::document("image configuration", e.to_string()))
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn some_list(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn some_set<'a>(set: impl IntoIterator<Item = &'a String>) -> Option<BTreeMap<String, Value>> {
    let map: BTreeMap<_, _> = set.into_iter().map(|key| (key.clone(), Value::Object(serde_json::Map::new()))).collect();
    (!map.is_empty()).then_some(map)
}

impl WireConfig {
    pub(super) fn of(config: &ImageConfig) -> Self {
        Self {
            user: some(&config.user),
            env: some_list(&config.env),
            entrypoint: some_list(&config.entrypoint),
            cmd: some_list(&config.cmd),
            working_dir: some(&config.workdir),
            volumes: some_set(&config.volumes),
            exposed_ports: some_set(&config.exposed_ports),
            labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
            stop_signal: some(&config.stop_signal),
            healthcheck: config.healthcheck.clone(),
            shell: some_list(&config.shell),
            on_build: some_list(&config.on_build),
        }
    }

    fn check(self) -> Result<ImageConfig> {
        let all = self.env.unwrap_or_default();
        let count = all.len();
        let env: Vec<String> = all.into_iter().filter(|entry| is_env(entry)).collect();
        let words = |field, words: Option<Vec<String>>| {
            let words = words.unwrap_or_default();
            words.iter().try_for_each(|word| no_nul(field, word)).map(|()| words)
        };
        let paths = self.volumes.unwrap_or_default();
        let ports = self.exposed_ports.unwrap_or_default();
        let user = self.user.unwrap_or_default();
        no_nul("user", &user)?;
        let workdir = match self.working_dir.as_deref() {
            None | Some("") => String::new(),
            Some(path) => clean_path("working directory", "/", path)?,
        };
        Ok(ImageConfig {
            user,
            dropped_env: crate::len64(count - env.len()),
            env,
            entrypoint: words("entrypoint", self.entrypoint)?,
            cmd: words("command", self.cmd)?,
            workdir,
            volumes: paths.keys().map(|path| clean_path("volume", "/", path)).collect::<Result<_>>()?,
            exposed_ports: ports.keys().map(|port| clean_port(port)).collect::<Result<_>>()?,
            labels: self.labels.unwrap_or_default(),
            stop_signal: clean_signal(&self.stop_signal.unwrap_or_default())?,
            healthcheck: self.healthcheck.filter(|value| !value.is_null()),
            shell: words("shell", self.shell)?,
            on_build: words("onbuild instruction", self.on_build)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(config: &str) -> Result<ImageDocument> {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":["sha256:{HEX}"]}}}}"#
        );
        ImageDocument::parse("test", text.as_bytes())
    }

    #[test]
    fn fields_of_a_docker_document() {
        let doc = parse(
            r#"{"Hostname":"","User":"app:1","ExposedPorts":{"80":{}},"Env":["A=1","B="],"Cmd":null,
                "Entrypoint":["/x"],"Volumes":{"data/":{}},"WorkingDir":"/a/../b","Labels":{"k":"v"},
                "StopSignal":"SIGINT","Healthcheck":{"Test":["NONE"]},"Shell":["/bin/ash","-c"],"OnBuild":null}"#,
        );
        let doc = doc.unwrap();
        assert_eq!(doc.config.user, "app:1");
        assert_eq!(doc.config.env, ["A=1", "B="]);
        assert_eq!(doc.config.workdir, "/b");
        assert!(doc.config.volumes.contains("/data") && doc.config.exposed_ports.contains("80/tcp"));
        assert!(doc.config.cmd.is_empty() && doc.config.healthcheck.is_some());
        let again = ImageDocument::parse("again", doc.to_json("x").unwrap().as_bytes()).unwrap();
        assert_eq!(again, doc);
        assert!(parse("null").is_ok());
    }

    #[test]
    fn malformed_environment_is_dropped_and_counted() {
        let long = "x".repeat(1 << 20);
        let env =
            serde_json::json!(["FOO", "*", "=x", "A*", "N\0UL=1", "PATH", "OK=a\nb", format!("LONG={long}"), "A*=1"]);
        let config = parse(&serde_json::json!({ "Env": env }).to_string()).unwrap().config;
        assert_eq!(config.dropped_env, 6);
        assert_eq!(config.env, ["OK=a\nb".to_owned(), format!("LONG={long}"), "A*=1".to_owned()]);
        assert!(config.env_pairs().all(|(name, _)| !name.is_empty()));
        assert_eq!(config.env_pairs().next(), Some(("OK", "a\nb")));
    }

    #[test]
    fn reserved_labels_and_unknown_fields_change_nothing() {
        let plain = parse(r#"{"Cmd":["a"]}"#).unwrap().config;
        let mut hostile = parse(
            r#"{"Cmd":["a"],"HostConfig":{"Privileged":true},"Runtime":"x","SecurityOpt":["seccomp=unconfined"],
                "Labels":{"io.podman.annotations.seccomp":"unconfined","org.criu.checkpoint":"1","bulkhead.profile":"compat"}}"#,
        )
        .unwrap()
        .config;
        assert_eq!(hostile.labels.len(), 3);
        hostile.labels.clear();
        assert_eq!(hostile, plain);
    }

    #[test]
    fn bad_documents_name_what_is_wrong() {
        for (config, word) in [
            (r#"{"Cmd":["a\u0000"]}"#, "command"),
            (r#"{"WorkingDir":"/a\u0000"}"#, "working directory"),
            (r#"{"ExposedPorts":{"x":{}}}"#, "port"),
            (r#"{"StopSignal":"a b"}"#, "stop signal"),
            (r#"{"User":"a","User":"b"}"#, "twice"),
            (r#"{"User":"a","user":"b"}"#, "two spellings"),
        ] {
            let error = parse(config).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"rootfs":{"type":"other","diff_ids":[]}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":["sha256:../../x"]}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":[]},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        ] {
            assert!(ImageDocument::parse("t", text.as_bytes()).is_err(), "{text}");
        }
    }
}
