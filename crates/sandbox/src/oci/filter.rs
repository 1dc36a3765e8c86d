//! `linux.seccomp`, compiled.

use bulkhead_seccomp::{Arch, Context, FilterFlag, Profile, Program};

use super::config::Linux;
use crate::facts::HostFacts;
use crate::plan::PlanError;

/// A system call filter, and how it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The instructions.
    pub program: Program,
    /// Flags for loading it.
    pub flags: Vec<FilterFlag>,
    /// It asks somebody: the descriptor goes to the socket of `linux.seccomp.listenerPath`.
    pub listener: bool,
}

/// Compiles the filter of a config; nothing where it has none, or one that allows everything.
///
/// # Errors
/// What cannot be understood or enforced, by its place.
pub fn filter(linux: &Linux, facts: &HostFacts) -> Result<Option<Filter>, PlanError> {
    let Some(value) = linux.seccomp.as_ref().filter(|v| !v.is_null()) else { return Ok(None) };
    let refuse = |reason: String| PlanError::invalid("linux.seccomp", "", reason);
    let profile = Profile::from_json(&value.to_string()).map_err(|e| refuse(e.to_string()))?;
    let arch = match std::env::consts::ARCH {
        "x86_64" => Arch::X86_64,
        "aarch64" => Arch::Aarch64,
        other => {
            return Err(PlanError::Unsupported {
                what: "linux.seccomp".to_owned(),
                reason: format!("no filters are made for {other}"),
            });
        }
    };
    let context = Context { arch, caps: 0, kernel: facts.kernel };
    let resolved = profile.resolve(&context).map_err(|e| refuse(e.to_string()))?;
    let program = bulkhead_seccomp::compile(&resolved).map_err(|e| refuse(e.to_string()))?;
    Ok(Some(Filter { program, flags: profile.flags().to_vec(), listener: false }))
}
