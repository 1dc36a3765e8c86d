//! What every operation of the engine starts from.

use std::cell::OnceCell;
use std::path::PathBuf;

use bulkhead_sandbox::facts::HostFacts;

use crate::config::{self, Config};
use crate::error::EngineError;
use crate::events::EventLog;
use crate::store::{Paths, Store};

/// The engine of one user on this host. Nothing is opened before it is needed.
#[derive(Debug)]
pub struct Engine {
    /// Where its files are.
    pub paths: Paths,
    /// What the configuration files say.
    pub config: Config,
    facts: OnceCell<HostFacts>,
    store: OnceCell<Store>,
    pub(crate) progress: OnceCell<std::sync::Arc<dyn crate::Progress>>,
}

impl Engine {
    /// For the calling user.
    ///
    /// # Errors
    /// A configuration file that cannot be used; when it is not known where his files are.
    pub fn new() -> Result<Self, EngineError> {
        let uid = rustix::process::geteuid().as_raw();
        let config = Config::load(uid)?;
        let paths = Paths::discover(uid, config.place("storage.root"), config.place("storage.run"))?;
        Ok(Self { paths, config, facts: OnceCell::new(), store: OnceCell::new(), progress: OnceCell::new() })
    }

    /// What the host offers.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn facts(&self) -> Result<&HostFacts, EngineError> {
        if let Some(facts) = self.facts.get() {
            return Ok(facts);
        }
        let mut facts = HostFacts::gather()?;
        facts.reserve = self.config.reserve();
        Ok(self.facts.get_or_init(|| facts))
    }

    /// The store.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn store(&self) -> Result<&Store, EngineError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = Store::open(&self.paths)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Every key of the configuration, and where its value came from.
    ///
    /// # Errors
    /// When it is not known where the files of this user would be.
    pub fn show_config(&self) -> Result<Vec<config::Row>, EngineError> {
        let usual = Paths::usual(self.config.uid)?;
        Ok(config::rows(&self.config, &self.paths, &usual))
    }

    /// What happened, and where more of it is written.
    #[must_use]
    pub fn events(&self) -> EventLog {
        EventLog::new(&self.paths.root)
    }

    /// Removes what commands and monitors that were killed have left behind.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn recover(&self) -> Result<(), EngineError> {
        // Makes the directories on first use.
        self.store()?;
        // The run directory is empty after a boot.
        let mark = std::fs::OpenOptions::new().write(true).create_new(true).open(self.paths.run.join("swept"));
        if mark.is_ok() {
            crate::containers::sweep(self)?;
        }
        crate::containers::recover(self)?;
        crate::networks::collect(self)?;
        crate::images::recover(self)
    }

    /// Directories that no container is given.
    pub(crate) fn own_places(&self) -> Vec<PathBuf> {
        // Root's usual places too: another store of the same host is no less the engine's.
        let usual = ["/var/lib/bulkhead", "/run/bulkhead"].map(PathBuf::from);
        let own = [&self.paths.root, &self.paths.run];
        own.into_iter().chain(&usual).filter_map(|p| std::fs::canonicalize(p).ok()).collect()
    }
}
