//! `system fsck`: whether the database, the files, the run directory and the control groups agree.
//!
//! It is safe while containers run and other commands work. Whatever looks wrong is looked at again twice, a moment
//! later each, because another command may be in the middle of something; only what stays is told or repaired, and every
//! repair takes the lock that others would take.

mod containers;
mod groups;
mod images;
mod places;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::engine::Engine;
use crate::error::EngineError;

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// What kind, for programs; it does not change between versions.
    pub code: &'static str,
    /// What it is about: an id, a path, a table.
    pub object: String,
    /// One sentence.
    pub message: String,
    /// What was done about it; nothing when it is left as it is.
    pub repaired: Option<String>,
}

/// One look at everything.
struct Look<'a> {
    engine: &'a Engine,
    /// What may be repaired: it was seen in all looks before.
    repair: Option<&'a BTreeSet<(&'static str, String)>>,
    findings: Vec<Finding>,
}

impl Look<'_> {
    /// Notes a finding that nothing can be done about here.
    fn found(&mut self, code: &'static str, object: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding { code, object: object.into(), message: message.into(), repaired: None });
    }

    /// Notes a finding, and repairs it where that was asked for; `repair` says what it did, or nothing when it turned out
    /// that there is nothing to do.
    fn repairable(
        &mut self,
        code: &'static str,
        object: impl Into<String>,
        message: impl Into<String>,
        repair: impl FnOnce(&Engine) -> Result<Option<String>, EngineError>,
    ) {
        let object = object.into();
        let mut message = message.into();
        let mut repaired = None;
        if self.repair.is_some_and(|known| known.contains(&(code, object.clone()))) {
            match repair(self.engine) {
                Ok(Some(done)) => repaired = Some(done),
                Ok(None) => return,
                Err(e) => message.push_str(&format!("; it could not be repaired: {}", e.chain())),
            }
        }
        self.findings.push(Finding { code, object, message, repaired });
    }
}

/// Pauses between the looks. A command holds its lock while it works, so what it is in the middle of shows for the time
/// between two system calls.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// Looks whether everything is sound; with `repair` puts right what can be without loss. Returns what was found.
///
/// # Errors
/// When it cannot look at all: no store, or one that belongs to somebody else or was written by a newer version.
pub fn fsck(engine: &Engine, repair: bool) -> Result<Vec<Finding>, EngineError> {
    let mut known: Option<BTreeSet<(&'static str, String)>> = None;
    for pause in PAUSES {
        let findings = look(engine, None)?;
        let seen = findings.into_iter().map(|f| (f.code, f.object));
        let seen: BTreeSet<_> = match &known {
            None => seen.collect(),
            Some(known) => seen.filter(|key| known.contains(key)).collect(),
        };
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        known = Some(seen);
        std::thread::sleep(pause);
    }
    let known = known.unwrap_or_default();
    let findings = look(engine, repair.then_some(&known))?;
    Ok(findings.into_iter().filter(|f| known.contains(&(f.code, f.object.clone()))).collect())
}

fn look(engine: &Engine, repair: Option<&BTreeSet<(&'static str, String)>>) -> Result<Vec<Finding>, EngineError> {
    let mut look = Look { engine, repair, findings: Vec::new() };
    let store = engine.store()?;
    for line in store.integrity()? {
        look.found("database-damaged", "bulkhead.db", format!("the database is damaged: {line}"));
    }
    if !look.findings.is_empty() {
        // Nothing that it says about the rest can be relied on.
        return Ok(look.findings);
    }
    for row in store.dangling_rows()? {
        look.found("database-reference", row.clone(), format!("a row refers to one that is not there: {row}"));
    }
    if let Err(e) = engine.recover() {
        look.found("recovery", "store", format!("what was left behind cannot be settled: {}", e.chain()));
    }
    containers::check(&mut look)?;
    images::check(&mut look)?;
    for problem in crate::volumes::problems(engine)? {
        look.found("volume", problem.clone(), problem);
    }
    for id in crate::networks::stray(engine)? {
        let message = format!("container {id} does not run and has addresses or ports");
        look.repairable("lease", format!("container {id}"), message, |engine| {
            Ok(crate::networks::forget_all(engine)?.then(|| "gave them back".to_owned()))
        });
    }
    groups::check(&mut look)?;
    places::check(&mut look)?;
    Ok(look.findings)
}

/// Names in a directory; nothing when it is not there.
fn names(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
