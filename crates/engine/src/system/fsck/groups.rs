//! Control groups: none below the parent group belongs to a container of this store that does not run.
//!
//! Other stores of the same host have their groups in the same place. A group is taken for one of ours when this store
//! records its container, or has told of it in its events.

use std::collections::BTreeSet;
use std::path::Path;

use bulkhead_sandbox::cgroup::{CgroupHandle, parents};

use super::Look;
use crate::error::EngineError;
use crate::events::Kind;
use crate::layout::Layout;

/// Ids and their beginnings that were containers of this store at some time.
struct Ours(BTreeSet<String>);

impl Ours {
    fn of(look: &Look<'_>) -> Result<Self, EngineError> {
        let mut all: BTreeSet<String> = look.engine.store()?.container_ids()?.into_iter().collect();
        let mut reader = look.engine.events().reader();
        while let Some(event) = reader.next_event() {
            if event.kind == Kind::Container {
                all.insert(event.actor.id);
            }
        }
        Ok(Self(all))
    }

    /// The container that a group was made for: it bears its id, or is that of a process which worked in its directory.
    fn owner(&self, group: &str) -> Option<&String> {
        match group.strip_prefix("worker-") {
            None => self.0.get(group),
            Some(start) if start.len() == 16 => {
                self.0.range(start.to_owned()..).next().filter(|id| id.starts_with(start))
            }
            Some(_) => None,
        }
    }
}

pub(super) fn check(look: &mut Look<'_>) -> Result<(), EngineError> {
    let groups: Vec<_> = parents(look.engine.facts()?).into_iter().flat_map(|p| children(&p)).collect();
    if groups.is_empty() {
        return Ok(());
    }
    let ours = Ours::of(look)?;
    for group in groups {
        let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(id) = ours.owner(&name) else { continue };
        let layout = Layout::new(&look.engine.paths, id);
        if layout.is_held() {
            continue;
        }
        let message = format!("the control group {group:?} is left of container {id}, which does not run");
        look.repairable("cgroup-stray", group.display().to_string(), message, |_| {
            if layout.is_held() {
                return Ok(None);
            }
            CgroupHandle::remove_all(std::slice::from_ref(&group)).map_err(|e| EngineError::Start(e.into()))?;
            Ok(Some("ended what was in it and removed it".to_owned()))
        });
    }
    Ok(())
}

fn children(parent: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::Ours;

    #[test]
    fn a_group_is_ours_by_its_name_only() {
        let id = "0123456789abcdef".repeat(4);
        let ours = Ours([id.clone()].into());
        assert_eq!(ours.owner(&id), Some(&id));
        assert_eq!(ours.owner("worker-0123456789abcdef"), Some(&id));
        assert_eq!(ours.owner("worker-0123456789abcdee"), None);
        assert_eq!(ours.owner("worker-0123"), None);
        assert_eq!(ours.owner(&"f".repeat(64)), None);
    }
}
