//! Image configuration, as data.
//!
//! [`ImageConfig`] has no field that could choose a runtime, a profile, a mount, a log driver or a path on the host, and
//! none is derived from one: labels stay labels. What a user asked for lives in other types, in other crates.

mod changes;
mod commit;
mod document;
mod health;
mod user;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use changes::apply_changes;
pub use commit::Commit;
pub use document::ImageDocument;
pub use user::{GroupRef, UserRef, UserSpec};

use crate::error::{ImageError, Result};

/// What an image says about the process to run in it. Text fields hold no NUL; their size is bounded by that of the
/// document, 4 MiB by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `USER` as written; [`UserSpec::parse`] gives it a meaning. Empty means root.
    pub user: String,
    /// `NAME=value` entries. The name is not empty; entries in another form were dropped.
    pub env: Vec<String>,
    /// Entries of the environment that were dropped: no `=`, no name, or a NUL. None is ever completed from the
    /// environment of the host.
    pub dropped_env: u64,
    /// Command, or the first words of it.
    pub entrypoint: Vec<String>,
    /// Arguments to the entry point, or the command.
    pub cmd: Vec<String>,
    /// Working directory: absolute, without `.`, `..` and repeated slashes. Empty means `/`.
    pub workdir: String,
    /// Places for volumes, in the same form as `workdir`.
    pub volumes: BTreeSet<String>,
    /// `PORT[-PORT]/PROTOCOL` with PROTOCOL `tcp`, `udp` or `sctp`.
    pub exposed_ports: BTreeSet<String>,
    /// Labels: text that nothing in the engine acts upon.
    pub labels: BTreeMap<String, String>,
    /// Name or number of a signal; empty means `SIGTERM`.
    pub stop_signal: String,
    /// `HEALTHCHECK` as in the document, not interpreted here.
    pub healthcheck: Option<Value>,
    /// Shell of the shell form of commands; empty means `/bin/sh -c`.
    pub shell: Vec<String>,
    /// Instructions for a build on top of this image, not interpreted here.
    pub on_build: Vec<String>,
}

impl ImageConfig {
    /// The environment as pairs of name and value.
    pub fn env_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().filter_map(|entry| entry.split_once('='))
    }

    /// The user that the image asks for.
    ///
    /// # Errors
    /// As [`UserSpec::parse`].
    pub fn user_spec(&self) -> Result<UserSpec> {
        UserSpec::parse(&self.user)
    }

    /// Sets a variable, replacing one of the same name.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |old: &&mut String| old.split_once('=').is_some_and(|(old, _)| old == name);
        match self.env.iter_mut().find(same) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }
}

/// Is this an environment entry that can be passed on?
pub(crate) fn is_env(entry: &str) -> bool {
    !entry.contains('\0') && entry.split_once('=').is_some_and(|(name, _)| !name.is_empty())
}

/// `path` taken as seen from `base`, which is absolute: absolute, without `.`, `..` and repeated slashes. Purely textual:
/// whoever opens it resolves it inside the container's root.
pub(crate) fn clean_path(field: &'static str, base: &str, path: &str) -> Result<String> {
    no_nul(field, path)?;
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { base };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let clean = format!("/{}", parts.join("/"));
    if clean.len() > 4095 {
        return Err(ImageError::invalid(field, path, "a path has at most 4095 bytes"));
    }
    Ok(clean)
}

pub(crate) fn no_nul(field: &'static str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(ImageError::invalid(field, text, "expected text without NUL"));
    }
    Ok(())
}

/// `PORT[-PORT][/PROTOCOL]` in its full form.
pub(crate) fn clean_port(text: &str) -> Result<String> {
    let refuse = || ImageError::invalid("port", text, "expected PORT[-PORT][/tcp|udp|sctp] with ports from 1 to 65535");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (low, high) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|port| plain && *port != 0).ok_or_else(refuse)
    };
    let (low, high) = (number(low)?, number(high)?);
    if low > high || !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(refuse());
    }
    Ok(if low == high { format!("{low}/{protocol}") } else { format!("{low}-{high}/{protocol}") })
}

/// A signal's name or number, as text.
pub(crate) fn clean_signal(text: &str) -> Result<String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'-';
    if text.len() > 16 || !text.bytes().all(fine) {
        return Err(ImageError::invalid("stop signal", text, "expected a name such as SIGTERM or a number"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_clean() {
        for (base, path, clean) in [
            ("/", "", "/"),
            ("/", "/", "/"),
            ("/", "a/./b//c/", "/a/b/c"),
            ("/a", "b", "/a/b"),
            ("/a", "/b", "/b"),
            ("/a", "../../../x", "/x"),
            ("/", "/proc/self/fd/../../x", "/proc/x"),
        ] {
            assert_eq!(clean_path("workdir", base, path).unwrap(), clean);
        }
        assert!(clean_path("workdir", "/", "a\0b").is_err());
        assert!(clean_path("workdir", "/", &"a/".repeat(4000)).is_err());
    }

    /// The proof that an image is data: this is all that is parsed into, and nothing else of a document gets further. A
    /// field that would choose a profile, a runtime, a mount, a device, a network or a path of the host has to be added
    /// here first.
    #[test]
    fn no_field_of_an_image_chooses_a_profile_a_path_or_a_grant() {
        let plain = serde_json::to_value(ImageConfig::default()).unwrap();
        let fields: Vec<&str> = plain.as_object().unwrap().keys().map(String::as_str).collect();
        let mut known = [
            "user",
            "env",
            "dropped_env",
            "entrypoint",
            "cmd",
            "workdir",
            "volumes",
            "exposed_ports",
            "labels",
            "stop_signal",
            "healthcheck",
            "shell",
            "on_build",
        ];
        known.sort_unstable();
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(fields, known);
        let of = |inner: Value| {
            let document = serde_json::json!({
                "architecture": "amd64", "os": "linux", "config": inner, "rootfs": { "type": "layers", "diff_ids": [] },
                "HostConfig": { "Privileged": true }, "annotations": { "run.oci.handler": "x" }, "Runtime": "x",
            });
            ImageDocument::parse("i", document.to_string().as_bytes()).unwrap().config
        };
        let hostile = of(serde_json::json!({
            "Privileged": true, "CapAdd": ["ALL"], "SecurityOpt": ["seccomp=unconfined"], "Binds": ["/:/host"],
            "Runtime": "/tmp/x", "Devices": ["/dev/mem"], "NetworkMode": "host", "Profile": "unconfined",
            "Annotations": { "run.oci.hooks.stdout": "x" }, "Mounts": [{ "Source": "/" }],
            "Labels": { "bulkhead.profile": "unconfined", "io.podman.annotations.seccomp": "unconfined" },
        }));
        let labels = hostile.labels.clone();
        assert_eq!(labels.len(), 2);
        assert_eq!(ImageConfig { labels: BTreeMap::new(), ..hostile }, of(serde_json::json!({})));
    }

    #[test]
    fn ports_and_signals() {
        assert_eq!(clean_port("80").unwrap(), "80/tcp");
        assert_eq!(clean_port("53/UDP").unwrap(), "53/udp");
        assert_eq!(clean_port("8000-8010/tcp").unwrap(), "8000-8010/tcp");
        for bad in ["", "/tcp", "0", "65536", "-1", "+1", "80/icmp", "9-8", "80/tcp/x", "a", "8 0", "127.0.0.1:80:80"] {
            assert!(clean_port(bad).is_err(), "{bad}");
        }
        assert_eq!(clean_signal("SIGRTMIN+3").unwrap(), "SIGRTMIN+3");
        assert!(clean_signal("TERM;reboot").is_err());
    }
}
