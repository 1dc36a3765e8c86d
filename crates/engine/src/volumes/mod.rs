//! Volumes: made, listed, removed, and given to containers.

mod attach;
mod copy;
mod fill;
mod measure;
mod options;
mod place;
mod quota;
mod show;

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub(crate) use self::attach::{Attachment, VolumeMount, attach};
pub use self::copy::Fill;
pub(crate) use self::measure::each as measure;
pub(crate) use self::place::{Retiring, settle};
pub(crate) use self::show::mount as show_mount;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{Event, Kind};
use crate::images::worker::{self, Answer, Task};
use crate::layout::now;
use crate::request::{ContainerRequest, MountRequest};
use crate::store::{NewVolume, StoreError, User, VolumeRecord, new_id};

/// What `volume create` makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// Name; `None`: 64 hex digits, and the volume is anonymous.
    pub name: Option<String>,
    /// `--driver`; empty for `local`.
    pub driver: String,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
}

/// A volume and the containers that use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What the store has.
    pub record: VolumeRecord,
    /// Full id and name of each container.
    pub users: Vec<User>,
}

/// What a volume takes on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The volume and its users.
    pub volume: Volume,
    /// Bytes on disk; 0 for what is not in the store: memory, and directories of the host.
    pub bytes: u64,
}

/// What `prune` has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, in alphabetical order.
    pub names: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
}

pub(crate) fn emit(engine: &Engine, action: &str, name: &str, attributes: &[(&str, &str)]) {
    let event = Event::new(Kind::Volume, action, name);
    engine.events().emit(&attributes.iter().fold(event, |event, (key, value)| event.with(key, *value)));
}

/// Tells that the volumes of a container that starts are mounted.
pub(crate) fn emit_mounts(engine: &Engine, id: &str, request: &ContainerRequest) {
    for mount in &request.mounts {
        if let MountRequest::Volume { name: Some(name), target, read_only, .. } = mount {
            let writable = if *read_only { "false" } else { "true" };
            let target = target.to_string_lossy();
            let attributes = [
                ("container", id),
                ("destination", &*target),
                ("driver", "local"),
                ("propagation", ""),
                ("read/write", writable),
            ];
            emit(engine, "mount", name, &attributes);
        }
    }
}

