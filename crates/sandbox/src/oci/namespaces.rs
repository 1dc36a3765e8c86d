//! Namespaces: new, entered, or the caller's own.

use std::path::Path;

use bulkhead_sys::{Errno, clone};
use serde::{Deserialize, Serialize};

use super::config::Linux;
use crate::facts::HostFacts;
use crate::plan::{PlanError, path_text};
use crate::spec::Text;

/// Kinds as a config names them, as `/proc/PID/ns` does, and their bits.
pub const KINDS: [(&str, &str, u64); 8] = [
    ("user", "user", clone::NEWUSER),
    ("mount", "mnt", clone::NEWNS),
    ("pid", "pid", clone::NEWPID),
    ("network", "net", clone::NEWNET),
    ("ipc", "ipc", clone::NEWIPC),
    ("uts", "uts", clone::NEWUTS),
    ("cgroup", "cgroup", clone::NEWCGROUP),
    ("time", "time", clone::NEWTIME),
];

/// A namespace that is entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enter {
    /// Its file.
    pub path: Text,
    /// `CLONE_NEW*` bit.
    pub kind: u64,
}

/// What a container has beside the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Namespaces {
    /// Bits of what is made.
    pub(super) make: u64,
    /// What is entered.
    pub(super) enter: Vec<Enter>,
}

impl Namespaces {
    pub(super) fn of(linux: &Linux, facts: &HostFacts) -> Result<Self, PlanError> {
        let mut all = Self::default();
        let mut seen = 0;
        for namespace in &linux.namespaces {
            let field = "linux.namespaces";
            let Some((name, file, bit)) = KINDS.into_iter().find(|(name, _, _)| *name == namespace.kind) else {
                let known = KINDS.map(|(name, _, _)| name).join(", ");
                return Err(PlanError::invalid(field, &namespace.kind, format!("one of {known} is needed")));
            };
            if seen & bit != 0 {
                return Err(PlanError::invalid(field, name, "a kind can be there once"));
            }
            seen |= bit;
            if !facts.has_namespace(file) {
                return Err(PlanError::Unsupported {
                    what: format!("{field}: {name}"),
                    reason: "this kernel has no such namespaces".to_owned(),
                });
            }
            if namespace.path.is_empty() {
                all.make |= bit;
            } else {
                let path = path_text(&format!("{field}.{name}.path"), &namespace.path)?;
                all.enter.push(Enter { path, kind: bit });
            }
        }
        Ok(all)
    }

    /// Whether the container has one apart from the caller's.
    pub(super) fn has(&self, bit: u64) -> bool {
        self.make & bit != 0 || self.enters(bit)
    }

    pub(super) fn enters(&self, bit: u64) -> bool {
        self.enter.iter().any(|e| e.kind == bit)
    }

    /// Names of the kinds that the container shares with the host.
    pub(super) fn shared(&self) -> Vec<String> {
        let shared = KINDS.iter().filter(|(name, _, bit)| !self.has(*bit) && *name != "time" && *name != "cgroup");
        shared.map(|(name, _, _)| (*name).to_owned()).collect()
    }
}

/// What a clone failed at. To the kernel a kind of namespace that it does not have is an invalid argument.
pub(crate) fn unmade(namespaces: u64, error: Errno) -> String {
    let missing =
        |(_, file, bit): &&(&str, &str, u64)| namespaces & bit != 0 && !Path::new("/proc/self/ns").join(file).exists();
    match KINDS.iter().find(missing) {
        Some((kind, ..)) if error == Errno::INVAL => {
            format!("make a {kind} namespace, which this kernel does not have")
        }
        _ => "make the namespaces".to_owned(),
    }
}
