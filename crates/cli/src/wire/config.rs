//! What the configuration files say.

use std::path::PathBuf;

use bulkhead_engine::request::ProfileName;

use super::{engine, failed};
use crate::error::CliError;

/// One key: its value, its default, and where the value came from.
pub use bulkhead_engine::config::Row as ConfigRow;

/// All of the configuration.
#[derive(Debug, Clone)]
pub struct ConfigShown {
    /// Every key.
    pub rows: Vec<ConfigRow>,
    /// Files that were looked for, and whether they were there.
    pub files: Vec<(PathBuf, bool)>,
}

/// The effective configuration of this user.
///
/// # Errors
///
/// A file that cannot be used.
pub fn config() -> Result<ConfigShown, CliError> {
    let engine = engine()?;
    Ok(ConfigShown { rows: engine.show_config().map_err(failed)?, files: engine.config.files.clone() })
}

/// The profile of a container that is given none.
///
/// # Errors
///
/// A configuration file that cannot be used.
pub fn default_profile() -> Result<ProfileName, CliError> {
    Ok(engine()?.config.profile())
}

/// Keys that leave an attached container running.
///
/// # Errors
///
/// A configuration file that cannot be used.
pub fn detach_keys() -> Result<Vec<u8>, CliError> {
    Ok(engine()?.config.detach_keys())
}
