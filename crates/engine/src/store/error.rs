//! What can go wrong in the store, in words for a person.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// The class of an error, for exit codes and HTTP statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself is wrong.
    Invalid,
    /// Named object does not exist.
    NotFound,
    /// The request collides with something that exists.
    Conflict,
    /// The machine, not the request.
    Internal,
}

/// An operation of the store that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The name belongs to another container.
    #[error("the container name {name:?} is already in use by container {holder:?}")]
    NameInUse {
        /// The name that was wanted.
        name: String,
        /// Full id of the container that has it.
        holder: String,
    },
    /// A name outside `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
    #[error("invalid container name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed, 128 characters at most")]
    InvalidName {
        /// The name as written.
        name: String,
    },
    /// No container has this name, id or id prefix.
    #[error("No such container: {query}")]
    NoSuchContainer {
        /// What was looked for.
        query: String,
    },
    /// No image has this reference, id or id prefix.
    #[error("No such image: {query}")]
    NoSuchImage {
        /// What was looked for.
        query: String,
    },
    /// No volume has this name.
    #[error("get {name}: no such volume")]
    NoSuchVolume {
        /// What was looked for.
        name: String,
    },
    /// A volume's name outside `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
    #[error("invalid volume name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, 255 characters at most")]
    InvalidVolumeName {
        /// The name as written.
        name: String,
    },
    /// Containers use the volume.
    #[error("remove {name}: volume is in use - [{}]", ids(users))]
    VolumeInUse {
        /// The volume.
        name: String,
        /// Id and name of each container that uses it.
        users: Vec<(String, String)>,
    },
    /// A volume in memory, which lives in one container.
    #[error("the volume {name:?} is in the memory of container {holder:?} and cannot be shared")]
    VolumeHeld {
        /// The volume.
        name: String,
        /// Name of the container.
        holder: String,
    },
    /// There is a volume of this name that is another one than was asked for.
    #[error("there is a volume {name:?} with other options")]
    VolumeConflict {
        /// The volume.
        name: String,
    },
    /// More than one object has an id that starts this way.
    #[error("Multiple IDs found with provided prefix: {prefix}")]
    Ambiguous {
        /// The prefix as written.
        prefix: String,
        /// The first few ids that match.
        matches: Vec<String>,
    },
    /// Every slot of the pool is taken or forbidden.
    #[error(
        "no id range of {slot} ids is left in the pool {start}..{end}: {taken} slots are in use by containers, {forbidden} overlap /etc/subuid or /etc/subgid"
    )]
    NoRangeLeft {
        /// Size of a slot in ids.
        slot: u32,
        /// First id of the pool.
        start: u64,
        /// First id after the pool.
        end: u64,
        /// Slots that containers hold.
        taken: u64,
        /// Slots that overlap a forbidden interval.
        forbidden: u64,
    },
    /// A container still needs the image.
    #[error("unable to remove image {image:?}: container {container_name:?} ({container_id}) is using it")]
    ImageInUse {
        /// The image as written by the caller.
        image: String,
        /// Name of one container that uses it.
        container_name: String,
        /// Its full id.
        container_id: String,
    },
    /// An image was named by its id, and several references point at it.
    #[error("unable to delete {image:?} (must be forced): image is referenced by {references}")]
    ImageHasReferences {
        /// The id as written by the caller.
        image: String,
        /// Its references, joined by `, `.
        references: String,
    },
    /// A digest that is not 64 lower-case hex digits, with or without `sha256:`.
    #[error("invalid {what} {value:?}: 64 lower-case hex digits are needed, with or without \"sha256:\"")]
    InvalidDigest {
        /// Which field.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The directory belongs to another user.
    #[error("refusing to use {path:?}: it belongs to user {owner}, not to user {user}")]
    ForeignOwner {
        /// The directory or link.
        path: PathBuf,
        /// Its owner's uid.
        owner: u32,
        /// Our effective uid.
        user: u32,
    },
    /// Others may write to the directory.
    #[error("refusing to use {path:?}: other users may write to it (mode {mode:o})")]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path is there and is no directory.
    #[error("refusing to use {path:?}: it is not a directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Neither `HOME` nor `XDG_DATA_HOME` is set.
    #[error("cannot find a place for bulkhead's data: {variable} must be an absolute path, and it is {value:?}")]
    NoHome {
        /// The environment variable at fault.
        variable: &'static str,
        /// Its value; empty when not set.
        value: String,
    },
    /// The file is not a database, or it is damaged.
    #[error("the database {path:?} is damaged")]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer bulkhead wrote it.
    #[error("the database {path:?} has schema version {found}, and this bulkhead knows versions up to {known}")]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version we know.
        known: i64,
    },
    /// Another process kept the lock for ten seconds.
    #[error("cannot {what}: the database {path:?} stayed locked by another process for 10 seconds")]
    Busy {
        /// What was attempted.
        what: &'static str,
        /// The database.
        path: PathBuf,
    },
    /// A network, an address or a port that cannot be had.
    #[error(transparent)]
    Network(#[from] super::NetworkError),
    /// Any other answer of SQLite.
    #[error("cannot {what} in {path:?}")]
    Database {
        /// What was attempted.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A stored request that cannot be written or read as JSON.
    #[error("cannot {what} of container {id:?}")]
    Record {
        /// What was attempted.
        what: &'static str,
        /// The container.
        id: String,
        /// What the JSON code said.
        #[source]
        source: serde_json::Error,
    },
    /// A file or directory operation.
    #[error("cannot {what} {path:?}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The kernel gave no random bytes.
    #[error("cannot get random bytes")]
    Random {
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// The ids of containers.
fn ids(users: &[(String, String)]) -> String {
    users.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", ")
}

impl StoreError {
    /// Sorts SQLite's answers into the ones a person can act on and the rest.
    pub(super) fn from_sqlite(what: &'static str, path: &Path, source: rusqlite::Error) -> StoreError {
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                StoreError::Corrupt { path: path.to_owned(), source }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Busy { what, path: path.to_owned() }
            }
            _ => StoreError::Database { what, path: path.to_owned(), source },
        }
    }

    /// Whether there was no room on the disk of the store.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Database { source, .. } => source.sqlite_error_code() == Some(ErrorCode::DiskFull),
            StoreError::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StoreError::InvalidName { .. }
            | StoreError::InvalidVolumeName { .. }
            | StoreError::InvalidDigest { .. }
            | StoreError::NoHome { .. } => ErrorKind::Invalid,
            StoreError::NoSuchContainer { .. } | StoreError::NoSuchImage { .. } | StoreError::NoSuchVolume { .. } => {
                ErrorKind::NotFound
            }
            StoreError::NameInUse { .. }
            | StoreError::Ambiguous { .. }
            | StoreError::ImageInUse { .. }
            | StoreError::VolumeInUse { .. }
            | StoreError::VolumeHeld { .. }
            | StoreError::VolumeConflict { .. }
            | StoreError::ImageHasReferences { .. } => ErrorKind::Conflict,
            StoreError::Network(e) => e.kind(),
            _ => ErrorKind::Internal,
        }
    }

    /// What to do next, where we know it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            StoreError::NameInUse { name, .. } => {
                format!("remove it with 'bulkhead rm {name}', or choose another name with --name")
            }
            StoreError::Ambiguous { matches, .. } => format!("write more of the id: {}", matches.join(", ")),
            StoreError::NoRangeLeft { .. } => {
                "remove containers that are not needed ('bulkhead ps -a', 'bulkhead rm'), or free that part of /etc/subuid and /etc/subgid".to_owned()
            }
            StoreError::ImageInUse { container_name, .. } => {
                format!("remove the container first: bulkhead rm {container_name}")
            }
            StoreError::VolumeInUse { users, .. } => {
                let names: Vec<&str> = users.iter().map(|(_, name)| name.as_str()).collect();
                format!("remove the containers first: bulkhead rm {}", names.join(" "))
            }
            StoreError::VolumeHeld { holder, .. } => {
                format!("remove container {holder:?} first, or use a volume on disk")
            }
            StoreError::VolumeConflict { name } => format!(
                "'bulkhead volume inspect {name}' shows them; remove it with 'bulkhead volume rm {name}', or choose another name"
            ),
            StoreError::Network(e) => return e.hint(),
            StoreError::ImageHasReferences { .. } => "name one reference to untag it, or use --force".to_owned(),
            StoreError::ForeignOwner { .. } | StoreError::OpenDirectory { .. } | StoreError::NotADirectory { .. } => {
                "remove it, correct its owner and mode (chmod 700), or set BULKHEAD_ROOT and BULKHEAD_RUN".to_owned()
            }
            StoreError::NoHome { .. } => "set HOME, or BULKHEAD_ROOT".to_owned(),
            StoreError::Corrupt { path, .. } => format!(
                "restore it from a backup, or move {path:?} (and its -wal and -shm files) away to start with an empty store; images are then loaded again"
            ),
            StoreError::TooNew { .. } => "update bulkhead, or use another root with BULKHEAD_ROOT".to_owned(),
            StoreError::Busy { .. } => "find the process with 'fuser' on that file, and try again".to_owned(),
            _ => return None,
        })
    }
}
