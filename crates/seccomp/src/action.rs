//! Verdicts of a filter and their encoding as a BPF return value.

use crate::errno;
use std::fmt;

/// Largest error number the kernel can hand to a program (`MAX_ERRNO`).
pub const MAX_ERRNO: u16 = 4095;

const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0x0000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// What the kernel does with a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Kill the whole process.
    KillProcess,
    /// Kill the calling thread.
    KillThread,
    /// Send `SIGSYS`.
    Trap,
    /// Fail the call with this error number.
    Errno(u16),
    /// Ask the listener of the filter (`seccomp_unotify(2)`).
    Notify,
    /// Hand the call to a tracer with this message.
    Trace(u16),
    /// Let the call pass and log it.
    Log,
    /// Let the call pass.
    Allow,
}

impl Action {
    /// `EPERM`: refused on purpose.
    pub const EPERM: Self = Self::Errno(errno::EPERM);
    /// `ENOSYS`: unknown, so that C libraries take their fallback.
    pub const ENOSYS: Self = Self::Errno(errno::ENOSYS);

    /// The value a BPF program returns for this action.
    #[must_use]
    pub fn to_return(self) -> u32 {
        match self {
            Self::KillProcess => KILL_PROCESS,
            Self::KillThread => KILL_THREAD,
            Self::Trap => TRAP,
            Self::Errno(number) => ERRNO | u32::from(number),
            Self::Notify => NOTIFY,
            Self::Trace(message) => TRACE | u32::from(message),
            Self::Log => LOG,
            Self::Allow => ALLOW,
        }
    }

    /// The action behind a BPF return value, or `None` for one that this crate never writes.
    #[must_use]
    pub fn from_return(value: u32) -> Option<Self> {
        let data = u16::try_from(value & 0xffff).ok()?;
        match value & 0xffff_0000 {
            KILL_PROCESS => Some(Self::KillProcess),
            KILL_THREAD => Some(Self::KillThread),
            TRAP => Some(Self::Trap),
            ERRNO => Some(Self::Errno(data)),
            NOTIFY => Some(Self::Notify),
            TRACE => Some(Self::Trace(data)),
            LOG => Some(Self::Log),
            ALLOW => Some(Self::Allow),
            _ => None,
        }
    }

    /// Whether the call is carried out without asking anybody.
    #[must_use]
    pub fn permits(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }

    /// The name used by OCI and Docker profiles.
    #[must_use]
    pub fn profile_name(self) -> &'static str {
        match self {
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::Errno(_) => "SCMP_ACT_ERRNO",
            Self::Notify => "SCMP_ACT_NOTIFY",
            Self::Trace(_) => "SCMP_ACT_TRACE",
            Self::Log => "SCMP_ACT_LOG",
            Self::Allow => "SCMP_ACT_ALLOW",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillProcess => f.write_str("kill process"),
            Self::KillThread => f.write_str("kill thread"),
            Self::Trap => f.write_str("trap"),
            Self::Errno(number) => match errno::name(*number) {
                Some(name) => f.write_str(name),
                None => write!(f, "errno {number}"),
            },
            Self::Notify => f.write_str("ask"),
            Self::Trace(message) => write!(f, "trace {message}"),
            Self::Log => f.write_str("log"),
            Self::Allow => f.write_str("allow"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_values_round_trip() {
        for action in [
            Action::KillProcess,
            Action::KillThread,
            Action::Trap,
            Action::Errno(0),
            Action::Errno(MAX_ERRNO),
            Action::Notify,
            Action::Trace(7),
            Action::Log,
            Action::Allow,
        ] {
            assert_eq!(Action::from_return(action.to_return()), Some(action));
        }
        assert_eq!(Action::from_return(0x7fc0_0000), Some(Action::Notify));
        assert_eq!(Action::from_return(0x7ff1_0000), None);
    }
}
