//! Calls about volumes.

use std::collections::BTreeMap;

use bulkhead_engine::volumes as engine_volumes;

use super::{engine, failed};
use crate::error::CliError;

/// One volume of `volume ls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeSummary {
    /// Name.
    pub name: String,
    /// Always `local`.
    pub driver: String,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Where its content is on the host.
    pub mountpoint: String,
    /// Full id and name of each container that uses it.
    pub users: Vec<(String, String)>,
}

/// What a volume takes on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// The volume.
    pub volume: VolumeSummary,
    /// Bytes.
    pub bytes: u64,
}

fn summary(volume: engine_volumes::Volume) -> Result<VolumeSummary, CliError> {
    let engine_volumes::Volume { record, users } = volume;
    Ok(VolumeSummary {
        mountpoint: engine()?.paths.volume_data(&record.name).display().to_string(),
        name: record.name,
        driver: record.driver,
        labels: record.labels.into_iter().collect(),
        users,
    })
}

/// Makes a volume (`None`: an anonymous one); returns its name.
///
/// # Errors
///
/// What the engine says.
pub fn create_volume(
    name: Option<&str>,
    driver: &str,
    labels: Vec<(String, String)>,
    options: Vec<(String, String)>,
) -> Result<String, CliError> {
    let request = engine_volumes::CreateRequest {
        name: name.map(str::to_owned),
        driver: driver.to_owned(),
        labels: labels.into_iter().collect(),
        options: options.into_iter().collect(),
    };
    engine_volumes::create(engine()?, &request).map_err(failed)
}

/// Every volume, by name.
///
/// # Errors
///
/// What the engine says.
pub fn volumes() -> Result<Vec<VolumeSummary>, CliError> {
    engine_volumes::list(engine()?).map_err(failed)?.into_iter().map(summary).collect()
}

/// Every volume with what it takes on disk, by name.
///
/// # Errors
///
/// What the engine says.
pub fn volume_usage() -> Result<Vec<Usage>, CliError> {
    let all = engine_volumes::usage(engine()?).map_err(failed)?;
    all.into_iter().map(|one| Ok(Usage { bytes: one.bytes, volume: summary(one.volume)? })).collect()
}

/// A volume in the form of Docker's `volume inspect`; `None` when there is none of that name.
///
/// # Errors
///
/// What the engine says.
pub fn inspect_volume(name: &str) -> Result<Option<serde_json::Value>, CliError> {
    engine_volumes::inspect(engine()?, name).map_err(failed)
}

/// Removes a volume; with `force` one that is not there is no error.
///
/// # Errors
///
/// What the engine says.
pub fn remove_volume(name: &str, force: bool) -> Result<(), CliError> {
    engine_volumes::remove(engine()?, name, force).map_err(failed)
}

/// Removes volumes that no container uses: anonymous ones, or `all`; `wanted` looks at their labels. Returns their names
/// and how many bytes they took.
///
/// # Errors
///
/// What the engine says.
pub fn prune_volumes(
    all: bool,
    wanted: impl Fn(&BTreeMap<String, String>) -> bool,
) -> Result<(Vec<String>, u64), CliError> {
    let pruned = engine_volumes::prune(engine()?, all, wanted).map_err(failed)?;
    Ok((pruned.names, pruned.bytes))
}
