//! `state`, and the JSON that hooks read.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{pretty, users};
use crate::output::human;
use crate::runc::args::Global;
use crate::runc::error::RuncError;
use crate::runc::group;
use crate::runc::state::{Record, Status};

/// The annotation that says what is loosened of our defaults.
pub const GRANTS: &str = "io.bulkhead.grants";

/// The state of a container in the shape that callers parse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification that the config names.
    pub oci_version: String,
    /// Id.
    pub id: String,
    /// Host pid of the first process; 0 when there is none.
    pub pid: i32,
    /// `creating`, `created`, `running`, `paused` or `stopped`.
    pub status: &'static str,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// Absolute path of the root file system.
    pub rootfs: String,
    /// RFC 3339, with nanoseconds.
    pub created: String,
    /// Annotations of the config.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user who made it.
    pub owner: String,
}

impl State {
    /// What hooks read: the annotations are the config's and no others.
    #[must_use]
    pub fn new(record: &Record, status: Status) -> Self {
        Self {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            // Hooks are told of a process while its container is still being made.
            pid: if status == Status::Stopped { 0 } else { record.pid.unwrap_or(0) },
            status: status.word(),
            bundle: record.bundle.to_string_lossy().into_owned(),
            rootfs: record.rootfs.to_string_lossy().into_owned(),
            created: human::rfc3339(record.created),
            annotations: record.annotations.clone(),
            owner: users::name(record.owner),
        }
    }

    /// What people and engines read: it says too what is loosened, where anything is.
    #[must_use]
    pub fn shown(record: &Record, status: Status) -> Self {
        let mut state = Self::new(record, status);
        if !record.grants.is_empty() {
            let grants: Vec<String> = record.grants.iter().map(ToString::to_string).collect();
            state.annotations.insert(GRANTS.to_owned(), grants.join(" "));
        }
        state
    }

    /// One line of JSON, for the standard input of hooks.
    ///
    /// # Errors
    ///
    /// Only if the JSON writer fails.
    pub fn to_json(&self) -> Result<Vec<u8>, RuncError> {
        serde_json::to_vec(self).map_err(|error| RuncError::chain(&error).during("write the state"))
    }
}

/// Prints the state of a container.
///
/// # Errors
///
/// `container does not exist`; a state that cannot be seen.
pub fn execute(global: &Global, id: &str) -> Result<u8, RuncError> {
    let record = Record::load(global, id)?;
    let status = Status::of(&record, group::frozen)?;
    pretty(&State::shown(&record, status), "  ")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_sandbox::spec::Grant;

    #[test]
    fn the_shape_is_the_one_that_callers_parse() {
        let mut record = Record::new("web");
        record.pid = Some(42);
        record.oci_version = "1.2.0".to_owned();
        record.bundle = "/b".into();
        record.rootfs = "/b/rootfs".into();
        record.created = 1_700_000_000_000_000_005;
        record.owner = 4_294_967_294;
        let text = String::from_utf8(State::shown(&record, Status::Running).to_json().unwrap()).unwrap();
        assert_eq!(
            text,
            r##"{"ociVersion":"1.2.0","id":"web","pid":42,"status":"running","bundle":"/b","rootfs":"/b/rootfs","created":"2023-11-14T22:13:20.000000005Z","owner":"#4294967294"}"##
        );
        assert_eq!(State::new(&record, Status::Stopped).pid, 0);
        // Hooks that run meanwhile are told the process.
        assert_eq!(State::new(&record, Status::Creating).pid, 42);
        record.annotations.insert("a".to_owned(), "b".to_owned());
        record.grants = vec![Grant::Mounts, Grant::Capabilities(vec!["CAP_KILL".to_owned(), "CAP_BPF".to_owned()])];
        let shown = State::shown(&record, Status::Paused);
        assert_eq!(shown.annotations[GRANTS], "mounts capabilities(CAP_KILL,CAP_BPF)");
        assert_eq!(State::new(&record, Status::Paused).annotations, record.annotations);
    }
}
