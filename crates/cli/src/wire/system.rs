//! Calls about the store as a whole.

use bulkhead_engine::{containers as engine_containers, images as engine_images, system as engine_system};

pub use bulkhead_engine::system::{DiskUsage, Finding, Restored};

use super::{ImageRemoval, engine, failed};
use crate::error::CliError;

/// Which objects `prune` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilter {
    /// Made before this time: nanoseconds since 1970.
    pub until: Option<i64>,
    /// Each of these labels (with this value, if one is given) must be there.
    pub labels: Vec<(String, Option<String>)>,
    /// None of these may be there.
    pub without: Vec<(String, Option<String>)>,
}

impl PruneFilter {
    pub(super) fn fits(&self, created: i64, labels: &[(String, String)]) -> bool {
        let has = |(key, value): &(String, Option<String>)| {
            labels.iter().any(|(k, v)| k == key && value.as_ref().is_none_or(|want| want == v))
        };
        self.until.is_none_or(|until| created < until) && self.labels.iter().all(has) && !self.without.iter().any(has)
    }
}

/// What `prune` removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of containers.
    pub containers: Vec<String>,
    /// Names of networks.
    pub networks: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// What became of images.
    pub images: Vec<ImageRemoval>,
    /// Bytes that are free now.
    pub bytes: u64,
    /// What could not be removed, with the reason.
    pub failed: Vec<String>,
}

/// Removes the containers that do not run.
///
/// # Errors
///
/// What the engine says.
pub fn prune_containers(filter: &PruneFilter) -> Result<Pruned, CliError> {
    let done = engine_containers::prune(engine()?, |record| filter.fits(record.created, &record.request.labels));
    let done = done.map_err(failed)?;
    Ok(Pruned { containers: done.ids, bytes: done.bytes, failed: done.failed, ..Pruned::default() })
}

/// Removes the images that no container was made of; without `all` only those without a reference.
///
/// # Errors
///
/// What the engine says.
pub fn prune_images(all: bool, filter: &PruneFilter) -> Result<Pruned, CliError> {
    let wanted = |image: &bulkhead_engine::store::ImageRecord| {
        filter.fits(image.created, &super::images::labels(&image.config_json))
    };
    let done = engine_images::prune(engine()?, all, wanted).map_err(failed)?;
    let mut images = Vec::new();
    for one in done.removed {
        images.extend(one.untagged.into_iter().map(ImageRemoval::Untagged));
        images.extend(one.deleted.into_iter().chain(one.free_layers).map(ImageRemoval::Deleted));
    }
    Ok(Pruned { images, bytes: done.bytes, ..Pruned::default() })
}

/// Removes the anonymous volumes that no container has. Their age does not count: nobody knows when they were last used.
///
/// # Errors
///
/// What the engine says.
pub fn prune_anonymous_volumes(filter: &PruneFilter) -> Result<Pruned, CliError> {
    let labels = |labels: &std::collections::BTreeMap<String, String>| -> Vec<(String, String)> {
        labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let done = bulkhead_engine::volumes::prune(engine()?, false, |all| filter.fits(i64::MIN, &labels(all)));
    let done = done.map_err(failed)?;
    Ok(Pruned { volumes: done.names, bytes: done.bytes, ..Pruned::default() })
}

/// This engine and its host, as a JSON object.
///
/// # Errors
///
/// What the engine says.
pub fn info() -> Result<serde_json::Value, CliError> {
    let info = engine_system::info(engine()?).map_err(failed)?;
    serde_json::to_value(info).map_err(|e| CliError::chain(&e))
}

/// What images and volumes take on disk.
///
/// # Errors
///
/// What the engine says.
pub fn disk_usage() -> Result<DiskUsage, CliError> {
    engine_system::df(engine()?).map_err(failed)
}

/// What is wrong with the store; with `repair` what can be is put right.
///
/// # Errors
///
/// What the engine says.
pub fn fsck(repair: bool) -> Result<Vec<Finding>, CliError> {
    engine_system::fsck(engine()?, repair).map_err(failed)
}

/// Starts the containers that are to run after a boot.
///
/// # Errors
///
/// What the engine says.
pub fn restore() -> Result<Restored, CliError> {
    engine_system::restore(engine()?).map_err(failed)
}

/// Stops every container so that the next boot starts it again; returns their names.
///
/// # Errors
///
/// What the engine says.
pub fn halt(timeout: Option<i64>) -> Result<Vec<String>, CliError> {
    engine_containers::halt(engine()?, timeout).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::PruneFilter;

    #[test]
    fn filters_of_prune_must_all_fit() {
        let pair = |k: &str, v: Option<&str>| (k.to_owned(), v.map(str::to_owned));
        let labels = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())];
        let fits = |filter: PruneFilter| filter.fits(10, &labels);
        assert!(fits(PruneFilter::default()));
        assert!(fits(PruneFilter { until: Some(11), labels: vec![pair("a", Some("1"))], ..PruneFilter::default() }));
        assert!(!fits(PruneFilter { until: Some(10), ..PruneFilter::default() }));
        assert!(!fits(PruneFilter { labels: vec![pair("a", None), pair("c", None)], ..PruneFilter::default() }));
        assert!(!fits(PruneFilter { without: vec![pair("b", None)], ..PruneFilter::default() }));
        assert!(fits(PruneFilter { without: vec![pair("a", Some("2"))], ..PruneFilter::default() }));
    }
}
