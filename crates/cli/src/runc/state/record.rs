//! The record of a container: what later calls need and cannot see.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bulkhead_sandbox::oci::config::{Config, MAX_CONFIG_BYTES};
use bulkhead_sandbox::spec::Grant;
use serde::{Deserialize, Serialize};

use super::place::{CONFIG, Place, RECORD};
use crate::output::human;
use crate::runc::args::Global;
use crate::runc::error::{During, RuncError};

/// Form of the record as it is written now. Any other is refused: nothing here outlives a boot.
pub const RECORD_VERSION: u32 = 1;

/// Most bytes of a record: the annotations of a config are in it, and JSON may write each of their bytes as six.
const MAX_RECORD_BYTES: usize = 6 * MAX_CONFIG_BYTES;

/// What is known of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Form of the record.
    pub version: u32,
    /// Its id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of its root file system.
    pub rootfs: PathBuf,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
    /// User id of who made it.
    pub owner: u32,
    /// Host pid of the first process, from the moment it is there.
    pub pid: Option<i32>,
    /// Start time of that process in clock ticks since boot: with the pid it names one process for ever.
    pub start_time: Option<u64>,
    /// `CLONE_NEW*` bits of the namespaces that it does not share with the host.
    pub namespaces: u64,
    /// Directories of its control group, one for each hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// Directories that are about to be made for it: nobody in them is known to be its process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<PathBuf>,
    /// Annotations of its config.
    pub annotations: BTreeMap<String, String>,
    /// Version of the specification that its config names.
    pub oci_version: String,
    /// The unit that it made for it.
    pub unit: Option<ScopeName>,
    /// What is loosened of our defaults.
    pub grants: Vec<Grant>,
    /// How many steps of its plan come before its start.
    #[serde(default)]
    pub first_step: usize,
    /// Its program was started.
    pub started: bool,
    /// Directories of its class of cache and memory bandwidth, which others of its processes enter.
    #[serde(default)]
    pub rdt: Vec<PathBuf>,
    /// Those of them that end with it.
    #[serde(default)]
    pub rdt_own: Vec<PathBuf>,
    /// Where its root file system is mounted in the caller's own mount namespace, it is taken off at the end.
    #[serde(default)]
    pub mounted: Option<Mounted>,
}

/// Mounts by their ids (`statx(2)`) at the path of a root file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// What was there before.
    pub before: u64,
    /// What the container has put there, as soon as that is known.
    pub own: Option<u64>,
}

/// A unit of systemd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeName {
    /// `prefix-name.scope`.
    pub name: String,
    /// The user's manager made it.
    pub user: bool,
    /// Its group is in the unified hierarchy.
    pub unified: bool,
}

/// What every form of a record has.
#[derive(Deserialize)]
struct Form {
    version: u32,
}

impl Record {
    /// A record of a container that is being made now, by this user.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            version: RECORD_VERSION,
            id: id.to_owned(),
            created: human::now(),
            owner: rustix::process::geteuid().as_raw(),
            ..Self::default()
        }
    }

    /// Reads the record of a container.
    ///
    /// # Errors
    ///
    /// `container does not exist`, also for a directory without a record; a record that cannot be read.
    pub fn load(global: &Global, id: &str) -> Result<Self, RuncError> {
        Self::read(&Place::open(global, id)?)
    }

    /// Reads the record in a container's directory.
    ///
    /// # Errors
    ///
    /// As [`Record::load`].
    pub fn read(place: &Place) -> Result<Self, RuncError> {
        let Some(bytes) = place.read(RECORD, MAX_RECORD_BYTES)? else {
            return Err(RuncError::unknown());
        };
        Self::parse(&bytes, place.id())
            .map_err(|e| e.during(format_args!("read {}", place.path().join(RECORD).display())))
    }

    /// Reads the bytes of a record, of the container `id`.
    ///
    /// # Errors
    ///
    /// What cannot be read; the form of another version; the record of another container.
    pub fn parse(bytes: &[u8], id: &str) -> Result<Self, RuncError> {
        let record = serde_json::from_slice::<Self>(bytes);
        // Of another form the version may be all that can be read.
        let version = match &record {
            Ok(record) => record.version,
            Err(_) => serde_json::from_slice::<Form>(bytes).map_or(RECORD_VERSION, |form| form.version),
        };
        if version != RECORD_VERSION {
            return Err(RuncError::new(format!(
                "it has the form {version}, and {RECORD_VERSION} is needed: another version of this program wrote it"
            )));
        }
        let record = record.map_err(|e| RuncError::chain(&e))?;
        if record.id != id {
            return Err(RuncError::new(format!("it is the record of {:?}", record.id)));
        }
        Ok(record)
    }

    /// Writes it whole, in place of the one before.
    ///
    /// # Errors
    ///
    /// A path that is no UTF-8 text; what the kernel says.
    pub fn write(&self, place: &Place) -> Result<(), RuncError> {
        let bytes = serde_json::to_vec(self).during("write the record of the container")?;
        place.write(RECORD, &bytes)
    }
}

impl Place {
    /// Keeps the config as it was read.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn write_config(&self, bytes: &[u8]) -> Result<(), RuncError> {
        self.write_first(CONFIG, bytes)
    }

    /// The config that the container was made from.
    ///
    /// # Errors
    ///
    /// One that is missing or cannot be read.
    pub fn read_config(&self) -> Result<Config, RuncError> {
        let path = self.path().join(CONFIG);
        let bytes = self.read(CONFIG, MAX_CONFIG_BYTES)?;
        let bytes = bytes.ok_or_else(|| RuncError::new(format!("{} is missing", path.display())))?;
        Config::read(&bytes).during(format_args!("read {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records are the program's own, in a directory that is the user's own; broken ones are errors all the same.
    #[test]
    fn no_bytes_are_read_as_another_record() {
        let good = include_bytes!("../../../../../fuzz/corpus/state_file/record.json");
        let record = Record::parse(good, "c1").unwrap();
        assert_eq!((record.pid, record.first_step), (Some(5), 12));
        assert!(Record::parse(good, "c2").unwrap_err().to_string().contains("it is the record of \"c1\""));
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut read = 0;
        for _ in 0..5000 {
            let mut bytes = good.to_vec();
            for _ in 0..=random(2) {
                let at = random(bytes.len());
                bytes[at] = b"0-9\"{}[],:ax\0\xff"[random(14)];
            }
            bytes.truncate(if random(8) == 0 { random(good.len()) } else { good.len() });
            if let Ok(record) = Record::parse(&bytes, "c1") {
                read += 1;
                let written = serde_json::to_vec(&record).unwrap();
                assert_eq!(Record::parse(&written, "c1").unwrap(), record);
            }
        }
        assert!(read > 100, "{read}");
    }
}
