//! The configuration of an image that is made from a container.

use serde_json::{Map, Value, json};

use super::document::WireConfig;
use super::{ImageConfig, apply_changes};
use crate::digest::Digest;
use crate::error::{ImageError, Result};
use crate::json;

/// What is said about the new image.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Commit {
    /// Configuration document of the image that the container was made of, byte for byte.
    pub parent: String,
    /// Settings of the container.
    pub config: ImageConfig,
    /// Instructions, see [`apply_changes`].
    pub changes: Vec<String>,
    /// Who made it.
    pub author: String,
    /// Comment.
    pub message: String,
    /// When, RFC 3339.
    pub created: String,
    /// The command that the container ran.
    pub created_by: String,
}

impl Commit {
    /// Checks the instructions, before anything is read.
    ///
    /// # Errors
    /// The instruction that is not understood, and why.
    pub fn check(&self) -> Result<ImageConfig> {
        let mut config = self.config.clone();
        apply_changes(&mut config, &self.changes)?;
        Ok(config)
    }

    /// The new document; `layer` is what the container changed, if it changed anything.
    ///
    /// # Errors
    /// A document of the parent that is malformed; as [`Commit::check`].
    pub fn document(&self, layer: Option<&Digest>) -> Result<String> {
        let name = "configuration of the container's image";
        let parent = json::value(name, self.parent.as_bytes())?;
        let fail = |e: serde_json::Error| ImageError::document(name, e.to_string());
        let mut all = Map::new();
        for key in ["architecture", "os", "variant", "os.version", "os.features"] {
            if let Some(value) = parent.get(key) {
                all.insert(key.to_owned(), value.clone());
            }
        }
        if !self.author.is_empty() {
            all.insert("author".to_owned(), json!(self.author));
        }
        all.insert("created".to_owned(), json!(self.created));
        let config = WireConfig::of(&self.check()?);
        all.insert("config".to_owned(), serde_json::to_value(&config).map_err(fail)?);
        let list = |pointer: &str| parent.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut layers = list("/rootfs/diff_ids");
        layers.extend(layer.map(|digest| json!(digest.to_string())));
        all.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": layers }));
        let mut history = list("/history");
        let mut line = Map::new();
        line.insert("created".to_owned(), json!(self.created));
        for (key, value) in [("author", &self.author), ("created_by", &self.created_by), ("comment", &self.message)] {
            if !value.is_empty() {
                line.insert(key.to_owned(), json!(value));
            }
        }
        if layer.is_none() {
            line.insert("empty_layer".to_owned(), json!(true));
        }
        history.push(Value::Object(line));
        all.insert("history".to_owned(), Value::Array(history));
        serde_json::to_string(&all).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ImageDocument;

    #[test]
    fn a_commit_adds_a_layer_and_a_line_and_keeps_what_was_there() {
        let below = Digest::of(b"below");
        let parent = json!({
            "architecture": "arm64", "os": "linux", "variant": "v8", "container": "secret-id",
            "config": {"Cmd": ["old"], "Env": ["A=1"]},
            "rootfs": {"type": "layers", "diff_ids": [below.to_string()]},
            "history": [{"created_by": "first"}],
        });
        let commit = Commit {
            parent: parent.to_string(),
            config: ImageConfig {
                cmd: vec!["new".into()],
                env: vec!["A=1".into(), "B=2".into()],
                ..Default::default()
            },
            changes: vec!["LABEL k=v".into(), "CMD [\"x\"]".into()],
            author: "me".into(),
            message: "why\n\x1b[0m".into(),
            created: "2026-01-02T03:04:05Z".into(),
            created_by: "sh -c true".into(),
        };
        let layer = Digest::of(b"layer");
        let text = commit.document(Some(&layer)).unwrap();
        assert!(!text.contains("secret-id"));
        let document = ImageDocument::parse("t", text.as_bytes()).unwrap();
        assert_eq!(document.diff_ids, [below, layer]);
        assert_eq!((document.variant.as_str(), document.config.cmd), ("v8", vec!["x".to_owned()]));
        assert_eq!(document.config.labels.get("k").map(String::as_str), Some("v"));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value.pointer("/history/1/comment"), Some(&json!("why\n\x1b[0m")));
        assert_eq!(
            (value.pointer("/author"), value.pointer("/history/0/created_by")),
            (Some(&json!("me")), Some(&json!("first")))
        );
        // Nothing changed: no layer, and the history says so.
        let value: Value = serde_json::from_str(&commit.document(None).unwrap()).unwrap();
        assert_eq!(value.pointer("/history/1/empty_layer"), Some(&json!(true)));
        assert_eq!(value.pointer("/rootfs/diff_ids").and_then(Value::as_array).map(Vec::len), Some(1));
        let bad = Commit { changes: vec!["FROM x".into()], ..commit };
        assert!(bad.check().is_err() && bad.document(None).is_err());
    }
}
