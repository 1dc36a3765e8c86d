//! What a monitor writes into the file of events.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::events::{Event, EventLog, Kind};
use crate::layout::read_json;

/// The container that events are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Where they go.
    pub log: EventLog,
    /// Its id.
    pub id: String,
    /// Its image, name and labels.
    pub attributes: BTreeMap<String, String>,
    /// A file with the name that it was given since.
    pub renamed: PathBuf,
}

impl History {
    /// Writes an event with some attributes more.
    pub(crate) fn tell(&self, action: &str, attributes: &[(&str, &str)]) {
        let mut event = Event::new(Kind::Container, action, &self.id);
        event.actor.attributes.clone_from(&self.attributes);
        if let Some(name) = read_json::<String>(&self.renamed) {
            event = event.with("name", name);
        }
        for (name, value) in attributes {
            event = event.with(name, *value);
        }
        self.log.emit(&event);
    }
}
