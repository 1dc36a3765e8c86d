//! What happened: one line of JSON for each event, in Docker's form, in a file that everybody appends to.
//!
//! A file and not a table: monitors write events and open no database for that, an append of one short line is atomic between
//! processes, and a reader that follows needs no lock. Two files of [`LIMIT`] bytes are kept.

mod read;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub use self::read::Reader;
use crate::layout::now;

/// Bytes of one file.
const LIMIT: u64 = 8 << 20;
/// Bytes of one line: a label of a megabyte is cut out rather than written.
const LONGEST: usize = 16 << 10;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// The engine itself.
    Daemon,
}

/// Who or what an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Full id, or the name where there is no id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name, image, labels, exit code and so on.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it is about.
    #[serde(rename = "Type")]
    pub kind: Kind,
    /// What happened: `create`, `start`, `die`, `health_status: healthy` and so on.
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

impl Event {
    /// An event of this moment.
    #[must_use]
    pub fn new(kind: Kind, action: impl Into<String>, id: impl Into<String>) -> Self {
        let time_nano = now();
        Self {
            kind,
            action: action.into(),
            actor: Actor { id: id.into(), attributes: BTreeMap::new() },
            scope: "local".to_owned(),
            time: time_nano.div_euclid(1_000_000_000),
            time_nano,
        }
    }

    /// The same event with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.actor.attributes.insert(name.to_owned(), value.into());
        self
    }
}

/// The file of events of one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLog {
    path: PathBuf,
}

impl EventLog {
    /// The one below this root.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { path: root.join("events.log") }
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("log.1")
    }

    /// Appends an event. What happened has happened: a full disk loses its event and nothing else.
    pub fn emit(&self, event: &Event) {
        drop(self.append(event));
    }

    fn append(&self, event: &Event) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        if line.len() > LONGEST {
            let mut short = event.clone();
            short.actor.attributes.retain(|_, value| value.len() <= 128);
            short.actor.attributes = short.actor.attributes.into_iter().take(32).collect();
            line = serde_json::to_vec(&short)?;
        }
        line.push(b'\n');
        let file = self.open()?;
        let file = if file.metadata()?.len() > LIMIT { self.rotate(file)? } else { file };
        // One write: lines of two processes are never mixed.
        (&file).write_all(&line)
    }

    fn open(&self) -> std::io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)
    }

    /// The first who gets the lock of the full file moves it away; the others find a new one.
    fn rotate(&self, full: File) -> std::io::Result<File> {
        flock(&full, FlockOperation::LockExclusive)?;
        let fresh = self.open()?;
        if fresh.metadata()?.len() > LIMIT {
            std::fs::rename(&self.path, self.older())?;
            return self.open();
        }
        Ok(fresh)
    }
}