/// Makes a volume; one that is there with the same options is no error. Returns its name.
///
/// # Errors
/// A name, driver or option that is not acceptable or cannot be kept to; nothing is made.
pub fn create(engine: &Engine, request: &CreateRequest) -> Result<String, EngineError> {
    engine.recover()?;
    if !matches!(request.driver.as_str(), "" | "local") {
        return Err(EngineError::invalid("--driver", &request.driver, "local is the only one"));
    }
    let backing = options::parse(&request.options)?;
    let size = match backing {
        options::Backing::Directory { size } => size,
        options::Backing::Bind { device, .. } => {
            // The same refusals as at the start of a container, and told when they can still be mended.
            crate::resolve::mounts::look_at_source(&device, &engine.own_places())?;
            None
        }
        options::Backing::Memory { .. } => None,
    };
    let mut new = NewVolume {
        name: request.name.clone().map_or_else(new_id, Ok)?,
        options: request.options.clone(),
        labels: request.labels.clone(),
        anonymous: request.name.is_none(),
        created: now(),
        project: None,
    };
    if new.anonymous {
        new.labels.insert(attach::ANONYMOUS.to_owned(), String::new());
    }
    match engine.store()?.find_volume(&new.name) {
        Ok(found) if new.options.is_empty() || found.options == new.options => return Ok(found.name),
        Ok(found) => return Err(StoreError::VolumeConflict { name: found.name }.into()),
        Err(StoreError::NoSuchVolume { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    crate::store::check_volume_name(&new.name)?;
    let placing = place::Placing::new(engine)?;
    new.project = placing.make(&new.name, size)?;
    let made = engine.store()?.create_volume(&new, |name| placing.place(name));
    if made.is_err() {
        placing.take_back()?;
    }
    let (record, fresh) = made?;
    if fresh {
        emit(engine, "create", &record.name, &[("driver", "local")]);
    }
    Ok(record.name)
}

/// Every volume, by name.
///
/// # Errors
/// What the store says.
pub fn list(engine: &Engine) -> Result<Vec<Volume>, EngineError> {
    engine.recover()?;
    let all = engine.store()?.list_volumes()?;
    Ok(all.into_iter().map(|(record, users)| Volume { record, users }).collect())
}

/// A volume in the form of Docker's `volume inspect`; `None` when there is none of that name.
///
/// # Errors
/// What the store says.
pub fn inspect(engine: &Engine, name: &str) -> Result<Option<serde_json::Value>, EngineError> {
    match engine.store()?.find_volume(name) {
        Ok(record) => Ok(Some(show::volume(engine, &record))),
        Err(StoreError::NoSuchVolume { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Removes a volume; with `force` one that is not there is no error.
///
/// # Errors
/// Containers that use it, which the error names.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<(), EngineError> {
    engine.recover()?;
    let retiring = Retiring::new(engine)?;
    let removed = engine.store()?.remove_volume(name, |name| retiring.retire(name));
    match removed {
        Ok(record) => {
            retiring.gone(&record);
            emit(engine, "destroy", name, &[("driver", "local")]);
            Ok(())
        }
        Err(StoreError::NoSuchVolume { .. }) if force => Ok(()),
        Err(e) => {
            retiring.put_back()?;
            Err(e.into())
        }
    }
}

/// Removes volumes that no container uses: anonymous ones, or `all`; `wanted` looks at their labels.
///
/// # Errors
/// What the store says; then nothing is removed.
pub fn prune(
    engine: &Engine,
    all: bool,
    wanted: impl Fn(&BTreeMap<String, String>) -> bool,
) -> Result<Pruned, EngineError> {
    engine.recover()?;
    let retiring = Retiring::new(engine)?;
    let chosen = |record: &VolumeRecord| (all || record.anonymous) && wanted(&record.labels);
    let gone = engine.store()?.prune_volumes(chosen, |name| retiring.retire(name));
    if gone.is_err() {
        retiring.put_back()?;
    }
    let gone = gone?;
    let bytes = if gone.is_empty() { 0 } else { sizes(engine, &retiring.all())?.values().sum() };
    for record in &gone {
        retiring.gone(record);
        emit(engine, "destroy", &record.name, &[("driver", "local")]);
    }
    emit(engine, "prune", "", &[("reclaimed", &bytes.to_string())]);
    Ok(Pruned { names: gone.into_iter().map(|record| record.name).collect(), bytes })
}

/// Every volume with what it takes on disk, by name.
///
/// # Errors
/// What the store says; what cannot be counted.
pub fn usage(engine: &Engine) -> Result<Vec<Usage>, EngineError> {
    let volumes = list(engine)?;
    let sizes = if volumes.is_empty() { BTreeMap::new() } else { sizes(engine, &engine.paths.volumes())? };
    Ok(volumes
        .into_iter()
        .map(|volume| Usage { bytes: sizes.get(&volume.record.name).copied().unwrap_or(0), volume })
        .collect())
}

/// Bytes of each directory in a directory, by name; counted by a worker where the caller may not look.
fn sizes(engine: &Engine, directory: &std::path::Path) -> Result<BTreeMap<String, u64>, EngineError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(directory, flags, Mode::empty()).map_err(EngineError::io("open", directory))?;
    match measure(top.as_fd()) {
        Ok(all) => return Ok(all.into_iter().collect()),
        Err(Errno::ACCESS) => {}
        Err(e) => return Err(EngineError::io("look into", directory)(e)),
    }
    // A staging directory of its own names the process, so that two that count do not meet.
    let staging = crate::images::Staging::new(engine)?;
    let place = worker::Place { name: &staging.path, directory, layout: None, image: None };
    match worker::run_in(engine, &place, None, |_| Task::Measure)? {
        Answer::Measured(all) => Ok(all.into_iter().collect()),
        _ => Err(EngineError::Image("the process that counts what is used answered something else".to_owned())),
    }
}

/// What does not fit together: directories without a record, records without a directory. For a check of the whole
/// store; empty when all is well.
///
/// # Errors
/// What the store says; a directory that cannot be read.
pub fn problems(engine: &Engine) -> Result<Vec<String>, EngineError> {
    let volumes = engine.paths.volumes();
    let mut found = Vec::new();
    let look = |known: &[String]| -> std::io::Result<()> {
        for entry in std::fs::read_dir(&volumes)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if known.binary_search(&name).is_err() {
                found.push(format!("the directory of volume {name:?} belongs to no volume"));
            }
        }
        for name in known {
            if !engine.paths.volume_data(name).is_dir() {
                found.push(format!("volume {name:?} has no directory"));
            }
        }
        Ok(())
    };
    engine.store()?.with_known_volumes(look)?;
    Ok(found)
}

/// Entry of the worker that fills a volume.
pub(crate) fn fill_here(order: &Fill, single_id: bool) -> Result<bool, String> {
    copy::fill(order, single_id)
}

/// Entry of the worker that settles a volume at its root.
pub(crate) fn settle_here(token: &str) -> Result<(), String> {
    copy::settle(token)
}

/// Removes the record of a container; with `volumes` also its anonymous volumes that no other container uses, in one
/// transaction.
///
/// # Errors
/// What the store says; then nothing is removed.
pub(crate) fn remove_container(engine: &Engine, id: &str, volumes: bool) -> Result<(), EngineError> {
    let store = engine.store()?;
    // The directories are only needed when there is something to take away.
    if !volumes || store.anonymous_volumes(id)?.is_empty() {
        return Ok(store.remove_container(id)?);
    }
    let retiring = Retiring::new(engine)?;
    let removed = store.remove_container_with(id, Some(&mut |name: &str| retiring.retire(name)));
    if removed.is_err() {
        retiring.put_back()?;
    }
    for record in removed? {
        retiring.gone(&record);
        emit(engine, "destroy", &record.name, &[("driver", "local")]);
    }
    Ok(())
}
