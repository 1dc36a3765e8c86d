//! Owners of a mount of the container itself that has ids of its own: the child made the copy, and the parent, who holds
//! rights over the file system that the child does not have, shifts them.

use std::os::fd::{AsFd, OwnedFd};

use bulkhead_sys::mount;
use bulkhead_sys::proc::Proc;

use crate::error::StartError;
use crate::excursion::user_namespace;
use crate::oci::step::{OciStep, Source};
use crate::step::Step;

/// Shifts the ids of `tree`, which step `index` of process `pid` has made, as that step says.
///
/// # Errors
/// A tree that cannot be shifted; a message that no step of the plan sends.
pub(crate) fn shift(steps: &[Step], index: u32, pid: i32, tree: Option<OwnedFd>) -> Result<(), StartError> {
    let step = usize::try_from(index).ok().and_then(|at| steps.get(at));
    let Some(Step::Bundle(OciStep::Attach { source: Source::Inside { path, maps: Some(maps), .. }, .. })) = step else {
        return Err(StartError::Vanished("it broke the protocol".to_owned()));
    };
    let tree = tree.ok_or_else(|| StartError::Vanished("it broke the protocol".to_owned()))?;
    let ids = match &maps.ids {
        Some(ids) => user_namespace(ids)?,
        None => Proc::host()
            .and_then(|proc| proc.namespace(pid, c"user"))
            .map_err(StartError::parent("open the user namespace of the new process"))?,
    };
    mount::map_ids(tree.as_fd(), ids.as_fd(), maps.recursive)
        .map_err(StartError::parent(format!("shift the owners of {:?} in the container", path.show())))
}
