//! The built-in system call filters, compiled when the engine was built.

use bulkhead_seccomp::defaults::{compat_profile, default_profile, strict_profile};
use bulkhead_seccomp::{Context, Insn, Profile, Program, compile};

use crate::error::EngineError;

/// Name of a profile, capabilities, instructions.
type Compiled = (&'static str, u64, &'static [(u16, u8, u8, u32)]);

mod compiled {
    include!(concat!(env!("OUT_DIR"), "/filters.rs"));
}

/// A built-in profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    Default,
    Strict,
    Compat,
}

impl Builtin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::Compat => "compat",
        }
    }

    fn profile(self) -> Profile {
        match self {
            Self::Default => default_profile(),
            Self::Strict => strict_profile(),
            Self::Compat => compat_profile(),
        }
    }
}

/// The machine's own system call numbers.
pub(crate) fn native_arch() -> Result<bulkhead_seccomp::Arch, EngineError> {
    bulkhead_seccomp::Arch::native().ok_or_else(|| {
        EngineError::refused(
            "starting a container",
            "there is no table of system calls for this machine; x86-64 and arm64 have one",
        )
    })
}

fn ready(builtin: Builtin, caps: u64) -> Option<Program> {
    let (_, _, insns) = compiled::COMPILED.iter().find(|(name, bits, _)| *name == builtin.name() && *bits == caps)?;
    Program::from_insns(insns.iter().map(|i| Insn::from(*i)).collect::<Vec<_>>()).ok()
}

/// The program of a built-in profile for a process that can have these capabilities.
///
/// # Errors
/// A machine without a table of system calls.
pub(crate) fn builtin(builtin: Builtin, caps: u64, kernel: (u32, u32)) -> Result<Program, EngineError> {
    let arch = native_arch()?;
    match ready(builtin, caps) {
        Some(program) => Ok(program),
        None => program(&builtin.profile(), &Context { arch, caps, kernel }, builtin.name()),
    }
}

/// Compiles a profile.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn program(profile: &Profile, context: &Context, name: &str) -> Result<Program, EngineError> {
    let failed = |e: &dyn std::error::Error| EngineError::invalid("--security-opt seccomp", name, e.to_string());
    let filter = profile.resolve(context).map_err(|e| failed(&e))?;
    compile(&filter).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::{Builtin, compiled::COMPILED, native_arch, program, ready};
    use bulkhead_seccomp::Context;

    #[test]
    fn what_was_compiled_is_what_would_be_compiled_now_on_any_kernel() {
        let arch = native_arch().unwrap();
        let mut seen = 0;
        for builtin in [Builtin::Default, Builtin::Strict, Builtin::Compat] {
            for (_, caps, _) in COMPILED.iter().filter(|(name, _, _)| *name == builtin.name()) {
                for kernel in [(5, 15), (6, 1), (6, 18), (7, 4)] {
                    let now = program(&builtin.profile(), &Context { arch, caps: *caps, kernel }, "").unwrap();
                    assert_eq!(ready(builtin, *caps), Some(now), "{builtin:?} {caps:x} {kernel:?}");
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 24);
    }

    #[test]
    fn the_sets_of_the_build_are_the_sets_of_the_engine() {
        use bulkhead_sandbox::spec::Caps;
        for (builtin, caps) in [
            (Builtin::Default, Caps::DEFAULT),
            (Builtin::Default, Caps::EMPTY),
            (Builtin::Strict, Caps::EMPTY),
            (Builtin::Compat, Caps::DOCKER),
        ] {
            assert!(ready(builtin, caps.0).is_some(), "{builtin:?} {:x}", caps.0);
        }
    }
}
